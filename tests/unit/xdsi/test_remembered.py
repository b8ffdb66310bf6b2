"""`xdsi up` is found by the commands of its folder, and by nothing that somebody else may have written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xdsi.failures import Failed
from xdsi.remembered import NOTE, remember, remembered


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "xdsi.toml"
    path.parent.mkdir()
    path.write_text('registry_url = "http://127.0.0.1:9/xds/registry"\n')
    path.chmod(0o600)
    return path


def asked(folder: Path, *words: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "xdsi", "consent", "show", "P-1", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    return ended.stderr


def test_a_command_asks_the_community_that_was_started_in_its_folder(tmp_path: Path, config: Path):
    assert "http://127.0.0.1:8010/" in asked(tmp_path)

    assert remember(tmp_path, config)

    assert "http://127.0.0.1:9/" in asked(tmp_path)
    assert (tmp_path / NOTE).stat().st_mode & 0o777 == 0o600


def test_what_is_named_by_hand_wins(tmp_path: Path, config: Path):
    remember(tmp_path, config)
    other = tmp_path / "other.toml"
    other.write_text('registry_url = "http://127.0.0.1:11/xds/registry"\n')

    assert "http://127.0.0.1:11/" in asked(tmp_path, "--config", str(other))


def test_a_community_that_is_gone_is_forgotten(tmp_path: Path, config: Path):
    remember(tmp_path, config)
    config.unlink()

    assert remembered(tmp_path) is None


@pytest.mark.parametrize("open_to_all", ["note", "settings"])
def test_what_others_may_have_written_is_refused(tmp_path: Path, config: Path, open_to_all: str):
    remember(tmp_path, config)
    (config if open_to_all == "settings" else tmp_path / NOTE).chmod(0o666)

    with pytest.raises(Failed, match="others may have written it"):
        remembered(tmp_path)


def test_a_note_that_leads_elsewhere_is_refused(tmp_path: Path, config: Path):
    remember(tmp_path, config)
    (tmp_path / NOTE).rename(tmp_path / "note")
    (tmp_path / NOTE).symlink_to(tmp_path / "note")

    with pytest.raises(Failed, match="others may have written it"):
        remembered(tmp_path)


def test_a_folder_that_takes_no_note_is_no_reason_to_fail(tmp_path: Path, config: Path):
    (tmp_path / NOTE).mkdir()

    assert not remember(tmp_path, config)
    assert remembered(tmp_path) is None

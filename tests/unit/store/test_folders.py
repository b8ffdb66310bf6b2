"""What is made, or was left open by an older release, is for this user alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.settings import SettingsError
from shared.store.folders import make_folder, mend
from xdsi.data_folder import claim


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def open_to_all(*paths: Path) -> None:
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_folder_is_made_with_those_above_it_for_us_alone(tmp_path: Path):
    make_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o700


def test_an_old_folder_is_closed_whole(tmp_path: Path):
    old = tmp_path / "registry"
    (old / "blobs").mkdir(parents=True)
    (old / "blobs" / "one").touch()
    open_to_all(old, old / "blobs", old / "blobs" / "one")
    mend(old)
    assert (mode(old), mode(old / "blobs"), mode(old / "blobs" / "one")) == (0o700, 0o700, 0o600)


def test_an_open_file_in_a_closed_folder_is_closed(tmp_path: Path):
    (tmp_path / "one").touch()
    open_to_all(tmp_path / "one")
    tmp_path.chmod(0o700)
    mend(tmp_path)
    assert mode(tmp_path / "one") == 0o600


def test_a_folder_below_a_full_closed_one_is_mended_all_the_same(tmp_path: Path):
    tmp_path.chmod(0o700)
    for number in range(300):
        (tmp_path / f"{number}").touch()
    (tmp_path / "zz").mkdir()
    open_to_all(tmp_path / "zz")
    mend(tmp_path)
    assert mode(tmp_path / "zz") == 0o700


def test_what_a_link_leads_to_is_not_ours_to_change(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    open_to_all(elsewhere)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "link").symlink_to(elsewhere)
    mend(tmp_path / "log")
    assert mode(elsewhere) == 0o644


def test_a_data_folder_that_holds_other_things_is_closed_only_where_it_is_ours(tmp_path: Path):
    (tmp_path / "thesis.txt").touch()
    (tmp_path / "xdsi.toml").touch()
    open_to_all(tmp_path, tmp_path / "thesis.txt", tmp_path / "xdsi.toml")
    claim(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "thesis.txt")) == (0o755, 0o644)
    assert mode(tmp_path / "xdsi.toml") == 0o600


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_data_folder_that_is_a_file_is_refused_by_its_setting(tmp_path: Path, below: str):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"XDSI_DATA: .*file; name a folder"):
        claim(tmp_path / "file" / below)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_cannot_be_written_is_refused_by_its_setting(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match=r"XDSI_DATA: .*not writable; chown"):
        claim(tmp_path)

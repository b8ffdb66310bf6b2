"""Which moment `deploy/backup/restore.sh` goes back to, when nobody names one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

RESTORE = Path(__file__).parents[2] / "deploy" / "backup" / "restore.sh"

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def moment(folder: Path, name: str, *parts: str, archived: bool = True) -> None:
    """A moment of which the files of these parts are there, and the log of the database."""
    place = folder / "backup" / "moments" / name
    for part in parts:
        (place / part).mkdir(parents=True)
        (place / part / "what").write_text(name, "utf-8")
        (place / f"{part}.whole").touch()
    if archived:
        (place / "archived").touch()


def restored(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the script does on the host of the services; another one has the audit repository."""
    (folder / "backup" / "contents").mkdir(parents=True, exist_ok=True)
    for part in ("services", "audit"):
        for kept in ("etc", "data"):
            (folder / "keys" / part / kept).mkdir(parents=True, exist_ok=True)
    environment = {"BACKUP": "backup", "KEYS": "keys", "PART": "services", "XDSI_DATA": "data", "ETC": "etc"}
    return subprocess.run(
        [RESTORE, "files", *words], capture_output=True, text=True, check=False, cwd=folder,
        env={"PATH": "/usr/bin:/bin"} | environment,
    )  # fmt: skip


def test_it_is_the_last_one_that_is_whole_on_every_host(tmp_path: Path):
    moment(tmp_path, "2030-05-04", "services", "audit")
    moment(tmp_path, "2030-05-05", "services")
    moment(tmp_path, "2030-05-06", "services", "audit", archived=False)

    done = restored(tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "data and etc are as they were at 2030-05-04\n"
    assert (tmp_path / "data" / "what").read_text("utf-8") == "2030-05-04"


def test_one_that_is_named_is_gone_back_to(tmp_path: Path):
    moment(tmp_path, "2030-05-04", "services", "audit")
    moment(tmp_path, "2030-05-05", "services")

    assert "2030-05-05" in restored(tmp_path, "2030-05-05").stdout


def test_without_a_whole_one_nothing_is_restored(tmp_path: Path):
    moment(tmp_path, "2030-05-04", "services")

    done = restored(tmp_path)

    assert done.returncode == 1
    assert "no moment in backup/moments is whole" in done.stderr
    assert not (tmp_path / "data").exists()

"""Everything that `xdsi up` makes below its data folder is 0700 or 0600, also in an older folder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from xdsi.builtin_study import PATIENT_ID, write_study
from xdsi.community import PORTS
from xdsi.stage import free_ports

XDSI = [sys.executable, "-m", "xdsi"]


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    own = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    return {
        **own,
        **ports,
        "XDSI_REGISTRY_URL": f"http://127.0.0.1:{ports['XDSI_REGISTRY__PORT']}/xds/registry",
        "XDSI_REPOSITORY_URL": f"http://127.0.0.1:{ports['XDSI_REPOSITORY__PORT']}/xds/repository",
        "XDSI_IMAGING_SOURCE_URL": f"http://127.0.0.1:{ports['XDSI_IMAGING_SOURCE__PORT']}/xds/imaging-source",
        "XDSI_AUDIT__URL": f"tcp://127.0.0.1:{ports['XDSI_AUDIT_REPOSITORY__SYSLOG_PORT']}",
    }


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """As a release before this one left it: open to everybody."""
    data = tmp_path / "var"
    for name in ("xdsi.toml", "log/registry.log", "registry/workers/metrics/0.db", "repository/blobs/x"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("")
    for path in (data, *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return data


def everything_in(data: Path) -> Iterator[Path]:
    yield data
    yield from data.rglob("*")


def test_nobody_else_can_open_what_up_makes(old_folder: Path, environment: Mapping[str, str], tmp_path: Path):
    up = subprocess.Popen(
        [*XDSI, "up", "--data", str(old_folder)],
        cwd=tmp_path,  # where it leaves a note for other commands
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        umask=0o022,
    )
    try:
        assert up.stdout is not None
        said = []
        for line in up.stdout:
            said.append(line)
            if line == "ready\n":
                break
        assert said[-1] == "ready\n", said
        study = write_study(tmp_path / "study")
        config = ["--config", str(old_folder / "xdsi.toml")]
        for words in (
            ["patient", "add", PATIENT_ID],
            ["import", str(study[0])],
            ["publish", str(study[0])],
            ["find", "--patient", PATIENT_ID],
        ):
            subprocess.run([*XDSI, *words, *config], check=True, env=environment, umask=0o022)
        found = {path: stat.S_IMODE(path.lstat().st_mode) for path in everything_in(old_folder)}
        # Databases, documents, instances, spools, logs and settings are among what was looked at.
        kinds = {path.name for path in found}
        assert {"xdsi.toml", "registry.sqlite3", "registry.log", "audit", "instances", "blobs"} <= kinds
        assert [path for path in found if path.suffix == ".dcm"]
        wrong = {
            str(path.relative_to(old_folder)): oct(mode)
            for path, mode in found.items()
            if mode != (0o700 if path.is_dir() else 0o600)
        }
        assert wrong == {}
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)

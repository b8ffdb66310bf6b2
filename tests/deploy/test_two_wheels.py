"""The wheel of an earlier release and the one of today, installed one over the other as a host does it: the
upgrade keeps everything, the way back works on what the newer one wrote, and so does the way forth again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import hosts as hosts_module
from tests.support.hosts import Daemon, Host, hosts
from tests.support.patroni import wait_until
from tests.support.syntax import ROOT
from xdsi.builtin_study import write_study

#: Before searches, commitments, versions of images, consent documents and retention had their tables.
EARLIER = "0895ee0"
VERSIONS = ("0.0.9", "0.1.0")
INSTALL = ROOT / "deploy" / "systemd" / "install.sh"
PATIENT = "P-1001"


def another_python() -> Path:
    """A Python of the range that is supported, another one than this where there is one."""
    there = (shutil.which(f"python3.{minor}") for minor in (12, 13, 11))
    kept = Path("~/.pyenv/versions").expanduser().glob("3.1[1-3].*/bin/python3")
    others = [path for path in [*map(Path, filter(None, there)), *sorted(kept)] if _version(path)]
    return next((path for path in others if _version(path) != sys.version_info[:2]), Path(sys.executable))


def _version(python: Path) -> tuple[int, ...] | None:
    told = subprocess.run(
        [python, "-c", "import sys, venv, pip; print(*sys.version_info[:2])"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return tuple(map(int, told.stdout.split())) if told.returncode == 0 else None


def has_history() -> bool:
    asked = ["git", "-C", str(ROOT), "cat-file", "-e", f"{EARLIER}^{{commit}}"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(hosts_module.impossible()), reason=hosts_module.impossible()),
]


def wheel_of(source: Path, version: str, into: Path) -> Path:
    """The wheel of a tree under a version, its lock beside it."""
    project = source / "pyproject.toml"
    text = project.read_text("utf-8")
    project.write_text(text.replace('version = "0.1.0"', f'version = "{version}"'), "utf-8")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", into],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(source / "requirements.lock", into)
    [wheel] = into.glob("*.whl")
    return wheel


def tree_of(revision: str, folder: Path) -> Path:
    """The files of a commit."""
    folder.mkdir()
    archive = subprocess.run(["git", "-C", ROOT, "archive", revision], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    viewer = ROOT / "consumer" / "viewer" / "dist"
    if viewer.is_dir() and (folder / "consumer" / "viewer").is_dir():
        shutil.copytree(viewer, folder / "consumer" / "viewer" / "dist")
    return folder


@dataclass
class Machine:
    """A host on which releases are installed, with a Python of its own."""

    host: Host
    folder: Path
    python: Path

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
        } | {name: value for name, value in os.environ.items() if name.startswith("PIP_")}

    def install(self, *words: str | Path) -> str:
        """What the installer says."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        if not (programs / "python3").exists():
            (programs / "python3").symlink_to(self.python)
        done = subprocess.run(
            [INSTALL, "--root", self.folder / "root", *words],
            capture_output=True, text=True, check=False, env=self._environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def program(self) -> Path:
        """That of the current release."""
        return self.folder / "root/opt/xdsi/current/bin/xdsi"

    def xdsi(self, *words: str | Path) -> str:
        """What a command says, beside the services."""
        done = subprocess.run(
            self.host.command(self.program, *words, "--config", self.folder / "data" / "xdsi.toml"),
            capture_output=True, text=True, check=False, env=self._environment(), cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def services(self, name: str) -> Iterator[None]:
        """The community of the current release, which stops in order."""
        log = self.folder / f"{name}.log"
        words = (self.program, "up", "--data", self.folder / "data")
        daemon = Daemon(self.host, words, log, environment=self._environment())
        daemon.start()
        try:
            wait_until(lambda: "\nready\n" in log.read_text("utf-8") or not daemon.running, 120, str)
            assert daemon.running, log.read_text("utf-8")
            yield
        finally:
            daemon.stop()

    def share(self, study: Path, patient: str) -> None:
        """Import and publish a study."""
        self.xdsi("patient", "add", patient)
        self.xdsi("import", study)
        self.xdsi("publish", study, "--patient", patient)

    def fetched(self, patient: str) -> set[bytes]:
        """The images of a patient, behind their preambles."""
        place = self.folder / f"images-{time.monotonic_ns()}"
        [manifest] = self.xdsi("find", "--patient", patient, "--quiet").split()
        self.xdsi("fetch", manifest, "--to", place)
        return images_of(place)


def images_of(folder: Path) -> set[bytes]:
    return {path.read_bytes()[128:] for path in folder.rglob("*.dcm")}


def a_study(folder: Path) -> Path:
    write_study(folder)
    return folder


def test_an_upgrade_keeps_everything_and_can_be_taken_back(tmp_path: Path, long: bool):
    if not long:
        pytest.skip("two installations take minutes: --long")
    if not has_history():
        pytest.skip("this copy has no history, from which the earlier release is made")
    wheels = []
    for revision, version in zip((EARLIER, "HEAD"), VERSIONS, strict=True):
        made = tmp_path / f"wheel-{version}"
        made.mkdir()
        wheels.append(wheel_of(tree_of(revision, tmp_path / f"tree-{version}"), version, made))
    with hosts("one") as members:
        machine = Machine(members["one"], tmp_path / "machine", another_python())
        machine.folder.mkdir()
        machine.install(wheels[0])
        study = a_study(tmp_path / "study")
        images = images_of(study)
        with machine.services("earlier"):
            machine.share(study, PATIENT)
            assert machine.fetched(PATIENT) == images

        assert "0.1.0 is current (before: 0.0.9)" in machine.install(wheels[1])
        with machine.services("later"):
            assert machine.fetched(PATIENT) == images
            other = a_study(tmp_path / "other")
            machine.share(other, "P-1002")
            assert machine.fetched("P-1002") == images_of(other)
            assert "whole" in machine.xdsi("audit", "verify")

        assert "0.0.9 is current (before: 0.1.0)" in machine.install("--roll-back")
        with machine.services("back"):
            assert machine.fetched(PATIENT) == images
            assert machine.fetched("P-1002") == images_of(other)
            third = a_study(tmp_path / "third")
            machine.share(third, "P-1003")
            assert "whole" in machine.xdsi("audit", "verify")

        assert "0.1.0 is current (before: 0.0.9)" in machine.install("--roll-back")
        with machine.services("forth"):
            for patient, folder in ((PATIENT, study), ("P-1002", other), ("P-1003", third)):
                assert machine.fetched(patient) == images_of(folder)
            assert "whole" in machine.xdsi("audit", "verify")

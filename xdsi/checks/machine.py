"""The machine: Python, SQLite, the clock."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from xdsi.checks.finding import Finding, doubtful, well, wrong

_OLDEST_PYTHON = (3, 11)
_RELEASED = 2026


def machine() -> Iterator[Finding]:
    """What every service needs of the machine."""
    yield _python()
    yield _sqlite()
    yield _clock()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _OLDEST_PYTHON:
        return well("python", "Python", version)
    return wrong("python", "Python", version, "install Python 3.11, 3.12 or 3.13")


def _sqlite() -> Finding:
    from shared.store.sqlite import OLDEST_SQLITE

    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        return well("sqlite", "SQLite", version)
    oldest = ".".join(map(str, OLDEST_SQLITE[:2]))
    return wrong(
        "sqlite",
        "SQLite",
        version,
        f"install a Python with SQLite {oldest} or newer, or set XDSI_DATABASE_URL",
    )


def _clock() -> Finding:
    now = datetime.now(UTC)
    if now.year < _RELEASED:  # this release did not exist before
        return wrong("clock", "clock", f"{now:%Y-%m-%d %H:%M}Z", "set the clock; use NTP (ITI-1)")
    synchronised = _synchronised()
    if synchronised is None:
        shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        return well("clock", "clock", f"{shown}Z; no time service to ask")
    if synchronised:
        return well("clock", "clock", "synchronised")
    return doubtful("clock", "clock", "not synchronised", "start NTP (ITI-1)")


def _synchronised() -> bool | None:
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603  # a fixed program without input
            [program, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() == "yes" if answer.returncode == 0 and answer.stdout.strip() else None

"""Folders of a process, beside those that pytest gives to a test: nothing of them stays.

A process that was killed cannot remove its own. The next one that makes such a folder does it: whose lock
nobody holds has nobody.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LOCK = ".lock"


def own_folder(prefix: str, end: Callable[[Path], None] = lambda folder: None) -> Path:
    """A new folder, for as long as this process lives; `end` ends what may still run in one that was left."""
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_left(left, end)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    # It has its name when it is locked, so that nobody takes the folder for one that was left.
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "lock").rename(folder / _LOCK)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_if_left(folder: Path, end: Callable[[Path], None]) -> None:
    with suppress(OSError):  # of somebody else, or just removed
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end(folder)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)

"""Folders and files of a service: there after a power loss, and of this user alone.

A file is there under its name only when its folder was synced after. Whatever is made below the data folder
is for the user of the service: patients' images and their names, keys, passwords, the trail.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_OTHERS = 0o077
# So many files of a folder that lets nobody in are looked at: a store of millions must not delay a start.
_GLANCE = 256


def sync(path: Path) -> None:
    """Sync what a file holds, or which names a folder has; blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder`, and what is above it, where absent, private; durable when this returns; blocks.

    That it is there does not say that whoever made it has come to sync it.
    """
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=PRIVATE_FOLDER)
    # A folder above that we may enter and not read was made by somebody else, long ago.
    with suppress(PermissionError):
        sync(folder.parent)


class FoldersOfStore:
    """The folders of a store, each made when something comes to be kept in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def make(self, folder: Path) -> None:
        """Have `folder`, somewhere below the root, be there durably, whoever made it; blocks."""
        if folder == self._root or folder in self._durable:
            return
        self.make(folder.parent)
        make_folder(folder)
        self._durable.add(folder)


def lock_file(path: Path, *, shared: bool = False) -> int:
    """Lock a file, which is made when absent, until the descriptor is closed: for this process alone, or with
    others that share it.

    Raises
    ------
    BlockingIOError
        Another process has it, or this one by another descriptor.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class FolderHeld(Exception):
    """Another process uses a folder that one at a time may use; the text is a sentence with the remedy."""


class FolderHold:
    """The right to a folder, which is made when absent, for this process alone or with others that share it;
    until `close`, or the end of the process.

    Raises
    ------
    FolderHeld
        Another process has it.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        make_folder(folder)
        try:
            self._lock = lock_file(folder / "process.lock", shared=shared)
        except BlockingIOError:
            raise FolderHeld(
                f"{folder} is used by another process; stop that one, or give this one a folder of its own"
            ) from None

    def close(self) -> None:
        """Let others have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def keep_private() -> None:
    """Let no file or folder that this process and its children make be opened by others."""
    os.umask(_OTHERS)


def mend(path: Path) -> None:
    """Close to others what is at `path` and below it, as an older release left it open; blocks.

    Links below it are left alone: what they lead to is not ours to change.

    Raises
    ------
    OSError
        Something that others can open belongs to another user, or cannot be looked at; its path is in it.
    """
    with suppress(FileNotFoundError):
        if not path.is_dir():
            _close(path, PRIVATE_FILE)
            return
        # The door first: while the rest is closed nobody comes in any more.
        was_private = not _close(path, PRIVATE_FOLDER)
        for entry in _entries(path, _GLANCE if was_private else None):
            if entry.is_dir(follow_symlinks=False):
                mend(Path(entry))
            else:
                _close(Path(entry), PRIVATE_FILE)


def _entries(folder: Path, files: int | None) -> Iterator[os.DirEntry[str]]:
    """What is in `folder`: its folders, and at most so many `files`."""
    seen = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                continue
            if not entry.is_dir(follow_symlinks=False):
                seen += 1
                if files is not None and seen > files:
                    continue
            yield entry


def _close(path: Path, mode: int) -> bool:
    """Whether others could open it until now."""
    with suppress(FileNotFoundError):  # others of our processes may be at work
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
            path.chmod(mode)
            return True
    return False

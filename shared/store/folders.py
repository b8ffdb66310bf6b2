"""Names that survive a power loss: a file is there under its name only when its folder was synced after."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def sync(path: Path) -> None:
    """Sync what a file holds, or which names a folder has; blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make `folder`, and what is above it, where absent; durable when this returns; blocks.

    That it is there does not say that whoever made it has come to sync it.
    """
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=mode)
    # A folder above that we may enter and not read was made by somebody else, long ago.
    with suppress(PermissionError):
        sync(folder.parent)

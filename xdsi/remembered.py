"""Which community runs from a folder: `xdsi up` leaves a note there, by which the other commands find it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from xdsi.failures import Failed

NOTE = ".xdsi-up"
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def remember(folder: Path, config: Path) -> bool:
    """Note in `folder` that `config` has the settings of the community there; whether that could be done."""
    note = folder / NOTE
    with suppress(OSError):
        note.unlink(missing_ok=True)
        note.write_text(f"{config}\n", "utf-8")
        note.chmod(0o600)
        return True
    return False


def remembered(folder: Path) -> Path | None:
    """The settings that are noted in `folder`; None when there is no note, or what it names is gone.

    Raises
    ------
    Failed
        Somebody else could have written the note, or the settings.
    """
    note = folder / NOTE
    try:
        config = Path(note.read_text("utf-8").strip())
        if not config.is_file():
            return None
        written = ((note, note.lstat()), (config, config.stat()))
        foreign = next((path for path, status in written if not _is_ours(status)), None)
    except (OSError, ValueError):
        return None
    if foreign:
        raise Failed(f"{foreign}: others may have written it; name the settings with --config, or remove it")
    return config


def _is_ours(status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & _OF_OTHERS

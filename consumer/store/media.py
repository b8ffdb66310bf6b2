"""Studies on media: a folder or a ZIP with a DICOMDIR (PS3.10 8.6; PS3.3 annex F)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_STORED, ZipFile

from pydicom.fileset import FileSet

from shared.attempts import attempted


def write_media(files: Sequence[tuple[str, Path]], target: Path) -> dict[str, str]:
    """Write files, each with its SOP Instance UID, as one file-set; by UID why it is not in it, or nothing.

    A folder takes further studies: what is there stays. A ZIP is there once it is whole, and takes the place
    of one before. Blocks.

    Raises
    ------
    OSError
        There is no room, or the place cannot be written.
    """
    as_zip = target.suffix.lower() == ".zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".xdsi-") as work:
        folder = Path(work) / "media" if as_zip else target
        index = folder / "DICOMDIR"
        media = FileSet(index) if index.is_file() else FileSet()
        try:
            reasons = {uid: _added(media, path) for uid, path in files}
            if len(media) > 0:
                media.write(None if index.is_file() else folder)
        finally:
            # What it staged is private to us, and gone before anybody waits for a collector of garbage.
            media._stage["t"].cleanup()
        if as_zip and len(media) > 0:
            _zipped(folder, target)
    return reasons


def _added(media: FileSet, path: Path) -> str:
    failure = attempted(partial(media.add, path))
    if isinstance(failure, OSError):
        raise failure
    # Whatever pydicom makes of what cannot stand in a DICOMDIR.
    return f"it cannot stand in a DICOMDIR: {failure}" if isinstance(failure, Exception) else ""


def _zipped(folder: Path, target: Path) -> None:
    part = target.with_suffix(".part")
    try:
        with ZipFile(part, "w", ZIP_STORED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder).as_posix())
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)

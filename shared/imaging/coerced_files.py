"""Instances under local identifiers, as files of their own; pixels are copied and never decoded."""

from __future__ import annotations

import shutil
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from shared.attempts import attempted
from shared.imaging.coercion import coerce
from shared.imaging.local_identity import LocalIdentity

_COPY_BYTES: Final = 1024**2


class Uncoercible(ValueError):
    """An instance cannot be given other identifiers; the text says why."""


def write_coerced(source: Path, target: Path, local: LocalIdentity, *, origin: str, at: datetime) -> None:
    """Write `source` to `target` under local identifiers, in its transfer syntax; blocks.

    What follows the header is copied as it is, so that memory does not grow with pixels.

    Raises
    ------
    Uncoercible
        It cannot be read, or not be written so.
    OSError
        There is no room.
    """
    part = target.with_suffix(".part")
    failure = attempted(partial(_write, source, part, local, origin, at))
    if failure is None:
        part.replace(target)
        return
    part.unlink(missing_ok=True)
    if isinstance(failure, OSError):
        raise failure
    # Whatever pydicom makes of a header that it cannot read or write.
    raise Uncoercible(f"its header cannot be coerced ({type(failure).__name__})")


def _write(source: Path, target: Path, local: LocalIdentity, origin: str, at: datetime) -> None:
    meta = dcmread(source, specific_tags=[], stop_before_pixels=True).file_meta
    is_deflated = meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    with source.open("rb") as file, target.open("wb") as out:
        data_set = dcmread(file, stop_before_pixels=not is_deflated)
        coerce(data_set, local, source=origin, at=at)
        data_set.save_as(out, enforce_file_format=True)
        if not is_deflated:
            shutil.copyfileobj(file, out, _COPY_BYTES)

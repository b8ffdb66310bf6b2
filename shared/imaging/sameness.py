"""Whether two files of one SOP Instance UID hold one image, however its pixels are compressed.

They do when all attributes are equal that are not of the encoding, and every decoded pixel is: what was
compressed with loss, or anew from what had been, is another image.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy
from pydicom.pixels import iter_pixels

from shared.attempts import attempted_without_panic
from shared.dicom.content import content_digest
from shared.dicom.part10 import PIXEL_DATA, Part10
from shared.dicom.uids import EXPLICIT_LE
from shared.imaging.transcode import transcode

_LOSSY: Final = 0x00282110
_OF_ENCODING: Final = frozenset(
    {
        0x00082111,  # Derivation Description, which encoders write
        0x00089215,  # Derivation Code Sequence
        0x00280004,  # Photometric Interpretation
        0x00280006,  # Planar Configuration
        0x00280100,  # Bits Allocated
        PIXEL_DATA,
    }
)


def may_be_one_image(one: Part10, other: Part10) -> bool:
    """Whether two scanned files say the same beside their pixels, of which one at least is compressed."""
    if not (one.encapsulated or other.encapsulated):
        return False
    if not (PIXEL_DATA in one.data_set and PIXEL_DATA in other.data_set):
        return False
    return _said(one) == _said(other)


def _said(part10: Part10) -> bytes:
    lossy = part10.data_set.get(_LOSSY)
    # Of an image that was never compressed with loss, some say so and others say nothing.
    is_lossless = lossy is not None and lossy.value == b"00"
    return content_digest(part10, without=_OF_ENCODING | {_LOSSY} if is_lossless else _OF_ENCODING)


def pixels_are_equal(one: Path, other: Path, aside: Path) -> bool:
    """Whether every decoded pixel is equal; in a process of its own. `aside` is where files may be made.

    Raises
    ------
    ValueError
        The pixels of one cannot be decoded.
    OSError
        A file cannot be read or written.
    """
    plain = [aside.with_suffix(".one"), aside.with_suffix(".other")]
    try:
        for source, target in zip((one, other), plain, strict=True):
            transcode(source, target, EXPLICIT_LE)
        equal = attempted_without_panic(
            lambda: all(
                first is not None and second is not None and numpy.array_equal(first, second)
                for first, second in zip_longest(*map(iter_pixels, plain))
            )
        )
    finally:
        for target in plain:
            target.unlink(missing_ok=True)
    if isinstance(equal, OSError):
        raise equal
    if isinstance(equal, Exception):
        raise ValueError(f"the pixels cannot be compared: {type(equal).__name__}")
    return equal

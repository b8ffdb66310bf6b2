"""Elements and items as octets in Explicit VR Little Endian (PS3.5 7.1.2 and 7.5.2), for what is written in
numbers; a data set that people look at is pydicom's."""

from __future__ import annotations

import struct
from typing import Final

from shared.dicom import encodings

_NUL_PADDED: Final = frozenset({"OB", "UI", "UN"})
LONG_VRS: Final = frozenset(vr.decode() for vr in encodings.LONG_VRS)
_OF_LONG: Final = struct.Struct("<HH2sHI")
_OF_SHORT: Final = struct.Struct("<HH2sH")
_OF_ITEM: Final = struct.Struct("<HHI")


def padded(value: bytes, vr: str) -> bytes:
    """`value` of an even length (PS3.5 6.2)."""
    return value + (b"\0" if vr in _NUL_PADDED else b" ") if len(value) % 2 else value


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element.

    Raises
    ------
    struct.error
        The value is longer than its VR can tell (PS3.5 7.1.2).
    """
    value = padded(value, vr)
    if vr in LONG_VRS:
        return _OF_LONG.pack(tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value)) + value
    return _OF_SHORT.pack(tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def item(elements: bytes) -> bytes:
    """One item of a sequence, of a defined length."""
    return _OF_ITEM.pack(0xFFFE, 0xE000, len(elements)) + elements

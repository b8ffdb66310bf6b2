"""How elements are written: with which VRs, or none, and in which byte order (PS3.5 6.2, 7.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from shared.dicom.file_window import FileWindow

PIXEL_DATA: Final = 0x7FE00010
PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})

LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
SHORT_VRS: Final = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"}
    | {b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
VRS: Final = LONG_VRS | SHORT_VRS
TEXT_VRS: Final = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)

BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

VR_NAMES: Final = {vr: vr.decode() for vr in VRS}

UNDEFINED: Final = 0xFFFFFFFF
"""The length of what ends at a delimiter."""

PADDING: Final = b"\0 \r\n\x1a"
"""What may follow a data set, at the end of its file."""


class Encoding(NamedTuple):
    """How elements are written: with or without VR, and in which byte order."""

    implicit: bool
    big_endian: bool


_ENCODINGS: Final = (Encoding(False, False), Encoding(True, False), Encoding(False, True))


Reader = Callable[..., tuple[Any, ...]]


def _readers(order: str) -> tuple[Reader, ...]:
    """What reads, in a byte order: tag and length; a short and a long number."""
    return tuple([struct.Struct(order + form).unpack_from for form in ("HHI", "H", "I")])


READERS: Final = (_readers("<"), _readers(">"))
"""By whether the order is big-endian."""


def encoding_at(window: FileWindow, start: int, end: int, nominal: Encoding) -> Encoding:
    """The encoding in which the bytes at `start` make sense: `nominal` unless only another does."""
    octets = window.octets(start, 12)
    if _reads(octets, start, end, nominal) and not (nominal.implicit and octets[4:6] in VRS):
        return nominal
    others = (encoding for encoding in (nominal, *_ENCODINGS) if _reads(octets, start, end, encoding))
    return next((one for one in others if _goes_on(octets, window, start, end, one)), nominal)


def _first(octets: bytes, start: int, encoding: Encoding) -> tuple[int, int] | None:
    """Length of the first element and where its value begins; None when there is none in this encoding."""
    if len(octets) < 8:
        return None
    order = ">" if encoding.big_endian else "<"
    if struct.unpack_from(f"{order}H", octets)[0] > 0x00FF:
        return None
    if encoding.implicit:
        return struct.unpack_from(f"{order}I", octets, 4)[0], start + 8
    if octets[4:6] in SHORT_VRS:
        return struct.unpack_from(f"{order}H", octets, 6)[0], start + 8
    if octets[4:6] in LONG_VRS and len(octets) == 12:
        return struct.unpack_from(f"{order}I", octets, 8)[0], start + 12
    return None


def _reads(octets: bytes, start: int, end: int, encoding: Encoding) -> bool:
    first = _first(octets, start, encoding)
    return first is not None and (first[0] == UNDEFINED or first[0] + first[1] <= end)


def _goes_on(octets: bytes, window: FileWindow, start: int, end: int, encoding: Encoding) -> bool:
    """Whether another element, or nothing, follows the first."""
    first = _first(octets, start, encoding)
    if first is None or first[0] == UNDEFINED:
        return first is not None
    following = window.octets(sum(first), 4)
    if sum(first) >= end or following.strip(PADDING) == b"":
        return True
    tag = struct.Struct((">" if encoding.big_endian else "<") + "HH")
    return len(following) == 4 and tag.unpack(following) > tag.unpack_from(octets)


@lru_cache(maxsize=8192)
def implicit_vr(tag: int) -> str:
    """The VR that the dictionary gives a tag (PS3.6); UN when it does not know it."""
    # It loads numpy, which who reads manifests alone, mostly in explicit VR, can be without.
    from pydicom.datadict import dictionary_VR

    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "UL"
    if group % 2 and 0x0010 <= element <= 0x00FF:
        return "LO"
    try:
        vr: str = dictionary_VR(tag)
    except KeyError:
        return "UN"
    # Ambiguous VRs (PS3.5 annex A note): the widest form, which any reader takes.
    return "OW" if "OW" in vr else vr[:2]


HeadReader = Callable[[bytes], tuple[int, str] | None]
"""Tag and VR of the six bytes with which an element begins; None where it needs a closer look."""


def _head_reader(order: str, is_plain: Callable[[int], bool]) -> HeadReader:
    unpack = struct.Struct(order + "HH2s").unpack

    # Elements begin with a few hundred different ones.
    @lru_cache(maxsize=8192)
    def plain_head(octets: bytes) -> tuple[int, str] | None:
        group, element, vr = unpack(octets)
        tag = group << 16 | element
        return (tag, VR_NAMES[vr]) if vr in SHORT_VRS and is_plain(tag) else None

    return plain_head


def _is_data(tag: int) -> bool:
    """Whether an element is data, no pixels and no sequence, and begins no padding."""
    if tag >> 16 in (0x0000, 0x0002, 0x2020, 0xFFFE) or tag in PIXEL_TAGS:
        return False
    return implicit_vr(tag) != "SQ"


PLAIN_HEADS: Final = (_head_reader("<", _is_data), _head_reader(">", _is_data))
"""Of elements with a short VR in a data set; by whether the order is big-endian."""
META_HEAD: Final = _head_reader("<", lambda tag: tag >> 16 == 0x0002)
"""Of those of group 0002."""

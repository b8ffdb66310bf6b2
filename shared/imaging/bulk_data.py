"""Values that metadata leave in the file, found by the path in their BulkDataURI (PS3.18 8.7.3.3, F.2.2).

They are given as Explicit VR Little Endian has them. Pixel data that nothing here decodes, video above all,
are given as they are stored, under the media type of their transfer syntax.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from shared.dicom.data_set import Bulk, DataElement, DataSet, LongSequence, Source
from shared.dicom.part10 import Limits, scan
from shared.dicom.uids import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
    RLE,
    VIDEO,
)
from shared.http.pieces import FileRange, Piece, Stream

OCTETS: Final = "application/octet-stream"

_PATH: Final = re.compile(r"[0-9A-F]{8}(?:/[0-9]{1,9}/[0-9A-F]{8}){0,32}")
IMAGES: Final = {
    **dict.fromkeys((JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1), "image/jpeg"),
    **dict.fromkeys((JPEG_LS_LOSSLESS, JPEG_LS_NEAR), "image/jls"),
    **dict.fromkeys((JPEG_2000_LOSSLESS, JPEG_2000), "image/jp2"),
    **dict.fromkeys((HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K), "image/jphc"),
    RLE: "image/dicom-rle",
}
_WORDS: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_ARRAYS: Final = {2: "H", 4: "I", 8: "Q"}
MPEG2: Final = ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101")


def path_of(text: str) -> tuple[str, ...]:
    """The path of a BulkDataURI: tags, and between them 0-based numbers of items; empty when it is none."""
    return tuple(text.split("/")) if _PATH.fullmatch(text) else ()


@dataclass(frozen=True, slots=True)
class BulkValue:
    """One value that is given: its media type, and the pieces that it is made of."""

    media_type: str
    pieces: tuple[Piece, ...]


def bulk_value(file: Path, path: Sequence[str], limits: Limits) -> BulkValue | None:
    """The value at `path` in a Part 10 file; None when there is none, or it stands in the metadata itself.

    Blocks: the file is scanned.

    Raises
    ------
    OSError, DicomError
        The file cannot be read.
    """
    part10 = scan(file, limits)
    element = _element_at(part10.data_set, path)
    if element is None or not isinstance(element.value, Bulk):
        return None
    bulk = element.value
    word = _WORDS.get(element.vr, 1) if part10.big_endian and bulk.fragments is None else 1
    if part10.deflated or word > 1:
        length = sum(length for _, length in bulk.ranges)
        pieces: tuple[Piece, ...] = (Stream(length, partial(_made, part10.source, bulk, word)),)
    else:
        pieces = tuple(FileRange(file, offset, length) for offset, length in bulk.ranges)
    return BulkValue(media_type(part10.transfer_syntax_uid, bulk), pieces)


def _made(source: Source, bulk: Bulk, word: int) -> Generator[bytes, None, None]:
    """The bytes of a value that a file has not as they are given: inflated, and in the other byte order."""
    for piece in source.pieces(bulk.ranges):
        yield piece if word == 1 else _swapped(piece, word)


def _swapped(octets: bytes, word: int) -> bytes:
    whole = len(octets) // word * word
    words = array(_ARRAYS[word], octets[:whole])
    words.byteswap()
    return words.tobytes() + octets[whole:]


def _element_at(data_set: DataSet, path: Sequence[str]) -> DataElement | None:
    tag, *rest = path
    element = data_set.get(int(tag, 16))
    if element is None or not rest:
        return element
    item = _item(element, int(rest[0]))
    return None if item is None else _element_at(item, rest[1:])


def _item(element: DataElement, number: int) -> DataSet | None:
    if not isinstance(element.value, tuple | LongSequence):
        return None
    return next(islice(element.value, number, None), None)


def media_type(transfer_syntax_uid: str, bulk: Bulk) -> str:
    """Of the value of a file in this transfer syntax."""
    return OCTETS if bulk.fragments is None else media_type_of(transfer_syntax_uid)


def media_type_of(transfer_syntax_uid: str) -> str:
    """Of pixels in this transfer syntax."""
    if transfer_syntax_uid in VIDEO:
        return "video/mpeg" if transfer_syntax_uid.startswith(MPEG2) else "video/mp4"
    return IMAGES.get(transfer_syntax_uid, OCTETS)

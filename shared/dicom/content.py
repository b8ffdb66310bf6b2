"""What a data set says, whatever encoding it is in: equal digests are one instance (PS3.5 7, annex A).

VR, byte order, padding, group lengths, item lengths, deflation and how pixels are cut into fragments are of
the encoding; tags and values are of the content. A private sequence that another program copied as UN is the
sequence that it was.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Container, Iterable
from tempfile import TemporaryFile
from typing import Final

from shared.dicom.data_set import LIMITS, Bulk, DataElement, DataSet, DicomError, Source
from shared.dicom.encodings import TEXT_VRS, Encoding, implicit_vr
from shared.dicom.file_window import FileWindow
from shared.dicom.part10 import Part10
from shared.dicom.scanner import Scanner

_ITEM: Final = b"\xfe\xff\x00\xe0"
_LONGEST_COPY: Final = 1024**2
_WORDS: Final = {
    **dict.fromkeys(("OW", "US", "SS", "AT"), 2),
    **dict.fromkeys(("OL", "OF", "UL", "SL", "FL"), 4),
    **dict.fromkeys(("OD", "OV", "FD", "SV", "UV"), 8),
}
# Group lengths aside: offset tables, and padding at the end.
_OF_ENCODING: Final = frozenset({0x7FE00001, 0x7FE00002, 0xFFFCFFFC})

Update = Callable[[bytes], None]


def content_digest(part10: Part10, *, without: Container[int] = ()) -> bytes:
    """SHA-256 of what the data set of a scanned file says, top-level elements of `without` left out."""
    digest = hashlib.sha256()
    _Content(digest.update, part10.source, part10.big_endian).data_set(part10.data_set, without)
    return digest.digest()


class _Content:
    def __init__(self, update: Update, source: Source, big_endian: bool) -> None:
        self.update = update
        self.source = source
        self.big_endian = big_endian

    def data_set(self, data_set: DataSet, without: Container[int] = ()) -> None:
        for tag in sorted(data_set):
            if tag >= 0x00080000 and tag & 0xFFFF and tag not in _OF_ENCODING and tag not in without:
                self.update(struct.pack("<I", tag))
                self.value(data_set[tag])

    def value(self, element: DataElement) -> None:
        value = element.value
        if isinstance(value, bytes):
            self.plain(element, value)
        elif isinstance(value, Bulk):
            self.bulk(element, value)
        else:
            self.items(value)

    def items(self, items: Iterable[DataSet]) -> None:
        self.update(b"(")
        for item in items:
            self.update(b"[")
            self.data_set(item)
            self.update(b"]")
        self.update(b")")

    def plain(self, element: DataElement, value: bytes) -> None:
        if element.vr == "UN" and value.startswith(_ITEM) and self.copied_sequence(value):
            return
        if implicit_vr(element.tag) in TEXT_VRS:
            value = value.rstrip(b"\0 ")
        elif len(value) % 2:
            value += b"\0"
        if not value and implicit_vr(element.tag) in ("SQ", "UN"):
            self.update(b"()")
            return
        self.update(struct.pack("<Q", len(value)))
        self.update(self.little_endian(element.vr, value))

    def bulk(self, element: DataElement, value: Bulk) -> None:
        length = sum(length for _, length in value.ranges)
        if element.vr == "UN" and length <= _LONGEST_COPY:
            octets = b"".join(self.source.pieces(value.ranges))
            if octets.startswith(_ITEM) and self.copied_sequence(octets):
                return
        if length <= _LONGEST_COPY and value.fragments is None:
            # Whether a value stayed in the file depends on its VR, which is of the encoding.
            self.plain(
                DataElement(element.tag, "OB" if element.vr == "UN" else element.vr, b""),
                b"".join(self.source.pieces(value.ranges)),
            )
            return
        self.update(struct.pack("<Q", length + length % 2))
        for piece in self.source.pieces(value.ranges):
            self.update(self.little_endian(element.vr, piece))
        self.update(bytes(length % 2))

    def copied_sequence(self, value: bytes) -> bool:
        """Digest a value as UN as the items that it is made of (PS3.5 6.2.2); False when of none."""
        with TemporaryFile() as file:
            # Under a tag that the dictionary knows as a sequence.
            file.write(struct.pack("<HHI", 0x0008, 0x1140, len(value)) + value)
            file.flush()
            window = FileWindow(file.fileno())
            scanner = Scanner(window, 8 + len(value), Encoding(True, False), LIMITS, self.source, {})
            try:
                (element,) = scanner.data_set(0).values()
            except (DicomError, ValueError):
                return False
        if not isinstance(element.value, tuple):
            return False
        _Content(self.update, self.source, False).items(element.value)
        return True

    def little_endian(self, vr: str, value: bytes) -> bytes:
        size = _WORDS.get(vr, 1)
        if not self.big_endian or size == 1 or len(value) % size:
            return value
        swapped = bytearray(len(value))
        for place in range(size):
            swapped[place::size] = value[size - 1 - place :: size]
        return bytes(swapped)

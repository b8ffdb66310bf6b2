"""DICOM Part 10 files (PS3.10 7, PS3.5 7): a bounded scanner, which reads them before any other parser.

Large values are stepped over and never read, so memory does not grow with the file. What is wrong is told by
tag and position; no value is quoted. Tolerated, since it is in the field: Explicit VR Big Endian, odd
lengths, elements out of order, sequences as UN (PS3.5 6.2.2), a missing group length in group 0002.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from pydicom.datadict import dictionary_VR

from shared.dicom.uids import (
    DEFLATED_LE,
    ENCAPSULATED,
    EXPLICIT_BE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LE,
    TRANSFER_SYNTAXES,
    UID_FORM,
    is_uid,
)

PREAMBLE: Final = 128
PIXEL_DATA: Final = 0x7FE00010
PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})

CANNOT_UNDERSTAND: Final = 0xC000
MISMATCH: Final = 0xA900
SYNTAX_NOT_SUPPORTED: Final = 0xC122
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD

_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS: Final = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"}
    | {b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
_VRS: Final = _LONG_VRS | _SHORT_VRS
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask of us. Sizes in bytes; `inflated` bounds the data set of a deflated file.

    Values longer than `binary` (of the VRs O? and UN) or `value` (of the others) stay in the file; what is
    kept in memory adds up to `kept` at most.
    """

    depth: int = 32
    elements: int = 200_000
    binary: int = 1024
    value: int = 64 * 1024
    kept: int = 16 * 1024**2
    inflated: int = 256 * 1024**2
    inflated_ratio: int = 200


LIMITS: Final = Limits()


class DicomError(ValueError):
    """The bytes are not DICOM that we accept; the text says what is wrong and where, and quotes no value.

    `status` is the DIMSE status and STOW-RS failure reason that says so (PS3.4 B.2.3, PS3.18 I.2.2).
    """

    def __init__(self, text: str, status: int = CANNOT_UNDERSTAND) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Bulk:
    """A value that stayed in the file: `length` bytes from `offset`, or fragments of encapsulated pixel data.

    `fragments` are (offset, length) without item headers and without the Basic Offset Table, whose bytes are
    `offset_table`. Offsets count in the inflated data set when the file is deflated, else in the file.
    """

    offset: int
    length: int
    fragments: tuple[tuple[int, int], ...] | None = None
    offset_table: bytes = b""


DataSet = Mapping[int, "DataElement"]


@dataclass(frozen=True, slots=True)
class DataElement:
    """One element. `value` is encoded as in the file, but its sequences are data sets."""

    tag: int
    vr: str
    value: bytes | Bulk | tuple[DataSet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """A scanned file: group 0002, the data set and where it begins.

    `deflated` tells that offsets do not count in the file.
    """

    transfer_syntax_uid: str
    meta: DataSet
    data_set: DataSet
    data_set_offset: int
    big_endian: bool = False

    @property
    def deflated(self) -> bool:
        """Whether the data set is compressed as a whole, so that offsets do not count in the file."""
        return self.transfer_syntax_uid == DEFLATED_LE


def scan(path: Path, limits: Limits = LIMITS) -> Part10:
    """Scan the whole structure of a Part 10 file without reading its large values.

    Raises
    ------
    DicomError
        No Part 10 file, truncated, malformed, of an unknown transfer syntax, or beyond `limits`.
    """
    with path.open("rb", buffering=16 * 1024) as file:
        size = os.fstat(file.fileno()).st_size
        meta, offset = _file_meta(file, size, limits)
        syntax = transfer_syntax_of(meta)
        if syntax == DEFLATED_LE:
            with TemporaryFile() as inflated:
                length = _inflate(file, size - offset, inflated, limits)
                data_set = _Scanner(inflated, 0, length, syntax, limits).data_set()
        else:
            data_set = _Scanner(file, offset, size, syntax, limits).data_set()
    return Part10(
        transfer_syntax_uid=syntax,
        meta=meta,
        data_set=data_set,
        data_set_offset=offset,
        big_endian=syntax == EXPLICIT_BE,
    )


def transfer_syntax_of(meta: DataSet) -> str:
    """Transfer Syntax UID (0002,0010), or a `DicomError` when absent or unknown."""
    syntax = uid_of(meta, 0x00020010)
    if not syntax:
        raise DicomError("no Transfer Syntax UID (0002,0010)")
    if syntax not in TRANSFER_SYNTAXES:
        raise DicomError("Transfer Syntax UID (0002,0010) is not supported", SYNTAX_NOT_SUPPORTED)
    return syntax


def uid_of(data_set: DataSet, tag: int) -> str:
    """The UID at `tag` without padding, empty when absent; anything that is no UID raises `DicomError`."""
    element = data_set.get(tag)
    if element is None or not isinstance(element.value, bytes):
        return ""
    value = element.value.rstrip(b"\0 ").decode("latin-1")
    if value and not is_uid(value):
        raise DicomError(f"{name(tag)} is not a UID: {UID_FORM}")
    return value


def name(tag: int) -> str:
    """`(gggg,eeee)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


# --- the file around the data set --------------------------------------------------------------------


def _file_meta(file: BinaryIO, size: int, limits: Limits) -> tuple[DataSet, int]:
    head = file.read(PREAMBLE + 4)
    if len(head) < PREAMBLE + 4 or head[PREAMBLE:] != b"DICM":
        raise DicomError("not a DICOM Part 10 file: no DICM at byte 128")
    scanner = _Scanner(file, PREAMBLE + 4, size, "1.2.840.10008.1.2.1", limits)
    meta = scanner.group(0x0002)
    if not meta:
        raise DicomError("no File Meta Information (group 0002)")
    return meta, scanner.at


def _inflate(file: BinaryIO, length: int, into: BinaryIO, limits: Limits) -> int:
    """Write the inflated data set to `into`; how long it is."""
    cap = min(limits.inflated, max(length, 1024) * limits.inflated_ratio)
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    written = 0
    for piece in _inflated(file, inflater):
        written += into.write(piece)
        if written > cap:
            raise DicomError(f"the deflated data set is longer than {cap} bytes")
    if not inflater.eof:
        raise DicomError("truncated: the deflated data set has no end")
    return written


def _inflated(file: BinaryIO, inflater: zlib._Decompress) -> Iterator[bytes]:
    try:
        while not inflater.eof and (piece := file.read(64 * 1024)):
            yield inflater.decompress(piece, 1024**2)
            while inflater.unconsumed_tail:
                yield inflater.decompress(inflater.unconsumed_tail, 1024**2)
    except zlib.error:
        raise DicomError("the deflated data set cannot be inflated") from None


# --- the data set ------------------------------------------------------------------------------------


class _Scanner:
    """Reads elements at `at` up to `end`; counts what `limits` bounds."""

    def __init__(self, file: BinaryIO, at: int, end: int, syntax: str, limits: Limits) -> None:
        self.file = file
        self.at = at
        self.end = end
        self.limits = limits
        self.elements = 0
        self.kept = 0
        self.implicit = syntax == IMPLICIT_LE
        self.encapsulated = syntax in ENCAPSULATED
        order = ">" if syntax == EXPLICIT_BE else "<"
        self.tag_and_length = struct.Struct(order + "HHI")
        self.tag_only = struct.Struct(order + "HH")
        self.short = struct.Struct(order + "H")
        self.long = struct.Struct(order + "I")
        file.seek(at)

    def data_set(self) -> DataSet:
        """Every element up to the end of the file."""
        return self._elements(self.end, 0, implicit=self.implicit)[0]

    def group(self, number: int) -> DataSet:
        """The elements of one group, which come first."""
        found: dict[int, DataElement] = {}
        while self.at + 8 <= self.end:
            here = self.at
            head = self.tag_only.unpack(self._take(4, self.end))
            self._go(here)
            if head[0] != number:
                break
            self._element(found, self.end, depth=0, implicit=False)
        return found

    # -- positions

    def _take(self, length: int, end: int) -> bytes:
        if self.at + length > end:
            raise DicomError(f"truncated at byte {self.at}: {length} bytes expected, {end - self.at} left")
        octets = self.file.read(length)
        if len(octets) != length:
            raise DicomError(f"truncated at byte {self.at + len(octets)}")
        self.at += length
        return octets

    def _go(self, to: int) -> None:
        self.file.seek(to)
        self.at = to

    def _count(self) -> None:
        self.elements += 1
        if self.elements > self.limits.elements:
            raise DicomError(f"more than {self.limits.elements} elements")

    # -- structure

    def _elements(self, end: int, depth: int, *, implicit: bool) -> tuple[DataSet, bool]:
        """Elements up to `end` or an item's delimiter, and whether it was the delimiter."""
        found: dict[int, DataElement] = {}
        while self.at < end:
            if self._element(found, end, depth=depth, implicit=implicit):
                return found, True
        return found, False

    def _element(self, found: dict[int, DataElement], end: int, *, depth: int, implicit: bool) -> bool:
        """Read one element into `found`; True when it was an item's delimiter instead."""
        self._count()
        here = self.at
        octets = self._take(8, end)
        group, element, length = self.tag_and_length.unpack(octets)
        tag = group << 16 | element
        if group == 0xFFFE:
            if tag == _ITEM_END and depth:
                return True
            raise DicomError(f"{name(tag)} out of place at byte {here}")
        if tag in found:
            raise DicomError(f"{name(tag)} appears twice")
        if implicit:
            vr = implicit_vr(tag) if length != _UNDEFINED or tag in PIXEL_TAGS else "SQ"
        else:
            vr, length = self._explicit(tag, octets, end)
        found[tag] = DataElement(tag, vr, self._value(tag, vr, length, end, depth, implicit))
        return False

    def _explicit(self, tag: int, octets: bytes, end: int) -> tuple[str, int]:
        vr = octets[4:6]
        if vr not in _VRS:
            raise DicomError(f"{name(tag)} at byte {self.at - 8} has no known VR")
        if vr in _LONG_VRS:
            return vr.decode(), self.long.unpack(self._take(4, end))[0]
        return vr.decode(), self.short.unpack(octets[6:8])[0]

    def _value(
        self, tag: int, vr: str, length: int, end: int, depth: int, implicit: bool
    ) -> bytes | Bulk | tuple[DataSet, ...]:
        if vr == "SQ":
            return self._items(tag, length, end, depth + 1, implicit)
        if length == _UNDEFINED:
            if vr == "UN":
                # PS3.5 6.2.2 note 7: the items of such a sequence are Implicit VR Little Endian.
                return self._items(tag, length, end, depth + 1, True)
            return self._fragments(tag, end)
        if length > end - self.at:
            raise DicomError(f"truncated: {name(tag)} claims {length} bytes, {end - self.at} are left")
        if tag in PIXEL_TAGS or length > (self.limits.binary if vr in _BINARY else self.limits.value):
            bulk = Bulk(self.at, length)
            self._go(self.at + length)
            return bulk
        self.kept += length
        if self.kept > self.limits.kept:
            raise DicomError(f"more than {self.limits.kept} bytes of values beside bulk data")
        return self._take(length, end)

    def _items(self, tag: int, length: int, end: int, depth: int, implicit: bool) -> tuple[DataSet, ...]:
        if depth > self.limits.depth:
            raise DicomError(f"sequences are nested deeper than {self.limits.depth} levels")
        stop = self._end_of(tag, length, end)
        items: list[DataSet] = []
        while self.at < stop:
            self._count()
            item, item_length = self._item_head(stop)
            if item == _SEQUENCE_END and length == _UNDEFINED:
                return tuple(items)
            if item != _ITEM:
                raise DicomError(f"{name(tag)} holds {name(item)} where an item is due")
            items.append(self._item(tag, item_length, stop, depth, implicit))
        if length == _UNDEFINED:
            raise DicomError(f"truncated: sequence {name(tag)} has no end")
        return tuple(items)

    def _item(self, tag: int, length: int, end: int, depth: int, implicit: bool) -> DataSet:
        stop = self._end_of(tag, length, end)
        item, delimited = self._elements(stop, depth, implicit=implicit)
        if length == _UNDEFINED and not delimited:
            raise DicomError(f"truncated: an item of {name(tag)} has no end")
        if length != _UNDEFINED and (delimited or self.at != stop):
            raise DicomError(f"an item of {name(tag)} ends before its length says")
        return item

    def _end_of(self, tag: int, length: int, end: int) -> int:
        if length == _UNDEFINED:
            return end
        if length > end - self.at:
            raise DicomError(f"truncated: {name(tag)} claims {length} bytes, {end - self.at} are left")
        return self.at + length

    def _item_head(self, end: int) -> tuple[int, int]:
        group, element, length = self.tag_and_length.unpack(self._take(8, end))
        return group << 16 | element, length

    def _fragments(self, tag: int, end: int) -> Bulk:
        """Encapsulated pixel data (PS3.5 A.4): items of defined length up to the sequence delimiter."""
        if not self.encapsulated:
            raise DicomError(f"{name(tag)} has undefined length in an uncompressed transfer syntax")
        start = self.at
        fragments: list[tuple[int, int]] = []
        table: bytes | None = None
        while True:
            self._count()
            item, length = self._item_head(end)
            if item == _SEQUENCE_END:
                break
            if item != _ITEM or length > end - self.at:
                raise DicomError(f"truncated: the fragments of {name(tag)} break off at byte {self.at - 8}")
            if table is None:
                table = self._offset_table(length, end)
            else:
                fragments.append((self.at, length))
                self._go(self.at + length)
        return Bulk(start, self.at - start, tuple(fragments), table or b"")

    def _offset_table(self, length: int, end: int) -> bytes:
        if length > 4 * self.limits.elements:
            raise DicomError(f"a Basic Offset Table of {length} bytes")
        return self._take(length, end)


@lru_cache(maxsize=8192)
def implicit_vr(tag: int) -> str:
    """The VR that the dictionary gives a tag (PS3.6); UN when it does not know it."""
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


# --- writing -----------------------------------------------------------------------------------------


def file_meta(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """What stands before a data set in its file: preamble, prefix and group 0002 (PS3.10 7.1)."""
    elements = b"".join(
        (
            _meta_element(0x0001, b"OB", b"\0\1"),
            _meta_element(0x0002, b"UI", sop_class_uid.encode("ascii")),
            _meta_element(0x0003, b"UI", sop_instance_uid.encode("ascii")),
            _meta_element(0x0010, b"UI", transfer_syntax_uid.encode("ascii")),
            _meta_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            _meta_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
        )
    )
    length = _meta_element(0x0000, b"UL", struct.pack("<I", len(elements)))
    return bytes(PREAMBLE) + b"DICM" + length + elements


def _meta_element(element: int, vr: bytes, value: bytes) -> bytes:
    value += (b" " if vr == b"SH" else b"\0") * (len(value) % 2)
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHI", 2, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value

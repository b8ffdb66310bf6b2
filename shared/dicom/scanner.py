"""The elements of a data set, found by position in a file (PS3.5 7); what memory cannot keep stays there.

Tolerated without a word, since it is in the field: odd lengths, elements out of order, wrong group lengths,
sequences as UN (PS3.5 6.2.2). What else is tolerated has its name in `Tolerance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from shared.dicom.data_set import (
    BeyondLimit,
    Bulk,
    DataElement,
    DataSet,
    DicomError,
    Fragments,
    Items,
    Limits,
    LongSequence,
    Source,
    Tolerance,
    name,
)
from shared.dicom.encodings import (
    BINARY_VRS,
    LONG_VRS,
    META_HEAD,
    PADDING,
    PIXEL_TAGS,
    PLAIN_HEADS,
    READERS,
    UNDEFINED,
    VR_NAMES,
    VRS,
    Encoding,
    HeadReader,
    implicit_vr,
)
from shared.dicom.file_window import FileWindow

_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD

# As `DataElement(...)`, in half the time.
_element: Final = partial(tuple.__new__, DataElement)

# Of an element of a short VR: tag, VR and length.
_EXPLICIT_HEAD: Final = 8
# A UID, and what else is short, is kept however little memory is left.
_SHORT: Final = 64
# What an element or an item takes beside the bytes of its value.
_COST: Final = 256
_FRAGMENT_COST: Final = 16


Head = tuple[str, int, int]
"""VR, length, and where the value begins."""


class Scanner:
    """Reads the elements of `file` up to `end`, within `limits`; counts what is tolerated.

    `source` is where items that stay in the file are read from later.
    """

    def __init__(
        self,
        file: FileWindow,
        end: int,
        encoding: Encoding,
        limits: Limits,
        source: Source | None,
        tolerated: dict[Tolerance, int],
    ) -> None:
        self.end = end
        self.tolerated = tolerated
        self._file = file
        self._limits = limits
        self._source = source
        self._encoding = encoding
        self._elements_left = limits.elements
        self._short_value = min(_SHORT, limits.value, limits.binary)
        self._kept = 0
        self._no_padding_before = 0
        self._tag_and_length, self._short, self._long = READERS[encoding.big_endian]
        self._plain_head = PLAIN_HEADS[encoding.big_endian]

    def data_set(self, at: int) -> DataSet:
        """Every element from `at` to the end."""
        elements: dict[int, DataElement] = {}
        self._elements(elements, at, self.end, 0, self._encoding.implicit, inside=False)
        return elements

    def meta(self, at: int) -> tuple[DataSet, int]:
        """The elements of group 0002 that begin at `at`, and where they end."""
        elements: dict[int, DataElement] = {}
        while (at := self._plain_ones(elements, at, self.end, META_HEAD)) + 8 <= self.end:
            group, element, length = self._tag_and_length(self._at(at, 8), at - self._file.start)
            if group != 0x0002:
                break
            tag = group << 16 | element
            vr, length, value = self._head(tag, at, length, self.end, False)
            if tag in elements:
                self._tolerate(Tolerance.META_REPEATED, tag)
                at = self._value(None, tag, vr, length, value, self.end, 0, False)
            else:
                at = self._value(elements, tag, vr, length, value, self.end, 0, False)
        return elements, at

    def items(self, tag: int, at: int, stop: int, depth: int, *, implicit: bool) -> Iterator[DataSet]:
        """The items of a sequence that was looked at before."""
        while at < stop:
            item, length = self._item_head(at, stop)
            at += 8
            if item == _SEQUENCE_END:
                return
            if item == _ITEM:
                self._kept = 0
                elements: dict[int, DataElement] = {}
                at = self._item(elements, tag, at, length, stop, depth, implicit, closed=True)
                yield elements

    # -- bytes

    def _at(self, at: int, length: int) -> bytes:
        """The window of the file, which holds `length` bytes from `at`."""
        window = self._file.move(at, length)
        if at - self._file.start + length > len(window):
            raise DicomError(f"truncated at byte {self._file.start + len(window)}")
        return window

    def _bytes(self, at: int, length: int) -> bytes:
        window = self._at(at, length)
        start = at - self._file.start
        return window[start : start + length]

    def _tolerate(self, tolerance: Tolerance, tag: int) -> None:
        self.tolerated.setdefault(tolerance, tag)

    def _count(self, elements: int = 1) -> None:
        self._elements_left -= elements
        if self._elements_left < 0:
            raise BeyondLimit(f"more than {self._limits.elements} elements")

    def _keep(self, length: int) -> None:
        self._kept += length
        if self._kept > self._limits.kept:
            raise BeyondLimit(f"more than {self._limits.kept} bytes of values beside bulk data")

    # -- elements

    def _elements(
        self,
        elements: dict[int, DataElement] | None,
        at: int,
        end: int,
        depth: int,
        implicit: bool,
        *,
        inside: bool,
    ) -> tuple[int, bool]:
        """Elements from `at` to `end`, or to the delimiter of an item whose length is undefined (`inside`).

        They go into `elements`, or nowhere without it. Returns where they end, and whether at a delimiter.
        """
        while at < end:
            if (
                elements is not None
                and not implicit
                and (at := self._plain_ones(elements, at, end, self._plain_head)) >= end
            ):
                break
            if end - at < 8:
                if depth == 0 and self._is_padding(at):
                    return end, False
                raise DicomError(f"truncated at byte {at}: 8 bytes expected, {end - at} left")
            self._count()
            group, element, length = self._tag_and_length(self._at(at, 8), at - self._file.start)
            tag = group << 16 | element
            if group == 0xFFFE:
                if tag == _ITEM_END and inside:
                    return at + 8, True
                if tag == _SEQUENCE_END and inside:
                    self._tolerate(Tolerance.NO_DELIMITER, tag)
                    return at, True
                if tag not in (_ITEM_END, _SEQUENCE_END):
                    raise DicomError(f"{name(tag)} out of place at byte {at}")
                self._tolerate(Tolerance.STRAY_DELIMITER, tag)
                at += 8
                continue
            if depth == 0 and (group in (0x0000, 0x0002) or group == 0x2020) and self._is_padding(at):
                return end, False
            vr, length, value = self._head(tag, at, length, end, implicit)
            if depth == 0 and group in (0x0000, 0x0002):
                self._tolerate(Tolerance.FOREIGN_GROUP, tag)
                at = self._value(None, tag, vr, length, value, end, depth, implicit)
            elif elements is not None and tag in elements:
                again: dict[int, DataElement] = {}
                at = self._value(again, tag, vr, length, value, end, depth, implicit)
                if not self._equal(elements[tag], again[tag]):
                    raise DicomError(f"{name(tag)} appears twice, with two values")
                self._tolerate(Tolerance.DUPLICATE, tag)
            else:
                at = self._value(elements, tag, vr, length, value, end, depth, implicit)
        return at, False

    def _plain_ones(self, elements: dict[int, DataElement], at: int, end: int, plain_head: HeadReader) -> int:
        """Put the elements from `at` that are short, with nothing to tolerate, into `elements`; most are.

        Where the first other one begins.
        """
        if at + _EXPLICIT_HEAD > end:
            return at
        window, position = self._at(at, _EXPLICIT_HEAD), at - self._file.start
        last = min(len(window), end - self._file.start)
        before = len(elements)
        while position + _EXPLICIT_HEAD <= last:
            if (head := plain_head(window[position : position + 6])) is None:
                break
            tag, vr = head
            (length,) = self._short(window, position + 6)
            value = position + _EXPLICIT_HEAD
            if length > self._short_value or value + length > last or tag in elements:
                break
            position = value + length
            elements[tag] = _element((tag, vr, window[value:position]))
        read = len(elements) - before
        self._count(read)
        self._keep(read * _COST + position + self._file.start - at - read * _EXPLICIT_HEAD)
        return position + self._file.start

    def _is_padding(self, at: int) -> bool:
        """Whether nothing but padding follows; looked at once for each byte."""
        if at < self._no_padding_before:
            return False
        while at < self.end and (piece := self._file.unkept(at, 1024**2)):
            if rest := piece.lstrip(PADDING):
                self._no_padding_before = at + len(piece) - len(rest) + 1
                return False
            at += len(piece)
        self._tolerate(Tolerance.PADDING, 0xFFFCFFFC)
        return True

    def _head(self, tag: int, at: int, length: int, end: int, implicit: bool) -> Head:
        if implicit:
            vr = implicit_vr(tag) if length != UNDEFINED or tag in PIXEL_TAGS else "SQ"
            return vr, length, at + 8
        window = self._at(at, 8)
        start = at - self._file.start
        vr_octets = window[start + 4 : start + 6]
        if (known := VR_NAMES.get(vr_octets)) is None:
            return self._without_vr(tag, at, end)
        if vr_octets in LONG_VRS:
            if at + 12 > end:
                raise DicomError(f"truncated at byte {at}: 12 bytes expected, {end - at} left")
            return known, self._long(self._at(at, 12), at - self._file.start + 8)[0], at + 12
        return known, self._short(window, start + 6)[0], at + 8

    def _without_vr(self, tag: int, at: int, end: int) -> Head:
        """An element of an unknown VR, or of none, by what follows when it is read in each possible way."""
        octets = self._bytes(at, min(12, end - at))
        ways: list[tuple[Tolerance, Head]] = []
        if len(octets) == 12 and octets[6:8] == b"\0\0":
            # PS3.5 7.1.2: so is every VR that is yet to come.
            ways.append((Tolerance.UNKNOWN_VR, ("UN", self._long(octets, 8)[0], at + 12)))
        short = (Tolerance.UNKNOWN_VR, ("UN", self._short(octets, 6)[0], at + 8))
        length = self._long(octets, 4)[0]
        vr = implicit_vr(tag) if length != UNDEFINED else "SQ"
        none = (Tolerance.NO_VR, (vr, length, at + 8))
        ways += (short, none) if octets[4:6].isalpha() else (none, short)
        for tolerance, head in ways:
            if self._fits(head, tag, end):
                self._tolerate(tolerance, tag)
                return head
        raise DicomError(f"{name(tag)} at byte {at} has no known VR")

    def _fits(self, head: Head, tag: int, end: int) -> bool:
        _, length, value = head
        if length == UNDEFINED:
            return value + 8 <= end and self._item_head(value, end)[0] in (_ITEM, _SEQUENCE_END)
        if value + length > end:
            return False
        if value + length == end:
            return True
        if value + length + 8 > end:
            return end == self.end and self._is_padding(value + length)
        following = self._item_head(value + length, end)[0]
        return following > tag or (end == self.end and self._is_padding(value + length))

    # -- values

    def _value(
        self,
        elements: dict[int, DataElement] | None,
        tag: int,
        vr: str,
        length: int,
        at: int,
        end: int,
        depth: int,
        implicit: bool,
    ) -> int:
        """Put the element with its value into `elements`; where it ends."""
        value: bytes | Bulk | Items | None
        if vr == "SQ" and not self._holds_items(at, length, end):
            self._tolerate(Tolerance.NO_ITEMS, tag)
            vr = "UN"
        if (vr == "SQ") != ((known := implicit_vr(tag)) == "SQ") and "UN" not in (vr, known):
            self._tolerate(Tolerance.WRONG_VR, tag)
        if vr == "SQ" or (vr == "UN" and length == UNDEFINED):
            # PS3.5 6.2.2 note 7: the items of such a sequence as UN are Implicit VR Little Endian.
            value, at = self._items(
                tag, at, length, end, depth + 1, implicit or vr == "UN", keep=elements is not None
            )
        elif length == UNDEFINED:
            value, at = self._fragments(tag, at, end, keep=elements is not None)
        else:
            if length > end - at:
                raise DicomError(f"truncated: {name(tag)} claims {length} bytes, {end - at} are left")
            value = None if elements is None else self._plain(tag, vr, at, length)
            at += length
        if elements is not None and value is not None:
            elements[tag] = DataElement(tag, vr, value)
            self._keep(_COST + len(value) if isinstance(value, bytes) else _COST)
        return at

    def _plain(self, tag: int, vr: str, at: int, length: int) -> bytes | Bulk:
        if tag in PIXEL_TAGS or length > (self._limits.binary if vr in BINARY_VRS else self._limits.value):
            return Bulk(at, length)
        if length > _SHORT and length > (self._limits.kept - self._kept) // 16:
            return Bulk(at, length)
        if not length:
            return b""
        window = self._at(at, length)
        start = at - self._file.start
        return window[start : start + length]

    def _holds_items(self, at: int, length: int, end: int) -> bool:
        if length in (0, UNDEFINED) or length > end - at:
            return True
        return length >= 8 and self._item_head(at, end)[0] in (_ITEM, _SEQUENCE_END, _ITEM_END)

    def _items(
        self, tag: int, at: int, length: int, end: int, depth: int, implicit: bool, *, keep: bool
    ) -> tuple[Items | None, int]:
        if depth > self._limits.depth:
            raise BeyondLimit(f"sequences are nested deeper than {self._limits.depth} levels")
        defined = length != UNDEFINED
        start, stop = at, self._end_of(tag, at, length, end)
        before = self._kept
        allowed = min(self._limits.sequence, (self._limits.kept - before) // 2)
        items: list[DataSet] | None = [] if keep else None
        while at < stop:
            self._count()
            item, item_length = self._item_head(at, stop)
            at += 8
            if item == _SEQUENCE_END and not defined:
                return self._kept_items(items, keep, tag, start, at, depth, implicit), at
            if item in (_SEQUENCE_END, _ITEM_END):
                self._tolerate(Tolerance.STRAY_DELIMITER, item)
                continue
            if item != _ITEM:
                raise DicomError(f"{name(tag)} holds {name(item)} where an item is due")
            elements: dict[int, DataElement] | None = None if items is None else {}
            at = self._item(elements, tag, at, item_length, stop, depth, implicit, closed=defined)
            if items is not None and elements is not None:
                items.append(elements)
                self._kept += _COST
                if self._kept - before > allowed:
                    items, self._kept = None, before
        if not defined:
            raise DicomError(f"truncated: sequence {name(tag)} has no end")
        return self._kept_items(items, keep, tag, start, at, depth, implicit), at

    def _kept_items(
        self,
        items: list[DataSet] | None,
        keep: bool,
        tag: int,
        start: int,
        stop: int,
        depth: int,
        implicit: bool,
    ) -> Items | None:
        if items is not None:
            return tuple(items)
        if not keep or self._source is None:
            return None
        self._source.hold()
        read = _reader(self._source, self._encoding, self._limits, tag, start, stop, depth, implicit)
        return LongSequence(read, start, stop - start)

    def _item(
        self,
        elements: dict[int, DataElement] | None,
        tag: int,
        at: int,
        length: int,
        end: int,
        depth: int,
        implicit: bool,
        *,
        closed: bool,
    ) -> int:
        """The elements of one item; `closed` tells that its sequence says itself where it ends."""
        stop = self._end_of(tag, at, length, end)
        if implicit and not self._encoding.implicit:
            implicit = not self._is_explicit(at, stop)
        inside = length == UNDEFINED
        at, delimited = self._elements(elements, at, stop, depth, implicit, inside=inside)
        if inside and not delimited:
            if not closed:
                raise DicomError(f"truncated: an item of {name(tag)} has no end")
            self._tolerate(Tolerance.NO_DELIMITER, _ITEM_END)
        return at

    def _is_explicit(self, at: int, stop: int) -> bool:
        """Whether the item of a sequence as UN is written with VRs all the same."""
        if at + 8 > stop:
            return False
        octets = self._bytes(at, 8)
        return octets[4:6] in VRS and self._long(octets, 4)[0] > stop - at - 8

    def _end_of(self, tag: int, at: int, length: int, end: int) -> int:
        if length == UNDEFINED:
            return end
        if length > end - at:
            raise DicomError(f"truncated: {name(tag)} claims {length} bytes, {end - at} are left")
        return at + length

    def _item_head(self, at: int, end: int) -> tuple[int, int]:
        if at + 8 > end:
            raise DicomError(f"truncated at byte {at}: 8 bytes expected, {end - at} left")
        group, element, length = self._tag_and_length(self._at(at, 8), at - self._file.start)
        return group << 16 | element, length

    def _fragments(self, tag: int, at: int, end: int, *, keep: bool) -> tuple[Bulk | None, int]:
        """Encapsulated pixel data (PS3.5 A.4): items of defined length up to the sequence delimiter."""
        if tag not in PIXEL_TAGS:
            self._tolerate(Tolerance.UNDEFINED_LENGTH, tag)
        start = at
        fragments = Fragments()
        table: bytes | None = None
        while True:
            self._count()
            if at + 8 > end:
                raise DicomError(f"truncated: the fragments of {name(tag)} break off at byte {at}")
            item, length = self._item_head(at, end)
            at += 8
            if item == _SEQUENCE_END:
                break
            if item != _ITEM or length > end - at:
                raise DicomError(f"truncated: the fragments of {name(tag)} break off at byte {at - 8}")
            if keep:
                if table is None:
                    self._keep(length)
                    table = self._bytes(at, length)
                else:
                    self._keep(_FRAGMENT_COST)
                    fragments.add(at, length)
            at += length
        return (Bulk(start, at - start, fragments, table or b"") if keep else None), at

    def _equal(self, one: DataElement, other: DataElement) -> bool:
        if isinstance(one.value, bytes) and isinstance(other.value, bytes):
            return one.value.rstrip(b"\0 ") == other.value.rstrip(b"\0 ")
        if isinstance(one.value, tuple) or isinstance(other.value, tuple):
            return one.value == other.value
        first, second = self._place(one.value), self._place(other.value)
        if first is None or second is None or first[1] != second[1]:
            return False
        return self._file.repeats(first[0], second[0], first[1])

    @staticmethod
    def _place(value: bytes | Bulk | Items) -> tuple[int, int] | None:
        return (value.offset, value.length) if isinstance(value, Bulk | LongSequence) else None


def _reader(
    source: Source,
    encoding: Encoding,
    limits: Limits,
    tag: int,
    start: int,
    stop: int,
    depth: int,
    implicit: bool,
) -> Callable[[], Iterator[DataSet]]:
    def read() -> Iterator[DataSet]:
        with source.opened() as descriptor:
            scanner = Scanner(FileWindow(descriptor), stop, encoding, limits, source, {})
            yield from scanner.items(tag, start, stop, depth, implicit=implicit)

    return read

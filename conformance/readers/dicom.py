"""A data set as it is encoded (PS3.5 7, PS3.10 7): every element with its place, and what is irregular.

Small, and apart from the codec of the product: what it cannot read it says, and keeps what came before.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from conformance.readers.source import Buffer
from conformance.tags import ATTRIBUTES, name, tag

EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

#: Bytes of a value that are kept; of one that is longer only the length counts.
MOST_OF_A_VALUE: Final = 64 * 1024
_MOST_INFLATED: Final = 256 * 1024**2
_MOST_ELEMENTS: Final = 5_000_000
_MOST_DEPTH: Final = 32

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_UNPADDED: Final = b" \0"


@dataclass(frozen=True, slots=True)
class Element:
    """An attribute as encoded: a value of at most `MOST_OF_A_VALUE` of its `length` bytes, or items."""

    tag: int
    vr: str
    length: int
    value: bytes = b""
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """A data set and the path to it, which is empty for the main one."""

    path: str
    elements: Mapping[int, Element]
    character_set: str = "ascii"

    def __contains__(self, number: int) -> bool:
        return number in self.elements

    def place(self, number: int) -> str:
        """The tag path of an attribute, as a finding shows it."""
        return f"{self.path}{name(number)}"

    def values(self, number: int) -> tuple[str, ...]:
        """The values of a text attribute without padding; nothing when it is absent or empty."""
        element = self.elements.get(number)
        if element is None or not element.value.strip(_UNPADDED):
            return ()
        text = element.value.decode(self.character_set, "replace")
        parts = (text,) if element.vr in ("UT", "UR", "LT", "ST") else text.split("\\")
        return tuple(part.strip(" \0") for part in parts)

    def text(self, number: int) -> str:
        """The first value, or empty."""
        return next(iter(self.values(number)), "")

    def items(self, number: int) -> tuple[Item, ...]:
        """The items of a sequence; nothing when it is absent or no sequence."""
        element = self.elements.get(number)
        return element.items if element is not None else ()


@dataclass(frozen=True, slots=True)
class Irregularity:
    """What is irregular in the encoding: the requirement that it breaks, where, and what it is."""

    requirement: str
    place: str
    wrong: str


@dataclass(slots=True)
class DicomFile:
    """A file as read. `broken` says where and why reading stopped; empty when it did not."""

    meta: Item
    data_set: Item
    transfer_syntax: str
    irregularities: list[Irregularity] = field(default_factory=list)
    broken: str = ""


class _Broken(Exception):
    """Reading cannot go on; the text says where and why."""


def read_dicom(octets: Buffer) -> DicomFile:
    """Read a DICOM file, with or without preamble and File Meta Information."""
    irregularities: list[Irregularity] = []
    start = 132 if bytes(octets[128:132]) == b"DICM" else 0
    if not start:
        irregularities.append(Irregularity("DCM-001", "file", "no preamble of 128 bytes followed by DICM"))
    broken = ""
    meta: dict[int, Element] = {}
    reader = _Reader(octets, irregularities, explicit=True)
    at = start
    if bytes(octets[at : at + 2]) == b"\x02\x00":
        try:
            at = reader.elements(meta, start, len(octets), "", 0, only_group=2)
        except _Broken as error:
            broken = str(error)
    header = Item("", meta)
    syntax = header.text(0x00020010)
    elements: dict[int, Element] = {}
    if not broken:
        broken = _read_data_set(octets, at, syntax, elements, irregularities)
    return DicomFile(
        meta=header,
        data_set=_with_character_set(Item("", elements)),
        transfer_syntax=syntax,
        irregularities=irregularities,
        broken=broken,
    )


def _read_data_set(
    octets: Buffer, at: int, syntax: str, elements: dict[int, Element], irregularities: list[Irregularity]
) -> str:
    if syntax == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            octets, at = inflater.decompress(octets[at:], _MOST_INFLATED), 0
        except zlib.error:
            return "the deflated data set cannot be inflated"
    explicit = bytes(octets[at + 4 : at + 6]) in _SHORT_VRS | _LONG_VRS
    reader = _Reader(octets, irregularities, explicit=explicit, big_endian=syntax == EXPLICIT_BIG_ENDIAN)
    if syntax and explicit == (syntax == IMPLICIT_LITTLE_ENDIAN) and len(octets) > at:
        stated = "Implicit" if syntax == IMPLICIT_LITTLE_ENDIAN else "Explicit"
        irregularities.append(
            Irregularity(
                "DCM-012", "file", f"the data set is not encoded in {stated} VR, as (0002,0010) says"
            )
        )
    try:
        reader.elements(elements, at, len(octets), "", 0)
    except _Broken as error:
        return str(error)
    return ""


class _Reader:
    def __init__(
        self,
        octets: Buffer,
        irregularities: list[Irregularity],
        *,
        explicit: bool,
        big_endian: bool = False,
    ) -> None:
        self._octets = octets
        self._irregularities = irregularities
        self._explicit = explicit
        self._order = ">" if big_endian else "<"
        self._left = _MOST_ELEMENTS

    def elements(
        self,
        elements: dict[int, Element],
        at: int,
        end: int,
        path: str,
        depth: int,
        *,
        only_group: int | None = None,
        is_open: bool = False,
    ) -> int:
        """Read elements up to `end`, or in an item of undefined length to its delimiter; answer where."""
        previous = -1
        while at < end:
            if end - at < 8:
                if not bytes(self._octets[at:end]).strip(b"\0 \r\n\x1a"):
                    return end
                raise _Broken(f"{path or 'file'}: {end - at} bytes that are no element, at {at}")
            number = self._number(at)
            if only_group is not None and number >> 16 != only_group:
                return at
            if number == _ITEM_END:
                if not is_open:
                    raise _Broken(f"{path or 'file'}: an item delimiter out of place, at {at}")
                return at + 8
            if number == 0 and not bytes(self._octets[at : min(end, at + 4096)]).strip(b"\0"):
                self._note("DCM-011", path or "file", "padding behind the data set")
                return end
            self._left -= 1
            if self._left < 0:
                raise _Broken(f"{path or 'file'}: more than {_MOST_ELEMENTS:,} elements")
            if number <= previous:
                what = "twice" if number == previous else "after a greater tag"
                self._note("DCM-004", f"{path}{name(number)}", f"the element stands {what}")
            previous = max(previous, number)
            element, at = self._element(number, at, end, path, depth)
            elements.setdefault(number, element)
        if is_open:
            raise _Broken(f"{path or 'file'}: an item of undefined length is not delimited")
        return at

    def _element(self, number: int, at: int, end: int, path: str, depth: int) -> tuple[Element, int]:
        vr, length, at = self._head(number, at, path)
        place = f"{path}{name(number)}"
        if length == _UNDEFINED and vr not in ("SQ", "UN", "OB", "OW"):
            raise _Broken(f"{place}: undefined length in VR {vr}")
        if vr == "SQ" or (length == _UNDEFINED and number != 0x7FE00010):
            items, after = self._items(number, at, end, length, path, depth)
            return Element(number, "SQ", after - at, items=items), after
        if length == _UNDEFINED:
            after = self._fragments(at, end, place)
            return Element(number, vr, after - at), after
        if length > end - at:
            raise _Broken(f"{place}: a length of {length} bytes where {end - at} are left")
        if length % 2:
            self._note("DCM-005", place, f"an odd length of {length} bytes")
        value = bytes(self._octets[at : at + min(length, MOST_OF_A_VALUE)])
        return Element(number, vr, length, value), at + length

    def _head(self, number: int, at: int, path: str) -> tuple[str, int, int]:
        """VR, length, and where the value begins."""
        if not self._explicit:
            vr = ATTRIBUTES.get(number, ("UN",))[0]
            return vr, self._long(at + 4), at + 8
        vr_octets = bytes(self._octets[at + 4 : at + 6])
        if vr_octets in _LONG_VRS:
            if at + 12 > len(self._octets):
                raise _Broken(f"{path}{name(number)}: the file ends within the element")
            vr = vr_octets.decode()
            length, start = self._long(at + 8), at + 12
        elif vr_octets in _SHORT_VRS:
            vr = vr_octets.decode()
            length, start = self._short(at + 6), at + 8
        else:
            raise _Broken(f"{path}{name(number)}: {vr_octets!r} is no VR, at {at + 4}")
        expected = ATTRIBUTES.get(number)
        if expected and expected[0] != vr and vr != "UN":
            self._note("DCM-006", f"{path}{name(number)}", f"VR {vr}; the dictionary has {expected[0]}")
        return vr, length, start

    def _items(
        self, number: int, at: int, end: int, length: int, path: str, depth: int
    ) -> tuple[tuple[Item, ...], int]:
        place = f"{path}{tag(number)}"
        if depth >= _MOST_DEPTH:
            raise _Broken(f"{place}: sequences are nested deeper than {_MOST_DEPTH} levels")
        stop = end if length == _UNDEFINED else at + length
        if stop > end:
            raise _Broken(f"{place}: a length of {length} bytes where {end - at} are left")
        items: list[Item] = []
        while at < stop:
            if stop - at < 8:
                raise _Broken(f"{place}: {stop - at} bytes that are no item")
            kind, item_length = self._number(at), self._long(at + 4)
            at += 8
            if kind == _SEQUENCE_END:
                if length != _UNDEFINED:
                    self._note("DCM-011", place, "a sequence delimiter in a sequence of defined length")
                return tuple(items), at
            if kind != _ITEM:
                raise _Broken(f"{place}: {tag(kind)} where an item is due, at {at - 8}")
            inside = f"{place}[{len(items) + 1}]/"
            elements: dict[int, Element] = {}
            is_open = item_length == _UNDEFINED
            until = stop if is_open else at + item_length
            if until > stop:
                raise _Broken(f"{inside}: an item of {item_length} bytes where {stop - at} are left")
            at = self.elements(elements, at, until, inside, depth + 1, is_open=is_open)
            items.append(Item(inside, elements))
        if length == _UNDEFINED:
            raise _Broken(f"{place}: a sequence of undefined length is not delimited")
        return tuple(items), at

    def _fragments(self, at: int, end: int, place: str) -> int:
        while at + 8 <= end:
            kind, length = self._number(at), self._long(at + 4)
            at += 8
            if kind == _SEQUENCE_END:
                return at
            if kind != _ITEM or length > end - at:
                break
            at += length
        raise _Broken(f"{place}: fragments of encapsulated data are not delimited")

    def _number(self, at: int) -> int:
        group, element = struct.unpack_from(f"{self._order}HH", self._octets, at)
        return int(group << 16 | element)

    def _short(self, at: int) -> int:
        return int(struct.unpack_from(f"{self._order}H", self._octets, at)[0])

    def _long(self, at: int) -> int:
        return int(struct.unpack_from(f"{self._order}I", self._octets, at)[0])

    def _note(self, requirement: str, place: str, wrong: str) -> None:
        if len(self._irregularities) < 1000:
            self._irregularities.append(Irregularity(requirement, place, wrong))


#: Python's names of the character sets that are no code extensions (PS3.3 C.12.1.1.2).
CHARACTER_SETS: Final[Mapping[str, str]] = {
    "": "ascii",
    "ISO_IR 6": "ascii",
    "ISO 2022 IR 6": "ascii",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 203": "iso8859_15",
    "ISO_IR 166": "tis_620",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 192": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
_EXTENSION: Final = re.compile(r"ISO 2022 IR \d{1,3}")


def is_character_set(term: str) -> bool:
    """Whether `term` is a defined term of Specific Character Set."""
    return term in CHARACTER_SETS or _EXTENSION.fullmatch(term) is not None


def _with_character_set(item: Item, inherited: str = "ascii") -> Item:
    terms = Item("", {0x00080005: item.elements[0x00080005]}).values(0x00080005) if 0x00080005 in item else ()
    first = next(iter(terms), None)
    codec = inherited if first is None else CHARACTER_SETS.get(first, "latin_1")
    if any(_EXTENSION.fullmatch(term) for term in terms):
        codec = "latin_1"  # code extensions are not followed; what is compared is compared as it stands
    elements = {
        number: Element(
            number,
            one.vr,
            one.length,
            one.value,
            tuple(_with_character_set(each, codec) for each in one.items),
        )
        if one.items
        else one
        for number, one in item.elements.items()
    }
    return Item(item.path, elements, codec)


def every_item(item: Item) -> Iterator[Item]:
    """The data set and every item below it, in their order."""
    yield item
    for element in item.elements.values():
        for below in element.items:
            yield from every_item(below)

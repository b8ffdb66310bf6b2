"""Encoding and values of any data set (PS3.5, PS3.10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from conformance.findings import Finding
from conformance.readers.dicom import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    DicomFile,
    Element,
    Item,
    every_item,
    is_character_set,
)
from conformance.requirements import finding
from conformance.tags import ATTRIBUTES, name

UID: Final = re.compile(r"(?=.{1,64}\Z)(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+\Z", re.ASCII)
_DATE: Final = re.compile(r"(?:19|20|18)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\Z", re.ASCII)
_TIME: Final = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?\Z", re.ASCII)
_OLD: Final = {
    "DA": re.compile(r"\d{4}\.\d\d\.\d\d\Z"),
    "TM": re.compile(r"\d\d(?::\d\d){1,2}(?:\.\d{1,6})?\Z"),
}
_DATE_TIME: Final = re.compile(r"\d{4}(?:\d\d){0,5}(?:\.\d{1,6})?(?:[+-]\d{4})?\Z", re.ASCII)
_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{0,16}\Z", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,11}\Z", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?\Z", re.ASCII)
_APPLICATION: Final = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}\Z")

_FORMS: Final = {
    "UI": ("DCM-007", UID, "no UID: digits and dots, at most 64, no part with a leading zero"),
    "DA": ("DCM-008", _DATE, "no date of the form YYYYMMDD"),
    "TM": ("DCM-008", _TIME, "no time of the form HHMMSS.FFFFFF"),
    "DT": ("DCM-008", _DATE_TIME, "no date and time of the form YYYYMMDDHHMMSS.FFFFFF&ZZXX"),
    "CS": ("DCM-009", _CODE_STRING, "no code string: capitals, digits, blank and _, at most 16"),
    "IS": ("DCM-009", _INTEGER, "no integer string"),
    "DS": ("DCM-009", _DECIMAL, "no decimal string"),
    "AE": ("DCM-009", _APPLICATION, "no AE title: at most 16 characters without backslash"),
}
_LONGEST: Final = {"SH": 16, "LO": 64, "DS": 16, "IS": 12}
_TEXT: Final = frozenset({"SH", "LO", "PN", "UT", "LT", "ST", "UC"})


def encoding(file: DicomFile) -> Iterator[Finding]:
    """What is wrong with the file around its attributes."""
    for one in file.irregularities:
        yield finding(one.requirement, one.place, one.wrong)
    if file.broken:
        place, _, wrong = file.broken.partition(": ")
        yield finding("DCM-011", place, wrong or "it cannot be read to its end")
    yield from _meta(file)


def _meta(file: DicomFile) -> Iterator[Finding]:
    if not file.meta.elements:
        yield finding("DCM-002", "file", "no File Meta Information (group 0002)")
        return
    for number in (0x00020002, 0x00020003, 0x00020010):
        if not file.meta.text(number):
            yield finding("DCM-002", file.meta.place(number), "the value is absent")
    for meta, main in ((0x00020002, 0x00080016), (0x00020003, 0x00080018)):
        header_uid, uid = file.meta.text(meta), file.data_set.text(main)
        if header_uid and uid and header_uid != uid:
            yield finding(
                "DCM-003", file.meta.place(meta), f"it differs from {name(main)}", header_uid, right=uid
            )
    syntax = file.transfer_syntax
    if syntax == EXPLICIT_BIG_ENDIAN:
        yield finding("DCM-013", file.meta.place(0x00020010), "Explicit VR Big Endian is retired", syntax)
    elif syntax and syntax != EXPLICIT_LITTLE_ENDIAN:
        yield finding("DCM-014", file.meta.place(0x00020010), "another transfer syntax", syntax)


def values(data_set: Item) -> Iterator[Finding]:
    """What is wrong with the form of values, wherever they stand."""
    for item in every_item(data_set):
        for element in item.elements.values():
            if element.value:
                yield from _value(item, element)
    for term in data_set.values(0x00080005):
        if not is_character_set(term):
            yield finding("DCM-010", data_set.place(0x00080005), "no defined term", term)


def _value(item: Item, element: Element) -> Iterator[Finding]:
    vr = ATTRIBUTES.get(element.tag, (element.vr,))[0]
    place = item.place(element.tag)
    if form := _FORMS.get(vr):
        requirement, pattern, wrong = form
        for value in item.values(element.tag):
            if value and not pattern.match(value):
                is_old = vr in _OLD and _OLD[vr].match(value)
                yield finding("DCM-016" if is_old else requirement, place, wrong, value)
        if vr == "UI" and element.value.endswith(b" "):
            yield finding("DCM-007", place, "padded with a blank; NUL pads a UID")
    if longest := _LONGEST.get(vr):
        for value in item.values(element.tag):
            if len(value) > longest:
                wrong = f"{len(value)} characters; VR {vr} takes {longest}"
                yield finding("DCM-009", place, wrong, value)
    if vr in _TEXT:
        yield from _characters(item, element, place)


def _characters(item: Item, element: Element, place: str) -> Iterator[Finding]:
    try:
        text = element.value.decode(item.character_set)
    except UnicodeDecodeError:
        stated = "no Specific Character Set" if item.character_set == "ascii" else item.character_set
        yield finding("DCM-010", place, f"text that is not in its character set ({stated})")
        return
    if any(character in text for character in "\0\x07\x08") and text.rstrip("\0 ") != text.replace("\0", ""):
        yield finding("DCM-009", place, "control characters in text")

"""Matches of queries as octets: DICOM JSON to Implicit or Explicit VR Little Endian (PS3.5 7.1), in a
character set that the requester can read."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.charset import convert_encodings, encode_string

from shared.dicom.elements import LONG_VRS, element, item, padded
from shared.dicom.json import Attributes

#: The character set in which everything can be said.
UTF_8: Final = "ISO_IR 192"
CHARACTER_SET: Final = 0x00080005

_TEXTS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_NUMBERS: Final[Mapping[str, str]] = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_LONGEST_SHORT: Final = 0xFFFE
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")

TextEncoding = Callable[[str], bytes]


def encode_identifier(
    attributes: Attributes, *, implicit: bool, character_sets: Sequence[str], is_question: bool = False
) -> bytes:
    """The data set of `attributes`, in the first character set that says all of it: ASCII, that of the
    request, which is `character_sets`, or UTF-8.

    A Specific Character Set is written where it is not ASCII. That of a question is the one in which answers
    are wanted: it is always written, and never ASCII.
    """
    plain = {key: element for key, element in attributes.items() if int(key, 16) != CHARACTER_SET}
    for names in (tuple(character_sets), (UTF_8,)) if is_question else ((), tuple(character_sets), (UTF_8,)):
        try:
            octets = b"".join(_elements(plain, implicit, _encoding(names)))
        except ValueError:
            continue
        declared = _element(CHARACTER_SET, "CS", padded("\\".join(names).encode(), "CS"), implicit)
        # Nothing that a query tells stands before it.
        return declared + octets if names else octets
    raise AssertionError("UTF-8 says everything")


def _encoding(names: Sequence[str]) -> TextEncoding:
    """Raises ValueError for what cannot be said; what is not known says nothing."""
    if not names:
        return lambda text: text.encode("ascii")
    if names == (UTF_8,):
        return lambda text: text.encode("utf-8", "replace")
    encodings = convert_encodings(list(names))

    def encode(text: str) -> bytes:
        if len(encodings) == 1:
            return text.encode(encodings[0])
        octets: bytes = encode_string(text, encodings)
        if b"?" in octets and "?" not in text:
            raise ValueError("not in this character set")
        return octets

    return encode


def _elements(attributes: Attributes, implicit: bool, encoding: TextEncoding) -> Iterator[bytes]:
    for key in sorted(attributes):
        attribute = attributes[key]
        vr = attribute["vr"]
        octets = _value(vr, attribute, implicit, encoding)
        yield _element(int(key, 16), vr, padded(octets, vr), implicit)


def _element(tag: int, vr: str, octets: bytes, implicit: bool) -> bytes:
    if implicit:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(octets)) + octets
    return element(tag, vr, octets if vr in LONG_VRS else octets[:_LONGEST_SHORT])


def _value(vr: str, attribute: Mapping[str, Any], implicit: bool, encoding: TextEncoding) -> bytes:
    values: Sequence[Any] = attribute.get("Value", ())
    if vr == "SQ":
        return b"".join(item(b"".join(_elements(one or {}, implicit, encoding))) for one in values)
    if inline := attribute.get("InlineBinary"):
        return b64decode(inline)
    if vr in _NUMBERS:
        return b"".join(
            struct.pack(f"<{_NUMBERS[vr]}", _number(vr, value)) for value in values if value is not None
        )
    if vr == "AT":
        return b"".join(
            struct.pack("<HH", int(value[:4], 16), int(value[4:], 16)) for value in values if value
        )
    texts = [_text(vr, value) for value in values]
    if vr in _TEXTS:
        return b"\\".join(map(encoding, texts))
    return "\\".join(texts).encode("ascii", "replace")


def _number(vr: str, value: Any) -> Any:
    return float(value) if vr in ("FD", "FL") else int(value)


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN":
        return "=".join(value.get(group, "") for group in _GROUPS).rstrip("=")
    return str(value)

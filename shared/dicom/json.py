"""The DICOM JSON model (PS3.18 annex F): data sets to JSON, and reading what was written.

Members ascend by tag at every level. Groups 0000 to 0007 and group lengths are left out. A value that stayed
in the file becomes a `BulkDataURI` relative to the base URI of the service; `with_base` makes it absolute.
Items that stayed there are read one at a time.
"""

from __future__ import annotations

import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from json import dumps
from typing import Any, Final

from shared.dicom.character_sets import UNDECLARED, decode, encodings_of
from shared.dicom.data_set import Bulk, DataSet, Items, Tolerance

CHARACTER_SET: Final = 0x00080005
MEDIA_TYPE: Final = "application/dicom+json"

_SINGLE: Final = frozenset({"LT", "ST", "UR", "UT"})
_PADDED_LEFT: Final = frozenset({"AE", "CS", "DS", "IS", "LO", "SH"})
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_BINARY_NUMBERS: Final = {
    "FD": "d",
    "FL": "f",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_WORDS: Final = {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2}

_GATHERED: Final = 4096
_FIRST_TAG: Final = 0x00080000

BulkUri = Callable[[Sequence[str]], str]
Attributes = Mapping[str, Any]


def encode(
    data_set: DataSet,
    bulk_uri: BulkUri,
    *,
    only: Container[int] | None = None,
    big_endian: bool = False,
    character_set: Sequence[str] = UNDECLARED,
    tolerated: dict[Tolerance, int] | None = None,
) -> bytes:
    """Encode a data set as one JSON object.

    Parameters
    ----------
    bulk_uri
        Makes the URI of a value that stayed in the file, from its path: tags as 8 hexadecimal digits, and
        between them the 0-based numbers of items.
    only
        Top-level tags to write, all without it.
    character_set
        The encodings of a data set without Specific Character Set.
    tolerated
        Takes what was tolerated of its text.
    """
    return b"".join(
        pieces(
            data_set,
            bulk_uri,
            only=only,
            big_endian=big_endian,
            character_set=character_set,
            tolerated=tolerated,
        )
    )


def pieces(
    data_set: DataSet,
    bulk_uri: BulkUri,
    *,
    only: Container[int] | None = None,
    big_endian: bool = False,
    character_set: Sequence[str] = UNDECLARED,
    tolerated: dict[Tolerance, int] | None = None,
) -> Iterator[bytes]:
    """What `encode` makes, a piece at a time; no URI is cut."""
    encoder = MemberEncoder(bulk_uri, big_endian, {} if tolerated is None else tolerated)
    gathered: list[str] = []
    for count, text in enumerate(encoder.object(data_set, character_set, (), only), 1):
        gathered.append(text)
        if count % _GATHERED == 0:
            yield "".join(gathered).encode()
            gathered = []
    yield "".join(gathered).encode()


class MemberEncoder:
    """Writes elements as members of the object that `encode` makes; `tolerated` takes what was tolerated of
    their text."""

    def __init__(self, bulk_uri: BulkUri, big_endian: bool, tolerated: dict[Tolerance, int]) -> None:
        self._bulk_uri = bulk_uri
        self._order = ">" if big_endian else "<"
        self.tolerated = tolerated

    def object(
        self,
        data_set: DataSet,
        encodings: Sequence[str],
        path: tuple[str, ...],
        only: Container[int] | None = None,
    ) -> Iterator[str]:
        """A data set, or those of its elements that are in `only`, in pieces."""
        encodings = self.encodings(data_set, encodings)
        separator = "{"
        for tag in written_tags(data_set):
            if only is not None and tag not in only:
                continue
            _, vr, value = data_set[tag]
            if isinstance(value, bytes):
                yield separator + self.member(tag, vr, value, encodings)
            else:
                yield separator
                yield from self.pieces(tag, vr, value, encodings, path)
            separator = ","
        yield "{}" if separator == "{" else "}"

    def encodings(self, data_set: DataSet, inherited: Sequence[str]) -> tuple[str, ...]:
        """In what the text of a data set is; `inherited` where it does not say."""
        element = data_set.get(CHARACTER_SET)
        if element is None or not isinstance(element.value, bytes) or not element.value.strip(b"\0 "):
            return tuple(inherited)
        declared, unknown = encodings_of(element.value)
        if unknown is not None:
            self.tolerated.setdefault(unknown, CHARACTER_SET)
        return declared or tuple(inherited)

    def pieces(
        self,
        tag: int,
        vr: str,
        value: Bulk | Items,
        encodings: tuple[str, ...],
        path: tuple[str, ...] = (),
    ) -> Iterator[str]:
        """An element whose value is no octets, in pieces of which none cuts a URI."""
        key = f"{tag:08X}"
        yield f'"{key}":{{"vr":"{vr}"'
        yield from self._value(value, encodings, (*path, key))
        yield "}"

    def _value(self, value: Bulk | Items, encodings: Sequence[str], path: tuple[str, ...]) -> Iterator[str]:
        if isinstance(value, Bulk):
            yield f',"BulkDataURI":{dumps(self._bulk_uri(path))}'
        else:
            yield from self._items(value, encodings, path)

    def _items(self, items: Items, encodings: Sequence[str], path: tuple[str, ...]) -> Iterator[str]:
        separator = ',"Value":['
        for number, item in enumerate(items):
            yield separator
            yield from self.object(item, encodings, (*path, str(number)))
            separator = ","
        if separator == ",":
            yield "]"

    def member(self, tag: int, vr: str, value: bytes, encodings: tuple[str, ...]) -> str:
        """An element whose value is octets."""
        make = _member if len(value) > _REMEMBERED else _remembered_member
        text, tolerance = make(tag, vr, value, self._order, encodings)
        if tolerance is not None:
            self.tolerated.setdefault(tolerance, tag)
        return text


def written_tags(data_set: DataSet) -> list[int]:
    """The tags of those elements that are written, ascending."""
    return sorted([tag for tag in data_set if tag & 0xFFFF and tag >= _FIRST_TAG])


def _member(
    tag: int, vr: str, value: bytes, order: str, encodings: tuple[str, ...]
) -> tuple[str, Tolerance | None]:
    """An element whose value is octets, as a member of its object, and what had to be tolerated of it."""
    text, tolerance = _plain(vr, value, order, encodings) if value else ("", None)
    return f'"{tag:08X}":{{"vr":"{vr}"{text}}}', tolerance


# The instances of a study say the same in most of their elements.
_REMEMBERED: Final = 64
_remembered_member: Final = lru_cache(maxsize=4096)(_member)


def _plain(vr: str, value: bytes, order: str, encodings: tuple[str, ...]) -> tuple[str, Tolerance | None]:
    if vr in _BINARY_NUMBERS:
        return _array(map(_number, _unpacked(order, _BINARY_NUMBERS[vr], value))), None
    if vr == "AT":
        pairs = _unpacked(order, "H", value[: len(value) // 4 * 4])
        tags = (f'"{group:04X}{element:04X}"' for group, element in zip(*[iter(pairs)] * 2, strict=True))
        return _array(tags), None
    if vr.startswith("O") or vr == "UN":
        return f',"InlineBinary":"{b64encode(_little_endian(order, vr, value)).decode()}"', None
    text, tolerance = decode(value, encodings)
    if not text.strip("\0 "):
        return "", tolerance
    if vr in _SINGLE:
        return _array([dumps(text.rstrip("\0 "), ensure_ascii=False)]), tolerance
    return _array(_one(vr, part) for part in text.split("\\")), tolerance


def _unpacked(order: str, code: str, value: bytes) -> tuple[Any, ...]:
    size = struct.calcsize(code)
    count = len(value) // size
    return struct.unpack(f"{order}{count}{code}", value[: count * size])


def _little_endian(order: str, vr: str, value: bytes) -> bytes:
    size = _WORDS.get(vr, 1)
    if order == "<" or size == 1 or len(value) % size:
        return value
    return b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))


def _array(members: Iterable[str]) -> str:
    joined = ",".join(members)
    return f',"Value":[{joined}]' if joined else ""


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    return repr(value)


def _one(vr: str, part: str) -> str:
    part = part.rstrip("\0 ")
    if vr in _PADDED_LEFT:
        part = part.lstrip(" ")
    if not part:
        return "null"
    if vr == "PN":
        return _person_name(part)
    if vr in ("DS", "IS"):
        return _decimal(part)
    return dumps(part, ensure_ascii=False)


def _decimal(part: str) -> str:
    """A number where it is one, in the digits of the file where JSON spells it alike, else a string."""
    if _NUMBER.match(part):
        return part
    try:
        number = float(part)
    except ValueError:
        return dumps(part, ensure_ascii=False)
    return repr(number) if math.isfinite(number) else dumps(part)


def _person_name(part: str) -> str:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), part.split("="), strict=False)
    members = (
        f'"{group}":{dumps(value.rstrip(" "), ensure_ascii=False)}' for group, value in groups if value
    )
    return f"{{{','.join(members)}}}"


# --- what is in the file ------------------------------------------------------------------------------


def with_base(metadata: bytes, base: str) -> bytes:
    """`metadata` with the relative `BulkDataURI`s made absolute; `base` has no slash at its end."""
    # A quote inside a string is escaped, so these octets are a member's name and the beginning of its value.
    return metadata.replace(b'"BulkDataURI":"', b'"BulkDataURI":' + dumps(f"{base}/").encode()[:-1])


# --- reading -----------------------------------------------------------------------------------------


def values(attributes: Attributes, tag: int) -> list[Any]:
    """The values at `tag`, without empty positions; empty when absent."""
    return [value for value in attributes.get(f"{tag:08X}", {}).get("Value", ()) if value is not None]


def items(attributes: Attributes, tag: int) -> list[Attributes]:
    """The items of the sequence at `tag`."""
    return [value for value in values(attributes, tag) if isinstance(value, dict)]


def texts(attributes: Attributes, tag: int) -> list[str]:
    """The values at `tag` as DICOM spells them; a person's name as `Alphabetic=Ideographic=Phonetic`."""
    return [_text(value) for value in values(attributes, tag)]


def text(attributes: Attributes, tag: int) -> str:
    """The first value at `tag`, or empty."""
    value = _first(attributes, tag)
    return "" if value is None else _text(value)


def number(attributes: Attributes, tag: int) -> int | None:
    """The first value at `tag` as a whole number; None when absent or something else."""
    value = _first(attributes, tag)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def _first(attributes: Attributes, tag: int) -> Any:
    element = attributes.get(f"{tag:08X}")
    if element is not None:
        for value in element.get("Value", ()):
            if value is not None:
                return value
    return None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        groups = (value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(groups).rstrip("=")
    return str(value)

"""Writes data sets, also such as no library would: Explicit VR, from plain dictionaries."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conformance.tags import ATTRIBUTES

EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_LONG: Final = frozenset({"OB", "OW", "SQ", "UN", "UR", "UT", "UC"})


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as bytes with its VR, whatever the dictionary says."""

    vr: str
    octets: bytes


Value = str | Raw | list["DataSet"]
DataSet = dict[int, Value]


def part10(
    data_set: DataSet,
    *,
    preamble: bool = True,
    syntax: str = EXPLICIT_LITTLE_ENDIAN,
    meta: Mapping[int, str] | None = None,
    encoded: bytes | None = None,
) -> bytes:
    """A file of the data set; `meta` replaces elements of group 0002, an empty one takes all of it away."""
    sop_class, uid = data_set.get(0x00080016, ""), data_set.get(0x00080018, "")
    group: DataSet = {
        0x00020001: Raw("OB", b"\0\1"),
        0x00020002: sop_class if isinstance(sop_class, str) else "",
        0x00020003: uid if isinstance(uid, str) else "",
        0x00020010: syntax,
        0x00020012: "2.25.1",
    }
    if meta is not None:
        group = {**group, **meta} if meta else {}
    body = encode(data_set) if encoded is None else encoded
    if syntax.endswith(".1.99"):
        deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    header = encode(group)
    length = encode({0x00020000: Raw("UL", struct.pack("<I", len(header)))}) if group else b""
    return (bytes(128) + b"DICM" if preamble else b"") + length + header + body


def encode(data_set: DataSet, *, explicit: bool = True, undefined: bool = False) -> bytes:
    """The elements in the order of their tags; `undefined` writes sequences and items of undefined length."""
    return b"".join(
        element(tag, data_set[tag], explicit=explicit, undefined=undefined) for tag in sorted(data_set)
    )


def element(tag: int, value: Value, *, explicit: bool = True, undefined: bool = False) -> bytes:
    """One element."""
    vr = value.vr if isinstance(value, Raw) else ATTRIBUTES.get(tag, ("UN",))[0]
    if isinstance(value, list):
        octets = b"".join(_item(item, explicit=explicit, undefined=undefined) for item in value)
        vr, length = "SQ", 0xFFFFFFFF if undefined else len(octets)
        octets += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if undefined else b""
    else:
        octets = value.octets if isinstance(value, Raw) else _text(vr, value)
        length = len(octets)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if not explicit:
        return head + struct.pack("<I", length) + octets
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack("<I", length) + octets
    return head + vr.encode() + struct.pack("<H", length) + octets


def _item(item: DataSet, *, explicit: bool, undefined: bool) -> bytes:
    octets = encode(item, explicit=explicit, undefined=undefined)
    if undefined:
        end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        return struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + octets + end
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(octets)) + octets


def _text(vr: str, value: str) -> bytes:
    octets = value.encode()
    return octets + (b"\0" if vr == "UI" else b" ") * (len(octets) % 2)

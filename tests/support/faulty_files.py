"""Faults that files in the field have: data sets to the byte, and what should become of each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from shared.dicom.data_set import Tolerance
from shared.dicom.part10 import file_meta
from shared.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.support.dicom import CT, a_ct, part10

STRUCTURES = {"OB", "OW", "SQ", "UN", "UT"}
UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian; `length` instead of the true one."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    size = len(value) if length is None else length
    return (
        head
        + struct.pack("<HI" if vr in STRUCTURES else "<H", *([0, size] if vr in STRUCTURES else [size]))
        + value
    )


def implicit(tag: int, value: bytes) -> bytes:
    """An element without VR."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def data_set_of(octets: bytes) -> bytes:
    """What stands behind group 0002 of a file that pydicom wrote."""
    (length,) = struct.unpack_from("<I", octets, 140)
    return octets[144 + length :]


def a_data_set(uid: str = "2.25.13", syntax: str = EXPLICIT_LE, **changes: object) -> bytes:
    """The bytes of a CT without the file around it."""
    return data_set_of(part10(a_ct(SOPInstanceUID=uid, **changes), syntax))


def a_file(data_set: bytes, uid: str = "2.25.13", syntax: str = EXPLICIT_LE) -> bytes:
    """A file with this data set."""
    return file_meta(sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=syntax) + data_set


@dataclass(frozen=True)
class Fault:
    """One fault of a data set: how it comes about, and the tolerance by which it is kept; None: refused."""

    name: str
    applied: Callable[[bytes], bytes]
    tolerance: Tolerance | None

    def __str__(self) -> str:
        return self.name


def _at_end(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda data_set: data_set + octets


def _before(tag: int, octets: bytes) -> Callable[[bytes], bytes]:
    """Insert before the element `tag`, which every CT of these tests has in Explicit VR."""
    mark = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    return lambda data_set: data_set.replace(mark, octets + mark, 1)


PIXELS = 0x7FE00010
SERIES_NUMBER = 0x00200011
LO_UNDER_SEQUENCE = element(0x00120064, "LO", b"DEIDENTIFIED")
PRIVATE = element(0x00290010, "LO", b"X ")

TOLERATED = (
    Fault("item delimiter at the end", _at_end(ITEM_END), Tolerance.STRAY_DELIMITER),
    Fault("sequence delimiter at the end", _at_end(SEQUENCE_END), Tolerance.STRAY_DELIMITER),
    Fault("delimiter in the middle", _before(PIXELS, ITEM_END), Tolerance.STRAY_DELIMITER),
    Fault("zeros at the end", _at_end(bytes(1000)), Tolerance.PADDING),
    Fault("few zeros at the end", _at_end(bytes(3)), Tolerance.PADDING),
    Fault("a line end at the end", _at_end(b"\r\n"), Tolerance.PADDING),
    Fault(
        "group 0002 in the middle",
        _before(SERIES_NUMBER, element(0x00020010, "UI", b"1.2.840.10008.1.2\0")),
        Tolerance.FOREIGN_GROUP,
    ),
    Fault("an unknown short VR", _before(PIXELS, element(0x00291001, "??", b"AB")), Tolerance.UNKNOWN_VR),
    Fault(
        "an unknown long VR",
        _before(PIXELS, struct.pack("<HH2sHI", 0x0029, 0x1001, b"ZZ", 0, 4) + b"ABCD"),
        Tolerance.UNKNOWN_VR,
    ),
    Fault("an element without VR", _before(SERIES_NUMBER, implicit(0x00200010, b"ABCDEF")), Tolerance.NO_VR),
    Fault(
        "an element twice",
        lambda data_set: data_set.replace(
            element(0x00080060, "CS", b"CT"), element(0x00080060, "CS", b"CT") * 2
        ),
        Tolerance.DUPLICATE,
    ),
    Fault(
        "a private OB in fragments",
        _before(
            PIXELS,
            PRIVATE
            + element(0x00291010, "OB", ITEM[:4] + bytes(4) + ITEM[:4] + b"\4\0\0\0" + b"1234", UNDEFINED)
            + SEQUENCE_END,
        ),
        Tolerance.UNDEFINED_LENGTH,
    ),
    Fault(
        "text labelled as a sequence",
        _before(PIXELS, element(0x00291001, "SQ", b"no items")),
        Tolerance.NO_ITEMS,
    ),
    Fault("text under the tag of a sequence", _before(0x0020000D, LO_UNDER_SEQUENCE), Tolerance.WRONG_VR),
    Fault(
        "an item without delimiter",
        _before(
            PIXELS,
            element(0x00291001, "SQ", ITEM + element(0x00080060, "CS", b"CT"), UNDEFINED) + SEQUENCE_END,
        ),
        Tolerance.NO_DELIMITER,
    ),
    Fault(
        "an unknown character set",
        lambda data_set: data_set.replace(b"ISO_IR 192", b"ISO_IR 999"),
        Tolerance.UNKNOWN_CHARACTER_SET,
    ),
    Fault(
        "text in another character set",
        lambda data_set: data_set.replace("Müller^Jürgen".encode(), "Müller^Jürgen  ".encode("latin-1")),
        Tolerance.UNREADABLE_TEXT,
    ),
)
REFUSED = (
    Fault(
        "an element twice with two values",
        lambda data_set: data_set.replace(
            element(0x00080060, "CS", b"CT"),
            element(0x00080060, "CS", b"CT") + element(0x00080060, "CS", b"MR"),
        ),
        None,
    ),
    Fault("truncated", lambda data_set: data_set[:-5], None),
    Fault("truncated in a head", lambda data_set: data_set + b"\xfc\xff\xfc", None),
    Fault("no study", lambda data_set: data_set.replace(b"2.25.11", b"\0" * 7, 1), None),
    Fault("a UID that is none", lambda data_set: data_set.replace(b"2.25.11", b"2.25./1", 1), None),
    Fault("an item out of place", _at_end(ITEM), None),
)

# The same CT in another encoding than its transfer syntax says: declared, true.
OTHER_ENCODINGS = (
    (IMPLICIT_LE, EXPLICIT_LE),
    (EXPLICIT_LE, IMPLICIT_LE),
    (EXPLICIT_LE, EXPLICIT_BE),
    (EXPLICIT_BE, EXPLICIT_LE),
    (EXPLICIT_BE, IMPLICIT_LE),
)

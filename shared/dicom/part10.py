"""DICOM Part 10 files (PS3.10 7, PS3.5 7): read before any other parser, in bounded memory.

What is wrong is told by tag and position; no value is quoted. A file whose data set can be read is not
refused for what stands around it: each `Tolerance` names one such fault. Files without preamble, and bare
data sets, are read as well.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from shared.dicom.data_set import (
    CANNOT_UNDERSTAND,
    LIMITS,
    MISMATCH,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    SYNTAX_NOT_SUPPORTED,
    BeyondLimit,
    Bulk,
    DataElement,
    DataSet,
    DicomError,
    Limits,
    LongSequence,
    Source,
    Tolerance,
    Tolerated,
    name,
)
from shared.dicom.elements import element
from shared.dicom.encodings import PIXEL_DATA, PIXEL_TAGS, Encoding, encoding_at
from shared.dicom.file_window import FileWindow
from shared.dicom.scanner import Scanner
from shared.dicom.uids import (
    DEFLATED_LE,
    ENCAPSULATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LE,
    TRANSFER_SYNTAXES,
    UID_FORM,
    UNCOMPRESSED,
    is_uid,
)

__all__ = [
    "CANNOT_UNDERSTAND",
    "LIMITS",
    "MISMATCH",
    "OUT_OF_RESOURCES",
    "PIXEL_DATA",
    "PIXEL_TAGS",
    "PREAMBLE",
    "SOP_CLASS_NOT_SUPPORTED",
    "SYNTAX_NOT_SUPPORTED",
    "BeyondLimit",
    "Bulk",
    "DataElement",
    "DataSet",
    "DicomError",
    "Limits",
    "LongSequence",
    "Part10",
    "Tolerance",
    "file_meta",
    "inflated",
    "is_dicom",
    "name",
    "scan",
    "transfer_syntax_of",
    "uid_of",
]

PREAMBLE: Final = 128

_PREFIX: Final = b"DICM"
_DEFLATED_PIECE: Final = 64 * 1024
_INFLATED_PIECE: Final = 1024**2
_EXPLICIT: Final = Encoding(implicit=False, big_endian=False)
_SYNTAX_OF: Final[Mapping[Encoding, str]] = {
    Encoding(implicit=True, big_endian=False): IMPLICIT_LE,
    _EXPLICIT: EXPLICIT_LE,
    Encoding(implicit=False, big_endian=True): EXPLICIT_BE,
}
_ENCODING_OF: Final = {syntax: encoding for encoding, syntax in _SYNTAX_OF.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """A scanned file: group 0002, the data set and where it begins.

    `transfer_syntax_uid` is that of the data set, also where group 0002 names another or none.
    """

    transfer_syntax_uid: str
    meta: DataSet
    data_set: DataSet
    data_set_offset: int
    big_endian: bool = False
    tolerated: Tolerated = field(default_factory=dict)
    source: Source = field(compare=False, repr=False)

    @property
    def deflated(self) -> bool:
        """Whether the data set is compressed as a whole, so that offsets do not count in the file."""
        return self.transfer_syntax_uid == DEFLATED_LE

    @property
    def encapsulated(self) -> bool:
        """Whether the transfer syntax puts pixel data into fragments."""
        return self.transfer_syntax_uid in ENCAPSULATED


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does: with preamble and prefix, with group 0002, or with group 0008."""
    with path.open("rb") as file, suppress(DicomError):
        start = _start_of(FileWindow(file.fileno()))
        return start is not None
    return False


def data_set_offset(path: Path, limits: Limits = LIMITS) -> int:
    """Where the data set of a file begins, behind its File Meta Information.

    Raises
    ------
    DicomError
        The file begins as no DICOM file does.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        return _file_meta(FileWindow(file.fileno()), os.fstat(file.fileno()).st_size, limits, {})[1]


def scan(path: Path, limits: Limits = LIMITS) -> Part10:
    """Scan the whole structure of a file without reading its large values.

    Raises
    ------
    DicomError
        No DICOM, truncated, malformed, of an unknown transfer syntax, or beyond `limits`.
    """
    # A file object takes longer to make than most files to scan.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _scanned(path, descriptor, limits)
    finally:
        os.close(descriptor)


def _scanned(path: Path, descriptor: int, limits: Limits) -> Part10:
    tolerated: dict[Tolerance, int] = {}
    window, size = FileWindow(descriptor), os.fstat(descriptor).st_size
    meta, offset = _file_meta(window, size, limits, tolerated)
    declared = _declared(meta)
    if offset >= size:
        raise DicomError("truncated: no data set behind group 0002")
    if declared != DEFLATED_LE:
        return _of_data_set(window, offset, size, meta, offset, declared, limits, Source(path), tolerated)
    with open(descriptor, "rb", closefd=False) as file:  # it is open
        file.seek(offset)
        inflated = _inflate(file, limits)
    source, length = Source(path, inflated), os.fstat(inflated.fileno()).st_size
    window = FileWindow(inflated.fileno())
    return _of_data_set(window, 0, length, meta, offset, declared, limits, source, tolerated)


def _of_data_set(
    window: FileWindow,
    start: int,
    end: int,
    meta: DataSet,
    data_set_offset: int,
    declared: str,
    limits: Limits,
    source: Source,
    tolerated: dict[Tolerance, int],
) -> Part10:
    """Scan the data set from `start` to `end` of the file itself, or of what it inflated to."""
    encoding = encoding_at(window, start, end, _ENCODING_OF.get(declared, _EXPLICIT))
    syntax = _true_syntax(declared, encoding, tolerated)
    try:
        data_set = Scanner(window, end, encoding, limits, source, tolerated).data_set(start)
    except DicomError:
        source.close()
        raise
    if not syntax:
        syntax = _guessed(data_set, encoding)
    if syntax not in ENCAPSULATED and (tag := _in_fragments(data_set)):
        tolerated[Tolerance.UNDEFINED_LENGTH] = tag
    return Part10(
        transfer_syntax_uid=syntax,
        meta=meta,
        data_set=data_set,
        data_set_offset=data_set_offset,
        big_endian=encoding.big_endian,
        tolerated=tolerated,
        source=source,
    )


def transfer_syntax_of(meta: DataSet) -> str:
    """Transfer Syntax UID (0002,0010), or a `DicomError` when absent or unknown."""
    if not (syntax := _declared(meta)):
        raise DicomError("no Transfer Syntax UID (0002,0010)")
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


# --- the file around the data set --------------------------------------------------------------------


def _start_of(window: FileWindow) -> int | None:
    """Where group 0002 or a bare data set begins; None when the file begins as no DICOM file does."""
    head = window.octets(0, PREAMBLE + 4)
    if head[PREAMBLE:] == _PREFIX:
        return PREAMBLE + 4
    if head.startswith(_PREFIX):
        return len(_PREFIX)
    return 0 if len(head) >= 8 and head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08") else None


def _file_meta(
    window: FileWindow, size: int, limits: Limits, tolerated: dict[Tolerance, int]
) -> tuple[DataSet, int]:
    start = _start_of(window)
    if start is None:
        raise DicomError("not a DICOM file: no DICM at byte 128, and no data set at its beginning")
    if start != PREAMBLE + 4:
        tolerated[Tolerance.NO_PREAMBLE] = 0x00020000
    scanner = Scanner(window, size, _EXPLICIT, limits, None, tolerated)
    meta, offset = scanner.meta(start)
    if not meta:
        tolerated[Tolerance.NO_META] = 0x00020000
    return meta, offset


def _declared(meta: DataSet) -> str:
    syntax = uid_of(meta, 0x00020010)
    if syntax and syntax not in TRANSFER_SYNTAXES:
        raise DicomError("Transfer Syntax UID (0002,0010) is not supported", SYNTAX_NOT_SUPPORTED)
    return syntax


def _true_syntax(declared: str, encoding: Encoding, tolerated: dict[Tolerance, int]) -> str:
    """The transfer syntax that the bytes are in; empty when group 0002 names none."""
    if encoding == _ENCODING_OF.get(declared, _EXPLICIT) and declared:
        return declared
    if declared:
        tolerated[Tolerance.OTHER_SYNTAX] = 0x00020010
        return _SYNTAX_OF[encoding] if declared in UNCOMPRESSED else declared
    tolerated.setdefault(Tolerance.NO_META, 0x00020010)
    return ""


def _guessed(data_set: DataSet, encoding: Encoding) -> str:
    """The transfer syntax of a data set that comes without one; which compression it is nobody can know."""
    if _in_fragments(data_set):
        raise DicomError("no Transfer Syntax UID (0002,0010), and the pixels are compressed")
    return _SYNTAX_OF[encoding]


def _in_fragments(data_set: DataSet) -> int:
    """The tag of pixel data in fragments, or 0."""
    for tag in PIXEL_TAGS:
        element = data_set.get(tag)
        if element is not None and isinstance(element.value, Bulk) and element.value.fragments is not None:
            return tag
    return 0


def _inflate(file: BinaryIO, limits: Limits) -> BinaryIO:
    """What the rest of `file` inflates to, in a file that has no name."""
    into = TemporaryFile()  # noqa: SIM115  # whoever gets it closes it
    try:
        for piece in inflated(file):
            into.write(piece)
            if into.tell() > limits.inflated:
                raise BeyondLimit(f"the deflated data set is longer than {limits.inflated} bytes")
        into.flush()
    except BaseException:
        into.close()
        raise
    return into


def inflated(file: BinaryIO) -> Iterator[bytes]:
    """What the rest of `file` inflates to, in pieces of at most 1 MiB; what follows its end, as the byte that
    makes a length even (PS3.5 A.5), is let be.

    Raises
    ------
    DicomError
        It cannot be inflated, or has no end.
    """
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        while not inflater.eof and (piece := file.read(_DEFLATED_PIECE)):
            yield inflater.decompress(piece, _INFLATED_PIECE)
            # At the end the tail stays as it is, and is no more of it.
            while inflater.unconsumed_tail and not inflater.eof:
                yield inflater.decompress(inflater.unconsumed_tail, _INFLATED_PIECE)
    except zlib.error:
        raise DicomError("the deflated data set cannot be inflated") from None
    if not inflater.eof:
        raise DicomError("truncated: the deflated data set has no end")


# --- writing -----------------------------------------------------------------------------------------


def file_meta(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """What stands before a data set in its file: preamble, prefix and group 0002 (PS3.10 7.1)."""
    elements = b"".join(
        (
            element(0x00020001, "OB", b"\0\1"),
            element(0x00020002, "UI", sop_class_uid.encode("ascii")),
            element(0x00020003, "UI", sop_instance_uid.encode("ascii")),
            element(0x00020010, "UI", transfer_syntax_uid.encode("ascii")),
            element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            element(0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
        )
    )
    length = element(0x00020000, "UL", struct.pack("<I", len(elements)))
    return bytes(PREAMBLE) + _PREFIX + length + elements

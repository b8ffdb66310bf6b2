"""A scanned data set: its elements, what stayed in the file, the limits it kept to and what was tolerated."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, overload

CANNOT_UNDERSTAND: Final = 0xC000
MISMATCH: Final = 0xA900
OUT_OF_RESOURCES: Final = 0xA700
SYNTAX_NOT_SUPPORTED: Final = 0xC122
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask of us. Sizes in bytes; `inflated` bounds the data set of a deflated file.

    Memory is bounded, not the file: values longer than `binary` (of the VRs O? and UN) or `value` (of the
    others) stay in the file, and so do the items of a sequence that would take more than `sequence`. What is
    kept in memory adds up to `kept` at most. `elements` bounds the work: every element and item is looked at.
    """

    depth: int = 32
    elements: int = 100_000_000
    binary: int = 1024
    value: int = 64 * 1024
    sequence: int = 2 * 1024**2
    kept: int = 32 * 1024**2
    inflated: int = 4 * 1024**3


LIMITS: Final = Limits()


class DicomError(ValueError):
    """The bytes are not DICOM that we accept; the text says what is wrong and where, and quotes no value.

    `status` is the DIMSE status and STOW-RS failure reason that says so (PS3.4 B.2.3, PS3.18 I.2.2).
    """

    def __init__(self, text: str, status: int = CANNOT_UNDERSTAND) -> None:
        super().__init__(text)
        self.status = status


class BeyondLimit(DicomError):
    """The bytes may be good DICOM, but ask for more than `Limits` allow."""

    def __init__(self, text: str) -> None:
        super().__init__(text, OUT_OF_RESOURCES)


class Tolerance(Enum):
    """What is wrong with a file that is kept all the same, since it says what it is: one name for each.

    The value is the sentence that the sender is told.
    """

    NO_PREAMBLE = "no preamble and DICM before group 0002"
    NO_META = "no File Meta Information"
    META_DIFFERS = "group 0002 names another instance; the data set counts"
    META_REPEATED = "group 0002 once more; the first counts"
    FOREIGN_GROUP = "an element of a group that is no data was ignored"
    OTHER_SYNTAX = "the data set is not in the transfer syntax of group 0002"
    STRAY_DELIMITER = "a delimiter out of place was skipped"
    NO_DELIMITER = "an item without its delimiter"
    PADDING = "padding behind the data set was skipped"
    DUPLICATE = "an element twice with one value"
    UNKNOWN_VR = "an unknown VR, read as UN"
    NO_VR = "an element without VR in Explicit VR"
    UNDEFINED_LENGTH = "undefined length where none is allowed"
    NO_ITEMS = "SQ without items, read as UN"
    WRONG_VR = "a sequence where the dictionary has none, or none where it has one"
    UNKNOWN_CHARACTER_SET = "an unknown Specific Character Set"
    NO_CHARACTER_SET = "text beyond ASCII without Specific Character Set"
    UNREADABLE_TEXT = "text that is not in its Specific Character Set"


Tolerated = Mapping[Tolerance, int]
"""What was tolerated, and the tag where it was met first."""


def warnings(tolerated: Tolerated) -> tuple[str, ...]:
    """A sentence for each tolerance, with the tag of its first place."""
    return tuple(f"{tolerance.value}: {name(tag)}" for tolerance, tag in tolerated.items())


def name(tag: int) -> str:
    """`(gggg,eeee)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class Fragments(Sequence[tuple[int, int]]):
    """Offsets and lengths of fragments, 16 bytes for each."""

    __slots__ = ("_lengths", "_offsets")

    def __init__(self, pairs: Sequence[tuple[int, int]] = ()) -> None:
        self._offsets = array("Q", (offset for offset, _ in pairs))
        self._lengths = array("Q", (length for _, length in pairs))

    def add(self, offset: int, length: int) -> None:
        """Append one; for whoever makes the sequence."""
        self._offsets.append(offset)
        self._lengths.append(length)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[int, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | Sequence[tuple[int, int]]:
        if isinstance(index, slice):
            return list(zip(self._offsets[index], self._lengths[index], strict=True))
        return self._offsets[index], self._lengths[index]

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._offsets, self._lengths, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    __hash__ = None  # type: ignore[assignment]  # it grows while it is made


def _same(one: object, other: object) -> bool:
    return one == other


@dataclass(frozen=True, slots=True)
class Bulk:
    """A value that stayed in the file: `length` bytes from `offset`, or fragments of encapsulated pixel data.

    `fragments` are (offset, length) without item headers and without the Basic Offset Table, whose bytes are
    `offset_table`. Offsets count in the inflated data set when the file is deflated, else in the file.
    """

    offset: int
    length: int
    fragments: Sequence[tuple[int, int]] | None = None
    offset_table: bytes = b""

    @property
    def ranges(self) -> Sequence[tuple[int, int]]:
        """Where the value lies, as (offset, length)."""
        return ((self.offset, self.length),) if self.fragments is None else self.fragments


class Source:
    """Where a data set is read from: the file itself, or what it inflated to."""

    def __init__(self, path: Path, inflated: BinaryIO | None = None) -> None:
        self._path = path
        self._held = inflated

    def hold(self) -> None:
        """Keep the file open as long as this object is there: something will be read later."""
        if self._held is None:
            self._held = self._path.open("rb", buffering=0)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor to read from by position."""
        if self._held is not None:
            yield self._held.fileno()
            return
        with self._path.open("rb", buffering=0) as file:
            yield file.fileno()

    def pieces(self, ranges: Sequence[tuple[int, int]], most: int = 1024**2) -> Iterator[bytes]:
        """The bytes of `ranges`, at most `most` at a time."""
        with self.opened() as descriptor:
            for offset, length in ranges:
                while length and (piece := os.pread(descriptor, min(length, most), offset)):
                    yield piece
                    offset, length = offset + len(piece), length - len(piece)

    def close(self) -> None:
        """Let go of the file; nothing can be read later."""
        if self._held is not None:
            self._held.close()

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class LongSequence:
    """Items that stayed in the file and are read from it each time they are asked for, one at a time."""

    read: Callable[[], Iterator[DataSet]] = field(compare=False)
    offset: int
    length: int

    def __iter__(self) -> Iterator[DataSet]:
        return self.read()


DataSet = Mapping[int, "DataElement"]
Items = tuple[DataSet, ...] | LongSequence


class DataElement(NamedTuple):
    """One element. `value` is encoded as in the file, but its sequences are data sets.

    A tuple, because it is made in a third of the time.
    """

    tag: int
    vr: str
    value: bytes | Bulk | Items

"""Where the frames of an instance lie in its file (PS3.5 A.4), noted once at intake."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import overload

from shared.dicom.part10 import PIXEL_DATA, Bulk, Part10

UNKNOWN_FRAME = 0
_FRAGMENT = struct.Struct("<QII")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A run of bytes of the file that belongs to the frame `frame`, from 1; 0 when the file does not tell."""

    offset: int
    length: int
    frame: int


@dataclass(frozen=True, slots=True)
class Fragments(Sequence[Fragment]):
    """Fragments as the index keeps them, 16 bytes for each: a slide has hundreds of thousands."""

    packed: bytes

    @overload
    def __getitem__(self, index: int) -> Fragment: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Fragment]: ...
    def __getitem__(self, index: int | slice) -> Fragment | Sequence[Fragment]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        return Fragment(*_FRAGMENT.unpack_from(self.packed, at * _FRAGMENT.size))

    def __len__(self) -> int:
        return len(self.packed) // _FRAGMENT.size

    def __iter__(self) -> Iterator[Fragment]:
        return (Fragment(*values) for values in _FRAGMENT.iter_unpack(self.packed))


@dataclass(frozen=True, slots=True)
class PixelData:
    """Pixel data in the file: native frames one after the other, or the fragments of compressed ones.

    Native frames are `length` bytes from `offset` together, and `fragments` is None.
    """

    offset: int
    length: int
    fragments: Fragments | None = None


def pixel_data(part10: Part10, number_of_frames: int) -> PixelData | None:
    """Locate Pixel Data (7FE0,0010); None without it, or in a deflated file, where offsets do not count."""
    element = part10.data_set.get(PIXEL_DATA)
    if element is None or not isinstance(element.value, Bulk) or part10.deflated:
        return None
    bulk = element.value
    if bulk.fragments is None:
        return PixelData(bulk.offset, bulk.length)
    frames = _frames(bulk, number_of_frames)
    packed = bytearray()
    for (offset, length), frame in zip(bulk.fragments, frames, strict=True):
        packed += _FRAGMENT.pack(offset, length, frame)
    return PixelData(bulk.offset, bulk.length, Fragments(bytes(packed)))


def _frames(bulk: Bulk, number_of_frames: int) -> Iterator[int]:
    """The frame of each fragment: one, one each, or as the Basic Offset Table says."""
    fragments = bulk.fragments or ()
    if number_of_frames <= 1:
        return repeat(1, len(fragments))
    if len(fragments) == number_of_frames:
        return iter(range(1, number_of_frames + 1))
    starts = _starts(bulk, number_of_frames)
    if not starts:
        return repeat(UNKNOWN_FRAME, len(fragments))
    return (bisect_right(starts, offset) for offset, _ in fragments)


def _starts(bulk: Bulk, number_of_frames: int) -> Sequence[int]:
    """Where in the file each frame begins, by the Basic Offset Table; empty when it does not fit."""
    fragments = bulk.fragments or ()
    if len(bulk.offset_table) != 4 * number_of_frames or not fragments:
        return ()
    first = fragments[0][0]
    starts = [first + at for at in struct.unpack(f"<{number_of_frames}I", bulk.offset_table)]
    offsets = {offset for offset, _ in fragments}
    return starts if starts == sorted(starts) and starts[0] == first and offsets.issuperset(starts) else ()

"""Where the frames of an instance lie in its file (PS3.5 A.4), noted once at intake."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import overload

from shared.dicom.part10 import PIXEL_DATA, Bulk, Part10
from shared.dicom.uids import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
)

UNKNOWN_FRAME = 0
_EXTENDED_OFFSET_TABLE = 0x7FE00001
_MARKERS = {
    **dict.fromkeys(
        (
            JPEG_BASELINE,
            JPEG_EXTENDED,
            JPEG_LOSSLESS,
            JPEG_LOSSLESS_SV1,
            JPEG_LS_LOSSLESS,
            JPEG_LS_NEAR,
        ),
        b"\xff\xd8\xff",
    ),
    **dict.fromkeys(
        (JPEG_2000_LOSSLESS, JPEG_2000, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K), b"\xff\x4f\xff\x51"
    ),
}
_FRAGMENT = struct.Struct("<QII")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A run of bytes of the file that belongs to the frame `frame`, from 1; 0 when the file does not tell."""

    offset: int
    length: int
    frame: int


@dataclass(frozen=True, slots=True)
class FrameFragments(Sequence[Fragment]):
    """FrameFragments as the index keeps them, 16 bytes for each: a slide has hundreds of thousands."""

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
    fragments: FrameFragments | None = None

    def ranges_of(self, frames: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
        """Where the fragments of each of `frames` lie, as (offset, length); a frame without is left out.

        Of one frame for each fragment, as most files are, only those are looked at that are asked for.
        """
        fragments = self.fragments
        assert fragments is not None
        wanted_frames = set(frames)
        places: dict[int, list[tuple[int, int]]] = {}
        alone = all(0 < frame <= len(fragments) and fragments[frame - 1].frame == frame for frame in frames)
        single = alone and bool(fragments) and fragments[-1].frame == len(fragments)
        for one in (fragments[frame - 1] for frame in wanted_frames) if single else fragments:
            if one.frame in wanted_frames:
                places.setdefault(one.frame, []).append((one.offset, one.length))
        return places


def pixel_data(part10: Part10, number_of_frames: int) -> PixelData | None:
    """Locate Pixel Data (7FE0,0010); None without it, or in a deflated file, where offsets do not count."""
    element = part10.data_set.get(PIXEL_DATA)
    if element is None or not isinstance(element.value, Bulk) or part10.deflated:
        return None
    bulk = element.value
    if bulk.fragments is None:
        return PixelData(bulk.offset, bulk.length)
    frames = _frames(part10, bulk, number_of_frames)
    packed = bytearray()
    for (offset, length), frame in zip(bulk.fragments, frames, strict=True):
        packed += _FRAGMENT.pack(offset, length, frame)
    return PixelData(bulk.offset, bulk.length, FrameFragments(bytes(packed)))


def _frames(part10: Part10, bulk: Bulk, number_of_frames: int) -> Iterator[int]:
    """The frame of each fragment: one, one each, or as a table of offsets or the fragments themselves say."""
    fragments = bulk.fragments or ()
    if number_of_frames <= 1:
        return repeat(1, len(fragments))
    if len(fragments) == number_of_frames:
        return iter(range(1, number_of_frames + 1))
    starts = (
        _starts(fragments, _extended_table(part10), "Q", number_of_frames)
        or _starts(fragments, bulk.offset_table, "I", number_of_frames)
        or _begun(part10, fragments, number_of_frames)
    )
    if not starts:
        return repeat(UNKNOWN_FRAME, len(fragments))
    return (bisect_right(starts, offset) for offset, _ in fragments)


def misled(part10: Part10, number_of_frames: int) -> PixelData | None:
    """Where the frames lie of a file whose Basic Offset Table says something else; None where it is right, or
    nobody can tell."""
    element = part10.data_set.get(PIXEL_DATA)
    bulk = element.value if element is not None else None
    if not isinstance(bulk, Bulk) or not bulk.offset_table or number_of_frames < 2:
        return None
    if _starts(bulk.fragments or (), bulk.offset_table, "I", number_of_frames):
        return None
    places = pixel_data(part10, number_of_frames)
    is_known = places is not None and places.fragments and places.fragments[-1].frame != UNKNOWN_FRAME
    return places if is_known else None


def _extended_table(part10: Part10) -> bytes:
    """The bytes of the Extended Offset Table (7FE0,0001), which is in the file when it is long."""
    element = part10.data_set.get(_EXTENDED_OFFSET_TABLE)
    if element is None:
        return b""
    if isinstance(element.value, Bulk):
        return b"".join(part10.source.pieces(element.value.ranges))
    return element.value if isinstance(element.value, bytes) else b""


def _starts(
    fragments: Sequence[tuple[int, int]], table: bytes, code: str, number_of_frames: int
) -> Sequence[int]:
    """Where in the file each frame begins, by a table of offsets; empty when it does not fit."""
    if len(table) != struct.calcsize(code) * number_of_frames or not fragments:
        return ()
    first = fragments[0][0]
    starts = [first + at for at in struct.unpack(f"<{number_of_frames}{code}", table)]
    offsets = {offset for offset, _ in fragments}
    return starts if starts == sorted(starts) and starts[0] == first and offsets.issuperset(starts) else ()


def _begun(part10: Part10, fragments: Sequence[tuple[int, int]], number_of_frames: int) -> Sequence[int]:
    """Where each frame begins, by the marker with which a stream of JPEG or JPEG 2000 does; empty when these
    are not as many as the frames."""
    marker = _MARKERS.get(part10.transfer_syntax_uid)
    if marker is None:
        return ()
    heads = part10.source.pieces([(offset, len(marker)) for offset, _ in fragments])
    starts = [offset for (offset, _), head in zip(fragments, heads, strict=False) if head == marker]
    fits = len(starts) == number_of_frames and starts[0] == fragments[0][0]
    return starts if fits else ()

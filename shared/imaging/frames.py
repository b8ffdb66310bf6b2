"""Frames as they are given alone (PS3.18 8.7.3.3.2, 10.4.1.1.3): from the place of pixel data to pieces."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from shared.dicom.data_set import DataSet
from shared.dicom.part10 import PIXEL_DATA, Limits, scan
from shared.dicom.uids import EXPLICIT_BE
from shared.http.pieces import FileRange, Piece, Stream
from shared.imaging.instance import Instance
from shared.imaging.pixels import PixelData, pixel_data

_MOST_AT_ONCE = 1024**2
_SUBSAMPLED = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


class FramesUnclear(ValueError):
    """Where the frames of an instance lie cannot be said from its file."""


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """What one native frame is: of so many `bits`, of `word` bytes whose order is `swapped` in the file."""

    bits: int
    word: int = 1
    swapped: bool = False


def native_frame(file: Path, pixels: PixelData, native: NativeFrames, frame: int) -> Piece:
    """Frame `frame`, from 1, of pixels that are not compressed, as Little Endian has it.

    Raises
    ------
    FramesUnclear
        The pixel data are shorter than their attributes say.
    """
    first = native.bits * (frame - 1)
    length = (native.bits + 7) // 8
    if (first + native.bits + 7) // 8 > pixels.length:
        raise FramesUnclear("the pixel data are shorter than their attributes say")
    place = FileRange(file, pixels.offset + first // 8, length)
    if first % 8 or native.bits % 8:
        return Stream(length, partial(_shifted, place, first % 8, native.bits))
    if native.swapped and native.word > 1:
        return Stream(length, partial(_swapped, place, native.word))
    return place


def encapsulated_frame(file: Path, ranges: Sequence[tuple[int, int]]) -> tuple[Piece, ...]:
    """One compressed frame: its fragments, one after the other."""
    return tuple(FileRange(file, offset, length) for offset, length in ranges)


def _shifted(place: FileRange, shift: int, bits: int) -> Generator[bytes, None, None]:
    """A frame of single bits that begins within a byte; the lowest bit comes first (PS3.5 8.1.1)."""
    with Path(place.path).open("rb") as file:
        file.seek(place.offset)
        octets = file.read(place.length + 1)
    number = (int.from_bytes(octets, "little") >> shift) & ((1 << bits) - 1)
    yield number.to_bytes(place.length, "little")


def _swapped(place: FileRange, word: int) -> Generator[bytes, None, None]:
    with Path(place.path).open("rb") as file:
        file.seek(place.offset)
        rest = place.length
        while rest and (octets := file.read(min(rest, _MOST_AT_ONCE))):
            rest -= len(octets)
            words = array({2: "H", 4: "I", 8: "Q"}[word], octets[: len(octets) // word * word])
            words.byteswap()
            yield words.tobytes() + octets[len(octets) // word * word :]


def frame_ranges(
    instance: Instance, pixels: PixelData, frames: Sequence[int]
) -> list[list[tuple[int, int]]] | None:
    """Where each of `frames` of an instance as it is stored lies in its file, as (offset, length); None where
    its bytes are not given as they lie, or its attributes do not tell."""
    if pixels.fragments is not None:
        ranges = pixels.ranges_of(frames)
        return [ranges[frame] for frame in frames] if ranges.keys() >= set(frames) else None
    bits = _native_bits(instance)
    if bits is None or bits % 8 or not _is_whole(instance, pixels, bits):
        return None
    length = bits // 8
    return [[(pixels.offset + length * (frame - 1), length)] for frame in frames]


def _native_bits(instance: Instance) -> int | None:
    """How many bits a frame that is not compressed has in the file; None where they are in another order."""
    if instance.transfer_syntax_uid == EXPLICIT_BE:
        return None
    if instance.bits_allocated == 1:
        return (instance.rows or 0) * (instance.columns or 0) * instance.samples_per_pixel
    return instance.decoded_size * 8 // max(1, instance.number_of_frames)


def _is_whole(instance: Instance, pixels: PixelData, bits: int) -> bool:
    return 0 < bits * instance.number_of_frames <= pixels.length * 8


def known_frames(
    file: Path, instance: Instance, pixels: PixelData, frames: Sequence[int]
) -> list[tuple[Piece, ...]] | None:
    """The pieces of each of `frames` of an instance as it is stored, whose pixel data are known to lie at
    `pixels`; None where the attributes do not say how long a frame is, so that its file must be read.

    Raises
    ------
    FramesUnclear
        The file does not tell frames apart.
    """
    bits = _native_bits(instance)
    if pixels.fragments is None and (bits is None or not _is_whole(instance, pixels, bits)):
        return None
    return _frames(file, pixels, NativeFrames(bits or 0), frames)


def scanned_frames(file: Path, frames: Sequence[int], limits: Limits) -> list[tuple[Piece, ...]]:
    """As `known_frames`, of any file that is not deflated; blocks: it is scanned.

    Raises
    ------
    FramesUnclear, OSError, DicomError
        The file does not tell frames apart, or cannot be read.
    """
    part10 = scan(file, limits)
    data_set = part10.data_set
    number = partial(_number, data_set, order="big" if part10.big_endian else "little")
    count = number(0x00280008) or 1
    pixels = pixel_data(part10, count)
    if pixels is None:
        raise FramesUnclear("there are no frames in the file, or it is deflated")
    element = data_set[PIXEL_DATA]
    samples = number(0x00280010) * number(0x00280011) * (number(0x00280002) or 1)
    bits = samples * number(0x00280100)
    if _text(data_set, 0x00280004) in _SUBSAMPLED:
        # Two pixels share their colour (PS3.3 C.7.6.3.1.2).
        bits = bits * 2 // 3
    if not bits:
        raise FramesUnclear("the attributes do not say how long a frame is")
    word = 2 if element.vr == "OW" else 1
    return _frames(file, pixels, NativeFrames(bits, word, part10.big_endian), frames)


def _frames(
    file: Path, pixels: PixelData, native: NativeFrames, frames: Sequence[int]
) -> list[tuple[Piece, ...]]:
    if pixels.fragments is None:
        return [(native_frame(file, pixels, native, frame),) for frame in frames]
    ranges = pixels.ranges_of(frames)
    if not ranges.keys() >= set(frames):
        raise FramesUnclear("the file does not tell its compressed frames apart")
    return [encapsulated_frame(file, ranges[frame]) for frame in frames]


def _number(data_set: DataSet, tag: int, order: Literal["little", "big"] = "little") -> int:
    """The number at `tag`, US or IS; 0 when there is none."""
    element = data_set.get(tag)
    if element is None or not isinstance(element.value, bytes):
        return 0
    if element.vr == "US":
        return int.from_bytes(element.value[:2], order)
    text = element.value.decode("latin-1").strip(" \0")
    return int(text) if text.isdecimal() else 0


def _text(data_set: DataSet, tag: int) -> str:
    element = data_set.get(tag)
    value = element.value if element is not None and isinstance(element.value, bytes) else b""
    return value.decode("latin-1").strip(" \0")

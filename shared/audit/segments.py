"""The files of the spool: frames with length, sequence number and checksum, one after the other.

A crash leaves a torn frame at the end, which is cut. Damage in the middle costs only what it hits: reading
goes on at the next frame whose checksum holds.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

# No frame can hide in a message: messages are text, and the length's first octet is never one of text.
_MAGIC = b"\xfeXA\x01"
_HEADER = struct.Struct("!4sIQI")
_COVERED = struct.Struct("!IQ")
OVERHEAD = _HEADER.size

Octets = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class Frame:
    """One message in a segment; `end` is the offset after it, `skipped` the damaged octets before it."""

    sequence: int
    octets: bytes
    end: int
    skipped: int = 0


def frame(sequence: int, octets: bytes) -> bytes:
    """`octets` as a frame."""
    return _HEADER.pack(_MAGIC, len(octets), sequence, _checksum(sequence, octets)) + octets


def _checksum(sequence: int, octets: bytes) -> int:
    return crc32(octets, crc32(_COVERED.pack(len(octets), sequence)))


def frames(octets: Octets, start: int = 0) -> Iterator[Frame]:
    """The whole frames from `start` on, damaged parts left out."""
    at = start
    while (frame := _at(octets, at)) is not None or (at := octets.find(_MAGIC, at + 1)) >= 0:
        if frame is None:
            continue
        sequence, message, end = frame
        yield Frame(sequence, message, end, at - start)
        at = start = end


def _at(octets: Octets, at: int) -> tuple[int, bytes, int] | None:
    if at + OVERHEAD > len(octets):
        return None
    magic, length, sequence, checksum = _HEADER.unpack_from(octets, at)
    end = at + OVERHEAD + length
    if magic != _MAGIC or end > len(octets):
        return None
    message = octets[at + OVERHEAD : end]
    return (sequence, message, end) if _checksum(sequence, message) == checksum else None


def read(path: Path, start: int, size: int, *, most: int, most_bytes: int) -> list[Frame]:
    """Up to `most` frames and about `most_bytes` of the first `size` octets of `path`, from `start` on."""
    if start >= size:
        return []
    frames_of_page: list[Frame] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as octets:
        for item in frames(octets, start):
            frames_of_page.append(item)
            if len(frames_of_page) >= most or item.end - start >= most_bytes:
                break
    return frames_of_page


def last(path: Path) -> Frame | None:
    """The last whole frame of `path`; what follows its end was never acknowledged."""
    size = path.stat().st_size
    if not size:
        return None
    frame = None
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as octets:
        for frame in frames(octets):  # noqa: B007  # the last one is what is asked for
            pass
    return frame

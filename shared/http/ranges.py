"""Ranges of a body (RFC 9110 14): one range of bytes of what is given as a whole."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from functools import partial
from typing import Final

from shared.http.pieces import FileRange, Piece, Stream, size
from shared.http.problem import RangeProblem

_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z", re.ASCII)


def asked_range(header: str, total: int) -> tuple[int, int] | None:
    """Where the range that `Range` asks for begins, and its length; None when all is to be given.

    Several ranges, and units that are not bytes, are answered by the whole (14.2).

    Raises
    ------
    RangeProblem
        It begins behind the end.
    """
    match = _RANGE.match(header.strip())
    if match is None or match[0].strip() == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        start, end = max(0, total - int(last)), total
    else:
        start, end = int(first), min(int(last or total) + 1, total)
        if last and int(last) < start:
            return None
    if start >= total or start >= end:
        raise RangeProblem(f"the range begins behind the end; there are {total} bytes", total)
    return start, end - start


def part_of(pieces: Sequence[Piece], start: int, length: int) -> list[Piece]:
    """`length` bytes of `pieces` from `start`."""
    part: list[Piece] = []
    for piece in pieces:
        whole = size(piece)
        skipped = min(start, whole)
        start -= skipped
        share = min(length, whole - skipped)
        length -= share
        if share:
            part.append(_cut(piece, skipped, share))
    return part


def _cut(piece: Piece, start: int, length: int) -> Piece:
    if isinstance(piece, bytes):
        return piece[start : start + length]
    if isinstance(piece, FileRange):
        return FileRange(piece.path, piece.offset + start, length)
    return Stream(length, partial(_within, piece, start, length), piece.ahead)


def _within(stream: Stream, start: int, length: int) -> Generator[bytes | memoryview, None, None]:
    chunks = stream.open()
    try:
        while length:
            chunk = memoryview(next(chunks, b""))
            if not chunk:
                return
            part = chunk[start : start + length]
            start = max(0, start - len(chunk))
            length -= len(part)
            if part:
                yield part
    finally:
        chunks.close()

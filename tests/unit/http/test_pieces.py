"""Bodies made of bytes and of ranges of files."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http.pieces import (
    AHEAD_BYTES,
    Cursor,
    FileRange,
    FileTruncated,
    PieceReader,
    Stream,
    StreamEnded,
    read_ahead,
    size,
)

CONTENT = bytes(range(256)) * 40

ranges = st.tuples(st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT))).map(sorted)
descriptions = st.lists(st.one_of(st.binary(max_size=300), ranges), max_size=12)


def read(pieces, chunk_bytes: int) -> list[bytes]:
    reader = PieceReader(pieces, chunk_bytes)
    try:
        return [bytes(chunk) for chunk in iter(reader.next_chunk, b"")]
    finally:
        reader.close()


@given(descriptions, st.integers(1, 5_000))
def test_what_is_read_is_what_the_pieces_say_in_chunks_of_equal_size(described, chunk_bytes):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(CONTENT)
        pieces = [
            each if isinstance(each, bytes) else FileRange(path, each[0], each[1] - each[0])
            for each in described
        ]
        expected = b"".join(
            each if isinstance(each, bytes) else CONTENT[each[0] : each[1]] for each in described
        )

        chunks = read(pieces, chunk_bytes)

    assert b"".join(chunks) == expected
    assert sum(map(size, pieces)) == len(expected)
    assert all(len(chunk) == chunk_bytes for chunk in chunks[:-1])


def test_a_cursor_knows_the_last_piece_and_skips_empty_ones():
    cursor = Cursor([b"", b"ab", b"", b"c"])
    assert cursor.advance()
    assert (cursor.piece, cursor.last, cursor.remaining) == (b"ab", False, 2)
    cursor.position += 2
    assert cursor.advance()
    assert (cursor.piece, cursor.last) == (b"c", True)
    cursor.position += 1
    assert not cursor.advance()


def test_a_file_shorter_than_its_range_is_named_without_its_folder(tmp_path):
    path = tmp_path / "abcdef"
    path.write_bytes(b"12345")

    with pytest.raises(FileTruncated, match="abcdef ends 3 bytes before") as refused:
        read([FileRange(path, 2, 6)], 100)

    assert str(tmp_path) not in str(refused.value)


async def collect(pieces, **options) -> bytes:
    return b"".join([bytes(chunk) async for chunk in read_ahead(pieces, **options)])


async def test_reading_ahead_gives_all_bytes_in_order(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert (
        await collect([b"a", FileRange(path, 0, len(CONTENT)), b"b"], chunk_bytes=1000)
        == b"a" + CONTENT + b"b"
    )


async def test_reading_ahead_tells_of_a_truncated_file_and_leaves_nothing_open(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    before = open_files()
    with pytest.raises(FileTruncated):
        await collect([FileRange(path, 0, len(CONTENT) + 1)])
    await asyncio.sleep(0)
    assert open_files() == before


async def test_reading_ahead_can_be_left_at_any_time(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    before = open_files()
    chunks = read_ahead([FileRange(path, 0, len(CONTENT))], chunk_bytes=100)
    assert len(await anext(chunks)) == 100
    await chunks.aclose()
    async with asyncio.timeout(5):
        while open_files() > before:  # noqa: ASYNC110  # closed when the last read has ended
            await asyncio.sleep(0.01)


async def test_a_file_stays_open_while_a_cancelled_read_goes_on(tmp_path):
    fifo = tmp_path / "slow"
    os.mkfifo(fifo)
    reading = asyncio.create_task(collect([FileRange(fifo, 0, 10)]))
    await asyncio.sleep(0.05)
    before = open_files()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    # The thread still waits in open(); giving it a writer lets it end, and then nothing is left open.
    os.close(os.open(fifo, os.O_WRONLY))
    async with asyncio.timeout(5):
        while open_files() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def stream_of(*chunks: bytes) -> Stream:
    return Stream(sum(map(len, chunks)), lambda: (chunk for chunk in chunks))


@given(st.lists(st.lists(st.binary(max_size=50), max_size=5), max_size=5), st.integers(1, 70))
def test_a_stream_is_read_as_what_it_yields_whatever_its_chunks_are(streams, chunk_bytes):
    pieces = [piece for chunks in streams for piece in (b"--", stream_of(*chunks))]

    assert b"".join(read(pieces, chunk_bytes)) == b"".join(b"--" + b"".join(chunks) for chunks in streams)


def test_the_same_stream_twice_is_opened_twice():
    stream = stream_of(b"ab", b"c")
    assert b"".join(read([stream, stream], 2)) == b"abcabc"


def test_a_stream_gives_no_more_than_its_length():
    assert read([Stream(3, lambda: (chunk for chunk in [b"ab", b"cdef"])), b"!"], 100) == [b"abc!"]


def test_a_stream_that_ends_early_breaks_the_body():
    with pytest.raises(StreamEnded, match="2 bytes before"):
        read([Stream(5, lambda: (chunk for chunk in [b"abc"]))], 100)


def test_a_stream_is_closed_when_nobody_wants_the_rest():
    closed = []

    def chunks():
        try:
            yield b"a" * 10
            yield b"b" * 10
        finally:
            closed.append(True)

    reader = PieceReader([Stream(20, chunks)], 5)
    reader.next_chunk()
    reader.close()

    assert closed == [True]


class Ahead:
    """Streams that begin when they are opened, and what became of them."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.closed: list[int] = []

    def stream(self, number: int, octets: bytes, ahead: int) -> Stream:
        def begin() -> Begun:
            self.opened.append(number)
            return Begun(self, number, octets)

        return Stream(len(octets), begin, ahead)


class Begun:
    def __init__(self, log: Ahead, number: int, octets: bytes) -> None:
        self._log, self._number, self._octets = log, number, iter([octets])

    def __next__(self) -> bytes:
        return next(self._octets)

    def close(self) -> None:
        self._log.closed.append(self._number)


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.booleans()), max_size=40), st.integers(1, 70)
)
def test_streams_that_are_opened_ahead_are_sent_in_their_order_and_closed(described, chunk_bytes):
    log = Ahead()
    pieces = [
        piece
        for number, (octets, is_ahead) in enumerate(described)
        for piece in (b"--", log.stream(number, octets, AHEAD_BYTES // 4 if is_ahead else 0))
    ]

    assert b"".join(read(pieces, chunk_bytes)) == b"".join(b"--" + octets for octets, _ in described)
    assert sorted(log.opened) == sorted(log.closed) == list(range(len(described)))


def test_no_more_is_opened_ahead_than_may_be_at_hand():
    log = Ahead()
    reader = PieceReader([log.stream(number, b"x" * 10, AHEAD_BYTES // 4) for number in range(20)], 10)

    reader.next_chunk()
    assert log.opened == [0, 1, 2, 3, 4]
    reader.next_chunk()
    assert log.opened == [0, 1, 2, 3, 4, 5]
    reader.close()

    assert sorted(log.closed) == log.opened

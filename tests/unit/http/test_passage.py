"""A multipart body passes from one connection to another, by a thread or on the loop: as if it had been read
and written again."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.http.framing import BrokenFraming, Framing
from shared.http.incoming import Arriving, Incoming, SourceBroken
from shared.http.links import Link
from shared.http.multipart import DelimiterScanner, Headers, Parts, content_id_of
from shared.http.passage import Body, Passage, passing
from shared.http.transmission import ConnectionGone, PassageTransmission

BOUNDARY = "b1"
contents = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"\r\n--b1", b"\r\n--b1x", b"--b1--\r\n", b"\r\n\r\n", b"\r", b"x" * 70_000]),
    st.lists(st.sampled_from([b"\r\n", b"--", b"b1", b"\r", b"-"]), max_size=12).map(b"".join),
)


class Part:
    def __init__(self, name: str, content: bytes, told: str) -> None:
        self.name, self.content, self.told = name, content, told

    def __repr__(self) -> str:
        return f"Part({self.name!r}, {self.content[:40]!r}, {self.told!r})"

    @property
    def octets(self) -> bytes:
        head = f"\r\n--{BOUNDARY}\r\nContent-ID: <{self.name}>\r\n"
        body = self.content
        if self.told == "length":
            head += f"Content-Length: {len(body)}\r\n"
        elif self.told == "base64":
            head += "Content-Transfer-Encoding: base64\r\n"
            body = base64.b64encode(body)
        return head.encode() + b"\r\n" + body


# What does not say its length must not hold what looks like its end.
plain_parts = st.builds(
    Part, st.sampled_from("abcdef"), contents, st.sampled_from(["length", "base64", "nothing"])
).filter(lambda part: part.told != "nothing" or b"\r\n--b1" not in b"\r\n" + part.content + b"\r\n")
bodies = st.lists(plain_parts, max_size=6, unique_by=lambda part: part.name)


def multipart(parts: list[Part], end: bytes = b"\r\n--b1--\r\n") -> bytes:
    return b"".join(part.octets for part in parts)[2:] + end


def chunked(body: bytes, cuts: list[int]) -> bytes:
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    pieces = [body[start:end] for start, end in pairwise(places)]
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(one), one) for one in pieces if one) + b"0\r\nT: t\r\n\r\n"


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    other.setblocking(False)
    return one, other


@dataclass
class AtSocket:
    """Where a body comes from that a thread takes over."""

    connection: socket.socket
    framing: Framing
    plain: bool = True

    def incoming(self) -> Incoming:
        return Incoming(self.connection, self.framing)

    def arriving(self) -> Arriving:
        raise AssertionError("a thread has it")


@dataclass
class AtLink:
    """Where a body comes from that the loop reads."""

    link: Link
    framing: Framing
    plain: bool = False

    def incoming(self) -> Incoming:
        raise AssertionError("the loop has it")

    def arriving(self) -> Arriving:
        return Arriving(self.link, self.framing)


Way = Callable[[socket.socket, Framing, Callable[[Body], Passage]], Awaitable[bytes]]


async def by_a_thread(
    incoming: socket.socket, framing: Framing, passage_of: Callable[[Body], Passage]
) -> bytes:
    receiver, outgoing = pair()
    gathered = bytearray()

    def receive() -> None:
        while octets := receiver.recv(65536):
            gathered.extend(octets)

    receiving = threading.Thread(target=receive)
    receiving.start()
    try:
        with ThreadPoolExecutor(1) as executor:
            await PassageTransmission(outgoing, passage_of(AtSocket(incoming, framing))).run(executor)
    finally:
        await asyncio.to_thread(receiving.join, 5)
        receiver.close()
    return bytes(gathered)


async def on_the_loop(
    incoming: socket.socket, framing: Framing, passage_of: Callable[[Body], Passage]
) -> bytes:
    transport, link = await asyncio.get_running_loop().create_connection(Link, sock=incoming)
    try:
        return b"".join([octets async for octets in passing(passage_of(AtLink(link, framing)))])
    finally:
        transport.abort()


WAYS = (by_a_thread, on_the_loop)


async def passed(
    way: Way,
    raw: bytes,
    framing: Framing,
    expected: set[str],
    *,
    stall_seconds: float = 5,
    close: bool = True,
) -> bytes:
    """What leaves, chunks undone, of a body that comes as `raw`."""
    sender, incoming = pair()
    left = set(expected)

    def head_of(headers: Headers) -> bytes | None:
        name = content_id_of(headers)
        if name not in left:
            return None
        left.remove(name)
        return f"\r\n--new\r\nContent-ID: <{name}>\r\n\r\n".encode()

    def closing() -> bytes:
        if left:
            raise SourceBroken("not all came")
        return b"\r\n--new--\r\n"

    async def broken() -> None:
        pass

    def passage_of(body: Body) -> Passage:
        return Passage(
            body=body,
            scanner=DelimiterScanner(BOUNDARY),
            opening=b"--new\r\n\r\nroot",
            head_of=head_of,
            closing=closing,
            stall_seconds=stall_seconds,
            on_broken=broken,
        )

    def send() -> None:
        with suppress(OSError):
            sender.sendall(raw)
            if close:
                sender.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        gathered = await way(incoming, framing, passage_of)
    finally:
        sender.close()
        await asyncio.to_thread(sending.join, 5)
    undone = Framing(chunked=True)
    undone.feed(gathered)
    content = b""
    while more := undone.content(1 << 30):
        content += more
    assert undone.ended
    return content


async def parts_of(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    async def once() -> AsyncIterator[bytes]:
        yield body

    return [
        (part.content_id, b"".join([chunk async for chunk in part.chunks()]))
        async for part in Parts(once(), boundary)
    ]


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None)
@given(bodies, st.sets(st.sampled_from("abcdef")), st.lists(st.integers(0, 3000), max_size=6), st.booleans())
def test_every_part_that_is_expected_leaves_as_it_came(
    way: Way, parts: list[Part], names: set[str], cuts: list[int], in_chunks: bool
):
    body = multipart(parts)
    raw = chunked(body, cuts) if in_chunks else body
    framing = Framing(chunked=True) if in_chunks else Framing(length=len(body))
    here = {part.name for part in parts}

    left = asyncio.run(passed(way, raw, framing, names & here))

    assert left.startswith(b"--new\r\n\r\nroot")
    # Content that looks like a delimiter of the body that came is content like any other.
    found = asyncio.run(parts_of(left, "new"))[1:]
    assert found == [(part.name, part.content) for part in parts if part.name in names]
    assert framing.reusable


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=30, deadline=None)
@given(bodies.filter(bool), st.data())
def test_a_body_that_breaks_off_is_never_passed_as_whole(way: Way, parts: list[Part], data: st.DataObject):
    body = multipart(parts)
    # The line end behind the last delimiter is nobody's content.
    kept = data.draw(st.integers(0, len(body) - 3))

    with pytest.raises(SourceBroken):
        asyncio.run(passed(way, body[:kept], Framing(length=len(body)), {part.name for part in parts}))
    with pytest.raises(SourceBroken):
        asyncio.run(passed(way, body[:kept], Framing(), {part.name for part in parts}))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", [1, -1])
async def test_a_part_of_another_length_than_it_says_breaks_the_body(way: Way, change: int):
    octets = multipart([Part("a", b"x" * 5000, "length"), Part("b", b"y", "nothing")])
    lying = octets.replace(b"Content-Length: 5000", b"Content-Length: %d" % (5000 + change))

    with pytest.raises(SourceBroken):
        await passed(way, lying, Framing(length=len(lying)), {"a", "b"})


@pytest.mark.parametrize("way", WAYS)
async def test_an_expected_part_that_does_not_come_breaks_the_body(way: Way):
    octets = multipart([Part("a", b"one", "length")])

    with pytest.raises(SourceBroken):
        await passed(way, octets, Framing(length=len(octets)), {"a", "b"})


@pytest.mark.parametrize("way", WAYS)
async def test_a_source_that_stands_still_is_given_up(way: Way):
    octets = multipart([Part("a", b"x" * 200_000, "length")])

    with pytest.raises(SourceBroken):
        await passed(
            way, octets[:100_000], Framing(length=len(octets)), {"a"}, stall_seconds=0.05, close=False
        )


def a_passage(incoming: socket.socket, framing: Framing) -> Passage:
    async def broken() -> None:
        pass

    return Passage(
        body=AtSocket(incoming, framing),
        scanner=DelimiterScanner(BOUNDARY),
        opening=b"root",
        head_of=lambda headers: b"head",
        closing=lambda: b"",
        stall_seconds=60,
        on_broken=broken,
    )


async def test_a_client_that_goes_away_ends_the_passage():
    sender, incoming = pair()
    receiver, outgoing = pair()
    length = 64 * 1024 * 1024
    opening = f"--b1\r\nContent-ID: <a>\r\nContent-Length: {length}\r\n\r\n".encode()

    def send() -> None:
        with suppress(OSError):
            sender.sendall(opening + bytes(length))

    thread = threading.Thread(target=send)
    thread.start()
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    receiver.close()
    with ThreadPoolExecutor(1) as executor, pytest.raises(ConnectionGone):
        await PassageTransmission(outgoing, a_passage(incoming, Framing())).run(executor)
    thread.join(5)
    sender.close()


@pytest.mark.parametrize("leaves", [True, False])
async def test_of_a_client_that_waits_for_a_silent_source_only_a_goodbye_is_heard(leaves: bool):
    octets = multipart([Part("a", b"x" * 5000, "length")])
    sender, incoming = pair()
    receiver, outgoing = pair()
    passage = a_passage(incoming, Framing(length=len(octets)))
    with sender, receiver, ThreadPoolExecutor(1) as executor:
        passing_on = asyncio.create_task(PassageTransmission(outgoing, passage).run(executor))
        sender.sendall(octets[:2000])
        await asyncio.to_thread(receiver.recv, 65536)
        if leaves:
            receiver.close()
            with pytest.raises(ConnectionGone):
                await passing_on
        else:
            receiver.sendall(b"GET / HTTP/1.1")
            sender.sendall(octets[2000:])
            await passing_on


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8), st.lists(st.integers(1, 60)))
def test_a_chunked_body_is_read_alike_wherever_it_is_cut(body: bytes, cuts: list[int], steps: list[int]):
    raw, framing, content = chunked(body, cuts), Framing(chunked=True), b""
    for step in [*steps, len(raw) or 1]:
        framing.feed(raw[:step])
        raw = raw[step:]
        while more := framing.content(7):
            content += more
        if not raw:
            break

    assert content == body
    assert framing.reusable


@pytest.mark.parametrize("raw", [b"x\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n", b"1" * 2000, b"\r\n"])
def test_what_is_no_chunk_is_refused(raw: bytes):
    framing = Framing(chunked=True)
    framing.feed(raw)

    with pytest.raises(BrokenFraming):
        list(iter(lambda: framing.content(100), b""))

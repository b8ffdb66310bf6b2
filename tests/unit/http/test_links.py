"""Connections by which a gateway asks: kept, read in large pieces, and honest about answers that are none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx2
import pytest

from shared.http.links import BODY, PeerTransport

BODY_OCTETS = bytes(range(256)) * 4096
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers each request of a connection with the next of `answers`; None ends the connection."""

    def __init__(self, *answers: bytes | None, keeps: bool = True) -> None:
        self.keeps = keeps
        self.answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[httpx2.AsyncClient]:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        transport = PeerTransport(
            ssl.create_default_context(), connections=2, idle_connections=1, idle_seconds=20
        )
        timeout = httpx2.Timeout(2, pool=0.1)
        try:
            async with httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
                yield client
        finally:
            server.close()
            await server.wait_closed()
            # The streams of asyncio do not wait for who serves them.
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/here?a=b"

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._connected(reader, writer)))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else None
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if not self.keeps:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def chunks(*pieces: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (*pieces, b"") if one or one == b"")
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


async def test_requests_go_over_a_connection_that_is_kept():
    peer = Peer(OK, chunks(b"one", b"two"), OK)
    async with peer.listening() as client:
        bodies = [(await client.post(peer.url, content=b"request")).content for _ in range(3)]

    assert bodies == [b"ok", b"onetwo", b"ok"]
    assert peer.connections == 1
    assert peer.requests[0].startswith(b"POST /here?a=b HTTP/1.1\r\n")
    assert peer.requests[0].endswith(b"\r\n\r\nrequest")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore",
    ],
    ids=["said so", "of before 1.1", "something unasked behind it"],
)
async def test_a_connection_that_cannot_be_kept_is_not(answer: bytes):
    peer = Peer(answer, OK)
    async with peer.listening() as client:
        for _ in range(2):
            assert (await client.get(peer.url)).content == b"ok"
    assert peer.connections == 2


@pytest.mark.parametrize("frame", [lambda body: chunks(body[:1000], body[1000:]), lambda body: None])
async def test_a_large_body_comes_whole(frame: Callable[[bytes], bytes | None]):
    framed = frame(BODY_OCTETS)
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY_OCTETS), BODY_OCTETS)
    peer = Peer(framed or plain)
    async with peer.listening() as client:
        assert (await client.get(peer.url)).content == BODY_OCTETS


async def test_a_body_without_a_length_ends_with_its_connection():
    peer = Peer(b"HTTP/1.1 200 OK\r\n\r\n" + BODY_OCTETS, keeps=False)
    async with peer.listening() as client:
        assert (await client.get(peer.url)).content == BODY_OCTETS


async def test_an_interim_answer_is_no_answer():
    peer = Peer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK)
    async with peer.listening() as client:
        assert (await client.get(peer.url)).content == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ],
)
async def test_what_is_no_answer_is_told(answer: bytes):
    peer = Peer(answer, keeps=False)
    async with peer.listening() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(peer.url)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_a_body_that_breaks_off_is_told(answer: bytes):
    peer = Peer(answer, keeps=False)
    async with peer.listening() as client:
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
            await client.get(peer.url)


async def test_nobody_there_and_a_silent_peer_are_told_apart():
    peer = Peer()
    async with peer.listening() as client:
        url = peer.url
    async with peer.listening() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(url)

    slow = Peer(b"HTTP/1.1 200 OK\r\n")
    async with slow.listening() as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(slow.url, timeout=0.1)


async def test_who_finds_no_place_is_told_and_places_come_back():
    peer = Peer(*[OK] * 4)
    async with peer.listening() as client:
        held = [await client.send(client.build_request("GET", peer.url), stream=True) for _ in range(2)]
        with pytest.raises(httpx2.PoolTimeout):
            await client.get(peer.url)
        for one in held:
            await one.aclose()
        assert (await client.get(peer.url)).content == b"ok"


async def test_a_connection_that_was_taken_over_is_kept_when_its_body_is_over():
    peer = Peer(chunks(b"one", b"two"), OK, OK)
    async with peer.listening() as client:
        answer = await client.send(client.build_request("GET", peer.url), stream=True)
        incoming = answer.extensions[BODY].incoming()
        content = b""
        while (octets := incoming.read(100, ahead=5)) != b"":
            content += octets or b""
            await asyncio.sleep(0)
        incoming.close()
        await answer.aclose()
        assert (await client.get(peer.url)).content == b"ok"
        half = await client.send(client.build_request("GET", peer.url), stream=True)
        half.extensions[BODY].incoming().close()
        await half.aclose()
    assert content == b"onetwo"
    assert peer.connections == 1

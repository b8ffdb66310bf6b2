"""Parts of an answer become files, by a thread that takes over its socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from consumer.store.files import Endless, InstanceLimits
from consumer.store.landing import landed
from shared.http.client import http_client
from shared.http.incoming import SourceBroken
from shared.http.links import received_body
from shared.http.multipart import DelimiterScanner, content_id_of
from shared.settings import TlsSettings
from shared.soap.mtom import RelayedBody

LIMITS = InstanceLimits(max_bytes=10_000_000, seconds=5)
PARTS = {
    "a": b"\r\n--b1\r\n" * 60_000,
    "b": b"",
    "c": b"one",
    "d": bytes(range(256)) * 8_000,
}


def body_of(parts: dict[str, bytes], *, told: bool = True, encoded: bool = False) -> bytes:
    octets = b""
    for name, content in parts.items():
        head = f"\r\n--b1\r\nContent-ID: <{name}>\r\n"
        if encoded:
            head += "Content-Transfer-Encoding: base64\r\n"
            content = base64.b64encode(content)
        elif told:
            head += f"Content-Length: {len(content)}\r\n"
        octets += head.encode() + b"\r\n" + content
    return octets[2:] + b"\r\n--b1--\r\n"


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def in_chunks(body: bytes) -> bytes:
    pieces = [body[at : at + 70_001] for at in range(0, len(body), 70_001)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"


@asynccontextmanager
async def answered(
    octets: bytes, *, closes: bool = False, goes_on: bool = False
) -> AsyncIterator[tuple[RelayedBody, list[int]]]:
    """The body of an answer over a real connection, and how many connections were made."""
    made: list[int] = []
    answering: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(1)
        answering.append(asyncio.current_task())
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(octets)
                await writer.drain()
                if closes:
                    return

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, http_client(TlsSettings(), peers=(url,), relaying=True) as client:
        async with client.stream("GET", url) as response:
            body = received_body(response)
            assert body is not None
            yield RelayedBody(body, DelimiterScanner("b1")), made
        if goes_on:
            await (await client.get(url)).aread()
        await client.aclose()
        await asyncio.gather(*filter(None, answering))


async def files_of(
    body: RelayedBody, folder: Path, wanted: str = "abcd", limits: InstanceLimits = LIMITS
) -> dict[str, bytes]:
    def keep(headers: dict[str, str], path: Path, size: int) -> tuple[str, bytes]:
        octets = path.read_bytes()
        assert len(octets) == size
        return content_id_of(headers), octets

    landing = landed(
        body, folder, limits, is_wanted=lambda headers: content_id_of(headers) in wanted, keep=keep
    )
    return {name: octets async for name, octets in landing}


@pytest.mark.parametrize("framed", [whole, in_chunks])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of(PARTS), id="with lengths"),
        pytest.param(body_of({**PARTS, "a": b"x" * 600_000}, told=False), id="without"),
        pytest.param(body_of(PARTS, encoded=True), id="base64"),
    ],
)
async def test_each_part_that_is_wanted_becomes_a_file_and_the_connection_goes_on(framed, body, tmp_path):
    expected = PARTS if b"Content-Length" in body or b"base64" in body else {**PARTS, "a": b"x" * 600_000}
    async with answered(framed(body), goes_on=True) as (rest, made):
        found = await files_of(rest, tmp_path, wanted="abd")

    assert found == {name: octets for name, octets in expected.items() if name in "abd"}
    assert list(tmp_path.iterdir()) == []
    assert len(made) == 1


@pytest.mark.parametrize("kept", [10, 300_000, -5])
async def test_what_breaks_off_is_told_and_leaves_nothing(kept, tmp_path):
    octets = whole(body_of(PARTS))
    async with answered(octets[:kept] if kept < 0 else octets[: 60 + kept], closes=True) as (rest, _):
        with pytest.raises(SourceBroken):
            await files_of(rest, tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("told", [True, False])
async def test_what_is_longer_than_an_instance_may_be_is_not_kept(told, tmp_path):
    limits = InstanceLimits(max_bytes=1000, seconds=5)
    async with answered(whole(body_of({"d": b"x" * 2_000_000}, told=told)), closes=True) as (rest, _):
        with pytest.raises(Endless, match="longer than 1000 bytes"):
            await files_of(rest, tmp_path, limits=limits)

    assert list(tmp_path.iterdir()) == []


async def test_what_does_not_go_on_is_given_up(tmp_path):
    limits = InstanceLimits(max_bytes=10_000_000, seconds=0.1)
    async with answered(whole(body_of(PARTS))[:300_000]) as (rest, _):
        with pytest.raises(Endless, match=r"within 0\.1 s"):
            await files_of(rest, tmp_path, limits=limits)

    assert list(tmp_path.iterdir()) == []


async def test_whoever_waits_no_longer_ends_the_thread(tmp_path):
    async with answered(whole(body_of(PARTS))[:300_000]) as (rest, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await files_of(rest, tmp_path)

    assert list(tmp_path.iterdir()) == []

"""The recording proxy: everything passes to the byte, and is kept as captures that can be judged."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.corpus import messages
from conformance.envelopes import SIMPLE, Envelope
from conformance.plans.feed import adt
from conformance.plans.metadata import FIND_DOCUMENTS, QUERY, query_body, several, text
from conformance.proxy.cutting import Cut, HttpCutter, MllpCutter, StreamError, SyslogCutter
from conformance.proxy.recording import Recording
from conformance.proxy.relay import Place, Relay
from conformance.simulators.scripts import Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import World
from conformance.validation import validate
from tests.support.certificates import communities
from xdsi.tls_contexts import client_context, server_context

# --- cutting -------------------------------------------------------------------------------------------

REQUESTS = (
    b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n1;x=y\r\nA\r\n0\r\nT: v\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
)


def _answers() -> HttpCutter:
    cutter = HttpCutter()
    for method in ("POST", "GET", "HEAD", "GET"):
        cutter.expect(method)
    return cutter


FRAMES = (b"\x0bMSH|^~\\&|\r\x1c\r", b"\x0b\x1c\r")
RECORDS = (b"3 abc", b"10 0123456789", b"1 1")


@pytest.mark.parametrize(
    ("cutter", "whole"),
    [(HttpCutter, REQUESTS), (_answers, ANSWERS), (MllpCutter, FRAMES), (SyslogCutter, RECORDS)],
    ids=["requests", "answers", "mllp", "syslog"],
)
@given(data=st.data())
def test_messages_are_cut_at_their_ends_however_they_come(cutter, whole: tuple[bytes, ...], data):
    stream = b"".join(whole)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    cutting = cutter()
    cuts: list[Cut] = []
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        cuts += cutting.feed(stream[start:end])

    assert b"".join(cut.octets for cut in cuts) == stream
    assert _messages(cuts) == list(whole)


def _messages(cuts: list[Cut]) -> list[bytes]:
    ended, current = [], b""
    for cut in cuts:
        current += cut.octets
        if cut.ends:
            ended.append(current)
            current = b""
    return ended


@pytest.mark.parametrize(
    ("cutter", "octets"),
    [
        (HttpCutter, b"\x16\x03\x01" + bytes(70_000)),
        (HttpCutter, b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        (HttpCutter, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        (SyslogCutter, b"<85>1 - -"),
        (SyslogCutter, b"1234567890 x"),
    ],
)
def test_what_is_another_protocol_cannot_be_cut(cutter, octets: bytes):
    with pytest.raises(StreamError):
        list(cutter().feed(octets))


# --- between two systems -------------------------------------------------------------------------------


@dataclass
class Between:
    """The proxy: its port, the captures that are whole, and what it told."""

    port: int
    folder: Path
    captures: list[Path] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


@asynccontextmanager
async def proxy(
    target: str, folder: Path, *, ours: ssl.SSLContext | None = None, theirs: ssl.SSLContext | None = None
) -> AsyncIterator[Between]:
    between = Between(0, folder)
    relay = Relay(
        Place.of(target), Recording(folder, between.captures.append), tls=theirs, notice=between.told.append
    )
    async with relay.listening(Place.of("http://127.0.0.1:0"), ours) as between.port:
        yield between
    assert list(folder.glob("*.part")) == []


@pytest.fixture(scope="module")
def cast() -> Cast:
    return Cast(
        World(domain="1.3.6.1.4.1.21367.13.20.1000"), {"registry": "right", "imaging-source": "right"}
    )


@pytest.fixture(scope="module")
def registry(cast: Cast) -> Iterator[str]:
    with http_simulator(cast.handle) as simulator:
        yield simulator.url


def _query() -> bytes:
    arguments = {
        "XDSDocumentEntryPatientId": text("P-1^^^&1.3.6.1.4.1.21367.13.20.1000&ISO"),
        "XDSDocumentEntryStatus": several("urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"),
    }
    return Envelope(action=QUERY, body=query_body(FIND_DOCUMENTS, arguments), to="http://127.0.0.1/").xml()


async def _asked(port: int, times: int = 1) -> list[bytes]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return [
            (
                await client.post(
                    f"http://127.0.0.1:{port}/xds/registry",
                    content=_query(),
                    headers={"Content-Type": SIMPLE},
                )
            ).content
            for _ in range(times)
        ]


async def test_each_exchange_of_a_connection_is_a_capture_without_error(cast, registry: str, tmp_path: Path):
    cast.play("registry", "right")
    async with proxy(registry, tmp_path) as between:
        answers = await _asked(between.port, 3)

    assert [path.name for path in between.captures] == ["000001.http", "000002.http", "000003.http"]
    for path, answer in zip(between.captures, answers, strict=True):
        kept = path.read_bytes()
        assert kept.startswith(b"POST /xds/registry HTTP/1.1\r\n")
        assert kept.endswith(answer)
        report = validate(path)
        assert "ITI-18" in report.title
        assert [one for one in report.findings if one.severity == "error"] == []
        assert path.stat().st_mode & 0o077 == 0


async def test_what_the_target_does_wrongly_is_a_finding_of_its_capture(cast, registry: str, tmp_path: Path):
    cast.play("registry", "no-relates-to")
    async with proxy(registry, tmp_path) as between:
        await _asked(between.port)

    (path,) = between.captures
    assert "wsa:RelatesTo" in " ".join(f"{one.wrong} {one.right}" for one in validate(path).findings)


async def test_a_piece_passes_before_the_message_has_ended(tmp_path: Path):
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(65536):
            arrived.put_nowait(octets)
        writer.close()

    server = await asyncio.start_server(target, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy(f"http://127.0.0.1:{port}", tmp_path) as between:
        _, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nbeginning")
        octets = b""
        while not octets.endswith(b"beginning"):
            octets += await asyncio.wait_for(arrived.get(), 5)
        writer.close()

    (path,) = between.captures
    assert path.read_bytes().endswith(b"beginning")


async def test_a_long_message_takes_no_memory(tmp_path: Path, long: bool):
    octets = (100 if long else 8) * 1024**2

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {octets}\r\n\r\n".encode())
        for _ in range(octets // 65536):
            writer.write(bytes(65536))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(target, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tracemalloc.start()
    async with server, proxy(f"http://127.0.0.1:{port}", tmp_path) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        count = 0
        while piece := await reader.read(65536):
            count += len(piece)
        writer.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count > octets
    assert between.captures[0].stat().st_size > octets
    assert peak < 4 * 1024**2


async def test_what_is_no_http_is_relayed_and_not_recorded(tmp_path: Path):
    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(70_000))
        writer.close()

    server = await asyncio.start_server(target, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy(f"http://127.0.0.1:{port}", tmp_path) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(bytes(70_000))
        returned = await reader.read(-1)
        writer.close()

    assert returned == bytes(70_000)
    assert any("not recorded" in one for one in between.told)


async def test_a_target_that_is_away_is_502_and_told(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with (
        proxy(f"http://127.0.0.1:{port}", tmp_path) as between,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.get(f"http://127.0.0.1:{between.port}/")

    assert answer.status_code == 502
    assert between.told


async def test_messages_of_a_feed_and_their_acknowledgements_are_captures(tmp_path: Path):
    message = b"\x0b" + adt("A04", "1^^^&1.2.3&ISO")[0].encode() + b"\x1c\r"

    async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\x1c\r")
            writer.write(b"\x0bMSH|^~\\&|||||||ACK|1|P|2.3.1\rMSA|AA|1\r\x1c\r")
        writer.close()

    server = await asyncio.start_server(target, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy(f"mllp://127.0.0.1:{port}", tmp_path) as between:
        reader, writer = await asyncio.open_connection("127.0.0.1", between.port)
        writer.write(message * 2)
        await reader.read(-1)
        writer.close()

    assert sorted(path.name for path in between.captures) == [f"00000{number}.hl7" for number in (1, 2, 3, 4)]
    assert sum(path.read_bytes() == message for path in between.captures) == 2
    assert {str(validate(path).kind) for path in between.captures} == {"hl7v2-adt"}


# --- TLS -----------------------------------------------------------------------------------------------


async def test_tls_ends_and_begins_at_the_proxy_with_its_own_certificate(tmp_path: Path, cast: Cast):
    north, south = communities()
    trust = tmp_path / "authorities.pem"
    trust.write_bytes(b"".join(one.authority.certificate.read_bytes() for one in (north, south)))

    def server(of) -> ssl.SSLContext:
        return server_context(of.node.certificate, of.node.key, trust)

    def client(of) -> ssl.SSLContext:
        return client_context(of.node.certificate, of.node.key, trust)

    cast.play("registry", "right")
    with http_simulator(cast.handle, tls=server(north)) as simulator:
        async with (
            proxy(simulator.url, tmp_path / "wire", ours=server(south), theirs=client(south)) as between,
            httpx2.AsyncClient(verify=client(north), trust_env=False) as asking,
        ):
            answer = await asking.post(
                f"https://127.0.0.1:{between.port}/xds/registry",
                content=_query(),
                headers={"Content-Type": SIMPLE},
            )

    assert answer.status_code == 200
    assert between.captures[0].read_bytes().endswith(answer.content)


async def test_numbers_go_on_behind_those_of_an_earlier_recording(tmp_path: Path):
    (tmp_path / "000041.http").write_bytes(messages.encode([messages.exchange("ITI-18", "<x/>", "<x/>")]))
    captures: list[Path] = []

    Recording(tmp_path, captures.append).exchange(".http").end()

    assert captures == [tmp_path / "000042.http"]

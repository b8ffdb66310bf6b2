"""The HTTP server at its sockets: deadlines, limits, certificates, and bodies sent from files."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

import pytest

from shared.http import protocol
from shared.http.application import application
from shared.http.backlog import SILENT_SECONDS
from shared.http.health import health_routes
from shared.http.raw_asgi import (
    BodyBroken,
    ClientGone,
    FileRange,
    FileTruncated,
    ServerBusy,
    Stream,
    body_chunks,
    node_of,
    receive_body,
    send_body,
    send_pieces,
)
from shared.http.server import start_server
from shared.security.peer_certificate import subject_of
from shared.security.tls import client_context
from shared.settings import ServiceSettings, SettingsError, TlsSettings
from tests.support.certificates import communities, stranger
from tests.support.http_server import RawClient, connected, serving, until

MULTIPART = [(b"content-type", b"multipart/related")]


def tls_of(community) -> TlsSettings:
    return TlsSettings(certificate=community.node.certificate, key=community.node.key, trust=community.trust)


def client_of(community) -> ssl.SSLContext:
    return client_context(tls_of(community))


async def hello(scope, receive, send) -> None:
    await send_body(send, status=200, headers=[], body=b"hello")


async def echo(scope, receive, send) -> None:
    digest = hashlib.sha256()
    async for chunk in body_chunks(receive):
        digest.update(chunk)
    await send_body(send, status=200, headers=[], body=digest.hexdigest().encode())


@pytest.fixture
def study(tmp_path):
    """Forty files of 300,000 bytes."""
    paths = []
    for number in range(40):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(os.urandom(300_000))
        paths.append(path)
    return paths


def parts_of(paths) -> tuple[list[bytes | FileRange], bytes]:
    """A multipart of whole files and of ranges, and the bytes that it must be."""
    pieces: list[bytes | FileRange] = []
    expected = b""
    for number, path in enumerate(paths):
        offset, length = (0, 300_000) if number % 3 else (1_000 + number, 200_000)
        header = b"\r\n--boundary\r\ncontent-type: application/dicom\r\n\r\n"
        pieces += [header, FileRange(path, offset, length)]
        expected += header + path.read_bytes()[offset : offset + length]
    return [*pieces, b"\r\n--boundary--"], expected + b"\r\n--boundary--"


def serving_pieces(pieces):
    async def app(scope, receive, send) -> None:
        await send_pieces(scope, send, status=200, headers=MULTIPART, pieces=pieces)

    return app


# --- pieces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_pieces_arrive_byte_for_byte_and_the_connection_lives_on(study, secure):
    pieces, expected = parts_of(study)
    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)

    async with serving(serving_pieces(pieces), tls=tls) as server, connected(server.port, context) as client:
        for _ in range(3):
            answer = await client.get()
            assert answer.status == 200
            assert answer.headers["content-type"] == "multipart/related"
            assert answer.body == expected


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_pieces_over_a_connection_that_is_to_close_are_complete(study, secure):
    pieces, expected = parts_of(study)
    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)

    async with serving(serving_pieces(pieces), tls=tls) as server, connected(server.port, context) as client:
        answer = await client.get("/", "Connection: close")

        assert answer.headers["connection"] == "close"
        assert answer.body == expected
        assert await client.ended()


async def test_head_tells_the_length_and_sends_nothing(study):
    pieces, expected = parts_of(study)

    async with serving(serving_pieces(pieces)) as server, connected(server.port) as client:
        answer = await client.get(method="HEAD")
        assert answer.headers["content-length"] == str(len(expected))
        assert (await client.get()).body == expected


async def test_pieces_without_a_byte_are_an_empty_body():
    async with serving(serving_pieces([b"", b""])) as server, connected(server.port) as client:
        for _ in range(2):
            answer = await client.get()
            assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")


async def test_requests_sent_ahead_are_answered_in_order(study):
    pieces, expected = parts_of(study)
    async with serving(serving_pieces(pieces)) as server, connected(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        for _ in range(3):
            assert (await client.answer()).body == expected


async def test_a_bad_request_behind_a_good_one_does_not_get_into_its_answer(study):
    pieces, expected = parts_of(study)
    async with serving(serving_pieces(pieces)) as server, connected(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n")
        assert (await client.answer()).body == expected
        assert await client.ended()


async def test_many_slow_downloads_hold_up_nobody(study):
    pieces, expected = parts_of(study)
    async with serving(serving_pieces(pieces * 3)) as server, contextlib.AsyncExitStack() as slow:
        for _ in range(40):  # five times as many as there are threads
            client = await slow.enter_async_context(connected(server.port))
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with connected(server.port) as client, asyncio.timeout(20):
            assert (await client.get()).body == expected * 3


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("left", [0, 100_000], ids=["empty", "short"])
async def test_a_truncated_file_aborts_the_connection_and_is_never_padded(study, secure, left):
    pieces, expected = parts_of(study)
    os.truncate(study[20], left)
    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)
    failures = []

    async def app(scope, receive, send) -> None:
        try:
            await send_pieces(scope, send, status=200, headers=MULTIPART, pieces=pieces)
        except FileTruncated as error:
            failures.append(error)

    async with serving(app, tls=tls) as server, connected(server.port, context) as client:
        answer = await client.get()

        assert not answer.complete
        assert expected.startswith(answer.body)
        assert await client.ended()
    assert len(failures) == 1


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_streams_arrive_byte_for_byte_between_other_pieces(study, secure):
    pieces, expected = parts_of(study)
    content = os.urandom(3_000_000)

    def chunks():
        for start in range(0, len(content), 700_000):
            yield content[start : start + 700_000]

    mixed = [*pieces, Stream(len(content), chunks), *pieces]
    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)

    async with serving(serving_pieces(mixed), tls=tls) as server, connected(server.port, context) as client:
        for _ in range(2):
            assert (await client.get()).body == expected + content + expected


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_stream_that_breaks_aborts_the_connection(secure):
    def chunks():
        yield b"a" * 1_000_000
        raise BodyBroken("damaged")

    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)
    app = serving_pieces([Stream(2_000_000, chunks)])
    async with serving(app, tls=tls) as server, connected(server.port, context) as client:
        answer = await client.get()

        assert not answer.complete
        assert answer.body == b"a" * len(answer.body)
        assert await client.ended()


async def test_a_missing_file_aborts_the_connection(study):
    pieces, _ = parts_of(study)
    study[5].unlink()
    async with serving(serving_pieces(pieces)) as server, connected(server.port) as client:
        assert not (await client.get()).complete


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_client_that_leaves_ends_the_download_and_frees_what_it_held(study, secure):
    pieces, _ = parts_of(study)
    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)
    gone = asyncio.Event()

    async def app(scope, receive, send) -> None:
        try:
            await send_pieces(scope, send, status=200, headers=MULTIPART, pieces=pieces * 20)
        except ClientGone:
            gone.set()
            raise

    async with serving(app, tls=tls) as server:
        async with connected(server.port, context) as client:
            await client.get(method="HEAD")
        await until(lambda: not server.connections)
        before = open_descriptors()
        async with connected(server.port, context) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.reader.readexactly(100_000)
            client.writer.transport.abort()
        async with asyncio.timeout(10):
            await gone.wait()
            await until(lambda: not server.connections and open_descriptors() <= before)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_client_that_takes_nothing_is_cut(study, secure):
    pieces, _ = parts_of(study)
    north, _ = communities()
    tls, context = (tls_of(north), client_of(north)) if secure else (None, None)
    gone = asyncio.Event()

    async def app(scope, receive, send) -> None:
        try:
            await send_pieces(scope, send, status=200, headers=MULTIPART, pieces=pieces * 20)
        except ClientGone:
            gone.set()

    async with serving(app, tls=tls, stall_seconds=0.3) as server, connected(server.port, context) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_client_that_takes_nothing_of_an_ordinary_body_is_cut():
    ended = asyncio.Event()

    async def app(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        ended.set()

    async with serving(app, stall_seconds=0.3) as server, connected(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(10):
            await ended.wait()
            await until(lambda: not server.connections)


async def test_a_file_system_error_is_not_taken_for_a_client_that_left(tmp_path):
    failures = []

    async def app(scope, receive, send) -> None:
        try:
            await send_pieces(scope, send, status=200, headers=[], pieces=[FileRange(tmp_path, 0, 10)])
        except OSError as error:
            failures.append(error)

    async with serving(app) as server, connected(server.port) as client:
        assert not (await client.get()).complete
    assert len(failures) == 1


async def test_pieces_that_do_not_add_up_are_refused():
    failures = []

    async def app(scope, receive, send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
        await send(head)
        with pytest.raises(RuntimeError) as refused:
            await scope["extensions"]["xdsi.pieces"]([b"1234"])
        failures.append(refused)
        await send({"type": "http.response.body", "body": b"12345", "more_body": False})

    async with serving(app) as server, connected(server.port) as client:
        assert (await client.get()).body == b"12345"
    assert failures


async def test_memory_does_not_grow_with_the_body_nor_with_slow_clients(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(400_000_000)
    north, _ = communities()
    app = serving_pieces([b"head", FileRange(path, 0, 400_000_000)])

    async with (
        serving(app, tls=tls_of(north)) as server,
        contextlib.AsyncExitStack() as clients,
    ):
        before = resident_bytes()
        for _ in range(10):
            client = await clients.enter_async_context(connected(server.port, client_of(north)))
            client.reader._limit = 1024  # type: ignore[attr-defined]
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(1)
        assert resident_bytes() - before < 10 * 8_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- deadlines and limits ----------------------------------------------------------------------------


async def test_a_header_that_drips_is_cut_with_408():
    async with serving(hello, header_seconds=0.3) as server, connected(server.port) as client:
        began = time.monotonic()
        await client.send(b"GET / HTTP/1.1\r\n")

        async def drip() -> None:
            while True:
                await asyncio.sleep(0.05)
                await client.send(b"X-A: b\r\n")

        dripping = asyncio.create_task(drip())
        answer = await client.answer()
        dripping.cancel()

        assert answer.status == 408
        assert await client.ended()
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("said", [b"", b"\r\n", b"G"], ids=["nothing", "an empty line", "a letter"])
async def test_a_silent_connection_is_cut(said):
    async with serving(hello, header_seconds=0.2) as server, connected(server.port) as client:
        await client.send(said)
        assert (await client.answer()).status == 408
        assert await client.ended()


async def test_empty_lines_do_not_keep_an_idle_connection():
    async with serving(hello, header_seconds=0.2) as server, connected(server.port) as client:
        await client.get()
        await client.send(b"\r\n")
        assert (await client.answer()).status == 408


async def test_an_idle_connection_is_closed():
    async with serving(hello, idle_seconds=0.1) as server, connected(server.port) as client:
        assert (await client.get()).body == b"hello"
        assert await client.ended()


async def test_a_body_that_stalls_is_cut_with_408_and_the_application_learns_it():
    gone = asyncio.Event()

    async def app(scope, receive, send) -> None:
        try:
            await receive_body(receive, limit=10_000)
        except ClientGone:
            gone.set()
            raise

    async with serving(app, stall_seconds=0.2) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        assert (await client.answer()).status == 408
        assert await client.ended()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_body_that_drips_is_cut():
    async with (
        serving(echo, slow_after_seconds=0.2, bytes_per_second=1_000) as server,
        connected(server.port) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                await client.send(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await client.answer()).status == 408
        dripping.cancel()


async def test_a_request_that_takes_too_long_as_a_whole_is_cut():
    async with (
        serving(echo, receive_seconds=0.3, bytes_per_second=1) as server,
        connected(server.port) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                await client.send(b"x" * 100)
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await client.answer()).status == 408
        dripping.cancel()


async def test_the_rest_of_a_request_that_was_answered_early_is_taken_and_the_connection_goes_on():
    async def app(scope, receive, send) -> None:
        await send_body(send, status=403, headers=[], body=b"no")

    async with serving(app) as server, connected(server.port) as client:
        for _ in range(2):
            await client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)
            )
            assert (await client.answer()).status == 403


async def test_a_request_that_was_answered_early_and_never_ends_is_closed_without_another_answer():
    async def app(scope, receive, send) -> None:
        await send_body(send, status=403, headers=[], body=b"no")

    async with serving(app, stall_seconds=0.2) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        assert (await client.answer()).status == 403
        assert await client.ended()


async def test_a_first_request_learns_that_the_client_left_though_others_wait_behind_it():
    gone = asyncio.Event()

    async def app(scope, receive, send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with serving(app) as server:
        async with connected(server.port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_busy_application_is_not_held_against_the_client():
    async def app(scope, receive, send) -> None:
        await asyncio.sleep(0.6)
        await echo(scope, receive, send)

    body = os.urandom(8_000_000)
    async with (
        serving(app, stall_seconds=0.2, slow_after_seconds=0.1, receive_seconds=0.5) as server,
        connected(server.port) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n" + body)
        assert (await client.answer()).body == hashlib.sha256(body).hexdigest().encode()


async def test_a_client_that_waits_for_100_continue_is_not_cut():
    async def app(scope, receive, send) -> None:
        await asyncio.sleep(0.5)
        await echo(scope, receive, send)

    async with serving(app, stall_seconds=0.2) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        assert (await client.answer()).body == hashlib.sha256(b"abc").hexdigest().encode()


async def test_a_body_is_not_read_before_the_application_asks_for_it():
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send) -> None:
        asked.set()
        await go_on.wait()
        await echo(scope, receive, send)

    size = 64_000_000
    async with serving(app) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        await asked.wait()
        before = resident_bytes()
        body = bytes(size)
        client.writer.write(body)
        await asyncio.sleep(0.5)
        # The sockets of both ends hold some MB; what is left is still the client's.
        assert client.writer.transport.get_write_buffer_size() > size // 2
        assert resident_bytes() - before < size + size // 2 + 16_000_000
        go_on.set()
        assert (await client.answer()).body == hashlib.sha256(body).hexdigest().encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 100 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 33_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X-A: " + b"b" * 4_000 + b"\r\n") * 9 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 5_000_000, 431),
        (b"GET /" + b"a" * 8_200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 5_000_000, 414),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 400),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX-A: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n Content-Length: 3\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: a\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value,
)
async def test_a_request_beyond_a_limit_is_refused_and_the_next_one_is_served(request_bytes, status):
    async with serving(hello) as server:
        async with connected(server.port) as client, asyncio.timeout(10):
            client.writer.write(request_bytes)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert await client.ended()
        async with connected(server.port) as client:
            assert (await client.get()).body == b"hello"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 99 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 32_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 8_191 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["lines", "bytes", "target"],
)
async def test_a_request_at_a_limit_is_served(request_bytes):
    async with serving(hello) as server, connected(server.port) as client:
        await client.send(request_bytes)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost:8010\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:8010\r\n",
        b"GET / HTTP/1.1\r\nHost: xds_registry.hospital.example:\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n",
    ],
)
async def test_one_host_and_one_framing_are_served(head):
    async with serving(hello) as server, connected(server.port) as client:
        await client.send(head + b"\r\n")
        assert (await client.answer()).body == b"hello"


JAVA = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\nUpgrade: h2c\r\n"
UPGRADES = (
    JAVA,
    b"Upgrade: h2c\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n",
)


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("split", [0, 1, 30, 131])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upgrade_is_ignored_and_the_request_answered_with_its_body(upgrade, split, chunked):
    seen: list[dict[bytes, bytes]] = []

    async def app(scope, receive, send) -> None:
        seen.append(dict(scope["headers"]))
        await echo(scope, receive, send)

    body = bytes(range(256)) * 400
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    message = b"POST /x HTTP/1.1\r\nHost: a\r\n" + upgrade + b"X-A: b\r\n" + framing + b"\r\n\r\n" + framed
    async with serving(app) as server, connected(server.port) as client, asyncio.timeout(10):
        # Twice, one behind the other, on one connection that lives on.
        await client.send(message[:split])
        await asyncio.sleep(0.01 if split else 0)
        await client.send(message[split:] + message)
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, hashlib.sha256(body).hexdigest().encode())
        assert (await client.get()).status == 200
    assert [headers.get(b"x-a") for headers in seen] == [b"b", b"b", None]
    assert not any(name in headers for headers in seen for name in (b"upgrade", b"http2-settings"))


async def test_many_requests_that_would_upgrade_at_once_are_each_answered():
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with serving(hello) as server, connected(server.port) as client, asyncio.timeout(20):
        client.writer.write(request * 2_000)
        for _ in range(2_000):
            assert (await client.answer()).body == b"hello"


async def test_trailers_do_not_become_header_fields():
    seen = []

    async def app(scope, receive, send) -> None:
        await receive_body(receive, limit=100)
        seen.extend(name for name, _ in scope["headers"])
        await send_body(send, status=200, headers=[])

    async with serving(app) as server, connected(server.port) as client:
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Role: admin\r\n\r\n"
        )
        assert (await client.answer()).status == 200
    assert seen == [b"host", b"transfer-encoding"]


async def test_endless_trailers_are_refused():
    async with serving(echo) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        client.writer.write(b"X-A: b\r\n" * 10_000)
        assert (await client.answer()).status == 431


async def test_too_many_connections_of_one_peer_are_answered_503():
    async with serving(hello, connections_per_peer=2) as server, connected(server.port) as one:
        async with connected(server.port) as two:
            assert (await one.get()).status == (await two.get()).status == 200
            async with connected(server.port) as three:
                answer = await three.get()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert await three.ended()
        await until(lambda: server.connections == 1)
        async with connected(server.port) as four:
            assert (await four.get()).status == 200


async def test_too_many_connections_in_all_are_answered_503():
    async with serving(hello, connections=1) as server, connected(server.port) as one:
        assert (await one.get()).status == 200
        async with connected(server.port) as two:
            assert (await two.answer()).status == 503


async def test_the_counts_fall_back_to_nothing():
    async with serving(hello) as server:
        for _ in range(5):
            async with connected(server.port) as client:
                await client.get()
        await until(lambda: not server.connections)


async def test_a_body_beyond_the_applications_limit_is_answered_413():
    async def app(scope, receive, send) -> None:
        await receive_body(receive, limit=1_000)

    async with serving(app) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n" + bytes(1001))
        assert (await client.answer()).status == 413


async def test_a_busy_server_says_when_to_come_back():
    async def app(scope, receive, send) -> None:
        raise ServerBusy("64 requests wait already; retry after a second")

    async with serving(app) as server, connected(server.port) as client:
        answer = await client.get()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_the_server_does_not_tell_what_it_is():
    async with serving(hello) as server, connected(server.port) as client:
        answer = await client.get()
    assert "server" not in answer.headers
    assert "date" in answer.headers


async def test_forwarding_headers_are_not_believed():
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope["client"][0])
        await hello(scope, receive, send)

    async with serving(app) as server, connected(server.port) as client:
        await client.get("/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
    assert seen == ["127.0.0.1"]


# --- TLS -------------------------------------------------------------------------------------------


async def test_the_node_is_known_by_its_certificate():
    north, south = communities()
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(node_of(scope))
        await hello(scope, receive, send)

    async with serving(app, tls=tls_of(north)) as server, connected(server.port, client_of(south)) as client:
        await client.get()
        await client.get()
    assert {node.subject for node in seen} == {subject_of(south.node.certificate)}
    assert seen[0].address == "127.0.0.1"
    assert len(seen[0].fingerprint) == 64


async def test_without_tls_a_node_is_an_address():
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(node_of(scope))
        await hello(scope, receive, send)

    async with serving(app) as server, connected(server.port) as client:
        await client.get()
    assert (seen[0].address, seen[0].subject) == ("127.0.0.1", "")


def without_certificate(community, version=None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=community.trust)
    if version:
        context.maximum_version = version
    return context


def old_tls(community) -> ssl.SSLContext:
    context = client_of(community)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("context_of", "reason"),
    [
        (without_certificate, "peer did not return a certificate"),
        (
            lambda north: without_certificate(north, ssl.TLSVersion.TLSv1_2),
            "peer did not return a certificate",
        ),
        (lambda north: foreign_client(north), "unable to get local issuer certificate"),
        pytest.param(
            old_tls,
            "unsupported protocol",
            marks=pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning"),
        ),
    ],
    ids=["no certificate", "no certificate, TLS 1.2", "foreign certificate", "TLS 1.1"],
)
async def test_a_node_that_fails_to_authenticate_is_reported_with_address_and_reason(context_of, reason):
    north, _ = communities()
    reported: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def report(address: str, why: str) -> None:
        await reported.put((address, why))

    async with serving(hello, tls=tls_of(north), on_tls_failure=report) as server:
        # With TLS 1.3 a client learns of the refusal at its first read only.
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with connected(server.port, context_of(north)) as client:
                await client.get()
        async with asyncio.timeout(5):
            address, why = await reported.get()
        assert address == "127.0.0.1"
        assert reason in why
        assert reported.empty()
        async with connected(server.port, client_of(north)) as client:
            assert (await client.get()).body == b"hello"


def foreign_client(north) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=north.trust)
    context.load_cert_chain(stranger().node.certificate, stranger().node.key)
    return context


async def test_a_node_that_does_not_trust_us_is_reported():
    north, _ = communities()
    reported: asyncio.Queue[str] = asyncio.Queue()

    async def report(address: str, why: str) -> None:
        await reported.put(why)

    def visit(port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody
        context.load_cert_chain(north.node.certificate, north.node.key)
        with (
            socket.create_connection(("127.0.0.1", port)) as connection,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(connection, server_hostname="127.0.0.1")

    async with serving(hello, tls=tls_of(north), on_tls_failure=report) as server:
        await asyncio.to_thread(visit, server.port)
        assert "alert unknown ca" in await asyncio.wait_for(reported.get(), 5)


async def test_plain_http_to_a_tls_port_is_reported_and_gets_no_answer():
    north, _ = communities()
    reported: asyncio.Queue[str] = asyncio.Queue()

    async def report(address: str, why: str) -> None:
        await reported.put(why)

    async with serving(hello, tls=tls_of(north), on_tls_failure=report) as server:
        async with connected(server.port) as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"hello" not in await client.reader.read()
        assert "http request" in await asyncio.wait_for(reported.get(), 5)


async def test_who_only_knocks_is_no_failed_authentication():
    north, _ = communities()
    reported = []

    async def report(address: str, why: str) -> None:
        reported.append(why)

    async with serving(hello, tls=tls_of(north), on_tls_failure=report, handshake_seconds=0.2) as server:
        async with connected(server.port):
            pass
        async with connected(server.port) as silent:
            assert await silent.ended()
        await until(lambda: not server.connections)
    assert reported == []


async def test_too_many_tls_connections_are_closed_before_their_handshake():
    north, _ = communities()
    async with serving(hello, tls=tls_of(north), connections_per_peer=1) as server:
        async with connected(server.port, client_of(north)) as client:
            await client.get()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(server.port, client_of(north)):
                    pass
        await until(lambda: not server.connections)
        async with connected(server.port, client_of(north)) as client:
            assert (await client.get()).status == 200


async def test_a_large_body_over_tls_arrives_whole():
    north, _ = communities()
    body = os.urandom(5_000_000)
    async with serving(echo, tls=tls_of(north)) as server, connected(server.port, client_of(north)) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + body)
        assert (await client.answer()).body == hashlib.sha256(body).hexdigest().encode()


# --- start and stop ----------------------------------------------------------------------------------


async def test_an_open_address_without_tls_is_refused():
    with pytest.raises(SettingsError, match="XDSI_HOST"):
        await start_server(hello, ServiceSettings(host="0.0.0.0"))


async def test_a_graceful_stop_finishes_what_is_under_way_and_accepts_nothing_more(study):
    pieces, expected = parts_of(study)
    arrived = asyncio.Event()

    async def app(scope, receive, send) -> None:
        arrived.set()
        await asyncio.sleep(0.3)
        await send_pieces(scope, send, status=200, headers=MULTIPART, pieces=pieces)

    server = await start_server(app, ServiceSettings())
    async with connected(server.port) as idle, connected(server.port) as busy:
        await busy.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await arrived.wait()
        stopping = asyncio.create_task(server.stop())
        assert await idle.ended()
        with pytest.raises(ConnectionError):
            async with connected(server.port):
                pass
        answer = await busy.answer()
        assert answer.body == expected
        assert await busy.ended()
        await stopping
    await server.wait()


async def test_who_asks_on_a_kept_connection_while_the_server_stops_is_answered_for_the_last_time():
    """Its request is on the way when the server begins to stop: to close then would leave it in doubt."""
    server = await start_server(hello, ServiceSettings())
    async with connected(server.port) as client:
        assert (await client.get()).headers.get("connection") is None
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.05)
        last = await client.get()
        assert (last.status, last.body) == (200, b"hello")
        assert last.headers["connection"] == "close"
        assert await client.ended()
        await stopping


def asking(port: int, context: ssl.SSLContext | None, answers: list[bytes]) -> threading.Thread:
    """Ask in a thread of its own, over a connection of its own; an empty answer is none."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)

    def ask() -> None:
        speaking = connection
        try:
            if context is not None:
                speaking = context.wrap_socket(connection, server_hostname="127.0.0.1")
            speaking.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answers.append(b"".join(iter(lambda: speaking.recv(65536), b"")))
        except OSError:
            answers.append(b"")
        finally:
            speaking.close()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_whoever_the_kernel_let_in_before_the_server_stops_is_answered(secure: bool):
    """They wait to be accepted when the listener closes; to them the server is there."""
    north, _ = communities()
    tls = TlsSettings(**north.settings()["tls"]) if secure else TlsSettings()
    context = client_context(tls) if secure else None
    server = await start_server(hello, ServiceSettings(tls=tls))
    answers: list[bytes] = []
    # Nothing is awaited here, so that the server accepts none of them before it is told to stop.
    threads = [asking(server.port, context, answers) for _ in range(100)]
    await server.stop()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    assert len(answers) == 100
    assert all(b"200 OK" in answer and b"connection: close" in answer for answer in answers)


async def test_a_handshake_that_has_begun_when_the_server_stops_ends_and_its_request_is_answered():
    north, _ = communities()
    tls = TlsSettings(**north.settings()["tls"])
    server = await start_server(hello, ServiceSettings(tls=tls))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await until(lambda: server.connections == 1)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.05)
    await writer.start_tls(client_context(tls), server_hostname="127.0.0.1")
    answer = await RawClient(reader, writer).get()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await stopping
    writer.close()


async def test_a_request_that_is_arriving_when_the_server_stops_is_answered():
    server = await start_server(hello, ServiceSettings())
    async with connected(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: ")
        await until(lambda: server.connections == 1)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(2 * SILENT_SECONDS)
        await client.send(b"127.0.0.1\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await stopping


async def test_a_server_that_may_attach_no_filter_answers_who_was_let_in_and_stops():
    """As in a container without rights, where the kernel has no room for filters."""
    so_lock_filter = 44
    server = await start_server(hello, ServiceSettings())
    server._acceptor._listening.setsockopt(socket.SOL_SOCKET, so_lock_filter, 1)
    with pytest.raises(PermissionError):
        server._acceptor._listening.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", 0, 0))
    answers: list[bytes] = []
    threads = [asking(server.port, None, answers) for _ in range(10)]
    async with asyncio.timeout(30):
        await server.stop()
    await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
    assert [b"200 OK" in answer for answer in answers] == [True] * 10


async def test_who_was_let_in_last_and_takes_a_moment_to_speak_is_answered():
    server = await start_server(hello, ServiceSettings())
    async with connected(server.port) as client:
        await until(lambda: server.connections == 1)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(1.5 * SILENT_SECONDS)
        answer = await client.get()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await stopping


async def test_who_was_let_in_and_says_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "FIRST_WORD_SECONDS", 0.1)
    server = await start_server(hello, ServiceSettings())
    async with connected(server.port) as client:
        await until(lambda: server.connections == 1)
        await server.stop()
        assert await client.ended()


async def test_while_a_server_takes_leave_it_answers_whoever_comes_once_and_says_so_to_probes():
    server = await start_server(application(health_routes({})), ServiceSettings())
    async with connected(server.port) as kept:
        assert (await kept.get("/health/live")).status == 200
        stopping = asyncio.create_task(server.stop(drain_seconds=60))
        await asyncio.sleep(0.05)
        answers = [await kept.get("/health/ready")]
        for page in ("/health/live", "/metrics"):
            async with connected(server.port) as new:
                answers.append(await new.get(page))
                assert await new.ended()
        assert [answer.status for answer in answers] == [503, 503, 200]
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        assert b"stopping" in answers[0].body
        assert not stopping.done()
    stopping.cancel()
    await server.stop(0)
    with pytest.raises(ConnectionRefusedError):
        async with connected(server.port):
            pass


async def test_an_answer_that_has_not_begun_when_the_server_stops_says_that_it_is_the_last():
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send) -> None:
        arrived.set()
        await go_on.wait()
        await hello(scope, receive, send)

    server = await start_server(app, ServiceSettings())
    async with connected(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await arrived.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.05)
        go_on.set()
        assert (await client.answer()).headers["connection"] == "close"
        await stopping


async def test_what_outlives_the_grace_is_cut(study):
    pieces, _ = parts_of(study)
    server = await start_server(serving_pieces(pieces * 50), ServiceSettings())
    async with connected(server.port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await client.reader.readexactly(1_000)
        async with asyncio.timeout(5):
            await server.stop(grace_seconds=0.1)
        assert server.connections == 0
    await until(lambda: not (any(thread.name.startswith("xdsi-send") for thread in threading.enumerate())))


async def test_several_servers_share_a_port_when_told_to():
    first = await start_server(hello, ServiceSettings(), reuse_port=True)
    second = await start_server(hello, ServiceSettings(port=first.port), reuse_port=True)
    try:
        async with connected(first.port) as client:
            assert (await client.get()).body == b"hello"
    finally:
        await first.stop()
        await second.stop()


SERVICE = """
import asyncio, sys
from shared.http.raw_asgi import send_body
from shared.http.server import run_service
from shared.settings import ServiceSettings

class Service:
    async def asgi(self, scope, receive, send):
        print("request", flush=True)
        await asyncio.sleep(0.5)
        await send_body(send, status=200, headers=[], body=b"done")
    async def start(self):
        print("started", flush=True)
    async def stop(self):
        print("stopped", flush=True)

async def build():
    return Service()

run_service(build, ServiceSettings(), on_ready=lambda port: print(port, flush=True))
print("over", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_ends_with_0_after_its_last_answer_when_it_is_told_to_stop(number):
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", SERVICE, cwd=root, stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert (await process.stdout.readline()).strip() == b"started"
    port = int(await process.stdout.readline())
    async with connected(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await process.stdout.readline()).strip() == b"request"
        process.send_signal(number)
        assert (await client.answer()).body == b"done"
    assert (await process.stdout.read()).split() == [b"stopped", b"over"]
    assert (await process.stderr.read()) == b""
    assert await process.wait() == 0


async def test_a_second_signal_does_not_wait_for_requests():
    root = Path(__file__).parents[3]
    program = SERVICE.replace("asyncio.sleep(0.5)", "asyncio.sleep(60)")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=root, stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    await process.stdout.readline()
    port = int(await process.stdout.readline())
    async with connected(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await process.stdout.readline()).strip() == b"request"
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert output.split() == [b"stopped", b"over"]
    assert process.returncode == 0


async def test_a_service_takes_leave_first_and_a_second_signal_cuts_that_short():
    root = Path(__file__).parents[3]
    program = SERVICE.replace("asyncio.sleep(0.5)", "asyncio.sleep(0)")
    program = program.replace("ServiceSettings()", "ServiceSettings(drain_seconds=10)")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=root, stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    await process.stdout.readline()
    port = int(await process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    async with connected(port) as client:
        answer = await client.get()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 8)
    assert output.split() == [b"request", b"stopped", b"over"]


async def test_a_socket_closed_in_the_middle_of_a_request_frees_the_connection():
    async with serving(echo) as server:
        raw = socket.create_connection(("127.0.0.1", server.port))
        raw.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nabc")
        await asyncio.sleep(0.1)
        raw.close()
        await until(lambda: not server.connections)

"""Every listener behind a proxy: the client that it names is the peer, from named addresses alone.

With headers made by hand, and with HAProxy, in front of TLS and of plain connections.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from audit_repository.domain.record import Reading, reading_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.transactions.iti20 import SyslogListener
from shared.audit.recorder import message
from shared.audit.syslog import frame
from shared.hl7v2.mllp import MllpLimits, MllpListener, framed
from shared.http import proxied
from shared.http.raw_asgi import node_of, send_body
from shared.http.server import start_server
from shared.security.tls import client_context, server_context
from shared.settings import ServiceSettings, TlsSettings
from tests.peers.test_dcmtk_storescu import a_listener
from tests.support.audit import SOURCE, SOURCES, an_event
from tests.support.certificates import communities
from tests.support.proxy_protocol import LOCAL, SIGNATURE, UNKNOWN, a_binary, a_line, binary
from xdsi.stage import free_ports

pytestmark = pytest.mark.peer

PROXY, OTHER, CLIENT = "127.0.0.1", "127.0.0.2", "127.0.0.5"
PROXIES = ("127.0.0.1/32",)


def tls_of(secure: bool) -> TlsSettings:
    if not secure:
        return TlsSettings()
    north = communities()[0]
    return TlsSettings(certificate=north.node.certificate, key=north.node.key, trust=north.trust)


@dataclass
class Listening:
    """A listener: its port, the addresses of whom it heard, and what is said to be heard."""

    port: int
    said: bytes
    seen: list[str] = field(default_factory=list)


@asynccontextmanager
async def http(folder: Path, secure: bool) -> AsyncIterator[Listening]:
    listening = Listening(0, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        listening.seen.append(node_of(scope).address)
        await send_body(send, status=200, headers=[], body=b"hello")

    server = await start_server(
        hello, ServiceSettings(tls=tls_of(secure), proxies=PROXIES, connections_per_peer=3)
    )
    listening.port = server.port
    try:
        yield listening
    finally:
        await server.stop(grace_seconds=0)


@asynccontextmanager
async def mllp(folder: Path, secure: bool) -> AsyncIterator[Listening]:
    listening = Listening(0, framed(b"MSH|"))

    async def answer(said: bytes, node: Any) -> bytes:
        listening.seen.append(node.address)
        return said

    listener = MllpListener(
        answer,
        refusal=lambda reason, _: reason.encode(),
        limits=MllpLimits(connections_per_peer=3),
        tls=server_context(tls_of(secure)) if secure else None,
        proxies=PROXIES,
    )
    await listener.start(PROXY, 0)
    listening.port = listener.port
    try:
        yield listening
    finally:
        await listener.stop()


@asynccontextmanager
async def syslog(folder: Path, secure: bool) -> AsyncIterator[Listening]:
    listening = Listening(0, frame(message(an_event(), SOURCE)))

    async def read(messages: Any) -> list[Reading]:
        return list(map(reading_of, messages))

    async def append(records: Any) -> int:
        listening.seen += [record.peer for record in records]
        return len(records)

    async def alert(address: str, reason: str) -> None:
        listening.seen.append(address)

    settings = AuditRepositorySettings(
        data=folder, syslog_port=0, tls=tls_of(secure), proxies=PROXIES, syslog_connections_per_peer=3
    )
    listener = SyslogListener(settings, read=read, append=append, sources=SOURCES, alert=alert)
    await listener.start()
    listening.port = listener.port
    try:
        yield listening
    finally:
        await listener.stop()


@asynccontextmanager
async def dimse(folder: Path, secure: bool) -> AsyncIterator[Listening]:
    """Its associations are of an AE title that is not known, and are rejected."""
    changes = {"calling_ae_titles": ("KNOWN",), "proxies": PROXIES, "max_associations_per_peer": 3}
    async with a_listener(folder, tls=tls_of(secure), **changes) as (_, listener):
        listening = Listening(listener.port, an_association())

        def not_authenticated(address: str, reason: str) -> None:
            listening.seen.append(address)

        listener._service.not_authenticated = not_authenticated
        yield listening


def an_association() -> bytes:
    """A-ASSOCIATE-RQ for Verification (PS3.8 9.3.2)."""

    def item(kind: int, content: bytes) -> bytes:
        return struct.pack("!BxH", kind, len(content)) + content

    context = b"\x01\0\0\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, struct.pack("!I", 16_384)) + item(0x52, b"2.999.1")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    fixed = struct.pack("!Hxx16s16s32x", 1, b"XDSI".ljust(16), b"STRANGER".ljust(16))
    return struct.pack("!BxI", 1, len(fixed + items)) + fixed + items


Listener = Callable[[Path, bool], AbstractAsyncContextManager[Listening]]
EVERY_LISTENER = pytest.mark.parametrize("listener", [http, mllp, syslog, dimse])
PLAIN_AND_TLS = pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])


async def say(port: int, said: bytes, *, source: str, header: bytes, secure: bool) -> None:
    """Connect from an address, begin with `header`, speak by TLS or plainly, and listen to the end."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.bind((source, 0))
        await loop.sock_connect(connection, (PROXY, port))
        await loop.sock_sendall(connection, header)
        context = client_context(tls_of(True)) if secure else None
        if context is not None:
            context.check_hostname = False
        reader, writer = await asyncio.open_connection(
            sock=connection, ssl=context, server_hostname="localhost" if secure else None
        )
        writer.write(said)
        try:
            await reader.read()
        finally:
            writer.transport.abort()


async def spoken(listening: Listening, secure: bool, source: str, header: bytes = b"") -> bool:
    """Whether what was said was heard, before the other side ended the connection."""
    before = len(listening.seen)
    talk = say(listening.port, listening.said, source=source, header=header, secure=secure)
    talking = asyncio.ensure_future(talk)
    # Syslog is never answered.
    while not talking.done() and len(listening.seen) == before:  # noqa: ASYNC110  # a socket's doing
        await asyncio.sleep(0.005)
    talking.cancel()
    with suppress(OSError, ssl.SSLError, asyncio.CancelledError):
        await talking
    return len(listening.seen) > before


@EVERY_LISTENER
@PLAIN_AND_TLS
@pytest.mark.parametrize("header", [a_line("203.0.113.9"), a_binary("203.0.113.9")], ids=["v1", "v2"])
async def test_the_client_that_a_named_proxy_names_is_the_peer(
    tmp_path: Path, listener: Listener, secure: bool, header: bytes
):
    async with listener(tmp_path, secure) as listening:
        assert await spoken(listening, secure, PROXY, header)

    assert set(listening.seen) == {"203.0.113.9"}


@EVERY_LISTENER
@PLAIN_AND_TLS
async def test_who_is_not_named_calls_as_ever_and_by_no_header(
    tmp_path: Path, listener: Listener, secure: bool
):
    async with listener(tmp_path, secure) as listening:
        assert await spoken(listening, secure, OTHER)
        assert set(listening.seen) == {OTHER}
        for header in (a_line("203.0.113.9"), a_binary("203.0.113.9")):
            await spoken(listening, secure, OTHER, header)

    assert set(listening.seen) == {OTHER}


BROKEN = {
    "none": b"",
    "another signature": SIGNATURE.replace(b"QUIT", b"QUIZ") + b"\x21\x11\0\x0c" + bytes(12),
    "another family": b"PROXY TCP6 192.0.2.7 127.0.0.1 1 2\r\n",
    "a family of datagrams": binary(1, 0x12, bytes(12)),
    "too short for its family": binary(1, 0x21, bytes(12)),
    "too long a line": b"PROXY UNKNOWN" + b" " * 100 + b"\r\n",
    "too long": binary(1, 0x11, bytes(600)),
}


@EVERY_LISTENER
@PLAIN_AND_TLS
async def test_a_named_proxy_is_not_heard_without_its_header(
    tmp_path: Path, listener: Listener, secure: bool
):
    async with listener(tmp_path, secure) as listening:
        for header in BROKEN.values():
            assert not await spoken(listening, secure, PROXY, header)
        # What was refused took nothing from those that come after.
        assert await spoken(listening, secure, PROXY, a_line("203.0.113.9"))

    assert set(listening.seen) == {"203.0.113.9"}


@EVERY_LISTENER
async def test_a_proxy_that_is_slow_with_its_header_is_cut_and_keeps_nobody_waiting(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
):
    def waits(connection: socket.socket) -> bytes:
        connection.settimeout(10)
        try:
            return connection.recv(1)
        except ConnectionResetError:
            return b""

    async with listener(tmp_path, True) as listening:
        monkeypatch.setattr(proxied, "HEADER_SECONDS", 1.0)
        held = [socket.create_connection((PROXY, listening.port)) for _ in range(8)]
        for connection in held:
            connection.sendall(b"PROXY TCP4 ")
        assert await spoken(listening, True, PROXY, a_line("203.0.113.9"))
        assert await spoken(listening, True, OTHER)
        assert {await asyncio.to_thread(waits, connection) for connection in held} == {b""}
        for connection in held:
            connection.close()


@EVERY_LISTENER
async def test_a_proxy_calls_for_itself_too(tmp_path: Path, listener: Listener):
    async with listener(tmp_path, True) as listening:
        for header in (LOCAL, UNKNOWN):
            assert await spoken(listening, True, PROXY, header)

    assert set(listening.seen) == {PROXY}


@EVERY_LISTENER
@PLAIN_AND_TLS
def test_all_of_it_holds_on_the_event_loop_that_serves(tmp_path: Path, listener: Listener, secure: bool):
    async def heard() -> set[str]:
        async with listener(tmp_path, secure) as listening:
            for header in (a_line("203.0.113.9"), a_binary("203.0.113.9")):
                assert await spoken(listening, secure, PROXY, header)
                assert not await spoken(listening, secure, PROXY)
            return set(listening.seen)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(heard()) == {"203.0.113.9"}


async def test_a_client_behind_a_proxy_that_has_too_many_connections_is_answered_503(tmp_path: Path):
    async with http(tmp_path, False) as listening:

        async def ask(client: str) -> bytes:
            reader, writer = await asyncio.open_connection(PROXY, listening.port)
            writer.write(a_line(client) + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append(writer)
            return await reader.readuntil(b"\r\n\r\n")

        held: list[asyncio.StreamWriter] = []
        heads = [await ask("203.0.113.9") for _ in range(4)]
        other = await ask("203.0.113.10")
        for writer in held:
            writer.close()

    assert [head.split(b" ")[1] for head in (*heads, other)] == [b"200", b"200", b"200", b"503", b"200"]
    assert b"retry-after: 1" in heads[-1]


# --- HAProxy -------------------------------------------------------------------------------------------


@contextmanager
def haproxy(folder: Path, target: int, how: str) -> Iterator[int]:
    """HAProxy in front of a port; it asks by itself, too, whether that lives."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("haproxy is not installed (apt install haproxy)")
    (port,) = free_ports(1)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n"
        f"listen door\n bind 127.0.0.1:{port}\n"
        f" server one 127.0.0.1:{target} {how} check check-send-proxy inter 200ms fall 100\n"
    )
    process = subprocess.Popen([program, "-db", "-f", configuration], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def opened(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                socket.create_connection((PROXY, port)).close()
                return
            except OSError:
                await asyncio.sleep(0.02)


@EVERY_LISTENER
@PLAIN_AND_TLS
@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
async def test_through_haproxy_the_client_is_the_peer(
    tmp_path: Path, listener: Listener, secure: bool, how: str
):
    async with listener(tmp_path, secure) as listening:
        with haproxy(tmp_path, listening.port, how) as port:
            await opened(port)
            behind = Listening(port, listening.said, listening.seen)
            assert await spoken(behind, secure, CLIENT)

    assert set(listening.seen) == {CLIENT}


async def test_through_haproxy_each_client_has_its_own_share(tmp_path: Path):
    async with mllp(tmp_path, False) as listening:
        with haproxy(tmp_path, listening.port, "send-proxy-v2") as port:
            await opened(port)
            one = [socket.create_connection((PROXY, port), source_address=(CLIENT, 0)) for _ in range(9)]
            assert await spoken(Listening(port, listening.said, listening.seen), False, OTHER)
            for connection in one:
                connection.close()

    assert set(listening.seen) == {OTHER}

"""No peer takes the connections of a listener from the others: they are counted from their accept, before a
handshake and before a word."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from audit_repository.app import build
from audit_repository.settings import AuditRepositorySettings
from imaging_source.dimse import places
from shared.hl7v2.mllp import MllpLimits, MllpListener
from shared.http.raw_asgi import send_body
from shared.http.server import start_server
from shared.security.tls import server_context
from shared.settings import ServiceSettings, TlsSettings
from tests.peers.test_dcmtk_storescu import a_listener
from tests.support.certificates import communities

pytestmark = pytest.mark.peer

PER_PEER, IN_ALL = 3, 8
ONE, OTHER = "127.0.0.1", "127.0.0.2"


def tls_of(secure: bool) -> TlsSettings:
    if not secure:
        return TlsSettings()
    north = communities()[0]
    return TlsSettings(certificate=north.node.certificate, key=north.node.key, trust=north.trust)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send_body(send, status=200, headers=[], body=b"hello")


@asynccontextmanager
async def http(folder: Path, secure: bool) -> AsyncIterator[int]:
    settings = ServiceSettings(tls=tls_of(secure), connections=IN_ALL, connections_per_peer=PER_PEER)
    server = await start_server(hello, settings)
    try:
        yield server.port
    finally:
        await server.stop(grace_seconds=0)


@asynccontextmanager
async def mllp(folder: Path, secure: bool) -> AsyncIterator[int]:
    async def answer(message: bytes, node: object) -> bytes:
        return message

    listener = MllpListener(
        answer,
        refusal=lambda reason, _: reason.encode(),
        limits=MllpLimits(connections=IN_ALL, connections_per_peer=PER_PEER),
        tls=server_context(tls_of(secure)) if secure else None,
    )
    await listener.start(ONE, 0)
    try:
        yield listener.port
    finally:
        await listener.stop()


@asynccontextmanager
async def syslog(folder: Path, secure: bool) -> AsyncIterator[int]:
    service = await build(
        AuditRepositorySettings(
            data=folder,
            syslog_port=0,
            tls=tls_of(secure),
            syslog_connections=IN_ALL,
            syslog_connections_per_peer=PER_PEER,
        )
    )
    await service.start()
    try:
        yield service.syslog.port
    finally:
        await service.stop()


@asynccontextmanager
async def dimse(folder: Path, secure: bool) -> AsyncIterator[int]:
    # Who shares an address with the silent is served after a while (tests/peers/test_silent_peers.py).
    with patch.object(places, "SILENT_SECONDS", 60.0):
        async with a_listener(
            folder, tls=tls_of(secure), max_associations=IN_ALL, max_associations_per_peer=PER_PEER
        ) as (_, listener):
            yield listener.port


Listener = Callable[[Path, bool], AbstractAsyncContextManager[int]]


def connect(port: int, address: str) -> socket.socket:
    return socket.create_connection((ONE, port), timeout=5, source_address=(address, 0))


def refused(connection: socket.socket, seconds: float = 5) -> bool:
    """Whether the listener ends the connection by itself, with or without a last word."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def a_place_is_free(port: int) -> bool:
    """Whether a connection is soon taken; those that were closed need a moment to be forgotten."""
    for _ in range(100):
        with connect(port, ONE) as connection:
            if not refused(connection, 0.3):
                return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("listener", [http, mllp, syslog, dimse])
async def test_silent_connections_of_one_peer_leave_places_to_the_others(
    tmp_path: Path, listener: Listener, secure: bool
):
    def attack(port: int) -> None:
        with ExitStack() as held:
            silent = [held.enter_context(connect(port, ONE)) for _ in range(PER_PEER)]
            for _ in range(20 * PER_PEER):
                with connect(port, ONE) as beyond:
                    assert refused(beyond)
            other = [held.enter_context(connect(port, OTHER)) for _ in range(PER_PEER)]
            assert not any(refused(connection, 0.1) for connection in (*silent, *other))
        assert a_place_is_free(port)

    async with listener(tmp_path, secure) as port:
        await asyncio.to_thread(attack, port)

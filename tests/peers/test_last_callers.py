"""Whoever the kernel let in before a listener closes is heard; HTTP: tests/peers/http/test_http_server.py."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest

from imaging_source.dimse.listener import _Server
from shared.http import backlog
from shared.security.tls import client_context
from tests.peers.test_proxied_listeners import OTHER, PROXY, Listener, dimse, http, mllp, syslog, tls_of

CALLERS = 3


def saying(port: int, said: bytes, secure: bool) -> threading.Thread:
    """Say something in a thread of its own, over a connection that the kernel has let in already."""
    connection = socket.create_connection((PROXY, port), timeout=20, source_address=(OTHER, 0))

    def say() -> None:
        speaking = connection
        try:
            if secure:
                context = client_context(tls_of(True))
                context.check_hostname = False
                speaking = context.wrap_socket(connection)
            speaking.sendall(said)
            while speaking.recv(65536):
                pass
        except (OSError, ssl.SSLError):
            pass
        finally:
            speaking.close()

    thread = threading.Thread(target=say)
    thread.start()
    return thread


@pytest.mark.parametrize("listener", [mllp, syslog, dimse])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_whoever_the_kernel_let_in_before_a_listener_closes_is_heard(
    tmp_path: Path, listener: Listener, secure: bool, monkeypatch: pytest.MonkeyPatch
):
    # The thread of DICOM accepts nobody, and nothing is awaited here: all of them still wait at the end.
    monkeypatch.setattr(_Server, "_handle_request_noblock", lambda self: None)
    async with listener(tmp_path, secure) as listening:
        callers = [saying(listening.port, listening.said, secure) for _ in range(CALLERS)]
    assert listening.seen == [OTHER] * CALLERS
    await asyncio.gather(*(asyncio.to_thread(caller.join) for caller in callers))


@pytest.mark.parametrize("listener", [http, mllp, syslog, dimse])
async def test_a_listener_of_a_service_that_is_not_drained_ends_without_waiting_for_anybody(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
):
    waits = []
    monkeypatch.setattr(backlog, "_settle_seconds", lambda drain: waits.append(drain) or 0.0)
    async with listener(tmp_path, False):
        pass
    assert waits == [0.0]
    monkeypatch.undo()
    assert [backlog._settle_seconds(drain) for drain in (0.0, 0.1, 10.0)] == [
        0.0,
        0.1,
        backlog.SETTLE_SECONDS,
    ]

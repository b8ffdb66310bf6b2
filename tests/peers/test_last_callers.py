"""Whoever the kernel let in before a listener closes is heard; HTTP: tests/peers/http/test_http_server.py."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest

from imaging_source.dimse.listener import _Server
from shared.security.tls import client_context
from tests.peers.test_proxied_listeners import OTHER, PROXY, Listener, dimse, mllp, syslog, tls_of

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

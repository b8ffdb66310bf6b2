"""The audit repository in this process, asked over HTTP as a server would call it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2

from audit_repository.app import build
from audit_repository.domain.record import record_of
from audit_repository.settings import AuditRepositorySettings
from shared.audit.recorder import message
from shared.http.raw_asgi import PEER_CERTIFICATE
from shared.security.caller import Node
from tests.support.audit import SOURCE, SOURCES, an_event

NOW = datetime(2030, 5, 4, 9, 0, tzinfo=UTC)


def a_record(minutes=0, source=SOURCE, sources=SOURCES, **changes):
    """A record of a clinician's stored query, so many minutes after nine."""
    node = Node(address="192.0.2.17", subject="CN=n", fingerprint="ab" * 32)
    at = NOW + timedelta(minutes=minutes)
    event = an_event(**{"time": at} | changes)
    return record_of(message(event, source), node=node, received=at, sources=sources)


def presenting(app, certificate: bytes | None):
    """The application as a server with TLS calls it."""

    async def called(scope, receive, send):
        await app(scope | {"extensions": {PEER_CERTIFICATE: certificate}}, receive, send)

    return called


@asynccontextmanager
async def asked(folder, *, certificate: bytes | None = None, client: str = "127.0.0.1", **changes):
    """The running service, and a client of it."""
    service = await build(AuditRepositorySettings(data=folder, port=0, syslog_port=0, **changes))
    await service.start()
    transport = httpx2.ASGITransport(app=presenting(service.asgi, certificate), client=(client, 4711))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://audit.example:8050") as http:
            yield service, http
    finally:
        await service.stop()

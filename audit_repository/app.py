"""The audit repository, put together: the trail, its syslog listeners, its routes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import FastAPI

from audit_repository.domain.record import record_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Trail
from audit_repository.store.tables import metadata
from audit_repository.transactions import iti81
from audit_repository.transactions.iti20 import DatagramListener, SyslogListener
from shared.audit.events import (
    AuditEvent,
    AuditSource,
    records_lost,
    started,
    stopped,
)
from shared.audit.recorder import messages, source_of
from shared.audit.refusals import Refusals
from shared.http.health import health_routes
from shared.security.authenticator import Authenticator
from shared.security.peer_certificate import subject_of
from shared.store.engine import open_database
from shared.telemetry.metrics import Metrics


class AuditRepository:
    """The service; made by `build`."""

    def __init__(self, settings: AuditRepositorySettings, trail: Trail) -> None:
        self.trail = trail
        self._source: AuditSource = source_of(settings, settings.service)
        self._subject = subject_of(settings.tls.certificate) if settings.tls.certificate else ""
        self._refusals = Refusals(self._record_all)
        self.syslog = SyslogListener(settings, append=trail.append, alert=self.node_refused)
        self.datagrams: DatagramListener | None = None
        if settings.udp:
            self.datagrams = DatagramListener(settings, append=trail.append, lost=self._lost)
        metrics = Metrics(settings.service)
        metrics.gauge("audit_records", "Records in the trail", lambda: trail.sequence)
        self.asgi = FastAPI(title="xdsi audit repository", docs_url=None, redoc_url=None, openapi_url=None)
        works = [trail.work, self.syslog.work]
        if self.datagrams is not None:
            works.append(self.datagrams.work)
        checks = {"database": trail.database.check}
        self.asgi.include_router(health_routes(checks, metrics, background=works))
        self.asgi.include_router(
            iti81.routes(settings, trail, Authenticator(settings), self.record, self._refusals)
        )

    async def start(self) -> None:
        """Open the trail and listen for records."""
        await self.trail.start()
        await self.record(started(self._source))
        await self.syslog.start()
        if self.datagrams is not None:
            await self.datagrams.start()

    async def stop(self) -> None:
        """Listen no more, keep what was read, sign the last records and close the trail."""
        await self.syslog.stop()
        if self.datagrams is not None:
            await self.datagrams.stop()
        await self._refusals.close()
        await self.record(stopped(self._source))
        await self.trail.stop()
        await self.trail.database.close()

    async def record(self, event: AuditEvent) -> None:
        """Keep an event of our own; nothing is sent, this is where it belongs."""
        await self._record_all((event,))

    async def _record_all(self, events: Sequence[AuditEvent]) -> None:
        received = datetime.now(UTC)
        await self.trail.append(
            [
                record_of(raw, peer="", subject=self._subject, received=received)
                for event in events
                for raw in messages(event, self._source)
            ]
        )

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node was refused, on whichever listener."""
        await self._refusals.node(address, reason)

    async def _lost(self, number: int) -> None:
        await self.record(records_lost(number, "they came by UDP faster than they could be kept"))


async def build(settings: AuditRepositorySettings) -> AuditRepository:
    """Open the database and put the service together; it works once `start` was called.

    Raises
    ------
    DatabaseUnavailable, SchemaError, SigningKeyError, SettingsError
        The service cannot begin; the text says what to do.
    """
    database = await open_database(settings.database_url, folder=settings.folder, metadata=metadata)
    trail = Trail(
        database,
        settings.folder,
        checkpoint_records=settings.checkpoint_records,
        checkpoint_seconds=settings.checkpoint_seconds,
    )
    return AuditRepository(settings, trail)

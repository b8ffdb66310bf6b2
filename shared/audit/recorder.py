"""Recording: an event is durable before anything of its answer leaves (architecture, principle 6)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from shared.audit import dicom_xml, syslog
from shared.audit.events import AuditEvent, AuditSource, records_lost
from shared.audit.spool import AuditUnavailable, Spool
from shared.settings import ServiceSettings

__all__ = ["AuditRecorder", "AuditSource", "AuditUnavailable", "source_of"]


def source_of(settings: ServiceSettings, service: str) -> AuditSource:
    """The AuditSource of a service: `xdsi-<service>` when the settings name none."""
    return AuditSource(
        source_id=settings.audit.source_id or f"xdsi-{service.replace('_', '-')}",
        enterprise_site_id=settings.audit.enterprise_site_id,
        hostname=urlsplit(settings.public_url or "").hostname or socket.gethostname(),
    )


def message(event: AuditEvent, source: AuditSource) -> bytes:
    """The event as the syslog message that will be sent, complete.

    It is made once, when the event is recorded: whatever is sent again is the same bytes, and the
    repository knows the duplicate by them.
    """
    severity = syslog.NOTICE if event.outcome == 0 else syslog.WARNING
    return syslog.message(
        dicom_xml.encode(event, source),
        severity=severity,
        time=datetime.now(UTC),
        hostname=source.hostname,
        app_name=source.source_id,
    )


class AuditRecorder:
    """Keeps the events of one service; one object for each process, wired in `app.py`.

    `folder` names the spool below the service's folder: a process needs one of its own.
    """

    def __init__(self, settings: ServiceSettings, service: str, *, folder: str = "audit") -> None:
        self.source = source_of(settings, service)
        self.spool = Spool(
            settings.folder / folder,
            max_bytes=settings.audit.spool_max_bytes,
            on_full=settings.audit.on_full,
            lost=lambda number, reason: self.row(records_lost(number, reason)),
        )

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Keep `events`; they are on disk when this returns.

        Raises
        ------
        AuditUnavailable
            They could not be kept; the caller refuses the work that they describe.
        """
        if events:
            await self.spool.put(*map(self.row, events))

    def row(self, event: AuditEvent) -> bytes:
        """The octets for the outbox table, for an event that belongs to a change's own transaction."""
        return message(event, self.source)

    async def check(self) -> None:
        """Raise `AuditUnavailable` when the next event could not be kept, for readiness."""
        await self.spool.check()

    async def close(self) -> None:
        """Finish what is being written and give the spool's folder free."""
        await self.spool.close()

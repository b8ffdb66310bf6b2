"""Recording: an event is durable before anything of its answer leaves (docs/architecture.md, principle 6)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime

from shared.audit import bounds, dicom_xml, syslog
from shared.audit.events import AuditEvent, AuditSource
from shared.audit.node_events import records_lost, started, stopped
from shared.audit.refusals import Refusals
from shared.audit.spool import AuditUnavailable, Spool
from shared.settings import ServiceSettings

__all__ = ["AuditRecorder", "AuditSource", "AuditUnavailable", "source_of"]


def source_of(settings: ServiceSettings, service: str) -> AuditSource:
    """The AuditSource of a service: `xdsi-<service>` when the settings name none."""
    return AuditSource(
        source_id=settings.audit.source_id or f"xdsi-{service.replace('_', '-')}",
        enterprise_site_id=settings.audit.enterprise_site_id,
        hostname=settings.public_host or socket.gethostname(),
    )


def messages(event: AuditEvent, source: AuditSource) -> tuple[bytes, ...]:
    """The event as the syslog messages that will be sent, mostly one; each within `shared.audit.bounds`."""
    return tuple(message(part, source) for part in bounds.parts(event))


def message(event: AuditEvent, source: AuditSource) -> bytes:
    """An event that is within the bounds, as one syslog message, complete.

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
            lost=lambda number, reason: message(records_lost(number, reason), self.source),
        )
        self.refusals = Refusals(self.record, settings.audit.refusals_seconds)

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Keep `events`; they are on disk when this returns.

        Raises
        ------
        AuditUnavailable
            They could not be kept; the caller refuses the work that they describe.
        """
        if events:
            await self.spool.put(*(octets for event in events for octets in self.messages(event)))

    def messages(self, event: AuditEvent) -> tuple[bytes, ...]:
        """What is sent of an event."""
        return messages(event, self.source)

    async def started(self) -> None:
        """Record that the service is ready for requests; raises as `record`."""
        await self.record((started(self.source),))

    async def stopped(self) -> None:
        """Record what refusals are still only counted, and that the service takes no more requests."""
        await self.refusals.close()
        await self.record((stopped(self.source),))

    async def check(self) -> None:
        """Raise `AuditUnavailable` when the next event could not be kept, for readiness."""
        await self.spool.check()

    async def close(self) -> None:
        """Finish what is being written and give the spool's folder free."""
        await self.refusals.close()
        await self.spool.close()

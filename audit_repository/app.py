"""The audit repository, put together: the trail, its syslog listeners, its routes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from audit_repository import pages
from audit_repository.background.reader import ReadingProcess
from audit_repository.background.relay import Relay
from audit_repository.domain.record import Record, record_of
from audit_repository.domain.sources import Sources, Standing
from audit_repository.pages.page import TEMPLATES, PageParts, PageUnit
from audit_repository.peers.consents import ConsentRegistry
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Trail
from audit_repository.store.retention import Retention
from audit_repository.store.tables import MIGRATIONS
from audit_repository.transactions import SERVED_REST
from audit_repository.transactions.iti20 import DatagramListener, SyslogListener
from audit_repository.unit import Parts, Unit
from shared.audit.events import AuditEvent, AuditSource
from shared.audit.node_events import records_lost, started, stopped
from shared.audit.recorder import messages, source_of
from shared.audit.refusals import Refusals
from shared.http.application import application
from shared.http.client import http_client
from shared.http.health import health_routes
from shared.pages.forms import Forms
from shared.pages.handles import Handles
from shared.pages.page import ErrorPage
from shared.pages.provider import provider_of
from shared.pages.session_cookie import SessionCookie
from shared.pages.session_end import SessionEnd
from shared.pages.sessions import Sessions
from shared.pages.shelf import Shelf
from shared.pages.site import Site
from shared.pages.visitors import Reception
from shared.rest.error_form import ProblemDetails
from shared.rest.fhir import OperationOutcome
from shared.rest.scheme import NodeAlone
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.security.peer_certificate import own_node
from shared.security.rights import NodeList
from shared.store.folders import FolderHold
from shared.store.opening import open_database
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

_SITE = "audit"


class TrailRecorder:
    """Records events of our own where they belong; nothing is sent."""

    def __init__(self, record: Callable[[Sequence[AuditEvent]], Awaitable[None]], seconds: float) -> None:
        self._record = record
        self.refusals = Refusals(record, seconds)

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Keep `events` in the trail."""
        if events:
            await self._record(events)


class AuditRepository:
    """The service; made by `build`."""

    def __init__(
        self, settings: AuditRepositorySettings, trail: Trail, hold: FolderHold | None = None
    ) -> None:
        self.trail = trail
        self._hold = hold
        self._source: AuditSource = source_of(settings, settings.service)
        # Nothing delivers what is our own: it has no address.
        self._node = own_node("", settings.tls.certificate)
        self._recorder = TrailRecorder(self._record_all, settings.audit.refusals_seconds)
        self._refusals = self._recorder.refusals
        authenticator = Authenticator(settings)
        self._sources = sources_of(settings, authenticator, self._source)
        metrics = Metrics(settings.service)
        self.reader = ReadingProcess(metrics)
        self.syslog = SyslogListener(
            settings,
            read=self.reader.readings,
            append=self.keep,
            sources=self._sources,
            alert=self.node_refused,
        )
        self.datagrams: DatagramListener | None = None
        if settings.udp:
            self.datagrams = DatagramListener(
                settings, append=self.keep, sources=self._sources, lost=self._lost
            )
        self._mismatched = metrics.counter(
            "audit_records_mismatched", "Records whose source is not the node that delivered them"
        )
        metrics.gauge("audit_records", "Records in the trail", lambda: trail.sequence)
        self.retention = Retention(trail, self.record, months=settings.retention_months)
        self.relay = Relay(settings, trail.database, self._source, self.record)
        self.relay.show_in(metrics)
        self._shelf = Shelf(settings.folder)
        self.sessions = Sessions(self._shelf)
        self._session_end = SessionEnd(self.sessions, self._recorder.record)
        works = [trail.work, self.retention.work, *self.relay.works, self.syslog.work, self._session_end.work]
        if self.datagrams is not None:
            works.append(self.datagrams.work)
        checks = {"database": trail.database.check}
        health = health_routes(
            checks,
            metrics,
            background=works,
            usage=lambda: trail.database.usage,
            tls=settings.tls,
        )
        self._settings = settings
        self._http = http_client(settings.tls, peers=(settings.consent_url,))
        parts = Parts(
            settings=settings,
            trail=trail,
            sources=self._sources,
            keep=self.keep,
            record=self.record,
            handles=Handles(self._shelf.key("handles")),
            retention=self.retention,
            registry=ConsentRegistry(
                url=settings.consent_url,
                http=self._http,
                node=own_node(self._source.hostname, settings.tls.certificate),
            ),
        )
        rest = RestService(
            unit=partial(Unit, parts),
            authenticator=authenticator,
            recorder=self._recorder,
            settings=settings,
            metrics=metrics,
            error_forms=(ProblemDetails(), OperationOutcome()),
        )
        error_page = ErrorPage(TEMPLATES, Forms(), self.sessions, provider_of(settings.sign_in, settings))
        people = self._people(parts, authenticator, metrics, error_page)
        routes = [*health, *rest.routes(SERVED_REST), *people.routes(pages.SERVED_REST)]
        self.asgi = Site(application(routes, page=error_page.unserved), _SITE, error_page.turned_away)

    def _people(
        self, parts: Parts, authenticator: Authenticator, metrics: Metrics, error_page: ErrorPage
    ) -> RestService:
        """The wing for people at browsers."""
        reception = Reception(authenticator, self._refusals, self._settings.endpoint)
        of_pages = PageParts(
            provider=error_page.provider,
            service=parts,
            reception=reception,
            sessions=self.sessions,
            forms=error_page.forms,
            templates=TEMPLATES,
        )
        return RestService(
            unit=partial(PageUnit, of_pages),
            authenticator=reception,
            recorder=self._recorder,
            settings=self._settings,
            metrics=metrics,
            schemes=(SessionCookie(self.sessions), NodeAlone()),
            error_forms=(error_page,),
        )

    async def start(self) -> None:
        """Open the trail and listen for records."""
        await self.trail.start()
        self._session_end.work.start()
        await self.record(started(self._source))
        self.retention.work.start()
        await self.relay.start(self.trail.sequence)
        with self._settings.listening("syslog_port"):
            await self.syslog.start()
        if self.datagrams is not None:
            with self._settings.listening("udp_port"):
                await self.datagrams.start()

    async def stop(self) -> None:
        """Listen no more, keep what was read, sign the last records and close the trail."""
        await self._session_end.work.stop()
        await self.retention.work.stop()
        await self.relay.stop()
        await self.syslog.stop()
        await self.reader.close()
        if self.datagrams is not None:
            await self.datagrams.stop()
        await self._refusals.close()
        await self._http.aclose()
        self._shelf.close()
        await self.record(stopped(self._source))
        await self.trail.stop()
        await self.trail.database.close()
        if self._hold is not None:
            self._hold.close()

    async def record(self, event: AuditEvent) -> None:
        """Keep an event of our own; nothing is sent, this is where it belongs."""
        await self._record_all((event,))

    async def _record_all(self, events: Sequence[AuditEvent]) -> None:
        received = datetime.now(UTC)
        records = [
            record_of(raw, node=self._node, received=received, sources=self._sources)
            for event in events
            for raw in messages(event, self._source)
        ]
        await self.trail.append([replace(record, standing=Standing.PROVED) for record in records])

    async def keep(self, records: Sequence[Record]) -> int:
        """Append what a node delivered, and raise the alarm for what names another source than its own."""
        new = await self.trail.append(records)
        if mismatched := [record for record in records if record.standing is Standing.MISMATCHED]:
            await self._alarm(mismatched)
        return new

    async def _alarm(self, mismatched: Sequence[Record]) -> None:
        self._mismatched.inc(len(mismatched))
        for address, subject, fingerprint in {(one.peer, one.subject, one.fingerprint) for one in mismatched}:
            _log.error(
                "audit records name a source that is not their node; they are kept as mismatched",
                peer=address,
                subject=subject,
                fingerprint=fingerprint,
            )
            who = subject or "a node without certificate"
            await self._refusals.node(address, f"{who} sent records under the AuditSourceID of another node")

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node was refused, on whichever listener."""
        await self._refusals.node(address, reason)

    async def _lost(self, number: int) -> None:
        await self.record(records_lost(number, "they came by UDP faster than they could be kept"))


def sources_of(settings: AuditRepositorySettings, authenticator: Authenticator, own: AuditSource) -> Sources:
    """Which node may write under which AuditSourceID, by the settings."""
    bound = {
        source_id: NodeList(nodes, f"XDSI_AUDIT_REPOSITORY__SOURCES ({source_id})")
        for source_id, nodes in settings.sources.items()
    }
    return Sources(
        bound,
        ours=(own.source_id,),
        of_the_community=authenticator.rights.community,
        proves_nodes=settings.tls.enabled,
        register=lambda: authenticator.rights.register,
    )


async def build(settings: AuditRepositorySettings) -> AuditRepository:
    """Open the database and put the service together; it works once `start` was called.

    Raises
    ------
    FolderHeld
        Another process uses its folder, where the key and the checkpoints are.
    DatabaseUnavailable, SchemaError, SigningKeyError, SettingsError
        The service cannot begin; the text says what to do.
    """
    hold = await asyncio.to_thread(FolderHold, settings.folder)
    try:
        database = await open_database(
            settings.database_url,
            folder=settings.folder,
            migrations=MIGRATIONS,
            wait_seconds=settings.database_wait_seconds,
        )
        trail = Trail(
            database,
            settings.folder,
            checkpoint_records=settings.checkpoint_records,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        return AuditRepository(settings, trail, hold)
    except BaseException:
        hold.close()
        raise

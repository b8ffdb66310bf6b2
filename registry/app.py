"""The registry as a service: its parts, put together, and its routes."""

from __future__ import annotations

from functools import partial

from registry.background.janitor import Janitor
from registry.domain.value_sets import ANYTHING, read_value_sets
from registry.settings import RegistrySettings
from registry.store.assertions import UsedAssertions
from registry.store.tables import MIGRATIONS, audit_outbox
from registry.transactions import SERVED_REST, served_by, waiting
from registry.transactions.iti8 import FeedReceiver
from registry.unit import Parts, Unit
from registry.workers import Worker, spools_left_behind
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox
from shared.audit.recorder import AuditRecorder
from shared.consent.documents.bppc import read_meanings
from shared.consent.evaluation import PolicyDecisions
from shared.errors import Actor
from shared.hl7v2.mllp import MllpLimits, MllpListener
from shared.hl7v2.receiver import cut
from shared.http.application import application
from shared.http.health import Check, health_routes
from shared.http.raw_asgi import raw_first
from shared.rest.error_form import ProblemDetails
from shared.rest.fhir import OperationOutcome
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.security.rights import Rights
from shared.security.tls import server_context
from shared.soap.pipeline import SoapService
from shared.store.opening import open_database
from shared.telemetry.metrics import Metrics
from shared.telemetry.wire import WireFolder

PATH = "/xds/registry"
ALONE = Worker()


class Registry:
    """A running registry: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, parts: Parts, worker: Worker = ALONE) -> None:
        settings = parts.settings
        self._parts = parts
        self._worker = worker
        self._janitor = Janitor(parts)
        self._left_behind = [
            AuditRecorder(settings, settings.service, folder=name)
            for name in (spools_left_behind(settings) if worker.is_first else ())
        ]
        outbox = DatabaseOutbox(parts.database, audit_outbox)
        self._forwarder = Forwarder(
            settings, parts.recorder, outbox, *(left.spool for left in self._left_behind)
        )
        self._feed = MllpListener(
            FeedReceiver(parts, parts.recorder.source.hostname, Rights(settings)).acknowledge,
            refusal=cut,
            limits=MllpLimits(
                frame_bytes=settings.mllp_frame_bytes,
                frame_seconds=settings.mllp_frame_seconds,
                connections=settings.mllp_connections,
                connections_per_peer=settings.mllp_connections_per_peer,
            ),
            tls=server_context(settings.tls) if settings.tls.enabled else None,
            on_tls_failure=self.node_refused,
            wire=WireFolder(settings.wire_folder, settings.service) if settings.wire_folder else None,
            proxies=settings.proxies,
        )
        authenticator = Authenticator(settings, once=UsedAssertions(parts.database))
        metrics = Metrics("registry")
        soap = SoapService(
            served_by(settings),
            unit=partial(Unit, parts),
            authenticator=authenticator,
            recorder=parts.recorder,
            settings=settings,
            actor=Actor.REGISTRY,
            spool_folder=settings.folder / "incoming",
            metrics=metrics,
        )
        checks: dict[str, Check] = {
            "database": parts.database.check,
            "audit": parts.recorder.check,
        }
        works = (*self._janitor.works, self._feed.work)
        health = health_routes(
            checks,
            metrics,
            background=works,
            trail=self._forwarder,
            usage=lambda: parts.database.usage,
            tls=settings.tls,
        )
        rest = RestService(
            unit=partial(Unit, parts),
            authenticator=authenticator,
            recorder=parts.recorder,
            settings=settings,
            metrics=metrics,
            error_forms=(ProblemDetails(), OperationOutcome()),
        )
        routes = [*health, *rest.routes(list(map(waiting, SERVED_REST)))]
        self.asgi = raw_first(PATH, soap.asgi, application(routes))

    @property
    def feed_port(self) -> int:
        """Where the patient identity feed is taken, once started."""
        return self._feed.port

    async def start(self) -> None:
        """Begin to take the feed, to send the trail, and to forget what is old."""
        settings = self._parts.settings
        if self._worker.is_first:
            await self._parts.recorder.started()
        await self._forwarder.start()
        await self._janitor.start()
        with settings.listening("mllp_port", settings.feed_port):
            await self._feed.start(settings.host, settings.feed_port, reuse_port=settings.workers > 1)

    async def stop(self) -> None:
        """End it all; events that were not sent wait for the next start."""
        await self._feed.stop(drain_seconds=self._parts.settings.drain_seconds)
        await self._janitor.stop()
        if self._worker.is_first:
            await self._parts.recorder.stopped()
        await self._forwarder.stop()
        for recorder in (self._parts.recorder, *self._left_behind):
            await recorder.close()
        await self._parts.database.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self._parts.recorder.refusals.node(address, reason)


async def build(settings: RegistrySettings, worker: Worker = ALONE) -> Registry:
    """Put the registry together; nothing listens yet.

    Raises
    ------
    DatabaseUnavailable, SchemaError
        The database cannot be used.
    ValueSetError, PolicyError
        The file of value sets, or that of acknowledged policies, cannot be used.
    """
    parts = Parts(
        settings=settings,
        database=await open_database(
            settings.database_url,
            folder=settings.folder,
            migrations=MIGRATIONS,
            plans_kept=True,
            wait_seconds=settings.database_wait_seconds,
        ),
        decisions=PolicyDecisions(settings.consent_default),
        recorder=AuditRecorder(settings, settings.service, folder=worker.spool),
        meanings=read_meanings(settings.acknowledged_policies) if settings.acknowledged_policies else {},
        value_sets=read_value_sets(settings.value_sets) if settings.value_sets else ANYTHING,
    )
    return Registry(parts, worker)

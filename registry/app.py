"""The registry as a service: its parts, put together, and its routes."""

from __future__ import annotations

from fastapi import FastAPI

from registry.domain.feed import Code, FeedError, acknowledgement
from registry.domain.value_sets import ANYTHING, read_value_sets
from registry.janitor import Janitor
from registry.mllp import MllpLimits, MllpListener
from registry.settings import RegistrySettings
from registry.store.tables import METADATA, MIGRATIONS, audit_outbox
from registry.transactions import served_by
from registry.transactions.consent import consent_routes
from registry.transactions.iti8 import Feed
from registry.unit import Parts
from registry.workers import READS, by_workers, left_behind
from shared.audit.events import node_authentication_failure, started, stopped
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox
from shared.audit.recorder import AuditRecorder
from shared.consent.evaluation import PolicyDecisions
from shared.errors import Actor
from shared.http.health import health_routes
from shared.http.raw_asgi import raw_first
from shared.http.relay import Relay
from shared.http.server import RunningServer, start_local_server
from shared.security.authenticator import Authenticator
from shared.security.tls import server_context
from shared.soap.pipeline import SoapService
from shared.store.engine import Database, open_database, open_reader
from shared.store.sqlite import SqliteReader
from shared.telemetry.metrics import Metrics

PATH = "/xds/registry"


class Registry:
    """A running registry: `asgi` is served by whoever made it, `start` and `stop` frame that.

    Of several workers the first one, 0, does what must be done once: it takes the feed, sends what was
    committed, and forgets what is old.
    """

    def __init__(self, parts: Parts, *, worker: int = 0) -> None:
        settings = parts.settings
        self._parts = parts
        self._first = worker == 0
        self._relay: Relay | None = None
        self._local: RunningServer | None = None
        self._left_behind = left_behind(settings) if self._first else ()
        self._janitor = Janitor(parts)
        outbox = (DatabaseOutbox(parts.database, audit_outbox),) if self._first else ()
        self._forwarder = Forwarder(
            settings, parts.recorder.spool, *outbox, *(each.spool for each in self._left_behind)
        )
        self._feed = MllpListener(
            Feed(parts, parts.recorder.source.hostname).acknowledge,
            refusal=_cut,
            limits=MllpLimits(
                frame_bytes=settings.mllp_frame_bytes,
                frame_seconds=settings.mllp_frame_seconds,
                connections=settings.mllp_connections,
                connections_per_peer=settings.mllp_connections_per_peer,
            ),
            tls=server_context(settings.tls) if settings.tls.enabled else None,
            on_tls_failure=self.node_refused,
        )
        authenticator = Authenticator(settings)
        metrics = Metrics("registry")
        soap = SoapService(
            served_by(settings),
            unit=parts.unit,
            authenticator=authenticator,
            recorder=parts.recorder,
            settings=settings,
            actor=Actor.REGISTRY,
            spool_folder=settings.folder / "incoming",
            metrics=metrics,
        )
        application = FastAPI(title="xdsi registry", docs_url=None, redoc_url=None, openapi_url=None)
        application.include_router(
            health_routes(
                {
                    "database": parts.database.check,
                    "audit": parts.recorder.check,
                    "audit delivery": self._forwarder.check,
                },
                metrics,
            )
        )
        application.include_router(consent_routes(parts, authenticator))
        self.asgi = raw_first(PATH, soap.asgi, application)
        if not self._first:
            self._relay = Relay(settings.first_worker)
            actions = READS if isinstance(parts.database, SqliteReader) else None
            self.asgi = by_workers(PATH, soap.asgi, self._relay.asgi, actions=actions)

    @property
    def feed_port(self) -> int:
        """Where the patient identity feed is taken, once started."""
        return self._feed.port

    async def start(self) -> None:
        """Begin to take the feed, to send the trail, and to forget what is old."""
        settings = self._parts.settings
        await self._forwarder.start()
        if not self._first:
            return
        await self._parts.recorder.record((started(self._parts.recorder.source),))
        await self._janitor.start()
        await self._feed.start(settings.host, settings.feed_port)
        if settings.workers > 1:
            self._local = await start_local_server(self.asgi, settings.first_worker)

    async def stop(self) -> None:
        """End it all; events that were not sent wait for the next start."""
        if self._local is not None:
            await self._local.stop()
        if self._relay is not None:
            await self._relay.close()
        if self._first:
            await self._feed.stop()
            await self._janitor.stop()
            await self._parts.recorder.record((stopped(self._parts.recorder.source),))
        await self._forwarder.stop()
        for recorder in (self._parts.recorder, *self._left_behind):
            await recorder.close()
        await self._parts.database.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record that a node did not authenticate (ITI-19)."""
        await self._parts.recorder.record((node_authentication_failure(address, reason),))


def _cut(reason: str) -> bytes:
    error = FeedError(Code.REJECT, 207, "MSH", reason)
    return acknowledgement(error.header, error=error)


async def build(settings: RegistrySettings, *, worker: int = 0) -> Registry:
    """Put the registry together, or one further worker of it; nothing listens yet.

    Raises
    ------
    DatabaseUnavailable, SchemaError
        The database cannot be used.
    ValueSetError
        The file of value sets cannot be used.
    """
    database: Database | None = None
    if worker:
        database = open_reader(settings.database_url, folder=settings.folder)
    if database is None:
        database = await open_database(
            settings.database_url, folder=settings.folder, metadata=METADATA, migrations=MIGRATIONS
        )
    parts = Parts(
        settings=settings,
        database=database,
        decisions=PolicyDecisions(settings.consent_default),
        recorder=AuditRecorder(settings, settings.service, worker=worker),
        value_sets=read_value_sets(settings.value_sets) if settings.value_sets else ANYTHING,
    )
    return Registry(parts, worker=worker)

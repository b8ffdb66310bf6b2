"""The repository as a service: its parts, put together, and its routes."""

from __future__ import annotations

from functools import partial
from typing import Any

from repository.background.janitor import Janitor
from repository.maintenance.scrub import scrub
from repository.peers.provider import ImagingSource
from repository.settings import RepositorySettings
from repository.store.blobs import Blobs
from repository.store.integrity import Integrity
from repository.store.stores import open_blobs, open_replica
from repository.store.tables import MIGRATIONS, outbox
from repository.transactions import SERVED, SERVED_REST
from repository.unit import Parts, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox
from shared.audit.recorder import AuditRecorder
from shared.consent.sources import open_consent
from shared.errors import Actor
from shared.http.application import application
from shared.http.client import http_client
from shared.http.health import NotReady, health_routes
from shared.http.raw_asgi import raw_first
from shared.rest.service import RestService
from shared.scrubbing import Scrubbing
from shared.security import own_registry
from shared.security.authenticator import Authenticator
from shared.security.once import open_once
from shared.security.peer_certificate import own_node
from shared.soap.client import SoapClient
from shared.soap.pipeline import SoapService
from shared.store.opening import open_database
from shared.telemetry.metrics import Metrics

PATH = "/xds/repository"


class Repository:
    """A running repository: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, parts: Parts, http: Any) -> None:
        self._parts = parts
        self._http = http
        self._janitor = Janitor(parts)
        self._forwarder = Forwarder(parts.settings, parts.recorder, DatabaseOutbox(parts.database, outbox))
        metrics = Metrics("repository")
        self._scrubbing = Scrubbing(
            parts.settings,
            parts.database,
            metrics,
            partial(scrub, parts.database, parts.blobs, parts.integrity),
        )
        authenticator = Authenticator(parts.settings, once=open_once(parts.settings, http))
        soap = SoapService(
            SERVED,
            unit=partial(Unit, parts),
            authenticator=authenticator,
            recorder=parts.recorder,
            settings=parts.settings,
            actor=Actor.REPOSITORY,
            spool_folder=parts.blobs.incoming,
            metrics=metrics,
        )
        health = health_routes(
            {
                "database": parts.database.check,
                "documents": partial(_keeps, parts.blobs),
                "audit": parts.recorder.check,
            },
            metrics,
            background=[*self._janitor.works, *self._scrubbing.works],
            trail=self._forwarder,
            usage=lambda: parts.database.usage,
            tls=parts.settings.tls,
        )
        metrics.gauge(
            "provisions_in_doubt",
            "Submissions of which it is not known whether the registry has them",
            lambda: self._janitor.in_doubt,
        )
        rest = RestService(
            unit=partial(Unit, parts),
            authenticator=authenticator,
            recorder=parts.recorder,
            settings=parts.settings,
            metrics=metrics,
        )
        app = application([*health, *rest.routes(SERVED_REST)])
        self.asgi = raw_first(PATH, soap.asgi, app)

    async def start(self) -> None:
        """Begin the work beside the requests."""
        await self._parts.recorder.started()
        await self._forwarder.start()
        self._parts.integrity.watch(self._parts.database)
        await self._janitor.start()
        await self._scrubbing.start()

    async def stop(self) -> None:
        """End it; what is not done waits on disk for the next start."""
        await self._scrubbing.stop()
        await self._janitor.stop()
        await self._parts.integrity.close()
        await self._parts.recorder.stopped()
        await self._forwarder.stop()
        await self._http.aclose()
        await self._parts.recorder.close()
        await self._parts.database.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self._parts.recorder.refusals.node(address, reason)


async def build(settings: RepositorySettings) -> Repository:
    """Put the repository together; nothing listens yet.

    Raises
    ------
    DatabaseUnavailable, SchemaError
        The database cannot be used.
    """
    peers = (*settings.registry_endpoints, settings.imaging_source_url, settings.consent_url)
    http = http_client(settings.tls, peers=peers, known=own_registry.known(settings))
    blobs = open_blobs(settings)
    recorder = AuditRecorder(settings, settings.service)
    parts = Parts(
        settings=settings,
        database=await open_database(
            settings.database_url,
            folder=settings.folder,
            migrations=MIGRATIONS,
            wait_seconds=settings.database_wait_seconds,
        ),
        blobs=blobs,
        integrity=Integrity(blobs, open_replica(settings), recorder),
        consent=open_consent(settings, http),
        registry=SoapClient(http),
        provider=ImagingSource(http, settings.imaging_source_url),
        recorder=recorder,
        node=own_node(recorder.source.hostname, settings.tls.certificate),
        http=http,
    )
    return Repository(parts, http)


async def _keeps(blobs: Blobs) -> None:
    try:
        await blobs.probe()
    except OSError as error:
        # The system's own words name no path.
        raise NotReady(f"documents cannot be kept: {error.strerror or error}") from error

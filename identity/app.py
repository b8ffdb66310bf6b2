"""The identity service, put together: people, providers, keys, its routes."""

from __future__ import annotations

import asyncio
from functools import partial

from identity.settings import IdentitySettings
from identity.store.keys import SigningKeys
from identity.store.tables import MIGRATIONS, outbox
from identity.transactions import SERVED_REST
from identity.transactions.oauth import OAuthError
from identity.unit import Parts, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox
from shared.audit.recorder import AuditRecorder
from shared.background import BackgroundWork
from shared.http.application import application
from shared.http.health import health_routes
from shared.rest.error_form import ProblemDetails
from shared.rest.scheme import NodeAlone
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.security.issuer import AssertionIssuer
from shared.security.key_sets import KeySets
from shared.store.opening import open_database
from shared.telemetry.metrics import Metrics

_ROTATION_SECONDS = 3600.0


class Identity:
    """A running identity service: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        settings, recorder = parts.settings, parts.recorder
        self._forwarder = Forwarder(settings, recorder, DatabaseOutbox(parts.database, outbox))
        self._rotation = BackgroundWork("token keys", self._rotate, rest_seconds=_ROTATION_SECONDS)
        metrics = Metrics(settings.service)
        health = health_routes(
            {"database": parts.database.check, "audit": recorder.check},
            metrics,
            background=[self._rotation],
            trail=self._forwarder,
            usage=lambda: parts.database.usage,
            certificate=settings.tls.certificate,
        )
        rest = RestService(
            unit=partial(Unit, parts),
            authenticator=Authenticator(settings),
            recorder=recorder,
            settings=settings,
            metrics=metrics,
            schemes=(NodeAlone(),),
            error_forms=(ProblemDetails(), OAuthError()),
        )
        self.asgi = application([*health, *rest.routes(SERVED_REST)])

    async def _rotate(self) -> None:
        await asyncio.to_thread(self.parts.keys.rotate)

    async def start(self) -> None:
        """Begin the work beside the requests."""
        await self.parts.recorder.started()
        await self._forwarder.start()
        self._rotation.start()

    async def stop(self) -> None:
        """End it; events that were not sent wait on disk for the next start."""
        await self._rotation.stop()
        await self.parts.recorder.stopped()
        await self._forwarder.stop()
        await self.parts.recorder.close()
        await self.parts.database.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self.parts.recorder.refusals.node(address, reason)


async def build(settings: IdentitySettings) -> Identity:
    """Put the service together; nothing listens yet.

    Raises
    ------
    DatabaseUnavailable, SchemaError, SettingsError, AuditUnavailable
        The service cannot begin; the text says what to do.
    """
    assertion = settings.assertion
    issuer = None
    if assertion.issuer and assertion.key and assertion.certificate:
        issuer = AssertionIssuer.load(assertion.issuer, assertion.key, assertion.certificate)
    providers = KeySets(
        {issuer: provider.keys for issuer, provider in settings.providers.items()},
        settings.tls,
        trust=settings.provider_trust,
        setting="XDSI_IDENTITY__PROVIDERS",
    )
    recorder = AuditRecorder(settings, settings.service)
    database = await open_database(
        settings.database_url,
        folder=settings.folder,
        migrations=MIGRATIONS,
        wait_seconds=settings.database_wait_seconds,
    )
    keys = await asyncio.to_thread(SigningKeys, settings.folder, settings.key_days)
    parts = Parts(
        settings=settings,
        database=database,
        recorder=recorder,
        providers=providers,
        keys=keys,
        assertions=issuer,
    )
    return Identity(parts)

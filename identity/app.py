"""The identity service, put together: people, providers, keys, its routes and pages."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from identity import pages
from identity.domain.proof_nonce import ProofNonces
from identity.pages.page import TEMPLATES, PageParts, PageUnit
from identity.pages.proofs import Passwords
from identity.settings import IdentitySettings
from identity.store.challenges import Challenges
from identity.store.keys import SigningKeys
from identity.store.lockout import Lockout
from identity.store.page_key import page_key
from identity.store.sessions import Sessions
from identity.store.tables import MIGRATIONS, outbox
from identity.transactions import SERVED, SERVED_REST
from identity.transactions.oauth import OAuthError
from identity.unit import Parts, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox
from shared.audit.recorder import AuditRecorder
from shared.background import BackgroundWork
from shared.errors import Actor
from shared.http.application import application
from shared.http.health import health_routes
from shared.http.raw_asgi import App, raw_first
from shared.pages.forms import Forms
from shared.pages.handles import Handles
from shared.pages.page import ErrorPage
from shared.pages.session_end import SessionEnd
from shared.pages.site import Site
from shared.pages.visitors import Reception
from shared.rest.error_form import ProblemDetails
from shared.rest.scheme import NodeAlone
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.security.issuer import WatchedIssuer
from shared.security.key_sets import KeySets
from shared.soap.pipeline import SoapService
from shared.store.opening import open_database
from shared.telemetry.metrics import Metrics

PATH: Final = "/trust"
_ROTATION_SECONDS = 3600.0


class Identity:
    """A running identity service: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        settings, recorder = parts.settings, parts.recorder
        self._forwarder = Forwarder(settings, recorder, DatabaseOutbox(parts.database, outbox))
        self._rotation = BackgroundWork("token keys", self._rotate, rest_seconds=_ROTATION_SECONDS)
        self.sessions = Sessions(parts.database)
        self._session_end = SessionEnd(self.sessions, recorder.record)
        self.asgi = self._application()

    def _application(self) -> App:
        parts, settings, recorder = self.parts, self.parts.settings, self.parts.recorder
        metrics, authenticator = Metrics(settings.service), Authenticator(settings)
        health = health_routes(
            {"database": parts.database.check, "audit": recorder.check},
            metrics,
            background=[self._rotation, self._session_end.work],
            trail=self._forwarder,
            usage=lambda: parts.database.usage,
            tls=settings.tls,
        )
        wing = partial(
            RestService,
            authenticator=authenticator,
            recorder=recorder,
            settings=settings,
            metrics=metrics,
            schemes=(NodeAlone(),),
        )
        programs = wing(unit=partial(Unit, parts), error_forms=(ProblemDetails(), OAuthError()))
        of_pages = PageParts(
            desk=parts,
            passwords=Passwords(),
            challenges=Challenges(parts.database),
            handles=Handles(parts.page_key),
            reception=Reception(authenticator, recorder.refusals, settings.endpoint),
            people=self.sessions,
            forms=Forms(),
            templates=TEMPLATES,
        )
        error_page = ErrorPage(TEMPLATES, of_pages.forms)
        people = wing(unit=partial(PageUnit, of_pages), error_forms=(error_page,))
        trust = SoapService(
            SERVED,
            unit=partial(Unit, parts),
            authenticator=authenticator,
            recorder=recorder,
            settings=settings,
            actor=Actor.REGISTRY,
            spool_folder=settings.folder / "incoming",
            metrics=metrics,
        )
        over_http = application(
            [*health, *programs.routes(SERVED_REST), *people.routes(pages.SERVED_REST)],
            page=error_page.unserved,
        )
        return Site(raw_first(PATH, trust.asgi, over_http), settings.service, error_page.turned_away)

    async def _rotate(self) -> None:
        await asyncio.to_thread(self.parts.keys.rotate)

    async def start(self) -> None:
        """Begin the work beside the requests."""
        await self.parts.recorder.started()
        await self._forwarder.start()
        self._rotation.start()
        self._session_end.work.start()

    async def stop(self) -> None:
        """End it; events that were not sent wait on disk for the next start."""
        await self._rotation.stop()
        await self._session_end.work.stop()
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
        issuer = WatchedIssuer(assertion.issuer, assertion.key, assertion.certificate)
    recorder = AuditRecorder(settings, settings.service)
    database = await open_database(
        settings.database_url,
        folder=settings.folder,
        migrations=MIGRATIONS,
        wait_seconds=settings.database_wait_seconds,
    )
    keys = await asyncio.to_thread(SigningKeys, settings.folder, settings.key_days)
    # Who signs in here is believed as who signs in elsewhere: by keys that are shown.
    own = {settings.endpoint: str(keys.shown_path)} if settings.clients else {}
    providers = KeySets(
        {issuer: provider.keys for issuer, provider in settings.providers.items()} | own,
        settings.tls,
        trust=settings.provider_trust,
        setting="XDSI_IDENTITY__PROVIDERS",
    )
    client_keys = KeySets(
        {name: client.keys for name, client in settings.clients.items() if client.keys},
        settings.tls,
        trust=settings.provider_trust,
        setting="XDSI_IDENTITY__CLIENTS",
    )
    sealing = await page_key(database)
    parts = Parts(
        settings=settings,
        database=database,
        recorder=recorder,
        providers=providers,
        client_keys=client_keys,
        keys=keys,
        assertions=issuer,
        lockout=Lockout(database),
        page_key=sealing,
        nonces=ProofNonces(sealing, settings.proof_nonce_seconds) if settings.proof_nonce_seconds else None,
    )
    return Identity(parts)

"""The consumer as a service: the pages for clinicians, the interface for programs behind them, its routes."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial

from consumer import api, front, pages
from consumer.background.take_over_queue import TakeOverQueue
from consumer.front.reading_room import ReadingRoom
from consumer.front.tokens import FrontToken, StudyTokens
from consumer.pages.page import TEMPLATES, ErrorPage, PageParts, PageUnit
from consumer.pages.saml import Saml
from consumer.pages.workplace import Workplace
from consumer.settings import ConsumerSettings
from consumer.unit import Parts
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder
from shared.http.application import application
from shared.http.health import health_routes
from shared.http.raw_asgi import App
from shared.pages.forms import Forms
from shared.pages.provider import provider_of
from shared.pages.session_cookie import SessionCookie
from shared.pages.session_end import SessionEnd
from shared.pages.sessions import Sessions
from shared.pages.shelf import Shelf
from shared.pages.site import Site
from shared.pages.visitors import Reception
from shared.perform import UnitOfWork
from shared.rest.scheme import NodeAlone
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.telemetry.metrics import Metrics


class Consumer:
    """A running consumer: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, parts: Parts, authenticator: Authenticator) -> None:
        self.parts = parts
        self.shelf = Shelf(parts.settings.folder)
        self.sessions = Sessions(self.shelf)
        self._forwarder = Forwarder(parts.settings, parts.recorder)
        self.session_end = SessionEnd(self.sessions, parts.recorder.record)
        self._metrics = Metrics(parts.settings.service)
        self._metrics.gauge("sessions", "People who are signed in", lambda: len(self.sessions))
        self.reading_room = ReadingRoom(parts, StudyTokens(self.shelf.key("studies")))
        self._metrics.gauge(
            "image_cache_bytes", "Bytes of fetched images that are kept", lambda: self.reading_room.cache.size
        )
        self.take_overs = TakeOverQueue(parts)
        self.asgi = self._application(authenticator)

    def _application(self, authenticator: Authenticator) -> App:
        parts = self.parts
        reception = Reception(authenticator, parts.recorder.refusals, parts.settings.endpoint, parts.exchange)
        workplace = Workplace(parts, self.shelf, self._metrics)
        checks = {"audit": parts.recorder.check}
        works = (self.session_end.work, self.reading_room.work, self.take_overs.work)
        health = health_routes(
            checks,
            self._metrics,
            background=works,
            trail=self._forwarder,
            tls=parts.settings.tls,
        )
        wing = partial(
            RestService,
            authenticator=reception,
            recorder=parts.recorder,
            settings=parts.settings,
            metrics=self._metrics,
        )
        programs = wing(unit=partial(UnitOfWork, workplace), schemes=(Saml(),))
        viewers = wing(
            unit=partial(UnitOfWork, self.reading_room),
            schemes=(FrontToken(tokens=self.reading_room.tokens, sessions=self.sessions),),
        )
        forms = Forms()
        provider = provider_of(parts.settings.sign_in, parts.settings)
        of_pages = PageParts(
            provider=provider,
            workplace=workplace,
            reception=reception,
            sessions=self.sessions,
            forms=forms,
            templates=TEMPLATES,
            room=self.reading_room,
            desk=self.take_overs,
        )
        error_page = ErrorPage(TEMPLATES, forms, self.sessions, provider)
        people = wing(
            unit=partial(PageUnit, of_pages),
            schemes=(SessionCookie(self.sessions), NodeAlone()),
            error_forms=(error_page,),
        )
        routes = [
            *health,
            *programs.routes(api.SERVED_REST),
            *viewers.routes(front.SERVED_REST),
            *people.routes(pages.SERVED_REST),
        ]
        over_http = application(routes, page=error_page.unserved)
        return Site(over_http, parts.settings.service, error_page.turned_away)

    async def start(self) -> None:
        """Begin the work beside the requests; what a crash left of instances on their way is removed."""
        await asyncio.to_thread(_empty, self.parts)
        recorder = self.parts.recorder
        await recorder.started()
        await self._forwarder.start()
        self.session_end.work.start()
        self.reading_room.work.start()
        self.take_overs.work.start()

    async def stop(self) -> None:
        """End it; events that were not sent wait on disk for the next start."""
        recorder = self.parts.recorder
        await self.take_overs.work.stop()
        await self.take_overs.stop()
        await self.session_end.work.stop()
        await self.reading_room.work.stop()
        await self.reading_room.close()
        await recorder.stopped()
        await self._forwarder.stop()
        await self.parts.http.aclose()
        await recorder.close()
        self.shelf.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self.parts.recorder.refusals.node(address, reason)


def _empty(parts: Parts) -> None:
    shutil.rmtree(parts.spool_folder)
    parts.spool_folder.mkdir()


async def build(settings: ConsumerSettings) -> Consumer:
    """Put the consumer together; nothing listens yet.

    Raises
    ------
    SettingsError, AuditUnavailable
        The service cannot begin; the text says what to do.
    """
    return Consumer(Parts.of(settings, AuditRecorder(settings, settings.service)), Authenticator(settings))

"""The conformance service, put together: judgements for people and for programs, its routes."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial

from conformance import api, pages
from conformance.pages.page import TEMPLATES, PageParts, PageUnit
from conformance.settings import ConformanceSettings
from conformance.trials.trials import Trials
from conformance.unit import Parts, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder
from shared.http.application import application
from shared.http.health import health_routes
from shared.http.raw_asgi import App
from shared.pages.forms import Forms
from shared.pages.page import ErrorPage
from shared.pages.site import Site
from shared.pages.visitors import Reception
from shared.rest.scheme import NodeAlone
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.telemetry.metrics import Metrics


class Conformance:
    """A running conformance service: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, settings: ConformanceSettings, recorder: AuditRecorder) -> None:
        self.parts = Parts(settings)
        self._trials = Trials(settings)
        self._settings = settings
        self.recorder = recorder
        self._forwarder = Forwarder(settings, recorder)
        self.asgi = self._application(Authenticator(settings))

    def _application(self, authenticator: Authenticator) -> App:
        settings, recorder = self._settings, self.recorder
        metrics = Metrics(settings.service)
        health = health_routes(
            {"audit": recorder.check},
            metrics,
            trail=self._forwarder,
            tls=settings.tls,
        )
        wing = partial(
            RestService, authenticator=authenticator, recorder=recorder, settings=settings, metrics=metrics
        )
        programs = wing(unit=partial(Unit, self.parts), schemes=(NodeAlone(),))
        forms = Forms()
        of_pages = PageParts(
            bench=self.parts,
            trials=self._trials,
            reception=Reception(authenticator, recorder.refusals, settings.endpoint),
            forms=forms,
            templates=TEMPLATES,
        )
        error_page = ErrorPage(TEMPLATES, forms)
        people = wing(
            unit=partial(PageUnit, of_pages),
            schemes=(NodeAlone(),),
            error_forms=(error_page,),
        )
        over_http = application(
            [*health, *programs.routes(api.SERVED_REST), *people.routes(pages.SERVED_REST)],
            page=error_page.unserved,
        )
        return Site(over_http, settings.service, error_page.turned_away)

    async def start(self) -> None:
        """Begin; what a crash left of files that were judged is removed."""
        await asyncio.to_thread(_empty, self.parts)
        await self.recorder.started()
        await self._forwarder.start()

    async def stop(self) -> None:
        """End; events that were not sent wait on disk for the next start."""
        await self._trials.stop()
        await self.recorder.stopped()
        await self._forwarder.stop()
        await self.recorder.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self.recorder.refusals.node(address, reason)


def _empty(parts: Parts) -> None:
    shutil.rmtree(parts.uploads, ignore_errors=True)
    parts.uploads.mkdir(parents=True)


async def build(settings: ConformanceSettings) -> Conformance:
    """Put the service together; nothing listens yet.

    Raises
    ------
    SettingsError, AuditUnavailable
        The service cannot begin; the text says what to do.
    """
    return Conformance(settings, AuditRecorder(settings, settings.service))

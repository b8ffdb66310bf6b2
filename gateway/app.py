"""The gateway as a service: its parts, put together, and its routes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from gateway.domain.links import LinksError
from gateway.settings import GatewaySettings
from gateway.store.patient_links import PatientLinks
from gateway.transactions import INITIATING, RESPONDING
from gateway.unit import Parts, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder
from shared.errors import Actor
from shared.http.application import application
from shared.http.health import Check, NotReady, health_routes
from shared.http.raw_asgi import raw_first
from shared.security.authenticator import Authenticator
from shared.soap.pipeline import SoapService
from shared.soap.served import Served
from shared.telemetry.metrics import Metrics

INITIATING_PATH = "/xca/initiating"
RESPONDING_PATH = "/xca/responding"


class Gateway:
    """A running gateway: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._forwarder = Forwarder(parts.settings, parts.recorder)
        self._authenticator = Authenticator(parts.settings, passes_on=True)
        self._metrics = Metrics("gateway")
        self._metrics.gauge("relays", "Retrievals that are being relayed", lambda: parts.relays.taken)
        initiating = self._soap(INITIATING, "initiating_gateway")
        responding = self._soap(RESPONDING, "responding_gateway")
        checks: dict[str, Check] = {
            "audit": parts.recorder.check,
            "patient links": partial(_readable, parts.links),
        }
        health = health_routes(checks, self._metrics, trail=self._forwarder, tls=parts.settings.tls)
        app = application(health)
        self.asgi = raw_first(
            INITIATING_PATH, initiating.asgi, raw_first(RESPONDING_PATH, responding.asgi, app)
        )

    def _soap(self, served: Sequence[Served[Any, Any]], description: str) -> SoapService:
        parts = self._parts
        return SoapService(
            served,
            unit=partial(Unit, self._parts),
            authenticator=self._authenticator,
            recorder=parts.recorder,
            settings=parts.settings,
            actor=Actor.REPOSITORY,
            spool_folder=parts.spool_folder,
            metrics=self._metrics,
            description=description,
        )

    async def start(self) -> None:
        """Begin the work beside the requests."""
        await self._parts.links.current()
        recorder = self._parts.recorder
        await recorder.started()
        await self._forwarder.start()

    async def stop(self) -> None:
        """End it; events that were not sent wait on disk for the next start."""
        recorder = self._parts.recorder
        await recorder.stopped()
        await self._forwarder.stop()
        await self._parts.queries.aclose()
        await self._parts.retrievals.aclose()
        await recorder.close()

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self._parts.recorder.refusals.node(address, reason)


async def _readable(links: PatientLinks) -> None:
    try:
        await links.check()
    except LinksError as error:
        # Its text may tell of a line, and so of a patient.
        raise NotReady(
            "the file of patient links cannot be read as it is now, and those of before hold; correct it "
            "(XDSI_PATIENT_LINKS), the log tells the line"
        ) from error


async def build(settings: GatewaySettings) -> Gateway:
    """Put the gateway together; nothing listens yet.

    Raises
    ------
    SettingsError, AuditUnavailable
        The service cannot begin; the text says what to do.
    """
    return Gateway(Parts.of(settings, AuditRecorder(settings, settings.service)))

"""What is served over REST, as an application of its own in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
from starlette.applications import Starlette

from shared.http.application import application
from shared.perform import EventRecorder, UnitFactory
from shared.rest.error_form import ProblemDetails
from shared.rest.fhir import OperationOutcome
from shared.rest.served import ServedRest
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.settings import ServiceSettings
from shared.telemetry.metrics import Metrics


def rest_app(
    served: Sequence[ServedRest[Any, Any]],
    *,
    unit: UnitFactory,
    recorder: EventRecorder,
    settings: ServiceSettings,
    authenticator: Authenticator | None = None,
) -> Starlette:
    """The application of a service with these transactions alone."""
    service = RestService(
        unit=unit,
        authenticator=authenticator or Authenticator(settings),
        recorder=recorder,
        settings=settings,
        metrics=Metrics("tests"),
        error_forms=(ProblemDetails(), OperationOutcome()),
    )
    return application(service.routes(served))


def client_of(app: Starlette, url: str, *, address: str = "127.0.0.1") -> httpx2.AsyncClient:
    """A client at `address`, to which the application is at `url`."""
    transport = httpx2.ASGITransport(app, client=(address, 1))
    return httpx2.AsyncClient(transport=transport, base_url=url, trust_env=False)

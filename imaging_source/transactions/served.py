"""What is served by DIMSE, beside what SOAP and REST have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from imaging_source.settings.entities import DimseService
from imaging_source.unit import Unit
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.security.caller import Caller

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDimse(Generic[Request, Response]):
    """Expected actions by DIMSE; `shared.perform` does and records them.

    `services` are the rights by which they are asked for. The association, its answers and sub-operations are
    `imaging_source.dimse`'s.
    """

    event_type: Coded
    services: tuple[DimseService, ...]
    handle: Callable[[Unit, Request], Awaitable[Response]]
    audit: Callable[[Any, Any, Caller, Outcome], tuple[AuditEvent, ...]]

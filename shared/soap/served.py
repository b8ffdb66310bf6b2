"""What a service serves: a transaction, how it is performed and how it is audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shared.audit.events import AuditEvent, Outcome
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.soap.transaction import SoapTransaction

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Served(Generic[Request, Response]):
    """One transaction of a service (docs/adding-a-soap-transaction.md).

    `audit(request, response, caller, outcome)` describes and neither sends nor decides. It is called for
    failures too, then with `response` None when none was made, and may return several events: one patient and
    one outcome each.
    """

    transaction: SoapTransaction[Request, Response]
    handle: Callable[[Any, Request], Awaitable[Response]]
    audit: Callable[[Request, Response | None, Caller, Outcome], tuple[AuditEvent, ...]]
    speaker: Speaker = Speaker.USER

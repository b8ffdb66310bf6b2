"""The pages about policies: for whom they are, whose policies a link leads to, what of a look is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar

from audit_repository.pages.page import PageUnit
from audit_repository.pages.patient import HandleKind
from audit_repository.transactions.policies import check_privacy_officer
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.patterns import Side
from shared.http.problem import NotFound
from shared.pages.handles import UnknownHandle
from shared.pages.page import Page, encode_page, page_served
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

Request = TypeVar("Request")
Answer = TypeVar("Answer")

POLICIES: Final = Coded("consent-policies", "xdsi", "Consent policies")
PROBLEMS: Final = {UnknownHandle: lambda _: NotFound("this link is not yours, or too old; search again")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPage:
    """A page, and whose policies it shows: a CX, or nobody's."""

    page: Page
    patient_id: str = ""


def for_privacy_officers(
    handle: Callable[[PageUnit, Request], Awaitable[Answer]],
) -> Callable[[PageUnit, Request], Awaitable[Answer]]:
    """`handle`, for privacy officers alone: others learn nothing, not even whose a link is."""

    @wraps(handle)
    async def checked(unit: PageUnit, request: Request) -> Answer:
        check_privacy_officer(unit.caller, unit.parts.service.settings.privacy_officer_roles)
        return await handle(unit, request)

    return checked


def patient_behind(unit: PageUnit, handle: str) -> str:
    """Whose policies a link leads to, a CX; raises `UnknownHandle`."""
    (patient_id,) = unit.parts.service.handles.open(HandleKind.PATIENT, unit.visitor.holder, handle)
    return patient_id


def audit_look(_: Any, answer: object, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a look at policies, or that somebody was not let."""
    patient_id = answer.patient_id if isinstance(answer, PolicyPage) else ""
    return (patterns.search(POLICIES, Side.SERVER, caller, outcome, patient_id=patient_id),)


def _encode(shown: PolicyPage) -> HttpResponse:
    return encode_page(shown.page)


def look_served(
    *,
    name: str,
    route: str,
    decode: Callable[[HttpRequest], Awaitable[Any]],
    handle: Callable[[PageUnit, Any], Awaitable[PolicyPage]],
) -> ServedRest[Any, Any]:
    """A transaction by which a privacy officer is shown policies or what they would mean; it is recorded."""
    return page_served(
        name=name,
        routes=(route,),
        right=Right.TRAIL,
        decode=decode,
        handle=for_privacy_officers(handle),
        audit=audit_look,
        event=POLICIES,
        encode=_encode,
        problems=PROBLEMS,
    )

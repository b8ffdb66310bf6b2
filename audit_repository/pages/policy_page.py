"""The pages about policies: for whom they are, whose policies a link leads to, what of a look is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from audit_repository.pages.page import PageUnit, for_privacy_officers
from audit_repository.pages.patient import HandleKind
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.patterns import Side
from shared.http.problem import NotFound
from shared.pages.handles import UnknownHandle
from shared.pages.page import PatientPage, encode_patient_page, page_served
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

POLICIES: Final = Coded("consent-policies", "xdsi", "Consent policies")
PROBLEMS: Final = {UnknownHandle: lambda _: NotFound("this link is not yours, or too old; search again")}


def patient_behind(unit: PageUnit, handle: str) -> str:
    """Whose policies a link leads to, a CX; raises `UnknownHandle`."""
    (patient_id,) = unit.parts.service.handles.open(HandleKind.PATIENT, unit.visitor.holder, handle)
    return patient_id


def audit_look(_: Any, answer: object, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a look at policies, or that somebody was not let."""
    patient_id = answer.patient_id if isinstance(answer, PatientPage) else ""
    return (patterns.search(POLICIES, Side.SERVER, caller, outcome, patient_id=patient_id),)


def look_served(
    *,
    name: str,
    route: str,
    decode: Callable[[HttpRequest], Awaitable[Any]],
    handle: Callable[[PageUnit, Any], Awaitable[PatientPage]],
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
        encode=encode_patient_page,
        problems=PROBLEMS,
    )

"""The pages for operators: who may open them, what they work with, and what of it is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from imaging_source.domain.load import AnswerHistory
from imaging_source.pages.examinations import Examinations
from imaging_source.store.publications import PublicationState
from imaging_source.unit import Parts, Unit
from shared.audit import patterns
from shared.audit.events import USE_OF_RESTRICTED_FUNCTION, AuditEvent, Coded, Outcome
from shared.audit.patterns import Side
from shared.pages import page as of_every_service
from shared.pages.browser import Browser, decode_browser
from shared.pages.following import Progress, encode_progress
from shared.pages.forms import SentForm, of_our_pages
from shared.pages.link import LinkFields
from shared.pages.page import PatientPage, encode_patient_page, see
from shared.pages.roles import ForRoles
from shared.pages.template import Templates
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts(of_every_service.SignInParts):
    """What the pages of the imaging source are made of; `troubles` tells for what it is not ready."""

    service: Parts
    wake: Callable[[], None]
    troubles: Callable[[], Sequence[str]]
    answers: AnswerHistory
    examinations: Examinations


class PageUnit(of_every_service.PageUnit[PageParts]):
    """What one request for a page works with."""

    @property
    def source(self) -> Unit:
        """The use of the source that the page is."""
        return Unit(self.parts.service, self.caller, self.parts.wake)


for_operators: Final = ForRoles(
    "these pages are for operators",
    "XDSI_IMAGING_SOURCE__OPERATOR_ROLES",
    lambda settings: settings.operator_roles,
)


# --- looks --------------------------------------------------------------------------------------------


def look_served(
    *,
    name: str,
    route: str,
    handle: Callable[[PageUnit, Any], Awaitable[PatientPage]],
    decode: Callable[[HttpRequest], Awaitable[Any]] = decode_browser,
) -> ServedRest[Any, Any]:
    """A transaction by which an operator is shown a page, which is recorded."""
    transaction = Coded(name.lower().replace(" ", "-"), "xdsi", name)

    def audit(
        request: Any, answer: PatientPage | None, caller: Caller, outcome: Outcome
    ) -> tuple[AuditEvent, ...]:
        return (
            patterns.search(
                transaction,
                Side.SERVER,
                caller,
                outcome,
                patient_id=answer.patient_id if answer else "",
                query_id=getattr(request, "handle", ""),
            ),
        )

    return of_every_service.page_served(
        name=name,
        routes=(route,),
        right=Right.UPDATE,
        decode=decode,
        handle=for_operators(handle),
        audit=audit,
        event=transaction,
        encode=encode_patient_page,
    )


def progress_served(
    *, name: str, route: str, handle: Callable[[PageUnit, Browser], Awaitable[Progress]]
) -> ServedRest[Any, Any]:
    """A transaction by which a page follows what an operator began, which tells of nobody: it is not
    recorded each second."""
    return of_every_service.page_served(
        name=name,
        routes=(route,),
        right=Right.UPDATE,
        decode=decode_browser,
        handle=for_operators(handle),
        encode=encode_progress,
    )


# --- acts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What was done, to whose data, and which page shows what came of it."""

    path: str
    patient_id: str = ""


def act_served(
    *,
    name: str,
    route: str,
    change: str,
    decode: Callable[[HttpRequest], Awaitable[SentForm[Any]]],
    handle: Callable[[PageUnit, SentForm[Any]], Awaitable[Act]],
    **further: Any,
) -> ServedRest[Any, Any]:
    """A transaction by which an operator has the source do something; `change` says in the trail what."""

    def audit(
        form: SentForm[Any], act: Act | None, caller: Caller, outcome: Outcome
    ) -> tuple[AuditEvent, ...]:
        fields = form.fields
        return (
            patterns.service_operated(
                caller,
                outcome,
                object_id=(fields.handle if isinstance(fields, LinkFields) else "") or name,
                patient_id=act.patient_id if act else "",
                change=change,
            ),
        )

    return of_every_service.page_served(
        name=name,
        routes=(route,),
        right=Right.UPDATE,
        decode=decode,
        handle=for_operators(of_our_pages(handle)),
        audit=audit,
        event=USE_OF_RESTRICTED_FUNCTION,
        encode=_encode_act,
        **further,
    )


def _encode_act(act: Act) -> HttpResponse:
    return see(act.path)


# --- words --------------------------------------------------------------------------------------------

#: What a state is called by those who run an archive.
STATES: Final = {
    PublicationState.WAITING: "waiting",
    PublicationState.PUBLISHED: "published",
    PublicationState.REPLACED: "replaced by a newer one",
    PublicationState.WITHDRAWN: "withdrawn",
    PublicationState.REFUSED: "refused",
    PublicationState.SUPERSEDED: "overtaken",
    PublicationState.ABANDONED: "given up",
}
_UNITS: Final = ("B", "KB", "MB", "GB", "TB", "PB")


def in_bytes(number: float) -> str:
    """A number of bytes as people read it."""
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if unit == 0 or number >= 100 else f"{number:.1f} {_UNITS[unit]}"


def _moment(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}"


TEMPLATES: Final = Templates(
    "imaging_source.pages",
    brand="Imaging source",
    purpose="These pages are for the people who run this imaging source.",
    filters={
        "bytes": in_bytes,
        "moment": _moment,
        "state": lambda state: STATES[PublicationState(state)],
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}",
        "id_part": lambda cx: str(cx).partition("^")[0],
    },
)


async def shown(unit: PageUnit, template: str, browser: Browser, **values: Any) -> PatientPage:
    """A page on which nobody's data stand."""
    return PatientPage(page=await unit.page(template, browser, **values))

"""A patient's own log: who used the data of that patient, from where, when and what for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit_repository.domain.accesses import Access, Manner
from audit_repository.pages.page import PageUnit, days_of, page_served
from audit_repository.pages.patient import accesses_of
from audit_repository.transactions.log_use import own_patients
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, EMERGENCY_OVERRIDE_STOPPED
from shared.pages.browser import Browser
from shared.pages.page import Page
from shared.rest.message import HttpRequest
from shared.security.rights import Right

_LIST, _DOCUMENT, _NAME, _LOG = "the list of documents", "a document", "name and identifiers", "this log"
#: What was used, in a patient's words, by the code of the transaction or the event; of others its own words.
_CATEGORIES: Final = {
    "RAD": "images",
    **dict.fromkeys(("ITI-18", "ITI-38"), _LIST),
    **dict.fromkeys(("ITI-39", "ITI-41", "ITI-42", "ITI-43"), _DOCUMENT),
    **dict.fromkeys(("ITI-8", "ITI-9", "ITI-30", "ITI-44", "ITI-45", "ITI-47", "ITI-55", "ITI-83"), _NAME),
    **dict.fromkeys(("ITI-81", "ITI-82"), _LOG),
    EMERGENCY_OVERRIDE_STARTED.code: "access in an emergency, begun",
    EMERGENCY_OVERRIDE_STOPPED.code: "access in an emergency, reviewed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLook:
    """Of which time."""

    browser: Browser
    days: int


async def decode(request: HttpRequest) -> OwnLook:
    """What the address says."""
    return OwnLook(browser=Browser.of(request), days=days_of(request))


async def own(unit: PageUnit, look: OwnLook) -> Page:
    """Show the patient who asks who used the data of that patient."""
    ids = own_patients(unit.caller, unit.parts.service.settings.patient_roles)
    trail = await unit.recorded_look(b"own")
    entries = [one for identifier in ids for one in await accesses_of(trail, identifier, look.days)]
    shown = [(one, _category(one)) for one in entries if one.manner is not Manner.DOUBTFUL]
    return await unit.page("own.html", look.browser, accesses=shown, look=look)


def _category(access: Access) -> str:
    code = access.transaction
    words = access.named.removeprefix(code).strip() or access.named
    return _CATEGORIES.get(code) or _CATEGORIES.get(code.partition("-")[0]) or words


SERVED = page_served(name="Own data", routes=("GET /own",), right=Right.ASK, decode=decode, handle=own)

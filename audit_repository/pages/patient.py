"""Who used the data of a patient, as a page, to be printed, and as CSV.

The address holds the patient as an opaque handle, so that neither a history nor a log holds an id.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO

from audit_repository.domain.accesses import Access, Manner, accesses
from audit_repository.domain.record import RecordState, instant, patient_term, term
from audit_repository.domain.spreadsheet import write_csv
from audit_repository.pages.page import PageUnit, days_of, page_served, since_days
from audit_repository.store.events import Search
from audit_repository.transactions.trail import show
from audit_repository.unit import Unit
from shared.http.problem import BadRequest, NotFound
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.handles import UnknownHandle
from shared.pages.page import Page, see
from shared.rest.message import HttpRequest, HttpResponse

MOST_RECORDS = 5_000
_COLUMNS = (
    "time", "who", "roles", "purposes", "manner", "what", "description", "patients", "studies", "reported_by",
)  # fmt: skip


class HandleKind(StrEnum):
    """What the handles of the audit repository lead to."""

    PATIENT = "patient"


class PatientForm(FormFields):
    """Whose data."""

    patient: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientLook:
    """Which patient is looked at, behind a handle, and what of it."""

    browser: Browser
    handle: str
    days: int
    manner: str


async def decode_look(request: HttpRequest) -> PatientLook:
    """What the address says."""
    manner = request.query.get("manner", [""])[0]
    return PatientLook(
        browser=Browser.of(request),
        handle=request.parameters["handle"],
        days=days_of(request),
        manner=manner if manner in Manner.__members__.values() else "",
    )


@of_our_pages
async def search(unit: PageUnit, form: SentForm[PatientForm]) -> str:
    """Take the form, and lead to what happened with the data of the patient."""
    identifier = form.fields.patient.strip()
    if not identifier or len(identifier) > 256:
        raise BadRequest("write the id of a patient, for example P-1001")
    if "^" not in identifier:
        identifier = f"{identifier}^^^&{unit.parts.service.settings.affinity_domain}&ISO"
    handle = unit.parts.service.handles.seal(HandleKind.PATIENT, unit.visitor.holder, identifier)
    return f"/patients/{handle}"


async def patient(unit: PageUnit, look: PatientLook) -> Page:
    """Show who saw, searched for, changed or tried to see the data of a patient."""
    identifier, entries = await _looked_at(unit, look)
    return await unit.page(
        "patient.html",
        look.browser,
        patient=identifier,
        accesses=entries,
        look=look,
        manners=list(Manner),
        most=MOST_RECORDS,
        officer=unit.is_privacy_officer,
    )


async def accounting(unit: PageUnit, look: PatientLook) -> str:
    """Give the same as CSV, for spreadsheets."""
    _, entries = await _looked_at(unit, look)
    file = StringIO()
    write_csv(file, _COLUMNS, map(_row, entries))
    return file.getvalue()


async def _looked_at(unit: PageUnit, look: PatientLook) -> tuple[str, list[Access]]:
    (identifier,) = unit.parts.service.handles.open(HandleKind.PATIENT, unit.visitor.holder, look.handle)
    trail = await unit.audited_look(f"patient={identifier}&days={look.days}".encode())
    entries = await accesses_of(trail, identifier, look.days)
    return identifier, [one for one in entries if look.manner in ("", one.manner)]


async def accesses_of(trail: Unit, identifier: str, days: int) -> list[Access]:
    """What happened with the data of a patient, the latest first."""
    records = await trail.parts.trail.search(
        Search(patient=term(patient_term(identifier)), since=instant(since_days(days)), limit=MOST_RECORDS)
    )
    readable = [one for one in records if one.record.state is RecordState.PARSED]
    entries = await asyncio.to_thread(lambda: accesses(map(show, readable)))
    return entries[::-1]


def _row(access: Access) -> dict[str, object]:
    return {
        "time": access.time.isoformat(),
        "who": access.who,
        "roles": access.roles,
        "purposes": access.purposes,
        "manner": access.manner.value,
        "what": access.named,
        "description": access.description,
        "patients": access.patients,
        "studies": access.studies,
        "reported_by": access.reported_by,
    }


def encode_csv(text: str) -> HttpResponse:
    """A file to keep."""
    return HttpResponse(
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="accesses.csv"'},
        pieces=(text.encode(),),
    )


SERVED = (
    page_served(
        name="Patient", routes=("POST /patients",), decode=FormBody(PatientForm), handle=search, encode=see
    ),
    page_served(
        name="Accesses of a patient",
        routes=("GET /patients/{handle}",),
        decode=decode_look,
        handle=patient,
        problems={UnknownHandle: lambda _: NotFound("this link is not yours, or too old; search again")},
    ),
    page_served(
        name="Accesses of a patient as CSV",
        routes=("GET /patients/{handle}/accesses.csv",),
        decode=decode_look,
        handle=accounting,
        encode=encode_csv,
        problems={UnknownHandle: lambda _: NotFound("this link is not yours, or too old; search again")},
    ),
)

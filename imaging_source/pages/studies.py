"""Studies for which a person has to decide: their manifest is no longer true, or images of them are set
aside."""

from __future__ import annotations

from typing import Final

from imaging_source.pages.page import Act, PageUnit, act_served, look_served, shown
from imaging_source.store.drift import find_open, find_reports
from imaging_source.store.publications import find_publications
from imaging_source.store.set_aside import find_set_aside
from imaging_source.transactions import publications
from shared.dicom.uids import is_uid
from shared.http.problem import NotFound
from shared.pages.browser import Browser
from shared.pages.forms import SentForm
from shared.pages.link import LinkFields, LinkForm
from shared.pages.page import PatientPage

MOST: Final = 100


async def drift(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show whose manifest is no longer true, and why."""
    database = unit.parts.service.database
    studies = await find_open(database, limit=MOST)
    reports = await find_reports(database, studies)
    drifted = [
        (published[0], reports[study])
        for study in studies
        if study in reports
        and (published := await find_publications(database, study_instance_uid=study, limit=1))
    ]
    return await shown(unit, "drift.html", browser, drifted=drifted, most=MOST)


async def aside(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show what is set aside, by study."""
    instances = await find_set_aside(unit.parts.service.database, limit=MOST)
    return await shown(unit, "set_aside.html", browser, aside=instances, most=MOST)


async def accept(unit: PageUnit, form: SentForm[LinkFields]) -> Act:
    """Take an instance that is set aside."""
    uid = form.fields.handle
    if not is_uid(uid):
        raise NotFound("there is nothing set aside under this UID; open the list again")
    await publications.accept(unit.source, publications.AcceptRequest(sop_instance_uid=uid))
    return Act(path="/set-aside")


SERVED = (
    look_served(name="Drift", route="GET /drift", handle=drift),
    look_served(name="Set-aside list", route="GET /set-aside", handle=aside),
    act_served(
        name="Accept instance",
        route="POST /set-aside/{handle}/accept",
        change="instance that was set aside accepted",
        decode=LinkForm(LinkFields),
        handle=accept,
    ),
)

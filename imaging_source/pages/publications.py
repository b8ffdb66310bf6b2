"""Publications: which there are, why one is stuck, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from imaging_source.pages.page import STATES, Act, PageUnit, act_served, look_served, shown
from imaging_source.store.drift import find_reports
from imaging_source.store.publications import (
    PublicationState,
    PublicationStatus,
    find_last_publications,
    find_publication,
    find_publications,
)
from imaging_source.transactions import publications, unpublished
from imaging_source.transactions.explanation import explanation
from shared.dicom.uids import is_uid
from shared.ebrim.identifiers import CX
from shared.http.problem import NotFound
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm
from shared.pages.link import LinkFields, LinkForm, PageLink, decode_link
from shared.pages.page import PatientPage, WrongForm
from shared.rest.message import HttpRequest

#: Publications on one page.
MOST: Final = 100
_LONGEST: Final = 256
_RETRIED: Final = (
    PublicationState.WAITING,
    PublicationState.ABANDONED,
    PublicationState.REFUSED,
    PublicationState.WITHDRAWN,
)
_WITHDRAWN: Final = (PublicationState.WAITING, PublicationState.ABANDONED, PublicationState.PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLook:
    """Studies whose last publication is in this state; empty for all."""

    browser: Browser
    state: str


class StudyFields(FormFields):
    """Which study is looked for."""

    study: str = ""


class WithdrawFields(LinkFields):
    """Which publication's study is withdrawn, and whether that is meant."""

    sure: str = ""


class PatientFields(LinkFields):
    """For which patient a study is published, as the hospital writes the id."""

    patient: str = ""


async def decode_list(request: HttpRequest) -> ListLook:
    """What the address says; a state that there is not is every state."""
    state = request.query.get("state", [""])[0]
    return ListLook(browser=Browser.of(request), state=state if state in set(PublicationState) else "")


# --- looks --------------------------------------------------------------------------------------------


async def listed(unit: PageUnit, look: ListLook) -> PatientPage:
    """Show the last publication of each study, the newest first."""
    return await shown(unit, "publications.html", look.browser, **await _list(unit, look.state))


async def _list(unit: PageUnit, state: str, *, study: str = "") -> dict[str, Any]:
    states = (PublicationState(state),) if state else tuple(PublicationState)
    last = await find_last_publications(unit.parts.service.database, states=states, limit=MOST)
    return {
        # A list names no patient, so that to look at it is to look at nobody.
        "publications": [(one, explanation(one).replace(one.patient_id, "that it is for")) for one in last],
        "state": state,
        "states": STATES,
        "most": MOST,
        "study": study,
        "reason": "",
    }


async def one(unit: PageUnit, link: PageLink) -> PatientPage:
    """Show one publication."""
    status = await _status(unit, link.handle)
    values = await _values(unit, status)
    page = await unit.page("publication.html", link.browser, **values)
    return PatientPage(page=page, patient_id=status.patient_id)


async def _status(unit: PageUnit, publication_id: str) -> PublicationStatus:
    status = await find_publication(unit.parts.service.database, publication_id)
    if status is None:
        raise NotFound("there is no publication of this number; open the list again")
    return status


async def _values(unit: PageUnit, status: PublicationStatus) -> dict[str, Any]:
    database, study = unit.parts.service.database, status.study_instance_uid
    reports = await find_reports(database, [study])
    history = await find_publications(database, study_instance_uid=study, limit=20)
    last = next((each for each in history if each.state is not PublicationState.SUPERSEDED), status)
    is_last = last.publication_id == status.publication_id
    return {
        "publication": status,
        "explanation": explanation(status).replace(status.patient_id, status.patient_id.partition("^")[0]),
        "drift": reports.get(study),
        "history": history,
        "is_last": is_last,
        "last": last,
        "may_retry": is_last and status.state in _RETRIED,
        "may_withdraw": is_last and status.state in _WITHDRAWN,
        "reason": "",
        "wrong": "",
        "patient": "",
    }


# --- acts ---------------------------------------------------------------------------------------------


async def find(unit: PageUnit, form: SentForm[StudyFields]) -> Act:
    """Lead to the last publication of a study."""
    study = form.fields.study.strip()[:_LONGEST]
    if not is_uid(study):
        await _not_found(
            unit, study, "that is no Study Instance UID; it is digits and dots, as 1.2.840.113619.2"
        )
    latest = await find_publications(unit.parts.service.database, study_instance_uid=study, limit=1)
    if not latest:
        why = await unpublished.reason(unit.parts.service, study)
        await _not_found(unit, study, f"nothing of this study was published from here: {why}")
    return Act(path=f"/publications/{latest[0].publication_id}", patient_id=latest[0].patient_id)


async def _not_found(unit: PageUnit, study: str, reason: str) -> None:
    raise WrongForm(reason, "publications.html", await _list(unit, "", study=study))


async def retry(unit: PageUnit, form: SentForm[LinkFields]) -> Act:
    """Send it again, or publish its study anew."""
    status = await _status(unit, form.fields.handle)
    request = publications.RetryRequest(publication_id=status.publication_id)
    again = await publications.retry(unit.source, request)
    return Act(path=f"/publications/{again['publication_id']}", patient_id=status.patient_id)


async def withdraw(unit: PageUnit, form: SentForm[WithdrawFields]) -> Act:
    """Take the manifest of its study out of the registry."""
    status = await _status(unit, form.fields.handle)
    if not form.fields.sure:
        values = await _values(unit, status) | {"wrong": "withdraw"}
        raise WrongForm("tick that you are sure, then withdraw", "publication.html", values)
    request = publications.WithdrawRequest(study_instance_uid=status.study_instance_uid)
    await publications.withdraw(unit.source, request)
    return Act(path=f"/publications/{status.publication_id}", patient_id=status.patient_id)


async def publish_for(unit: PageUnit, form: SentForm[PatientFields]) -> Act:
    """Publish its study for the patient who is named."""
    status = await _status(unit, form.fields.handle)
    patient = form.fields.patient.strip()[:_LONGEST]
    try:
        patient_id = str(CX.written(patient, unit.parts.service.settings.affinity_domain))
    except ValueError:
        values = await _values(unit, status) | {"wrong": "patient", "patient": patient}
        raise WrongForm(
            "that is no patient id; write the id alone, as P-1001, or whole, as P-1001^^^&OID&ISO",
            "publication.html",
            values,
        ) from None
    request = publications.PublishRequest(study_instance_uid=status.study_instance_uid, patient_id=patient_id)
    answer = await publications.publish(unit.source, request)
    return Act(path=f"/publications/{answer['publication_id']}", patient_id=patient_id)


SERVED = (
    look_served(name="Publication list", route="GET /publications", decode=decode_list, handle=listed),
    act_served(
        name="Find publication",
        route="POST /publications",
        change="publication looked for by its study",
        decode=FormBody(StudyFields),
        handle=find,
    ),
    look_served(name="Publication", route="GET /publications/{handle}", decode=decode_link, handle=one),
    act_served(
        name="Send publication again",
        route="POST /publications/{handle}/retry",
        change="publication sent again",
        decode=LinkForm(LinkFields),
        handle=retry,
        problems=publications.PUBLISHING,
    ),
    act_served(
        name="Withdraw manifest",
        route="POST /publications/{handle}/withdraw",
        change="manifest withdrawn",
        decode=LinkForm(WithdrawFields),
        handle=withdraw,
        problems=publications.PUBLISHING,
    ),
    act_served(
        name="Publish for patient",
        route="POST /publications/{handle}/patient",
        change="study published for a patient",
        decode=LinkForm(PatientFields),
        handle=publish_for,
        problems=publications.PUBLISHING,
    ),
)

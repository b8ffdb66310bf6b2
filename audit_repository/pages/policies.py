"""Who may see what of a patient, and why: as plain sentences, for privacy officers.

The address holds the patient as an opaque handle, as in the pages of the trail.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import field_validator

from audit_repository.pages.page import PageUnit, for_privacy_officers
from audit_repository.pages.patient import HandleKind, PatientForm
from audit_repository.pages.policy_page import POLICIES, PROBLEMS, audit_look, look_served, patient_behind
from audit_repository.transactions.policies import answered, policies_of
from shared.consent.policy import Policy
from shared.consent.sentence import sentence
from shared.ebrim.identifiers import CX
from shared.http.problem import Unprocessable
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import FormBody, SentForm, of_our_pages
from shared.pages.link import LinkFields, LinkForm, PageLink, decode_link
from shared.pages.page import PatientPage, WrongForm, page_served, see
from shared.rest.served import ServedRest
from shared.security.rights import Right

_LONGEST = 256
_NOTHING_ASKED = {
    **dict.fromkeys(("user", "role", "organization", "home_community", "purpose", "document"), ""),
    "action": "retrieve",
}


class WhyForm(LinkFields):
    """Whether somebody may see something: who asks, for what, and for which document or study."""

    user: str = ""
    role: str = ""
    organization: str = ""
    home_community: str = ""
    purpose: str = ""
    document: str = ""
    action: str = "retrieve"

    @field_validator("*", mode="before")
    @classmethod
    def _cut(cls, value: Any) -> str:
        return str(value).strip()[:_LONGEST]

    @property
    def texts(self) -> dict[str, str]:
        """What stands in the form."""
        return {name: getattr(self, name) for name in _NOTHING_ASKED}


async def form(unit: PageUnit, browser: Browser) -> PatientPage:
    """Ask for a patient."""
    page = await unit.page("policies.html", browser, patient="", reason="")
    return PatientPage(page=page)


@for_privacy_officers
@of_our_pages
async def find(unit: PageUnit, sent_form: SentForm[PatientForm]) -> str:
    """Take the form, and lead to the policies of the patient."""
    patient = sent_form.fields.patient.strip()[:_LONGEST]
    try:
        patient_id = str(CX.written(patient, unit.parts.service.settings.affinity_domain))
    except ValueError:
        reason = "that is no patient id; write the id alone, as P-1001, or whole, as P-1001^^^&OID&ISO"
        raise WrongForm(reason, "policies.html", {"patient": patient}) from None
    handle = unit.parts.service.handles.seal(HandleKind.PATIENT, unit.visitor.holder, patient_id)
    return f"/policies/{handle}"


async def listed(unit: PageUnit, link: PageLink) -> PatientPage:
    """Show the policies of a patient."""
    patient_id = patient_behind(unit, link.handle)
    of_patient = await policies_of(unit.trail, patient_id)
    page = await unit.page(
        "policies_of_patient.html",
        link.browser,
        handle=link.handle,
        patient=of_patient.patient_id,
        policies=[(one, sentence(one)) for one in sorted(of_patient.policies, key=_latest_first)],
        now=datetime.now(UTC),
    )
    return PatientPage(page=page, patient_id=patient_id)


def _latest_first(policy: Policy) -> float:
    return -policy.created.timestamp()


async def why_form(unit: PageUnit, link: PageLink) -> PatientPage:
    """Ask who wants to see what."""
    patient_id = patient_behind(unit, link.handle)
    values = _why_values(link.handle, patient_id, _NOTHING_ASKED)
    return PatientPage(page=await unit.page("policy_why.html", link.browser, **values))


@of_our_pages
async def why(unit: PageUnit, sent_form: SentForm[WhyForm]) -> PatientPage:
    """Tell whether that is permitted, and which policy decides."""
    fields = sent_form.fields
    patient_id = patient_behind(unit, fields.handle)
    values = _why_values(fields.handle, patient_id, fields.texts)
    if wrong := _wrong_question(fields):
        raise WrongForm("who asks is not clear", "policy_why.html", values | {"wrong": wrong})
    question = {
        "patient_id": patient_id,
        "action": "query" if fields.action == "query" else "retrieve",
        "user_id": fields.user,
        "home_community": fields.home_community,
        **{
            name: [text] if text else []
            for name, text in (
                ("roles", fields.role),
                ("organizations", fields.organization),
                ("purposes", fields.purpose),
                ("documents", fields.document),
            )
        },
    }
    try:
        answer = await answered(unit.trail, "why", question)
    except Unprocessable as problem:
        raise WrongForm(problem.detail, "policy_why.html", values) from None
    page = await unit.page("policy_why.html", sent_form.browser, **values | {"answer": answer})
    return PatientPage(page=page, patient_id=patient_id)


def _wrong_question(fields: WhyForm) -> dict[str, str]:
    if fields.user and "@" not in fields.user:
        return {"user": "write login and issuer, as dr.roe@https://idp.example"}
    if any((fields.user, fields.role, fields.organization, fields.home_community, fields.purpose)):
        return {}
    return {"user": "say who asks: a person, or a role, an organization, a community or a purpose"}


def _why_values(handle: str, patient_id: str, texts: dict[str, str]) -> dict[str, Any]:
    return {
        "handle": handle,
        "patient": patient_id,
        "texts": texts,
        "answer": None,
        "reason": "",
        "wrong": {},
    }


SERVED: tuple[ServedRest[Any, Any], ...] = (
    look_served(name="Policies", route="GET /policies", decode=decode_browser, handle=form),
    page_served(
        name="Find policies",
        routes=("POST /policies",),
        right=Right.TRAIL,
        decode=FormBody(PatientForm),
        handle=find,
        audit=audit_look,
        event=POLICIES,
        encode=see,
        problems=PROBLEMS,
    ),
    look_served(
        name="Policies of a patient", route="GET /policies/{handle}", decode=decode_link, handle=listed
    ),
    look_served(name="Ask why", route="GET /policies/{handle}/why", decode=decode_link, handle=why_form),
    look_served(name="Explain", route="POST /policies/{handle}/why", decode=LinkForm(WhyForm), handle=why),
)

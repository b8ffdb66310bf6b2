"""Policies are written, changed and ended, each shown before: who would see what then, and sees it now.

A change ends the policy as it was and keeps it as it is to be, in one step of the registry, under one id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from audit_repository.domain.policy_draft import LISTS, PolicyDraft, drafted, field_of, policy_of, texts_of
from audit_repository.pages.page import PageUnit, for_privacy_officers
from audit_repository.pages.policy_page import PROBLEMS, look_served, patient_behind
from audit_repository.transactions.policies import answered, changed, policies_of
from shared.audit import patterns
from shared.audit.events import SECURITY_CONFIGURATION, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.policy import DISCLOSURES, Effect, Policy, encode_policy
from shared.consent.sentence import sentence
from shared.http.problem import Conflict, HttpProblem, NotFound, Unprocessable
from shared.pages.browser import Browser
from shared.pages.forms import SentForm, of_our_pages
from shared.pages.link import LinkFields, LinkForm, PageLink, decode_link
from shared.pages.page import PatientPage, WrongForm, page_served, see
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

_LONGEST: Final = 8 * 1024
_LONGEST_REASON: Final = 1_000
_TEXTS: Final = (
    *LISTS,
    "effect",
    "absolute",
    "valid_from",
    "valid_until",
    "description",
    "policy_id",
    "replaces",
)
#: What the preview calls a person by, in words.
_PERSON: Final = {
    "users": "the person",
    "roles": "the role",
    "organizations": "the organization",
    "home_communities": "the community",
    "purposes": "for the purpose",
}


class PolicyForm(LinkFields):
    """A policy, field by field; lists have one value in each line."""

    longest = _LONGEST

    effect: str = ""
    users: str = ""
    roles: str = ""
    organizations: str = ""
    home_communities: str = ""
    purposes: str = ""
    confidentiality: str = ""
    document_types: str = ""
    authors: str = ""
    documents: str = ""
    valid_from: str = ""
    valid_until: str = ""
    absolute: str = ""
    description: str = ""
    policy_id: str = ""
    # when the policy that is changed was written; empty for a new one
    replaces: str = ""
    reason: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """What stands in the form."""
        return {name: getattr(self, name) for name in _TEXTS}


class EndForm(LinkFields):
    """Which policy ends, and why."""

    longest = _LONGEST_REASON

    policy_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLook:
    """Which policy of a patient somebody is about to change or end."""

    browser: Browser
    handle: str
    policy_id: str


async def decode_policy_look(request: HttpRequest) -> PolicyLook:
    """What the address says."""
    policy_id = request.query.get("policy", [""])[0]
    return PolicyLook(
        browser=Browser.of(request), handle=request.parameters["handle"], policy_id=policy_id[:_LONGEST]
    )


# --- to write one -------------------------------------------------------------------------------------


async def form(unit: PageUnit, link: PageLink) -> PatientPage:
    """Give the form of a new policy."""
    values = _form_values(link.handle, patient_behind(unit, link.handle), dict.fromkeys(_TEXTS, ""))
    return PatientPage(page=await unit.page("policy.html", link.browser, **values))


async def change_form(unit: PageUnit, look: PolicyLook) -> PatientPage:
    """Give the form of a policy with what it says now."""
    patient_id = patient_behind(unit, look.handle)
    policy, _ = await _ended(unit, patient_id, look.policy_id)
    if policy.source:
        raise Conflict("it is from a consent document; register another in its place, or end that one")
    if policy.actions != DISCLOSURES:
        raise Conflict("it is about finding or opening alone, which these pages do not write; end it")
    texts = texts_of(policy) | {"replaces": encode_policy(policy)["created"]}
    values = _form_values(look.handle, patient_id, texts)
    return PatientPage(page=await unit.page("policy.html", look.browser, **values), patient_id=patient_id)


@of_our_pages
async def draft(unit: PageUnit, sent_form: SentForm[PolicyForm]) -> PatientPage:
    """Give the form again with what stood in it, to be changed."""
    fields = sent_form.fields
    values = _form_values(fields.handle, patient_behind(unit, fields.handle), fields.texts)
    return PatientPage(page=await unit.page("policy.html", sent_form.browser, **values))


@of_our_pages
async def preview(unit: PageUnit, sent_form: SentForm[PolicyForm]) -> PatientPage:
    """Show who would see what with the policy, before it is kept."""
    fields = sent_form.fields
    patient_id = patient_behind(unit, fields.handle)
    # Saved twice it is one: its id is chosen here.
    texts = fields.texts if fields.replaces else fields.texts | {"policy_id": uuid4().urn}
    values = await _previewed(unit, patient_id, _form_values(fields.handle, patient_id, texts))
    page = await unit.page("policy_preview.html", sent_form.browser, **values)
    return PatientPage(page=page, patient_id=patient_id)


async def _previewed(unit: PageUnit, patient_id: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the page shows before the policy of a form is kept; raises `WrongForm`."""
    policy_draft = _right(unit, patient_id, values)
    content = {"patient_id": patient_id, **policy_draft.content}
    if values["texts"]["replaces"]:
        content["without"] = policy_draft.content.get("policy_id", "")
    try:
        answer = await answered(unit.trail, "preview", content)
    except Unprocessable as problem:
        raise _wrong(problem, values) from None
    return {**values, "sentence": sentence(policy_of(policy_draft, patient_id)), "rows": _rows(answer)}


@for_privacy_officers
@of_our_pages
async def save(unit: PageUnit, sent_form: SentForm[PolicyForm]) -> str:
    """Keep the policy, and lead back to all of them."""
    fields = sent_form.fields
    patient_id = patient_behind(unit, fields.handle)
    values = _form_values(fields.handle, patient_id, fields.texts)
    policy_draft = _right(unit, patient_id, values)
    policy, reason = policy_of(policy_draft, patient_id), fields.reason.strip()[:_LONGEST_REASON]
    if fields.replaces and not reason:
        values = await _previewed(unit, patient_id, values)
        raise WrongForm("write why it changes; it goes into the trail", "policy_preview.html", values)
    why = {"replaces": fields.replaces, "reason": reason} if fields.replaces else {}
    try:
        await changed(
            unit.trail,
            "set",
            {"patient_id": patient_id, **policy_draft.content, **why},
            policy_id=policy.policy_id,
            change=f"changed: {policy}: {reason}" if fields.replaces else f"set: {policy}",
        )
    except (Unprocessable, NotFound, Conflict) as problem:
        raise _wrong(problem, values) from None
    unit.audited = True
    return f"/policies/{fields.handle}"


def _right(unit: PageUnit, patient_id: str, values: Mapping[str, Any]) -> PolicyDraft:
    """The policy that stands in the form; raises `WrongForm`."""
    policy_draft = drafted(values["texts"], patient_id, now=datetime.now(UTC))
    if policy_draft.wrong:
        reason = "it cannot be kept as it is; what is wrong stands beside the fields"
        raise WrongForm(reason, "policy.html", {**values, "wrong": policy_draft.wrong})
    return policy_draft


def _wrong(problem: HttpProblem, values: Mapping[str, Any]) -> WrongForm:
    """What the registry says is wrong, beside its field where it names one."""
    name, why = field_of(problem.detail)
    return WrongForm(why, "policy.html", {**values, "wrong": {name: why} if name else {}})


def _form_values(handle: str, patient_id: str, texts: Mapping[str, str]) -> dict[str, Any]:
    return {"handle": handle, "patient": patient_id, "texts": texts, "wrong": {}, "reason": ""}


def _rows(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A preview as its table shows it: those for whom something changes come first."""
    rows = [
        {
            "who": ", ".join(f"{_PERSON[name]} {value}" for name, value in row["person"].items())
            or "anybody else",
            "documents": row["documents"],
            "finds": row["find"],
            "opens": row["open"],
            "changes": any(row[what]["now"] != row[what]["then"] for what in ("find", "open")),
        }
        for row in answer["persons"]
    ]
    return sorted(rows, key=lambda row: not row["changes"])


# --- to end one ---------------------------------------------------------------------------------------


async def end_form(unit: PageUnit, look: PolicyLook) -> PatientPage:
    """Show what would be seen without a policy, and ask why it ends."""
    patient_id = patient_behind(unit, look.handle)
    values = await _end_values(unit, look.handle, patient_id, look.policy_id)
    page = await unit.page("policy_end.html", look.browser, **values)
    return PatientPage(page=page, patient_id=patient_id)


@for_privacy_officers
@of_our_pages
async def end(unit: PageUnit, sent_form: SentForm[EndForm]) -> str:
    """End a policy, or the consent that it is from, and lead back to those that are left."""
    fields = sent_form.fields
    patient_id = patient_behind(unit, fields.handle)
    reason = fields.reason.strip()
    if not reason:
        values = await _end_values(unit, fields.handle, patient_id, fields.policy_id)
        raise WrongForm("write why it ends; it goes into the trail", "policy_end.html", values)
    policy, _ = await _ended(unit, patient_id, fields.policy_id)
    action, name = ("withdraw", "source") if policy.source else ("remove", "policy_id")
    ended = policy.source or policy.policy_id
    await changed(
        unit.trail,
        action,
        {"patient_id": patient_id, name: ended, "reason": reason},
        policy_id=ended,
        change=f"{'withdrawn' if policy.source else 'removed'}: {reason}",
    )
    unit.audited = True
    return f"/policies/{fields.handle}"


async def _end_values(unit: PageUnit, handle: str, patient_id: str, policy_id: str) -> dict[str, Any]:
    policy, with_it = await _ended(unit, patient_id, policy_id)
    without = {"patient_id": patient_id, "without": policy.source or policy.policy_id}
    return {
        "handle": handle,
        "patient": patient_id,
        "policy": policy,
        "sentences": list(map(sentence, with_it)),
        "rows": _rows(await answered(unit.trail, "preview", without)),
        "reason": "",
    }


async def _ended(unit: PageUnit, patient_id: str, policy_id: str) -> tuple[Policy, list[Policy]]:
    """The policy of a patient that is meant, and all that would end with it."""
    policies = (await policies_of(unit.trail, patient_id)).policies
    policy = next((one for one in policies if one.policy_id == policy_id), None)
    if policy is None:
        raise NotFound("the patient has no such policy any more; open the list again")
    if policy.effect is Effect.BREAK:
        raise Conflict("an emergency ends with its review; open the list of emergencies")
    return policy, [one for one in policies if one is policy or (one.source and one.source == policy.source)]


# --- the trail ----------------------------------------------------------------------------------------


def audit_unset(
    form: SentForm[PolicyForm] | SentForm[EndForm], _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a change that was not made; one that was made is recorded with it."""
    change = "not ended" if isinstance(form.fields, EndForm) else "not set"
    return (
        patterns.consent_changed(
            Side.SERVER, caller, outcome, policy_id=form.fields.policy_id, patient_id="", change=change
        ),
    )


def _change_served(name: str, route: str, decode: Any, handle: Any) -> ServedRest[Any, Any]:
    return page_served(
        name=name,
        routes=(route,),
        right=Right.TRAIL,
        decode=decode,
        handle=handle,
        audit=audit_unset,
        event=SECURITY_CONFIGURATION,
        encode=see,
        problems=PROBLEMS,
    )


SERVED: tuple[ServedRest[Any, Any], ...] = (
    look_served(name="New policy", route="GET /policies/{handle}/new", decode=decode_link, handle=form),
    look_served(
        name="Change policy draft",
        route="POST /policies/{handle}/new",
        decode=LinkForm(PolicyForm),
        handle=draft,
    ),
    look_served(
        name="Policy to change",
        route="GET /policies/{handle}/change",
        decode=decode_policy_look,
        handle=change_form,
    ),
    look_served(
        name="Preview policy",
        route="POST /policies/{handle}/preview",
        decode=LinkForm(PolicyForm),
        handle=preview,
    ),
    _change_served("Save policy", "POST /policies/{handle}", LinkForm(PolicyForm), save),
    look_served(
        name="Policy to end", route="GET /policies/{handle}/end", decode=decode_policy_look, handle=end_form
    ),
    _change_served("End policy", "POST /policies/{handle}/end", LinkForm(EndForm), end),
)

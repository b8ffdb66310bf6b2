"""The consent policies of patients, for the services and operators of this community (JSON over HTTP).

POST /consent/policies   {"patient_id"}: the policies of a patient and the codes of the documents that were
                         updated, for services that decide themselves
POST /consent/set        a policy; `policy_id` replaces one of the same patient, without it a new one is made.
                         `replaces` is what that one's `created` must still be, `reason` is for the trail.
                         After a merge each id still decides by its own: the policy is that of the id named
POST /consent/remove     {"patient_id", "policy_id", "reason"}
POST /consent/why        {"patient_id", "action", "roles", "organizations", "purposes", "confidentiality"}:
                         what would be decided, by which policy, and why no other applied; of "documents" that
                         are registered their metadata say what is left out

Bodies must be sent as `application/json`, which a browser does not do across origins without asking first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.domain import patients as identities
from registry.domain.patients import Patient
from registry.domain.visibility import resource_of
from registry.store import consents, patients, updates
from registry.store.document_entries import find_entries
from registry.unit import Parts, Unit, with_particulars
from shared.audit import patterns
from shared.audit.events import SECURITY_CONFIGURATION, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.decision import Action, Resource
from shared.consent.evaluation import CLOSED_LIST, Explanation, explain
from shared.consent.policy import (
    Effect,
    PatientPolicies,
    Policy,
    PolicyError,
    encode_patient_policies,
    encode_policy,
    new_policy,
    read_policy,
)
from shared.consent.sentence import sentence
from shared.ebrim.model import Code
from shared.http.problem import BadRequest, Conflict, NotFound
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller, User
from shared.security.rights import Right
from shared.settings import PatientPolicy
from shared.store.engine import Reader, Transaction

Text = Field(min_length=1, max_length=1_000)
#: Why something ends, as the trail keeps it; empty where nobody says.
Reason = Field("", max_length=1_000)
_OF_METADATA = ("confidentiality", "class_code", "type_code", "authors")
IS_A_BREAK = "the policy_id is of a break, which stays until it is signed off (POST /consent/sign-off)"


class PoliciesRequest(BaseModel):
    """Whose policies; `patient_id` is a CX of the affinity domain."""

    patient_id: str


class PolicyRequest(PoliciesRequest):
    """A policy, by the names of `shared.consent.policy.Policy`; `policy_id` is the one it replaces, which
    must still be the one that was `created` then where `replaces` says so; and why, for the trail."""

    model_config = ConfigDict(extra="allow")

    policy_id: str = ""
    replaces: str = Field("", max_length=64)
    reason: str = Reason


class RemovalRequest(PoliciesRequest):
    """Which policy is removed, and why, for the trail."""

    policy_id: str = Text
    reason: str = Reason


class ExplanationRequest(PoliciesRequest):
    """What is asked about: codes are written `code^^scheme`, a user `user@issuer`; `documents` are uniqueIds,
    or Study Instance UIDs."""

    action: Literal["query", "retrieve"] = "query"
    roles: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    user_id: str = ""
    confidentiality: tuple[str, ...] = ()
    home_community: str = ""
    class_code: str = ""
    type_code: str = ""
    authors: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()

    def user(self) -> User | None:
        """The user who is described; nobody, when nothing is said of one."""
        if not (self.roles or self.purposes or self.organizations or self.user_id or self.home_community):
            return None
        name_id, _, issuer = self.user_id.rpartition("@")
        return User(
            name_id=name_id,
            issuer=issuer,
            assertion_id="",
            roles=_codes(self.roles),
            purposes=_codes(self.purposes),
            organization_ids=self.organizations,
            home_community_id=self.home_community,
        )


# --- the four -----------------------------------------------------------------------------------------


async def policies(unit: Unit, request: PoliciesRequest) -> bytes:
    """The policies of a patient, as services that decide themselves read them."""
    database = unit.parts.database
    patient = await patient_of(unit.parts, request)
    records, identities = await policies_of(database, patient)
    now = unit.parts.now()
    # A break that is over decides nothing; it waits for its review here alone.
    records = tuple(one for one in records if one.effect is not Effect.BREAK or one.in_force(now))
    updated = await updates.find_updated_documents(
        database, patient.survivor, particulars=any(one.is_of_single_documents for one in records)
    )
    return encode_patient_policies(PatientPolicies(patient.survivor, records, identities, updated))


async def set_policy(unit: Unit, request: PolicyRequest) -> dict[str, Any]:
    """Keep the policy; who wrote it and when is what we saw, whatever the body says."""
    parts = unit.parts
    patient = await known_patient(parts, request)
    caller = unit.caller
    author = caller.user.audit_name if caller.user else caller.node.subject or caller.node.address
    fields: dict[str, Any] = {
        "effect": None,
        **request.model_dump(exclude_unset=True, exclude={"replaces", "reason"}),
        "patient_id": patient.patient_id,
        "author": author,
        "created": parts.now(),
    }
    policy = new_policy(**fields)
    text = json.dumps(encode_policy(policy))

    async def done(transaction: Transaction) -> bool | None:
        return await consents.find_kept(transaction, policy.policy_id) == (patient.survivor, text) or None

    async def work(transaction: Transaction) -> bool:
        # The patient is held, so that a merge does not leave the policy behind.
        survivor = await patients.hold_patient(transaction, patient.survivor)
        if parts.settings.patients is PatientPolicy.KNOWN and (survivor is None or not survivor.active):
            raise Conflict("the patient was merged meanwhile; try again")
        policy_kept = await consents.find_kept(transaction, policy.policy_id)
        if policy_kept and policy_kept[0] != patient.survivor:
            raise Conflict(f"{policy.policy_id} is a policy of another patient")
        if request.replaces and (
            not policy_kept or json.loads(policy_kept[1])["created"] != request.replaces
        ):
            raise Conflict("the policy was changed or ended meanwhile; read it again")
        if policy_kept and read_policy(policy_kept[1]).patient_id != policy.patient_id:
            raise Conflict(f"{policy.policy_id} was given for another id of the patient; name that one")
        if policy_kept and read_policy(policy_kept[1]).effect is Effect.BREAK:
            raise Conflict(IS_A_BREAK)
        await consents.keep_policy(
            transaction,
            policy_id=policy.policy_id,
            patient_id=patient.survivor,
            policy=text,
            is_new=policy_kept is None,
        )
        return True

    change = because(f"{'changed' if request.replaces else 'set'}: {policy}", request.reason)
    await unit.write(work, events=_events(policy.policy_id, patient.survivor, change, caller), done=done)
    return encode_policy(policy)


async def remove_policy(unit: Unit, request: RemovalRequest) -> dict[str, str]:
    """Remove the policy."""
    patient = await patient_of(unit.parts, request)
    policy_id = request.policy_id

    async def done(transaction: Transaction) -> bool | None:
        policy_kept = await consents.find_kept(transaction, policy_id)
        return policy_kept is None or policy_kept[0] != patient.survivor or None

    async def work(transaction: Transaction) -> bool:
        policy_kept = await consents.find_kept(transaction, policy_id)
        if policy_kept and read_policy(policy_kept[1]).effect is Effect.BREAK:
            raise Conflict(IS_A_BREAK)
        if not await consents.remove_policy(transaction, policy_id=policy_id, patient_id=patient.survivor):
            raise NotFound("the patient has no policy of this id")
        return True

    change = because("removed", request.reason)
    await unit.write(work, events=_events(policy_id, patient.survivor, change, unit.caller), done=done)
    return {"removed": policy_id}


async def explanation(unit: Unit, request: ExplanationRequest) -> dict[str, Any]:
    """What would be decided, and by which policy."""
    parts = unit.parts
    patient = await patient_of(parts, request)
    subject = Caller(node=unit.caller.node, endpoint=unit.caller.endpoint, user=request.user())
    policies_given, identities = await policies_of(parts.database, patient)
    explained = min(
        (
            explain(
                policies_given,
                subject,
                Action(request.action),
                resource,
                default=parts.settings.consent_default,
                now=parts.now(),
                identities=identities,
            )
            for resource in await _resources(parts, patient.survivor, request)
        ),
        # Of several documents of a study the one that is refused says why not all of it is seen.
        key=lambda one: one.decision.permitted,
    )
    return {
        "patient_id": patient.survivor,
        "permitted": explained.decision.permitted,
        "reason": explained.decision.reason,
        "sentence": _sentence(explained),
        "considered": [
            {
                "policy": encode_policy(each.policy),
                "sentence": sentence(each.policy),
                "unmet": list(each.unmet),
            }
            for each in explained.considered
        ],
    }


async def _resources(parts: Parts, patient_id: str, request: ExplanationRequest) -> list[Resource]:
    """What is asked about: at least one, by what the request says; of documents that are registered their
    metadata say the rest."""
    described = Resource(
        patient_id=patient_id,
        confidentiality=frozenset(request.confidentiality),
        class_code=request.class_code,
        type_code=request.type_code,
        authors=frozenset(one if "|" in one else f"person|{one}" for one in request.authors),
        ids=frozenset(request.documents),
    )
    if not described.ids:
        return [described]
    entries = await with_particulars(
        parts.database, patient_id, list(map(resource_of, await find_entries(parts.database, patient_id)))
    )
    registered = [
        replace(
            described,
            **{name: getattr(described, name) or getattr(each, name) for name in _OF_METADATA},
            ids=each.ids | described.ids,
        )
        for each in entries
        if each.ids & described.ids
    ]
    return registered or [described]


def _sentence(explained: Explanation) -> str:
    """What decides, in plain words."""
    reason = explained.decision.reason
    verdict = "Permitted" if explained.decision.permitted else "Refused"
    deciding = next((one.policy for one in explained.considered if one.policy.policy_id in reason), None)
    if deciding is not None:
        return f"{verdict}, because of this policy: {sentence(deciding)}{_source(deciding)}"
    if explained.decision == CLOSED_LIST:
        return f"{verdict}, because policies of the patient name who may, and nobody of these is asking."
    return f"{verdict}, because no policy of the patient says anything: the default of the domain holds."


def _source(policy: Policy) -> str:
    """Which consent a policy is from."""
    if not policy.source:
        return ""
    name = f", {policy.description}" if policy.description != policy.source else ""
    return f" It is from the consent {policy.source}{name}."


# --- what they are made of ----------------------------------------------------------------------------


async def patient_of(parts: Parts, request: PoliciesRequest) -> Patient:
    """The patient that is meant; one that is not known stands for itself."""
    domain = parts.settings.affinity_domain
    patient_id = identities.canonical(request.patient_id, domain)
    if patient_id is None:
        raise BadRequest(f"patient_id must be an id of the affinity domain: id^^^&{domain}&ISO")
    return await patients.find_patient(parts.database, patient_id) or Patient(patient_id, patient_id)


async def known_patient(parts: Parts, request: PoliciesRequest) -> Patient:
    """The patient that is meant, who has to be known where submissions need that."""
    patient = await patient_of(parts, request)
    holder = await patients.find_patient(parts.database, patient.survivor)
    if holder is None and parts.settings.patients is PatientPolicy.KNOWN:
        raise NotFound("the patient is not known here; feed the id by ITI-8 first")
    return patient


async def policies_of(reader: Reader, patient: Patient) -> tuple[tuple[Policy, ...], tuple[str, ...]]:
    """The policies of a patient, and the ids that merges made one."""
    consents_of = (await consents.find_given(reader, (patient.survivor,)))[patient.survivor]
    return tuple(map(read_policy, consents_of.policies)), consents_of.identities


def _codes(texts: Sequence[str]) -> tuple[Code, ...]:
    split = (text.partition("^^") for text in texts)
    return tuple(Code(code, scheme) for code, _, scheme in split)


# --- the trail ----------------------------------------------------------------------------------------


def audit(
    request: PolicyRequest | RemovalRequest, _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a change that was not made; one that was made is recorded with it."""
    change = "not removed" if isinstance(request, RemovalRequest) else "not set"
    return _events(request.policy_id, request.patient_id, change, caller, outcome)


def because(change: str, reason: str) -> str:
    """A change with its reason, where one was given."""
    return f"{change}: {reason.strip()}" if reason.strip() else change


def _events(
    policy_id: str, patient_id: str, change: str, caller: Caller, outcome: Outcome = Outcome.SUCCESS
) -> tuple[AuditEvent, ...]:
    return (
        patterns.consent_changed(
            Side.SERVER, caller, outcome, policy_id=policy_id, patient_id=patient_id, change=change
        ),
    )


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Consent policies",
        routes=("POST /consent/policies",),
        right=Right.POLICIES,
        decode=JsonBody(PoliciesRequest),
        handle=policies,
        encode=json_response,
    ),
    ServedRest(
        name="Set consent policy",
        routes=("POST /consent/set",),
        right=Right.CONSENT,
        decode=JsonBody(PolicyRequest),
        handle=set_policy,
        audit=audit,
        event=SECURITY_CONFIGURATION,
        encode=json_response,
        problems={PolicyError: BadRequest},
    ),
    ServedRest(
        name="Remove consent policy",
        routes=("POST /consent/remove",),
        right=Right.CONSENT,
        decode=JsonBody(RemovalRequest),
        handle=remove_policy,
        audit=audit,
        event=SECURITY_CONFIGURATION,
        encode=json_response,
    ),
    ServedRest(
        name="Explain consent",
        routes=("POST /consent/why",),
        right=Right.CONSENT,
        decode=JsonBody(ExplanationRequest),
        handle=explanation,
        encode=json_response,
    ),
)

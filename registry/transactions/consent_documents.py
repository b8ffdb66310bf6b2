"""Consents as documents and resources: kept as they came, translated to policies, or refused with the reason.

POST /consent/documents   {"format_code", "document" (base64), "replaces"}: a document of BPPC or APPC
POST /consent/withdraw    {"patient_id", "source", "reason"}: a consent, with all that it was translated to
POST /consent/preview     {"patient_id", a policy as of /consent/set; or "format_code", "document"; or
                          "without", alone or with a policy that takes its place}: who would see what,
                         before anything is kept, ended or changed
POST /fhir/Consent        a Consent of PCF, Basic or Intermediate (ITI-108); GET /fhir/Consent/{id} as it came
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from registry.domain.visibility import resource, resource_of
from registry.store import consents, patients
from registry.store.document_entries import count_codes, find_entries
from registry.transactions.consent import (
    PoliciesRequest,
    Reason,
    because,
    known_patient,
    patient_of,
    policies_of,
)
from registry.unit import Parts, Unit, with_particulars
from shared.audit import patterns
from shared.audit.events import SECURITY_CONFIGURATION, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.documents import fhir_consent, forms
from shared.consent.documents.forms import FHIR_CONSENT, MOST_BYTES, form_by_code
from shared.consent.documents.translation import NotTranslatable, Translation
from shared.consent.policy import Effect, Policy, PolicyError, encode_policy, new_policy, read_policy
from shared.consent.preview import Counted, previewed
from shared.consent.sentence import sentence
from shared.ebrim.identifiers import CX, is_uuid
from shared.http.problem import BadRequest, Conflict, NotFound, Unprocessable
from shared.rest.fhir import FHIR_JSON, Issue, OperationOutcome, check_format, json_octets
from shared.rest.message import HttpRequest, HttpResponse, JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.store.engine import Transaction


def _decoded(text: object) -> bytes:
    """What `text` says in base64; raises ValueError where it is none."""
    if not isinstance(text, str) or not text or len(text) > MOST_BYTES * 4 // 3 + 4:
        raise ValueError(f"base64 of at most {MOST_BYTES} bytes is needed")
    return b64decode(text, validate=True)


#: Octets that come as base64.
Base64 = Annotated[bytes, PlainValidator(_decoded, json_schema_input_type=str)]


class DocumentRequest(BaseModel):
    """A consent document by its format code, in base64; `replaces` is the source of the one before."""

    model_config = ConfigDict(extra="forbid")

    format_code: str = Field(min_length=1, max_length=256)
    document: Base64
    replaces: str = Field("", max_length=256)


class WithdrawalRequest(PoliciesRequest):
    """Which consent of a patient is withdrawn, and why, for the trail."""

    source: str = Field(min_length=1, max_length=256)
    reason: str = Reason


class PreviewRequest(PoliciesRequest):
    """A policy by the fields of `shared.consent.policy.Policy`, or a consent document, as one to be kept; or
    `without`, the policy_id or the source of what would end, alone or for the policy in its place."""

    model_config = ConfigDict(extra="allow")

    format_code: str = ""
    document: Base64 = b""
    without: str = Field("", max_length=256)


@dataclass(frozen=True, slots=True)
class ConsentResource:
    """A Consent as it came."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """Where a Consent stands now, and what it came to."""

    location: str
    octets: bytes


# --- to keep, to withdraw -----------------------------------------------------------------------------


async def keep(unit: Unit, request: DocumentRequest) -> dict[str, Any]:
    """Keep a document, and the policies that it comes to."""
    content = request.document
    translation = translated(unit.parts, request.format_code, content)
    source = uuid4().urn
    policies = await _kept(unit, translation, request.format_code, content, source, request.replaces)
    return {"source": source, **_told(policies)}


async def keep_resource(unit: Unit, request: ConsentResource) -> KeptConsent:
    """Keep a FHIR Consent, and the policies that it comes to."""
    translation = translated(unit.parts, FHIR_CONSENT, request.octets)
    identifier = uuid4()
    await _kept(unit, translation, FHIR_CONSENT, request.octets, identifier.urn, "")
    return KeptConsent(f"{unit.caller.endpoint}/{identifier}", request.octets)


async def read_resource(unit: Unit, identifier: UUID) -> KeptConsent:
    """A FHIR Consent as it came."""
    document = await consents.find_document(unit.parts.database, identifier.urn)
    if document is None or document[0] != FHIR_CONSENT:
        raise NotFound("there is no Consent of this id")
    return KeptConsent("", document[1])


async def withdraw(unit: Unit, request: WithdrawalRequest) -> dict[str, Any]:
    """Remove a consent with its policies; within seconds it decides nowhere any more."""
    patient = await patient_of(unit.parts, request)

    async def done(transaction: Transaction) -> bool | None:
        return await consents.find_document(transaction, request.source) is None or None

    async def work(transaction: Transaction) -> bool:
        if not await _withdrawn(transaction, patient.survivor, request.source):
            raise NotFound("the patient has no consent of this source")
        return True

    change = because("withdrawn", request.reason)
    await unit.write(work, events=_events(request.source, patient.survivor, change, unit.caller), done=done)
    return {"withdrawn": request.source}


async def _kept(
    unit: Unit, translation: Translation, format_code: str, content: bytes, source: str, replaces: str
) -> tuple[Policy, ...]:
    parts, caller = unit.parts, unit.caller
    if translation.patient_root != parts.settings.affinity_domain:
        raise NotTranslatable(
            f"the patient is of {translation.patient_root}; an id of the affinity domain "
            f"{parts.settings.affinity_domain} is needed"
        )
    cx = str(CX(translation.patient_extension, translation.patient_root))
    patient = await known_patient(parts, PoliciesRequest(patient_id=cx))
    author = caller.user.audit_name if caller.user else caller.node.subject or caller.node.address
    policies = translation.made(patient_id=patient.patient_id, source=source, author=author)

    async def done(transaction: Transaction) -> bool | None:
        return await consents.find_document(transaction, source) is not None or None

    async def work(transaction: Transaction) -> bool:
        # The patient is held, so that a merge does not leave the policies behind.
        await patients.hold_patient(transaction, patient.survivor)
        if replaces and not await _withdrawn(transaction, patient.survivor, replaces):
            raise Conflict("replaces: the patient has no consent of this source")
        await consents.keep_document(
            transaction,
            source=source,
            format_code=format_code,
            content=content,
            created=parts.now().isoformat(),
        )
        for policy in policies:
            await consents.keep_policy(
                transaction,
                policy_id=policy.policy_id,
                patient_id=patient.survivor,
                policy=json.dumps(encode_policy(policy)),
                is_new=True,
            )
        return True

    change = f"set by a consent: {'; '.join(map(str, policies))}"
    await unit.write(work, events=_events(source, patient.survivor, change, caller), done=done)
    return policies


async def _withdrawn(transaction: Transaction, patient_id: str, source: str) -> bool:
    """Remove a consent of a patient with its policies; False when there is none."""
    policies = map(read_policy, await consents.find_policies(transaction, patient_id))
    of_source = [policy for policy in policies if policy.source == source]
    if not source or not of_source:
        return False
    for policy in of_source:
        await consents.remove_policy(transaction, policy_id=policy.policy_id, patient_id=patient_id)
    return await consents.remove_document(transaction, source)


def translated(parts: Parts, format_code: str, content: bytes) -> Translation:
    """What a consent says; raises `NotTranslatable`."""
    issuers = parts.settings.assertion.issuers
    return forms.translated(form_by_code(format_code), content, parts.meanings, issuers=issuers)


# --- to look first ------------------------------------------------------------------------------------


async def preview(unit: Unit, request: PreviewRequest) -> dict[str, Any]:
    """Who sees what now, and would see with the policy or the document, or without what would end."""
    parts = unit.parts
    patient = await patient_of(parts, request)
    before, identities = await policies_of(parts.database, patient)
    new = _new(parts, request, patient.patient_id)
    ended = {one for one in before if request.without and request.without in (one.policy_id, one.source)}
    if request.without and not ended:
        raise NotFound("without: the patient has no policy of this id, and no consent of this source")
    documents = await _documents(parts, patient.survivor, (*before, *new))
    total = sum(each.number for each in documents)
    before = tuple(policy for policy in before if policy.effect is not Effect.BREAK)
    rows = previewed(
        before,
        (*(one for one in before if one not in ended), *new),
        documents,
        default=parts.settings.consent_default,
        now=parts.now(),
        identities=identities,
    )
    return {"patient_id": patient.survivor, **_told(new), "persons": [row.told(total) for row in rows]}


def _new(parts: Parts, request: PreviewRequest, patient_id: str) -> tuple[Policy, ...]:
    """The policies that would come."""
    fields = {
        name: value
        for name, value in request.model_dump(exclude_unset=True).items()
        if name not in ("patient_id", "format_code", "document", "policy_id", "without")
    }
    if request.format_code and (fields or request.without):
        raise BadRequest("a document is previewed by itself; a policy may come in the place of another")
    if request.without and not fields:
        return ()
    if request.format_code:
        translation = translated(parts, request.format_code, request.document)
        return translation.made(patient_id=patient_id, source="urn:preview")
    return (new_policy(**{"effect": None, **fields}, patient_id=patient_id),)


async def _documents(parts: Parts, patient_id: str, policies: Sequence[Policy]) -> list[Counted]:
    """The documents of a patient, by what `policies` ask of them."""
    if any(policy.is_of_single_documents for policy in policies):
        entries = list(map(resource_of, await find_entries(parts.database, patient_id)))
        whole = await with_particulars(parts.database, patient_id, entries)
        return [Counted(each, 1) for each in whole]
    counted = await count_codes(parts.database, patient_id)
    return [Counted(resource(patient_id, *codes), number) for codes, number in counted]


def _told(policies: Sequence[Policy]) -> dict[str, Any]:
    return {
        "policies": [encode_policy(policy) for policy in policies],
        "sentences": list(map(sentence, policies)),
    }


# --- over FHIR ----------------------------------------------------------------------------------------


async def decode_resource(request: HttpRequest) -> ConsentResource:
    """The body, as it came."""
    check_format(request)
    return ConsentResource(await json_octets(request, limit=fhir_consent.MAX_BYTES))


async def decode_id(request: HttpRequest) -> UUID:
    """The id in the address."""
    check_format(request)
    identifier = request.parameters["id"]
    if not is_uuid(f"urn:uuid:{identifier}"):
        raise NotFound("there is no Consent of this id")
    return UUID(identifier)


def encode_created(consent: KeptConsent) -> HttpResponse:
    """Where it stands."""
    return HttpResponse(status=HTTPStatus.CREATED, headers={"location": consent.location})


def encode_resource(consent: KeptConsent) -> HttpResponse:
    """The resource as it came."""
    return HttpResponse(media_type=f"{FHIR_JSON}; charset=utf-8", pieces=(consent.octets,))


def _unprocessable(text: str) -> Unprocessable:
    return Unprocessable(text, issues=(Issue(code="not-supported", text=text),))


# --- the trail ----------------------------------------------------------------------------------------


def audit(
    request: DocumentRequest | WithdrawalRequest | ConsentResource, _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a change that was not made; one that was made is recorded with it."""
    if isinstance(request, WithdrawalRequest):
        return _events(request.source, request.patient_id, "not withdrawn", caller, outcome)
    return _events("", "", "not set by a consent", caller, outcome)


def _events(
    source: str, patient_id: str, change: str, caller: Caller, outcome: Outcome = Outcome.SUCCESS
) -> tuple[AuditEvent, ...]:
    return (
        patterns.consent_changed(
            Side.SERVER, caller, outcome, policy_id=source, patient_id=patient_id, change=change
        ),
    )


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Keep consent document",
        routes=("POST /consent/documents",),
        right=Right.CONSENT,
        decode=JsonBody(DocumentRequest, limit=2 * MOST_BYTES),
        handle=keep,
        audit=audit,
        event=SECURITY_CONFIGURATION,
        encode=json_response,
        problems={NotTranslatable: Unprocessable},
    ),
    ServedRest(
        name="Withdraw consent",
        routes=("POST /consent/withdraw",),
        right=Right.CONSENT,
        decode=JsonBody(WithdrawalRequest),
        handle=withdraw,
        audit=audit,
        event=SECURITY_CONFIGURATION,
        encode=json_response,
    ),
    ServedRest(
        name="Preview consent",
        routes=("POST /consent/preview",),
        right=Right.CONSENT,
        decode=JsonBody(PreviewRequest, limit=2 * MOST_BYTES),
        handle=preview,
        encode=json_response,
        problems={PolicyError: BadRequest, NotTranslatable: Unprocessable},
    ),
    ServedRest(
        number="ITI-108",
        name="Access Consent",
        routes=("POST /fhir/Consent",),
        right=Right.CONSENT,
        decode=decode_resource,
        handle=keep_resource,
        audit=audit,
        event=SECURITY_CONFIGURATION,
        encode=encode_created,
        error_form=OperationOutcome,
        problems={NotTranslatable: _unprocessable},
    ),
    ServedRest(
        name="Read Consent",
        routes=("GET /fhir/Consent/{id}",),
        right=Right.CONSENT,
        decode=decode_id,
        handle=read_resource,
        encode=encode_resource,
        error_form=OperationOutcome,
    ),
)

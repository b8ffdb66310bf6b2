"""Consent documents that are registered (ITI-42): understood, or refused whole; in force as long as their
entry is Approved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from registry.domain import stored_queries as queries
from registry.store import consents
from registry.transactions import iti57, iti61, iti62
from shared.consent.documents.appc import FORMAT_CODE as APPC
from shared.consent.documents.forms import CONTENT, FHIR_CONSENT, with_content
from shared.consent.policy import Effect, read_policy
from shared.ebrim.model import AssociationType, Code, DocumentEntry, Timestamp
from shared.errors import Rejected, Severity, XdsError
from shared.messages.iti18 import ReturnType
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti57 import UpdateRequest
from shared.messages.iti62 import RemoveMetadataRequest
from tests.support.consents import OPT_IN, OPT_OUT, a_consent, an_actor, an_exclusion, octets
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_submission,
    an_association,
    an_on_demand_entry,
)
from tests.support.registry import APPROVED, DEPRECATED, REPOSITORY, Registry, a_clinician, is_success
from tests.support.updates import a_status, an_update

MEANINGS = {OPT_OUT: ({"effect": "deny"},), OPT_IN: ({"effect": "permit", "roles": ["RAD-PHYS"]},)}
RADIOLOGIST, SURGEON = a_clinician("RAD-PHYS"), a_clinician("SURGEON")
OURS = (DOMAIN, PATIENT.partition("^")[0])
THEIRS = (DOMAIN, OTHER_PATIENT.partition("^")[0])
CONSENT_CLASS = Code("57016-8", "2.16.840.1.113883.6.1", "Patient consent")
BPPC = Code("urn:ihe:iti:bppc:2007", "1.3.6.1.4.1.19376.1.2.3")
APPC_FORMAT = Code(APPC, "1.3.6.1.4.1.19376.1.2.3")
FHIR_FORMAT = Code(FHIR_CONSENT, "urn:ietf:rfc:3986")
ALL = {
    "$patientId": PATIENT,
    "$XDSDocumentEntryStatus": [APPROVED, DEPRECATED],
    "$XDSSubmissionSetStatus": [APPROVED],
    "$XDSFolderStatus": [APPROVED],
}
FIND = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]}


@pytest.fixture
def acknowledging(registry: Registry) -> Registry:
    return Registry(replace(registry.parts, meanings=MEANINGS))


def a_bppc(*oids: str, **changes: Any) -> DocumentEntry:
    """The entry of a BPPC document, as a repository registers it."""
    return a_document_entry(
        class_code=CONSENT_CLASS,
        format_code=BPPC,
        event_codes=tuple(Code(oid, "2.999.50") for oid in oids),
        **{"service_start_time": Timestamp("20200101")} | changes,
    )


def by_content(content: bytes, format_code: Code = APPC_FORMAT, **changes: Any) -> DocumentEntry:
    """The entry of a consent that our repository registers with its content."""
    entry = a_document_entry(
        class_code=CONSENT_CLASS,
        format_code=format_code,
        mime_type="text/xml",
        **{"hash": hashlib.sha1(content).hexdigest(), "size": len(content)} | changes,
    )
    return with_content(entry, content)


def excluding(role: str, patient: tuple[str, str] = OURS) -> bytes:
    return an_exclusion(role, "2.999.40.1", patient)


def a_list_of_one(patient: tuple[str, str] = OURS) -> bytes:
    nobody_but = {"type": "permit", "actor": [an_actor("Practitioner", "u-778", "https://idp.example")]}
    return octets(a_consent(patient, provision={"type": "deny", "provision": [nobody_but]}))


async def seen(registry: Registry, caller: Any) -> int:
    found = await registry.query(
        queries.FIND_DOCUMENTS, FIND, caller=caller, return_type=ReturnType.OBJECT_REF
    )
    return len(found.object_refs)


async def effects(registry: Registry) -> list[Effect]:
    texts = await consents.find_policies(registry.parts.database, PATIENT)
    return sorted(read_policy(text).effect for text in texts)


CONSENTS: dict[str, Callable[[], DocumentEntry]] = {
    "BPPC": lambda: a_bppc(OPT_IN),
    "APPC": lambda: by_content(excluding("SURGEON")),
    "FHIR Consent by its format": lambda: by_content(
        octets(a_consent(OURS, provision={"type": "deny", "provision": [
            {"type": "permit", "purpose": [{"system": "urn:oid:2.999.9", "code": "X"}]}]})),
        FHIR_FORMAT,
    ),
    "FHIR Consent by class and media type": lambda: replace(
        by_content(a_list_of_one(), Code("urn:x", "2.999.1")), mime_type="application/fhir+json"
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", CONSENTS)
async def test_a_registered_consent_is_in_force_until_it_is_removed(acknowledging: Registry, form: str):
    await acknowledging.register(a_submission(a_document_entry()))
    other = replace(SURGEON, user=replace(SURGEON.user, name_id="u-1"))  # type: ignore[type-var]
    assert await seen(acknowledging, other) == 1

    entry = CONSENTS[form]()
    answer = await acknowledging.register(a_submission(entry))
    assert is_success(answer)
    assert answer.errors == ()
    assert await seen(acknowledging, other) == 0

    going = a_clinician("RAD-PHYS")
    assert await effects(acknowledging)
    await acknowledging.perform(iti57.SERVED, deprecating(entry), caller=REPOSITORY)
    assert await effects(acknowledging) == []
    assert await seen(acknowledging, other) == await seen(acknowledging, going) == 1


def deprecating(entry: DocumentEntry) -> UpdateRequest:
    return UpdateRequest.of(an_update(a_status(entry.entry_uuid, APPROVED, DEPRECATED)))


async def test_a_replacement_takes_the_place_of_what_it_replaces_whatever_form_either_has(
    acknowledging: Registry,
):
    before = by_content(excluding("SURGEON"))
    await acknowledging.register(a_submission(before))
    for entry, expected in (
        (a_bppc(OPT_IN), [Effect.PERMIT]),
        (by_content(excluding("RAD-PHYS")), [Effect.DENY]),
        (by_content(a_list_of_one(), FHIR_FORMAT), [Effect.PERMIT]),
    ):
        replacing = an_association(entry.entry_uuid, before.entry_uuid, AssociationType.RPLC)
        await acknowledging.register(a_submission(entry, associations=[replacing]))
        assert await effects(acknowledging) == expected
        before = entry

    going = await acknowledging.query(
        queries.GET_ALL, ALL, caller=RADIOLOGIST, return_type=ReturnType.OBJECT_REF
    )
    await acknowledging.perform(iti62.SERVED, RemoveMetadataRequest(ids=tuple(going.object_refs)))
    assert await effects(acknowledging) == []


async def test_two_in_force_are_decided_together_and_a_denial_wins(acknowledging: Registry):
    await acknowledging.register(
        a_submission(by_content(excluding("SURGEON")), a_bppc(OPT_IN), a_document_entry())
    )

    assert await effects(acknowledging) == [Effect.DENY, Effect.PERMIT]
    assert await seen(acknowledging, RADIOLOGIST) == 3
    assert await seen(acknowledging, SURGEON) == await seen(acknowledging, a_clinician("NURSE")) == 0


async def test_the_content_is_read_and_not_registered(acknowledging: Registry):
    entry = by_content(excluding("SURGEON"))
    await acknowledging.register(a_submission(entry))

    found = await acknowledging.query(queries.FIND_DOCUMENTS, FIND, caller=RADIOLOGIST)
    [registered] = found.document_entries
    assert [slot.name for slot in registered.extra_slots if slot.name == CONTENT] == []
    assert [slot.name for slot in entry.extra_slots] == [CONTENT]


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]>' + excluding("SURGEON")
REFUSED: dict[str, tuple[Callable[[], DocumentEntry], str]] = {
    "a policy of another domain": (lambda: a_bppc("2.999.50.9"), "none of the domain"),
    "no policy": (lambda: a_bppc(), "eventCodeList"),
    "no beginning": (lambda: a_bppc(OPT_OUT, service_start_time=None), "serviceStartTime"),
    "no content": (
        lambda: replace(by_content(excluding("SURGEON")), extra_slots=()),
        "did not come with its metadata",
    ),
    "another content than the document's": (
        lambda: replace(by_content(excluding("SURGEON")), hash="0" * 40),
        "not that of the hash",
    ),
    "another patient": (lambda: by_content(excluding("SURGEON", THEIRS)), "another patient"),
    "another patient in FHIR": (lambda: by_content(a_list_of_one(THEIRS), FHIR_FORMAT), "another patient"),
    "another form than its formatCode": (lambda: by_content(a_list_of_one()), "not readable as XML"),
    "XML for JSON": (lambda: by_content(excluding("SURGEON"), FHIR_FORMAT), "not readable as JSON"),
    "entities": (lambda: by_content(BOMB), "DOCTYPE"),
    "too deep": (lambda: by_content(b"<a>" * 5_000 + b"</a>" * 5_000), "nested deeper"),
    "too large": (lambda: by_content(b" " * (1024 * 1024 + 1)), "at most"),
    "too many policies": (lambda: by_content(with_policies(201)), "more than 200 policies"),
    "what is not understood": (
        lambda: by_content(excluding("SURGEON").replace(b"</Rule>", b"<Condition/></Rule>")),
        "Condition is not understood",
    ),
}  # fmt: skip


def with_policies(number: int) -> bytes:
    document = excluding("SURGEON").decode()
    begins, ends = document.index("<Policy "), document.index("</PolicySet>")
    policies = (document[begins:ends].replace("SURGEON", f"R{at}") for at in range(number))
    return (document[:begins] + "".join(policies) + document[ends:]).encode()


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_understood_is_refused_with_its_reason_and_nothing_is_registered(
    acknowledging: Registry, what: str
):
    make, reason = REFUSED[what]
    with pytest.raises(Rejected) as refused:
        await acknowledging.register(a_submission(make(), a_document_entry()))

    [error] = refused.value.errors
    assert reason in error.context
    assert error.severity is Severity.ERROR
    assert await effects(acknowledging) == []
    assert await seen(acknowledging, SURGEON) == 0


@pytest.mark.parametrize("form", CONSENTS)
async def test_a_node_without_the_right_registers_none(acknowledging: Registry, form: str):
    stranger = replace(REPOSITORY, community_node=False)
    with pytest.raises(Rejected) as refused:
        await acknowledging.register(a_submission(CONSENTS[form]()), caller=stranger)
    assert "XDSI_RIGHTS__CONSENT" in refused.value.errors[0].context
    assert await effects(acknowledging) == []

    answer = await acknowledging.register(
        a_submission(CONSENTS[form]()), caller=replace(stranger, may_consent=True)
    )
    assert is_success(answer)
    assert await effects(acknowledging)


@pytest.mark.parametrize(
    "entry", [a_bppc(OPT_IN), a_document_entry(class_code=CONSENT_CLASS)], ids=["BPPC", "a scan"]
)
async def test_a_consent_by_which_nobody_decides_is_kept_and_said_to_have_no_effect(registry, entry):
    answer = await registry.register(a_submission(entry), caller=replace(REPOSITORY, community_node=False))

    assert is_success(answer)
    [warning] = answer.errors
    assert warning.severity is Severity.WARNING
    assert "nobody decides by it" in warning.context
    assert await effects(registry) == []
    assert await seen(registry, SURGEON) == 1


async def test_metadata_of_a_consent_by_content_are_not_changed_while_it_is_in_force(acknowledging):
    entry = by_content(excluding("SURGEON"))
    await acknowledging.register(a_submission(entry))
    await acknowledging.perform(iti57.SERVED, deprecating(entry))
    again = an_update(a_status(entry.entry_uuid, DEPRECATED, APPROVED))

    with pytest.raises(XdsError, match="replace the document"):
        await acknowledging.perform(iti57.SERVED, UpdateRequest.of(again))
    assert await effects(acknowledging) == []


async def test_a_consent_by_content_is_none_on_demand(acknowledging: Registry):
    entry = an_on_demand_entry(format_code=APPC_FORMAT)
    with pytest.raises(Rejected, match="did not come with its metadata"):
        await acknowledging.perform(iti61.SERVED, RegisterRequest.of(a_submission(entry)))

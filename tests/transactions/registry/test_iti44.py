"""The identity feed as HL7 v3: the same effects as ITI-8, acknowledged by CA or CE."""

import base64
from dataclasses import replace

import pytest
from lxml import etree

from registry.domain import stored_queries as queries
from registry.store.patients import find_patient
from registry.transactions import iti44
from shared.errors import Busy, Rejected
from shared.messages.iti44 import (
    Acknowledgement,
    AcknowledgementCode,
    InstanceId,
    Interaction,
    PatientFeedRequest,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from tests.support.metadata import DOMAIN, OTHER_PATIENT, PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED, REPOSITORY, is_success

NEW = f"NEW^^^&{DOMAIN}&ISO"
SERVED = dict(zip(Interaction, iti44.SERVED, strict=True))
FEEDER, REGISTRY = InstanceId("1.3.6.1.4.1.21367.9.90"), InstanceId("1.3.6.1.4.1.21367.9.91")


def ours(patient_id):
    return InstanceId(DOMAIN, patient_id.partition("^")[0])


def a_message(interaction, *patients, prior=(), number="1", **changes):
    """A message about one patient with these ids, sent over the wire."""
    request = PatientFeedRequest(
        **{
            "interaction": interaction,
            "message_id": InstanceId("1.3.6.1.4.1.21367.9.92", f"M-{number}"),
            "patients": (tuple(patients),),
            "priors": (tuple(prior),) if prior else (),
            "sender": (FEEDER,),
            "receiver": (REGISTRY,),
        }
        | changes
    )
    return decode_request(etree.fromstring(encode_request(request).xml), {})


async def send(registry, request, **options):
    """The acknowledgement, as the feeding system reads it."""
    response = await registry.perform(SERVED[request.interaction], request, **options)
    assert isinstance(response, Acknowledgement)
    return decode_response(etree.fromstring(encode_response(response).xml), {})


async def add(registry, *patients, **options):
    return await send(registry, a_message(Interaction.ADD, *map(ours, patients), **options))


async def merge(registry, survivor, prior, **options):
    return await send(registry, a_message(Interaction.MERGE, ours(survivor), prior=[ours(prior)], **options))


async def found(registry, patient):
    result = await registry.query(
        queries.FIND_DOCUMENTS, {"$XDSDocumentEntryPatientId": patient, "$XDSDocumentEntryStatus": [APPROVED]}
    )
    return {entry.entry_uuid: entry.patient_id for entry in result.document_entries}


async def state(registry):
    return [await find_patient(registry.parts.database, patient) for patient in (PATIENT, OTHER_PATIENT, NEW)]


# --- what is taken ---------------------------------------------------------------------------------------


async def test_a_patient_that_is_added_may_have_documents(registry):
    with pytest.raises(Rejected):
        await registry.register(a_submission(a_document_entry(patient_id=NEW)))
    for number in "12":
        acknowledgement = await add(registry, NEW, number=number)
        assert acknowledgement.code is AcknowledgementCode.ACCEPT
        assert acknowledgement.target == InstanceId("1.3.6.1.4.1.21367.9.92", f"M-{number}")
    assert is_success(await registry.register(a_submission(a_document_entry(patient_id=NEW))))


async def test_the_acknowledgement_goes_back_to_the_sender(registry):
    acknowledgement = await add(registry, NEW)
    assert (acknowledgement.sender, acknowledgement.receiver) == ((REGISTRY,), (FEEDER,))


async def test_of_several_ids_that_of_the_affinity_domain_counts(registry):
    others = [InstanceId("1.2.3.4", "NEW"), InstanceId("1.2.3.5"), InstanceId(), ours(NEW), ours(NEW)]
    assert (await send(registry, a_message(Interaction.ADD, *others))).code is AcknowledgementCode.ACCEPT
    assert await find_patient(registry.parts.database, NEW) is not None


async def test_an_id_is_spelled_as_everywhere(registry):
    await send(registry, a_message(Interaction.ADD, InstanceId(DOMAIN, "A&B^u\u0308")))
    assert await find_patient(registry.parts.database, f"A\\T\\B\\S\\ü^^^&{DOMAIN}&ISO") is not None


async def test_a_revision_is_acknowledged_and_changes_nothing(registry):
    before = await state(registry)
    assert (await send(registry, a_message(Interaction.REVISE, ours(NEW)))).code is AcknowledgementCode.ACCEPT
    assert await state(registry) == before


async def test_a_merge_gives_everything_of_the_prior_to_the_survivor(registry):
    theirs = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(theirs))

    assert (await merge(registry, PATIENT, OTHER_PATIENT)).code is AcknowledgementCode.ACCEPT

    assert await found(registry, PATIENT) == {theirs.entry_uuid: PATIENT}
    assert await found(registry, OTHER_PATIENT) == {}
    assert await registry.refused(a_submission(a_document_entry(patient_id=OTHER_PATIENT))) == [
        "XDSUnknownPatientId"
    ]


async def test_merges_chain(registry):
    await add(registry, NEW)
    await merge(registry, PATIENT, OTHER_PATIENT, number="2")
    await merge(registry, NEW, PATIENT, number="3")
    assert (await find_patient(registry.parts.database, OTHER_PATIENT)).survivor == NEW


async def test_a_message_that_comes_again_is_acknowledged_as_before(registry):
    # The very message: one that is encoded a second later has another creationTime.
    message = a_message(Interaction.MERGE, ours(PATIENT), prior=[ours(OTHER_PATIENT)])
    for _ in range(2):
        assert (await send(registry, message)).code is AcknowledgementCode.ACCEPT
    assert (await merge(registry, PATIENT, OTHER_PATIENT, number="other")).code is AcknowledgementCode.ERROR


# --- what is refused -------------------------------------------------------------------------------------

A, R, M = Interaction
FOREIGN = InstanceId("1.2.3.4", "X")
REFUSED = {
    "of another authority": lambda: a_message(A, FOREIGN),
    "revision of another authority": lambda: a_message(R, FOREIGN),
    "no id": lambda: a_message(A, InstanceId(DOMAIN)),
    "an id that cannot be shown": lambda: a_message(A, InstanceId(DOMAIN, "a\nb")),
    "two ids of the domain": lambda: a_message(A, ours(NEW), ours(PATIENT)),
    "no registration event": lambda: a_message(A, patients=()),
    "two registration events": lambda: a_message(A, patients=((ours(NEW),), (ours(PATIENT),))),
    "no prior": lambda: a_message(M, ours(PATIENT)),
    "two priors": lambda: a_message(M, ours(PATIENT), priors=((ours(NEW),), (ours(OTHER_PATIENT),))),
    "a prior of another authority": lambda: a_message(M, ours(PATIENT), prior=[FOREIGN]),
    "a survivor of another authority": lambda: a_message(M, FOREIGN, prior=[ours(PATIENT)]),
    "a patient with itself": lambda: a_message(M, ours(PATIENT), prior=[ours(PATIENT)]),
    "an unknown prior": lambda: a_message(M, ours(PATIENT), prior=[ours(NEW)]),
    "an unknown survivor": lambda: a_message(M, ours(NEW), prior=[ours(PATIENT)]),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_wrong_is_refused_with_its_reason_and_changes_nothing(registry, name):
    before = await state(registry)
    acknowledgement = await send(registry, REFUSED[name]())
    assert acknowledgement.code is AcknowledgementCode.ERROR
    assert acknowledgement.target == InstanceId("1.3.6.1.4.1.21367.9.92", "M-1")
    assert acknowledgement.errors[0].context
    assert await state(registry) == before
    assert await registry.outbox() == []


async def test_what_was_merged_away_stays_so(registry):
    await merge(registry, PATIENT, OTHER_PATIENT)
    await add(registry, NEW, number="2")
    assert (await add(registry, OTHER_PATIENT, number="3")).code is AcknowledgementCode.ERROR
    assert (await merge(registry, NEW, OTHER_PATIENT, number="4")).code is AcknowledgementCode.ERROR
    assert (await merge(registry, OTHER_PATIENT, NEW, number="5")).code is AcknowledgementCode.ERROR
    assert (await find_patient(registry.parts.database, OTHER_PATIENT)).survivor == PATIENT


async def test_a_registry_that_cannot_write_refuses(registry):
    class Full:
        async def write(self, work):
            from shared.store.failures import DatabaseFull

            raise DatabaseFull("full")

    parts = replace(registry.parts, database=Full())
    acknowledgement = await send(type(registry)(parts), a_message(A, ours(NEW)))
    assert acknowledgement.code is AcknowledgementCode.ERROR
    assert "full" in acknowledgement.errors[0].context


def test_a_mistake_of_ours_is_an_error_without_target():
    answer = iti44.SERVED[0].transaction.failure([Busy("later")])
    told = decode_response(etree.fromstring(encode_response(answer).xml), {})
    assert (told.code, told.target, told.errors[0].context) == (AcknowledgementCode.ERROR, None, "later")


# --- the trail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (lambda: a_message(A, ours(NEW)), [("C", "NEW")]),
        (lambda: a_message(R, ours(NEW)), [("U", "NEW")]),
        (
            lambda: a_message(M, ours(PATIENT), prior=[ours(OTHER_PATIENT)]),
            [("D", "P-2002"), ("U", "P-1001")],
        ),
    ],
)
async def test_a_message_is_recorded_with_its_change(registry, message, expected):
    await send(registry, message())
    detail = base64.b64encode(b"M-1@1.3.6.1.4.1.21367.9.92")
    for (action, patient), event in zip(expected, await registry.outbox(), strict=True):
        assert b'csd-code="110110"' in event
        assert b'csd-code="ITI-44"' in event
        assert f'EventActionCode="{action}"'.encode() in event
        assert b'EventOutcomeIndicator="0"' in event
        assert f'ParticipantObjectID="{patient}^^^&amp;'.encode() in event
        assert b'type="II" value="%s"' % detail in event
        assert REPOSITORY.endpoint.encode() in event


async def test_a_refused_message_is_recorded_with_whom_it_names(registry):
    await send(registry, a_message(M, ours(NEW), prior=[ours(PATIENT)]))
    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    assert [b'EventOutcomeIndicator="8"' in event for event in events] == [True, True]
    assert b"P-1001" in events[0]
    assert b"NEW" in events[1]


async def test_a_refused_message_without_ids_is_recorded_without_a_patient(registry):
    await send(registry, a_message(A, patients=()))
    ((_, event),) = await registry.parts.recorder.spool.reader("test").next(10)
    assert b"ParticipantObjectID" not in event

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from registry.domain import stored_queries as queries
from registry.store.patients import find_patient
from registry.transactions.iti8 import FeedReceiver
from shared.errors import Rejected
from shared.hl7v2.mllp import MllpLimits, MllpListener, framed
from shared.security.caller import Node
from shared.security.rights import Rights
from tests.support.consent import deny
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import APPROVED, codes, is_success
from xdsi.patient import message as adt

NEW = f"NEW^^^&{DOMAIN}&ISO"
FIND = {"$XDSDocumentEntryStatus": [APPROVED]}


@pytest.fixture
def feed(registry):
    return FeedReceiver(registry.parts, "registry.hub.example", Rights(registry.parts.settings))


async def answer(feed, octets):
    return await feed.acknowledge(octets, Node(address="127.0.0.1"))


def code(acknowledgement):
    return acknowledgement.split(b"\rMSA|")[1][:2].decode()


async def feed_in(feed, event, **fields):
    return code(await answer(feed, adt(event, **fields)))


def numbered(octets, control):
    fields = octets.split(b"|")
    fields[9] = control
    return b"|".join(fields)


async def found(registry, patient):
    result = await registry.query(queries.FIND_DOCUMENTS, FIND | {"$XDSDocumentEntryPatientId": patient})
    return {entry.entry_uuid: entry.patient_id for entry in result.document_entries}


# --- adding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["A01", "A04", "A05"])
async def test_a_patient_that_is_fed_may_have_documents(registry, feed, event):
    assert await feed_in(feed, event, patient=NEW) == "AA"
    assert await feed_in(feed, event, patient=NEW) == "AA"
    assert is_success(await registry.register(a_submission(a_document_entry(patient_id=NEW))))


async def test_an_update_is_acknowledged_and_changes_nothing(registry, feed):
    assert await feed_in(feed, "A08", patient=NEW) == "AA"
    assert await find_patient(registry.parts.database, NEW) is None


async def test_a_patient_of_another_authority_is_refused(registry, feed):
    assert await feed_in(feed, "A04", patient="NEW^^^&1.2.3&ISO") == "AE"


# --- merging ---------------------------------------------------------------------------------------------


async def test_a_merge_gives_everything_of_the_subsumed_to_the_survivor(registry, feed):
    mine, theirs = a_document_entry(), a_document_entry(patient_id=OTHER_PATIENT)
    folder = a_folder(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(mine))
    await registry.register(a_submission(theirs, folders=[folder]))

    assert await feed_in(feed, "A40", patient=PATIENT, prior=OTHER_PATIENT) == "AA"

    assert await found(registry, PATIENT) == {mine.entry_uuid: PATIENT, theirs.entry_uuid: PATIENT}
    assert await found(registry, OTHER_PATIENT) == {}
    everything = await registry.query(
        queries.GET_ALL,
        {
            "$patientId": PATIENT,
            "$XDSDocumentEntryStatus": [APPROVED],
            "$XDSSubmissionSetStatus": [APPROVED],
            "$XDSFolderStatus": [APPROVED],
        },
    )
    assert {item.patient_id for item in (*everything.submission_sets, *everything.folders)} == {PATIENT}
    kept = next(item for item in everything.document_entries if item.entry_uuid == theirs.entry_uuid)
    assert replace(kept, logical_id="", patient_id=OTHER_PATIENT) == theirs

    both = {"$XDSDocumentEntryEntryUUID": [mine.entry_uuid, theirs.entry_uuid]}
    assert (await registry.query(queries.GET_DOCUMENTS, both)).document_entries


async def test_after_a_merge_only_the_survivor_takes_documents(registry, feed):
    theirs = a_document_entry(patient_id=OTHER_PATIENT)
    await registry.register(a_submission(theirs))
    await feed_in(feed, "A40", patient=PATIENT, prior=OTHER_PATIENT)

    with pytest.raises(Rejected) as refusal:
        await registry.register(a_submission(a_document_entry(patient_id=OTHER_PATIENT)))
    assert codes(refusal.value) == ["XDSUnknownPatientId"]
    new = a_document_entry()
    replacing = an_association(new.entry_uuid, theirs.entry_uuid, "urn:ihe:iti:2007:AssociationType:RPLC")
    assert is_success(await registry.register(a_submission(new, associations=[replacing])))


async def test_merges_chain_and_carry_more_than_one_portion(registry, feed):
    await registry.add_patient(NEW)
    entries = [a_document_entry(patient_id=OTHER_PATIENT) for _ in range(60)]
    await registry.register(a_submission(*entries))
    assert await feed_in(feed, "A40", patient=PATIENT, prior=OTHER_PATIENT) == "AA"
    assert await feed_in(feed, "A40", patient=NEW, prior=PATIENT) == "AA"

    assert set(await found(registry, NEW)) == {entry.entry_uuid for entry in entries}
    assert (await find_patient(registry.parts.database, OTHER_PATIENT)).survivor == NEW


async def test_consent_goes_with_the_patient(registry, feed):
    await registry.register(a_submission(a_document_entry(patient_id=OTHER_PATIENT)))
    await registry.add_policy(deny(patient_id=OTHER_PATIENT))
    await feed_in(feed, "A40", patient=PATIENT, prior=OTHER_PATIENT)
    assert await found(registry, PATIENT) == {}


@pytest.mark.parametrize(
    ("patient", "prior"),
    [
        (PATIENT, PATIENT),
        (PATIENT, NEW),
        (NEW, PATIENT),
        (PATIENT, "X^^^&1.2.3&ISO"),
    ],
)
async def test_a_merge_that_makes_no_sense_changes_nothing(registry, feed, patient, prior):
    await registry.register(a_submission())
    assert await feed_in(feed, "A40", patient=patient, prior=prior) == "AE"
    assert len(await found(registry, PATIENT)) == 1


async def test_what_was_merged_is_not_merged_again_nor_revived(registry, feed):
    await registry.add_patient(NEW)
    assert await feed_in(feed, "A40", patient=PATIENT, prior=OTHER_PATIENT) == "AA"

    assert await feed_in(feed, "A40", patient=NEW, prior=OTHER_PATIENT) == "AE"
    assert await feed_in(feed, "A40", patient=OTHER_PATIENT, prior=NEW) == "AE"
    assert await feed_in(feed, "A40", patient=OTHER_PATIENT, prior=PATIENT) == "AE"
    assert await feed_in(feed, "A01", patient=OTHER_PATIENT) == "AE"
    assert not (await find_patient(registry.parts.database, OTHER_PATIENT)).active


async def test_no_entry_is_left_under_the_subsumed_patient_however_submissions_race(registry, feed):
    submissions = [a_submission(a_document_entry(patient_id=OTHER_PATIENT)) for _ in range(12)]
    results = await asyncio.gather(
        *(registry.register(each) for each in submissions[:6]),
        feed_in(feed, "A40", patient=PATIENT, prior=OTHER_PATIENT),
        *(registry.register(each) for each in submissions[6:]),
        return_exceptions=True,
    )
    merged = results.pop(6)
    accepted = [item for item in results if not isinstance(item, Exception)]
    assert merged == "AA"
    assert all(codes(item) == ["XDSUnknownPatientId"] for item in results if isinstance(item, Rejected))
    assert len(await found(registry, PATIENT)) == len(accepted)
    assert await found(registry, OTHER_PATIENT) == {}


# --- retries ---------------------------------------------------------------------------------------------


async def test_the_same_message_again_is_acknowledged_alike(registry, feed):
    merge = numbered(adt("A40", patient=PATIENT, prior=OTHER_PATIENT), b"C-1")
    first = await answer(feed, merge)
    assert code(first) == "AA"
    assert await answer(feed, merge) == first
    assert code(await answer(feed, numbered(merge, b"C-2"))) == "AE"


async def test_other_bytes_with_the_same_control_id_are_another_message(registry, feed):
    for patient in (NEW, f"NEWER^^^&{DOMAIN}&ISO"):
        assert code(await answer(feed, numbered(adt("A04", patient=patient), b"C-1"))) == "AA"
        assert (await find_patient(registry.parts.database, patient)).active


# --- the trail -------------------------------------------------------------------------------------------


async def test_what_a_message_changed_is_recorded_with_the_change(registry, feed):
    await answer(feed, numbered(adt("A04", patient=NEW), b"C-1"))
    await answer(feed, numbered(adt("A40", patient=NEW, prior=PATIENT), b"C-2"))

    added, ended, survived = await registry.outbox()
    for event, action, patient in (
        (added, "C", "NEW^^^"),
        (ended, "D", "P-1001^^^"),
        (survived, "U", "NEW^^^"),
    ):
        assert f'EventActionCode="{action}"'.encode() in event
        assert f'ParticipantObjectID="{patient}'.encode() in event
        assert b'UserID="XDSI|XDSI"' in event
        assert b'type="MSH-10"' in event
    assert await registry.parts.recorder.spool.reader("test").next(10) == []


async def test_refusals_are_recorded_as_failures(registry, feed):
    await answer(feed, adt("A40", patient=PATIENT, prior=PATIENT))
    await answer(feed, b"nonsense")

    events = [event for _, event in await registry.parts.recorder.spool.reader("test").next(10)]
    assert len(events) == 3
    assert all(b'EventOutcomeIndicator="8"' in event for event in events)
    assert await registry.outbox() == []


# --- the listener ----------------------------------------------------------------------------------------


@pytest.fixture
async def listener():
    async def echo(message, address):
        if message == b"slow":
            await asyncio.sleep(0.2)
        return b"re:" + message

    listener = MllpListener(
        echo,
        refusal=lambda reason, _: b"AR:" + reason.encode(),
        limits=MllpLimits(frame_bytes=1_000, frame_seconds=0.3, connections=4, connections_per_peer=3),
    )
    await listener.start("127.0.0.1", 0)
    yield listener
    await listener.stop()


class Peer:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, listener):
        return cls(*await asyncio.open_connection("127.0.0.1", listener.port))

    def send(self, octets):
        self.writer.write(octets)

    async def answer(self):
        return (await asyncio.wait_for(self.reader.readuntil(b"\x1c\r"), 5))[1:-2]

    async def gone(self):
        try:
            return await asyncio.wait_for(self.reader.read(100), 5) == b""
        except ConnectionError:
            return True

    async def close(self):
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def test_messages_of_one_connection_are_answered_in_order(listener):
    peer = await Peer.connect(listener)
    peer.send(framed(b"slow") + framed(b"two"))
    assert await peer.answer() == b"re:slow"
    assert await peer.answer() == b"re:two"
    await peer.close()


async def test_too_long_a_frame_is_refused_and_the_next_connection_served(listener):
    peer = await Peer.connect(listener)
    peer.send(b"\x0b" + b"x" * 5_000)
    assert (await peer.answer()).startswith(b"AR:a message is at most")
    assert await peer.gone()
    await peer.close()
    good = await Peer.connect(listener)
    good.send(framed(b"good"))
    assert await good.answer() == b"re:good"
    await good.close()


async def test_a_frame_that_does_not_end_in_time_is_refused(listener):
    peer = await Peer.connect(listener)
    peer.send(b"\x0bMSH|")
    assert (await peer.answer()).startswith(b"AR:a message must arrive within")
    assert await peer.gone()
    await peer.close()


async def test_a_silent_connection_is_closed_without_a_word(listener):
    peer = await Peer.connect(listener)
    assert await peer.gone()
    await peer.close()


async def test_what_is_no_frame_is_refused(listener):
    peer = await Peer.connect(listener)
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert (await peer.answer()).startswith(b"AR:a frame begins")
    assert await peer.gone()
    await peer.close()


async def test_one_peer_has_a_number_of_connections(listener):
    peers = [await Peer.connect(listener) for _ in range(3)]
    for peer in peers:
        peer.send(framed(b"x"))
        await peer.answer()
    one_more = await Peer.connect(listener)
    assert await one_more.gone()
    await one_more.close()
    await peers.pop().close()
    await asyncio.sleep(0.05)
    again = await Peer.connect(listener)
    again.send(framed(b"x"))
    assert await again.answer() == b"re:x"
    for peer in (again, *peers):
        await peer.close()


async def test_stopping_answers_what_is_in_work(listener):
    peer, idle = await Peer.connect(listener), await Peer.connect(listener)
    peer.send(framed(b"slow"))
    await asyncio.sleep(0.05)
    await listener.stop()
    assert await peer.answer() == b"re:slow"
    assert await peer.gone()
    assert await idle.gone()
    await peer.close()
    await idle.close()

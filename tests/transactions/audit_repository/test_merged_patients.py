"""A patient's records are found, whatever id was theirs then (dossier on audit, 15: "X or any merged id")."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_repository.domain.record import record_of
from audit_repository.domain.sources import Sources, Standing
from audit_repository.store import identities as store
from audit_repository.store.events import Search, Trail
from audit_repository.store.tables import MIGRATIONS
from audit_repository.store.verification import verify
from registry.transactions.iti8 import FeedReceiver
from shared.audit.events import (
    INSTANCES_TRANSFERRED,
    PATIENT_RECORD,
    REFUSED,
    AuditEvent,
    AuditSource,
    Outcome,
    feed_participants,
    ihe,
    patient_object,
    pull_participants,
    push_participants,
    study_object,
)
from shared.audit.recorder import message
from shared.security.caller import Node
from shared.security.rights import Rights
from shared.store.statements import SQLITE, Statements
from tests.support.audit import NODE, SOURCES, a_caller
from tests.support.databases import DatabasePlace
from tests.support.metadata import OTHER_PATIENT, PATIENT
from tests.support.registry import registry
from tests.support.releases import BEFORE_MERGES
from tests.transactions.registry.test_iti44 import merge as merge_by_iti44
from xdsi.patient import message as adt

__all__ = ["registry"]

NOON = datetime(2030, 5, 4, 12, tzinfo=UTC)
REGISTRY = AuditSource(source_id="xdsi-registry", hostname="registry.hub.example")
IMAGING_SOURCE = AuditSource(source_id="xdsi-imaging-source", hostname="source.north.example")
RAD69 = ihe("RAD-69", "Retrieve Imaging Document Set")
numbers = count(1)


def cx(patient):
    return f"{patient}^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"


def kept(event, source=REGISTRY, *, sources=SOURCES, node=NODE):
    return record_of(message(event, source), node=node, received=NOON, sources=sources)


def a_retrieval(patient, *, refused=False):
    """What an imaging source records: the patient whose the study was when it was stored."""
    return kept(
        AuditEvent(
            event_id=INSTANCES_TRANSFERRED,
            action="R",
            outcome=Outcome.SERIOUS_FAILURE if refused else Outcome.SUCCESS,
            event_types=(RAD69,),
            participants=pull_participants(a_caller(), server=True),
            objects=(patient_object(cx(patient)), study_object(f"2.999.5.{next(numbers)}")),
            outcome_description="refused by consent: p-1" if refused else "",
        ),
        IMAGING_SOURCE,
    )


def fed(action, patient, *, control_id, at=NOON, outcome=Outcome.SUCCESS, sender="ADT", feed="ITI-8"):
    """One record of a feed's message, as the table of the dossier has it (4.4)."""
    detail = ("II" if feed == "ITI-44" else "MSH-10", control_id.encode())
    participants = feed_participants(
        sender=("NORTH", sender),
        receiver=("HUB", "REG"),
        sender_address="192.0.2.30",
        receiver_host="registry.hub.example",
        server=True,
    )
    return AuditEvent(
        event_id=PATIENT_RECORD,
        action=action,
        outcome=outcome,
        event_types=(ihe(feed, "Patient Identity Feed"),),
        participants=push_participants(a_caller(None), server=True) if feed == "ITI-44" else participants,
        objects=(patient_object(cx(patient), details=(detail,)),),
        time=at,
    )


def merged(old, new, **changes):
    """Both records of a merge."""
    message = {"control_id": f"M-{next(numbers)}"} | changes
    return [kept(fed("D", old, **message)), kept(fed("U", new, **message))]


async def under(trail, patient, **wanted):
    """The ids under which the retrievals of a patient were recorded, in their order."""
    found = await trail.search(Search(patient=cx(patient), type="RAD-69", **wanted))
    return [
        value.partition("^")[0]
        for item in reversed(found)
        for kind, value in item.record.terms
        if kind == "patient"
    ]


# --- what belongs to whom ----------------------------------------------------------------------------


@pytest.mark.parametrize("feed", ["ITI-8", "ITI-30", "ITI-44"])
async def test_what_was_recorded_under_a_merged_id_is_the_surviving_patient_s(opened, feed):
    async with opened() as trail:
        await trail.append([a_retrieval("A"), a_retrieval("B"), a_retrieval("C")])
        await trail.append(merged("A", "B", feed=feed))
        await trail.append([a_retrieval("A", refused=True)])

        assert await under(trail, "B") == ["A", "B", "A"]
        assert await under(trail, "B", outcome=REFUSED) == ["A"]
        assert await under(trail, "B", failed=True) == ["A"]
        assert await under(trail, "A") == ["A", "A"]
        assert await under(trail, "C") == ["C"]
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_merges_follow_one_another_and_several_meet(opened):
    async with opened() as trail:
        await trail.append([a_retrieval(patient) for patient in "ABCDX"])
        for old in "ACD":
            await trail.append(merged(old, "B"))

        assert await under(trail, "B") == ["A", "B", "C", "D"]
        await trail.append(merged("B", "X"))
        assert await under(trail, "X") == ["A", "B", "C", "D", "X"]
        assert await under(trail, "B") == ["A", "B", "C", "D"]
        assert await under(trail, "C") == ["C"]


async def test_one_message_may_end_several_ids(opened):
    async with opened() as trail:
        await trail.append([a_retrieval(patient) for patient in "ABC"])
        events = [fed("D", "A", control_id="1"), fed("D", "B", control_id="1"), fed("U", "C", control_id="1")]
        await trail.append(list(map(kept, events)))

        assert await under(trail, "C") == ["A", "B", "C"]
        assert await under(trail, "B") == ["B"]


async def test_the_two_records_of_a_merge_may_come_in_any_order_apart_and_twice(opened):
    async with opened() as trail:
        await trail.append([a_retrieval("A"), a_retrieval("B")])
        deleted, updated = merged("A", "B")
        for record in (updated, a_retrieval("C"), deleted, updated):
            await trail.append([record])

        assert await under(trail, "B") == ["A", "B"]


async def test_pages_of_a_merged_patient_follow_one_another(opened):
    async with opened() as trail:
        for _ in range(4):
            await trail.append([a_retrieval("A"), a_retrieval("B"), a_retrieval("C")])
        await trail.append(merged("A", "B"))

        places, before = [], 2**62
        while found := await trail.search(Search(patient=cx("B"), type="RAD-69", limit=3, before=before)):
            before = found[-1].sequence
            places += [item.sequence for item in found]
        assert places == [11, 10, 8, 7, 5, 4, 2, 1]


# --- what is no merge --------------------------------------------------------------------------------


async def test_a_merge_that_was_refused_joins_nobody(opened):
    async with opened() as trail:
        await trail.append([a_retrieval("A"), a_retrieval("B")])
        await trail.append(merged("A", "B", outcome=Outcome.SERIOUS_FAILURE))

        assert await under(trail, "B") == ["B"]


async def test_a_deletion_that_is_no_feed_s_joins_nobody(opened):
    async with opened() as trail:
        await trail.append([a_retrieval("A"), a_retrieval("B")])
        await trail.append(merged("A", "B", feed="ITI-62"))

        assert await under(trail, "B") == ["B"]


@pytest.mark.parametrize("source", ["xdsi-registry", "feeder-of-the-stranger"])
async def test_a_node_that_is_not_the_source_it_names_cannot_say_who_is_whom(opened, source):
    stranger = Node(address="192.0.2.66", subject="CN=stranger", fingerprint="cd" * 32)
    sources = Sources({}, of_the_community=lambda node: node is NODE, proves_nodes=True)
    async with opened() as trail:
        await trail.append([a_retrieval("A"), a_retrieval("B")])
        events = [fed("D", "A", control_id="1"), fed("U", "B", control_id="1")]
        await trail.append(
            [kept(event, AuditSource(source_id=source), sources=sources, node=stranger) for event in events]
        )

        assert await under(trail, "B") == ["B"]


async def test_senders_that_count_their_messages_anew_or_not_at_all_join_no_strangers(opened):
    moments = (NOON + timedelta(seconds=seconds) for seconds in (0, 1, 2, 60, 86_400))
    first, second, third, minute_later, next_day = moments
    events = [
        fed("D", "A", control_id="1", at=first),
        fed("U", "B", control_id="1", at=first + timedelta(microseconds=30)),
        fed("U", "X", control_id="1", at=second),
        fed("D", "C", control_id="1", at=third),
        fed("U", "D", control_id="1", at=third + timedelta(microseconds=30)),
        fed("U", "Y", control_id="1", at=first, sender="ANOTHER"),
        fed("D", "E", control_id="1", at=minute_later),
        fed("U", "Z", control_id="1", at=next_day),
    ]
    async with opened() as trail:
        await trail.append([a_retrieval(patient) for patient in "ABCDEXYZ"])
        await trail.append(list(map(kept, events)))

        assert await under(trail, "B") == ["A", "B"]
        assert await under(trail, "D") == ["C", "D"]
        for patient in "XYZ":
            assert await under(trail, patient) == [patient]


async def test_what_a_message_leaves_open_joins_nobody(opened):
    events = [("D", "A"), ("U", "B"), ("D", "C"), ("U", "D")]
    async with opened() as trail:
        await trail.append([a_retrieval(patient) for patient in "ABCD"])
        await trail.append([kept(fed(*event, control_id="1")) for event in events])

        for patient in "ABCD":
            assert await under(trail, patient) == [patient]


# --- any history -------------------------------------------------------------------------------------

PATIENTS = "ABCDEFG"
steps = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), st.sampled_from(PATIENTS), st.sampled_from(PATIENTS)),
        st.tuples(st.just("retrieve"), st.sampled_from(PATIENTS), st.just("")),
    ),
    max_size=14,
)


@given(steps=steps, alike=st.booleans())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_after_any_merges_each_id_has_its_own_records_and_those_of_all_that_became_it(
    opened, steps, alike
):
    world = next(numbers)
    survivor = {patient: patient for patient in PATIENTS}
    retrieved = []
    async with opened() as trail:
        for moment, (kind, one, other) in enumerate(steps):
            if kind == "retrieve":
                retrieved.append(one)
                await trail.append([a_retrieval(f"{one}-{world}")])
            elif one != other and survivor[one] == one and survivor[other] == other:
                # as the registry takes them
                survivor[one] = other
                at = NOON + timedelta(seconds=moment, days=world)
                control_id = "1" if alike else str(moment)
                await trail.append(merged(f"{one}-{world}", f"{other}-{world}", at=at, control_id=control_id))

        for patient in PATIENTS:
            expected = [one for one in retrieved if patient in chain(survivor, one)]
            assert await under(trail, f"{patient}-{world}") == [f"{one}-{world}" for one in expected]


def chain(survivor, patient):
    ids = [patient]
    while survivor[ids[-1]] != ids[-1]:
        ids.append(survivor[ids[-1]])
    return ids


# --- the registry's own messages ---------------------------------------------------------------------


@pytest.mark.parametrize("feed", ["ITI-8", "ITI-44"])
async def test_merges_are_understood_as_the_registry_tells_them(registry, tmp_path, feed):
    place = DatabasePlace(url=None, folder=tmp_path / "trail", name="trail")
    database = await place.open(MIGRATIONS)
    trail = Trail(database, place.folder, checkpoint_records=10, checkpoint_seconds=3600)
    await trail.start()
    try:
        if feed == "ITI-8":
            listener = FeedReceiver(registry.parts, "registry.hub.example", Rights(registry.parts.settings))
            octets = adt("A40", patient=OTHER_PATIENT, prior=PATIENT)
            assert b"MSA|AA" in await listener.acknowledge(octets, Node(address="127.0.0.1"))
        else:
            await merge_by_iti44(registry, OTHER_PATIENT, PATIENT)
        for raw in await registry.outbox():
            await trail.append([record_of(raw, node=NODE, received=NOON, sources=SOURCES)])

        assert await store.identities(database, OTHER_PATIENT) == [OTHER_PATIENT, PATIENT]
        assert await store.identities(database, PATIENT) == [PATIENT]
        times = {item.record.event_time for item in await trail.search(Search(type=feed))}
        assert len(times) == 1
    finally:
        await trail.stop()
        await database.close()


# --- a trail of the release before -------------------------------------------------------------------


async def kept_by_the_release_before(opened, database_place, *records):
    """A trail as that release left it: the same records, and of identities nothing."""
    async with opened() as trail:
        for record in records:
            await trail.append([record])
    await database_place.execute([*BEFORE_MERGES])


@pytest.mark.parametrize("standing", [Standing.PROVED, Standing.UNKNOWN])
async def test_merges_of_a_trail_that_is_there_count_from_the_first_start(opened, database_place, standing):
    of_merges = [
        replace(record, standing=standing, fingerprint="" if standing is Standing.UNKNOWN else "ab")
        for record in (*merged("A", "B"), *merged("B", "C", feed="ITI-44"))
    ]
    retrievals = [a_retrieval(patient) for patient in "ABC"]
    await kept_by_the_release_before(opened, database_place, *retrievals, *of_merges)

    async with opened() as trail:
        assert await under(trail, "C") == ["A", "B", "C"]
        await trail.append(merged("C", "D"))
        assert await under(trail, "D") == ["A", "B", "C"]
        assert (await verify(trail.database, trail.folder)).problems == []
    async with opened() as trail:
        assert await under(trail, "D") == ["A", "B", "C"]


async def test_what_the_older_release_writes_between_the_upgrade_and_the_first_start_counts(
    opened, database_place
):
    halves = [*merged("A", "B"), a_retrieval("A")]
    async with opened() as trail:
        await trail.append(halves)
    await database_place.execute(
        [
            "DELETE FROM audit_identity",
            "INSERT INTO audit_backlog (feed, first) VALUES ('ITI-8', 1), ('ITI-30', 1), ('ITI-44', 1)",
        ]
    )

    async with opened() as trail:
        assert await under(trail, "B") == ["A"]
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_reading_what_is_there_goes_on_after_an_interruption(opened, database_place, monkeypatch):
    monkeypatch.setattr(store, "_OLDER", store._OLDER.limit(2))
    monkeypatch.setattr(store, "STEP_RECORDS", 2)
    of_merges = [record for one in "ABCDE" for record in merged(one, "X")]
    retrievals = [a_retrieval(patient) for patient in "ABCDE"]
    await kept_by_the_release_before(opened, database_place, *retrievals, *of_merges)
    database = await database_place.open(MIGRATIONS)
    stepped = store._step
    with monkeypatch.context() as patched:
        steps = iter(range(2))
        patched.setattr(store, "_step", lambda *given: stepped(*given) if next(steps) == 0 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await store.read_backlog(database)
    await database.close()

    async with opened() as trail:
        assert await under(trail, "X") == list("ABCDE")
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_a_trail_that_is_new_has_nothing_to_be_read(opened):
    async with opened() as trail:
        assert await trail.database.fetch(store._BACKLOG) == []


# --- the index ---------------------------------------------------------------------------------------


async def test_the_ids_of_a_patient_are_found_by_indexes(tmp_path):
    statement = Statements(SQLITE).compiled(store._PAIRINGS)
    place = DatabasePlace(url=None, folder=tmp_path, name="trail")
    await (await place.open(MIGRATIONS)).close()
    with closing(sqlite3.connect(tmp_path / "trail.sqlite3")) as file:
        plan = file.execute(
            f"EXPLAIN QUERY PLAN {statement.text}", statement.arguments({"survivor": "B"})
        ).fetchall()
    steps = [step for *_, step in plan if "USE TEMP" not in step]
    assert len(steps) == 3
    assert all("USING" in step and step.startswith("SEARCH") for step in steps), steps


CHANGES = {
    "an identity is put in": (
        "INSERT INTO audit_identity (sequence, patient, action, message, at) "
        "SELECT 1, 'X', action, message, at FROM audit_identity WHERE action = 'D'"
    ),
    "an identity is put in past the end": (
        "INSERT INTO audit_identity (sequence, patient, action, message, at) "
        "SELECT 999, 'X', action, message, at FROM audit_identity WHERE action = 'D'"
    ),
    "an identity is taken away": "DELETE FROM audit_identity WHERE action = 'D'",
    "an identity is another's": "UPDATE audit_identity SET patient = 'X' WHERE action = 'U'",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
async def test_who_changes_which_ids_are_one_patient_s_is_found(opened, database_place, statement):
    async with opened() as trail:
        await trail.append([a_retrieval("A"), *merged("A", "B")])
    await database_place.execute([statement])

    async with opened() as trail:
        assert (await verify(trail.database, trail.folder)).problems

"""Bounds of a record: whatever an event holds, what is sent of it is small and says what is absent."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.audit import bounds, dicom_xml, syslog
from shared.audit.events import (
    INSTANCES_TRANSFERRED,
    AuditEvent,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    document_object,
    patient_object,
    query_object,
    study_object,
)
from shared.audit.node_events import node_authentication_failure, user_authentication_failure
from shared.audit.recorder import messages
from tests.support.audit import ITI18, NODE, PATIENT, SOURCE, an_event

MEGABYTE = 1024**2


def recorded(event) -> list[AuditEvent]:
    """The events as their receiver reads them, each from a record within the bounds."""
    found = messages(event, SOURCE)
    assert max(map(len, found)) <= bounds.MAX_RECORD
    read = [dicom_xml.parse(syslog.parse(octets).body).event for octets in found]
    assert max(len(one.objects) for one in read) <= bounds.MAX_OBJECTS
    return read


def documents(number):
    return tuple(document_object(f"2.999.1.{at}", repository_unique_id="2.999.2") for at in range(number))


def details(item) -> dict[str, bytes]:
    return dict(item.details)


def test_an_ordinary_event_is_recorded_as_it_is():
    event = an_event()
    assert bounds.parts(event) == (event,)
    assert bounds.parts(event)[0] is event


@pytest.mark.parametrize("number", [1, 199, 200, 655, 1_500, 5_000])
def test_many_objects_become_several_records_which_name_all_of_them(number):
    event = an_event(objects=(patient_object(PATIENT), *documents(number)))

    read = recorded(event)

    named = [item.object_id for one in read for item in one.objects[1:]]
    assert named == [item.object_id for item in documents(number)]
    assert {one.objects[0].object_id for one in read} == {PATIENT}
    assert {one.participants for one in read} == {event.participants}
    assert {(one.event_id, one.outcome, one.time, one.purposes) for one in read} == {
        (event.event_id, event.outcome, event.time, event.purposes)
    }
    if len(read) > 1:
        expected = [f"part {at} of {len(read)}" for at in range(1, len(read) + 1)]
        assert [one.outcome_description for one in read] == expected


@pytest.mark.parametrize("size", [bounds.MAX_QUERY, bounds.MAX_QUERY + 1, 100 * bounds.MAX_QUERY])
def test_a_query_is_kept_to_its_bound_with_the_digest_of_all_of_it(size):
    query = bytes(32 + at % 90 for at in range(size))

    (read,) = recorded(an_event(objects=(patient_object(PATIENT), query_object("q", ITI18, query))))

    kept = read.objects[1]
    assert kept.query == query[: bounds.MAX_QUERY]
    told = {} if size <= bounds.MAX_QUERY else {"SHA-256": sha256(query).hexdigest().encode()}
    assert {kind: value for kind, value in kept.details if kind == "SHA-256"} == told
    assert ("Query shortened" in details(kept)) == (size > bounds.MAX_QUERY)


@pytest.mark.parametrize("hostile", ["x", '"', "\x00", "\n", "\ud800", "ü", "𝄞"])
@pytest.mark.parametrize("number", [169, 170, 171, 1_024, 1_025, MEGABYTE])
def test_a_long_value_is_cut_and_says_how_long_it_was(hostile, number):
    value = hostile * number
    event = user_authentication_failure(claimed=value, node=NODE, reason=value)

    (read,) = recorded(event)

    (participant,) = read.participants
    octets = value.encode("utf-8", "replace")
    whole = dicom_xml.size_of(value) <= bounds.MAX_VALUE
    assert (
        whole or f"[{len(octets)} octets, SHA-256 {sha256(octets).hexdigest()[:16]}]" in participant.user_id
    )
    assert whole or " octets, SHA-256 " in read.outcome_description
    assert participant.user_id.startswith(("\ufffd" if hostile in "\x00\ud800" else hostile) * 80)


def test_details_beyond_one_object_go_on_in_the_next_one_of_the_same_id():
    given = tuple(("ihe:DocumentUniqueId", b"2.999.%d" % at) for at in range(5_000))

    read = recorded(an_event(objects=(patient_object(PATIENT), study_object("2.999.3", details=given))))

    named = [detail for one in read for item in one.objects[1:] for detail in item.details]
    assert named == list(given)
    assert {item.object_id for one in read for item in one.objects[1:]} == {"2.999.3"}


def test_objects_beyond_the_last_part_are_counted():
    number = bounds.MAX_OBJECTS * bounds.MAX_PARTS + 1_000

    read = recorded(an_event(objects=documents(number)))

    named = sum(len(one.objects) for one in read)
    assert len(read) == bounds.MAX_PARTS
    assert read[-1].outcome_description.endswith(f"; {number - named} more objects are not named")


def test_a_node_is_refused_in_one_small_record_whatever_the_reason_says():
    (read,) = recorded(node_authentication_failure("192.0.2.1", "r" * MEGABYTE))
    assert "1048576 octets" in read.outcome_description
    assert b"1048576 octets" in read.objects[0].details[0][1]


def test_nobody_makes_a_message_past_the_bounds():
    """What becomes a record does so by `messages`; other ways to one are for `shared.audit` alone."""
    makers = re.compile(
        r"shared\.audit\.recorder import [^\n]*\bmessage\b|dicom_xml\.encode|syslog\.message\("
    )
    root = Path(__file__).parents[3]
    sources = [path for path in root.glob("*/**/*.py") if path.parts[len(root.parts)] in PRODUCT]

    found = {str(path.relative_to(root)) for path in sources if makers.search(path.read_text("utf-8"))}

    assert len(sources) > 150
    assert found == {"shared/audit/recorder.py", "shared/audit/delivery.py"}


PRODUCT = (
    "audit_repository",
    "consumer",
    "gateway",
    "imaging_source",
    "registry",
    "repository",
    "shared",
    "xdsi",
)

ANY_TEXT = st.builds(
    lambda text, times: text * times,
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from([0, 1, 1, 1, 9, 40, 500]),
)
ANY_OCTETS = st.builds(
    lambda octets, times: octets * times, st.binary(max_size=20), st.sampled_from([1, 60, 900])
)
CODES = st.builds(Coded, ANY_TEXT, ANY_TEXT, ANY_TEXT)
PARTICIPANTS = st.builds(
    Participant,
    user_id=ANY_TEXT,
    alternative_user_id=ANY_TEXT,
    user_name=ANY_TEXT,
    roles=st.lists(CODES, max_size=20).map(tuple),
    network_id=ANY_TEXT,
)
OBJECTS = st.builds(
    ParticipantObject,
    object_id=ANY_TEXT,
    id_type=CODES,
    type_code=st.sampled_from([1, 2]),
    role=st.sampled_from([1, 3]),
    name=ANY_TEXT,
    query=st.none() | ANY_OCTETS,
    details=st.lists(st.tuples(ANY_TEXT, ANY_OCTETS), max_size=5).map(lambda some: tuple(some) * 9),
    sop_classes=st.lists(st.tuples(ANY_TEXT, st.integers(0, 10**6)), max_size=5).map(
        lambda some: tuple(some) * 9
    ),
)
EVENTS = st.builds(
    AuditEvent,
    event_id=CODES,
    action=st.just("R"),
    outcome=st.sampled_from(Outcome),
    event_types=st.lists(CODES, max_size=20).map(tuple),
    participants=st.lists(PARTICIPANTS, max_size=12).map(tuple),
    objects=st.lists(OBJECTS, max_size=6).map(lambda some: tuple(some) * 5),
    outcome_description=ANY_TEXT,
    purposes=st.lists(CODES, max_size=20).map(tuple),
)


@settings(max_examples=60)
@given(EVENTS)
def test_whatever_an_event_holds_its_records_are_within_the_bounds(event):
    assert recorded(event)


@settings(max_examples=60)
@given(ANY_TEXT, st.integers(100, 2_000))
def test_what_is_cut_fits_and_what_fits_is_not_cut(value, most):
    kept = bounds.cut(value, most)
    assert dicom_xml.size_of(kept) <= most
    assert (kept == value) == (dicom_xml.size_of(value) <= most)


def test_the_records_of_a_transfer_name_every_sop_class():
    classes = tuple((f"2.999.7.{at}", at) for at in range(3_000))
    event = an_event(event_id=INSTANCES_TRANSFERRED, objects=(study_object("2.999.3", sop_classes=classes),))

    read = recorded(event)

    assert [named for one in read for item in one.objects for named in item.sop_classes] == list(classes)

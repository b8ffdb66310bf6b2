"""What should be in the trail and is not is found, and what is there is no gap."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from audit_repository.domain.gaps import GapKind, gaps, mention_of
from audit_repository.domain.record import record_of
from shared.audit.events import (
    AuditSource,
    Outcome,
    pull_participants,
    push_participants,
    query_object,
    study_object,
)
from shared.audit.node_events import started, stopped
from shared.audit.recorder import message
from shared.security.caller import Node
from tests.support.audit import CLINICIAN, ITI18, SOURCES, a_caller, an_event

NOW = datetime(2030, 5, 4, 9, 0, tzinfo=UTC)
CLIENT = AuditSource(source_id="viewer-north", hostname="viewer")
SERVER = AuditSource(source_id="registry-hub", hostname="registry")
NODE = Node(address="192.0.2.17")
DAY = timedelta(days=1)


def mentioned(sequence, octets, received):
    record = record_of(octets, node=NODE, received=received, sources=SOURCES)
    return mention_of(sequence, record)


def a_trail(exchanges, random_times):
    """Both sides of so many exchanges, some of them alike, as they come in."""
    told = []
    for number in range(exchanges):
        at = NOW + timedelta(seconds=number * 7)
        caller = a_caller(user=replace(CLINICIAN, name_id=f"u-{number % 5}"))
        asks = number % 2 == 0
        item = (
            query_object(f"urn:uuid:{number % 3}", ITI18, b"q")
            if asks
            else study_object(f"2.999.{number % 4}")
        )
        participants = push_participants if asks else pull_participants
        for server, source in ((False, CLIENT), (True, SERVER)):
            event = an_event(
                caller=caller,
                participants=participants(caller, server=server),
                objects=(item,),
                time=at + timedelta(seconds=random_times.random()),
            )
            told.append((message(event, source), event.time))
    return [mentioned(number, octets, at) for number, (octets, at) in enumerate(told, start=1)]


def test_a_trail_with_both_sides_has_no_gap():
    mentions = a_trail(300, random.Random(1))

    assert gaps(mentions, until=NOW + DAY / 2, silence=DAY) == []


@pytest.mark.parametrize("seed", range(5))
def test_every_record_that_was_taken_out_of_a_two_sided_trail_is_found(seed, request):
    number = 200 if request.config.getoption("--long") or seed == 0 else 40
    chance = random.Random(seed)
    mentions = a_trail(number * 5, chance)
    # One of each exchange: what neither side tells of, nobody knows.
    missing = [2 * exchange + chance.randrange(2) for exchange in chance.sample(range(number * 5), number)]
    left = [one for place, one in enumerate(mentions) if place not in set(missing)]

    found = gaps(left, until=NOW + DAY / 2, silence=DAY)

    assert {gap.kind for gap in found} == {GapKind.COUNTERPART}
    by_source = [mentions[place].source for place in missing]
    assert sorted(gap.source for gap in found) == sorted(by_source)


def test_a_side_that_never_tells_is_no_gap_and_neither_is_a_failure():
    caller = a_caller()
    alone = an_event(time=NOW)
    failed = an_event(
        time=NOW, outcome=Outcome.SERIOUS_FAILURE, participants=push_participants(caller, server=False)
    )
    mentions = [mentioned(1, message(alone, SERVER), NOW), mentioned(2, message(failed, CLIENT), NOW)]

    assert gaps(mentions[:1], until=NOW, silence=DAY) == []
    assert gaps(mentions, until=NOW, silence=DAY) == []


def of_source(event, at, source=SERVER, received=None):
    return mentioned(int(at.timestamp()), message(replace(event, time=at), source), received or at)


def test_a_source_that_falls_silent_is_found_unless_it_said_that_it_stops():
    started_at, silent = of_source(started(SERVER), NOW), of_source(an_event(), NOW + timedelta(hours=1))
    end = of_source(stopped(SERVER), NOW + timedelta(hours=2))
    (gap,) = gaps([started_at, silent], until=NOW + 3 * DAY, silence=DAY)

    assert (gap.kind, gap.source, gap.sequence) == (GapKind.SILENCE, "registry-hub", silent.sequence)
    assert gaps([started_at, silent, end], until=NOW + 3 * DAY, silence=DAY) == []


def test_a_source_that_begins_anew_without_having_ended_is_found():
    first, second = of_source(started(SERVER), NOW), of_source(started(SERVER), NOW + timedelta(hours=1))
    end = of_source(stopped(SERVER), NOW + timedelta(minutes=30))

    (gap,) = gaps([first, second], until=NOW, silence=DAY)
    assert gap.kind is GapKind.CRASH
    assert gaps([first, end, second], until=NOW, silence=DAY) == []


@pytest.mark.parametrize(
    ("apart", "kind"),
    [
        (timedelta(minutes=4), None),
        (timedelta(minutes=6), GapKind.AHEAD),
        (-timedelta(hours=2), GapKind.LATE),
    ],
)
def test_a_clock_that_runs_off_is_found(apart, kind):
    found = gaps([of_source(an_event(), NOW + apart, received=NOW)], until=NOW, silence=DAY)

    assert [gap.kind for gap in found] == ([kind] if kind else [])


def test_a_hole_in_what_a_sender_counts_is_found():
    plain = message(an_event(time=NOW), SERVER)
    counted = [
        mentioned(number, plain.replace(b" - <", b' [meta sequenceId="%d"] <' % number, 1), NOW)
        for number in (1, 2, 5, 6)
    ]

    (gap,) = gaps(counted, until=NOW, silence=DAY)
    assert (gap.kind, gap.text) == (GapKind.HOLE, "2 missing after number 2")

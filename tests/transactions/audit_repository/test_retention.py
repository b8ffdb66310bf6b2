"""Retention gives months up whole and leaves their heads, unless a legal hold names something of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import bindparam, delete, func, select, update

from audit_repository.domain.holds import Hold, last_month_given_up
from audit_repository.domain.record import record_of
from audit_repository.store.events import Search
from audit_repository.store.retention import Retention
from audit_repository.store.tables import audit_given_up, audit_record, audit_term
from audit_repository.store.verification import verify
from shared.audit.events import patient_object
from shared.audit.recorder import message
from shared.security.caller import Node
from tests.support.audit import SOURCE, SOURCES, an_event

NOW = datetime(2030, 9, 15, tzinfo=UTC)
MONTHS = [datetime(2030, month, 10, tzinfo=UTC) for month in (5, 6, 7, 9)]
OTHER = "P0002^^^&2.999.1&ISO"


def received(at, **changes):
    event = an_event(**{"time": at} | changes)
    return record_of(message(event, SOURCE), node=Node(address="192.0.2.17"), received=at, sources=SOURCES)


async def filled(trail):
    """Four records in each of four months; the second of each is of another patient."""
    for at in MONTHS:
        for number in range(4):
            changes = {"objects": (patient_object(OTHER),)} if number == 1 else {}
            await trail.append([received(at.replace(hour=number), **changes)])
    await trail.checkpoint()


def retention(trail, told=None, months=2):
    async def record(event):
        (told if told is not None else []).append(event)

    return Retention(trail, record, months=months)


async def months_in(trail):
    rows = await trail.database.fetch(select(audit_record.c.partition).distinct())
    return sorted(row[0] for row in rows)


def a_hold(**changes):
    return Hold(
        **{"hold_id": "urn:uuid:1", "reason": "a court asks", "placed": "2030-01-01", "placed_by": "a"}
        | changes
    )


@pytest.mark.parametrize(
    ("now", "months", "last"),
    [
        ("2030-09-15", 2, "2030-06"),
        ("2030-09-01", 0, ""),
        ("2030-01-31", 1, "2029-11"),
        ("2030-12-01", 12, "2029-11"),
        ("2030-12-01", 120, "2020-11"),
    ],
)
def test_a_month_is_kept_for_so_many_whole_months_after_it(now, months, last):
    assert last_month_given_up(datetime.fromisoformat(now), months) == last


async def test_months_that_are_over_go_whole_and_the_trail_stays_verified(opened):
    told = []
    async with opened() as trail:
        await filled(trail)
        await retention(trail, told).turn(NOW)

        report = await verify(trail.database, trail.folder)

        assert await months_in(trail) == ["2030-07", "2030-09"]
        assert not await trail.database.fetch(select(audit_term.c.value).where(audit_term.c.sequence <= 8))
        assert (report.problems, report.records, report.given_up) == ([], 8, ["2030-05", "2030-06"])
        assert ["2030-05" in told[0].outcome_description, "2030-06" in told[1].outcome_description] == [
            True,
            True,
        ]


async def test_without_retention_everything_stays(opened):
    async with opened() as trail:
        await filled(trail)
        await retention(trail, months=0).turn(NOW)

        assert len(await months_in(trail)) == 4


@pytest.mark.parametrize(
    ("hold", "kept"),
    [
        (a_hold(patient=OTHER), ["2030-05", "2030-06"]),
        (a_hold(patient=OTHER, since="2030-06"), ["2030-06"]),
        (a_hold(since="2030-05-10T03", until="2030-05-11"), ["2030-05"]),
        (a_hold(until="2030-05-10T00:00:00.000000Z"), []),
        (a_hold(patient="P9999^^^&2.999.1&ISO"), []),
        (a_hold(patient=OTHER, study="2.999.77"), []),
        (a_hold(patient=OTHER, released="2030-08-01"), []),
    ],
)
async def test_a_hold_keeps_the_months_in_which_it_names_a_record(opened, hold, kept):
    async with opened() as trail:
        await filled(trail)
        of_trail = retention(trail)
        assert await of_trail.place(hold) == ()
        await of_trail.turn(NOW)

        assert await months_in(trail) == [*kept, "2030-07", "2030-09"]
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_what_a_hold_kept_goes_once_it_is_released(opened):
    async with opened() as trail:
        await filled(trail)
        of_trail = retention(trail)
        await of_trail.place(a_hold(patient=OTHER))
        await of_trail.turn(NOW)
        assert await of_trail.release("urn:uuid:1", by="b")
        assert not await of_trail.release("urn:uuid:1", by="b")
        await of_trail.turn(NOW)

        assert await months_in(trail) == ["2030-07", "2030-09"]
        assert await of_trail.place(a_hold(hold_id="urn:uuid:2", patient=OTHER)) == ("2030-05", "2030-06")


async def test_records_taken_out_of_a_month_that_was_not_given_up_rightly_are_found(opened):
    async with opened() as trail:
        await filled(trail)
        await retention(trail).turn(NOW)
        ((first,),) = await trail.database.fetch(select(func.min(audit_record.c.sequence)))
        forged = {"number": 3, "partition": "2030-07", "first": first, "sequence": first + 3}
        forged |= {"chain": "0", "time": "", "signature": b""}

        async def work(transaction):
            await transaction.execute(delete(audit_record).where(audit_record.c.partition == "2030-07"))
            await transaction.execute(
                audit_given_up.insert().values({name: bindparam(name) for name in forged}), **forged
            )

        await trail.database.write(work)
        problems = (await verify(trail.database, trail.folder)).problems

        assert "that 2030-07 was given up has no valid signature" in problems
        assert f"record {first} is missing" in problems


async def test_a_certificate_moved_to_another_month_is_found(opened):
    async with opened() as trail:
        await filled(trail)
        await retention(trail).turn(NOW)
        moved = (
            update(audit_given_up).where(audit_given_up.c.number == 1).values(partition="2030-07", number=3)
        )

        async def work(transaction):
            await transaction.execute(moved)

        await trail.database.write(work)

        assert (await verify(trail.database, trail.folder)).problems


async def test_what_an_interrupted_turn_left_goes_with_the_next(opened, monkeypatch):
    async with opened() as trail:
        await filled(trail)
        monkeypatch.setattr("audit_repository.store.retention.STEP_RECORDS", 1)
        write, allowed = trail.database.write, 3

        async def breaking(work):
            nonlocal allowed
            allowed -= 1
            if allowed < 0:
                raise ConnectionError("gone")
            return await write(work)

        monkeypatch.setattr(trail.database, "write", breaking)
        with pytest.raises(ConnectionError):
            await retention(trail).turn(NOW)
        monkeypatch.undo()
        assert (await verify(trail.database, trail.folder)).problems == []
        await retention(trail).turn(NOW)

        assert await months_in(trail) == ["2030-07", "2030-09"]


async def test_what_is_found_by_patient_afterwards_is_what_is_left(opened):
    async with opened() as trail:
        await filled(trail)
        await retention(trail).turn(NOW)

        found = await trail.search(replace(Search(), patient=OTHER))

        assert [one.partition for one in found] == ["2030-09", "2030-07"]

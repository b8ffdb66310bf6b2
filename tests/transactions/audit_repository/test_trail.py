"""The trail: nothing that was taken can be changed, deleted or moved without being found."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, bindparam, cast, delete, literal, select, update

from audit_repository.app import build
from audit_repository.domain import record as record_module
from audit_repository.domain.chain import Checkpoint
from audit_repository.domain.record import RecordState, digest_of, record_of, undated
from audit_repository.domain.sources import Standing
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search, Trail
from audit_repository.store.signing import PRIVATE, PUBLISHED, Signer, SigningKeyError
from audit_repository.store.tables import (
    MIGRATIONS,
    audit_checkpoint,
    audit_head,
    audit_record,
    audit_term,
    metadata,
)
from audit_repository.store.verification import verify
from shared.audit.events import IMPORT, Outcome, Participant, ihe
from shared.audit.recorder import message
from shared.security.caller import Node
from shared.store.folders import FolderHeld
from tests.support.audit import PATIENT, SOURCE, SOURCES, an_event
from tests.support.databases import DatabasePlace
from tests.support.releases import make_first_release, rows_of

MAY, JUNE = datetime(2030, 5, 31, 23, 59, tzinfo=UTC), datetime(2030, 6, 1, tzinfo=UTC)


def a_record(received=MAY, peer="192.0.2.17", **changes):
    raw = message(an_event(**changes), SOURCE)
    return came_as(raw, Node(address=peer, subject="CN=node", fingerprint="ab" * 32), received)


def came_as(raw, node, received=MAY):
    return record_of(raw, node=node, received=received, sources=SOURCES)


async def filled(trail, count=12, received=MAY):
    for _ in range(count):
        await trail.append([a_record(received)])


async def test_an_untouched_trail_is_whole(opened):
    async with opened() as trail:
        await filled(trail, 25)

        report = await verify(trail.database, trail.folder)

        assert report.problems == []
        assert (report.records, report.partitions, report.checkpoints) == (25, 1, 2)


async def test_an_empty_trail_is_whole(opened):
    async with opened() as trail:
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_the_chain_goes_on_over_restarts_and_months(opened):
    async with opened() as trail:
        await filled(trail, 3)
    async with opened() as trail:
        await filled(trail, 3, JUNE)
        # the clock went back: the trail does not
        await filled(trail, 2, MAY)

        report = await verify(trail.database, trail.folder)

        assert report.problems == []
        assert (report.records, report.partitions) == (8, 2)


async def test_a_batch_may_cross_into_the_next_month(opened):
    async with opened() as trail:
        await trail.append([a_record(MAY), a_record(JUNE), a_record(JUNE)])

        assert (await verify(trail.database, trail.folder)).problems == []


async def test_records_that_come_at_once_are_all_there_in_one_chain(opened):
    async with opened() as trail:
        records = [a_record() for _ in range(60)]
        counts = await asyncio.gather(*(trail.append([record]) for record in records))

        assert counts == [1] * 60
        report = await verify(trail.database, trail.folder)
        assert (report.records, report.problems) == (60, [])


async def test_a_record_that_is_sent_again_is_kept_once(opened):
    async with opened() as trail:
        record = a_record()
        assert await trail.append([record, record]) == 1 or trail.sequence == 1
        assert await trail.append([record]) == 0
        # what another node sends is another record
        assert await trail.append([replace(record, subject="CN=other")]) == 1

        assert (await verify(trail.database, trail.folder)).records == 2


async def change(trail, statement, **parameters):
    async def work(transaction):
        return await transaction.execute(statement, **parameters)

    assert await trail.database.write(work) > 0


def at(sequence):
    return audit_record.c.sequence == literal(sequence)


CHANGES = [
    ("raw", b"<85>1 - - - - - - other"),
    ("received", "2030-05-30T00:00:00.000000Z"),
    ("peer", "192.0.2.99"),
    ("subject", "CN=somebody else"),
    ("fingerprint", "cd" * 32),
    ("fingerprint", ""),
    ("standing", "claimed"),
    ("standing", "unknown"),
    ("standing", "nonsense"),
    ("event_time", "2029-01-01T00:00:00.000000Z"),
    ("event", "110114"),
    ("outcome", 12),
    ("state", RecordState.UNPARSED.value),
    ("state", "nonsense"),
    ("reason", "because"),
    ("terms", ""),
    ("terms", "nonsense"),
    ("digest", "00" * 32),
    ("chain", "00" * 32),
    ("chain", "nonsense"),
    ("partition", "2030-04"),
]


def setting(column):
    place = audit_record.c.sequence == bindparam("place")
    return update(audit_record).where(place).values({column: bindparam("value")})


async def test_a_record_that_an_older_release_kept_is_known_when_it_comes_again(opened, monkeypatch):
    old, new = a_record(), a_record()
    async with opened() as trail:
        with monkeypatch.context() as older:
            older.setattr(record_module, "digest_of", lambda *values: undated(digest_of(*values)))
            await trail.append([old])

        assert await trail.append([old, new, old]) == 1
        assert list((await trail.places([new, old])).items()) == [(new.digest, 2), (old.digest, 1)]
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_a_digest_behind_another_time_is_found(opened):
    async with opened() as trail:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                record_module,
                "digest_of",
                lambda *values: f"2030-01-01T00:00:00 {undated(digest_of(*values))}",
            )
            await trail.append([a_record()])

        (problem,) = (await verify(trail.database, trail.folder)).problems
        assert "record 1 was changed" in problem


async def test_any_changed_value_of_any_record_is_found_there(opened):
    async with opened() as trail:
        await filled(trail)
        for column, value in CHANGES:
            statement = setting(column)
            for sequence in (1, 2, 10, 11, 12):
                ((before,),) = await trail.database.fetch(select(audit_record.c[column]).where(at(sequence)))
                await change(trail, statement, place=sequence, value=value)

                problems = (await verify(trail.database, trail.folder)).problems

                assert any(f"record {sequence} was changed" in problem for problem in problems), column
                await change(trail, statement, place=sequence, value=before)
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_a_text_that_became_the_same_octets_is_found(opened):
    async with opened() as trail:
        if trail.database.dialect != "sqlite":
            pytest.skip("columns of PostgreSQL keep their type")
        await filled(trail)
        octets = update(audit_record).where(at(3)).values(event=cast(audit_record.c.event, LargeBinary))
        await change(trail, octets)

        problems = (await verify(trail.database, trail.folder)).problems

        assert any("record 3 was changed" in problem for problem in problems)


async def test_any_deleted_record_is_found(opened):
    async with opened() as trail:
        await filled(trail)
        remove = delete(audit_record).where(audit_record.c.sequence == bindparam("place"))
        insert = audit_record.insert().values(
            {column.name: bindparam(column.name) for column in audit_record.c}
        )
        for sequence in range(1, 13):
            (row,) = await trail.database.fetch(select(*audit_record.c).where(at(sequence)))
            await change(trail, remove, place=sequence)

            problems = (await verify(trail.database, trail.folder)).problems

            assert f"record {sequence} is missing" in problems
            await change(trail, insert, **dict(zip(audit_record.c.keys(), row, strict=True)))
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_any_two_records_that_changed_places_are_found(opened):
    async with opened() as trail:
        await filled(trail)
        moves = [
            update(table).where(table.c.sequence == bindparam("place")).values(sequence=bindparam("to"))
            for table in (audit_record, audit_term)
        ]
        for one, other in ((1, 2), (3, 9), (11, 12), (1, 12)):
            for place, to in ((one, 1000), (other, one), (1000, other)):
                for move in moves:
                    await change(trail, move, place=place, to=to)

            problems = (await verify(trail.database, trail.folder)).problems

            for sequence in (one, other):
                assert any(f"record {sequence} was changed" in problem for problem in problems)
            for place, to in ((one, 1000), (other, one), (1000, other)):
                for move in moves:
                    await change(trail, move, place=place, to=to)
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_a_record_put_in_past_the_chain_is_found(opened):
    async with opened() as trail:
        await filled(trail)
        (row,) = await trail.database.fetch(select(*audit_record.c).where(at(12)))
        values = dict(zip(audit_record.c.keys(), row, strict=True)) | {"sequence": 13, "digest": "ab" * 32}
        insert = audit_record.insert().values({name: bindparam(name) for name in values})
        await change(trail, insert, **values)

        report = await verify(trail.database, trail.folder)

        assert report.problems == ["record 13 stands outside of the trail, which ends at 12"]


async def test_a_changed_search_index_is_found(opened):
    async with opened() as trail:
        await filled(trail)
        hide = delete(audit_term).where(
            audit_term.c.kind == literal("patient"), audit_term.c.sequence == literal(7)
        )
        await change(trail, hide)

        report = await verify(trail.database, trail.folder)

        assert report.problems == ["record 7: the search index was changed"]


async def test_records_cut_off_the_end_together_with_their_head_are_found(opened):
    async with opened() as trail:
        await filled(trail, 9)
        (before,) = await trail.database.fetch(select(*audit_head.c))
        await filled(trail, 3)
        await change(trail, delete(audit_record).where(audit_record.c.sequence > literal(9)))
        await change(trail, delete(audit_term).where(audit_term.c.sequence > literal(9)))
        await change(trail, delete(audit_head))
        values = dict(zip(audit_head.c.keys(), before, strict=True))
        await change(trail, audit_head.insert().values({name: bindparam(name) for name in values}), **values)

        report = await verify(trail.database, trail.folder)
        assert report.problems == ["record 10 was signed, but the trail ends at 9"]

        await change(trail, delete(audit_checkpoint))
        report = await verify(trail.database, trail.folder)
        assert "the checkpoint of record 10 was published and is missing now" in report.problems


async def test_a_chain_forged_from_a_change_on_is_found_by_its_signatures(opened, tmp_path):
    async with opened() as trail:
        await filled(trail)
        genuine = trail._signer
        trail._signer = Signer(tmp_path / "forger")
        await change(trail, delete(audit_record).where(audit_record.c.sequence >= literal(1)))
        await change(trail, delete(audit_term).where(audit_term.c.sequence >= literal(1)))
        await change(trail, delete(audit_head))
        await change(trail, delete(audit_checkpoint))
        await filled(trail)
        trail._signer = genuine

        report = await verify(trail.database, trail.folder)

        assert "the head of 2030-05 has no valid signature" in report.problems
        assert "the checkpoint of record 10 has no valid signature" in report.problems
        assert "the checkpoint of record 10 was published as another" in report.problems


async def test_a_missing_head_is_found(opened):
    async with opened() as trail:
        await filled(trail, 2)
        await filled(trail, 2, JUNE)
        await change(trail, delete(audit_head).where(audit_head.c.number == literal(1)))

        report = await verify(trail.database, trail.folder)

        assert "a head is missing between the beginning and 2030-06" in report.problems


async def test_checkpoints_are_signed_and_published_and_name_the_one_before(opened):
    async with opened() as trail:
        await filled(trail, 25)
        lines = [json.loads(line) for line in (trail.folder / PUBLISHED).read_text().splitlines()]

        assert [line["sequence"] for line in lines] == [10, 20]
        first = Checkpoint(**{name: value for name, value in lines[0].items() if name != "signature"})
        assert lines[1]["previous"] == first.digest

        await trail.checkpoint()
        await trail.checkpoint()
        lines = (trail.folder / PUBLISHED).read_text().splitlines()
        assert [json.loads(line)["sequence"] for line in lines] == [10, 20, 25]


async def test_a_checkpoint_that_a_crash_kept_from_being_published_is_published_at_start(opened):
    async with opened() as trail:
        await filled(trail, 25)
        published = trail.folder / PUBLISHED
    whole = published.read_text()
    published.write_text(whole[: len(whole.splitlines()[0]) + 30])

    async with opened() as trail:
        assert published.read_text() == whole
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_a_changed_line_of_the_published_file_is_found(opened):
    async with opened() as trail:
        await filled(trail, 12)
        published = trail.folder / PUBLISHED
        published.write_text(published.read_text().replace('"sequence": 10', '"sequence": 11') + "nonsense\n")

        problems = (await verify(trail.database, trail.folder)).problems

        assert "line 1 of the published checkpoints has no valid signature" in problems
        assert "line 2 of the published checkpoints cannot be read" in problems


async def test_the_key_is_readable_by_its_owner_alone_and_a_broken_one_stops_the_start(opened):
    async with opened() as trail:
        key = trail.folder / PRIVATE
        assert key.stat().st_mode & 0o777 == 0o600
    key.write_text("no key")

    with pytest.raises(SigningKeyError, match="restore it"):
        Signer(key.parent)


SEARCHES = [
    ({}, [4, 3, 2, 1]),
    ({"patient": PATIENT}, [3, 2, 1]),
    ({"patient": "nobody"}, []),
    ({"user": "u-778"}, [3, 1]),
    ({"user": "<u-778@https://idp.north.example>"}, [3, 1]),
    ({"type": "ITI-18"}, [3, 1]),
    ({"type": "110107"}, [2]),
    ({"failed": True}, [3]),
    ({"failed": False}, [2, 1]),
    ({"user": "u-778", "type": "ITI-18", "patient": PATIENT, "failed": False}, [1]),
    ({"since": "2030-05-02T00:00:00.000000Z"}, [3, 2]),
    ({"until": "2030-05-02T00:00:00.000000Z", "since": "2030-01-01"}, [1]),
    ({"unparsed": True}, [4]),
    ({"limit": 2}, [4, 3]),
    ({"before": 3}, [2, 1]),
    ({"source": "xdsi-test", "before": 2}, [1]),
    ({"address": "192.0.2.17"}, [3, 1]),
]


async def test_a_search_finds_the_newest_first(opened):
    day = [datetime(2030, 5, number, tzinfo=UTC) for number in (1, 2, 3)]
    async with opened() as trail:
        await trail.append([a_record(time=day[0])])
        imported = {"event_id": IMPORT, "event_types": (ihe("ITI-42", "Register Document Set-b"),)}
        await trail.append([a_record(time=day[1], participants=an_event().participants[2:], **imported)])
        await trail.append([a_record(time=day[2], outcome=Outcome.SERIOUS_FAILURE)])
        await trail.append([came_as(b"what is this", Node(address="192.0.2.9"))])

        for wanted, found in SEARCHES:
            assert [item.sequence for item in await trail.search(Search(**wanted))] == found, wanted


async def test_hostile_values_are_kept_and_found(opened):
    name = "x" * 5000 + "\U0001f600"
    async with opened() as trail:
        await trail.append([a_record(participants=(Participant(user_id=name),))])
        await trail.append(
            [
                came_as(b"\0\xff\xfe", Node(address="192.0.2.9", subject="CN=a\0b\ud800")),
            ]
        )

        assert [item.sequence for item in await trail.search(Search(user=name[:500]))] == [1]
        assert (await verify(trail.database, trail.folder)).problems == []


async def test_a_record_made_to_look_older_than_nodes_were_compared_is_found(opened):
    async with opened() as trail:
        await filled(trail, 3)
        for column, value in (("fingerprint", ""), ("standing", "unknown")):
            await change(trail, setting(column), place=2, value=value)

        problems = (await verify(trail.database, trail.folder)).problems

        assert any("record 2 was changed" in problem for problem in problems)


async def test_records_are_found_by_the_node_that_delivered_them_and_by_their_standing(opened):
    one = Node(address="192.0.2.1", subject="CN=one", fingerprint="11" * 32)
    other = Node(address="192.0.2.2", subject="CN=other", fingerprint="22" * 32)
    stands = {standing: standing.value for standing in Standing}
    async with opened() as trail:
        for number, standing in enumerate(Standing):
            record = came_as(message(an_event(), SOURCE), (one, other)[number % 2])
            await trail.append([replace(record, standing=standing)])

        for wanted, found in (
            ({"subject": "CN=one"}, [3, 1]),
            ({"fingerprint": "22" * 32}, [4, 2]),
            ({"peer": "192.0.2.1"}, [3, 1]),
            ({"peer": "192.0.2.1", "standing": stands[Standing.PROVED]}, [1]),
            ({"standing": stands[Standing.CLAIMED]}, [2]),
            ({"standing": stands[Standing.MISMATCHED]}, [3]),
            ({"standing": stands[Standing.UNKNOWN]}, [4]),
            ({"standing": stands[Standing.PROVED], "type": "ITI-18", "patient": PATIENT}, [1]),
            ({"subject": "CN=nobody"}, []),
        ):
            assert [item.sequence for item in await trail.search(Search(**wanted))] == found, wanted
        report = await verify(trail.database, trail.folder)
        assert report.standings == dict.fromkeys(Standing, 1)
        assert report.mismatched == [3]


# --- a trail of the first release -----------------------------------------------------------------------


async def made_by_the_first_release(database_place, count: int) -> None:
    """A trail as that release wrote it: without revisions, and without what is known of nodes."""
    elsewhere = DatabasePlace(url=None, folder=database_place.folder.parent / "elsewhere", name="trail")
    database = await elsewhere.open(MIGRATIONS)
    trail = Trail(database, database_place.folder, checkpoint_records=3, checkpoint_seconds=3600)
    await trail.start()
    for _ in range(count):
        await trail.append([replace(a_record(), fingerprint="", standing=Standing.UNKNOWN)])
    await trail.stop()
    rows = await rows_of(database, metadata)
    await database.close()
    await make_first_release(database_place, "audit_repository", rows)


async def test_a_trail_of_the_first_release_is_taken_over_whole_and_goes_on(database_place):
    await made_by_the_first_release(database_place, 7)

    database = await database_place.open(MIGRATIONS)
    trail = Trail(database, database_place.folder, checkpoint_records=3, checkpoint_seconds=3600)
    await trail.start()
    try:
        assert (await verify(database, trail.folder)).problems == []
        await filled(trail, 5)
        report = await verify(database, trail.folder)

        assert report.problems == []
        assert report.records == 12
        assert (report.standings[Standing.UNKNOWN], report.standings[Standing.PROVED]) == (7, 5)
        old = await trail.record(1)
        assert (old.record.subject, old.record.fingerprint) == ("CN=node", "")
        assert [item.sequence for item in await trail.search(Search(subject="CN=node", limit=2))] == [12, 11]
    finally:
        await trail.stop()
        await database.close()


@pytest.mark.parametrize(("column", "value"), [("fingerprint", "ab" * 32), ("standing", "proved")])
async def test_what_was_not_known_of_an_older_record_cannot_be_put_in(database_place, column, value):
    await made_by_the_first_release(database_place, 4)

    database = await database_place.open(MIGRATIONS)
    trail = Trail(database, database_place.folder, checkpoint_records=3, checkpoint_seconds=3600)
    await trail.start()
    try:
        await change(trail, setting(column), place=2, value=value)

        problems = (await verify(database, trail.folder)).problems

        assert any("record 2 was changed" in problem for problem in problems)
    finally:
        await trail.stop()
        await database.close()


async def test_a_folder_that_another_process_signs_in_is_refused_and_free_again_when_that_has_ended(
    tmp_path: Path,
):
    """Two who sign checkpoints by one key would each vouch for a chain that the other goes on with."""
    settings = AuditRepositorySettings(data=tmp_path, port=0, syslog_port=0)
    first = await build(settings)
    await first.start()
    with pytest.raises(FolderHeld, match="another process"):
        await build(settings)
    await first.stop()
    second = await build(settings)
    await second.start()
    await second.stop()

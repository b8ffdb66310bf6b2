"""Instances of one STOW-RS request are kept in portions: durable before any is visible, each judged alone."""

from __future__ import annotations

import asyncio
import errno
import os
import stat

import pytest

from imaging_source.store import files, incoming
from shared.dicom.multipart import content_type, part_head
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_ct, part10
from tests.support.intake import an_intake
from tests.transactions.imaging_source.test_rad108 import BOUNDARY, a_client, members, post, value

__all__ = ["database_place", "postgres_url"]

STORED, FAILED = "00081199", "00081198"


@pytest.fixture
async def intake(tmp_path, database_place):
    async with an_intake(tmp_path, database_place) as made:
        yield made


@pytest.fixture
async def client(intake):
    async with a_client(intake) as made:
        yield made


def a_series(number: int, first: int = 100) -> list[bytes]:
    return [part10(a_ct(SOPInstanceUID=f"2.25.{uid}")) for uid in range(first, first + number)]


def uids(answer, tag: str) -> list[str]:
    return [value(item, "00081155") for item in members(answer, tag)]


async def test_many_are_answered_for_in_their_order(client, intake):
    answer = await post(client, *a_series(70))

    assert answer.status_code == 200
    assert uids(answer, STORED) == [f"2.25.{uid}" for uid in range(100, 170)]
    kept = await intake.store.find_study("2.25.11")
    assert {one.path.read_bytes() for one in kept} == set(a_series(70))
    assert intake.incoming == []


async def test_a_portion_is_durable_before_any_of_it_is_visible(client, intake, monkeypatch):
    done: list[tuple[str, int]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        done.append((kind, os.fstat(descriptor).st_ino))

    write = intake.database.write

    async def committed(work):
        done.append(("commit", 0))
        return await write(work)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(intake.database, "write", committed)

    await post(client, *a_series(8))

    kept = [one.path for one in await intake.store.find_study("2.25.11")]
    until = done.index(("commit", 0))
    before = done[:until]
    assert {("file", path.stat().st_ino) for path in kept} <= set(before)
    assert {("folder", path.parent.stat().st_ino) for path in kept} <= set(before)


async def test_the_same_twice_in_one_request_is_one(client, intake):
    octets = part10(a_ct())

    answer = await post(client, octets, octets)

    assert answer.status_code == 200
    assert uids(answer, STORED) == ["2.25.13", "2.25.13"]
    assert len(intake.kept) == 1
    assert intake.incoming == []


async def test_of_two_data_sets_under_one_uid_in_one_request_the_first_stays(client, intake):
    first, other = part10(a_ct()), part10(a_ct(PatientName="Other^One"))

    answer = await post(client, first, other, *a_series(1))

    assert answer.status_code == 202
    assert (uids(answer, STORED), uids(answer, FAILED)) == (["2.25.13", "2.25.100"], ["2.25.13"])
    assert {path.read_bytes() for path in intake.kept} == {first, *a_series(1)}
    assert intake.incoming == []


async def test_where_names_cannot_be_synced_nothing_of_the_portion_is_kept(client, intake, monkeypatch):
    def broken(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files, "sync", broken)

    answer = await post(client, *a_series(5))

    assert answer.status_code == 507
    assert len(uids(answer, FAILED)) == 5
    assert await intake.store.find_study("2.25.11") == []
    assert intake.incoming == []
    assert intake.store.files.unusable


async def test_a_crowd_of_requests_has_few_files_open(client, intake, monkeypatch):
    monkeypatch.setattr(incoming, "_CROWD", 6)
    most = 0
    new = intake.store.files.new

    def counted(**limits):
        nonlocal most
        made = new(**limits)
        most = max(most, len(intake.store.files.arriving))
        return made

    monkeypatch.setattr(intake.store.files, "new", counted)

    answers = await asyncio.gather(*[post(client, *a_series(12, 1000 * at)) for at in range(1, 7)])

    assert [len(uids(answer, STORED)) for answer in answers] == [12] * 6
    assert most < 6 + 3 * 6
    assert intake.store.files.arriving == set()


async def test_a_part_that_breaks_off_takes_no_whole_one_with_it(client, intake):
    head = part_head(BOUNDARY, [("Content-Type", "application/dicom")])
    whole = b"".join(head + one for one in a_series(3))
    cut = head + part10(a_ct())[:400]

    answer = await post(client, body=whole + cut, content_type=content_type(BOUNDARY))

    assert answer.status_code == 202
    assert uids(answer, STORED) == ["2.25.100", "2.25.101", "2.25.102"]
    assert intake.incoming == []

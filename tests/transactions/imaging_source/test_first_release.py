"""The database of the first release is taken over: every instance is there, and the source goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from imaging_source.store.catalogue import fill
from imaging_source.store.set_aside import find_set_aside
from imaging_source.store.tables import metadata, study_patient
from tests.support.databases import DatabasePlace, database_place, postgres_url
from tests.support.dicom import a_ct, an_sr
from tests.support.imaging_source import Source, close_source, open_source
from tests.support.releases import make_first_release, rows_of

__all__ = ["database_place", "postgres_url"]

STUDY = "2.25.11"


@pytest.fixture
async def upgraded(database_place: DatabasePlace, tmp_path: Path) -> AsyncIterator[tuple[Source, dict]]:
    """A source on a database that the first release made, and what was stored in it."""
    elsewhere = DatabasePlace(url=None, folder=tmp_path / "elsewhere", name="imaging_source")
    before = await open_source(elsewhere, tmp_path / "data")
    await before.keep(a_ct(), an_sr())
    stored = {one.sop_instance_uid: one for one in await before.parts.instances.find_study(STUDY)}
    rows = await rows_of(before.parts.database, metadata)
    await close_source(before)
    await make_first_release(database_place, "imaging_source", rows)

    source = await open_source(database_place, tmp_path / "data")
    yield source, stored
    await close_source(source)


async def test_every_instance_is_found_and_served_as_before(upgraded):
    source, stored = upgraded
    found = {one.sop_instance_uid: one for one in await source.parts.instances.find_study(STUDY)}

    assert found == stored
    async with source.client() as client:
        for uid, one in found.items():
            url = f"/dicomweb/studies/{STUDY}/series/{one.series_instance_uid}/instances/{uid}/metadata"
            answer = await client.get(url)
            assert answer.status_code == 200, answer.text
            assert answer.json()[0]["00080018"]["Value"] == [uid]


async def test_a_search_tells_of_them_what_it_tells_of_newcomers(upgraded):
    source, _ = upgraded
    while not await fill(source.parts.database, ""):
        pass
    await source.keep(a_ct(SOPInstanceUID="2.25.77"))
    async with source.client() as client:
        answer = await client.get(f"/dicomweb/studies/{STUDY}/instances")
    old, new = (
        next(one for one in answer.json() if one["00080018"]["Value"] == [uid])
        for uid in ("2.25.13", "2.25.77")
    )

    differ = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert differ == {"00080018", "00081190"}


async def test_newcomers_are_judged_by_whose_the_study_was(upgraded):
    source, _ = upgraded
    await source.keep(a_ct(SOPInstanceUID="2.25.77"), a_ct(SOPInstanceUID="2.25.78", PatientID="SOMEBODY"))

    (conflict,) = await find_set_aside(source.parts.database, limit=10)
    assert (conflict.study_instance_uid, conflict.sop_instance_uid) == (STUDY, "2.25.78")
    assert len(await source.parts.database.fetch(select(study_patient.c.study_instance_uid))) == 1

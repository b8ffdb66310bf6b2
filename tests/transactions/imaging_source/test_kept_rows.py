"""Rows of a study that were read are given again while they are the same, whoever changes them."""

from __future__ import annotations

import pytest

from imaging_source.store import instance_rows, kept_rows
from imaging_source.store.rejections import KeyObjects
from imaging_source.store.stores import open_instances
from imaging_source.store.tables import set_aside
from tests.support.codecs import CODECS
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_ct, part10
from tests.support.intake import a_transfer, an_intake

__all__ = ["database_place", "postgres_url"]

STUDY, SERIES = "2.25.11", "2.25.12"


@pytest.fixture
async def intake(tmp_path, database_place):
    async with an_intake(tmp_path, database_place) as made:
        yield made


@pytest.fixture
def elsewhere(intake):
    """The same instances, as another process knows them."""
    return open_instances(intake.settings, intake.database, intake.store.files, CODECS)


async def keep(intake, number: int):
    octets = part10(a_ct(SOPInstanceUID=f"2.25.1{number}", InstanceNumber=number))
    return (await intake.store.store_part10(intake.spooled(octets), a_transfer())).instance


async def remove(intake, one) -> None:
    await intake.database.write(lambda transaction: instance_rows.remove(transaction, one))


async def test_what_another_process_changes_is_in_the_next_answer(intake, elsewhere):
    first = await keep(intake, 3)
    assert await elsewhere.find_study(STUDY) == await elsewhere.find_series(STUDY, SERIES) == [first]

    second = await keep(intake, 4)
    assert await elsewhere.find_study(STUDY) == [first, second]
    assert await elsewhere.find_series(STUDY, SERIES) == [first, second]

    await remove(intake, second)
    assert await elsewhere.find_study(STUDY) == await elsewhere.find_series(STUDY, SERIES) == [first]

    other = first._replace(sha256="0" * 64, size=1, file=intake.store.files.name("0" * 64))
    await intake.database.write(lambda transaction: instance_rows.change_file(transaction, other, None))
    assert await elsewhere.find_study(STUDY) == await elsewhere.find_series(STUDY, SERIES) == [other]


async def test_while_nothing_changes_nothing_is_asked(intake, elsewhere, monkeypatch):
    if intake.database.version() is None:
        pytest.skip("what this database could tell of changes costs as much as to ask")
    first, hidden = await keep(intake, 3), KeyObjects(intake.database)
    assert await hidden.hidden(await elsewhere.find_study(STUDY)) == frozenset()

    async def nothing_is_asked(*statement: object, **parameters: object) -> None:
        raise AssertionError("the database was asked")

    with monkeypatch.context() as patched:
        patched.setattr(intake.database, "fetch", nothing_is_asked)
        assert await elsewhere.find_study(STUDY) == [first]
        assert await hidden.hidden([first]) == frozenset()


async def test_what_is_set_aside_meanwhile_is_hidden_at_once(intake, elsewhere):
    first, key_objects = await keep(intake, 3), KeyObjects(intake.database)
    assert await key_objects.hidden([first]) == frozenset()

    uid = first.sop_instance_uid
    aside = {"sop_instance_uid": uid, "study_instance_uid": STUDY, "conflict": "patient"}
    await intake.database.write(lambda transaction: transaction.insert(set_aside, [aside]))
    assert await key_objects.hidden([first]) == {uid}


async def test_what_went_and_came_again_is_told_as_it_came_last(intake, elsewhere):
    first = await keep(intake, 3)
    await elsewhere.find_study(STUDY)
    await remove(intake, first)
    again = await keep(intake, 3)

    assert again.received_at > first.received_at
    assert await elsewhere.find_study(STUDY) == [again]


async def test_rows_that_are_the_same_are_not_read_again(intake, elsewhere, monkeypatch):
    await keep(intake, 3)
    instances = await elsewhere.find_study(STUDY)

    async def nothing_is_read(work: object) -> None:
        raise AssertionError("the rows were read again")

    monkeypatch.setattr(intake.database, "read", nothing_is_read)
    assert await elsewhere.find_study(STUDY) == instances


async def test_who_changes_an_answer_changes_no_other(intake, elsewhere):
    await keep(intake, 3)
    (await elsewhere.find_study(STUDY)).clear()

    assert len(await elsewhere.find_study(STUDY)) == 1


async def test_a_series_of_many_is_found_by_its_rows_and_others_one_by_one(intake, elsewhere, monkeypatch):
    monkeypatch.setattr("imaging_source.store.index._MANY", 2)
    both = [await keep(intake, 3), await keep(intake, 4)]
    uids = [one.sop_instance_uid for one in both]

    for asked in (uids, uids[:1]):
        of_series = await elsewhere.find_of_series({(STUDY, SERIES): asked})
        assert set(asked) <= of_series.keys()
        assert all(of_series[one.sop_instance_uid] == one for one in both if one.sop_instance_uid in asked)
    assert await elsewhere.find_of_series({(STUDY, "2.25.99"): uids}) == {}


async def test_no_more_is_kept_than_may_be(intake, elsewhere, monkeypatch):
    monkeypatch.setattr(kept_rows, "MAX_KEPT", 1)
    await keep(intake, 3)
    await elsewhere.find_series(STUDY, SERIES)
    await elsewhere.find_study(STUDY)
    assert list(elsewhere._rows._entries) == [(STUDY, "")]

    await keep(intake, 4)
    assert len(await elsewhere.find_study(STUDY)) == 2
    assert not elsewhere._rows._entries
    assert elsewhere._rows._number == 0

"""What a database of an older release holds is there after its upgrade, and is read right."""

from dataclasses import replace

import pytest
from sqlalchemy import LargeBinary, Text, bindparam, column, insert, select, table
from sqlalchemy.types import Integer

from registry.domain.submission import Class
from registry.store import objects
from registry.store.tables import METADATA, registry_object
from shared.ebrim import schemes
from shared.ebrim.model import AvailabilityStatus
from shared.store import schema
from shared.store.failures import UniqueViolation
from tests.support.metadata import PATIENT, a_document_entry
from tests.support.registry import MIGRATIONS

_FIRST_COLUMNS = {
    "entry_uuid": Text,
    "object_class": Text,
    "status": Text,
    "logical_id": Text,
    "version": Integer,
    "encoding_version": Integer,
    "fragment": LargeBinary,
}
_FIRST = table("registry_object", *(column(name, kind()) for name, kind in _FIRST_COLUMNS.items()))
_INSERT = insert(_FIRST).values({name: bindparam(name) for name in _FIRST_COLUMNS})


def of_first_release(entry):
    """The row of an entry, as far as it matters here, before there were levels."""
    row = objects.row_of(entry)
    return {name: row[name] for name in _FIRST_COLUMNS}


@pytest.fixture
def first_release(monkeypatch):
    """Let a database be opened at its first revision."""

    def steps(migrations):
        script = schema._script(migrations)
        return {"fn": lambda revision, _: script._upgrade_revs("0001", revision), "script": script}

    with monkeypatch.context() as patched:
        patched.setattr(schema, "_steps", steps)
        yield patched


async def test_documents_that_cannot_be_had_are_hidden_from_level_1_after_the_upgrade(
    database_place, first_release
):
    online = a_document_entry(
        title=f"about {schemes.OFFLINE}", comments='<rim:Slot name="documentAvailability">'
    )
    stated = a_document_entry(document_availability=schemes.ONLINE)
    offline = a_document_entry(document_availability=schemes.OFFLINE)
    database = await database_place.open(METADATA, MIGRATIONS)

    async def work(transaction):
        await transaction.execute_many(
            _INSERT, [of_first_release(each) for each in (online, stated, offline)]
        )

    await database.write(work)
    await database.close()
    first_release.undo()

    database = await database_place.open(METADATA, MIGRATIONS)
    rows = await database.fetch(
        select(
            registry_object.c.entry_uuid,
            registry_object.c.metadata_level,
            registry_object.c.document_availability,
            registry_object.c.fragment,
        )
    )
    await database.close()
    assert {entry_uuid: (level, availability) for entry_uuid, level, availability, _ in rows} == {
        online.entry_uuid: (1, None),
        stated.entry_uuid: (1, None),
        offline.entry_uuid: (2, schemes.OFFLINE),
    }
    decoded = {objects.decode_fragment(Class.DOCUMENT_ENTRY, bytes(fragment)) for *_, fragment in rows}
    assert {entry.entry_uuid for entry in decoded} == {
        entry.entry_uuid for entry in (online, stated, offline)
    }


async def test_one_version_of_a_lineage_is_approved_whoever_writes(database_place):
    database = await database_place.open(METADATA, MIGRATIONS)
    first = a_document_entry()
    second = replace(a_document_entry(), logical_id=first.entry_uuid, version=2)

    async def both(transaction):
        await objects.insert_objects(transaction, PATIENT, [first, second], claimed=())

    async def one_deprecated(transaction):
        old = replace(first, availability_status=AvailabilityStatus.DEPRECATED)
        await objects.insert_objects(transaction, PATIENT, [old, second], claimed=())

    with pytest.raises(UniqueViolation):
        await database.write(both)
    await database.write(one_deprecated)
    await database.close()

"""What a database of an older release holds is there after its upgrade, and is read right."""

from dataclasses import replace

import pytest
from sqlalchemy import BigInteger, LargeBinary, Text, bindparam, column, insert, select, table
from sqlalchemy.types import Integer

from registry.domain import stored_queries as queries
from registry.domain.submission import ObjectClass
from registry.store import objects
from registry.store.fragments import decode_fragment
from registry.store.tables import METADATA, registry_object
from registry.transactions import patient_feed
from shared.ebrim import schemes
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import Association, AssociationType, AvailabilityStatus
from shared.messages.iti18 import ReturnType
from shared.store.failures import UniqueViolation
from tests.support.agreement import assert_agreement, kept_objects
from tests.support.databases import DatabasePlace
from tests.support.metadata import (
    DOMAIN,
    OTHER_PATIENT,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    a_submission_set,
    an_association,
)
from tests.support.registry import APPROVED, MIGRATIONS, Registry, is_success, open_parts
from tests.support.releases import rows_of, upgraded_to
from tests.support.updates import a_version, new_version, update

THIRD_PATIENT = f"P-3003^^^&{DOMAIN}&ISO"

_FIRST_COLUMNS = {
    "entry_uuid": Text,
    "object_class": Text,
    "status": Text,
    "patient_id": Text,
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


class Release:
    """Lets a database be opened by an older release."""

    def __init__(self, monkeypatch, place):
        self._monkeypatch = monkeypatch
        self._place = place

    async def write(self, revision, work):
        """Run `work` in a database of a revision."""
        with upgraded_to(revision, self._monkeypatch):
            database = await self._place.open(MIGRATIONS)
        await database.write(work)
        await database.close()


@pytest.fixture
def release(monkeypatch, database_place):
    return Release(monkeypatch, database_place)


async def test_documents_that_cannot_be_had_are_hidden_from_level_1_after_the_upgrade(
    database_place, release
):
    online = a_document_entry(
        title=f"about {schemes.OFFLINE}", comments='<rim:Slot name="documentAvailability">'
    )
    stated = a_document_entry(document_availability=schemes.ONLINE)
    offline = a_document_entry(document_availability=schemes.OFFLINE)

    async def work(transaction):
        await transaction.execute_many(
            _INSERT, [of_first_release(each) for each in (online, stated, offline)]
        )

    await release.write("0001", work)
    database = await database_place.open(MIGRATIONS)
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
    decoded = {decode_fragment(ObjectClass.DOCUMENT_ENTRY, bytes(fragment)) for *_, fragment in rows}
    assert {entry.entry_uuid for entry in decoded} == {
        entry.entry_uuid for entry in (online, stated, offline)
    }


async def test_one_version_of_a_lineage_is_approved_whoever_writes(database_place):
    database = await database_place.open(MIGRATIONS)
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


# --- to the layout by patient ----------------------------------------------------------------------------

_OLD_COLUMNS = {item.name: item.type for item in registry_object.columns}
_OLD_OBJECT = table("registry_object", *(column(*item) for item in _OLD_COLUMNS.items()))
_OLD_VALUE = table("object_value", *(column(name, Text) for name in ("entry_uuid", "attribute", "value")))
_OLD_UNIQUE_ID = table(
    "unique_id",
    column("unique_id", Text),
    column("object_class", Text),
    column("content_hash", Text),
    column("size", BigInteger),
)


class World:
    """What a registry may hold, over three patients."""

    def __init__(self):
        self.first, self.again, self.lone = (a_document_entry() for _ in range(3))
        self.folder = a_folder()
        self.again = replace(self.again, unique_id=self.first.unique_id, patient_id=OTHER_PATIENT)
        self.set = a_submission_set()
        self.membership = an_association(self.folder.entry_uuid, self.first.entry_uuid)
        # Given to another patient, and the first version of another was removed.
        self.old = replace(self.lone, availability_status=AvailabilityStatus.DEPRECATED)
        self.given = replace(
            self.lone,
            entry_uuid=new_uuid(),
            logical_id=self.lone.entry_uuid,
            version=2,
            patient_id=THIRD_PATIENT,
        )
        self.orphan = a_document_entry(logical_id=new_uuid(), version=2, patient_id=THIRD_PATIENT)
        self.foreign_set = a_submission_set(patient_id=OTHER_PATIENT)
        self.reference = an_association(self.foreign_set.entry_uuid, self.first.entry_uuid)
        self.removed = a_document_entry()
        held = (self.first, self.folder, self.old, self.membership)
        self.values = (
            self.set,
            *held,
            *(an_association(self.set.entry_uuid, each.entry_uuid) for each in held),
            self.foreign_set,
            self.again,
            an_association(self.foreign_set.entry_uuid, self.again.entry_uuid),
            self.reference,
            self.given,
            self.orphan,
        )

    async def write(self, transaction):
        """Write as the release before did."""
        rows = [objects.row_of(value) for value in self.values]
        next(row for row in rows if row["entry_uuid"] == self.old.entry_uuid)["metadata_level"] = 2
        await transaction.execute_many(
            insert(_OLD_OBJECT).values({name: bindparam(name) for name in _OLD_COLUMNS}), rows
        )
        values = [of for value in self.values for of in objects.values_of(value, "")]
        await transaction.execute_many(
            insert(_OLD_VALUE).values(
                {name: bindparam(name) for name in ("entry_uuid", "attribute", "value")}
            ),
            values,
        )
        identified = {
            value.unique_id: value
            for value in (*self.values, self.removed)
            if not isinstance(value, Association)
        }
        await transaction.execute_many(
            insert(_OLD_UNIQUE_ID).values(
                {item.name: bindparam(item.name) for item in _OLD_UNIQUE_ID.columns}
            ),
            [
                {
                    "unique_id": unique_id,
                    "object_class": objects.row_of(value)["object_class"],
                    "content_hash": getattr(value, "hash", ""),
                    "size": getattr(value, "size", None),
                }
                for unique_id, value in identified.items()
            ],
        )


@pytest.fixture
async def upgraded(release, database_place):
    """A registry that was filled by the release before."""
    world = World()
    await release.write("0003", world.write)
    registry = Registry(await open_parts(database_place))
    await registry.add_patient(PATIENT, OTHER_PATIENT, THIRD_PATIENT)
    yield registry, world
    await registry.parts.recorder.close()
    await registry.parts.database.close()


async def test_everything_is_laid_out_by_patient_and_nothing_is_lost(upgraded):
    registry, world = upgraded
    await assert_agreement(registry.parts.database)
    kept = await kept_objects(registry.parts.database)
    assert {each.value for each in kept.values()} == {
        decode_fragment(ObjectClass(row["object_class"]), row["fragment"])
        for row in map(objects.row_of, world.values)
    }
    assert kept[world.membership.entry_uuid].patient_id == PATIENT
    assert kept[world.reference.entry_uuid].patient_id == OTHER_PATIENT


async def test_what_was_registered_before_the_upgrade_is_found_updated_replaced_and_merged(upgraded):
    registry, world = upgraded
    refused = await registry.refused(
        a_submission(replace(world.removed, entry_uuid=new_uuid(), hash="0" * 40))
    )
    assert refused == ["XDSNonIdenticalHash"]
    assert await registry.refused(a_submission(unique_id=world.set.unique_id)) == [
        "XDSDuplicateUniqueIdInRegistry"
    ]
    found = await registry.query(
        queries.GET_DOCUMENTS,
        {"$XDSDocumentEntryUniqueId": [world.first.unique_id]},
        return_type=ReturnType.OBJECT_REF,
    )
    assert set(found.object_refs) == {world.first.entry_uuid, world.again.entry_uuid}

    assert is_success(await update(registry, a_version(new_version(world.given), "2")))
    assert is_success(await update(registry, a_version(new_version(world.orphan), "2")))
    relationship = an_association(new_uuid(), world.first.entry_uuid, AssociationType.RPLC)
    replacement = a_document_entry(entry_uuid=relationship.source_object)
    assert is_success(await registry.register(a_submission(replacement, associations=[relationship])))
    await registry.parts.database.write(lambda work: patient_feed.merge(work, OTHER_PATIENT, PATIENT))
    await assert_agreement(registry.parts.database)


# --- the first release -----------------------------------------------------------------------------------


async def test_what_was_registered_with_the_first_release_is_found_and_more_is_taken(
    release, database_place, tmp_path
):
    elsewhere = DatabasePlace(url=None, folder=tmp_path / "elsewhere", name="registry")
    before = Registry(await open_parts(elsewhere))
    await before.add_patient(PATIENT)
    entries = [a_document_entry(), a_document_entry()]
    for entry in entries:
        assert is_success(await before.register(a_submission(entry)))
    rows = await rows_of(before.parts.database, METADATA)
    await before.parts.recorder.close()
    await before.parts.database.close()

    async def nothing(_):
        """The tables alone."""

    await release.write("0004", nothing)
    kept = {name: of for name, of in rows.items() if name != "used_assertion"}
    await database_place.fill(kept, without=("merging",))

    registry = Registry(await open_parts(database_place))
    assert await rows_of(registry.parts.database, METADATA) == rows
    await assert_agreement(registry.parts.database)
    another = a_document_entry()
    assert is_success(await registry.register(a_submission(another)))
    found = await registry.query(
        queries.FIND_DOCUMENTS,
        {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": [APPROVED]},
    )
    assert {entry.entry_uuid for entry in found.document_entries} == {
        entry.entry_uuid for entry in (*entries, another)
    }
    await registry.parts.recorder.close()
    await registry.parts.database.close()

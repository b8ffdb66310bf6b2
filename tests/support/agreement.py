"""What must be true of a registry's tables at any time: identifiers, objects, values and levels agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from registry.domain.submission import ObjectClass
from registry.store import objects
from registry.store.fragments import decode_fragment
from registry.store.tables import identifier, object_value, registry_object, shared_identifier
from shared.ebrim.model import Association, RegistryObject
from shared.store.engine import Database, Transaction

_COLUMNS = tuple(registry_object.c.keys())


@dataclass(frozen=True)
class Kept:
    """An object as it is kept."""

    row: dict[str, Any]
    value: RegistryObject

    @property
    def patient_id(self) -> str:
        return str(self.row["patient_id"])

    @property
    def names(self) -> set[str]:
        """What it has or names."""
        columns = ("entry_uuid", "unique_id", "logical_id", "source_object", "target_object")
        return {self.row[column] for column in columns} - {None}


async def kept_objects(database: Database) -> dict[str, Kept]:
    """All objects by entryUUID; each is there once, whatever its patient."""
    found: dict[str, Kept] = {}
    for columns in await database.fetch(select(registry_object)):
        row = dict(zip(_COLUMNS, columns, strict=True))
        row["fragment"] = bytes(row["fragment"])
        assert row["entry_uuid"] not in found
        value = decode_fragment(ObjectClass(row["object_class"]), row["fragment"])
        found[row["entry_uuid"]] = Kept(row, value)
    return found


async def forget_everything(database: Database) -> None:
    """Keep no object any more: who looks at all of them after every step looks at those of one history."""

    async def work(transaction: Transaction) -> None:
        for table in (object_value, shared_identifier, identifier, registry_object):
            await transaction.execute(delete(table))

    await database.write(work)


async def assert_agreement(database: Database) -> None:
    """Identifiers lead exactly to what has or names them, and columns say what fragments say."""
    kept = await kept_objects(database)
    await _assert_identifiers(database, kept)
    await _assert_values(database, kept)
    latest: dict[str, int] = {}
    for each in kept.values():
        if logical_id := each.row["logical_id"]:
            latest[logical_id] = max(latest.get(logical_id, 0), each.row["version"])
    for each in kept.values():
        expected = objects.row_of(each.value, each.patient_id)
        if each.row["logical_id"] and each.row["version"] < latest[each.row["logical_id"]]:
            expected["metadata_level"] = objects.LEVEL_2
        assert each.row == expected
        if isinstance(each.value, Association):
            assert each.patient_id == kept[each.value.source_object].patient_id


async def _assert_identifiers(database: Database, kept: dict[str, Kept]) -> None:
    naming: dict[str, set[str]] = {}
    for each in kept.values():
        for name in each.names:
            naming.setdefault(name, set()).add(each.patient_id)
    homes = {}
    content = set()
    for name, _, home, content_hash, _ in await database.fetch(select(identifier)):
        homes[name] = home
        if content_hash is not None:
            content.add(name)
    further: dict[str, set[str]] = {}
    for name, patient_id in await database.fetch(select(shared_identifier)):
        further.setdefault(name, set()).add(patient_id)
    leads = {
        name: further.get(name, set()) | ({home} if home is not None else set())
        for name, home in homes.items()
    }
    free = {name for name, patients in leads.items() if not patients}
    assert free <= content, "only the uniqueId of a document stays when nothing has it"
    assert {name: patients for name, patients in leads.items() if patients} == naming
    assert not any(homes[name] in patients for name, patients in further.items())
    assert all(homes[name] == each.patient_id for name, each in kept.items())


async def _assert_values(database: Database, kept: dict[str, Kept]) -> None:
    expected = {
        tuple(row.values())
        for each in kept.values()
        for row in objects.values_of(each.value, each.patient_id)
    }
    assert set(await database.fetch(select(object_value))) == expected

"""Patient ids, and the merges that made several of them one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Integer, bindparam, select, update

from registry.domain.patients import Patient
from registry.domain.submission import ObjectClass
from registry.store import identifiers
from registry.store.by_patient import OF_PATIENT
from registry.store.tables import consent, object_value, patient, registry_object
from shared.ebrim.codec import replace_patient_id
from shared.store.engine import Reader, Transaction
from shared.store.statements import in_list, insert_or_ignore

#: Objects of a merge that are rewritten between two statements: about 20 ms of work.
PORTION = 200

_ADD = insert_or_ignore(patient)
_FIND = select(patient.c.patient_id, patient.c.survivor).where(in_list(patient.c.patient_id, "ids"))
_SHARED = _FIND.order_by(patient.c.patient_id).with_for_update(read=True)
_LOCKED = _FIND.order_by(patient.c.patient_id).with_for_update()
#: The patient, if active, kept from being merged until the transaction ends.
HELD_ACTIVE = (
    select(patient.c.patient_id)
    .where(patient.c.patient_id == bindparam("patient"), patient.c.survivor == patient.c.patient_id)
    .with_for_update(read=True)
)
_SUBSUME = (
    update(patient)
    .where(patient.c.survivor == bindparam("subsumed"))
    .values(survivor=bindparam("new_survivor"))
)
# Two thirds of a patient's objects, and they say nothing of the patient.
_MOVE_ASSOCIATIONS = (
    update(registry_object)
    .where(OF_PATIENT, registry_object.c.object_class == str(ObjectClass.ASSOCIATION))
    .values(patient_id=bindparam("to"))
)
_OBJECTS_OF = (
    select(registry_object.c.entry_uuid, registry_object.c.fragment)
    .where(OF_PATIENT)
    .order_by(registry_object.c.entry_uuid)
    .limit(bindparam("most", type_=Integer))
)
_MOVE_OBJECT = (
    update(registry_object)
    .where(OF_PATIENT, registry_object.c.entry_uuid == bindparam("which"))
    .values(patient_id=bindparam("to"), fragment=bindparam("fragment"))
)
_MOVE_VALUES = (
    update(object_value)
    .where(object_value.c.patient_id == bindparam("subsumed"))
    .values(patient_id=bindparam("to"))
)
_MOVE_CONSENTS = (
    update(consent).where(consent.c.patient_id == bindparam("subsumed")).values(patient_id=bindparam("to"))
)


async def add_patient(transaction: Transaction, patient_id: str) -> bool:
    """Make `patient_id` known; False when it was, as itself or as one that was merged away."""
    return bool(await transaction.execute(_ADD, patient_id=patient_id, survivor=patient_id))


async def hold_patient(transaction: Transaction, patient_id: str) -> Patient | None:
    """The patient, kept from being merged until the transaction ends."""
    return _only(await transaction.fetch(_SHARED, ids=[patient_id]))


async def lock_patients(transaction: Transaction, ids: Sequence[str]) -> dict[str, Patient]:
    """The patients of `ids`, locked against submissions and other merges."""
    return {
        patient_id: Patient(patient_id, survivor)
        for patient_id, survivor in await transaction.fetch(_LOCKED, ids=sorted(set(ids)))
    }


async def find_patient(database: Reader, patient_id: str) -> Patient | None:
    """The patient, whether active or merged away."""
    return _only(await database.fetch(_FIND, ids=[patient_id]))


def _only(rows: list[tuple[str, str]]) -> Patient | None:
    return Patient(*rows[0]) if rows else None


async def merge_patients(transaction: Transaction, subsumed: str, survivor: str) -> int:
    """Give everything of `subsumed` to `survivor`, and count the objects; both must be locked and active.

    Objects are rewritten, so that no query needs to know of the merge. Their identifiers go first: they are
    the locks of the objects.
    """
    await identifiers.move_all(transaction, subsumed, survivor)
    await transaction.execute(_SUBSUME, subsumed=subsumed, new_survivor=survivor)
    await transaction.execute(_MOVE_CONSENTS, subsumed=subsumed, to=survivor)
    await transaction.execute(_MOVE_VALUES, subsumed=subsumed, to=survivor)
    moved = await transaction.execute(_MOVE_ASSOCIATIONS, patient=subsumed, to=survivor)
    while rows := await transaction.fetch(_OBJECTS_OF, patient=subsumed, most=PORTION):
        await transaction.execute_many(
            _MOVE_OBJECT,
            [
                {
                    "patient": subsumed,
                    "which": entry_uuid,
                    "to": survivor,
                    "fragment": replace_patient_id(bytes(fragment), survivor),
                }
                for entry_uuid, fragment in rows
            ],
        )
        moved += len(rows)
    return moved

"""Patient ids, and which of them became one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from registry.domain.patients import MergeUnderWay, Patient
from registry.store.tables import patient
from shared.store.engine import Reader, Row, Transaction
from shared.store.statements import in_list, insert_or_ignore

_ADD = insert_or_ignore(patient).values(patient_id=bindparam("patient_id"), survivor=bindparam("survivor"))
_FIND = select(patient.c.patient_id, patient.c.survivor, patient.c.merging).where(
    in_list(patient.c.patient_id, "ids")
)
_SHARED = _FIND.order_by(patient.c.patient_id).with_for_update(read=True)
_LOCKED = _FIND.order_by(patient.c.patient_id).with_for_update()
#: The patient, if active, kept from being merged until the transaction ends. Objects that are being moved to
#: it hinder no new ones.
HELD_ACTIVE = (
    select(patient.c.patient_id)
    .where(patient.c.patient_id == bindparam("patient"), patient.c.survivor == patient.c.patient_id)
    .with_for_update(read=True)
)


async def add_patient(transaction: Transaction, patient_id: str) -> bool:
    """Make `patient_id` known; False when it was, as itself or as one that was merged away."""
    return bool(await transaction.execute(_ADD, patient_id=patient_id, survivor=patient_id))


async def hold_patient(transaction: Transaction, patient_id: str) -> Patient | None:
    """The patient, kept from being merged until the transaction ends.

    Raises
    ------
    MergeUnderWay
        It is being merged.
    """
    holder = _only(await transaction.fetch(_SHARED, ids=[patient_id]))
    return holder and _settled(holder)


async def lock_patients(transaction: Transaction, ids: Sequence[str]) -> dict[str, Patient]:
    """The patients of `ids`, locked against submissions and other merges. Raises as `hold_patient`."""
    rows = await transaction.fetch(_LOCKED, ids=sorted(set(ids)))
    return {patient.patient_id: _settled(patient) for patient in map(_patient, rows)}


async def find_patient(database: Reader, patient_id: str) -> Patient | None:
    """The patient, whether active or merged away."""
    return _only(await database.fetch(_FIND, ids=[patient_id]))


def _only(rows: list[Row]) -> Patient | None:
    return _patient(rows[0]) if rows else None


def _patient(row: Row) -> Patient:
    patient_id, survivor, merging = row
    return Patient(patient_id, survivor, merging=bool(merging))


def _settled(record: Patient) -> Patient:
    if record.merging:
        raise MergeUnderWay(record.patient_id)
    return record

"""Merges: everything of one patient is given to another, in portions between which everybody else works.

A merge is decided in one transaction, with the first portion; that is all of it for nearly every patient.
While more is to be moved both patients are marked `merging`, and who meets the mark waits and helps: nobody
sees half of a merge, and one that was left alone is finished by whoever comes next. Objects are rewritten, so
that no query needs to know of merges.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Integer, Select, bindparam, or_, select, update

from registry.domain.submission import ObjectClass
from registry.store import identifiers
from registry.store.by_patient import OF_PATIENT
from registry.store.identifiers import NAMING
from registry.store.tables import consent, object_value, patient, registry_object
from shared.ebrim.codec import replace_patient_id
from shared.store.engine import Database, Transaction
from shared.store.statements import in_list

#: Objects that are moved in one transaction: about 40 ms of work.
PORTION = 200

_SUBSUME = (
    update(patient)
    .where(patient.c.survivor == bindparam("subsumed"))
    .values(survivor=bindparam("new_survivor"))
)
_MOVE_CONSENTS = (
    update(consent).where(consent.c.patient_id == bindparam("subsumed")).values(patient_id=bindparam("to"))
)
_MARK = (
    update(patient)
    .where(in_list(patient.c.patient_id, "both"))
    .values(merging=bindparam("mark", type_=Integer))
)
_IS_SUBSUMED = (patient.c.merging == 1) & (patient.c.survivor != patient.c.patient_id)
_LOCKED = (
    select(patient.c.patient_id, patient.c.merging)
    .where(in_list(patient.c.patient_id, "both"))
    .order_by(patient.c.patient_id)
    .with_for_update()
)
_OBJECTS = (
    select(*NAMING, registry_object.c.object_class, registry_object.c.fragment)
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
    .where(object_value.c.patient_id == bindparam("subsumed"), in_list(object_value.c.entry_uuid, "ids"))
    .values(patient_id=bindparam("to"))
)


@lru_cache(maxsize=2)
def _unfinished(*, of_patients: bool) -> Select[Any]:
    is_of_patients = or_(in_list(patient.c.patient_id, "ids"), in_list(patient.c.survivor, "ids"))
    merges = select(patient.c.patient_id, patient.c.survivor).where(_IS_SUBSUMED)
    return (merges.where(is_of_patients) if of_patients else merges).order_by(patient.c.patient_id)


async def merge_patients(transaction: Transaction, subsumed: str, survivor: str) -> None:
    """Decide that everything of `subsumed` is `survivor`'s, and move a first portion; both must be locked,
    active and of no other merge. `finish` moves the rest.
    """
    await transaction.execute(_SUBSUME, subsumed=subsumed, new_survivor=survivor)
    await transaction.execute(_MOVE_CONSENTS, subsumed=subsumed, to=survivor)
    if await _move_portion(transaction, subsumed, survivor):
        await transaction.execute(_MARK, both=[subsumed, survivor], mark=1)


async def finish(database: Database, patient_id: str = "") -> int:
    """Finish the merges of a patient, or of all, that are decided; returns how many there were."""
    statement = _unfinished(of_patients=bool(patient_id))
    parameters = {"ids": [patient_id]} if patient_id else {}
    rows = await database.fetch(statement, **parameters)
    for subsumed, survivor in rows:
        while await database.write(partial(_go_on, subsumed=subsumed, survivor=survivor)):
            pass
    return len(rows)


async def _go_on(transaction: Transaction, *, subsumed: str, survivor: str) -> bool:
    """Move one portion; whether there is more. Several may do so at once, each a portion of its own."""
    both = [subsumed, survivor]
    # The survivor may be of another merge by now, whose mark it then has.
    if (subsumed, 1) not in await transaction.fetch(_LOCKED, both=both):
        return False
    if await _move_portion(transaction, subsumed, survivor):
        return True
    await transaction.execute(_MARK, both=both, mark=0)
    return False


async def _move_portion(transaction: Transaction, subsumed: str, survivor: str) -> bool:
    # One more than is moved: whether there is more.
    objects = await transaction.fetch(_OBJECTS, patient=subsumed, most=PORTION + 1)
    spellings: set[str] = set()
    moves: list[dict[str, Any]] = []
    for *ids, object_class, octets in objects[:PORTION]:
        spellings.update(spelled for spelled in ids if spelled is not None)
        fragment = _of_survivor(object_class, bytes(octets), survivor)
        moves.append({"patient": subsumed, "which": ids[0], "to": survivor, "fragment": fragment})
    # Identifiers first: they are the locks of the objects.
    await identifiers.move(transaction, spellings, subsumed, survivor)
    entry_uuids = [move["which"] for move in moves]
    await transaction.execute(_MOVE_VALUES, subsumed=subsumed, to=survivor, ids=entry_uuids)
    await transaction.execute_many(_MOVE_OBJECT, moves)
    if len(objects) > PORTION:
        return True
    await identifiers.move_further(transaction, subsumed, survivor)
    return False


def _of_survivor(object_class: str, fragment: bytes, survivor: str) -> bytes:
    # Associations are two thirds of a patient's objects, and say nothing of the patient.
    return fragment if object_class == ObjectClass.ASSOCIATION else replace_patient_id(fragment, survivor)

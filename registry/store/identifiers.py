"""Every entryUUID, uniqueId and logicalID once, and the patients to whom it leads.

Nothing is registered before its identifiers are claimed: where two submissions race, they meet here. An
identifier leads to every patient whose objects have it or name it: nearly always to one. A document may be
registered again for another patient, a submission set may refer to one of another patient, and an update may
give one to another; the further patients are then in a table beside.

The row of an entryUUID or logicalID is also the lock of what it names: who changes an object or joins
something with it locks the row, and who moves it to another patient locks every identifier that leads to it.
Whoever is led to a patient whose objects are being moved gets `MergeUnderWay`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    bindparam,
    delete,
    exists,
    select,
    union,
    union_all,
    update,
)
from sqlalchemy.sql.elements import ClauseElement

from registry.domain.patients import MergeUnderWay
from registry.domain.registration import UsedUniqueId
from registry.domain.submission import ObjectClass
from registry.store.by_patient import OF_PATIENT, IdsByPatient, grouped
from registry.store.tables import identifier, patient, registry_object, shared_identifier
from shared.ebrim.identifiers import is_symbolic, nfc
from shared.ebrim.model import Association, DocumentEntry, Folder, RegistryObject, SubmissionSet
from shared.store.engine import Batch, Reader, Transaction
from shared.store.statements import in_list, insert_or_ignore

#: Claims of one statement.
AT_ONCE = 32

_identifier = identifier.c
_shared = shared_identifier.c
_object = registry_object.c


def _is_merging(patient_id: ColumnElement[str]) -> ColumnElement[int]:
    return select(patient.c.merging).where(patient.c.patient_id == patient_id).scalar_subquery()


# Each with whether its patient is being merged.
_OWNERS = select(_identifier.identifier, _identifier.patient_id, _is_merging(_identifier.patient_id)).where(
    in_list(_identifier.identifier, "ids"), _identifier.patient_id.is_not(None)
)
_FURTHER = select(_shared.identifier, _shared.patient_id, _is_merging(_shared.patient_id)).where(
    in_list(_shared.identifier, "ids")
)
_LEADS = union_all(_OWNERS, _FURTHER)
# Locked in one order everywhere, so that two submissions never wait for each other.
_LOCKED = (
    select(_identifier.identifier, _identifier.patient_id, _is_merging(_identifier.patient_id))
    .where(in_list(_identifier.identifier, "ids"))
    .order_by(_identifier.identifier)
    .with_for_update()
)
# Locked against a removal, which lets the uniqueId lead nowhere when it does not see who registers it again.
_USED = (
    select(_identifier.identifier, _identifier.object_class, _identifier.content_hash, _identifier.size)
    .where(in_list(_identifier.identifier, "ids"))
    .order_by(_identifier.identifier)
    .with_for_update(read=True)
)
_REPLACE_CONTENT = (
    update(identifier)
    .where(_identifier.identifier == bindparam("which"))
    .values(content_hash=bindparam("content_hash"), size=bindparam("size"))
)
_LEAD = insert_or_ignore(shared_identifier).from_select(
    ["identifier", "patient_id"],
    select(_identifier.identifier, bindparam("patient", type_=Text)).where(
        in_list(_identifier.identifier, "ids"),
        _identifier.patient_id.is_distinct_from(bindparam("patient", type_=Text)),
    ),
)


# --- claiming -----------------------------------------------------------------------------------------


@lru_cache(maxsize=AT_ONCE)
def _claims(number: int) -> ClauseElement:
    rows: list[dict[str, Any]] = [
        {column.name: bindparam(_bound_name(column.name, at)) for column in identifier.columns}
        for at in range(number)
    ]
    return insert_or_ignore(identifier).values(rows).returning(_identifier.identifier)


def _bound_name(name: str, at: int) -> str:
    return f"{name}_{at}"


async def claim(
    transaction: Transaction, patient_id: str, objects: Iterable[RegistryObject]
) -> frozenset[str]:
    """Claim the ids of `objects` for a patient, symbolic ones aside; return those that were free.

    A claim of another transaction that has not ended is waited for, in the order of the ids.
    """
    _, ordered = claims(patient_id, objects)
    claimed: set[str] = set()
    for start in range(0, len(ordered), AT_ONCE):
        rows = ordered[start : start + AT_ONCE]
        parameters = {
            _bound_name(name, at): value for at, row in enumerate(rows) for name, value in row.items()
        }
        claimed.update(spelled for (spelled,) in await transaction.fetch(_claims(len(rows)), **parameters))
    return frozenset(claimed)


def claims(patient_id: str, objects: Iterable[RegistryObject]) -> Batch:
    """The rows that claim the ids of `objects` for a patient, symbolic ones aside, in their order."""
    rows = {row["identifier"]: row for value in objects for row in _claims_of(value, patient_id)}
    return identifier, [rows[spelled] for spelled in sorted(rows)]


def _claims_of(value: RegistryObject, patient_id: str) -> Iterator[dict[str, Any]]:
    row = {
        "identifier": value.entry_uuid,
        "object_class": str(_class_of(value)),
        "patient_id": patient_id,
        "content_hash": None,
        "size": None,
    }
    if not is_symbolic(value.entry_uuid):
        yield row
    if not isinstance(value, Association):
        content = _content_of(value) if isinstance(value, DocumentEntry) else {}
        yield {**row, "identifier": nfc(value.unique_id), **content}


def _class_of(value: RegistryObject) -> ObjectClass:
    match value:
        case DocumentEntry():
            return ObjectClass.DOCUMENT_ENTRY
        case SubmissionSet():
            return ObjectClass.SUBMISSION_SET
        case Folder():
            return ObjectClass.FOLDER
        case Association():
            return ObjectClass.ASSOCIATION


def _content_of(entry: DocumentEntry) -> dict[str, Any]:
    return {"content_hash": entry.hash.lower() or None, "size": entry.size}


async def find_used(transaction: Transaction, unique_ids: Iterable[str]) -> tuple[UsedUniqueId, ...]:
    """What is known of uniqueIds that were not free; they are kept from leading elsewhere until the
    transaction ends.
    """
    # The spelling of the message is what its rules look for.
    spelled = {nfc(unique_id): unique_id for unique_id in unique_ids}
    if not spelled:
        return ()
    return tuple(
        UsedUniqueId(
            unique_id=spelled[used],
            object_class=ObjectClass(object_class),
            content_hash=content_hash or "",
            size=size,
        )
        for used, object_class, content_hash, size in await transaction.fetch(_USED, ids=sorted(spelled))
    )


async def lead_to(transaction: Transaction, patient_id: str, ids: Iterable[str]) -> None:
    """Let `ids`, of which some may be another patient's, lead to this patient too."""
    identifiers = sorted(set(ids))
    if identifiers:
        await transaction.execute(_LEAD, patient=patient_id, ids=identifiers)


async def replace_contents(transaction: Transaction, entries: Sequence[DocumentEntry]) -> None:
    """Let the uniqueIds of `entries` name their content from now on (ITI-57, 92)."""
    await transaction.execute_many(
        _REPLACE_CONTENT, [{**_content_of(entry), "which": nfc(entry.unique_id)} for entry in entries]
    )


# --- looking up ---------------------------------------------------------------------------------------


async def find_owners(reader: Reader, ids: Iterable[str]) -> IdsByPatient:
    """The patients of the objects under `ids`, which are entryUUIDs."""
    return await _places(reader, _OWNERS, ids)


async def find_leads(reader: Reader, ids: Iterable[str]) -> IdsByPatient:
    """The patients whose objects have or name one of `ids`."""
    return await _places(reader, _LEADS, ids)


async def lock(transaction: Transaction, ids: Iterable[str]) -> IdsByPatient:
    """The patients of the objects under `ids`; none of them changes or moves until the transaction ends."""
    return await _places(transaction, _LOCKED, ids)


async def _places(reader: Reader, statement: ClauseElement, ids: Iterable[str]) -> IdsByPatient:
    identifiers = sorted(set(ids))
    rows = await reader.fetch(statement, ids=identifiers) if identifiers else []
    if merging := next((patient_id for _, patient_id, merging in rows if merging), None):
        raise MergeUnderWay(merging)
    return grouped((spelled, patient_id) for spelled, patient_id, _ in rows if patient_id is not None)


# --- leaving ------------------------------------------------------------------------------------------

#: The columns of an object by which an identifier leads to it.
NAMING = (
    _object.entry_uuid,
    _object.unique_id,
    _object.logical_id,
    _object.source_object,
    _object.target_object,
)

_STILL_NAMED = union(*(select(column).where(OF_PATIENT, in_list(column, "ids")) for column in NAMING))
_GIVE_TO_OWNER = (
    update(identifier)
    .where(_identifier.identifier == bindparam("which"))
    .values(patient_id=bindparam("patient"))
)
_STOP = delete(shared_identifier).where(
    _shared.identifier == bindparam("which"), _shared.patient_id == bindparam("patient")
)
_FREE = delete(identifier).where(in_list(_identifier.identifier, "ids"), _identifier.patient_id.is_(None))


async def release(transaction: Transaction, ids: Iterable[str], *, kept: Collection[str]) -> None:
    """Let `ids` lead only to patients whose objects have or name them still, after objects were removed.

    What no object has or names may be used again, unless it is among `kept`.
    """
    identifiers = sorted(set(ids))
    owners = dict(await _pairs(transaction, _OWNERS, identifiers))
    further = await _pairs(transaction, _FURTHER, identifiers)
    naming = await _find_naming(transaction, grouped([*owners.items(), *further]))
    # The owner of what still leads somewhere is one of those patients.
    leaving = {
        spelled: min(naming[spelled], default=None)
        for spelled, owner in owners.items()
        if owner not in naming[spelled]
    }
    ended = [(id_, of) for id_, of in further if of not in naming[id_] or of == leaving.get(id_)]
    await transaction.execute_many(_STOP, [{"which": spelled, "patient": of} for spelled, of in ended])
    await transaction.execute_many(
        _GIVE_TO_OWNER, [{"which": spelled, "patient": of} for spelled, of in leaving.items()]
    )
    if free := [spelled for spelled, of in leaving.items() if of is None and spelled not in kept]:
        await transaction.execute(_FREE, ids=free)


async def _pairs(transaction: Transaction, statement: Select[Any], ids: list[str]) -> list[tuple[str, str]]:
    return [(spelled, patient_id) for spelled, patient_id, _ in await transaction.fetch(statement, ids=ids)]


async def _find_naming(transaction: Transaction, places: IdsByPatient) -> Mapping[str, set[str]]:
    """The patients of `places` whose objects have or name each identifier."""
    naming: defaultdict[str, set[str]] = defaultdict(set)
    for patient_id, ids in places.items():
        for (spelled,) in await transaction.fetch(_STILL_NAMED, patient=patient_id, ids=ids):
            naming[spelled].add(patient_id)
    return naming


# --- merging ------------------------------------------------------------------------------------------

_MOVE = (
    update(identifier)
    .where(_identifier.patient_id == bindparam("patient"), in_list(_identifier.identifier, "ids"))
    .values(patient_id=bindparam("to"))
)
_MOVE_FURTHER = insert_or_ignore(shared_identifier).from_select(
    ["identifier", "patient_id"],
    select(_shared.identifier, bindparam("to", type_=Text)).where(_shared.patient_id == bindparam("patient")),
)
_LEAVE_FURTHER = delete(shared_identifier).where(_shared.patient_id == bindparam("patient"))
_LEAVE_DOUBLE = delete(shared_identifier).where(
    _shared.patient_id == bindparam("to"),
    exists().where(
        _identifier.identifier == _shared.identifier, _identifier.patient_id == _shared.patient_id
    ),
)


async def move(transaction: Transaction, ids: Iterable[str], subsumed: str, survivor: str) -> None:
    """Let those of `ids` that lead to `subsumed` lead to `survivor`; before the objects are moved."""
    identifiers = sorted(set(ids))
    if identifiers:
        await transaction.fetch(_LOCKED, ids=identifiers)
        await transaction.execute(_MOVE, ids=identifiers, patient=subsumed, to=survivor)


async def move_further(transaction: Transaction, subsumed: str, survivor: str) -> None:
    """Let what leads to `subsumed` beside another lead to `survivor`."""
    await transaction.execute(_MOVE_FURTHER, patient=subsumed, to=survivor)
    await transaction.execute(_LEAVE_FURTHER, patient=subsumed)
    await transaction.execute(_LEAVE_DOUBLE, to=survivor)

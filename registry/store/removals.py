"""Look at what a removal would leave behind, and remove."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, delete, not_, select

from registry.domain.removal import Item, Reference, Removal
from registry.domain.submission import HAS_MEMBER, ObjectClass
from registry.store import consents, identifiers, versions
from registry.store.by_patient import OF_PATIENT, fetch_at, grouped
from registry.store.tables import object_value, registry_object
from shared.store.engine import Transaction
from shared.store.statements import in_list

#: References that are told in one answer.
MOST_TOLD = 100

_object = registry_object.c
_holder = registry_object.alias("holder")

_ITEMS = select(
    _object.entry_uuid,
    _object.object_class,
    _object.patient_id,
    _object.logical_id,
    _object.unique_id,
    _object.association_type,
    _object.source_object,
    _object.target_object,
).where(OF_PATIENT, in_list(_object.entry_uuid, "ids"))

_STAYS = not_(in_list(_object.entry_uuid, "going"))


def _pointing(end: ColumnElement[str]) -> Select[Any]:
    return (
        select(_object.entry_uuid, end)
        .where(OF_PATIENT, in_list(end, "ids"), _STAYS)
        .limit(bindparam("most", type_=Integer))
    )


def _joined(end: ColumnElement[str]) -> Select[Any]:
    return select(end).where(OF_PATIENT, in_list(end, "ids"), _STAYS).distinct()


_POINTING = (_pointing(_object.source_object), _pointing(_object.target_object))
_TOUCHED = (_joined(_object.source_object), _joined(_object.target_object))
_COLLECTED = (
    select(_object.target_object)
    .select_from(
        registry_object.join(
            _holder,
            and_(_holder.c.patient_id == _object.patient_id, _holder.c.entry_uuid == _object.source_object),
        )
    )
    .where(
        OF_PATIENT,
        in_list(_object.target_object, "ids"),
        _object.association_type == str(HAS_MEMBER),
        _holder.c.object_class == str(ObjectClass.SUBMISSION_SET),
        _STAYS,
    )
    .distinct()
)

_REMOVE_VALUES = delete(object_value).where(
    object_value.c.patient_id == bindparam("patient"), in_list(object_value.c.entry_uuid, "ids")
)
_REMOVE = delete(registry_object).where(OF_PATIENT, in_list(_object.entry_uuid, "ids"))


async def find_items(transaction: Transaction, ids: Sequence[str]) -> dict[str, Item]:
    """What is registered under `ids` and, where that is an association, under the ids that it joins."""
    listed = await _items(transaction, ids)
    ends = set(chain.from_iterable(item.ends for item in listed.values()))
    return listed | await _items(transaction, ends - listed.keys())


async def _items(transaction: Transaction, ids: Iterable[str]) -> dict[str, Item]:
    places = await identifiers.find_owners(transaction, ids)
    rows = await fetch_at(transaction, _ITEMS, places)
    return {
        entry_uuid: Item(
            entry_uuid=entry_uuid,
            object_class=ObjectClass(object_class),
            patient_id=patient_id,
            logical_id=logical_id or "",
            unique_id=unique or "",
            association_type=association_type or "",
            source_object=source or "",
            target_object=target or "",
        )
        for entry_uuid, object_class, patient_id, logical_id, unique, association_type, source, target in rows
    }


async def find_removal(transaction: Transaction, ids: Sequence[str]) -> Removal:
    """What a removal of `ids` would leave behind."""
    going = sorted(ids)
    removal = Removal(ids=ids, items=await find_items(transaction, ids))
    ends = removal.staying
    return Removal(
        ids=ids,
        items=removal.items,
        references=await _references(transaction, going),
        touched=await _ends(transaction, _TOUCHED, ends, going),
        collected=await _ends(transaction, (_COLLECTED,), ends, going),
    )


async def _references(transaction: Transaction, going: Sequence[str]) -> list[Reference]:
    places = await identifiers.find_leads(transaction, going)
    rows = [
        row
        for statement in _POINTING
        for row in await fetch_at(transaction, statement, places, going=going, most=MOST_TOLD)
    ]
    return [
        Reference(association=association, points_at=end) for association, end in sorted(rows)[:MOST_TOLD]
    ]


async def _ends(
    transaction: Transaction, statements: Iterable[Select[Any]], ends: Sequence[str], going: Sequence[str]
) -> frozenset[str]:
    places = await identifiers.find_leads(transaction, ends)
    joined_ends: set[str] = set()
    for statement in statements:
        joined_ends.update(end for (end,) in await fetch_at(transaction, statement, places, going=going))
    return frozenset(joined_ends)


async def remove_objects(transaction: Transaction, items: Collection[Item]) -> None:
    """Remove objects whole, and let level 1 show what is the latest of its versions now.

    The uniqueIds of submission sets and folders may be used again. That of a document stays bound to its
    content, wherever that is kept: two documents never share one.
    """
    await consents.end_consents(transaction, [item.entry_uuid for item in items])
    for patient_id, ids in grouped((item.entry_uuid, item.patient_id) for item in items).items():
        await transaction.execute(_REMOVE_VALUES, patient=patient_id, ids=ids)
        await transaction.execute(_REMOVE, patient=patient_id, ids=ids)
    await versions.show_latest(transaction, (item.logical_id for item in items if item.logical_id))
    kept = {item.unique_id for item in items if item.object_class is ObjectClass.DOCUMENT_ENTRY}
    await identifiers.release(transaction, chain.from_iterable(map(named_by, items)), kept=kept)


def named_by(item: Item) -> set[str]:
    """The identifiers that an object has or names."""
    return {item.entry_uuid, item.logical_id, item.unique_id, *item.ends} - {""}

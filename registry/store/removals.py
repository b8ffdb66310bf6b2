"""Look at what a removal would leave behind, and remove."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, bindparam, case, delete, exists, not_, select, update

from registry.domain.removal import Item, Reference, Removal
from registry.domain.submission import HAS_MEMBER, Class
from registry.store.objects import LEVEL_1, LEVEL_2
from registry.store.tables import object_value, registry_object, unique_id
from shared.ebrim.model import AvailabilityStatus
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
).where(in_list(_object.entry_uuid, "ids"))

_STAYS = not_(in_list(_object.entry_uuid, "going"))


def _pointing(end: ColumnElement[str]) -> Select[Any]:
    return (
        select(_object.entry_uuid, end)
        .where(in_list(end, "going"), _STAYS)
        .order_by(_object.entry_uuid)
        .limit(bindparam("most", type_=Integer))
    )


def _joined(end: ColumnElement[str]) -> Select[Any]:
    return select(end).where(in_list(end, "ends"), _STAYS).distinct()


_POINTING = (_pointing(_object.source_object), _pointing(_object.target_object))
_TOUCHED = (_joined(_object.source_object), _joined(_object.target_object))
_COLLECTED = (
    select(_object.target_object)
    .select_from(registry_object.join(_holder, _holder.c.entry_uuid == _object.source_object))
    .where(
        in_list(_object.target_object, "ends"),
        _object.association_type == str(HAS_MEMBER),
        _holder.c.object_class == str(Class.SUBMISSION_SET),
        _STAYS,
    )
    .distinct()
)

_REMOVE_VALUES = delete(object_value).where(in_list(object_value.c.entry_uuid, "ids"))
_REMOVE = delete(registry_object).where(in_list(_object.entry_uuid, "ids"))
_newer = registry_object.alias("newer")
# What level 1 hides of the latest version alone: `objects` says it of values.
_HIDES_NOTHING = case(
    (_object.object_class == str(Class.DOCUMENT_ENTRY), _object.document_availability.is_(None)),
    else_=_object.status == str(AvailabilityStatus.APPROVED),
)
_SHOW = (
    update(registry_object)
    .where(
        in_list(_object.logical_id, "logical_ids"),
        _object.metadata_level == LEVEL_2,
        _HIDES_NOTHING,
        ~exists()
        .where(_newer.c.logical_id == _object.logical_id, _newer.c.version > _object.version)
        .correlate(registry_object),
    )
    .values(metadata_level=LEVEL_1)
)
_FREE = delete(unique_id).where(
    in_list(unique_id.c.unique_id, "unique_ids"),
    unique_id.c.object_class != str(Class.DOCUMENT_ENTRY),
    ~exists().where(_object.unique_id == unique_id.c.unique_id),
)


async def find_items(transaction: Transaction, ids: Sequence[str]) -> dict[str, Item]:
    """What is registered under `ids` and, where that is an association, under the ids that it joins."""
    listed = await _items(transaction, ids)
    ends = set(chain.from_iterable(item.ends for item in listed.values()))
    return listed | await _items(transaction, ends - listed.keys())


async def _items(transaction: Transaction, ids: Iterable[str]) -> dict[str, Item]:
    wanted = sorted(ids)
    rows = await transaction.fetch(_ITEMS, ids=wanted) if wanted else []
    return {
        entry_uuid: Item(
            entry_uuid=entry_uuid,
            object_class=Class(object_class),
            patient_id=patient_id or "",
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
    rows = [
        row
        for statement in _POINTING
        for row in await transaction.fetch(statement, going=going, most=MOST_TOLD)
    ]
    return [Reference(association=association, points_at=end) for association, end in rows[:MOST_TOLD]]


async def _ends(
    transaction: Transaction, statements: Iterable[Select[Any]], ends: Sequence[str], going: Sequence[str]
) -> frozenset[str]:
    if not ends:
        return frozenset()
    found: set[str] = set()
    for statement in statements:
        found.update(end for (end,) in await transaction.fetch(statement, ends=ends, going=going))
    return frozenset(found)


async def remove_objects(transaction: Transaction, items: Collection[Item]) -> None:
    """Remove objects whole, and let level 1 show what is the latest of its versions now.

    The uniqueIds of submission sets and folders may be used again. That of a document stays bound to its
    content, wherever that is kept: two documents never share one.
    """
    ids = sorted(item.entry_uuid for item in items)
    await transaction.execute(_REMOVE_VALUES, ids=ids)
    await transaction.execute(_REMOVE, ids=ids)
    lineages = sorted({item.logical_id for item in items if item.logical_id})
    if lineages:
        await transaction.execute(_SHOW, logical_ids=lineages)
    unique_ids = sorted({item.unique_id for item in items if item.unique_id})
    if unique_ids:
        await transaction.execute(_FREE, unique_ids=unique_ids)

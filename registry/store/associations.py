"""Find associations by what they join, and what is joined by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select

from registry.domain.submission import HAS_MEMBER, Class
from registry.domain.visibility import Found
from registry.store.found import SEEN, from_row
from registry.store.tables import registry_object
from shared.store.engine import Transaction
from shared.store.statements import in_list

_object = registry_object.c
_holder = registry_object.alias("holder")

_IN_STATUS = in_list(_object.status, "statuses")
_FROM = select(*SEEN).where(in_list(_object.source_object, "ids"), _IN_STATUS)
_TO = select(*SEEN).where(in_list(_object.target_object, "ids"), _IN_STATUS)
_MEMBERSHIPS = _FROM.where(_object.association_type == str(HAS_MEMBER))
_FROM_OF_TYPE = _FROM.where(in_list(_object.association_type, "types"))
_TO_OF_TYPE = _TO.where(in_list(_object.association_type, "types"))
_HELD_BY = (
    select(*SEEN)
    .select_from(registry_object.join(_holder, _holder.c.entry_uuid == _object.source_object))
    .where(
        in_list(_object.target_object, "ids"),
        _IN_STATUS,
        _object.association_type == str(HAS_MEMBER),
        in_list(_holder.c.object_class, "classes"),
    )
)


async def find_touching(
    transaction: Transaction, ids: Iterable[str], *, statuses: Sequence[str]
) -> list[Found]:
    """Every association in one of `statuses` that starts or ends at one of `ids`."""
    wanted = sorted(set(ids))
    if not wanted:
        return []
    return _once(
        [
            *await transaction.fetch(_FROM, ids=wanted, statuses=statuses),
            *await transaction.fetch(_TO, ids=wanted, statuses=statuses),
        ]
    )


async def find_memberships_of(
    transaction: Transaction, holders: Iterable[str], *, statuses: Sequence[str]
) -> list[Found]:
    """The HasMember associations from `holders`."""
    wanted = sorted(set(holders))
    if not wanted:
        return []
    return _once(await transaction.fetch(_MEMBERSHIPS, ids=wanted, statuses=statuses))


async def find_memberships_in(
    transaction: Transaction, object_class: Class, members: Iterable[str], *, statuses: Sequence[str]
) -> list[Found]:
    """The HasMember associations to `members` from holders of one class."""
    wanted = sorted(set(members))
    if not wanted:
        return []
    return _once(
        await transaction.fetch(_HELD_BY, ids=wanted, classes=[str(object_class)], statuses=statuses)
    )


async def find_of_types(
    transaction: Transaction, ids: Iterable[str], types: Iterable[str], *, statuses: Sequence[str]
) -> list[Found]:
    """The associations of one of `types` that start or end at one of `ids`."""
    wanted, of = sorted(set(ids)), sorted(set(types))
    if not wanted:
        return []
    return _once(
        [
            *await transaction.fetch(_FROM_OF_TYPE, ids=wanted, types=of, statuses=statuses),
            *await transaction.fetch(_TO_OF_TYPE, ids=wanted, types=of, statuses=statuses),
        ]
    )


def _once(rows: Iterable[tuple[object, ...]]) -> list[Found]:
    return list({row[0]: from_row(row) for row in rows}.values())

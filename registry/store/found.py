"""What of an object a query reads first: enough to decide on; fragments are read for what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Integer, and_, bindparam, exists, or_, select

from registry.domain.stored_queries import Shown
from registry.domain.submission import Class
from registry.domain.visibility import Found
from registry.store.tables import registry_object
from shared.ebrim.identifiers import nfc
from shared.store.engine import Reader, Transaction
from shared.store.statements import in_list

_object = registry_object.c

#: The columns of `Found`, in its order.
SEEN = (
    _object.entry_uuid,
    _object.object_class,
    _object.patient_id,
    _object.confidentiality,
    _object.class_code,
    _object.type_code,
    _object.source_object,
    _object.target_object,
    _object.metadata_level,
)
FRAGMENT = _object.fragment

#: What a query of `level` looks at.
AT_LEVEL = _object.metadata_level <= bindparam("level", type_=Integer)

_BY_IDS = select(*SEEN).where(in_list(_object.entry_uuid, "ids"))
_SHOWN = _BY_IDS.where(
    AT_LEVEL, or_(_object.object_class != str(Class.ASSOCIATION), in_list(_object.status, "statuses"))
)
_IS_OF_CLASS = and_(in_list(_object.object_class, "classes"), AT_LEVEL)
_OF_CLASS = _BY_IDS.where(_IS_OF_CLASS)
_BY_UNIQUE_IDS = select(*SEEN).where(in_list(_object.unique_id, "unique_ids"), _IS_OF_CLASS)
_BY_LOGICAL_IDS = select(*SEEN).where(in_list(_object.logical_id, "logical_ids"), _IS_OF_CLASS)

_old = registry_object.alias("old")
_newer = registry_object.alias("newer")
_LATEST = (
    select(_old.c.entry_uuid, *SEEN)
    .select_from(_old.join(registry_object, _object.logical_id == _old.c.logical_id))
    .where(
        in_list(_old.c.entry_uuid, "ids"),
        _object.version > _old.c.version,
        ~exists()
        .where(_newer.c.logical_id == _object.logical_id, _newer.c.version > _object.version)
        .correlate(registry_object),
    )
)
_FRAGMENTS = select(_object.entry_uuid, FRAGMENT).where(in_list(_object.entry_uuid, "ids"))


def from_row(row: Sequence[Any]) -> Found:
    """A row of `SEEN`, with the fragment behind it or without."""
    return Found(*row)


async def find_by_ids(transaction: Transaction, ids: Iterable[str]) -> list[Found]:
    """The objects of any class under `ids`."""
    wanted = sorted(set(ids))
    return [from_row(row) for row in await transaction.fetch(_BY_IDS, ids=wanted)] if wanted else []


async def find_shown(transaction: Transaction, ids: Iterable[str], shown: Shown) -> list[Found]:
    """Those of `ids` that the query looks at."""
    wanted = sorted(set(ids))
    if not wanted:
        return []
    rows = await transaction.fetch(_SHOWN, ids=wanted, level=shown.level, statuses=shown.association_statuses)
    return [from_row(row) for row in rows]


async def find_of_class(
    transaction: Transaction,
    object_class: Class,
    *,
    level: int,
    ids: Sequence[str] = (),
    unique_ids: Sequence[str] = (),
    logical_ids: Sequence[str] = (),
) -> list[Found]:
    """The objects of one class under `ids`, with one of `unique_ids`, or of `logical_ids` (Get… queries)."""
    of: dict[str, Any] = {"classes": [str(object_class)], "level": level}
    found = []
    if ids:
        found += await transaction.fetch(_OF_CLASS, ids=sorted(set(ids)), **of)
    if unique_ids:
        wanted = sorted({nfc(unique_id) for unique_id in unique_ids})
        found += await transaction.fetch(_BY_UNIQUE_IDS, unique_ids=wanted, **of)
    if logical_ids:
        found += await transaction.fetch(_BY_LOGICAL_IDS, logical_ids=sorted(set(logical_ids)), **of)
    return [from_row(row) for row in found]


async def find_latest(transaction: Transaction, ids: Sequence[str]) -> dict[str, Found]:
    """The latest version of each of `ids` that is an older one."""
    rows = await transaction.fetch(_LATEST, ids=sorted(ids)) if ids else []
    return {row[0]: from_row(row[1:]) for row in rows}


async def find_fragments(database: Reader, ids: Iterable[str]) -> dict[str, bytes]:
    """The fragments of the objects under `ids`."""
    rows = await database.fetch(_FRAGMENTS, ids=list(ids))
    return {entry_uuid: bytes(fragment) for entry_uuid, fragment in rows}

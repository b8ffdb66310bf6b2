"""What of an object a query reads first: enough to decide on; fragments are read for what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select

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
)
FRAGMENT = _object.fragment

_BY_IDS = select(*SEEN).where(in_list(_object.entry_uuid, "ids"))
_OF_CLASS = _BY_IDS.where(in_list(_object.object_class, "classes"))
_BY_UNIQUE_IDS = select(*SEEN).where(
    in_list(_object.unique_id, "unique_ids"), in_list(_object.object_class, "classes")
)
_FRAGMENTS = select(_object.entry_uuid, FRAGMENT).where(in_list(_object.entry_uuid, "ids"))


def from_row(row: Sequence[Any]) -> Found:
    """A row of `SEEN`, with the fragment behind it or without."""
    return Found(*row)


async def find_by_ids(transaction: Transaction, ids: Iterable[str]) -> list[Found]:
    """The objects of any class under `ids`."""
    wanted = sorted(set(ids))
    return [from_row(row) for row in await transaction.fetch(_BY_IDS, ids=wanted)] if wanted else []


async def find_of_class(
    transaction: Transaction,
    object_class: Class,
    *,
    ids: Sequence[str] = (),
    unique_ids: Sequence[str] = (),
) -> list[Found]:
    """The objects of one class under `ids`, and those with one of `unique_ids` (Get… queries)."""
    classes = [str(object_class)]
    found = []
    if ids:
        found += await transaction.fetch(_OF_CLASS, ids=sorted(set(ids)), classes=classes)
    if unique_ids:
        wanted = sorted({nfc(unique_id) for unique_id in unique_ids})
        found += await transaction.fetch(_BY_UNIQUE_IDS, unique_ids=wanted, classes=classes)
    return [from_row(row) for row in found]


async def find_fragments(database: Reader, ids: Iterable[str]) -> dict[str, bytes]:
    """The fragments of the objects under `ids`."""
    rows = await database.fetch(_FRAGMENTS, ids=list(ids))
    return {entry_uuid: bytes(fragment) for entry_uuid, fragment in rows}

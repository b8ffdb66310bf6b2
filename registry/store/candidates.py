"""Candidates: what of an object a query reads first, enough to decide on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Integer, and_, bindparam, or_, select

from registry.domain.stored_queries import Shown
from registry.domain.submission import ObjectClass
from registry.domain.visibility import Candidate
from registry.store import identifiers
from registry.store.by_patient import OF_PATIENT, fetch_at, places_of
from registry.store.tables import registry_object
from registry.store.versions import NUMBERS
from shared.ebrim.identifiers import nfc
from shared.store.engine import Row, Transaction
from shared.store.statements import in_list

_object = registry_object.c

#: The columns of `Candidate`, in its order.
COLUMNS = (
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

#: What a query of `level` looks at.
AT_LEVEL = _object.metadata_level <= bindparam("level", type_=Integer)

_BY_IDS = select(*COLUMNS).where(OF_PATIENT, in_list(_object.entry_uuid, "ids"))
_SHOWN = _BY_IDS.where(
    AT_LEVEL, or_(_object.object_class != str(ObjectClass.ASSOCIATION), in_list(_object.status, "statuses"))
)
_IS_OF_CLASS = and_(in_list(_object.object_class, "classes"), AT_LEVEL)
_OF_CLASS = _BY_IDS.where(_IS_OF_CLASS)
_BY_UNIQUE_IDS = select(*COLUMNS).where(OF_PATIENT, in_list(_object.unique_id, "ids"), _IS_OF_CLASS)
_BY_LOGICAL_IDS = select(*COLUMNS).where(OF_PATIENT, in_list(_object.logical_id, "ids"), _IS_OF_CLASS)
_VERSIONS = select(_object.logical_id, _object.version, *COLUMNS).where(
    OF_PATIENT, in_list(_object.logical_id, "ids")
)


def candidate_of(row: Sequence[Any]) -> Candidate:
    """The candidate of a row of `COLUMNS`."""
    return Candidate(*row)


async def find_by_ids(transaction: Transaction, ids: Iterable[str]) -> list[Candidate]:
    """The objects of any class under `ids`."""
    places = await identifiers.find_owners(transaction, ids)
    return [candidate_of(row) for row in await fetch_at(transaction, _BY_IDS, places)]


async def find_shown(transaction: Transaction, ids: Iterable[str], shown: Shown) -> list[Candidate]:
    """Those of `ids` that the query looks at."""
    places = await identifiers.find_owners(transaction, ids)
    rows = await fetch_at(transaction, _SHOWN, places, level=shown.level, statuses=shown.association_statuses)
    return [candidate_of(row) for row in rows]


async def find_of_class(
    transaction: Transaction,
    object_class: ObjectClass,
    *,
    level: int,
    ids: Sequence[str] = (),
    unique_ids: Sequence[str] = (),
    logical_ids: Sequence[str] = (),
) -> list[Candidate]:
    """The objects of one class under `ids`, with one of `unique_ids`, or of `logical_ids` (Get… queries)."""
    criteria = (
        (_OF_CLASS, await identifiers.find_owners(transaction, ids)),
        (_BY_UNIQUE_IDS, await identifiers.find_leads(transaction, map(nfc, unique_ids))),
        (_BY_LOGICAL_IDS, await identifiers.find_leads(transaction, logical_ids)),
    )
    return [
        candidate_of(row)
        for statement, places in criteria
        for row in await fetch_at(transaction, statement, places, classes=[str(object_class)], level=level)
    ]


async def find_latest(transaction: Transaction, old: Iterable[Candidate]) -> dict[str, Candidate]:
    """The latest version of each of `old` that is an older one, by its id."""
    versions = await fetch_at(transaction, NUMBERS, places_of(old))
    places = await identifiers.find_leads(transaction, (logical_id for _, logical_id, _ in versions))
    latest = {row[0]: row for row in sorted(await fetch_at(transaction, _VERSIONS, places), key=_number)}
    return {
        entry_uuid: candidate_of(latest[logical_id][2:])
        for entry_uuid, logical_id, version in versions
        if version < latest[logical_id][1]
    }


def _number(row: Row) -> int:
    number: int = row[1]
    return number

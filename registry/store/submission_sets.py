"""Find submission sets by their attributes, and those that hold given objects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam, select

from registry.domain.stored_queries import Criteria
from registry.domain.submission import Class
from registry.domain.visibility import Found
from registry.store import objects
from registry.store.by_patient import OF_PATIENT
from registry.store.document_entries import (
    Condition,
    Signature,
    before,
    bound,
    conditions,
    equals,
    has_like,
    not_before,
    signature,
)
from registry.store.found import AT_LEVEL, SEEN, from_row
from registry.store.tables import registry_object
from shared.store.engine import Transaction

_object = registry_object.c
_SS = "$XDSSubmissionSet"

FILTERS: Mapping[str, Condition] = {
    f"{_SS}SourceId": equals(_object.source_id),
    f"{_SS}SubmissionTimeFrom": not_before(_object.submission_time),
    f"{_SS}SubmissionTimeTo": before(_object.submission_time),
    f"{_SS}AuthorPerson": has_like(objects.AUTHOR_PERSON),
    f"{_SS}ContentType": equals(_object.content_type_code),
    f"{_SS}Status": equals(_object.status),
}


@lru_cache(maxsize=128)
def _find(used: Signature) -> Select[Any]:
    return (
        select(*SEEN)
        .where(
            OF_PATIENT,
            _object.object_class == str(Class.SUBMISSION_SET),
            AT_LEVEL,
            *conditions(used, FILTERS),
        )
        .limit(bindparam("most", type_=Integer))
    )


async def find_submission_sets(
    transaction: Transaction, criteria: Criteria, *, patient_id: str, most: int
) -> list[Found]:
    """Find submission sets of one patient (ITI TF-2 3.18.4.1.2.3.7.2), by `registry_object_of_patient`."""
    statement = _find(signature(criteria, FILTERS))
    rows = await transaction.fetch(
        statement, patient=patient_id, most=most, level=criteria.level, **bound(criteria, FILTERS)
    )
    return [from_row(row) for row in rows]

"""Find document entries by their attributes (ITI TF-2 3.18.4.1.2.3.7.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Select, bindparam, func, select

from registry.domain.stored_queries import Criteria
from registry.domain.submission import ObjectClass
from registry.domain.visibility import Candidate
from registry.store import identifiers, objects
from registry.store.by_patient import OF_PATIENT, fetch_at
from registry.store.candidates import AT_LEVEL, COLUMNS, candidate_of
from registry.store.consents import IDENTITY_LINES, POLICY_LINES, Given
from registry.store.filters import (
    Condition,
    Signature,
    before,
    bound,
    conditions,
    equals,
    has_like,
    has_value,
    not_before,
    signature,
)
from registry.store.tables import registry_object
from shared.ebrim import schemes
from shared.store.engine import Reader, Transaction
from shared.store.statements import in_list

_object = registry_object.c
_DE = "$XDSDocumentEntry"

CONTENT_FILTERS: Mapping[str, Condition] = {
    f"{_DE}FormatCode": equals(_object.format_code),
    f"{_DE}ConfidentialityCode": has_value(objects.CONFIDENTIALITY_CODE),
    f"{_DE}Type": equals(_object.object_type),
}
FILTERS: Mapping[str, Condition] = {
    **CONTENT_FILTERS,
    f"{_DE}ClassCode": equals(_object.class_code),
    f"{_DE}TypeCode": equals(_object.type_code),
    f"{_DE}PracticeSettingCode": equals(_object.practice_setting_code),
    f"{_DE}HealthcareFacilityTypeCode": equals(_object.healthcare_facility_type_code),
    f"{_DE}CreationTimeFrom": not_before(_object.creation_time),
    f"{_DE}CreationTimeTo": before(_object.creation_time),
    f"{_DE}ServiceStartTimeFrom": not_before(_object.service_start_time),
    f"{_DE}ServiceStartTimeTo": before(_object.service_start_time),
    f"{_DE}ServiceStopTimeFrom": not_before(_object.service_stop_time),
    f"{_DE}ServiceStopTimeTo": before(_object.service_stop_time),
    f"{_DE}EventCodeList": has_value(objects.EVENT_CODE),
    f"{_DE}AuthorPerson": has_like(objects.AUTHOR_PERSON),
    f"{_DE}ReferenceIdList": has_value(objects.REFERENCE_ID),
    f"{_DE}Status": equals(_object.status),
    f"{_DE}DocumentAvailability": equals(func.coalesce(_object.document_availability, schemes.ONLINE)),
}

# --- statements ---------------------------------------------------------------------------------------


def _of_type(used: Signature) -> Iterable[ColumnElement[bool]]:
    # Without $XDSDocumentEntryType only Stable entries are meant.
    if all(name != f"{_DE}Type" for name, _ in used):
        yield _object.object_type == schemes.STABLE


def _matches(used: Signature) -> Iterable[ColumnElement[bool]]:
    yield OF_PATIENT
    yield _object.object_class == str(ObjectClass.DOCUMENT_ENTRY)
    yield AT_LEVEL
    yield from conditions(used, FILTERS)
    yield from _of_type(used)


@lru_cache(maxsize=512)
def _find(used: Signature, *, leaf: bool) -> Select[Any]:
    fragment = (_object.fragment,) if leaf else ()
    return (
        select(POLICY_LINES, IDENTITY_LINES, *fragment, *COLUMNS)
        .where(*_matches(used))
        .limit(bindparam("most", type_=Integer))
    )


_ENTRIES = select(_object.confidentiality, _object.class_code, _object.type_code).where(
    OF_PATIENT, _object.object_class == str(ObjectClass.DOCUMENT_ENTRY)
)
_CODES = _ENTRIES.distinct()
_ALL = select(*COLUMNS).where(OF_PATIENT, _object.object_class == str(ObjectClass.DOCUMENT_ENTRY))
_ONE = _ENTRIES.limit(1)
_COUNTED = _ENTRIES.add_columns(func.count()).group_by(
    _object.confidentiality, _object.class_code, _object.type_code
)


@lru_cache(maxsize=128)
def _beyond(used: Signature) -> Select[Any]:
    return (
        select(_object.entry_uuid).where(*_matches(used)).limit(1).offset(bindparam("number", type_=Integer))
    )


@lru_cache(maxsize=128)
def _contents(used: Signature) -> Select[Any]:
    return select(*COLUMNS).where(
        OF_PATIENT,
        in_list(_object.entry_uuid, "ids"),
        _object.object_class == str(ObjectClass.DOCUMENT_ENTRY),
        AT_LEVEL,
        *conditions(used, CONTENT_FILTERS),
        *_of_type(used),
    )


@dataclass(frozen=True, slots=True)
class Documents:
    """Entries of one patient, what decides about the patient, and the fragments by id when they were read."""

    candidates: list[Candidate]
    given: Given
    fragments: Mapping[str, bytes]


async def find_documents(
    database: Reader, criteria: Criteria, *, patient_id: str, most: int, leaf: bool
) -> Documents:
    """Find at most `most` entries of one patient, and what decides about the patient.

    One statement, served by `registry_object_of_patient`; fragments are read as stored, with `leaf` only, and
    never parsed. The policies come with the entries, so that they are of one moment; without entries there
    are none.
    """
    statement = _find(signature(criteria, FILTERS), leaf=leaf)
    rows = await database.fetch(
        statement, patient=patient_id, most=most, level=criteria.level, **bound(criteria, FILTERS)
    )
    if not rows:
        return Documents([], Given(), {})
    consent = Given.of_lines(*rows[0][:2])
    if not leaf:
        return Documents([candidate_of(row[2:]) for row in rows], consent, {})
    candidates = [candidate_of(row[3:]) for row in rows]
    fragments = {each.entry_uuid: row[2] for each, row in zip(candidates, rows, strict=True)}
    return Documents(candidates, consent, fragments)


class EntryCodes(NamedTuple):
    """What consent asks of an entry; confidentiality codes are joined by line feeds."""

    confidentiality: str | None
    class_code: str | None
    type_code: str | None


async def find_codes(database: Reader, patient_id: str, *, one: bool = False) -> list[EntryCodes]:
    """Each combination of codes of confidentiality, class and type that entries of a patient have, once; or
    any `one`."""
    rows = await database.fetch(_ONE if one else _CODES, patient=patient_id)
    return [EntryCodes(*row) for row in rows]


async def find_entries(database: Reader, patient_id: str) -> list[Candidate]:
    """All entries of a patient."""
    return [candidate_of(row) for row in await database.fetch(_ALL, patient=patient_id)]


async def count_codes(database: Reader, patient_id: str) -> list[tuple[EntryCodes, int]]:
    """The same, each with how many entries have it."""
    rows = await database.fetch(_COUNTED, patient=patient_id)
    return [(EntryCodes(*codes), number) for *codes, number in rows]


async def are_more_than(database: Reader, criteria: Criteria, *, patient_id: str, number: int) -> bool:
    """Whether `find_documents` would find more than `number`; the database alone counts them."""
    statement = _beyond(signature(criteria, FILTERS))
    parameters = bound(criteria, FILTERS)
    return bool(
        await database.fetch(statement, patient=patient_id, number=number, level=criteria.level, **parameters)
    )


async def find_contents(transaction: Transaction, criteria: Criteria, ids: Iterable[str]) -> list[Candidate]:
    """Those of `ids` that are entries and pass the filters of format, confidentiality and type."""
    statement = _contents(signature(criteria, CONTENT_FILTERS))
    places = await identifiers.find_owners(transaction, ids)
    rows = await fetch_at(
        transaction, statement, places, level=criteria.level, **bound(criteria, CONTENT_FILTERS)
    )
    return [candidate_of(row) for row in rows]

"""Find entries and folders of several patients, or of all of them (ITI TF-2 3.51.4.1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, Select, bindparam, literal_column, select, tuple_

from registry.domain.multi_patient_queries import DOCUMENT_PATIENTS, FOLDER_PATIENTS
from registry.domain.stored_queries import Criteria
from registry.domain.submission import ObjectClass
from registry.domain.visibility import Candidate
from registry.store import document_entries, folders, objects
from registry.store.candidates import AT_LEVEL, COLUMNS, candidate_of
from registry.store.filters import Condition, Signature, bound, conditions, equals, signature
from registry.store.tables import object_value, registry_object
from shared.ebrim import schemes
from shared.store.engine import Transaction
from shared.store.statements import in_list

_object = registry_object.c
_value = object_value.c

_TYPE = "$XDSDocumentEntryType"
_EVENT_CODES, _FOLDER_CODES = "$XDSDocumentEntryEventCodeList", "$XDSFolderCodeList"
#: What leads to entries by an index; event codes do so only where none of these is given.
_LEADING = (
    DOCUMENT_PATIENTS,
    "$XDSDocumentEntryClassCode",
    "$XDSDocumentEntryHealthcareFacilityTypeCode",
)


def _among(attribute: str) -> Condition:
    """The object is among those that have one of the alternatives as a value of `attribute`.

    Reads the values first, by the attribute's own index, where `has_value` reads the objects first.
    """
    # A literal, because the index is for this attribute alone.
    of_attribute = _value.attribute == literal_column(f"'{attribute}'")
    return lambda name: tuple_(_object.patient_id, _object.entry_uuid).in_(
        select(_value.patient_id, _value.entry_uuid).where(of_attribute, in_list(_value.value, name))
    )


_DOCUMENT_FILTERS: Mapping[str, Condition] = {
    DOCUMENT_PATIENTS: equals(_object.patient_id),
    **document_entries.FILTERS,
}
_FOLDER_FILTERS: Mapping[str, Condition] = {
    FOLDER_PATIENTS: equals(_object.patient_id),
    **folders.FILTERS,
}
#: The filters of each class by parameter.
FILTERS: Mapping[ObjectClass, Mapping[str, Condition]] = {
    ObjectClass.DOCUMENT_ENTRY: _DOCUMENT_FILTERS,
    ObjectClass.FOLDER: _FOLDER_FILTERS,
}
_DOCUMENT_FILTERS_BY_VALUE = {**_DOCUMENT_FILTERS, _EVENT_CODES: _among(objects.EVENT_CODE)}
_FOLDER_FILTERS_BY_VALUE = {**_FOLDER_FILTERS, _FOLDER_CODES: _among(objects.FOLDER_CODE)}


@lru_cache(maxsize=256)
def _find(used: Signature, object_class: ObjectClass) -> Select[Any]:
    names = {name for name, _ in used}
    if object_class is ObjectClass.FOLDER:
        filters = _FOLDER_FILTERS if FOLDER_PATIENTS in names else _FOLDER_FILTERS_BY_VALUE
    else:
        filters = _DOCUMENT_FILTERS if names & set(_LEADING) else _DOCUMENT_FILTERS_BY_VALUE
    statement = select(*COLUMNS).where(
        _object.object_class == str(object_class), AT_LEVEL, *conditions(used, filters)
    )
    if object_class is ObjectClass.DOCUMENT_ENTRY and _TYPE not in names:
        # Without $XDSDocumentEntryType only Stable entries are meant.
        statement = statement.where(_object.object_type == schemes.STABLE)
    return statement.limit(bindparam("most", type_=Integer))


async def find_documents_of_patients(
    transaction: Transaction, criteria: Criteria, *, most: int
) -> list[Candidate]:
    """Find at most `most` entries, of the patients that are named or of all.

    Served by `registry_object_of_patient`; without patients by the index of the class, facility type or event
    code.
    """
    return await _find_of_class(transaction, criteria, ObjectClass.DOCUMENT_ENTRY, most)


async def find_folders_of_patients(
    transaction: Transaction, criteria: Criteria, *, most: int
) -> list[Candidate]:
    """Find at most `most` folders, of the patients that are named or, by their codes, of all."""
    return await _find_of_class(transaction, criteria, ObjectClass.FOLDER, most)


async def _find_of_class(
    transaction: Transaction, criteria: Criteria, object_class: ObjectClass, most: int
) -> list[Candidate]:
    filters = FILTERS[object_class]
    statement = _find(signature(criteria, filters), object_class)
    rows = await transaction.fetch(statement, most=most, level=criteria.level, **bound(criteria, filters))
    return [candidate_of(row) for row in rows]

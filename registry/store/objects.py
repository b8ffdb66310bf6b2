"""Registered objects: from values to rows and back, looked up by id, changed as a whole.

A change writes the columns and a new fragment in one statement; no code edits a fragment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from sqlalchemy import Integer, and_, bindparam, case, select, update

from registry.domain.registration import RegisteredObject
from registry.domain.submission import ObjectClass
from registry.store import identifiers
from registry.store.by_patient import OF_PATIENT, fetch_at
from registry.store.fragments import decode_fragment, encode_fragment
from registry.store.tables import ENCODING_VERSION, object_value, registry_object
from shared.ebrim import schemes
from shared.ebrim.identifiers import CX, CXi, nfc
from shared.ebrim.model import (
    Association,
    AvailabilityStatus,
    Code,
    DocumentEntry,
    Folder,
    RegistryObject,
    SubmissionSet,
    Timestamp,
)
from shared.store.engine import Batch, Transaction
from shared.store.statements import in_list

EVENT_CODE = "eventCodeList"
CONFIDENTIALITY_CODE = "confidentialityCode"
AUTHOR_PERSON = "authorPerson"
REFERENCE_ID = "referenceIdList"
FOLDER_CODE = "codeList"

#: Metadata level 2 shows what level 1 does not (Metadata Update, 3.18.4.1.2.3.5).
LEVEL_1, LEVEL_2 = 1, 2

ObjectRow = dict[str, Any]

_object = registry_object.c

#: What level 1 shows where it is the latest of its versions; `_is_hidden` says the same of values.
SHOWN_AS_LATEST = case(
    (_object.object_class == str(ObjectClass.DOCUMENT_ENTRY), _object.document_availability.is_(None)),
    else_=_object.status == str(AvailabilityStatus.APPROVED),
)
_HIDE = update(registry_object).where(OF_PATIENT, in_list(_object.entry_uuid, "ids"))
_HIDE = _HIDE.values(metadata_level=LEVEL_2)

_UPDATE = (
    update(registry_object)
    .where(OF_PATIENT, _object.entry_uuid == bindparam("which"))
    .values(
        status=bindparam("status"),
        last_update_time=bindparam("last_update_time"),
        # What is hidden although it would be shown as the latest is not the latest, and stays hidden.
        metadata_level=case(
            (and_(_object.metadata_level == LEVEL_2, SHOWN_AS_LATEST), LEVEL_2),
            else_=bindparam("metadata_level", type_=Integer),
        ),
        encoding_version=bindparam("encoding_version"),
        fragment=bindparam("fragment"),
    )
)
_REGISTERED = select(
    _object.entry_uuid, _object.object_class, _object.status, _object.patient_id, _object.object_type
).where(OF_PATIENT, in_list(_object.entry_uuid, "ids"))
_FRAGMENTS = (
    select(_object.object_class, _object.fragment)
    .where(OF_PATIENT, in_list(_object.entry_uuid, "ids"))
    .order_by(_object.entry_uuid)
)


# --- values to rows -----------------------------------------------------------------------------------


def row_of(value: RegistryObject, patient_id: str | None = None) -> ObjectRow:
    """The row of `value`: columns and fragment; `patient_id` is that of its submission set, which only an
    association needs.
    """
    match value:
        case DocumentEntry():
            return _row(value, **_document_columns(value))
        case SubmissionSet():
            return _row(value, **_submission_set_columns(value))
        case Folder():
            return _row(value, **_folder_columns(value))
        case Association():
            return _row(value, patient_id=patient_id, **_association_columns(value))


def _row(value: RegistryObject, **columns: Any) -> ObjectRow:
    row: ObjectRow = dict.fromkeys(_object.keys())
    row.update(
        entry_uuid=value.entry_uuid,
        status=str(value.availability_status),
        encoding_version=ENCODING_VERSION,
        metadata_level=LEVEL_2 if _is_hidden(value) else LEVEL_1,
        fragment=encode_fragment(value),
        **columns,
    )
    return row


def _is_hidden(value: RegistryObject) -> bool:
    """Whether level 1 does not show `value`, even as the latest of its versions."""
    if isinstance(value, DocumentEntry):
        return value.document_availability == schemes.OFFLINE
    deprecated = value.availability_status is AvailabilityStatus.DEPRECATED
    return deprecated and not isinstance(value, SubmissionSet)


def _document_columns(entry: DocumentEntry) -> ObjectRow:
    return {
        "object_class": str(ObjectClass.DOCUMENT_ENTRY),
        "unique_id": nfc(entry.unique_id),
        "patient_id": spelled(entry.patient_id),
        "object_type": entry.object_type,
        "logical_id": entry.logical_id or entry.entry_uuid,
        "version": entry.version,
        "class_code": _code(entry.class_code),
        "type_code": _code(entry.type_code),
        "format_code": _code(entry.format_code),
        "practice_setting_code": _code(entry.practice_setting_code),
        "healthcare_facility_type_code": _code(entry.healthcare_facility_type_code),
        "confidentiality": "\n".join(map(_code, entry.confidentiality_codes)),
        "creation_time": _time(entry.creation_time),
        "service_start_time": _time(entry.service_start_time),
        "service_stop_time": _time(entry.service_stop_time),
        "document_availability": schemes.OFFLINE if _is_hidden(entry) else None,
    }


def _submission_set_columns(submission_set: SubmissionSet) -> ObjectRow:
    return {
        "object_class": str(ObjectClass.SUBMISSION_SET),
        "unique_id": nfc(submission_set.unique_id),
        "patient_id": spelled(submission_set.patient_id),
        "source_id": submission_set.source_id,
        "submission_time": _time(submission_set.submission_time),
        "content_type_code": _code(submission_set.content_type_code),
    }


def _folder_columns(folder: Folder) -> ObjectRow:
    return {
        "object_class": str(ObjectClass.FOLDER),
        "unique_id": nfc(folder.unique_id),
        "patient_id": spelled(folder.patient_id),
        "logical_id": folder.logical_id or folder.entry_uuid,
        "version": folder.version,
        "last_update_time": _time(folder.last_update_time),
    }


def _association_columns(association: Association) -> ObjectRow:
    return {
        "object_class": str(ObjectClass.ASSOCIATION),
        "association_type": association.association_type,
        "source_object": association.source_object,
        "target_object": association.target_object,
        "submission_set_status": association.submission_set_status,
    }


def values_of(value: RegistryObject, patient_id: str) -> Iterator[ObjectRow]:
    """The rows of the attributes of `value` that have several values, once each; `patient_id` as in its own
    row.
    """
    for attribute, text in dict.fromkeys(_values_of(value)):
        yield {
            "patient_id": patient_id,
            "entry_uuid": value.entry_uuid,
            "attribute": attribute,
            "value": text,
        }


def _values_of(value: RegistryObject) -> Iterator[tuple[str, str]]:
    match value:
        case DocumentEntry():
            yield from ((EVENT_CODE, _code(code)) for code in value.event_codes)
            yield from ((CONFIDENTIALITY_CODE, _code(code)) for code in value.confidentiality_codes)
            yield from _author_persons(value)
            yield from ((REFERENCE_ID, _reference(reference)) for reference in value.reference_ids)
        case SubmissionSet():
            yield from _author_persons(value)
        case Folder():
            yield from ((FOLDER_CODE, _code(code)) for code in value.codes)


def _author_persons(value: DocumentEntry | SubmissionSet) -> Iterator[tuple[str, str]]:
    return ((AUTHOR_PERSON, nfc(author.person)) for author in value.authors if author.person)


def spelled(patient_id: str) -> str:
    """The one spelling of a patient id; what is no CX stays as it is."""
    try:
        return str(CX.parse(patient_id))
    except ValueError:
        return patient_id


def _reference(reference: str) -> str:
    try:
        return str(CXi.parse(reference))
    except ValueError:
        return nfc(reference)


def _code(code: Code) -> str:
    return nfc(str(code))


def _time(moment: Timestamp | None) -> str | None:
    return None if moment is None else moment.earliest


# --- statements ---------------------------------------------------------------------------------------


#: The columns of a row that name something else, or something that others may have too.
_NAMING = ("unique_id", "logical_id", "source_object", "target_object")


async def insert_objects(
    transaction: Transaction, patient_id: str, objects: Sequence[RegistryObject], *, claimed: Collection[str]
) -> None:
    """Register `objects` of a submission for a patient; `claimed` are the identifiers that are theirs alone.

    The others may be another patient's, and lead to this one too from now on.
    """
    batches = object_batches(patient_id, objects)
    names = {row[column] for row in batches[0][1] for column in _NAMING} - {None}
    await identifiers.lead_to(transaction, patient_id, names - set(claimed))
    for table, rows in batches:
        await transaction.insert(table, rows)


def object_batches(patient_id: str, objects: Sequence[RegistryObject]) -> tuple[Batch, Batch]:
    """The rows of `objects` of a submission for a patient, and those of their values."""
    rows = [row_of(value, patient_id) for value in objects]
    values = (values_of(value, row["patient_id"]) for value, row in zip(objects, rows, strict=True))
    return (registry_object, rows), (object_value, list(chain.from_iterable(values)))


async def lock_registered(transaction: Transaction, ids: Iterable[str]) -> dict[str, RegisteredObject]:
    """What is registered under `ids`, locked until the transaction ends."""
    places = await identifiers.lock(transaction, ids)
    return {
        entry_uuid: RegisteredObject(
            entry_uuid=entry_uuid,
            object_class=ObjectClass(object_class),
            status=AvailabilityStatus(status),
            patient_id="" if object_class == ObjectClass.ASSOCIATION else patient_id,
            object_type=object_type or "",
        )
        for entry_uuid, object_class, status, patient_id, object_type in await fetch_at(
            transaction, _REGISTERED, places
        )
    }


async def find_values(transaction: Transaction, ids: Iterable[str]) -> list[RegistryObject]:
    """The objects that are registered under `ids`, as values."""
    places = await identifiers.find_owners(transaction, ids)
    return [
        decode_fragment(ObjectClass(object_class), bytes(fragment))
        for object_class, fragment in await fetch_at(transaction, _FRAGMENTS, places)
    ]


async def replace_objects(transaction: Transaction, objects: Iterable[RegistryObject]) -> None:
    """Write new statuses or times of registered objects, and the fragments that say so."""
    values = {value.entry_uuid: value for value in objects}
    places = await identifiers.find_owners(transaction, values)
    await transaction.execute_many(
        _UPDATE,
        [
            {**row_of(values[entry_uuid]), "patient": patient_id, "which": entry_uuid}
            for patient_id, ids in places.items()
            for entry_uuid in ids
        ],
    )


async def hide_superseded(transaction: Transaction, ids: Iterable[str]) -> None:
    """Let level 1 show none of `ids`, after newer versions of them were registered."""
    for patient_id, of_patient in (await identifiers.find_owners(transaction, ids)).items():
        await transaction.execute(_HIDE, patient=patient_id, ids=of_patient)


def deprecated(value: RegistryObject) -> RegistryObject:
    """`value` after it left the stage."""
    return replace(value, availability_status=AvailabilityStatus.DEPRECATED)

"""What the registry is measured with: entries put straight into its tables, and requests as bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import insert

from registry.domain.stored_queries import FIND_DOCUMENTS
from registry.store import objects
from registry.store.tables import consent, identifier, object_value, patient, registry_object
from shared.consent.policy import Effect, encode_policy, new_policy
from shared.ebrim import schemes
from shared.ebrim.codec import DecodedSubmission
from shared.ebrim.model import (
    Association,
    AssociationType,
    Author,
    AvailabilityStatus,
    Code,
    DocumentEntry,
    Submission,
    SubmissionSet,
    Timestamp,
)
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.soap.envelope import encode_request
from shared.store.engine import Database, Transaction
from shared.store.opening import open_database

PATH = "/xds/registry"
MIGRATIONS = "registry.store:migrations"
DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"
ENTRIES_OF_A_PATIENT = 10
ENTRIES_OF_A_THICK_FILE = 1_000
#: More than any query looks at before it says XDSTooManyResults.
ENTRIES_OF_A_CROWD = 101_000
PATIENTS_OF_A_BATCH = 200

ROLE = Code("RAD-PHYS", "2.999.40.1", "Radiologist")
_LOINC = "2.16.840.1.113883.6.1"
TYPES = tuple(
    Code(value, _LOINC, name)
    for value, name in (
        ("18748-4", "Diagnostic imaging study"),
        ("11528-7", "Radiology report"),
        ("34133-9", "Summarization of episode note"),
        ("11502-2", "Laboratory report"),
    )
)
_ID, _UID, _PATIENT = "urn:uuid:00000000-0000-4000-8000-000000000000", "2.25.1000000000000000000", "P-PLACE"


def cx(name: str) -> str:
    """The patient `name` of the affinity domain."""
    return f"{name}^^^&{DOMAIN}&ISO"


def patient_name(number: int) -> str:
    """The id of one of the many patients."""
    return f"P{number:07}"


THICK_FILE = "P-THICK"
CROWD = "P-CROWD"


def entry(type_code: Code, *, entry_uuid: str, unique_id: str, patient_id: str) -> DocumentEntry:
    """An imaging manifest's entry, with what such entries carry."""
    return DocumentEntry(
        entry_uuid=entry_uuid,
        unique_id=unique_id,
        patient_id=patient_id,
        class_code=Code("IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images"),
        type_code=type_code,
        format_code=Code("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1", "Key Object Selection"),
        healthcare_facility_type_code=Code("HOSP", "1.3.6.1.4.1.21367.9.50", "Hospital"),
        practice_setting_code=Code("309964003", "2.16.840.1.113883.6.96", "Radiology department"),
        confidentiality_codes=(Code("N", "2.16.840.1.113883.5.25", "Normal"),),
        event_codes=(Code("CT", "1.2.840.10008.2.16.4", "Computed Tomography"),),
        mime_type="application/dicom",
        language_code="en-US",
        source_patient_id="L-77^^^&1.3.6.1.4.1.21367.9.60&ISO",
        source_patient_info=("PID-5|Roe^Rick", "PID-7|19560527", "PID-8|M"),
        creation_time=Timestamp("20240305101500"),
        service_start_time=Timestamp("20240305093000"),
        authors=(Author(person="^Roe^Ann", institutions=("General Hospital",)),),
        reference_ids=(f"A123^^^&1.3.6.1.4.1.21367.9.80&ISO^{schemes.REFERENCE_ACCESSION}",),
        title="CT chest",
        hash="2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        size=43_210,
        repository_unique_id="1.3.6.1.4.1.21367.9.30",
    )


# --- the tables ---------------------------------------------------------------------------------------


class _Template:
    """The rows of one entry, to be filled in with other ids: columns always equal what the fragment says."""

    def __init__(self, type_code: Code) -> None:
        value = entry(type_code, entry_uuid=_ID, unique_id=_UID, patient_id=cx(_PATIENT))
        self._row = objects.row_of(value)
        self._values = list(objects.values_of(value, cx(_PATIENT)))

    def rows(self, entry_uuid: str, uid: str, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        fragment = self._row["fragment"].replace(_ID.encode(), entry_uuid.encode())
        fragment = fragment.replace(_UID.encode(), uid.encode()).replace(_PATIENT.encode(), name.encode())
        row = {
            **self._row,
            "entry_uuid": entry_uuid,
            "logical_id": entry_uuid,
            "unique_id": uid,
            "patient_id": cx(name),
            "fragment": fragment,
        }
        return row, [
            {**value, "entry_uuid": entry_uuid, "patient_id": row["patient_id"]} for value in self._values
        ]


class Content:
    """Fills a registry's database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._templates = [_Template(code) for code in TYPES]
        self._numbers = itertools.count(2_000_000_000_000_000_000)

    async def add(self, patients: int) -> None:
        """`patients` with `ENTRIES_OF_A_PATIENT` entries each, every one with a policy."""
        names = map(patient_name, range(patients))
        while batch := list(itertools.islice(names, PATIENTS_OF_A_BATCH)):
            await self._database.write(self._work([(name, ENTRIES_OF_A_PATIENT) for name in batch]))

    async def add_patient(self, name: str, entries: int) -> None:
        """One patient more, with many entries."""
        await self._database.write(self._work([(name, entries)]))

    def _work(self, wanted: list[tuple[str, int]]) -> Any:
        made = [
            self._templates[at % len(TYPES)].rows(uuid4().urn, f"2.25.{next(self._numbers)}", name)
            for name, entries in wanted
            for at in range(entries)
        ]
        names = [name for name, _ in wanted]

        async def work(transaction: Transaction) -> None:
            await transaction.execute_many(
                insert(patient),
                [{"patient_id": cx(name), "survivor": cx(name), "merging": 0} for name in names],
            )
            await transaction.execute_many(insert(consent), [_policy(cx(name)) for name in names])
            await transaction.execute_many(insert(registry_object), [row for row, _ in made])
            await transaction.execute_many(
                insert(object_value), [value for _, values in made for value in values]
            )
            await transaction.execute_many(
                insert(identifier), [claim for row, _ in made for claim in _claims(row)]
            )

        return work


def _policy(patient_id: str) -> dict[str, Any]:
    policy = new_policy(patient_id=patient_id, effect=Effect.PERMIT, roles=[str(ROLE)])
    return {
        "policy_id": policy.policy_id,
        "patient_id": patient_id,
        "policy": json.dumps(encode_policy(policy)),
    }


def _claims(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    claim = {"object_class": row["object_class"], "patient_id": row["patient_id"]}
    yield {**claim, "identifier": row["entry_uuid"], "content_hash": None, "size": None}
    yield {
        **claim,
        "identifier": row["unique_id"],
        "content_hash": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "size": 43_210,
    }


async def fill(url: str | None, folder: Path, *, entries: int, crowd: bool) -> None:
    """Make the database of a registry, with `entries` and a patient with many; with `crowd` one with more."""
    database = await open_database(url, folder=folder, migrations=MIGRATIONS)
    try:
        content = Content(database)
        await content.add(entries // ENTRIES_OF_A_PATIENT)
        await content.add_patient(THICK_FILE, ENTRIES_OF_A_THICK_FILE)
        if crowd:
            await content.add_patient(CROWD, ENTRIES_OF_A_CROWD)
    finally:
        await database.close()


# --- requests -----------------------------------------------------------------------------------------


def post(path: str, action: str, envelope: bytes) -> bytes:
    """The HTTP request with a SOAP message."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f'Content-Type: application/soap+xml; charset=UTF-8; action="{action}"\r\n'
        f"Content-Length: {len(envelope)}\r\n\r\n"
    )
    return head.encode() + envelope


def find_documents(
    path: str,
    name: str,
    assertion: bytes,
    *,
    types: Iterable[Code] = (),
    return_type: ReturnType = ReturnType.LEAF_CLASS,
) -> bytes:
    """FindDocuments for the Approved entries of one patient, of some types."""
    asked: dict[str, Any] = {
        "$XDSDocumentEntryPatientId": cx(name),
        "$XDSDocumentEntryStatus": [str(AvailabilityStatus.APPROVED)],
        "$XDSDocumentEntryTypeCode": list(types),
    }
    request = StoredQueryRequest(
        query_id=FIND_DOCUMENTS.query_id, return_type=return_type, parameters=encode_parameters(asked)
    )
    body = ITI18.encode_request(request).xml
    url = f"http://127.0.0.1{PATH}"
    return post(path, ITI18.action, encode_request(ITI18.action, uuid4().urn, url, body, assertion))


def queries(path: str, names: Iterable[str], assertion: bytes) -> Iterator[bytes]:
    """FindDocuments of two or three entries each, for each of `names` again and again."""
    made = [
        find_documents(path, name, assertion, types=[TYPES[at % len(TYPES)]]) for at, name in enumerate(names)
    ]
    return itertools.cycle(made)


_MESSAGE, _SET_UID = "urn:uuid:00000000-0000-4000-8000-00000000000f", "2.25.3000000000000000000"
_numbers = itertools.count(1)


def registrations(path: str, names: Iterable[str]) -> Iterator[bytes]:
    """One new entry in a submission set of its own, for each of `names` again and again; ids never repeat."""
    made = [_registration(path, name) for name in names]
    for request in itertools.cycle(made):
        number = f"{next(_numbers):018}"
        yield (
            request.replace(_MESSAGE.encode(), uuid4().urn.encode())
            .replace(_UID.encode(), f"2.25.4{number}".encode())
            .replace(_SET_UID.encode(), f"2.25.5{number}".encode())
        )


def submission_of(document: DocumentEntry, set_id: str) -> Submission:
    """One document in a submission set of its own."""
    return Submission(
        submission_set=SubmissionSet(
            entry_uuid="SubmissionSet01",
            unique_id=set_id,
            patient_id=document.patient_id,
            source_id="1.3.6.1.4.1.21367.9.40",
            submission_time=Timestamp("20240305101600"),
            content_type_code=TYPES[0],
        ),
        document_entries=(document,),
        associations=(
            Association(
                entry_uuid="Association01",
                association_type=AssociationType.HAS_MEMBER,
                source_object="SubmissionSet01",
                target_object=document.entry_uuid,
                submission_set_status=schemes.ORIGINAL,
            ),
        ),
    )


def _registration(path: str, name: str) -> bytes:
    document = entry(TYPES[0], entry_uuid="Document01", unique_id=_UID, patient_id=cx(name))
    decoded = DecodedSubmission(submission=submission_of(document, _SET_UID))
    body = ITI42.encode_request(RegisterRequest(decoded=decoded)).xml
    url = f"http://127.0.0.1{PATH}"
    return post(path, ITI42.action, encode_request(ITI42.action, _MESSAGE, url, body, None))

"""Tables say what fragments say, migrations make what tables say, and queries use their indexes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from sqlalchemy import select

from registry.domain import stored_queries as queries
from registry.domain.multi_patient_queries import (
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS,
    MULTI_PATIENT_QUERIES,
)
from registry.domain.stored_queries import criteria_of
from registry.domain.submission import ObjectClass
from registry.store import (
    associations,
    candidates,
    document_entries,
    filters,
    fragments,
    identifiers,
    merges,
    multi_patient,
    objects,
    removals,
    submissions,
    versions,
)
from registry.store.tables import registry_object
from shared.ebrim.model import AvailabilityStatus
from shared.messages.iti18 import encode_parameters
from shared.store.opening import open_database
from shared.store.statements import Statements
from tests.support import metadata
from tests.support.metadata import PATIENT, a_document_entry, a_folder, a_submission
from tests.support.registry import APPROVED, MIGRATIONS

CLASSES = {
    ObjectClass.DOCUMENT_ENTRY: metadata.document_entries,
    ObjectClass.SUBMISSION_SET: metadata.submission_sets,
    ObjectClass.FOLDER: metadata.folders,
    ObjectClass.ASSOCIATION: metadata.associations,
}


@pytest.mark.parametrize("object_class", ObjectClass)
def test_columns_equal_what_the_fragment_says(object_class):
    @settings(max_examples=40, deadline=None)
    @given(CLASSES[object_class])
    def law(value):
        row = objects.row_of(value, PATIENT)
        decoded = fragments.decode_fragment(object_class, row["fragment"])
        assert objects.row_of(decoded, PATIENT) == row
        of = row["patient_id"]
        assert list(objects.values_of(decoded, of)) == list(objects.values_of(value, of))

    law()


async def test_opening_again_finds_the_schema_up_to_date(database_place):
    for _ in range(2):
        database = await database_place.open(MIGRATIONS)
        assert await database.fetch(select(registry_object.c.entry_uuid)) == []
        await database.close()


# --- indexes -----------------------------------------------------------------------------------------------


def find_documents(**parameters):
    given = {
        "$XDSDocumentEntryPatientId": PATIENT,
        "$XDSDocumentEntryStatus": [APPROVED],
        **{f"$XDSDocumentEntry{name}": value for name, value in parameters.items()},
    }
    criteria = criteria_of(queries.FIND_DOCUMENTS.query_id, encode_parameters(given))
    used = filters.signature(criteria, document_entries.FILTERS)
    return document_entries._find(used, leaf=True)


def contents():
    parameters = encode_parameters({"$XDSSubmissionSetEntryUUID": "urn:uuid:1"})
    criteria = criteria_of(queries.GET_SUBMISSION_SET_AND_CONTENTS.query_id, parameters)
    return document_entries._contents(filters.signature(criteria, document_entries.CONTENT_FILTERS))


def of_patients(query, **parameters):
    prefix, object_class = (
        ("$XDSDocumentEntry", ObjectClass.DOCUMENT_ENTRY)
        if query is FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS
        else ("$XDSFolder", ObjectClass.FOLDER)
    )
    given = {f"{prefix}{name}": value for name, value in (parameters | {"Status": [APPROVED]}).items()}
    criteria = criteria_of(query.query_id, encode_parameters(given), queries=MULTI_PATIENT_QUERIES)
    used = filters.signature(criteria, multi_patient.FILTERS[object_class])
    return multi_patient._find(used, object_class)


PRIMARY_KEY = "sqlite_autoindex_registry_object_1 (patient_id=?"

SERVED_BY = {
    "FindDocuments": (find_documents(), "registry_object_of_patient"),
    "FindDocuments by author and code": (
        find_documents(AuthorPerson=["%Roe%"], ClassCode=[metadata.IMAGES], EventCodeList=[metadata.CT]),
        "registry_object_of_patient",
    ),
    "documents of several patients": (
        of_patients(
            FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
            PatientId=[PATIENT],
            ClassCode=[metadata.IMAGES],
            EventCodeList=[metadata.CT],
        ),
        "registry_object_of_patient",
    ),
    "documents of all patients by class": (
        of_patients(FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, ClassCode=[metadata.IMAGES]),
        "registry_object_by_class_code",
    ),
    "documents of all patients by facility type": (
        of_patients(FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, HealthcareFacilityTypeCode=[metadata.HOSPITAL]),
        "registry_object_by_facility_type",
    ),
    "documents of all patients by event code": (
        of_patients(FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, EventCodeList=[metadata.CT]),
        "object_value_by_event_code",
    ),
    "folders of several patients": (
        of_patients(FIND_FOLDERS_FOR_MULTIPLE_PATIENTS, PatientId=[PATIENT]),
        "registry_object_of_patient",
    ),
    "folders of all patients by code": (
        of_patients(FIND_FOLDERS_FOR_MULTIPLE_PATIENTS, CodeList=[metadata.CT]),
        "object_value_by_folder_code",
    ),
    "what points at what goes, from": (removals._POINTING[0], "registry_object_by_source"),
    "what points at what goes, to": (removals._POINTING[1], "registry_object_by_target"),
    "what is joined when others go, from": (removals._TOUCHED[0], "registry_object_by_source"),
    "what is joined when others go, to": (removals._TOUCHED[1], "registry_object_by_target"),
    "what is in a set when others go": (removals._COLLECTED, "registry_object_by_target"),
    "what goes": (removals._REMOVE, PRIMARY_KEY),
    "values of what goes": (removals._REMOVE_VALUES, "PRIMARY KEY (patient_id=? AND entry_uuid=?)"),
    "associations from": (associations._FROM, "registry_object_by_source"),
    "associations to": (associations._TO, "registry_object_by_target"),
    "members": (associations._MEMBERSHIPS, "registry_object_by_source"),
    "holders": (associations._HELD_BY, "registry_object_by_target"),
    "descendants": (submissions._CHILDREN, "registry_object_by_target"),
    "memberships to carry over": (submissions._HELD, "registry_object_by_target"),
    "versions": (versions._VERSIONS, "registry_object_version"),
    "versions of a document": (candidates._VERSIONS, "registry_object_version"),
    "by entryUUID": (candidates._BY_IDS, PRIMARY_KEY),
    "by entryUUID, of one class": (candidates._OF_CLASS, PRIMARY_KEY),
    "by entryUUID, of one level": (candidates._SHOWN, PRIMARY_KEY),
    "by uniqueId": (candidates._BY_UNIQUE_IDS, "registry_object_by_unique_id"),
    "by logicalID": (candidates._BY_LOGICAL_IDS, "registry_object_version"),
    "contents": (contents(), PRIMARY_KEY),
    "fragments": (fragments._FRAGMENTS, PRIMARY_KEY),
    "a change": (objects._UPDATE, PRIMARY_KEY),
    "what a submission names": (objects._REGISTERED, PRIMARY_KEY),
    "lineages of a uniqueId": (versions._LINEAGES, "registry_object_by_unique_id"),
    "what comes along, from": (versions._FROM, "registry_object_by_source"),
    "what comes along, to": (versions._TO, "registry_object_by_target"),
    "joined already": (versions._JOINED, "registry_object_by_source"),
    "objects of a merge": (merges._OBJECTS, PRIMARY_KEY),
    "values of a merge": (merges._MOVE_VALUES, "PRIMARY KEY (patient_id=? AND entry_uuid=?)"),
    "merged before": (merges._SUBSUME, "patient_by_survivor"),
    "consents of a merge": (merges._MOVE_CONSENTS, "consent_of_patient"),
    "identifiers of a merge": (identifiers._MOVE, "PRIMARY KEY (identifier=?)"),
    "shared identifiers of a merge": (identifiers._LEAVE_FURTHER, "shared_identifier_of_patient"),
    "what was shared by two that are one": (identifiers._LEAVE_DOUBLE, "shared_identifier_of_patient"),
    "the patient of an entryUUID": (identifiers._OWNERS, "PRIMARY KEY (identifier=?)"),
    "the patients of an identifier": (identifiers._LEADS, "PRIMARY KEY (identifier=?)"),
    "locks": (identifiers._LOCKED, "PRIMARY KEY (identifier=?)"),
    "the content of a uniqueId": (identifiers._USED, "PRIMARY KEY (identifier=?)"),
    "what is named still": (identifiers._STILL_NAMED, "registry_object_by_target"),
}


@pytest.mark.parametrize("name", SERVED_BY)
async def test_each_query_is_served_by_its_index(name, tmp_path):
    statement, index = SERVED_BY[name]
    database = await open_database(None, folder=tmp_path / "registry", migrations=MIGRATIONS)
    compiled = Statements("sqlite").compiled(statement)
    plan = database._short._connection.execute(
        f"EXPLAIN QUERY PLAN {compiled.text}", ["[]"] * len(compiled.positions)
    ).fetchall()
    steps = [step for *_, step in plan]
    await database.close()
    assert any(index in step for step in steps), steps
    scanned = ("SCAN registry_object", "SCAN object_value", "SCAN identifier", "SCAN shared_identifier")
    assert not any(step.startswith(scanned) for step in steps), steps


# --- changes -----------------------------------------------------------------------------------------------


async def test_a_change_writes_columns_and_fragment_alike(registry):
    entry, folder = a_document_entry(), a_folder()
    await registry.register(a_submission(entry, folders=[folder]))

    async def work(transaction):
        values = await objects.find_values(transaction, [entry.entry_uuid, folder.entry_uuid])
        await objects.replace_objects(transaction, [objects.deprecated(value) for value in values])

    await registry.parts.database.write(work)
    rows = await registry.parts.database.fetch(
        select(registry_object.c.status, registry_object.c.object_class, registry_object.c.fragment).where(
            registry_object.c.patient_id == PATIENT
        )
    )
    deprecated = {
        object_class: fragments.decode_fragment(
            ObjectClass(object_class), bytes(fragment)
        ).availability_status
        for status, object_class, fragment in rows
        if status == AvailabilityStatus.DEPRECATED
    }
    assert deprecated == {
        "DocumentEntry": AvailabilityStatus.DEPRECATED,
        "Folder": AvailabilityStatus.DEPRECATED,
    }


def test_a_deprecated_value_differs_in_its_status_alone():
    entry = a_document_entry()
    assert objects.deprecated(entry) == replace(entry, availability_status=AvailabilityStatus.DEPRECATED)

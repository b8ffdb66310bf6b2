"""The queries about several patients, or about all of them (ITI TF-2 3.51.4.1.2).

They are FindDocuments and FindFolders in which the patient is a list that may be left out, when another of a
few parameters is given in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from registry.domain.stored_queries import FIND_DOCUMENTS, FIND_FOLDERS, Need, Parameter, StoredQuery

DOCUMENT_PATIENTS, FOLDER_PATIENTS = "$XDSDocumentEntryPatientId", "$XDSFolderPatientId"


def _of_patients(query: StoredQuery, query_id: str, patients: str, *others: str) -> StoredQuery:
    """`query` for several patients: `patients`, or one of `others`, must be given."""

    def parameter(of: Parameter) -> Parameter:
        if of.name == patients:
            return replace(of, need=Need.AT_LEAST_ONE, single=False)
        return replace(of, need=Need.AT_LEAST_ONE) if of.name in others else of

    return StoredQuery(
        query_id,
        f"{query.name}ForMultiplePatients",
        tuple(parameter(of) for of in query.parameters if of.level == 1),
    )


FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS = _of_patients(
    FIND_DOCUMENTS,
    "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f",
    DOCUMENT_PATIENTS,
    "$XDSDocumentEntryClassCode",
    "$XDSDocumentEntryEventCodeList",
    "$XDSDocumentEntryHealthcareFacilityTypeCode",
)
FIND_FOLDERS_FOR_MULTIPLE_PATIENTS = _of_patients(
    FIND_FOLDERS,
    "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df",
    FOLDER_PATIENTS,
    "$XDSFolderCodeList",
)

MULTI_PATIENT_QUERIES: Mapping[str, StoredQuery] = {
    query.query_id: query
    for query in (FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, FIND_FOLDERS_FOR_MULTIPLE_PATIENTS)
}

"""Stored queries and their parameters (ITI TF-2 3.18.4.1.2.3.7, 3.51.4.1.2.3), as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query.

    `need` is R required, O optional, G one of those that are G, A at least one of those that are A; `many`
    tells whether it takes a list, `kind` what its values are, `both` whether repeated slots add up.
    """

    name: str
    need: str
    many: bool
    kind: str
    both: bool


IDS: Final = {
    "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d": "FindDocuments",
    "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492": "FindDocumentsByReferenceId",
    "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9": "FindSubmissionSets",
    "urn:uuid:958f3006-baad-4929-a4de-ff1114824431": "FindFolders",
    "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3": "GetAll",
    "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4": "GetDocuments",
    "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4": "GetFolders",
    "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155": "GetAssociations",
    "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a": "GetDocumentsAndAssociations",
    "urn:uuid:51224314-5390-4169-9b91-b1980040715a": "GetSubmissionSets",
    "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83": "GetSubmissionSetAndContents",
    "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7": "GetFolderAndContents",
    "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578": "GetFoldersForDocument",
    "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6": "GetRelatedDocuments",
    "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f": "FindDocumentsForMultiplePatients",
    "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df": "FindFoldersForMultiplePatients",
}
MULTI_PATIENT: Final = frozenset({"FindDocumentsForMultiplePatients", "FindFoldersForMultiplePatients"})

_ENTRY: Final = "XDSDocumentEntry"
_FILTERS: Final = f"""
{_ENTRY}ClassCode O M code
{_ENTRY}TypeCode O M code
{_ENTRY}PracticeSettingCode O M code
{_ENTRY}CreationTimeFrom O 1 time
{_ENTRY}CreationTimeTo O 1 time
{_ENTRY}ServiceStartTimeFrom O 1 time
{_ENTRY}ServiceStartTimeTo O 1 time
{_ENTRY}ServiceStopTimeFrom O 1 time
{_ENTRY}ServiceStopTimeTo O 1 time
{_ENTRY}HealthcareFacilityTypeCode O M code
{_ENTRY}EventCodeList O M code and
{_ENTRY}ConfidentialityCode O M code and
{_ENTRY}AuthorPerson O M text
{_ENTRY}FormatCode O M code
{_ENTRY}Status R M status
{_ENTRY}Type O M type
{_ENTRY}DocumentAvailability O M text
"""
_CONTENTS: Final = f"""
{_ENTRY}FormatCode O M code
{_ENTRY}ConfidentialityCode O M code and
{_ENTRY}Type O M type
"""
_ONE_ENTRY: Final = f"{_ENTRY}EntryUUID G 1 uuid\n{_ENTRY}UniqueId G 1 text"
_ENTRIES: Final = f"{_ENTRY}EntryUUID G M uuid\n{_ENTRY}UniqueId G M text"
_FOLDER_FILTERS: Final = """
XDSFolderLastUpdateTimeFrom O 1 time
XDSFolderLastUpdateTimeTo O 1 time
XDSFolderCodeList O M code and
XDSFolderStatus R M status
"""
_ASSOCIATION_STATUS: Final = "XDSAssociationStatus O M status"

_TABLE: Final = {
    "FindDocuments": f"{_ENTRY}PatientId R 1 cx {_FILTERS}",
    "FindDocumentsByReferenceId": f"{_ENTRY}PatientId R 1 cx {_FILTERS} {_ENTRY}ReferenceIdList R M text and",
    "FindSubmissionSets": """XDSSubmissionSetPatientId R 1 cx
        XDSSubmissionSetSourceId O M text
        XDSSubmissionSetSubmissionTimeFrom O 1 time
        XDSSubmissionSetSubmissionTimeTo O 1 time
        XDSSubmissionSetAuthorPerson O 1 text
        XDSSubmissionSetContentType O M code
        XDSSubmissionSetStatus R M status""",
    "FindFolders": f"XDSFolderPatientId R 1 cx {_FOLDER_FILTERS}",
    "GetAll": f"""patientId R 1 cx
        {_ENTRY}Status R M status
        XDSSubmissionSetStatus R M status
        XDSFolderStatus R M status
        {_CONTENTS} {_ASSOCIATION_STATUS} {_ENTRY}DocumentAvailability O M text""",
    "GetDocuments": f"{_ENTRIES} {_ENTRY}LogicalID G M uuid",
    "GetFolders": "XDSFolderEntryUUID G M uuid XDSFolderUniqueId G M text XDSFolderLogicalID G M uuid",
    "GetAssociations": f"uuid R M uuid {_ASSOCIATION_STATUS}",
    "GetDocumentsAndAssociations": f"{_ENTRIES} {_ASSOCIATION_STATUS}",
    "GetSubmissionSets": f"uuid R M uuid {_ASSOCIATION_STATUS}",
    "GetSubmissionSetAndContents": f"""XDSSubmissionSetEntryUUID G 1 uuid
        XDSSubmissionSetUniqueId G 1 text {_CONTENTS} {_ASSOCIATION_STATUS}""",
    "GetFolderAndContents": f"""XDSFolderEntryUUID G 1 uuid
        XDSFolderUniqueId G 1 text {_CONTENTS} {_ASSOCIATION_STATUS}""",
    "GetFoldersForDocument": f"{_ONE_ENTRY} {_ASSOCIATION_STATUS}",
    "GetRelatedDocuments": f"""{_ONE_ENTRY} AssociationTypes R M association
        {_ENTRY}Type O M type {_ASSOCIATION_STATUS}""",
    "FindDocumentsForMultiplePatients": (f"{_ENTRY}PatientId A M cx {_FILTERS}")
    .replace("ClassCode O", "ClassCode A")
    .replace("HealthcareFacilityTypeCode O", "HealthcareFacilityTypeCode A")
    .replace("EventCodeList O", "EventCodeList A"),
    "FindFoldersForMultiplePatients": f"XDSFolderPatientId A M cx {_FOLDER_FILTERS}".replace(
        "CodeList O", "CodeList A"
    ),
}


@lru_cache(maxsize=32)
def parameters(query: str) -> Mapping[str, Parameter]:
    """The parameters of a query by name, `$` included."""
    listed: dict[str, Parameter] = {}
    words = _TABLE[query].split()
    while words:
        name, need, many, kind, *words = words
        both = bool(words) and words[0] == "and"
        listed[f"${name}"] = Parameter(f"${name}", need, many == "M", kind, both)
        words = words[1:] if both else words
    listed["$MetadataLevel"] = Parameter("$MetadataLevel", "O", False, "number", False)
    return listed

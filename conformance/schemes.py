"""The UUIDs of document sharing metadata (ITI TF-3 4.2.5.2, annex A), by what they are."""

from __future__ import annotations

from typing import Final

STABLE: Final = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
ON_DEMAND: Final = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
IS_SUBMISSION_SET: Final = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
IS_FOLDER: Final = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"
LIMITED_METADATA: Final = frozenset(
    {
        "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85",
        "urn:uuid:5003a9db-8d8d-49e6-bf0c-990e34ac7707",
        "urn:uuid:2c144a76-29a9-4b7c-af54-b25409fe7d03",
    }
)
ASSOCIATION_DOCUMENTATION: Final = "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3"
EVENT_CODES: Final = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
FORMAT_CODE: Final = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
ENTRY_AUTHOR: Final = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
SET_AUTHOR: Final = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"

#: Classification schemes of each object, with the attribute.
CODES: Final = {
    "DocumentEntry": {
        ENTRY_AUTHOR: "author",
        "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a": "classCode",
        "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f": "confidentialityCode",
        EVENT_CODES: "eventCodeList",
        FORMAT_CODE: "formatCode",
        "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1": "healthcareFacilityTypeCode",
        "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead": "practiceSettingCode",
        "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983": "typeCode",
    },
    "SubmissionSet": {
        SET_AUTHOR: "author",
        "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500": "contentTypeCode",
    },
    "Folder": {"urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5": "codeList"},
    "Association": {ASSOCIATION_DOCUMENTATION: "association documentation"},
}
#: Identification schemes of each object, with the attribute.
IDENTIFIERS: Final = {
    "DocumentEntry": {
        "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427": "patientId",
        "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab": "uniqueId",
    },
    "SubmissionSet": {
        "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446": "patientId",
        "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832": "sourceId",
        "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8": "uniqueId",
    },
    "Folder": {
        "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a": "patientId",
        "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a": "uniqueId",
    },
    "Association": {},
}

_ASSOCIATION: Final = "AssociationType:"
HAS_MEMBER: Final = f"urn:oasis:names:tc:ebxml-regrep:{_ASSOCIATION}HasMember"
RELATIONSHIPS: Final = frozenset(
    f"urn:ihe:iti:2007:{_ASSOCIATION}{name}" for name in ("RPLC", "XFRM", "APND", "XFRM_RPLC", "signs")
) | {f"urn:ihe:iti:2010:{_ASSOCIATION}IsSnapshotOf"}
UPDATES: Final = frozenset(
    f"urn:ihe:iti:2010:{_ASSOCIATION}{name}" for name in ("UpdateAvailabilityStatus", "SubmitAssociation")
)
ASSOCIATION_TYPES: Final = RELATIONSHIPS | UPDATES | {HAS_MEMBER}

_STATUS: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:"
APPROVED: Final = f"{_STATUS}Approved"
DEPRECATED: Final = f"{_STATUS}Deprecated"
_RESPONSE: Final = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"
SUCCESS: Final = f"{_RESPONSE}Success"
FAILURE: Final = f"{_RESPONSE}Failure"
PARTIAL_SUCCESS: Final = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
_SEVERITY: Final = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:"
ERROR: Final = f"{_SEVERITY}Error"
WARNING: Final = f"{_SEVERITY}Warning"

REFERENCE_IDS: Final = "urn:ihe:iti:xds:2013:referenceIdList"
#: Slots of each object, with the most values that each takes; None for any number.
SLOTS: Final[dict[str, dict[str, int | None]]] = {
    "DocumentEntry": {
        "creationTime": 1,
        "hash": 1,
        "languageCode": 1,
        "legalAuthenticator": 1,
        REFERENCE_IDS: None,
        "repositoryUniqueId": 1,
        "serviceStartTime": 1,
        "serviceStopTime": 1,
        "size": 1,
        "sourcePatientId": 1,
        "sourcePatientInfo": None,
        "URI": None,
        "documentAvailability": 1,
    },
    "SubmissionSet": {"intendedRecipient": None, "submissionTime": 1},
    "Folder": {"lastUpdateTime": 1},
    "Association": {
        "SubmissionSetStatus": 1,
        "PreviousVersion": 1,
        "AssociationPropagation": 1,
        "OriginalStatus": 1,
        "NewStatus": 1,
    },
}
#: Slots that begin with urn:ihe: and are defined.
IHE_SLOTS: Final = frozenset({REFERENCE_IDS, "urn:ihe:iti:xds:2023:repositoryUniqueId"})

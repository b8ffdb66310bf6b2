"""The fixed names of document sharing metadata: object types, schemes, slots (ITI TF-3 4.2.5 and 4.3.1)."""

from __future__ import annotations

# --- objectType ----------------------------------------------------------------------------------------

STABLE = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
ON_DEMAND = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"

_OBJECT = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
CLASSIFICATION_TYPE = _OBJECT + "Classification"
EXTERNAL_IDENTIFIER_TYPE = _OBJECT + "ExternalIdentifier"
REGISTRY_PACKAGE_TYPE = _OBJECT + "RegistryPackage"
ASSOCIATION_TYPE = _OBJECT + "Association"

# --- classificationScheme ------------------------------------------------------------------------------

DOCUMENT_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
CLASS_CODE = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
CONFIDENTIALITY_CODE = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
EVENT_CODE = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
FORMAT_CODE = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
HEALTHCARE_FACILITY_TYPE_CODE = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
PRACTICE_SETTING_CODE = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
TYPE_CODE = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"

SUBMISSION_SET_AUTHOR = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
CONTENT_TYPE_CODE = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"

FOLDER_CODE = "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5"

ASSOCIATION_DOCUMENTATION = "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3"

# --- classificationNode --------------------------------------------------------------------------------

SUBMISSION_SET_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
FOLDER_NODE = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"

LIMITED_DOCUMENT_ENTRY = "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85"
LIMITED_SUBMISSION_SET = "urn:uuid:5003a9db-8d8d-49e6-bf0c-990e34ac7707"
LIMITED_FOLDER = "urn:uuid:2c144a76-29a9-4b7c-af54-b25409fe7d03"
LIMITED_METADATA = frozenset({LIMITED_DOCUMENT_ENTRY, LIMITED_SUBMISSION_SET, LIMITED_FOLDER})

# --- identificationScheme, and the fixed names that go with them ----------------------------------------

DOCUMENT_PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
DOCUMENT_UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
SUBMISSION_SET_PATIENT_ID = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
SUBMISSION_SET_SOURCE_ID = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
SUBMISSION_SET_UNIQUE_ID = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
FOLDER_PATIENT_ID = "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a"
FOLDER_UNIQUE_ID = "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a"

IDENTIFIER_NAMES = {
    DOCUMENT_PATIENT_ID: "XDSDocumentEntry.patientId",
    DOCUMENT_UNIQUE_ID: "XDSDocumentEntry.uniqueId",
    SUBMISSION_SET_PATIENT_ID: "XDSSubmissionSet.patientId",
    SUBMISSION_SET_SOURCE_ID: "XDSSubmissionSet.sourceId",
    SUBMISSION_SET_UNIQUE_ID: "XDSSubmissionSet.uniqueId",
    FOLDER_PATIENT_ID: "XDSFolder.patientId",
    FOLDER_UNIQUE_ID: "XDSFolder.uniqueId",
}

# --- Slot names ------------------------------------------------------------------------------------------

CODING_SCHEME = "codingScheme"

CREATION_TIME = "creationTime"
LANGUAGE_CODE = "languageCode"
SERVICE_START_TIME = "serviceStartTime"
SERVICE_STOP_TIME = "serviceStopTime"
SOURCE_PATIENT_ID = "sourcePatientId"
SOURCE_PATIENT_INFO = "sourcePatientInfo"
LEGAL_AUTHENTICATOR = "legalAuthenticator"
HASH = "hash"
SIZE = "size"
REPOSITORY_UNIQUE_ID = "repositoryUniqueId"
URI = "URI"
REFERENCE_ID_LIST = "urn:ihe:iti:xds:2013:referenceIdList"
DOCUMENT_AVAILABILITY = "documentAvailability"

AUTHOR_PERSON = "authorPerson"
AUTHOR_INSTITUTION = "authorInstitution"
AUTHOR_ROLE = "authorRole"
AUTHOR_SPECIALTY = "authorSpecialty"
AUTHOR_TELECOMMUNICATION = "authorTelecommunication"

SUBMISSION_TIME = "submissionTime"
INTENDED_RECIPIENT = "intendedRecipient"
LAST_UPDATE_TIME = "lastUpdateTime"
SUBMISSION_SET_STATUS = "SubmissionSetStatus"

PREVIOUS_VERSION = "PreviousVersion"
ASSOCIATION_PROPAGATION = "AssociationPropagation"
ORIGINAL_STATUS = "OriginalStatus"
NEW_STATUS = "NewStatus"

#: Slots of an Association that belong to Metadata Update; decoded into `Association.extra_slots`, and an
#: error in ITI-42 and 61.
METADATA_UPDATE_SLOTS = frozenset({PREVIOUS_VERSION, ASSOCIATION_PROPAGATION, ORIGINAL_STATUS, NEW_STATUS})

# --- values ----------------------------------------------------------------------------------------------

ONLINE = "urn:ihe:iti:2010:DocumentAvailability:Online"
OFFLINE = "urn:ihe:iti:2010:DocumentAvailability:Offline"

ORIGINAL = "Original"
REFERENCE = "Reference"

#: SHA-1 of no bytes: with size 0 it marks Delayed Document Assembly (ITI TF-3 4.2.3.2.9).
EMPTY_SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"

# Type codes of referenceIdList, CXi.5 (ITI TF-3 table 4.2.3.1.7-2).
REFERENCE_UNIQUE_ID = "urn:ihe:iti:xds:2013:uniqueId"
REFERENCE_ACCESSION = "urn:ihe:iti:xds:2013:accession"
REFERENCE_REFERRAL = "urn:ihe:iti:xds:2013:referral"
REFERENCE_ORDER = "urn:ihe:iti:xds:2013:order"
REFERENCE_WORKFLOW = "urn:ihe:iti:xdw:2013:workflowInstanceId"
REFERENCE_STUDY_INSTANCE_UID = "urn:ihe:iti:xds:2016:studyInstanceUID"
REFERENCE_ENCOUNTER = "urn:ihe:iti:xds:2015:encounterId"

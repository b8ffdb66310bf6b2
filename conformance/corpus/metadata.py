"""Submissions and their objects as ebRIM, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from conformance.corpus.example import Example, mutated

KIND: Final = "xds-metadata"
RIM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
LCM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
PATIENT: Final = "P-1^^^&amp;1.3.6.1.4.1.21367.13.20.1000&amp;ISO"
OTHER_PATIENT: Final = PATIENT.replace("P-1", "P-2")
ENTRY: Final = "urn:uuid:00000000-0000-4000-8000-000000000001"
SET: Final = "urn:uuid:00000000-0000-4000-8000-000000000002"
FOLDER: Final = "urn:uuid:00000000-0000-4000-8000-000000000003"
_ON_DEMAND: Final = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
_STABLE: Final = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
_MEMBER: Final = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
_TYPES: Final = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"


def slot(name: str, *values: str) -> str:
    """A Slot."""
    listed = "".join(f"<rim:Value>{value}</rim:Value>" for value in values)
    return f'<rim:Slot name="{name}"><rim:ValueList>{listed}</rim:ValueList></rim:Slot>'


def code(scheme: str, owner: str, value: str, coding: str, name: str) -> str:
    """A coded attribute."""
    return (
        f'<rim:Classification id="c-{scheme[:8]}-{value}" classificationScheme="urn:uuid:{scheme}"'
        f' classifiedObject="{owner}" nodeRepresentation="{value}" objectType="{_TYPES}Classification">'
        f'{slot("codingScheme", coding)}<rim:Name><rim:LocalizedString value="{name}"/></rim:Name>'
        "</rim:Classification>"
    )


def identifier(scheme: str, owner: str, name: str, value: str) -> str:
    """An identifier."""
    return (
        f'<rim:ExternalIdentifier id="i-{scheme[:8]}" identificationScheme="urn:uuid:{scheme}"'
        f' registryObject="{owner}" value="{value}" objectType="{_TYPES}ExternalIdentifier">'
        f'<rim:Name><rim:LocalizedString value="{name}"/></rim:Name></rim:ExternalIdentifier>'
    )


def author(scheme: str, owner: str) -> str:
    """Who made it."""
    return (
        f'<rim:Classification id="a-{scheme[:8]}" classificationScheme="urn:uuid:{scheme}"'
        f' classifiedObject="{owner}" nodeRepresentation="" objectType="{_TYPES}Classification">'
        f"{slot('authorPerson', '11^Roe^Ann^^^Dr^^^&amp;1.2.3.4&amp;ISO')}"
        f"{slot('authorInstitution', 'Example Hospital^^^^^&amp;1.2.3.8&amp;ISO^^^^77')}"
        f"{slot('authorTelecommunication', '^^Internet^ann@example.org')}</rim:Classification>"
    )


def entry(sha1: str = "da39a3ee5e6b4b0d3255bfef95601890afd80709", size: int = 0) -> str:
    """The entry of a manifest, `corpus.manifests.manifest()`."""
    return (
        f'<rim:ExtrinsicObject id="{ENTRY}" mimeType="application/dicom" objectType="{_STABLE}"'
        ' status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved">'
        + slot("creationTime", "20260301091500")
        + slot("hash", sha1)
        + slot("languageCode", "en-US")
        + slot("legalAuthenticator", "11^Roe^Ann")
        + slot("repositoryUniqueId", "1.3.6.1.4.1.21367.9.30")
        + slot("serviceStartTime", "20260228083000")
        + slot("serviceStopTime", "20260228084500")
        + slot("size", str(size))
        + slot("sourcePatientId", "P1^^^&amp;1.2.3.9&amp;ISO")
        + slot("sourcePatientInfo", "PID-5|Müller^Jane", "PID-7|19700101", "PID-8|F")
        + slot(
            "urn:ihe:iti:xds:2013:referenceIdList",
            "2.25.500^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
            "A123^^^&amp;1.2.3.4&amp;ISO^urn:ihe:iti:xds:2013:accession",
        )
        + '<rim:Name><rim:LocalizedString value="CT of the chest"/></rim:Name>'
        + author("93606bcf-9494-43ec-9b4e-a7748d1a838d", ENTRY)
        + code("41a5887f-8865-4c09-adf7-e362475b143a", ENTRY, "IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images")
        + code("f4f85eac-e6cb-4883-b524-f2705394840f", ENTRY, "N", "2.16.840.1.113883.5.25", "Normal")
        + code("2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", ENTRY, "CT", "1.2.840.10008.2.16.4", "CT")
        + code(
            "a09d5840-386c-46f2-b5ad-9c3699a4309d",
            ENTRY,
            "1.2.840.10008.5.1.4.1.1.88.59",
            "1.2.840.10008.2.6.1",
            "Key Object Selection Document",
        )
        + code("f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", ENTRY, "HOSP", "1.3.6.1.4.1.21367.9.50", "Hospital")
        + code(
            "cccf5598-8b07-4b77-a05e-ae952c785ead", ENTRY, "309964003", "2.16.840.1.113883.6.96", "Radiology"
        )
        + code("f0306f51-975f-434e-a61c-c59651d33983", ENTRY, "18748-4", "2.16.840.1.113883.6.1", "Study")
        + identifier("58a6f841-87b3-4a3e-92fd-a8ffeff98427", ENTRY, "XDSDocumentEntry.patientId", PATIENT)
        + identifier("2e82c1f6-a085-4c72-9da3-8640a32e42ab", ENTRY, "XDSDocumentEntry.uniqueId", "2.25.1001")
        + "</rim:ExtrinsicObject>"
    )


def submission_set() -> str:
    """A SubmissionSet."""
    return (
        f'<rim:RegistryPackage id="{SET}" status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved">'
        + slot("intendedRecipient", "Example Hospital^^^^^&amp;1.2.3.8&amp;ISO^^^^77|11^Roe^Ann")
        + slot("submissionTime", "20260301091501")
        + '<rim:Name><rim:LocalizedString value="Images"/></rim:Name>'
        + _label("a54d6aa5-d40d-43f9-88c5-b4633d873bdd", SET)
        + author("a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d", SET)
        + code("aa543740-bdda-424e-8c96-df4873be8500", SET, "IMAGES", "1.3.6.1.4.1.21367.9.51", "Images")
        + identifier("6b5aea1a-874d-4603-a4bc-96a0a7b38446", SET, "XDSSubmissionSet.patientId", PATIENT)
        + identifier("554ac39e-e3fe-47fe-b233-965d2a147832", SET, "XDSSubmissionSet.sourceId", "1.2.3.40")
        + identifier("96fdda7c-d067-4183-912e-bf5ee74998a8", SET, "XDSSubmissionSet.uniqueId", "2.25.2001")
        + "</rim:RegistryPackage>"
    )


def _label(node: str, owner: str) -> str:
    return (
        f'<rim:Classification id="l-{node[:8]}" classificationNode="urn:uuid:{node}"'
        f' classifiedObject="{owner}" objectType="{_TYPES}Classification"/>'
    )


def folder() -> str:
    """A Folder."""
    return (
        f'<rim:RegistryPackage id="{FOLDER}" status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved">'
        + slot("lastUpdateTime", "20260301091502")
        + '<rim:Name><rim:LocalizedString value="Chest"/></rim:Name>'
        + _label("d9d542f3-6cc4-48b6-8870-ea235fbc94c2", FOLDER)
        + code("1ba97051-7806-41a8-a48b-8fce7af683c5", FOLDER, "CHEST", "1.3.6.1.4.1.21367.9.52", "Chest")
        + identifier("f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a", FOLDER, "XDSFolder.patientId", PATIENT)
        + identifier("75df8f67-9973-4fbe-a900-df66cefecc5a", FOLDER, "XDSFolder.uniqueId", "2.25.3001")
        + "</rim:RegistryPackage>"
    )


def member(number: int, source: str, target: str, status: str = "") -> str:
    """A HasMember."""
    return (
        f'<rim:Association id="urn:uuid:00000000-0000-4000-8000-0000000001{number:02d}"'
        f' status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved" associationType="{_MEMBER}"'
        f' sourceObject="{source}" targetObject="{target}">'
        f"{slot('SubmissionSetStatus', status) if status else ''}</rim:Association>"
    )


def objects(sha1: str = "da39a3ee5e6b4b0d3255bfef95601890afd80709", size: int = 0) -> str:
    """All objects of a submission: an entry in a new Folder."""
    membership = "urn:uuid:00000000-0000-4000-8000-000000000103"
    return "\n".join(
        (
            entry(sha1, size),
            submission_set(),
            folder(),
            member(1, SET, ENTRY, "Original"),
            member(2, SET, FOLDER),
            member(3, FOLDER, ENTRY),
            member(4, SET, membership),
        )
    )


def submission(sha1: str = "da39a3ee5e6b4b0d3255bfef95601890afd80709", size: int = 0) -> str:
    """A SubmitObjectsRequest."""
    return (
        f'<lcm:SubmitObjectsRequest xmlns:lcm="{LCM}" xmlns:rim="{RIM}"><rim:RegistryObjectList>\n'
        f"{objects(sha1, size)}\n</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"
    )


# --- what is done to it ------------------------------------------------------------------------------

Change = Callable[[list[str]], object]


def swap(old: str, new: str, times: int = 1) -> Change:
    """Put `new` in the place of the first `old`; it must be there."""

    def change(document: list[str]) -> None:
        if old not in document[0]:
            raise LookupError(f"{old!r} is not in the good example")
        document[0] = document[0].replace(old, new, times)

    return change


def all_of(*changes: Change) -> Change:
    """One change after the other."""
    return lambda document: [change(document) for change in changes]


def encode(document: list[str]) -> bytes:
    """The document of a list of one, which changes can be made to."""
    return document[0].encode()


def _no_slot(name: str, *values: str) -> Change:
    return swap(slot(name, *values), "")


_CLASS: Final = code(
    "41a5887f-8865-4c09-adf7-e362475b143a", ENTRY, "IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images"
)
_NORMAL: Final = code("f4f85eac-e6cb-4883-b524-f2705394840f", ENTRY, "N", "2.16.840.1.113883.5.25", "Normal")
_HASH: Final = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
_REFERENCES: Final = "urn:ihe:iti:xds:2013:referenceIdList"
_FORMAT: Final = code(
    "a09d5840-386c-46f2-b5ad-9c3699a4309d",
    ENTRY,
    "1.2.840.10008.5.1.4.1.1.88.59",
    "1.2.840.10008.2.6.1",
    "Key Object Selection Document",
)
_FACILITY: Final = code(
    "f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", ENTRY, "HOSP", "1.3.6.1.4.1.21367.9.50", "Hospital"
)
_PRACTICE: Final = code(
    "cccf5598-8b07-4b77-a05e-ae952c785ead", ENTRY, "309964003", "2.16.840.1.113883.6.96", "Radiology"
)
_TYPE: Final = code(
    "f0306f51-975f-434e-a61c-c59651d33983", ENTRY, "18748-4", "2.16.840.1.113883.6.1", "Study"
)
_CT: Final = code("2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", ENTRY, "CT", "1.2.840.10008.2.16.4", "CT")
_PATIENT_ID: Final = identifier(
    "58a6f841-87b3-4a3e-92fd-a8ffeff98427", ENTRY, "XDSDocumentEntry.patientId", PATIENT
)
_UNIQUE_ID: Final = identifier(
    "2e82c1f6-a085-4c72-9da3-8640a32e42ab", ENTRY, "XDSDocumentEntry.uniqueId", "2.25.1001"
)

MUTATIONS: Final[dict[str, tuple[str, Change]]] = {
    "an object of another kind": (
        "XDS-META-001",
        swap("\n</rim:RegistryObjectList>", '<rim:Service id="s1"/></rim:RegistryObjectList>'),
    ),
    "an object without id": (
        "XDS-META-002",
        swap(f'<rim:ExtrinsicObject id="{ENTRY}"', "<rim:ExtrinsicObject"),
    ),
    "an upper-case UUID": (
        "XDS-META-003",
        swap(FOLDER, FOLDER[:-1].upper().replace("URN:UUID:", "urn:uuid:") + "F", 9),
    ),
    "one id twice": (
        "XDS-META-004",
        swap(f'<rim:RegistryPackage id="{FOLDER}"', f'<rim:RegistryPackage id="{ENTRY}"'),
    ),
    "a Slot behind a Name": (
        "XDS-META-005",
        swap(
            '<rim:Name><rim:LocalizedString value="CT of the chest"/></rim:Name>',
            '<rim:Name><rim:LocalizedString value="CT of the chest"/></rim:Name>' + slot("URI", "a.dcm"),
        ),
    ),
    "a slot twice": ("XDS-META-006", swap(slot("languageCode", "en-US"), slot("languageCode", "en-US") * 2)),
    "a slot without value": ("XDS-META-007", swap(slot("languageCode", "en-US"), slot("languageCode"))),
    "a value of 257 characters": (
        "XDS-META-008",
        swap(slot("languageCode", "en-US"), slot("languageCode", "e" * 257)),
    ),
    "an extra slot that is no URN": (
        "XDS-META-009",
        swap(slot("hash", _HASH), slot("extra", "1") + slot("hash", _HASH)),
    ),
    "an extra slot of IHE": (
        "XDS-META-009",
        swap(slot("hash", _HASH), slot("urn:ihe:iti:xds:2013:referenceIDList", "1") + slot("hash", _HASH)),
    ),
    "a slot name with a blank": ("XDS-META-009", swap(f'"{_REFERENCES}"', f'"{_REFERENCES} "')),
    "a Classification with scheme and node": (
        "XDS-META-010",
        swap(_CLASS, _CLASS.replace(" nodeRep", f' classificationNode="{_STABLE}" nodeRep')),
    ),
    "classifiedObject of another object": (
        "XDS-META-011",
        swap(_CLASS, _CLASS.replace(f'classifiedObject="{ENTRY}"', f'classifiedObject="{SET}"')),
    ),
    "a code without nodeRepresentation": (
        "XDS-META-012",
        swap(_CLASS, _CLASS.replace(' nodeRepresentation="IMAGES"', "")),
    ),
    "an author without nodeRepresentation": ("XDS-META-012", swap(' nodeRepresentation=""', "")),
    "a code without scheme": (
        "XDS-META-013",
        swap(_CLASS, _CLASS.replace(slot("codingScheme", "1.3.6.1.4.1.19376.1.2.6.1"), "")),
    ),
    "a code without name": (
        "XDS-META-014",
        swap(_CLASS, _CLASS.replace('<rim:Name><rim:LocalizedString value="Images"/></rim:Name>', "")),
    ),
    "a scheme of another object": (
        "XDS-META-015",
        swap(
            _CLASS,
            _CLASS.replace("41a5887f-8865-4c09-adf7-e362475b143a", "aa543740-bdda-424e-8c96-df4873be8500"),
        ),
    ),
    "a Classification without id": (
        "XDS-META-016",
        swap('<rim:Classification id="c-41a5887f-IMAGES"', "<rim:Classification"),
    ),
    "registryObject of another object": (
        "XDS-META-017",
        swap(_PATIENT_ID, _PATIENT_ID.replace(f'registryObject="{ENTRY}"', 'registryObject="x"')),
    ),
    "an unknown identificationScheme": (
        "XDS-META-018",
        swap("58a6f841-87b3-4a3e-92fd-a8ffeff98427", "58a6f841-87b3-4a3e-92fd-a8ffeff98428"),
    ),
    "another name of an identifier": (
        "XDS-META-019",
        swap("XDSDocumentEntry.patientId", "DocumentEntry.patientId"),
    ),
    "two patient ids": ("XDS-META-020", swap(_PATIENT_ID, _PATIENT_ID * 2)),
    "an identifier without value": ("XDS-META-022", swap('value="2.25.1001"', 'value=""')),
    "another objectType": ("XDS-META-030", swap(_STABLE, _STABLE.replace("7edca82f", "7edca82e"))),
    "no mimeType": ("XDS-META-031", swap(' mimeType="application/dicom"', "")),
    "no classCode": ("XDS-META-032", swap(_CLASS, "")),
    "two classCodes": ("XDS-META-032", swap(_CLASS, _CLASS * 2)),
    "no confidentialityCode": ("XDS-META-033", swap(_NORMAL, "")),
    "no formatCode": ("XDS-META-034", swap(_FORMAT, "")),
    "no healthcareFacilityTypeCode": ("XDS-META-035", swap(_FACILITY, "")),
    "no practiceSettingCode": ("XDS-META-036", swap(_PRACTICE, "")),
    "no typeCode": ("XDS-META-037", swap(_TYPE, "")),
    "a patientId without authority": ("XDS-META-038", swap(f'value="{PATIENT}"', 'value="P-1"')),
    "a patientId that is escaped twice": (
        "XDS-META-038",
        swap(f'value="{PATIENT}"', f'value="{PATIENT.replace("&amp;", "&amp;amp;")}"'),
    ),
    "no uniqueId": ("XDS-META-039", swap(_UNIQUE_ID, "")),
    "no creationTime": ("XDS-META-040", _no_slot("creationTime", "20260301091500")),
    "no hash": ("XDS-META-041", _no_slot("hash", _HASH)),
    "no size": ("XDS-META-042", _no_slot("size", "0")),
    "no languageCode": ("XDS-META-043", _no_slot("languageCode", "en-US")),
    "no sourcePatientId": ("XDS-META-044", _no_slot("sourcePatientId", "P1^^^&amp;1.2.3.9&amp;ISO")),
    "a sourcePatientId of five components": (
        "XDS-META-044",
        swap("P1^^^&amp;1.2.3.9&amp;ISO", "P1^^^&amp;1.2.3.9&amp;ISO^PI"),
    ),
    "patient info without PID": ("XDS-META-045", swap("PID-8|F", "F")),
    "two birth dates": ("XDS-META-045", swap("PID-8|F", "PID-7|19700102")),
    "no repositoryUniqueId": ("XDS-META-046", _no_slot("repositoryUniqueId", "1.3.6.1.4.1.21367.9.30")),
    "a repositoryUniqueId with urn:oid:": (
        "XDS-META-046",
        swap("<rim:Value>1.3.6.1.4.1.21367.9.30", "<rim:Value>urn:oid:1.3.6.1"),
    ),
    "a service that ends before it starts": ("XDS-META-047", swap("20260228084500", "20260227")),
    "a time with a fraction": ("XDS-META-048", swap("20260228083000", "20260228083000.000000")),
    "a time with a zone": ("XDS-META-048", swap("20260228083000", "20260228083000+0100")),
    "a 31st of February": ("XDS-META-048", swap("20260228083000", "20260231")),
    "a hash in base64": ("XDS-META-049", swap(_HASH, "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")),
    "a size with a unit": ("XDS-META-050", swap(slot("size", "0"), slot("size", "0 bytes"))),
    "a language that is none": ("XDS-META-051", swap("en-US", "en_US")),
    "a legal authenticator without name": ("XDS-META-052", swap("11^Roe^Ann<", "^^Ann<")),
    "a reference id of four components": (
        "XDS-META-053",
        swap(
            "2.25.500^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
            "2.25.500^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        ),
    ),
    "a title of 129 characters": ("XDS-META-054", swap('value="CT of the chest"', f'value="{"t" * 129}"')),
    "an author that is nobody": (
        "XDS-META-056",
        all_of(
            swap(slot("authorPerson", "11^Roe^Ann^^^Dr^^^&amp;1.2.3.4&amp;ISO"), ""),
            swap(slot("authorInstitution", "Example Hospital^^^^^&amp;1.2.3.8&amp;ISO^^^^77"), ""),
            swap(slot("authorTelecommunication", "^^Internet^ann@example.org"), slot("authorRole", "MD")),
        ),
    ),
    "an author without name and id": (
        "XDS-META-057",
        swap("11^Roe^Ann^^^Dr^^^&amp;1.2.3.4&amp;ISO", "^^Ann"),
    ),
    "an institution without name": (
        "XDS-META-058",
        swap("Example Hospital^^^^^&amp;1.2.3.8", "^^^^^&amp;1.2.3.8"),
    ),
    "an id of an institution without authority": (
        "XDS-META-058",
        swap("Example Hospital^^^^^&amp;1.2.3.8&amp;ISO^^^^77", "Example Hospital^^^^^^^^^77"),
    ),
    "mail as XTN of one component": ("XDS-META-059", swap("^^Internet^ann@example.org", "ann@example.org")),
    "limited metadata": (
        "XDS-META-060",
        swap(_CLASS, _label("ab9b591b-83ab-4d03-8f5d-f93b1fb92e85", ENTRY) + _CLASS),
    ),
    "an On-Demand entry with a hash": ("XDS-META-061", swap(_STABLE, _ON_DEMAND)),
    "a home that is an OID": ("XDS-META-063", swap(' mimeType="', ' home="1.2.3" mimeType="')),
    "an availability that is none": (
        "XDS-META-064",
        swap(slot("hash", _HASH), slot("documentAvailability", "Online") + slot("hash", _HASH)),
    ),
    "a lid that is symbolic": ("XDS-META-065", swap(' mimeType="', ' lid="Document01" mimeType="')),
    "another lid than id": ("XDS-META-107", swap(' mimeType="', f' lid="{SET}" mimeType="')),
    "a version in words": (
        "XDS-META-066",
        swap(
            '<rim:LocalizedString value="CT of the chest"/></rim:Name>',
            '<rim:LocalizedString value="CT of the chest"/></rim:Name><rim:VersionInfo versionName="one"/>',
        ),
    ),
    "two creation times": (
        "XDS-META-067",
        swap(slot("creationTime", "20260301091500"), slot("creationTime", "20260301091500", "2026")),
    ),
    "a package without label": (
        "XDS-META-080",
        swap(_label("d9d542f3-6cc4-48b6-8870-ea235fbc94c2", FOLDER), ""),
    ),
    "no contentTypeCode": (
        "XDS-META-081",
        swap("aa543740-bdda-424e-8c96-df4873be8500", "1ba97051-7806-41a8-a48b-8fce7af683c5"),
    ),
    "a SubmissionSet without patient": (
        "XDS-META-082",
        swap("6b5aea1a-874d-4603-a4bc-96a0a7b38446", "6b5aea1a-874d-4603-a4bc-96a0a7b38447"),
    ),
    "a sourceId with urn:oid:": ("XDS-META-083", swap('value="1.2.3.40"', 'value="urn:oid:1.2.3.40"')),
    "no submissionTime": ("XDS-META-084", _no_slot("submissionTime", "20260301091501")),
    "a uniqueId of a SubmissionSet that is no OID": (
        "XDS-META-085",
        swap('value="2.25.2001"', 'value="urn:uuid:1"'),
    ),
    "a recipient that is nobody": ("XDS-META-086", swap("|11^Roe^Ann", "|^^Ann")),
    "two SubmissionSets": (
        "XDS-META-087",
        swap(
            "\n</rim:RegistryObjectList>",
            submission_set().replace(SET, SET[:-1] + "9").replace("2.25.2001", "2.25.2002")
            + "</rim:RegistryObjectList>",
        ),
    ),
    "a Folder without code": (
        "XDS-META-090",
        swap(
            code("1ba97051-7806-41a8-a48b-8fce7af683c5", FOLDER, "CHEST", "1.3.6.1.4.1.21367.9.52", "Chest"),
            "",
        ),
    ),
    "a Folder without patient": (
        "XDS-META-091",
        swap("f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a", "f64ffdf0-4b97-4e06-b79f-a52b38ec2f8b"),
    ),
    "a Folder without title": (
        "XDS-META-092",
        swap(
            '<rim:Name><rim:LocalizedString value="Chest"/></rim:Name><rim:Classification id="l',
            '<rim:Classification id="l',
        ),
    ),
    "a Folder without uniqueId": (
        "XDS-META-093",
        swap("75df8f67-9973-4fbe-a900-df66cefecc5a", "75df8f67-9973-4fbe-a900-df66cefecc5b"),
    ),
    "a bare associationType": ("XDS-META-100", swap(_MEMBER, "HasMember")),
    "Signs with a capital": ("XDS-META-100", swap(_MEMBER, "urn:ihe:iti:2007:AssociationType:Signs")),
    "an Association without target": ("XDS-META-101", swap(f' targetObject="{ENTRY}"', "")),
    "a HasMember without SubmissionSetStatus": (
        "XDS-META-102",
        swap(slot("SubmissionSetStatus", "Original"), ""),
    ),
    "an unknown SubmissionSetStatus": (
        "XDS-META-103",
        swap(slot("SubmissionSetStatus", "Original"), slot("SubmissionSetStatus", "New")),
    ),
    "SubmissionSetStatus of a Folder": (
        "XDS-META-103",
        swap(member(2, SET, FOLDER), member(2, SET, FOLDER, "Original")),
    ),
    "documentation of a HasMember": (
        "XDS-META-104",
        swap(
            slot("SubmissionSetStatus", "Original") + "</rim:Association>",
            slot("SubmissionSetStatus", "Original")
            + code(
                "abd807a3-4432-4053-87b4-fd82c643d1f3",
                "urn:uuid:00000000-0000-4000-8000-000000000101",
                "1",
                "1.2",
                "x",
            )
            + "</rim:Association>",
        ),
    ),
    "an update in a registration": (
        "XDS-META-107",
        swap(
            slot("SubmissionSetStatus", "Original"),
            slot("SubmissionSetStatus", "Original") + slot("PreviousVersion", "1"),
        ),
    ),
    "Original without its target": (
        "XDS-META-108",
        swap(
            f'targetObject="{ENTRY}">' + slot("SubmissionSetStatus", "Original"),
            f'targetObject="{ENTRY[:-1]}7">' + slot("SubmissionSetStatus", "Original"),
        ),
    ),
    "an entry without HasMember": ("XDS-META-110", swap(member(1, SET, ENTRY, "Original"), "")),
    "a Folder without HasMember": ("XDS-META-111", swap(member(2, SET, FOLDER), "")),
    "a membership without HasMember": (
        "XDS-META-112",
        swap(member(4, SET, "urn:uuid:00000000-0000-4000-8000-000000000103"), ""),
    ),
    "two patients": ("XDS-META-113", swap(f'value="{PATIENT}"', f'value="{OTHER_PATIENT}"')),
    "a uniqueId twice": ("XDS-META-114", swap('value="2.25.3001"', 'value="2.25.2001"')),
    "a relationship whose source is elsewhere": (
        "XDS-META-115",
        swap(
            "\n</rim:RegistryObjectList>",
            member(5, "urn:uuid:00000000-0000-4000-8000-000000000999", ENTRY).replace(
                _MEMBER, "urn:ihe:iti:2007:AssociationType:APND"
            )
            + "</rim:RegistryObjectList>",
        ),
    ),
    "a symbolic id of no object": (
        "XDS-META-117",
        swap(f'sourceObject="{FOLDER}"', 'sourceObject="Folder01"'),
    ),
    "a manifest as application/pdf": ("XDSI-META-001", swap("application/dicom", "application/pdf")),
    "a formatCode with the scheme of IHE": (
        "XDSI-META-002",
        swap("1.2.840.10008.2.6.1<", "1.3.6.1.4.1.19376.1.2.3<"),
    ),
    "the scheme DCM": ("XDSI-META-003", swap("<rim:Value>1.2.840.10008.2.16.4<", "<rim:Value>DCM<")),
    "no modality": ("XDSI-META-004", swap(_CT, "")),
    "no Study Instance UID": (
        "XDSI-META-005",
        swap("<rim:Value>2.25.500^^^^urn:ihe:iti:xds:2016:studyInstanceUID</rim:Value>", ""),
    ),
    "a uniqueId that is no UID": ("XDSI-META-006", swap('value="2.25.1001"', 'value="2.25.1001^1"')),
    "no serviceStartTime": ("XDSI-META-007", _no_slot("serviceStartTime", "20260228083000")),
    "the modality KO": ("XDSI-META-008", swap(_CT, _CT + _CT.replace("CT", "KO"))),
}


def examples() -> Iterator[Example]:
    """A good submission and broken ones."""
    return mutated(KIND, "submission", [submission()], encode, MUTATIONS)

"""Submissions by templates of our own: valid ones to start from, of which a probe takes or changes one thing
(ITI TF-3 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from conformance.envelopes import DECLARED, NAMES, Element, Envelope
from conformance.plans.message import Reply
from conformance.plans.probe import Unmet, expect
from conformance.plans.stand import Stand

RIM = f"{{{NAMES['rim']}}}"
STABLE = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
ON_DEMAND = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
RPLC, APND, XFRM, XFRM_RPLC, SIGNS = (
    f"urn:ihe:iti:2007:AssociationType:{name}" for name in ("RPLC", "APND", "XFRM", "XFRM_RPLC", "signs")
)
UPDATE_STATUS = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
SUBMIT_ASSOCIATION = "urn:ihe:iti:2010:AssociationType:SubmitAssociation"
HASH = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
SOURCE_ID = "1.3.6.1.4.1.21367.9.40"
REPOSITORY = "1.3.6.1.4.1.21367.9.30"

#: Attribute to the scheme of its classification, and a code: value, scheme, display name.
CODES = {
    "classCode": (
        "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a",
        ("IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images"),
    ),
    "typeCode": (
        "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983",
        ("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study"),
    ),
    "formatCode": (
        "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d",
        ("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1", "Key Object Selection Document"),
    ),
    "healthcareFacilityTypeCode": (
        "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1",
        ("HOSP", "1.3.6.1.4.1.21367.9.50", "Hospital"),
    ),
    "practiceSettingCode": (
        "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead",
        ("309964003", "2.16.840.1.113883.6.96", "Radiology department"),
    ),
    "confidentialityCode": (
        "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f",
        ("N", "2.16.840.1.113883.5.25", "Normal"),
    ),
    "eventCodeList": (
        "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4",
        ("CT", "1.2.840.10008.2.16.4", "Computed Tomography"),
    ),
    "contentTypeCode": (
        "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500",
        ("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study"),
    ),
    "codeList": (
        "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5",
        ("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study"),
    ),
}
#: The formatCode of what is no manifest.
_PDF = ("urn:ihe:iti:xds-sd:pdf:2008", "1.3.6.1.4.1.19376.1.2.3", "Scanned document (PDF)")
DOCUMENT_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
IDENTIFIERS = {
    "document patientId": ("urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", "XDSDocumentEntry.patientId"),
    "document uniqueId": ("urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab", "XDSDocumentEntry.uniqueId"),
    "set patientId": ("urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446", "XDSSubmissionSet.patientId"),
    "set sourceId": ("urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832", "XDSSubmissionSet.sourceId"),
    "set uniqueId": ("urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8", "XDSSubmissionSet.uniqueId"),
    "folder patientId": ("urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a", "XDSFolder.patientId"),
    "folder uniqueId": ("urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a", "XDSFolder.uniqueId"),
}
SET_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
FOLDER_NODE = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"


# --- pieces -------------------------------------------------------------------------------------------


def slot(name: str, *values: str) -> str:
    """One Slot."""
    listed = "".join(f"<rim:Value>{_escaped(value)}</rim:Value>" for value in values)
    return f'<rim:Slot name="{_escaped(name)}"><rim:ValueList>{listed}</rim:ValueList></rim:Slot>'


def named(text: str, tag: str = "Name") -> str:
    """A Name, or a Description."""
    return f'<rim:{tag}><rim:LocalizedString value="{_escaped(text)}"/></rim:{tag}>' if text else ""


def classification(of: str, attribute: str, code: tuple[str, str, str] | None = None) -> str:
    """One code."""
    scheme, usual = CODES[attribute]
    value, coding, display = code or usual
    return (
        f'<rim:Classification id="c-{of}-{attribute}-{_escaped(value)}" classifiedObject="{of}" '
        f'classificationScheme="{scheme}" nodeRepresentation="{_escaped(value)}">'
        f"{slot('codingScheme', coding)}{named(display)}</rim:Classification>"
    )


def identifier(of: str, attribute: str, value: str) -> str:
    """One ExternalIdentifier."""
    scheme, name = IDENTIFIERS[attribute]
    return (
        f'<rim:ExternalIdentifier id="i-{of}-{scheme[-6:]}" registryObject="{of}" '
        f'identificationScheme="{scheme}" value="{_escaped(value)}">{named(name)}</rim:ExternalIdentifier>'
    )


def label(of: str, node: str) -> str:
    """What makes a RegistryPackage a SubmissionSet or a Folder."""
    return f'<rim:Classification id="n-{of}" classifiedObject="{of}" classificationNode="{node}"/>'


def author(of: str, person: str) -> str:
    """One author of a document."""
    return (
        f'<rim:Classification id="a-{of}" classifiedObject="{of}" classificationScheme="{DOCUMENT_AUTHOR}" '
        f'nodeRepresentation="">{slot("authorPerson", person)}</rim:Classification>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("\n", "&#10;")


# --- objects ------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Entry:
    """A DocumentEntry; `slots`, `codes` and `more` (XML behind the classifications) are as the probe says."""

    id: str
    patient_id: str
    unique_id: str
    slots: dict[str, tuple[str, ...]] = field(default_factory=dict)
    codes: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    title: str = "CT chest"
    comments: str = ""
    mime_type: str = "application/dicom"
    object_type: str = STABLE
    author: str = "^Roe^Ann"
    attributes: str = ""
    version: str = ""

    def xml(self) -> str:
        """The ExtrinsicObject."""
        codes = {name: [CODES[name][1]] for name in list(CODES)[:7]}
        if self.mime_type != "application/dicom":
            codes["formatCode"] = [_PDF]
        codes |= self.codes
        return (
            f'<rim:ExtrinsicObject id="{self.id}" mimeType="{self.mime_type}" '
            f'objectType="{self.object_type}" {self.attributes}>'
            + "".join(slot(name, *values) for name, values in (self._slots() | self.slots).items() if values)
            + named(self.title)
            + named(self.comments, "Description")
            + (f'<rim:VersionInfo versionName="{self.version}"/>' if self.version else "")
            + (author(self.id, self.author) if self.author else "")
            + "".join(classification(self.id, name, code) for name, each in codes.items() for code in each)
            + identifier(self.id, "document patientId", self.patient_id)
            + identifier(self.id, "document uniqueId", self.unique_id)
            + "</rim:ExtrinsicObject>"
        )

    def _slots(self) -> dict[str, tuple[str, ...]]:
        slots = {
            "creationTime": ("20240305101500",),
            "languageCode": ("en-US",),
            "serviceStartTime": ("20240305093000",),
            "serviceStopTime": ("20240305094500",),
            "sourcePatientId": ("L-77^^^&1.3.6.1.4.1.21367.9.60&ISO",),
            "sourcePatientInfo": ("PID-5|Roe^Rick", "PID-7|19560527", "PID-8|M"),
            "repositoryUniqueId": (REPOSITORY,),
        }
        if self.object_type == ON_DEMAND:
            del slots["creationTime"]
            return slots
        return slots | {"hash": (HASH,), "size": ("43",)}


@dataclass(slots=True, kw_only=True)
class Folder:
    """A Folder."""

    id: str
    patient_id: str
    unique_id: str
    title: str = "Episode 12"
    codes: list[tuple[str, str, str]] = field(default_factory=lambda: [CODES["codeList"][1]])
    attributes: str = ""

    def xml(self) -> str:
        """The RegistryPackage."""
        return (
            f'<rim:RegistryPackage id="{self.id}" {self.attributes}>{named(self.title)}'
            + label(self.id, FOLDER_NODE)
            + "".join(classification(self.id, "codeList", code) for code in self.codes)
            + identifier(self.id, "folder patientId", self.patient_id)
            + identifier(self.id, "folder uniqueId", self.unique_id)
            + "</rim:RegistryPackage>"
        )


@dataclass(slots=True, kw_only=True)
class Link:
    """An Association."""

    id: str
    type: str
    source: str
    target: str
    slots: dict[str, tuple[str, ...]] = field(default_factory=dict)
    more: str = ""

    def xml(self) -> str:
        """The Association."""
        slots = "".join(slot(name, *values) for name, values in self.slots.items())
        return (
            f'<rim:Association id="{self.id}" associationType="{self.type}" sourceObject="{self.source}" '
            f'targetObject="{self.target}">{slots}{self.more}</rim:Association>'
        )


Change = Callable[[Element], None]


@dataclass(slots=True, kw_only=True)
class SubmissionMessage:
    """A SubmissionSet with entries, folders and links; `changes` are made to its XML at the end."""

    patient_id: str
    unique_id: str
    id: str = "set"
    source_id: str = SOURCE_ID
    submission_time: str = "20240305101600"
    entries: list[Entry] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    members: bool = True
    changes: list[Change] = field(default_factory=list)

    def xml(self) -> str:
        """The SubmitObjectsRequest."""
        package = (
            f'<rim:RegistryPackage id="{self.id}">{slot("submissionTime", self.submission_time)}'
            f"{named('Study')}{label(self.id, SET_NODE)}{classification(self.id, 'contentTypeCode')}"
            + identifier(self.id, "set patientId", self.patient_id)
            + identifier(self.id, "set uniqueId", self.unique_id)
            + identifier(self.id, "set sourceId", self.source_id)
            + "</rim:RegistryPackage>"
        )
        objects = [
            package,
            *(one.xml() for one in self.entries),
            *(one.xml() for one in self.folders),
            *(one.xml() for one in self._links()),
        ]
        text = (
            f"<lcm:SubmitObjectsRequest {DECLARED}><rim:RegistryObjectList>{''.join(objects)}"
            "</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"
        )
        if not self.changes:
            return text
        root = etree.fromstring(text.encode())
        for change in self.changes:
            change(root)
        return etree.tostring(root, encoding="unicode")

    def _links(self) -> list[Link]:
        original: dict[str, tuple[str, ...]] = {"SubmissionSetStatus": ("Original",)}
        of_entries = [
            Link(id=f"m-{one.id}", type=HAS_MEMBER, source=self.id, target=one.id, slots=original)
            for one in self.entries
        ]
        of_folders = [
            Link(id=f"m-{one.id}", type=HAS_MEMBER, source=self.id, target=one.id) for one in self.folders
        ]
        return [*(of_entries if self.members else []), *(of_folders if self.members else []), *self.links]


# --- changes ------------------------------------------------------------------------------------------


def without(path: str) -> Change:
    """Take away every element at `path`, which must be there."""

    def change(root: Element) -> None:
        elements = root.xpath(path, namespaces=NAMES)
        assert elements, f"nothing stands at {path}"
        for element in elements:
            element.getparent().remove(element)

    return change


def with_attribute(path: str, name: str, value: str) -> Change:
    """Set an attribute at `path`; take it away when `value` is empty."""

    def change(root: Element) -> None:
        elements = root.xpath(path, namespaces=NAMES)
        assert elements, f"nothing stands at {path}"
        for element in elements:
            if value:
                element.set(name, value)
            else:
                element.attrib.pop(name, None)

    return change


def twice(path: str) -> Change:
    """Repeat the first element at `path`."""

    def change(root: Element) -> None:
        (first, *_) = root.xpath(path, namespaces=NAMES)
        first.addnext(deepcopy(first))

    return change


def with_text(path: str, text: str) -> Change:
    """Replace the text at `path`."""

    def change(root: Element) -> None:
        for element in root.xpath(path, namespaces=NAMES):
            element.text = text

    return change


# --- asking -------------------------------------------------------------------------------------------

REGISTER = "urn:ihe:iti:2007:RegisterDocumentSet-b"


class Patients:
    """Patients that the registry knows, fed when a probe needs one."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand

    def new(self) -> str:
        """The id of one more patient, as CX; of any when no feed was given."""
        from conformance.plans.feed import admit

        patient_id = self._stand.patient_id()
        if "feed" in self._stand.target.endpoints:
            admit(self._stand, patient_id)
        return patient_id

    @property
    def usual(self) -> str:
        """One patient for all that needs no patient of its own."""
        if "patient" not in self._stand.shared:
            self._stand.shared["patient"] = self.new()
        return str(self._stand.shared["patient"])


def an_entry(stand: Stand, patient_id: str, id: str = "entry", **changes: Any) -> Entry:
    """A valid entry of fresh uniqueId."""
    return Entry(id=id, **{"patient_id": patient_id, "unique_id": stand.oid(), **changes})


def a_folder(stand: Stand, patient_id: str, id: str = "folder", **changes: Any) -> Folder:
    """A valid folder of fresh uniqueId."""
    return Folder(id=id, **{"patient_id": patient_id, "unique_id": stand.oid(), **changes})


def a_submission(stand: Stand, *entries: Entry, patient_id: str = "", **changes: Any) -> SubmissionMessage:
    """A valid submission of the entries, of one when none is given and there are no folders."""
    patient = patient_id or (entries[0].patient_id if entries else Patients(stand).usual)
    members = list(entries) or ([] if "folders" in changes else [an_entry(stand, patient)])
    return SubmissionMessage(
        **{"patient_id": patient, "unique_id": stand.oid(), "entries": members, **changes}
    )


def register(stand: Stand, submission: SubmissionMessage, *, action: str = REGISTER) -> Reply:
    """Send a submission to the registry (ITI-42, or another `action` of the same body)."""
    return stand.soap("registry", Envelope(action=action, body=submission.xml()))


def registered(stand: Stand, submission: SubmissionMessage) -> SubmissionMessage:
    """Register, and raise `Unmet` unless that succeeds; the ids of its objects are then the registry's."""
    register(stand, submission).expect_success()
    return submission


# --- queries ------------------------------------------------------------------------------------------

QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_SUBMISSION_SETS = "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
FIND_FOLDERS = "urn:uuid:958f3006-baad-4929-a4de-ff1114824431"
GET_ALL = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
GET_FOLDERS = "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4"
GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
GET_DOCUMENTS_AND_ASSOCIATIONS = "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
GET_SUBMISSION_SETS = "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
GET_SUBMISSION_SET_AND_CONTENTS = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
GET_FOLDER_AND_CONTENTS = "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7"
GET_FOLDERS_FOR_DOCUMENT = "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578"
GET_RELATED_DOCUMENTS = "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"
FIND_BY_REFERENCE_ID = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"


#: Parameters of a query by their names without `$`: one Value, or several.
Parameters = Mapping[str, str | Sequence[str]]


def text(value: str) -> str:
    """A string as a parameter."""
    return "'" + value.replace("'", "''") + "'"


def several(*values: str) -> str:
    """A list of strings as a parameter."""
    return "(" + ",".join(map(text, values)) + ")"


def code(attribute: str, value: tuple[str, str, str] | None = None) -> str:
    """A list of one code as a parameter."""
    elements = value or CODES[attribute][1]
    return several(f"{elements[0]}^^{elements[1]}")


def query_body(
    query_id: str,
    parameters: Parameters,
    *,
    return_type: str = "LeafClass",
    home: str = "",
) -> str:
    """An AdhocQueryRequest; names of parameters without their `$`."""
    slots = "".join(
        slot(f"${name}", *([values] if isinstance(values, str) else values))
        for name, values in parameters.items()
    )
    home_attribute = f' home="{home}"' if home else ""
    return (
        f'<query:AdhocQueryRequest><query:ResponseOption returnType="{return_type}" '
        f'returnComposedObjects="true"/><rim:AdhocQuery id="{query_id}"{home_attribute}>{slots}</rim:AdhocQuery>'
        "</query:AdhocQueryRequest>"
    )


def query(
    stand: Stand,
    query_id: str,
    parameters: Parameters,
    *,
    return_type: str = "LeafClass",
    actor: str = "registry",
    action: str = QUERY,
    home: str = "",
) -> Reply:
    """ITI-18."""
    body = query_body(query_id, parameters, return_type=return_type, home=home)
    return stand.soap(actor, Envelope(action=action, body=body))


def documents_of(stand: Stand, patient_id: str, **more: str) -> list[Element]:
    """The ExtrinsicObjects that FindDocuments finds, Approved ones when not said otherwise."""
    parameters: Parameters = {
        "XDSDocumentEntryPatientId": text(patient_id),
        "XDSDocumentEntryStatus": several(APPROVED),
        **more,
    }
    return entries_in(query(stand, FIND_DOCUMENTS, parameters).expect_success())


def entries_in(reply: Reply) -> list[Element]:
    """The DocumentEntries of an answer."""
    return reply.all("rim:RegistryObjectList/rim:ExtrinsicObject")


def unique_id_of(element: Element) -> str:
    """The uniqueId of a DocumentEntry, a SubmissionSet or a Folder."""
    for attribute in ("document uniqueId", "set uniqueId", "folder uniqueId"):
        scheme = IDENTIFIERS[attribute][0]
        if elements := element.xpath(
            f"rim:ExternalIdentifier[@identificationScheme='{scheme}']", namespaces=NAMES
        ):
            return str(elements[0].get("value"))
    return ""


def entry_of(stand: Stand, unique_id: str) -> Element:
    """The one DocumentEntry of this uniqueId; raises `Unmet` when there is none, or several."""
    reply = query(stand, GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(unique_id)}).expect_success()
    elements = entries_in(reply)
    if len(elements) != 1:
        raise Unmet(f"GetDocuments finds {len(elements)} entries of {unique_id}, not one")
    return elements[0]


def expect_found(elements: Sequence[Element], *unique_ids: str) -> None:
    """Raise `Unmet` unless exactly these were found."""
    elements = sorted(map(unique_id_of, elements))
    expect(
        elements == sorted(unique_ids),
        f"{len(elements)} were found ({', '.join(elements) or 'none'}); "
        f"right would be {len(unique_ids)} ({', '.join(unique_ids) or 'none'})",
    )

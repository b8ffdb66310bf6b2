"""ebRIM XML to metadata values (ITI TF-3 4.2.3, 4.2.2); the public face is `codec`.

One engine with two ways of looking. A *submission* is held to the rules of the standard, and everything that
is wrong with it is told at once. An *answer* is read for what it says: what is absent stays empty and is
noted, an object without identity is left out and noted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from shared.ebrim import schemes
from shared.ebrim.findings import Findings, ValueForm, shown
from shared.ebrim.identifiers import (
    WHITE_SPACE,
    is_cx,
    is_cxi,
    is_language,
    is_mime_type,
    is_oid,
    is_patient_info,
    is_recipient,
    is_sha1,
    is_size,
    is_symbolic,
    is_unique_id,
    is_uuid,
)
from shared.ebrim.model import (
    Association,
    DocumentEntry,
    Folder,
    Submission,
    SubmissionSet,
    Timestamp,
)
from shared.ebrim.reader import CLASSIFICATION, XCN, ObjectReader
from shared.errors import MetadataError, NoSubmissionSet, Rejected, XdsError
from shared.xml import NS, Element, elements, parse, qname

#: DocumentEntries of one submission, and objects of any kind.
MAX_DOCUMENTS = 256
MAX_OBJECTS = 5_000
MAX_DOCUMENT_TITLE = 128
MAX_TITLE = 256

_EXTRINSIC_OBJECT = qname("rim:ExtrinsicObject")
_REGISTRY_PACKAGE = qname("rim:RegistryPackage")
_ASSOCIATION = qname("rim:Association")
_OBJECT_REF = qname("rim:ObjectRef")

_OBJECT_TYPES = (schemes.STABLE, schemes.ON_DEMAND)
_AVAILABILITIES = (schemes.ONLINE, schemes.OFFLINE)

_CX = ValueForm(is_cx, "a CX of the form id^^^&OID&ISO")
_CXI = ValueForm(is_cxi, "a CXi of the form id^^^&OID&ISO^typeCode")
_OID = ValueForm(is_oid, "an OID of at most 64 characters")
_UNIQUE_ID = ValueForm(is_unique_id, "an identifier: an OID, a URN, or another text that is no path")
_SHA1 = ValueForm(is_sha1, "a SHA-1 of 40 hexadecimal digits")
_SIZE = ValueForm(is_size, "a number of bytes")
_LANGUAGE = ValueForm(is_language, "a language tag such as en-US")
_MIME_TYPE = ValueForm(is_mime_type, "a media type such as application/dicom")
_PATIENT_INFO = ValueForm(is_patient_info, "of the form PID-n|value")
_RECIPIENT = ValueForm(is_recipient, "a recipient of the form XON|XCN|XTN")
_OBJECT_TYPE = ValueForm(
    _OBJECT_TYPES.__contains__, f"Stable {schemes.STABLE} or On-Demand {schemes.ON_DEMAND}"
)
_AVAILABILITY = ValueForm(_AVAILABILITIES.__contains__, f"{schemes.ONLINE} or {schemes.OFFLINE}")
_REFERENCE = ValueForm(
    lambda reference: is_symbolic(reference) or is_uuid(reference),
    "an id of this submission, or urn:uuid: with a UUID in lower case",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedSubmission:
    """A submission as far as it can be read, and everything that is wrong with it.

    `submission` is None when something required is absent or beyond all bounds. It may be given beside
    `errors`, so that more rules can look at it; only without errors may it be registered. `warnings` never
    keep it from that.
    """

    submission: Submission | None
    errors: tuple[XdsError, ...] = ()
    warnings: tuple[XdsError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryObjects:
    """The objects of an answer, in order; `errors` tells what in it could not be read."""

    document_entries: tuple[DocumentEntry, ...] = ()
    submission_sets: tuple[SubmissionSet, ...] = ()
    folders: tuple[Folder, ...] = ()
    associations: tuple[Association, ...] = ()
    object_refs: tuple[str, ...] = ()
    errors: tuple[XdsError, ...] = field(default=(), compare=False)

    def __bool__(self) -> bool:
        """Tell whether there is any object."""
        return bool(
            self.document_entries
            or self.submission_sets
            or self.folders
            or self.associations
            or self.object_refs
        )


NOTHING = RegistryObjects()


# --- lists -------------------------------------------------------------------------------------------


def decode_submission(object_list: Element) -> DecodedSubmission:
    """Decode a submission's `rim:RegistryObjectList`, holding every attribute to its rules.

    Checked are classes, presence, number, form and names of attributes, nested references, and ids within the
    message (rules E02, E04, E05, E10, E11, E29, E30, E33 of the registry's reject table). What needs the
    transaction, several objects or the registry is left to `required_for_registration` and to the registry's
    own rules. A status is ignored: every value comes out Approved.
    """
    if (beyond := _beyond_limits(object_list)) is not None:
        return DecodedSubmission(submission=None, errors=(beyond,))
    findings = Findings(submitted=True)
    objects = _List(object_list, findings)
    submission = None
    if objects.labelled_sets != 1:
        findings.wrong(
            "SubmissionSet",
            f"the submission has {objects.labelled_sets} SubmissionSets; give one",
            MetadataError if objects.labelled_sets else NoSubmissionSet,
        )
    elif not findings.incomplete:
        submission = Submission(
            submission_set=objects.submission_sets[0],
            document_entries=tuple(objects.document_entries),
            folders=tuple(objects.folders),
            associations=tuple(objects.associations),
        )
    return DecodedSubmission(
        submission=submission, errors=tuple(findings.errors), warnings=tuple(findings.warnings)
    )


def _beyond_limits(object_list: Element) -> XdsError | None:
    if len(object_list) <= MAX_DOCUMENTS:
        return None
    documents = sum(1 for _ in object_list.iterchildren(_EXTRINSIC_OBJECT))
    if documents > MAX_DOCUMENTS:
        return MetadataError(f"{documents} documents in one submission; send at most {MAX_DOCUMENTS}")
    if len(object_list) > MAX_OBJECTS:
        return MetadataError(f"more than {MAX_OBJECTS} objects in one submission; send fewer at once")
    return None


def decode_objects(object_list: Element) -> RegistryObjects:
    """Decode the `rim:RegistryObjectList` of an answer, whoever wrote it; what is unknown in it is passed
    over."""
    findings = Findings(submitted=False)
    objects = _List(object_list, findings)
    return RegistryObjects(
        document_entries=tuple(objects.document_entries),
        submission_sets=tuple(objects.submission_sets),
        folders=tuple(objects.folders),
        associations=tuple(objects.associations),
        object_refs=tuple(objects.object_refs),
        errors=tuple(findings.errors),
    )


class _List:
    """The members of one RegistryObjectList by kind."""

    def __init__(self, object_list: Element, findings: Findings) -> None:
        self.findings = findings
        self.document_entries: list[DocumentEntry] = []
        self.submission_sets: list[SubmissionSet] = []
        self.folders: list[Folder] = []
        self.associations: list[Association] = []
        self.object_refs: list[str] = []
        self.labelled_sets = 0
        members = list(elements(object_list))
        self._labels = self._sibling_labels(members)
        for member in members:
            self._read(member)
        self._labels_belong(members)

    def _read(self, member: Element) -> None:
        tag = member.tag
        if tag == _EXTRINSIC_OBJECT:
            _keep(self.document_entries, _document_entry(ObjectReader(member, self.findings)))
        elif tag == _ASSOCIATION:
            _keep(self.associations, _association(ObjectReader(member, self.findings)))
        elif tag == _REGISTRY_PACKAGE:
            self._package(ObjectReader(member, self.findings))
        elif tag == _OBJECT_REF:
            self.object_refs.append(member.get("id", "").strip(WHITE_SPACE))
        elif tag != CLASSIFICATION and self.findings.submitted:
            name = str(member.tag).rpartition("}")[2]
            self.findings.wrong(
                member.get("id", name),
                f"{shown(name)} has no place in a submission;"
                " it takes ExtrinsicObject, RegistryPackage and Association",
            )

    def _package(self, package: ObjectReader) -> None:
        package.nodes.extend(filter(None, self._labels.get(package.id, ())))
        labels = {schemes.SUBMISSION_SET_NODE, schemes.FOLDER_NODE}.intersection(package.nodes)
        if labels == {schemes.SUBMISSION_SET_NODE}:
            self.labelled_sets += 1
            _keep(self.submission_sets, _submission_set(package))
        elif labels == {schemes.FOLDER_NODE}:
            _keep(self.folders, _folder(package))
        else:
            package.wrong(
                "Classification",
                "a RegistryPackage needs one label: the classificationNode of a SubmissionSet,"
                f" {schemes.SUBMISSION_SET_NODE}, or of a Folder, {schemes.FOLDER_NODE}",
            )

    def _sibling_labels(self, members: list[Element]) -> Mapping[str, list[str]]:
        labels: defaultdict[str, list[str]] = defaultdict(list)
        for member in members:
            if member.tag != CLASSIFICATION:
                continue
            if object_id := member.get("id", "").strip(WHITE_SPACE):
                self.findings.identified(object_id)
            labels[member.get("classifiedObject", "").strip(WHITE_SPACE)].append(
                member.get("classificationNode", "").strip(WHITE_SPACE)
            )
        return labels

    def _labels_belong(self, members: list[Element]) -> None:
        if not self.findings.submitted:
            return
        packages = {
            member.get("id", "").strip(WHITE_SPACE) for member in members if member.tag == _REGISTRY_PACKAGE
        }
        for labelled, nodes in self._labels.items():
            if labelled not in packages and not schemes.LIMITED_METADATA.isdisjoint(nodes):
                self.findings.wrong(
                    f"{labelled}/limitedMetadata", "limited metadata is not accepted here; leave out the flag"
                )
            elif labelled not in packages or not all(nodes):
                self.findings.wrong(
                    f"{labelled}/Classification",
                    "a Classification beside its object may only label a RegistryPackage of this submission;"
                    " nest the others in what they classify",
                )


T = TypeVar("T")


def _keep(into: list[T], value: T | None) -> None:
    if value is not None:
        into.append(value)


def parse_fragment(fragment: bytes) -> Element:
    """The element of what `encoder` wrote, whose prefix `rim` nothing declares: an object or an object
    list."""
    return parse(b'<fragment xmlns:rim="%s">%s</fragment>' % (NS["rim"].encode(), fragment))[0]


# --- one object --------------------------------------------------------------------------------------


def decode_document_entry(element: Element) -> DocumentEntry:
    """Decode one `rim:ExtrinsicObject` that a registry wrote.

    Raises
    ------
    Rejected
        It lacks what an entry must have.
    """
    return _one(element, _document_entry)


def decode_submission_set(element: Element) -> SubmissionSet:
    """Decode one `rim:RegistryPackage` that a registry wrote, as a SubmissionSet; raises `Rejected`."""
    return _one(element, _submission_set)


def decode_folder(element: Element) -> Folder:
    """Decode one `rim:RegistryPackage` that a registry wrote, as a Folder; raises `Rejected`."""
    return _one(element, _folder)


def decode_association(element: Element) -> Association:
    """Decode one `rim:Association` that a registry wrote; raises `Rejected`."""
    return _one(element, _association)


def _one(element: Element, build: Callable[[ObjectReader], T | None]) -> T:
    findings = Findings(submitted=False)
    value = build(ObjectReader(element, findings))
    if value is None or findings.errors:
        raise Rejected(*findings.errors)
    return value


def _document_entry(read: ObjectReader) -> DocumentEntry | None:
    object_type = read.attribute("objectType", "objectType", _OBJECT_TYPE)
    entry = DocumentEntry(
        object_type=object_type,
        entry_uuid=read.entry_uuid(),
        logical_id=read.logical_id(),
        version=read.version(),
        home_community_id=read.home_community_id(),
        availability_status=read.status(),
        mime_type=read.attribute("mimeType", "mimeType", _MIME_TYPE),
        unique_id=read.identifier(schemes.DOCUMENT_UNIQUE_ID, "uniqueId", _UNIQUE_ID, identity=True),
        patient_id=read.identifier(schemes.DOCUMENT_PATIENT_ID, "patientId", _CX),
        creation_time=read.moment(schemes.CREATION_TIME, required=object_type != schemes.ON_DEMAND),
        language_code=read.slot(schemes.LANGUAGE_CODE, _LANGUAGE, required=True),
        service_start_time=read.moment(schemes.SERVICE_START_TIME),
        service_stop_time=read.moment(schemes.SERVICE_STOP_TIME),
        source_patient_id=read.slot(schemes.SOURCE_PATIENT_ID, _CX, required=True),
        source_patient_info=_patient_info(read),
        legal_authenticator=read.slot(schemes.LEGAL_AUTHENTICATOR, XCN),
        hash=read.slot(schemes.HASH, _SHA1),
        size=_size(read),
        repository_unique_id=read.slot(schemes.REPOSITORY_UNIQUE_ID, _OID),
        uri=read.slot(schemes.URI),
        reference_ids=read.slot_values(schemes.REFERENCE_ID_LIST, _CXI),
        document_availability=read.slot(schemes.DOCUMENT_AVAILABILITY, _AVAILABILITY),
        title=read.title(MAX_DOCUMENT_TITLE),
        comments=read.comments(),
        authors=read.authors(schemes.DOCUMENT_AUTHOR),
        class_code=read.code(schemes.CLASS_CODE, "classCode"),
        confidentiality_codes=read.codes(schemes.CONFIDENTIALITY_CODE, "confidentialityCode", required=True),
        event_codes=read.codes(schemes.EVENT_CODE, "eventCodeList"),
        format_code=read.code(schemes.FORMAT_CODE, "formatCode"),
        healthcare_facility_type_code=read.code(
            schemes.HEALTHCARE_FACILITY_TYPE_CODE, "healthcareFacilityTypeCode"
        ),
        practice_setting_code=read.code(schemes.PRACTICE_SETTING_CODE, "practiceSettingCode"),
        type_code=read.code(schemes.TYPE_CODE, "typeCode"),
        extra_slots=read.extra_slots(),
    )
    _no_label(read)
    return None if read.unusable else entry


def _no_label(read: ObjectReader) -> None:
    read.nothing_else()
    if read.findings.submitted and {schemes.SUBMISSION_SET_NODE, schemes.FOLDER_NODE}.intersection(
        read.nodes
    ):
        read.wrong("Classification", "only a RegistryPackage is labelled as a SubmissionSet or Folder")


def _size(read: ObjectReader) -> int | None:
    value = read.slot(schemes.SIZE, _SIZE)
    return int(value) if is_size(value) else None


def _patient_info(read: ObjectReader) -> tuple[str, ...]:
    values = read.slot_values(schemes.SOURCE_PATIENT_INFO, _PATIENT_INFO)
    if read.findings.submitted:
        for name in ("PID-7", "PID-8"):
            if sum(value.startswith(f"{name}|") for value in values) > 1:
                read.wrong(
                    schemes.SOURCE_PATIENT_INFO, f"{name} appears more than once; give one birth date and sex"
                )
    return values


def _submission_set(read: ObjectReader) -> SubmissionSet | None:
    submission_time = read.moment(schemes.SUBMISSION_TIME, required=True)
    submission_set = SubmissionSet(
        entry_uuid=read.entry_uuid(),
        logical_id=read.logical_id(),
        home_community_id=read.home_community_id(),
        availability_status=read.status(),
        unique_id=read.identifier(schemes.SUBMISSION_SET_UNIQUE_ID, "uniqueId", _OID, identity=True),
        patient_id=read.identifier(schemes.SUBMISSION_SET_PATIENT_ID, "patientId", _CX),
        source_id=read.identifier(schemes.SUBMISSION_SET_SOURCE_ID, "sourceId", _OID),
        submission_time=submission_time or _UNTOLD,
        intended_recipients=read.slot_values(schemes.INTENDED_RECIPIENT, _RECIPIENT),
        title=read.title(MAX_TITLE),
        comments=read.comments(),
        authors=read.authors(schemes.SUBMISSION_SET_AUTHOR),
        content_type_code=read.code(schemes.CONTENT_TYPE_CODE, "contentTypeCode"),
        extra_slots=read.extra_slots(),
    )
    read.nothing_else()
    return None if read.unusable or submission_time is None else submission_set


# Stands in a value that is never handed out.
_UNTOLD = Timestamp("0001")


def _folder(read: ObjectReader) -> Folder | None:
    folder = Folder(
        entry_uuid=read.entry_uuid(),
        logical_id=read.logical_id(),
        version=read.version(),
        home_community_id=read.home_community_id(),
        availability_status=read.status(),
        unique_id=read.identifier(schemes.FOLDER_UNIQUE_ID, "uniqueId", _OID, identity=True),
        patient_id=read.identifier(schemes.FOLDER_PATIENT_ID, "patientId", _CX),
        last_update_time=read.moment(schemes.LAST_UPDATE_TIME),
        title=read.title(MAX_TITLE),
        comments=read.comments(),
        codes=read.codes(schemes.FOLDER_CODE, "codeList", required=True),
        extra_slots=read.extra_slots(),
    )
    if not folder.title:
        read.missing("title", "a Name with one LocalizedString")
    read.nothing_else()
    return None if read.unusable else folder


def _association(read: ObjectReader) -> Association | None:
    association = Association(
        entry_uuid=read.entry_uuid(),
        logical_id=read.logical_id(),
        home_community_id=read.home_community_id(),
        availability_status=read.status(),
        association_type=read.attribute("associationType", "associationType"),
        source_object=read.attribute("sourceObject", "sourceObject", _REFERENCE),
        target_object=read.attribute("targetObject", "targetObject", _REFERENCE),
        submission_set_status=read.slot(schemes.SUBMISSION_SET_STATUS),
        documentation=read.codes(schemes.ASSOCIATION_DOCUMENTATION, "associationDocumentation"),
        extra_slots=read.extra_slots(schemes.METADATA_UPDATE_SLOTS),
    )
    _no_label(read)
    return None if read.unusable else association


# --- what depends on the transaction -----------------------------------------------------------------


def required_for_registration(entry: DocumentEntry) -> Iterator[XdsError]:
    """What ITI-42 demands of an entry beyond ITI-41: repositoryUniqueId, and hash and size of a Stable
    one."""
    presence = {schemes.REPOSITORY_UNIQUE_ID: bool(entry.repository_unique_id)}
    if entry.object_type == schemes.STABLE:
        presence |= {schemes.HASH: bool(entry.hash), schemes.SIZE: entry.size is not None}
    for name, present in presence.items():
        if not present:
            yield MetadataError(
                f"{name} is missing; give one value in the Slot {name}",
                location=f"{entry.entry_uuid}/{name}",
            )

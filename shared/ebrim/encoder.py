"""Metadata values to ebRIM XML (ITI TF-3 4.2.3, 4.2.2); the public face is `codec`.

Elements use the prefix `rim` without declaring it. Children stand in the order of the schema. The ids of
nested Classifications and ExternalIdentifiers follow from the id of their object, so that encoding is a pure
function.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from shared.ebrim import schemes
from shared.ebrim.identifiers import is_symbolic
from shared.ebrim.model import (
    Association,
    Author,
    Code,
    DocumentEntry,
    Folder,
    LocalizedText,
    Slot,
    Submission,
    SubmissionSet,
    Timestamp,
)
from shared.xml import escape, escape_attribute


def encode_document_entry(entry: DocumentEntry) -> bytes:
    """Encode `entry` as the `rim:ExtrinsicObject` fragment that the registry stores and answers with."""
    return "".join(_extrinsic_object(entry)).encode()


def encode_submission_set(submission_set: SubmissionSet) -> bytes:
    """Encode `submission_set` as a `rim:RegistryPackage` fragment that carries its label."""
    return "".join(_submission_set(submission_set)).encode()


def encode_folder(folder: Folder) -> bytes:
    """Encode `folder` as a `rim:RegistryPackage` fragment that carries its label."""
    return "".join(_folder(folder)).encode()


def encode_association(association: Association) -> bytes:
    """Encode `association` as a `rim:Association` fragment."""
    return "".join(_association(association)).encode()


def encode_object_ref(entry_uuid: str, home_community_id: str = "") -> bytes:
    """Encode a `rim:ObjectRef` fragment."""
    return f"<rim:ObjectRef{_attribute('id', entry_uuid)}{_attribute('home', home_community_id)}/>".encode()


def encode_submission(submission: Submission) -> bytes:
    """Encode `rim:RegistryObjectList` with everything that `submission` holds; symbolic ids stay as they
    are."""
    return b"".join(
        (
            b"<rim:RegistryObjectList>",
            *map(encode_document_entry, submission.document_entries),
            encode_submission_set(submission.submission_set),
            *map(encode_folder, submission.folders),
            *map(encode_association, submission.associations),
            b"</rim:RegistryObjectList>",
        )
    )


# --- objects -----------------------------------------------------------------------------------------


def _extrinsic_object(entry: DocumentEntry) -> Iterator[str]:
    nested = _Nested(entry.entry_uuid)
    yield (
        f"<rim:ExtrinsicObject{_identity(entry)}{_attribute('objectType', entry.object_type)}"
        f' status="{entry.availability_status}" mimeType="{escape_attribute(entry.mime_type)}">'
    )
    yield from _document_slots(entry)
    yield from _extra(entry.extra_slots)
    yield _text("Name", entry.title)
    yield _text("Description", entry.comments)
    yield _version(entry)
    yield from _document_classifications(entry, nested)
    yield nested.identifier(schemes.DOCUMENT_PATIENT_ID, entry.patient_id)
    yield nested.identifier(schemes.DOCUMENT_UNIQUE_ID, entry.unique_id)
    yield "</rim:ExtrinsicObject>"


def _document_slots(entry: DocumentEntry) -> Iterator[str]:
    yield _moment(schemes.CREATION_TIME, entry.creation_time)
    yield _single(schemes.LANGUAGE_CODE, entry.language_code)
    yield _moment(schemes.SERVICE_START_TIME, entry.service_start_time)
    yield _moment(schemes.SERVICE_STOP_TIME, entry.service_stop_time)
    yield _single(schemes.SOURCE_PATIENT_ID, entry.source_patient_id)
    yield _several(schemes.SOURCE_PATIENT_INFO, entry.source_patient_info)
    yield _single(schemes.LEGAL_AUTHENTICATOR, entry.legal_authenticator)
    yield _single(schemes.HASH, entry.hash)
    yield _single(schemes.SIZE, "" if entry.size is None else str(entry.size))
    yield _single(schemes.REPOSITORY_UNIQUE_ID, entry.repository_unique_id)
    yield _single(schemes.URI, entry.uri)
    yield _several(schemes.REFERENCE_ID_LIST, entry.reference_ids)
    yield _single(schemes.DOCUMENT_AVAILABILITY, entry.document_availability)


def _document_classifications(entry: DocumentEntry, nested: _Nested) -> Iterator[str]:
    yield from nested.authors(schemes.DOCUMENT_AUTHOR, entry.authors)
    yield nested.code(schemes.CLASS_CODE, entry.class_code)
    yield from nested.codes(schemes.CONFIDENTIALITY_CODE, entry.confidentiality_codes)
    yield from nested.codes(schemes.EVENT_CODE, entry.event_codes)
    yield nested.code(schemes.FORMAT_CODE, entry.format_code)
    yield nested.code(schemes.HEALTHCARE_FACILITY_TYPE_CODE, entry.healthcare_facility_type_code)
    yield nested.code(schemes.PRACTICE_SETTING_CODE, entry.practice_setting_code)
    yield nested.code(schemes.TYPE_CODE, entry.type_code)


def _submission_set(submission_set: SubmissionSet) -> Iterator[str]:
    nested = _Nested(submission_set.entry_uuid)
    yield _registry_package(submission_set)
    yield _moment(schemes.SUBMISSION_TIME, submission_set.submission_time)
    yield _several(schemes.INTENDED_RECIPIENT, submission_set.intended_recipients)
    yield from _extra(submission_set.extra_slots)
    yield _text("Name", submission_set.title)
    yield _text("Description", submission_set.comments)
    yield nested.label(schemes.SUBMISSION_SET_NODE)
    yield from nested.authors(schemes.SUBMISSION_SET_AUTHOR, submission_set.authors)
    yield nested.code(schemes.CONTENT_TYPE_CODE, submission_set.content_type_code)
    yield nested.identifier(schemes.SUBMISSION_SET_PATIENT_ID, submission_set.patient_id)
    yield nested.identifier(schemes.SUBMISSION_SET_SOURCE_ID, submission_set.source_id)
    yield nested.identifier(schemes.SUBMISSION_SET_UNIQUE_ID, submission_set.unique_id)
    yield "</rim:RegistryPackage>"


def _folder(folder: Folder) -> Iterator[str]:
    nested = _Nested(folder.entry_uuid)
    yield _registry_package(folder)
    yield _moment(schemes.LAST_UPDATE_TIME, folder.last_update_time)
    yield from _extra(folder.extra_slots)
    yield _text("Name", folder.title)
    yield _text("Description", folder.comments)
    yield _version(folder)
    yield nested.label(schemes.FOLDER_NODE)
    yield from nested.codes(schemes.FOLDER_CODE, folder.codes)
    yield nested.identifier(schemes.FOLDER_PATIENT_ID, folder.patient_id)
    yield nested.identifier(schemes.FOLDER_UNIQUE_ID, folder.unique_id)
    yield "</rim:RegistryPackage>"


def _registry_package(package: SubmissionSet | Folder) -> str:
    return (
        f'<rim:RegistryPackage{_identity(package)} objectType="{schemes.REGISTRY_PACKAGE_TYPE}"'
        f' status="{package.availability_status}">'
    )


def _association(association: Association) -> Iterator[str]:
    yield (
        f'<rim:Association{_identity(association)} objectType="{schemes.ASSOCIATION_TYPE}"'
        f' status="{association.availability_status}"'
        f' associationType="{escape_attribute(association.association_type)}"'
        f' sourceObject="{escape_attribute(association.source_object)}"'
        f' targetObject="{escape_attribute(association.target_object)}">'
    )
    yield _single(schemes.SUBMISSION_SET_STATUS, association.submission_set_status)
    yield from _extra(association.extra_slots)
    nested = _Nested(association.entry_uuid)
    yield from nested.codes(schemes.ASSOCIATION_DOCUMENTATION, association.documentation)
    yield "</rim:Association>"


def _identity(of: DocumentEntry | SubmissionSet | Folder | Association) -> str:
    return (
        f' id="{escape_attribute(of.entry_uuid)}"'
        f"{_attribute('home', of.home_community_id)}{_attribute('lid', of.logical_id)}"
    )


# No text and no attribute holds a `<` as it is, so that this finds what `_Nested.identifier` wrote.
_PATIENT_ID = re.compile(
    rb'(<rim:ExternalIdentifier[^<]*? identificationScheme="(?:%s)" value=")[^"<]*"'
    % b"|".join(
        re.escape(scheme.encode())
        for scheme in (
            schemes.DOCUMENT_PATIENT_ID,
            schemes.SUBMISSION_SET_PATIENT_ID,
            schemes.FOLDER_PATIENT_ID,
        )
    )
)


def replace_patient_id(fragment: bytes, patient_id: str) -> bytes:
    """The fragment of the same object for another patient, as if it had been decoded and encoded anew, in a
    hundredth of the time: a merge rewrites everything of a patient.

    Raises
    ------
    ValueError
        The fragment, which must be one of this encoder's, does not name one patient.
    """
    written = f'{escape_attribute(patient_id)}"'.encode()
    replaced, number = _PATIENT_ID.subn(lambda match: match[1] + written, fragment)
    if number != 1:
        raise ValueError(f"a fragment of an object of a patient names {number} of them")
    return replaced


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape_attribute(value)}"' if value else ""


# --- what every object has ---------------------------------------------------------------------------


def _version(of: DocumentEntry | Folder) -> str:
    # The schema's default for versionName is 1.1, hence the attribute is never left out.
    if not of.logical_id and of.version == 1:
        return ""
    return f'<rim:VersionInfo versionName="{of.version}"/>'


def _text(name: str, value: str) -> str:
    if not value:
        return ""
    if not isinstance(value, LocalizedText):
        return f'<rim:{name}><rim:LocalizedString value="{escape_attribute(value)}"/></rim:{name}>'
    strings = (
        f'<rim:LocalizedString{_attribute("xml:lang", language)} value="{escape_attribute(text)}"/>'
        for language, text in value.strings
    )
    return f"<rim:{name}>{''.join(strings)}</rim:{name}>"


def _single(name: str, value: str) -> str:
    if not value:
        return ""
    return _listed(name, f"<rim:Value>{escape(value)}</rim:Value>")


def _moment(name: str, value: Timestamp | None) -> str:
    return "" if value is None else _single(name, value.digits)


def _several(name: str, values: Iterable[str]) -> str:
    listed = "".join([f"<rim:Value>{escape(value)}</rim:Value>" for value in values])
    return _listed(name, listed) if listed else ""


def _listed(name: str, values: str) -> str:
    return f'<rim:Slot name="{name}"><rim:ValueList>{values}</rim:ValueList></rim:Slot>'


def _extra(slots: Iterable[Slot]) -> Iterator[str]:
    return (_several(escape_attribute(slot.name), slot.values) for slot in slots)


# --- what is nested in an object ---------------------------------------------------------------------


class _Nested:
    """Writes the Classifications and ExternalIdentifiers of one object, each with an id of its own."""

    __slots__ = ("_count", "_owner", "_stem")

    def __init__(self, owner: str) -> None:
        self._owner = escape_attribute(owner)
        self._stem = f"{self._owner}.nested" if is_symbolic(owner) else _uuid_stem(owner)
        self._count = 0

    def _id(self) -> str:
        self._count += 1
        return f"{self._stem}{self._count:06x}"

    def _classification(self, attributes: str, content: str) -> str:
        return (
            f'<rim:Classification id="{self._id()}" objectType="{schemes.CLASSIFICATION_TYPE}"'
            f' classifiedObject="{self._owner}"{attributes}>{content}</rim:Classification>'
        )

    def label(self, node: str) -> str:
        """The Classification that tells what a RegistryPackage is."""
        return self._classification(f' classificationNode="{node}"', "")

    def code(self, scheme: str, code: Code) -> str:
        """A coded attribute; the standard wants a display name, so a code without one is shown by its
        value."""
        return self._classification(
            f' classificationScheme="{scheme}" nodeRepresentation="{escape_attribute(code.value)}"',
            _single(schemes.CODING_SCHEME, code.scheme) + _text("Name", code.display_name or code.value),
        )

    def codes(self, scheme: str, codes: Iterable[Code]) -> Iterator[str]:
        """A coded attribute with any number of values."""
        return (self.code(scheme, code) for code in codes)

    def authors(self, scheme: str, authors: Iterable[Author]) -> Iterator[str]:
        """All authors, one Classification each; nodeRepresentation is there and empty."""
        attributes = f' classificationScheme="{scheme}" nodeRepresentation=""'
        return (self._classification(attributes, "".join(_author_slots(author))) for author in authors)

    def identifier(self, scheme: str, value: str) -> str:
        """An ExternalIdentifier under its fixed name."""
        return (
            f'<rim:ExternalIdentifier id="{self._id()}" objectType="{schemes.EXTERNAL_IDENTIFIER_TYPE}"'
            f' registryObject="{self._owner}" identificationScheme="{scheme}"'
            f' value="{escape_attribute(value)}">{_text("Name", schemes.IDENTIFIER_NAMES[scheme])}'
            "</rim:ExternalIdentifier>"
        )


def _author_slots(author: Author) -> Iterator[str]:
    yield _single(schemes.AUTHOR_PERSON, author.person)
    yield _several(schemes.AUTHOR_INSTITUTION, author.institutions)
    yield _several(schemes.AUTHOR_ROLE, author.roles)
    yield _several(schemes.AUTHOR_SPECIALTY, author.specialties)
    yield _several(schemes.AUTHOR_TELECOMMUNICATION, author.telecommunications)


def _uuid_stem(owner: str) -> str:
    """A UUID (version 5, though of our own name space) but for its last six digits, which number the nested
    objects."""
    digest = hashlib.sha1(owner.encode(), usedforsecurity=False).hexdigest()
    return f"urn:uuid:{digest[:8]}-{digest[8:12]}-5{digest[12:15]}-a{digest[15:18]}-{digest[18:24]}"

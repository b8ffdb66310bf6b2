"""What is said of a manifest when it is registered: its metadata (RAD TF-3 4.68.4.1.2.3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timezone, tzinfo
from typing import Final

from imaging_source.domain import codes
from imaging_source.domain.coding import NO_ISSUERS, Coding, Issuers, ManifestForm, NotPublishable
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.manifest import began, local_moment, utc_offset
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.ebrim.identifiers import CX, CXi, escape_component, is_cx, is_oid, new_uuid
from shared.ebrim.model import (
    Association,
    AssociationType,
    Author,
    Code,
    DocumentEntry,
    Submission,
    SubmissionSet,
    Timestamp,
)
from shared.imaging import legal, manifest_bundle
from shared.imaging.instance import Issuer

MIME_TYPE: Final = "application/dicom"
FORMAT: Final = Code(KEY_OBJECT_SELECTION, "1.2.840.10008.2.6.1", "Key Object Selection Document")
ACCESSION: Final = "urn:ihe:iti:xds:2013:accession"
ORDER: Final = "urn:ihe:iti:xds:2013:order"
STUDY_INSTANCE_UID: Final = "urn:ihe:iti:xds:2016:studyInstanceUID"

_TITLE_LENGTH: Final = 128
_UNTITLED: Final = "Imaging study"
# PS3.5 6.2: of one group of a name. A Slot holds 256, escapes included.
_NAME_LENGTH: Final = 64
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The identifiers of one publication: decided once, before anything is sent."""

    entry_uuid: str = field(default_factory=new_uuid)
    submission_set_uuid: str = field(default_factory=new_uuid)
    has_member_uuid: str = field(default_factory=new_uuid)
    replacement_uuid: str = field(default_factory=new_uuid)
    document_unique_id: str
    submission_set_unique_id: str
    source_id: str


# --- the patient -------------------------------------------------------------------------------------


def patient_id(header: StudyHeader, issuers: Issuers, affinity_domain: str, given: str = "") -> str:
    """The patient's id in the affinity domain, as CX: `given`, or the study's own where both domains are one.

    Raises
    ------
    NotPublishable
        `given` is no CX of the affinity domain, or the study's own id is of another domain, or absent.
    """
    if given:
        return _given(given, affinity_domain)
    if not (department := _plain(header.patient_id)):
        raise NotPublishable("the study has no Patient ID (0010,0020); give the patient's id when publishing")
    issuer = header.issuer_of_patient_id
    domain = issuer.universal_id or issuer.local or issuers.patient_id
    if domain != affinity_domain:
        raise NotPublishable(
            f"the study's Patient ID is of {domain} and not of the affinity domain {affinity_domain};"
            " give the patient's id of the affinity domain when publishing"
        )
    return str(CX(department, affinity_domain))


def _given(identifier: str, affinity_domain: str) -> str:
    if is_cx(identifier) and CX.parse(identifier).authority == affinity_domain:
        return identifier
    if _plain(identifier) and not set("^&|~\\") & set(identifier):
        return str(CX(_plain(identifier), affinity_domain))
    raise NotPublishable(f"the patient's id is no CX of the affinity domain: id^^^&{affinity_domain}&ISO")


def _plain(text: str) -> str:
    """`text` in one line, without the characters that XML or HL7 v2 cannot carry."""
    return _CONTROL.sub(" ", text).strip()


def source_patient_id(header: StudyHeader, issuers: Issuers, patient_id: str) -> str:
    """sourcePatientId: the department's id with its issuer, or `patient_id` where the department has none.

    A department whose domain nobody named is taken for the affinity domain.
    """
    if not (department := _plain(header.patient_id)):
        return patient_id
    issuer = header.issuer_of_patient_id.universal_id or issuers.patient_id
    return str(CX(department, issuer if is_oid(issuer) else CX.parse(patient_id).authority))


def source_patient_info(header: StudyHeader, source_id: str) -> tuple[str, ...]:
    """sourcePatientInfo: PID-3, PID-5, PID-7 and PID-8 as the study has them."""
    values = {
        "PID-3": source_id,
        "PID-5": xpn(header.patient_name),
        "PID-7": legal.date(header.patient_birth_date),
        "PID-8": legal.sex(header.patient_sex),
    }
    return tuple(f"{name}|{value}" for name, value in values.items() if value)


def xpn(person_name: str) -> str:
    """A DICOM name as XPN: the alphabetic group, with prefix and suffix in HL7's order.

    DICOM has family^given^middle^prefix^suffix, HL7 v2 family^given^middle^suffix^prefix.
    """
    alphabetic = next((group for group in _plain(person_name).split("=") if group.strip("^ ")), "")
    parts = [escape_component(part.strip()) for part in alphabetic[:_NAME_LENGTH].split("^")][:5]
    family, given_name, middle, prefix, suffix = parts + [""] * (5 - len(parts))
    return "^".join((family, given_name, middle, suffix, prefix)).rstrip("^")


# --- references and events ---------------------------------------------------------------------------


def reference_ids(header: StudyHeader, issuers: Issuers) -> tuple[str, ...]:
    """referenceIdList: accession numbers and placer orders with their issuers, and the Study Instance UID."""
    return tuple(dict.fromkeys(map(str, _references(header, issuers))))


def _references(header: StudyHeader, issuers: Issuers) -> Iterator[CXi]:
    for number, issuer in header.accession_numbers:
        yield from _reference(number, issuer, issuers.accession_number, ACCESSION)
    yield CXi(header.study_instance_uid, STUDY_INSTANCE_UID)
    for request in header.requests:
        yield from _reference(
            request.placer_order_number, request.placer_issuer, issuers.placer_order_number, ORDER
        )


def _reference(number: str, issuer: Issuer, default: str, type_code: str) -> Iterator[CXi]:
    if not (plain := _plain(number)):
        return
    if is_oid(issuer.universal_id):
        yield CXi(plain, type_code, issuer.universal_id)
    elif namespace := _plain(issuer.local):
        yield CXi(plain, type_code, namespace=namespace)
    elif is_oid(default):
        yield CXi(plain, type_code, default)


def event_codes(header: StudyHeader, coding: Coding) -> tuple[Code, ...]:
    """eventCodeList: each acquisition modality once, then the anatomic regions.

    Regions are those of Anatomic Region Sequence; without one, those that Body Part Examined stands for. A
    site's own table goes before that of DICOM. With MADO the coarse regions and the procedures follow.
    """
    modalities = filter(None, map(codes.modality, header.modalities))
    regions = map(codes.in_metadata, header.anatomic_regions)
    regional_codes = tuple(dict.fromkeys(regions)) or tuple(
        codes.of_body_parts(header.body_parts, coding.body_parts)
    )
    searched: tuple[Code, ...] = ()
    if coding.form is ManifestForm.MADO:
        searched = (*codes.target_regions(regional_codes), *header.procedure_codes)
    return tuple(dict.fromkeys((*modalities, *regional_codes, *map(codes.in_metadata, searched))))


def type_code(header: StudyHeader, coding: Coding) -> Code:
    """typeCode: what the site's table says of a procedure code; else the first procedure code itself.

    A study without procedure code has the site's fallback; with MADO, whose procedures are events, every one.
    """
    if coding.form is ManifestForm.MADO:
        return coding.type_code
    for code in header.procedure_codes:
        if mapped := coding.type_codes.get(f"{code.scheme}:{code.value}"):
            return mapped
    return codes.in_metadata(header.procedure_codes[0]) if header.procedure_codes else coding.type_code


# --- the entry ---------------------------------------------------------------------------------------


def start_time(header: StudyHeader, zone: tzinfo) -> Timestamp | None:
    """serviceStartTime: when the study began in UTC, with the precision that is known; None without a date.

    A date alone stays that date: which hours of it are meant is not known, so it is not moved to another day.
    """
    date, time = began(header)
    moment = local_moment(date, time)
    if moment is None:
        return None
    digits = legal.time(time).partition(".")[0]
    if not digits:
        return Timestamp(legal.date(date))
    in_utc = moment.replace(tzinfo=timezone(utc_offset(header, zone))).astimezone(UTC)
    precision = 8 + max(len(digits), 4)
    return Timestamp(f"{in_utc:%Y%m%d%H%M%S}"[:precision])


def title(header: StudyHeader) -> str:
    """What a clinician reads of the study: its description, or what stands for one; never empty."""
    text = next(filter(None, map(_plain, _titles(header))), _UNTITLED)
    return text[:_TITLE_LENGTH].rstrip()


def _titles(header: StudyHeader) -> Iterator[str]:
    yield header.study_description
    yield from (code.display_name for code in header.procedure_codes)
    for request in header.requests:
        yield request.requested_procedure_description
        yield from (code.display_name for code in request.requested_procedure_codes)
    yield ", ".join(header.series_descriptions)
    yield ", ".join(header.protocol_names)
    acquired = filter(None, map(codes.modality, header.modalities))
    modalities = ", ".join(code.display_name for code in acquired) or ", ".join(header.modalities)
    regions = [code.display_name for code in header.anatomic_regions] or list(header.body_parts)
    yield " ".join(filter(None, (modalities, ", ".join(filter(None, regions)))))


def author(header: StudyHeader, coding: Coding) -> Author:
    """The machine that made the manifest, of the institution that made the images."""
    institution = escape_component(_plain(header.institution))
    if institution and coding.institution_oid:
        institution = f"{institution}^^^^^^^^^{coding.institution_oid}"
    return Author(
        person=f"^{escape_component(coding.device)}",
        institutions=(institution,) if institution else (),
    )


def submission(
    header: StudyHeader,
    *,
    names: Names,
    document: bytes,
    patient_id: str,
    created: datetime,
    coding: Coding,
    issuers: Issuers = NO_ISSUERS,
    zone: tzinfo = UTC,
) -> Submission:
    """Describe the manifest of a study for RAD-68: a SubmissionSet, a DocumentEntry, and that it is a member.

    `document` is the manifest as it will be sent, frozen; `created` (aware) its creation, and the moment of
    submission.
    """
    made_by = author(header, coding)
    source_id = source_patient_id(header, issuers, patient_id)
    entry = DocumentEntry(
        entry_uuid=names.entry_uuid,
        unique_id=names.document_unique_id,
        patient_id=patient_id,
        mime_type=MIME_TYPE,
        format_code=FORMAT,
        class_code=coding.class_code,
        type_code=type_code(header, coding),
        healthcare_facility_type_code=coding.facility,
        practice_setting_code=coding.practice_setting,
        confidentiality_codes=coding.confidentiality,
        language_code=coding.language,
        source_patient_id=source_id,
        source_patient_info=source_patient_info(header, source_id),
        creation_time=Timestamp.of(created),
        service_start_time=start_time(header, zone),
        event_codes=event_codes(header, coding),
        reference_ids=reference_ids(header, issuers),
        authors=(made_by,),
        hash=hashlib.sha1(document, usedforsecurity=False).hexdigest(),
        size=len(document),
        title=title(header),
    )
    return sole_document(
        entry, names, moment=created, content_type_code=coding.content_type_code, made_by=made_by
    )


def sole_document(
    entry: DocumentEntry,
    names: Names,
    *,
    moment: datetime,
    content_type_code: Code,
    made_by: Author,
    relations: Iterable[Association] = (),
) -> Submission:
    """A SubmissionSet that `made_by` submits at `moment` (aware), whose only member is `entry`, and the
    `relations` of this to what is registered."""
    submission_set = SubmissionSet(
        entry_uuid=names.submission_set_uuid,
        unique_id=names.submission_set_unique_id,
        patient_id=entry.patient_id,
        source_id=names.source_id,
        submission_time=Timestamp.of(moment),
        content_type_code=content_type_code,
        authors=(made_by,),
    )
    member = Association(
        entry_uuid=names.has_member_uuid,
        association_type=AssociationType.HAS_MEMBER,
        source_object=names.submission_set_uuid,
        target_object=names.entry_uuid,
        submission_set_status="Original",
    )
    return Submission(
        submission_set=submission_set, document_entries=(entry,), associations=(member, *relations)
    )


def with_bundle(submitted: Submission, document: bytes, unique_id: str) -> Submission:
    """`submitted` with the manifest as a Bundle beside it, which is a transformation of the first."""
    entry, submission_set = submitted.document_entries[0], submitted.submission_set
    assert submission_set is not None
    bundle = replace(
        entry,
        entry_uuid=new_uuid(),
        unique_id=unique_id,
        mime_type=manifest_bundle.MEDIA_TYPE,
        format_code=manifest_bundle.FORMAT,
        hash=hashlib.sha1(document, usedforsecurity=False).hexdigest(),
        size=len(document),
    )
    member = Association(
        entry_uuid=new_uuid(),
        association_type=AssociationType.HAS_MEMBER,
        source_object=submission_set.entry_uuid,
        target_object=bundle.entry_uuid,
        submission_set_status="Original",
    )
    transformation = Association(
        entry_uuid=new_uuid(),
        association_type=AssociationType.XFRM,
        source_object=bundle.entry_uuid,
        target_object=entry.entry_uuid,
    )
    return replace(
        submitted,
        document_entries=(entry, bundle),
        associations=(*submitted.associations, member, transformation),
    )


def replacing(submitted: Submission, entry_uuid: str, association_uuid: str) -> Submission:
    """`submitted` with an RPLC: its entry takes the place of the registered entry `entry_uuid`."""
    replacement = Association(
        entry_uuid=association_uuid,
        association_type=AssociationType.RPLC,
        source_object=submitted.document_entries[0].entry_uuid,
        target_object=entry_uuid,
    )
    return replace(submitted, associations=(*submitted.associations, replacement))

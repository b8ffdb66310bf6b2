"""The imaging manifest: a Key Object Selection Document over one study (PS3.3 A.35.4; RAD TF-3 4.68).

The same study, identity and place give the same bytes. Text is encoded anew in UTF-8, whatever the instances
use; dates and times stay local times with their Timezone Offset From UTC. What an instance has in a form that
PS3.5 forbids is written in the form that it allows, or left out (`shared.imaging.legal`).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from itertools import count, groupby
from math import inf
from operator import attrgetter
from types import MappingProxyType
from typing import Final

import pydicom
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from imaging_source.domain.coding import NO_ISSUERS, Issuers
from imaging_source.domain.content_items import code_item, code_items, reference
from imaging_source.domain.image_library import image_library, procedures
from imaging_source.domain.instance import RequestReference, StudyHeader
from imaging_source.domain.value_types import value_type
from shared.dicom.elements import element, item
from shared.dicom.uids import (
    EXPLICIT_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    KEY_OBJECT_SELECTION,
)
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.instance import Instance, Issuer

MANIFEST: Final = Code("113030", "DCM", "Manifest")
DESCRIBED: Final = Code("131560", "DCM", "Manifest with Description")
MANUFACTURER: Final = "xdsi"
SERIES_NUMBER: Final = 59

_UTF_8: Final = "ISO_IR 192"
_EVIDENCE: Final = 0x0040A375
_CONTENT: Final = 0x0040A730

# PS3.3 10.14.
_ENTITY_TYPES: Final = frozenset({"DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the instances are retrieved: the three keys that each series item carries.

    `url` is the base URI of the WADO-RS service, without `/studies/…`.
    """

    ae_title: str
    location_uid: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes one manifest this one: its UIDs and the moment (aware) of its creation."""

    sop_instance_uid: str
    series_instance_uid: str
    created: datetime


NO_DESCRIPTIONS: Final[Mapping[str, str]] = MappingProxyType({})


class NothingToShare(ValueError):
    """The study has no instance that a manifest could reference."""


def new_uid(root: str = "") -> str:
    """A UID that nobody has: `2.25.` and a UUID (PS3.5 B.2), or one below the organisation's `root`."""
    return _uid(root, uuid.uuid4())


def derived_uid(root: str, content: bytes) -> str:
    """The UID of `content`, below `root` as `new_uid`: the same for the same bytes, and for no others."""
    return _uid(root, uuid.UUID(bytes=hashlib.sha256(content).digest()[:16], version=5))


def _uid(root: str, number: uuid.UUID) -> str:
    if not root:
        return f"2.25.{number.int}"
    # What remains of 64 characters decides how many of the UUID's bits fit; it is never less than 64 of them.
    digits = str(number.int)[: 64 - len(root) - 1].lstrip("0") or "1"
    return f"{root}.{digits}"


def build(
    header: StudyHeader,
    instances: Iterable[Instance],
    *,
    identity: Identity,
    place: Place,
    issuers: Issuers = NO_ISSUERS,
    zone: tzinfo = UTC,
    library: Mapping[str, Code] | None = None,
) -> Dataset:
    """Build the manifest of one study.

    Parameters
    ----------
    instances
        The instances to share, in any order, of the study that `header` describes.
    zone
        The zone of local times of instances without Timezone Offset From UTC.
    library
        For a Manifest with Description (RAD MADO), which has an Image Library: a site's own codes by Body
        Part Examined. `header` is then one that `mado.completed` made.

    Raises
    ------
    NothingToShare
        There is no instance.
    """
    ordered = _ordered(instances)
    if not ordered:
        raise NothingToShare(f"study {header.study_instance_uid} has no instance that can be shared")
    offset = utc_offset(header, zone)
    dataset = Dataset()
    dataset.SpecificCharacterSet = _UTF_8
    _patient(dataset, header, issuers)
    _general_study(dataset, header, issuers)
    _series_and_equipment(dataset, header, identity, _free_series_number(ordered))
    _document(dataset, identity, offset, MANIFEST if library is None else DESCRIBED)
    if header.requests:
        dataset.ReferencedRequestSequence = Sequence(_request(item, issuers) for item in header.requests)
    descriptions = {each.series_instance_uid: each.description for each in header.series}
    _sequence(dataset, _EVIDENCE, evidence(ordered, place=place, descriptions=descriptions))
    _sequence(dataset, _CONTENT, content(ordered))
    if library is not None:
        described = (*procedures(header), image_library(header, ordered, body_parts=library))
        dataset.ContentSequence = Sequence((*described, *dataset.ContentSequence))
    return dataset


def encode(manifest: Dataset) -> bytes:
    """The Part 10 file of `manifest` in Explicit VR Little Endian; made once, and frozen from then on."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = manifest.SOPClassUID
    meta.MediaStorageSOPInstanceUID = manifest.SOPInstanceUID
    meta.TransferSyntaxUID = EXPLICIT_LE
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    manifest.file_meta = meta
    return _written(manifest, enforce_file_format=True)


def digest(manifest: Dataset) -> str:
    """SHA-256 of what `manifest` says, without its identity: equal when nothing of the study has changed."""
    plain = Dataset()
    for tag in manifest.keys() - _IDENTITY:
        plain[tag] = manifest.get_item(tag)
    return hashlib.sha256(_written(plain, implicit_vr=False, little_endian=True)).hexdigest()


_IDENTITY: Final = frozenset(
    {
        0x00080012,  # Instance Creation Date
        0x00080013,  # Instance Creation Time
        0x00080018,  # SOP Instance UID
        0x00080023,  # Content Date
        0x00080033,  # Content Time
        0x0020000E,  # Series Instance UID
    }
)


def _sequence(dataset: Dataset, tag: int, items: bytes) -> None:
    """Put items that are octets already into `dataset`; whoever looks at them has them parsed."""
    dataset[tag] = RawDataElement(Tag(tag), "SQ", len(items), items, 0, False, True)


def _written(dataset: Dataset, **form: bool) -> bytes:
    # They are in the encoding that is written, so that they go as they are.
    dataset.set_original_encoding(False, True, convert_encodings(_UTF_8))
    file = BytesIO()
    pydicom.dcmwrite(file, dataset, **form)
    return file.getvalue()


# --- references --------------------------------------------------------------------------------------


def _ordered(instances: Iterable[Instance]) -> list[Instance]:
    """Each instance once, as people look at them: by Series and Instance Number, what has none last."""
    unique = list({_key(instance): instance for instance in instances}.values())
    numbers: dict[tuple[str, str], float] = {}
    for each in unique:
        series = (each.study_instance_uid, each.series_instance_uid)
        numbers[series] = min(_number(each.series_number), numbers.get(series, inf))

    def place(each: Instance) -> tuple[object, ...]:
        study, series = each.study_instance_uid, each.series_instance_uid
        return (study, numbers[study, series], series, _number(each.instance_number), each.sop_instance_uid)

    return sorted(unique, key=place)


_key = attrgetter("study_instance_uid", "series_instance_uid", "sop_instance_uid")


def _number(number: int | None) -> float:
    return inf if number is None else number


def evidence(
    instances: Iterable[Instance], *, place: Place, descriptions: Mapping[str, str] = NO_DESCRIPTIONS
) -> bytes:
    """Build the Current Requested Procedure Evidence Sequence (0040,A375).

    Parameters
    ----------
    instances
        The instances to publish, of any number of series and in any order.  Each appears
        once in the result however often it is given.
    descriptions
        Series Description by Series Instance UID.

    Returns
    -------
    bytes
        One item for each study, in it one for each series, in it one for each instance; series in the
        order of their numbers, instances in that of theirs, so that the same study gives the same manifest.
        Modality, number and description of a series stand in its item for whoever shows it (Standard
        Extended, PS3.2 annex C).
    """
    return b"".join(
        item(
            element(
                0x00081115,  # Referenced Series Sequence
                "SQ",
                b"".join(
                    _series(series_uid, list(of_series), place, descriptions.get(series_uid, ""))
                    for series_uid, of_series in groupby(of_study, key=attrgetter("series_instance_uid"))
                ),
            )
            + element(0x0020000D, "UI", study_uid.encode("ascii"))
        )
        for study_uid, of_study in groupby(_ordered(instances), key=attrgetter("study_instance_uid"))
    )


def _series(uid: str, instances: list[Instance], place: Place, description: str) -> bytes:
    modality = legal.code_string(instances[0].modality)
    text = legal.identifier(description, legal.LONG)
    number = instances[0].series_number
    return item(
        b"".join(
            (
                element(0x00080054, "AE", place.ae_title.encode("ascii")),
                element(0x00080060, "CS", modality.encode("ascii")) if modality else b"",
                element(0x0008103E, "LO", text.encode()) if text else b"",
                element(0x00081190, "UR", place.url.encode("ascii")),
                element(0x00081199, "SQ", b"".join(map(reference, instances))),
                element(0x0020000E, "UI", uid.encode("ascii")),
                b"" if number is None else element(0x00200011, "IS", str(number).encode("ascii")),
                element(0x0040E011, "UI", place.location_uid.encode("ascii")),
            )
        )
    )


def content(instances: Iterable[Instance]) -> bytes:
    """Build the content tree below the title (TID 2010 rows 8-10): what the evidence names, in its order."""
    return b"".join(map(_content_item, _ordered(instances)))


def _content_item(instance: Instance) -> bytes:
    return item(
        element(0x00081199, "SQ", reference(instance))
        + element(0x0040A010, "CS", b"CONTAINS")
        + element(0x0040A040, "CS", value_type(instance.sop_class_uid).encode("ascii"))
    )


# --- modules -----------------------------------------------------------------------------------------


def _patient(dataset: Dataset, header: StudyHeader, issuers: Issuers) -> None:
    dataset.PatientName = legal.person_name(header.patient_name)
    dataset.PatientID = legal.identifier(header.patient_id, legal.LONG)
    dataset.PatientBirthDate = legal.date(header.patient_birth_date)
    dataset.PatientSex = legal.sex(header.patient_sex)
    if issuer := legal.identifier(header.issuer_of_patient_id.local, legal.LONG):
        dataset.IssuerOfPatientID = issuer
    if entity := _entity(header.issuer_of_patient_id, issuers.patient_id):
        dataset.IssuerOfPatientIDQualifiersSequence = Sequence([entity])
    others = [other for other in header.other_patient_ids if legal.identifier(other[0], legal.LONG)]
    if others:
        dataset.OtherPatientIDsSequence = Sequence(map(_other_patient_id, others))


def _other_patient_id(other: tuple[str, Issuer]) -> Dataset:
    patient_id, issuer = other
    item = Dataset()
    item.PatientID = legal.identifier(patient_id, legal.LONG)
    item.TypeOfPatientID = "TEXT"
    if local := legal.identifier(issuer.local, legal.LONG):
        item.IssuerOfPatientID = local
    if entity := _entity(issuer):
        item.IssuerOfPatientIDQualifiersSequence = Sequence([entity])
    return item


def _entity(issuer: Issuer, default: str = "") -> Dataset | None:
    """A HL7v2 Hierarchic Designator item (PS3.3 10.14) or None when nothing is known of the issuer.

    A local name alone is no reason to claim that our own domain issued the identifier.
    """
    item = Dataset()
    kind = legal.code_string(issuer.universal_id_type or "ISO")
    if (universal_id := legal.plain(issuer.universal_id)) and kind in _ENTITY_TYPES:
        item.UniversalEntityID = universal_id
        item.UniversalEntityIDType = kind
    elif local := legal.plain(issuer.local):
        item.LocalNamespaceEntityID = local
    elif default:
        item.UniversalEntityID = default
        item.UniversalEntityIDType = "ISO"
    return item if len(item) else None


def _general_study(dataset: Dataset, header: StudyHeader, issuers: Issuers) -> None:
    dataset.StudyInstanceUID = header.study_instance_uid
    dataset.StudyDate = legal.date(header.study_date)
    dataset.StudyTime = legal.time(header.study_time)
    dataset.ReferringPhysicianName = legal.person_name(header.referring_physician)
    dataset.StudyID = legal.identifier(header.study_id, legal.SHORT)
    # Several accession numbers fit no single value; they stand in the Referenced Request Sequence.
    only = header.accession_numbers[0] if len(header.accession_numbers) == 1 else None
    dataset.AccessionNumber = legal.identifier(only[0], legal.SHORT) if only else ""
    if only and dataset.AccessionNumber and (entity := _entity(only[1], issuers.accession_number)):
        dataset.IssuerOfAccessionNumberSequence = Sequence([entity])
    if description := legal.text(header.study_description):
        dataset.StudyDescription = description
    if codes := code_items(header.procedure_codes):
        dataset.ProcedureCodeSequence = codes


def _series_and_equipment(dataset: Dataset, header: StudyHeader, identity: Identity, number: int) -> None:
    dataset.Modality = "KO"
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.SeriesNumber = number
    dataset.ReferencedPerformedProcedureStepSequence = Sequence()
    dataset.Manufacturer = MANUFACTURER
    if institution := legal.text(header.institution):
        dataset.InstitutionName = institution


def _free_series_number(instances: Iterable[Instance]) -> int:
    used = {instance.series_number for instance in instances}
    return next(number for number in count(SERIES_NUMBER) if number not in used)


def _document(dataset: Dataset, identity: Identity, offset: timedelta, title: Code) -> None:
    created = identity.created.astimezone(timezone(offset))
    dataset.SOPClassUID = KEY_OBJECT_SELECTION
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceNumber = 1
    dataset.InstanceCreationDate = dataset.ContentDate = f"{created:%Y%m%d}"
    dataset.InstanceCreationTime = dataset.ContentTime = f"{created:%H%M%S}"
    dataset.TimezoneOffsetFromUTC = f"{created:%z}"
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = Sequence([code_item(title)])
    dataset.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2010"
    dataset.ContentTemplateSequence = Sequence([template])


def _request(request: RequestReference, issuers: Issuers) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = request.study_instance_uid
    item.ReferencedStudySequence = Sequence()
    item.AccessionNumber = legal.identifier(request.accession_number, legal.SHORT)
    item.PlacerOrderNumberImagingServiceRequest = legal.identifier(request.placer_order_number, legal.LONG)
    item.FillerOrderNumberImagingServiceRequest = legal.identifier(request.filler_order_number, legal.LONG)
    item.RequestedProcedureID = legal.identifier(request.requested_procedure_id, legal.SHORT)
    item.RequestedProcedureDescription = legal.text(request.requested_procedure_description)
    item.RequestedProcedureCodeSequence = code_items(request.requested_procedure_codes)
    for keyword, entity in _request_issuers(request, issuers):
        setattr(item, keyword, Sequence([entity]))
    return item


def _request_issuers(request: RequestReference, issuers: Issuers) -> Iterator[tuple[str, Dataset]]:
    for keyword, number, issuer, default in (
        (
            "IssuerOfAccessionNumberSequence",
            request.accession_number,
            request.accession_issuer,
            issuers.accession_number,
        ),
        (
            "OrderPlacerIdentifierSequence",
            request.placer_order_number,
            request.placer_issuer,
            issuers.placer_order_number,
        ),
        (
            "OrderFillerIdentifierSequence",
            request.filler_order_number,
            request.filler_issuer,
            issuers.filler_order_number,
        ),
    ):
        if legal.plain(number) and (entity := _entity(issuer, default)):
            yield keyword, entity


# --- dates and times ---------------------------------------------------------------------------------

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})\Z")


def began(header: StudyHeader) -> tuple[str, str]:
    """Date and time of the study; without a date, the earliest of its series, acquisitions and contents."""
    if legal.date(header.study_date):
        return header.study_date, header.study_time
    others = [(legal.date(day), legal.time(moment)) for day, moment in header.other_dates]
    return min((other for other in others if other[0]), default=("", ""))


def utc_offset(header: StudyHeader, zone: tzinfo) -> timedelta:
    """The offset of the study's local times: its own, or that of `zone` at the time of the study."""
    if (match := _OFFSET.match(header.timezone_offset.strip())) and int(match[2]) <= 14:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return -offset if match[1] == "-" else offset
    moment = local_moment(*began(header)) or datetime(2000, 1, 1)
    return moment.replace(tzinfo=zone).utcoffset() or timedelta()


def local_moment(date: str, time: str) -> datetime | None:
    """The local moment of a date and a time of DICOM, to the second and without zone; None without a date."""
    if not (day := legal.date(date)):
        return None
    digits = legal.time(time).partition(".")[0].ljust(6, "0")
    return datetime.strptime(day + digits, "%Y%m%d%H%M%S")

"""A Manifest with Description as one value, whichever its encoding: a Key Object Selection Document
(`manifest.build`), or a FHIR document Bundle (`mado_bundle`) (RAD MADO 1.0.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydicom.dataset import Dataset

from imaging_source.domain.instance import KeyObjectHeader, RequestReference, SeriesHeader, StudyHeader
from imaging_source.domain.manifest import DESCRIBED, Identity, Place, build
from shared.dicom.uids import EXPLICIT_LE
from shared.ebrim.model import Code
from shared.imaging.instance import Instance, Issuer

_LIBRARY: Final = "111028"
_GROUP: Final = "126200"
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotDescribed(ValueError):
    """It is no Manifest with Description of one study; the text says why, and names no patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedManifest:
    """What a manifest says: which it is, what it tells of the study, which instances, and where they are.

    Of an instance what a manifest tells is set, and nothing else.
    """

    identity: Identity
    header: StudyHeader
    place: Place
    instances: tuple[Instance, ...]

    def data_set(self) -> Dataset:
        """As a Key Object Selection Document."""
        return build(self.header, self.instances, identity=self.identity, place=self.place, library={})


def described_instance(
    header: StudyHeader,
    series_instance_uid: str,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    modality: str,
    series_number: int | None,
    instance_number: int | None,
    number_of_frames: int,
) -> Instance:
    """An instance of which a manifest alone is known."""
    return Instance(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=EXPLICIT_LE,
        size=0,
        sha256="",
        patient_id=header.patient_id,
        accession_number="",
        modality=modality,
        series_number=series_number,
        instance_number=instance_number,
        number_of_frames=number_of_frames,
        rows=None,
        columns=None,
        samples_per_pixel=1,
        bits_allocated=None,
        metadata_size=0,
        file="",
        issuer_of_patient_id=header.issuer_of_patient_id,
        has_pixels=False,
        received_at=_NO_TIME,
    )


def of_data_set(dataset: Dataset) -> DescribedManifest:
    """What a Key Object Selection Document says.

    Raises
    ------
    NotDescribed
        It has another title, no Image Library, or is of several studies or places.
    """
    titles = dataset.get("ConceptNameCodeSequence")
    if not titles or _code(titles[0]).value != DESCRIBED.value:
        raise NotDescribed("it is no Manifest with Description (131560, DCM)")
    libraries = [item for item in dataset.get("ContentSequence", ()) if _concept(item) == _LIBRARY]
    studies = dataset.get("CurrentRequestedProcedureEvidenceSequence", ())
    if len(libraries) != 1 or len(studies) != 1:
        raise NotDescribed("it has not one Image Library and the evidence of one study")
    groups = {
        _value(group, "112002"): group
        for group in libraries[0].get("ContentSequence", ())
        if _concept(group) == _GROUP
    }
    header = _header(dataset, libraries[0], groups)
    instances = tuple(_instances(header, studies[0], groups))
    places = {_place(one) for one in studies[0].ReferencedSeriesSequence}
    if len(places) != 1:
        raise NotDescribed("its instances are not all retrieved from one place")
    created = f"{dataset.ContentDate}{str(dataset.ContentTime)[:6]}{dataset.TimezoneOffsetFromUTC}"
    return DescribedManifest(
        identity=Identity(
            sop_instance_uid=str(dataset.SOPInstanceUID),
            series_instance_uid=str(dataset.SeriesInstanceUID),
            created=datetime.strptime(created, "%Y%m%d%H%M%S%z"),
        ),
        header=header,
        place=places.pop(),
        instances=instances,
    )


# --- the study ---------------------------------------------------------------------------------------


def _header(dataset: Dataset, library: Dataset, groups: dict[str, Dataset]) -> StudyHeader:
    requests = tuple(map(_request, dataset.get("ReferencedRequestSequence", ())))
    return StudyHeader(
        study_instance_uid=str(dataset.StudyInstanceUID),
        patient_id=_text(dataset, "PatientID"),
        issuer_of_patient_id=_patient_issuer(dataset),
        other_patient_ids=tuple(
            (_text(item, "PatientID"), _patient_issuer(item))
            for item in dataset.get("OtherPatientIDsSequence", ())
        ),
        patient_name=_text(dataset, "PatientName"),
        patient_birth_date=_text(dataset, "PatientBirthDate"),
        patient_sex=_text(dataset, "PatientSex"),
        study_date=_text(dataset, "StudyDate"),
        study_time=_text(dataset, "StudyTime"),
        timezone_offset=_text(dataset, "TimezoneOffsetFromUTC"),
        referring_physician=_text(dataset, "ReferringPhysicianName"),
        study_id=_text(dataset, "StudyID"),
        study_description=_text(dataset, "StudyDescription"),
        procedure_codes=tuple(map(_code, dataset.get("ProcedureCodeSequence", ()))),
        accession_numbers=_accession_numbers(dataset, requests),
        requests=requests,
        institution=_text(dataset, "InstitutionName"),
        anatomic_regions=tuple(_codes(library, "123014")),
        series=tuple(_series(uid, group) for uid, group in groups.items()),
        key_objects=tuple(note for group in groups.values() for note in _key_objects(group)),
    )


def _accession_numbers(
    dataset: Dataset, requests: tuple[RequestReference, ...]
) -> tuple[tuple[str, Issuer], ...]:
    if number := _text(dataset, "AccessionNumber"):
        return ((number, _entity(dataset, "IssuerOfAccessionNumberSequence")),)
    issuers = {one.accession_number: one.accession_issuer for one in reversed(requests)}
    numbers = dict.fromkeys(one.accession_number for one in requests if one.accession_number)
    return tuple((number, issuers[number]) for number in numbers)


def _request(item: Dataset) -> RequestReference:
    return RequestReference(
        study_instance_uid=_text(item, "StudyInstanceUID"),
        accession_number=_text(item, "AccessionNumber"),
        accession_issuer=_entity(item, "IssuerOfAccessionNumberSequence"),
        placer_order_number=_text(item, "PlacerOrderNumberImagingServiceRequest"),
        placer_issuer=_entity(item, "OrderPlacerIdentifierSequence"),
        filler_order_number=_text(item, "FillerOrderNumberImagingServiceRequest"),
        filler_issuer=_entity(item, "OrderFillerIdentifierSequence"),
        requested_procedure_id=_text(item, "RequestedProcedureID"),
        requested_procedure_description=_text(item, "RequestedProcedureDescription"),
        requested_procedure_codes=tuple(map(_code, item.get("RequestedProcedureCodeSequence", ()))),
    )


def _series(uid: str, group: Dataset) -> SeriesHeader:
    # What is no code of a region is the text of one.
    regions = tuple(_codes(group, "123014"))
    region = "" if regions else _value(group, "123014")
    return SeriesHeader(
        series_instance_uid=uid,
        description=_value(group, "131563"),
        date=_value(group, "131561"),
        time=_value(group, "131562"),
        regions=regions,
        body_parts=(region,) if region else (),
    )


def _key_objects(group: Dataset) -> Iterator[KeyObjectHeader]:
    for entry in group.get("ContentSequence", ()):
        if "ReferencedSOPSequence" in entry and (titles := list(_codes(entry, "121144"))):
            yield KeyObjectHeader(
                sop_instance_uid=str(entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
                title=titles[0],
                description=_value(entry, "113012"),
            )


def _instances(header: StudyHeader, study: Dataset, groups: dict[str, Dataset]) -> Iterator[Instance]:
    for series in study.ReferencedSeriesSequence:
        uid = str(series.SeriesInstanceUID)
        group = groups.get(uid, Dataset())
        entries = {
            str(entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID): entry
            for entry in group.get("ContentSequence", ())
            if "ReferencedSOPSequence" in entry
        }
        for reference in series.ReferencedSOPSequence:
            instance = str(reference.ReferencedSOPInstanceUID)
            entry = entries.get(instance, Dataset())
            yield described_instance(
                header,
                uid,
                sop_class_uid=str(reference.ReferencedSOPClassUID),
                sop_instance_uid=instance,
                modality=_text(series, "Modality"),
                series_number=_number(_value(group, "113607")),
                instance_number=_number(_value(entry, "113609")),
                number_of_frames=_number(_value(entry, "121140")) or 1,
            )


def _place(series: Dataset) -> Place:
    return Place(
        ae_title=_text(series, "RetrieveAETitle"),
        location_uid=_text(series, "RetrieveLocationUID"),
        url=_text(series, "RetrieveURL").partition("/studies/")[0],
    )


# --- values ------------------------------------------------------------------------------------------


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value)


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _code(item: Dataset) -> Code:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(str(value), _text(item, "CodingSchemeDesignator"), _text(item, "CodeMeaning"))


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return _code(names[0]).value if names else ""


def _codes(container: Dataset, concept: str) -> Iterator[Code]:
    for item in container.get("ContentSequence", ()):
        if _concept(item) == concept and item.get("ConceptCodeSequence"):
            yield _code(item.ConceptCodeSequence[0])


def _value(container: Dataset, concept: str) -> str:
    for item in container.get("ContentSequence", ()):
        if _concept(item) == concept:
            if item.get("MeasuredValueSequence"):
                return _text(item.MeasuredValueSequence[0], "NumericValue")
            return next(
                (_text(item, name) for name in ("TextValue", "UID", "Date", "Time") if name in item), ""
            )
    return ""


def _entity(item: Dataset, keyword: str) -> Issuer:
    entities = item.get(keyword)
    if not entities:
        return Issuer()
    return Issuer(
        _text(entities[0], "LocalNamespaceEntityID"),
        _text(entities[0], "UniversalEntityID"),
        _text(entities[0], "UniversalEntityIDType"),
    )


def _patient_issuer(item: Dataset) -> Issuer:
    entity = _entity(item, "IssuerOfPatientIDQualifiersSequence")
    return Issuer(_text(item, "IssuerOfPatientID"), entity.universal_id, entity.universal_id_type)

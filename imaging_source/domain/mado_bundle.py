"""A Manifest with Description as a FHIR document Bundle, and back (RAD MADO 1.0.0, MadoFhirBundle; FHIR R4).

What FHIR has no place for is left out: Study ID, referring physician, Requested Procedure ID, Retrieve AE
Title, and the series of the Key Object Selection Document; whoever reads a Bundle is told an AE title, and
gets a series that follows from the identifier of the manifest.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from itertools import groupby
from operator import attrgetter
from typing import Final

from imaging_source.domain import codes
from imaging_source.domain import mado_datatypes as fhir
from imaging_source.domain.described_manifest import DescribedManifest, NotDescribed, described_instance
from imaging_source.domain.instance import KeyObjectHeader, RequestReference, SeriesHeader, StudyHeader
from imaging_source.domain.mado_datatypes import Resource
from imaging_source.domain.manifest import MANUFACTURER, Identity, Place, derived_uid, utc_offset
from imaging_source.domain.publishing import title
from shared.dicom.uids import is_uid
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.instance import Instance, Issuer

_STUDY_UID: Final = "urn:dicom:uid"
_GENDERS: Final = {"M": "male", "F": "female", "O": "other"}
_SEXES: Final = {gender: sex for sex, gender in _GENDERS.items()}
_REPRESENTATION: Final = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_GROUPS: Final = ("ABC", "IDE", "SYL")
_ORDERS: Final = (
    ("PLAC", "placer_order_number", "placer_issuer"),
    ("FILL", "filler_order_number", "filler_issuer"),
)


# --- to FHIR -----------------------------------------------------------------------------------------


def bundle(manifest: DescribedManifest) -> Resource:
    """The Bundle of a manifest; the same manifest gives the same Bundle."""
    header, uid = manifest.header, manifest.identity.sop_instance_uid
    identifier = {"system": fhir.URI, "value": f"{fhir.OID}{uid}"}
    created = manifest.identity.created.isoformat(timespec="seconds")
    requests = [_request(one, _to(uid, "patient")) for one in header.requests]
    resources: list[tuple[str, Resource]] = [
        ("composition", _composition(manifest, identifier, created)),
        ("study", _study(manifest)),
        ("patient", _patient(header)),
        ("device", _device(uid)),
        ("organization", {"resourceType": "Organization", "name": header.institution or MANUFACTURER}),
        ("endpoint", _endpoint(manifest.place)),
        *((f"request-{number}", one) for number, one in enumerate(requests)),
    ]
    return {
        "resourceType": "Bundle",
        "meta": {"profile": [f"{fhir.PROFILE}MadoFhirBundle"]},
        "identifier": identifier,
        "type": "document",
        "timestamp": created,
        "entry": [{"fullUrl": _url(uid, name), "resource": one} for name, one in resources],
    }


def encode(manifest: DescribedManifest) -> bytes:
    """The Bundle of a manifest as a document."""
    return json.dumps(bundle(manifest), ensure_ascii=False).encode()


def _url(uid: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(fhir.NAMESPACE, f'{uid} {name}')}"


def _to(uid: str, name: str) -> Resource:
    return {"reference": _url(uid, name)}


def _composition(manifest: DescribedManifest, identifier: Resource, created: str) -> Resource:
    uid = manifest.identity.sop_instance_uid
    return {
        "resourceType": "Composition",
        "text": _narrative(_facts(manifest, created)),
        "identifier": identifier,
        "status": "final",
        "type": fhir.concept("http://loinc.org", "18748-4", "Diagnostic imaging study"),
        "category": [fhir.concept("http://loinc.org", "18748-4", "Diagnostic imaging study")],
        "subject": _to(uid, "patient"),
        "date": created,
        "author": [_to(uid, "device"), _to(uid, "organization")],
        "title": title(manifest.header),
        "event": [{"detail": [_to(uid, "study")]}],
        "section": [_section(manifest.header, series, group) for series, group in _series_of(manifest)],
    }


def _section(header: StudyHeader, series: SeriesHeader, instances: list[Instance]) -> Resource:
    name = series.description or codes.series_modality(instances[0].modality).display_name
    facts = [("Series", name), ("Instances", str(len(instances)))]
    return {"title": name, "text": _narrative(facts)}


def _facts(manifest: DescribedManifest, created: str) -> Iterator[tuple[str, str]]:
    """What the narrative of a Composition shall hold."""
    header = manifest.header
    series = list(_series_of(manifest))
    name = " ".join(filter(None, header.patient_name.partition("=")[0].split("^")))
    regions = (code.display_name for code in header.anatomic_regions)
    yield "Subject", f"{name} ({header.patient_id})"
    yield "Author", f"{MANUFACTURER}, {header.institution or MANUFACTURER}"
    yield "Study", header.study_instance_uid
    yield "Manifest of", created
    yield "Type", "Diagnostic imaging study"
    yield "Began", _moment(header)
    yield "Description", header.study_description
    yield "Modalities", ", ".join(dict.fromkeys(_modality(group).value for _, group in series))
    yield "Regions", ", ".join(regions)
    yield "Accession numbers", ", ".join(number for number, _ in header.accession_numbers)
    yield "Series", str(len(series))


def _narrative(facts: Iterable[tuple[str, str]]) -> Resource:
    lines = "".join(f"<p>{escape(name)}: {escape(value)}</p>" for name, value in facts if value)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lines}</div>'}


def _modality(instances: list[Instance]) -> Code:
    return codes.series_modality(instances[0].modality)


def _series_of(manifest: DescribedManifest) -> Iterator[tuple[SeriesHeader, list[Instance]]]:
    headers = {one.series_instance_uid: one for one in manifest.header.series}
    for uid, group in groupby(manifest.instances, key=attrgetter("series_instance_uid")):
        yield headers.get(uid, SeriesHeader(series_instance_uid=uid)), list(group)


def _study(manifest: DescribedManifest) -> Resource:
    header, uid = manifest.header, manifest.identity.sop_instance_uid
    series = list(_series_of(manifest))
    notes = {one.sop_instance_uid: one for one in header.key_objects}
    modalities = dict.fromkeys(_modality(group) for _, group in series)
    procedures = [
        {"coding": [fhir.coding(code)], "text": code.display_name} for code in header.procedure_codes
    ]
    return fhir.filled(
        {
            "resourceType": "ImagingStudy",
            "extension": [
                fhir.extension(
                    "MadoAnatomicalRegionExtension", valueCodeableConcept={"coding": [fhir.coding(code)]}
                )
                for code in header.anatomic_regions
            ],
            "identifier": [
                {
                    "type": fhir.concept(fhir.DCM, "110180", "Study Instance UID"),
                    "system": _STUDY_UID,
                    "value": f"{fhir.OID}{header.study_instance_uid}",
                }
            ],
            "status": "available",
            "modality": [fhir.coding(code) for code in modalities],
            "subject": _to(uid, "patient"),
            "started": _moment(header),
            "basedOn": [
                {"identifier": fhir.accession(number, issuer)} for number, issuer in header.accession_numbers
            ],
            "numberOfSeries": len(series),
            "numberOfInstances": len(manifest.instances),
            "procedureCode": procedures or [{"text": title(header)}],
            "description": header.study_description,
            "series": [_series(header, uid, one, group, notes) for one, group in series],
        }
    )


def _series(
    header: StudyHeader,
    uid: str,
    series: SeriesHeader,
    instances: list[Instance],
    notes: Mapping[str, KeyObjectHeader],
) -> Resource:
    return fhir.filled(
        {
            "uid": series.series_instance_uid,
            "number": instances[0].series_number,
            "modality": fhir.coding(_modality(instances)),
            "description": series.description,
            "numberOfInstances": len(instances),
            "endpoint": [_to(uid, "endpoint")],
            "bodySite": _body_site(series),
            "started": fhir.date_time(series.date, series.time, _offset(header)),
            "instance": [_instance(one, notes.get(one.sop_instance_uid)) for one in instances],
        }
    )


def _body_site(series: SeriesHeader) -> Resource:
    if series.regions:
        return fhir.coding(series.regions[0])
    return {"display": series.body_parts[0]} if series.body_parts else {}


def _instance(one: Instance, note: KeyObjectHeader | None) -> Resource:
    extensions = []
    if one.number_of_frames > 1:
        extensions.append(fhir.extension("MadoNumberOfFrames", valueInteger=one.number_of_frames))
    if note is not None:
        value = {"coding": [fhir.coding(note.title)]}
        extensions.append(fhir.extension("MadoKeyObjectDocumentTitle", valueCodeableConcept=value))
    return fhir.filled(
        {
            "extension": extensions,
            "uid": one.sop_instance_uid,
            "sopClass": {"system": fhir.URI, "code": f"{fhir.OID}{one.sop_class_uid}"},
            "number": one.instance_number,
            "title": "" if note is None else note.description,
        }
    )


def _patient(header: StudyHeader) -> Resource:
    own = (header.patient_id, header.issuer_of_patient_id)
    others = [one for one in header.other_patient_ids if one != own]
    day = legal.date(header.patient_birth_date)
    return fhir.filled(
        {
            "resourceType": "Patient",
            "identifier": [fhir.identifier(*one) for one in (own, *others)],
            "name": list(_names(header.patient_name)),
            "gender": _GENDERS.get(header.patient_sex, ""),
            "birthDate": f"{day[:4]}-{day[4:6]}-{day[6:]}" if day else "",
        }
    )


def _names(name: str) -> Iterator[Resource]:
    for representation, group in zip(_GROUPS, name.split("="), strict=False):
        family, first, middle, prefix, suffix = (*group.split("^"), "", "", "", "", "")[:5]
        if any((family, first, middle, prefix, suffix)):
            yield fhir.filled(
                {
                    "extension": [{"url": _REPRESENTATION, "valueCode": representation}],
                    "family": family,
                    "given": [one for one in (first, middle) if one],
                    "prefix": [prefix] if prefix else [],
                    "suffix": [suffix] if suffix else [],
                }
            )


def _device(uid: str) -> Resource:
    return {
        "resourceType": "Device",
        "type": {"coding": [{"system": f"{fhir.ROOT}CodeSystem/MadoDeviceType", "code": "mado-creator"}]},
        "manufacturer": MANUFACTURER,
        "owner": _to(uid, "organization"),
    }


def _endpoint(place: Place) -> Resource:
    return {
        "resourceType": "Endpoint",
        "extension": [fhir.extension("MadoRetrieveLocationUIDExtension", valueString=place.location_uid)],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "payloadType": [
            {
                "coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "none"}
                ],
                "text": "DICOM WADO-RS",
            }
        ],
        "payloadMimeType": ["application/dicom"],
        "address": place.url,
    }


def _request(request: RequestReference, subject: Resource) -> Resource:
    identifiers = [fhir.accession(request.accession_number, request.accession_issuer)]
    for kind, number, issuer in _ORDERS:
        if value := getattr(request, number):
            typed = {"type": fhir.concept(fhir.V2, kind, "")}
            identifiers.append(typed | fhir.identifier(value, getattr(request, issuer)))
    code = {
        "coding": [fhir.coding(one) for one in request.requested_procedure_codes],
        "text": request.requested_procedure_description,
    }
    return fhir.filled(
        {
            "resourceType": "ServiceRequest",
            "identifier": identifiers,
            "status": "completed",
            "intent": "order",
            "code": fhir.filled(code),
            "subject": subject,
        }
    )


# --- from FHIR ---------------------------------------------------------------------------------------


def of_bundle(root: Resource, *, ae_title: str) -> DescribedManifest:
    """What a Bundle says; `ae_title` is that of the source, which a Bundle has no place for.

    Raises
    ------
    NotDescribed
        It is no Bundle of a manifest, or not whole.
    """
    try:
        return _of_bundle(root, ae_title)
    except (AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError) as error:
        if isinstance(error, NotDescribed):
            raise
        raise NotDescribed("it is no MadoFhirBundle, or something of it is missing") from None


def _of_bundle(root: Resource, ae_title: str) -> DescribedManifest:
    resources = [entry["resource"] for entry in root["entry"]]

    def each(name: str) -> list[Resource]:
        return [one for one in resources if one["resourceType"] == name]

    uid = root["identifier"]["value"].removeprefix(fhir.OID)
    if root.get("type") != "document" or not is_uid(uid):
        raise NotDescribed("it is no document Bundle with an OID as its identifier")
    study, patient = each("ImagingStudy")[0], each("Patient")[0]
    endpoints = [one for one in each("Endpoint") if one["connectionType"]["code"] == "dicom-wado-rs"]
    places = {_place(one, ae_title) for one in endpoints}
    if len(places) != 1:
        raise NotDescribed("its instances are not all retrieved from one place")
    organizations = each("Organization")
    header = _header(study, patient, each("ServiceRequest"), organizations[0]["name"])
    created = datetime.fromisoformat(root["timestamp"])
    return DescribedManifest(
        identity=Identity(
            sop_instance_uid=uid,
            series_instance_uid=derived_uid("", f"series\n{uid}".encode()),
            created=created,
        ),
        header=header,
        place=places.pop(),
        instances=tuple(_instances(header, study)),
    )


def _place(endpoint: Resource, ae_title: str) -> Place:
    location = fhir.extended(endpoint, "MadoRetrieveLocationUIDExtension")[0]["valueString"]
    return Place(ae_title=ae_title, location_uid=location.removeprefix(fhir.OID), url=endpoint["address"])


def _header(study: Resource, patient: Resource, orders: list[Resource], institution: str) -> StudyHeader:
    uid = next(one["value"] for one in study["identifier"] if one["system"] == _STUDY_UID)
    uid = uid.removeprefix(fhir.OID)
    patient_ids = [(one["value"], fhir.issuer_of(one)) for one in patient["identifier"]]
    date, time, zone = fhir.of_moment(study.get("started", ""))
    day = patient.get("birthDate", "").replace("-", "")
    regions = fhir.extended(study, "MadoAnatomicalRegionExtension")
    return StudyHeader(
        study_instance_uid=uid,
        patient_id=patient_ids[0][0],
        issuer_of_patient_id=patient_ids[0][1],
        other_patient_ids=tuple(patient_ids),
        patient_name="=".join(_group(patient.get("name", ()), one) for one in _GROUPS).rstrip("="),
        patient_birth_date=day if len(day) == 8 else "",
        patient_sex=_SEXES.get(patient.get("gender", ""), ""),
        study_date=date,
        study_time=time,
        timezone_offset=zone,
        study_description=study.get("description", ""),
        procedure_codes=tuple(
            fhir.code_of(coding) for one in study.get("procedureCode", ()) for coding in one.get("coding", ())
        ),
        accession_numbers=tuple(
            (one["identifier"]["value"], fhir.issuer_of(one["identifier"]))
            for one in study.get("basedOn", ())
        ),
        requests=tuple(_of_request(uid, one) for one in orders),
        institution=institution,
        anatomic_regions=tuple(fhir.code_of(one["valueCodeableConcept"]["coding"][0]) for one in regions),
        series=tuple(map(_of_series, study["series"])),
        key_objects=tuple(
            note for series in study["series"] for one in series["instance"] for note in _note(one)
        ),
    )


def _group(names: Iterable[Resource], representation: str) -> str:
    for name in names:
        extensions = name.get("extension", ())
        representations = [one["valueCode"] for one in extensions if one["url"] == _REPRESENTATION]
        if representation in (representations or _GROUPS[:1]):
            names_given = name.get("given", [])
            parts = [name.get("family", ""), "".join(names_given[:1]), " ".join(names_given[1:])]
            parts += [" ".join(name.get("prefix", ())), " ".join(name.get("suffix", ()))]
            return "^".join(parts).rstrip("^")
    return ""


def _of_request(study_instance_uid: str, order: Resource) -> RequestReference:
    numbers = {
        one["type"]["coding"][0]["code"]: (one["value"], fhir.issuer_of(one)) for one in order["identifier"]
    }
    accession, placer, filler = (numbers.get(kind, ("", Issuer())) for kind in ("ACSN", "PLAC", "FILL"))
    code = order.get("code", {})
    return RequestReference(
        study_instance_uid=study_instance_uid,
        accession_number=accession[0],
        accession_issuer=accession[1],
        placer_order_number=placer[0],
        placer_issuer=placer[1],
        filler_order_number=filler[0],
        filler_issuer=filler[1],
        requested_procedure_description=code.get("text", ""),
        requested_procedure_codes=tuple(map(fhir.code_of, code.get("coding", ()))),
    )


def _of_series(series: Resource) -> SeriesHeader:
    date, time, _ = fhir.of_moment(series.get("started", ""))
    site = series.get("bodySite", {})
    return SeriesHeader(
        series_instance_uid=series["uid"],
        description=series.get("description", ""),
        date=date,
        time=time,
        regions=(fhir.code_of(site),) if "code" in site else (),
        body_parts=(site["display"],) if site and "code" not in site else (),
    )


def _note(one: Resource) -> Iterator[KeyObjectHeader]:
    for extension in fhir.extended(one, "MadoKeyObjectDocumentTitle"):
        yield KeyObjectHeader(
            sop_instance_uid=one["uid"],
            title=fhir.code_of(extension["valueCodeableConcept"]["coding"][0]),
            description=one.get("title", ""),
        )


def _instances(header: StudyHeader, study: Resource) -> Iterator[Instance]:
    for series in study["series"]:
        for one in series["instance"]:
            frames = fhir.extended(one, "MadoNumberOfFrames")
            yield described_instance(
                header,
                series["uid"],
                sop_class_uid=one["sopClass"]["code"].removeprefix(fhir.OID),
                sop_instance_uid=one["uid"],
                modality=series["modality"]["code"],
                series_number=series.get("number"),
                instance_number=one.get("number"),
                number_of_frames=int(frames[0]["valueInteger"]) if frames else 1,
            )


# --- moments -----------------------------------------------------------------------------------------


def _offset(header: StudyHeader) -> timedelta:
    return utc_offset(header, UTC)


def _moment(header: StudyHeader) -> str:
    return fhir.date_time(header.study_date, header.study_time, _offset(header))

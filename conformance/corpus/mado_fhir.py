"""MADO 1.0.0 manifests as FHIR Bundles, DocumentReferences, and what can be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from conformance.corpus.example import Example, mutated

KIND: Final = "fhir"
_ROOT: Final = "https://profiles.ihe.net/RAD/MADO/"
_PROFILE: Final = f"{_ROOT}StructureDefinition/"
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_V2: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_UID: Final = "urn:oid:2.25.1001"
Resource = dict[str, Any]


def _url(number: int) -> str:
    return f"urn:uuid:20000000-0000-4000-8000-00000000000{number}"


def _to(number: int) -> Resource:
    return {"reference": _url(number)}


def _concept(system: str, *codes: str, text: str = "") -> Resource:
    concept: Resource = {"coding": [{"system": system, "code": code} for code in codes]}
    return concept | ({"text": text} if text else {})


def _accession() -> Resource:
    return {
        "type": {"coding": [{"system": _V2, "code": "ACSN"}, {"system": _DCM, "code": "121022"}]},
        "system": "urn:oid:1.2.3.4",
        "value": "A123",
    }


def bundle() -> Resource:
    """A manifest of two series, with a key image note."""
    return {
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": _UID},
        "type": "document",
        "timestamp": "2026-03-01T10:15:00+01:00",
        "entry": [
            {"fullUrl": _url(number), "resource": resource}
            for number, resource in enumerate(
                (
                    _composition(),
                    _study(),
                    _patient(),
                    _device(),
                    _organization(),
                    _endpoint(),
                    _viewer(),
                    _order(),
                )
            )
        ],
    }


def _composition() -> Resource:
    narrative = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">CT</div>'}
    return {
        "resourceType": "Composition",
        "text": narrative,
        "identifier": {"system": "urn:ietf:rfc:3986", "value": _UID},
        "status": "final",
        "type": _concept("http://loinc.org", "18748-4"),
        "subject": _to(2),
        "date": "2026-03-01T10:15:00+01:00",
        "author": [_to(3), _to(4)],
        "title": "CT of the chest",
        "event": [{"detail": [_to(1)]}],
        "section": [{"title": "Series 1", "text": narrative}],
    }


def _instance(uid: str, sop_class: str) -> Resource:
    return {
        "uid": uid,
        "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"},
        "number": 1,
    }


def _study() -> Resource:
    note = _instance("2.25.5021", "1.2.840.10008.5.1.4.1.1.88.59") | {
        "extension": [
            {
                "url": f"{_PROFILE}MadoKeyObjectDocumentTitle",
                "valueCodeableConcept": _concept(_DCM, "113000"),
            }
        ]
    }
    image = _instance("2.25.5011", "1.2.840.10008.5.1.4.1.1.2") | {
        "extension": [{"url": f"{_PROFILE}MadoNumberOfFrames", "valueInteger": 1}]
    }
    return {
        "resourceType": "ImagingStudy",
        "extension": [
            {
                "url": f"{_PROFILE}MadoAnatomicalRegionExtension",
                "valueCodeableConcept": _concept("http://snomed.info/sct", "80891009"),
            }
        ],
        "identifier": [
            {"type": _concept(_DCM, "110180"), "system": "urn:dicom:uid", "value": "urn:oid:2.25.500"}
        ],
        "status": "available",
        "modality": [{"system": _DCM, "code": "CT"}, {"system": _DCM, "code": "KO"}],
        "subject": _to(2),
        "started": "2026-02-28T09:30:00+01:00",
        "basedOn": [{"identifier": _accession()}],
        "endpoint": [_to(6)],
        "numberOfSeries": 2,
        "procedureCode": [{"text": "CT of the chest"}],
        "series": [
            {
                "uid": f"2.25.50{number}",
                "modality": {"system": _DCM, "code": modality},
                "numberOfInstances": 1,
                "endpoint": [_to(5)],
                "instance": [instance],
            }
            for number, modality, instance in ((1, "CT", image), (2, "KO", note))
        ],
    }


def _patient() -> Resource:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3.9", "value": "P1"}]}


def _device() -> Resource:
    return {
        "resourceType": "Device",
        "type": _concept(f"{_ROOT}CodeSystem/MadoDeviceType", "mado-creator"),
        "manufacturer": "Example Maker",
    }


def _organization() -> Resource:
    return {"resourceType": "Organization", "name": "Example Hospital"}


def _payload(text: str) -> Resource:
    return _concept("http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "none", text=text)


def _endpoint() -> Resource:
    return {
        "resourceType": "Endpoint",
        "extension": [{"url": f"{_PROFILE}MadoRetrieveLocationUIDExtension", "valueString": "1.2.3.77"}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "dicom-wado-rs",
        },
        "payloadType": [_payload("DICOM WADO-RS")],
        "address": "https://pacs.example.org/dicom-web",
    }


def _viewer() -> Resource:
    return {
        "resourceType": "Endpoint",
        "status": "active",
        "connectionType": {
            "system": f"{_ROOT}CodeSystem/MadoEndpointConnectionTypes",
            "code": "web-viewer",
        },
        "payloadType": [_payload("viewer")],
        "payloadMimeType": ["text/html"],
        "address": "https://viewer.example.org/?study=2.25.500",
    }


def _order() -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "identifier": [_accession()],
        "status": "completed",
        "intent": "order",
        "subject": _to(2),
    }


def document_reference(kos: bool = False) -> Resource:
    """The reference to a manifest."""
    identifier = {"system": "urn:ietf:rfc:3986", "value": _UID}
    content: Resource = {
        "attachment": {
            "contentType": "application/dicom" if kos else "application/fhir+json",
            "language": "en",
            "creation": "2026-03-01T09:15:00Z",
        },
        "format": {
            "system": "http://dicom.nema.org/resources/ontology/DCMUID",
            "code": "1.2.840.10008.5.1.4.1.1.88.59",
            "display": "Key Object Selection Document",
        },
    }
    if not kos:
        content["format"] = {
            "system": "http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode",
            "code": "urn:ihe:rad:MADO:fhir-manifest:2026",
        }
        content["extension"] = [
            {
                "url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-DocumentReference.content.profile",
                "extension": [{"url": "value", "valueCanonical": f"{_PROFILE}MadoFhirBundle"}],
            }
        ]
    return {
        "resourceType": "DocumentReference",
        "extension": [
            {
                "url": f"{_PROFILE}ext-R5-DocumentReference.modality",
                "valueCodeableConcept": _concept(_DCM, "CT"),
            }
        ],
        "masterIdentifier": identifier,
        "identifier": [dict(identifier)],
        "status": "current",
        "type": _concept("http://loinc.org", "18748-4"),
        "category": [_concept("http://loinc.org", "18748-4")],
        "subject": {"reference": "Patient/1"},
        "content": [content],
        "context": {
            "facilityType": _concept("http://snomed.info/sct", "79491001"),
            "practiceSetting": _concept("http://snomed.info/sct", "394914008"),
            "period": {"start": "2026-02-28T08:30:00Z"},
            "related": [
                {
                    "identifier": {
                        "type": _concept(_DCM, "110180"),
                        "system": "urn:dicom:uid",
                        "value": "urn:oid:2.25.500",
                    }
                }
            ],
        },
    }


# --- what is done to them ----------------------------------------------------------------------------

Change = Callable[[Resource], object]


def _at(root: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        root = root[step]
    return root


def put(value: object, *path: str | int) -> Change:
    """Give a member another value."""
    return lambda root: _at(root, path[:-1]).__setitem__(path[-1], value)


def drop(*path: str | int) -> Change:
    """Take a member away."""
    return lambda root: _at(root, path[:-1]).__delitem__(path[-1])


def _in(number: int, *path: str | int) -> tuple[str | int, ...]:
    return ("entry", number, "resource", *path)


_COMPOSITION, _STUDY, _PATIENT, _DEVICE, _ORGANIZATION, _WADO, _VIEWER, _ORDER = range(8)
_SERIES: Final = _in(_STUDY, "series", 0)
_IMAGE: Final = (*_SERIES, "instance", 0)
_ABSENT_STATUS: Final = {"status": "empty", "div": ""}

MUTATIONS: Final[dict[str, tuple[str, Change]]] = {
    "no type": ("MADO-FHIR-001", drop("type")),
    "no identifier": ("MADO-FHIR-002", drop("identifier")),
    "an identifier that is no OID": ("MADO-FHIR-002", put("manifest-1", "identifier", "value")),
    "a timestamp without zone": ("MADO-FHIR-003", put("2026-03-01T10:15:00", "timestamp")),
    "a total": ("MADO-FHIR-004", put(8, "total")),
    "the Composition not first": ("MADO-FHIR-005", lambda root: root["entry"].append(root["entry"].pop(0))),
    "a fullUrl of a strange form": ("MADO-FHIR-006", put("urn:Device/1", "entry", 3, "fullUrl")),
    "a reference to nothing": ("MADO-FHIR-007", put(_url(9), *_SERIES, "endpoint", 0, "reference")),
    "no Composition": ("MADO-FHIR-010", drop("entry", 0)),
    "an empty narrative": ("MADO-FHIR-011", put(_ABSENT_STATUS, *_in(_COMPOSITION, "text"))),
    "a preliminary Composition": ("MADO-FHIR-012", put("preliminary", *_in(_COMPOSITION, "status"))),
    "a Composition of another type": (
        "MADO-FHIR-013",
        put("11502-2", *_in(_COMPOSITION, "type", "coding", 0, "code")),
    ),
    "a Composition of nobody": ("MADO-FHIR-014", drop(*_in(_COMPOSITION, "subject"))),
    "no date": ("MADO-FHIR-015", drop(*_in(_COMPOSITION, "date"))),
    "no title": ("MADO-FHIR-016", drop(*_in(_COMPOSITION, "title"))),
    "no event": ("MADO-FHIR-017", drop(*_in(_COMPOSITION, "event"))),
    "a section without narrative": ("MADO-FHIR-018", drop(*_in(_COMPOSITION, "section", 0, "text"))),
    "two ImagingStudies": ("MADO-FHIR-020", lambda root: root["entry"].append(dict(root["entry"][1]))),
    "no study identifier": ("MADO-FHIR-021", put([], *_in(_STUDY, "identifier"))),
    "a study identifier of another system": (
        "MADO-FHIR-022",
        put("urn:ietf:rfc:3986", *_in(_STUDY, "identifier", 0, "system")),
    ),
    "a study UID without urn:oid:": (
        "MADO-FHIR-023",
        put("2.25.500", *_in(_STUDY, "identifier", 0, "value")),
    ),
    "a study that is registered": ("MADO-FHIR-024", put("registered", *_in(_STUDY, "status"))),
    "a study of nobody": ("MADO-FHIR-025", drop(*_in(_STUDY, "subject"))),
    "no number of series": ("MADO-FHIR-026", drop(*_in(_STUDY, "numberOfSeries"))),
    "a wrong number of series": ("MADO-FHIR-027", put(3, *_in(_STUDY, "numberOfSeries"))),
    "no procedure": ("MADO-FHIR-028", drop(*_in(_STUDY, "procedureCode"))),
    "a procedure without text": (
        "MADO-FHIR-028",
        put([_concept("urn:x", "1")], *_in(_STUDY, "procedureCode")),
    ),
    "a region without code": (
        "MADO-FHIR-029",
        put({"text": "chest"}, *_in(_STUDY, "extension", 0, "valueCodeableConcept")),
    ),
    "an unknown modality": ("MADO-FHIR-030", put("CAT", *_in(_STUDY, "modality", 0, "code"))),
    "a series without modality": ("MADO-FHIR-030", drop(*_SERIES, "modality")),
    "a region out of the value set": (
        "MADO-FHIR-031",
        put("39607008", *_in(_STUDY, "extension", 0, "valueCodeableConcept", "coding", 0, "code")),
    ),
    "an accession number without DCM": (
        "MADO-FHIR-032",
        drop(*_in(_STUDY, "basedOn", 0, "identifier", "type", "coding", 1)),
    ),
    "an accession number without issuer": ("MADO-FHIR-033", drop(*_in(_ORDER, "identifier", 0, "system"))),
    "a series with urn:oid:": ("MADO-FHIR-034", put("urn:oid:2.25.501", *_SERIES, "uid")),
    "no number of instances": ("MADO-FHIR-035", drop(*_SERIES, "numberOfInstances")),
    "a wrong number of instances": ("MADO-FHIR-036", put(2, *_SERIES, "numberOfInstances")),
    "a series without endpoint": ("MADO-FHIR-037", drop(*_SERIES, "endpoint")),
    "a series with the viewer alone": ("MADO-FHIR-037", put([_to(6)], *_SERIES, "endpoint")),
    "a series without instance": ("MADO-FHIR-038", put([], *_SERIES, "instance")),
    "an instance without UID": ("MADO-FHIR-039", drop(*_IMAGE, "uid")),
    "an instance without class": ("MADO-FHIR-040", drop(*_IMAGE, "sopClass")),
    "a number of frames as text": ("MADO-FHIR-041", put("1", *_IMAGE, "extension", 0, "valueInteger")),
    "an unknown title": (
        "MADO-FHIR-042",
        put(
            "999999",
            *_in(
                _STUDY,
                "series",
                1,
                "instance",
                0,
                "extension",
                0,
                "valueCodeableConcept",
                "coding",
                0,
                "code",
            ),
        ),
    ),
    "the title of an image": (
        "MADO-FHIR-043",
        put(
            "urn:oid:1.2.840.10008.5.1.4.1.1.2", *_in(_STUDY, "series", 1, "instance", 0, "sopClass", "code")
        ),
    ),
    "one instance in two series": ("MADO-FHIR-044", put("2.25.5021", *_IMAGE, "uid")),
    "no Device": ("MADO-FHIR-050", drop("entry", _DEVICE)),
    "a Device of another type": ("MADO-FHIR-051", put("viewer", *_in(_DEVICE, "type", "coding", 0, "code"))),
    "a Device without manufacturer": ("MADO-FHIR-052", drop(*_in(_DEVICE, "manufacturer"))),
    "an Organization without name": ("MADO-FHIR-053", drop(*_in(_ORGANIZATION, "name"))),
    "an order without accession number": ("MADO-FHIR-054", put([], *_in(_ORDER, "identifier"))),
    "an order that is a plan": ("MADO-FHIR-055", put("plan", *_in(_ORDER, "intent"))),
    "a Patient without identifier": ("MADO-FHIR-056", drop(*_in(_PATIENT, "identifier"))),
    "no Endpoint of WADO-RS": ("MADO-FHIR-060", drop("entry", _WADO)),
    "an Endpoint of another type": (
        "MADO-FHIR-061",
        put("dicom-qido-rs", *_in(_VIEWER, "connectionType", "code")),
    ),
    "an Endpoint without address": ("MADO-FHIR-062", drop(*_in(_VIEWER, "address"))),
    "a payload that is coded otherwise": ("MADO-FHIR-063", put([], *_in(_VIEWER, "payloadType"))),
    "no Retrieve Location UID": ("MADO-FHIR-064", drop(*_in(_WADO, "extension"))),
    "an Endpoint that is off": ("MADO-FHIR-065", put("off", *_in(_WADO, "status"))),
    "an address of a study": (
        "MADO-FHIR-066",
        put("https://pacs.example.org/dicom-web/studies/2.25.500", *_in(_WADO, "address")),
    ),
    "a payload without text": ("MADO-FHIR-067", drop(*_in(_WADO, "payloadType", 0, "text"))),
    "an address that is not known": ("MADO-FHIR-068", put("http://notspecified", *_in(_WADO, "address"))),
    "another identifier of the Composition": (
        "MADO-FHIR-070",
        put("urn:oid:2.25.1002", *_in(_COMPOSITION, "identifier", "value")),
    ),
    "no author that is a Device": ("MADO-FHIR-071", put([_to(4)], *_in(_COMPOSITION, "author"))),
    "an event of the Patient": ("MADO-FHIR-072", put([_to(2)], *_in(_COMPOSITION, "event", 0, "detail"))),
    "WADO-RS at the study": ("MADO-FHIR-073", put([_to(5)], *_in(_STUDY, "endpoint"))),
}

REFERENCES: Final[dict[str, tuple[str, Change]]] = {
    "no masterIdentifier": ("MADO-FHIR-080", drop("masterIdentifier")),
    "a masterIdentifier that is not repeated": ("MADO-FHIR-081", put([], "identifier")),
    "no category": ("MADO-FHIR-082", drop("category")),
    "no modality": ("MADO-FHIR-083", drop("extension")),
    "no language": ("MADO-FHIR-084", drop("content", 0, "attachment", "language")),
    "another format": ("MADO-FHIR-085", put("urn:ihe:rad:TEXT", "content", 0, "format", "code")),
    "XML": ("MADO-FHIR-087", put("application/fhir+xml", "content", 0, "attachment", "contentType")),
    "no profile": ("MADO-FHIR-088", drop("content", 0, "extension")),
    "no practiceSetting": ("MADO-FHIR-089", drop("context", "practiceSetting")),
    "no period": ("MADO-FHIR-090", drop("context", "period")),
    "no study": ("MADO-FHIR-091", put([], "context", "related")),
}


def _encode(resource: Resource) -> bytes:
    return json.dumps(resource, indent=1).encode()


def examples() -> Iterator[Example]:
    """Good and broken Bundles and references."""
    yield from mutated(KIND, "MADO Bundle", bundle(), _encode, MUTATIONS)
    yield from mutated(KIND, "DocumentReference", document_reference(), _encode, REFERENCES)
    kos: dict[str, tuple[str, Change]] = {
        "another display": ("MADO-FHIR-086", put("Manifest", "content", 0, "format", "display"))
    }
    yield from mutated(KIND, "DocumentReference of a KOS", document_reference(kos=True), _encode, kos)
    yield Example("FHIR: no JSON", KIND, b'{"resourceType": "Bundle",', "FHIR-001")
    yield Example("FHIR: a Patient", KIND, b'{"resourceType": "Patient"}', "FHIR-002")

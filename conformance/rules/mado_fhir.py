"""MADO 1.0.0 manifests as FHIR document Bundles, and the DocumentReferences that point at manifests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from conformance.codes import KEY_OBJECT_SELECTION, MODALITIES, REGIONS, TITLES
from conformance.findings import Finding
from conformance.readers.json import Node
from conformance.requirements import finding
from conformance.rules.dicom import UID

_ROOT: Final = "https://profiles.ihe.net/RAD/MADO/"
_PROFILE: Final = f"{_ROOT}StructureDefinition/"
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_LOINC: Final = "http://loinc.org"
_SNOMED: Final = "http://snomed.info/sct"
_V2: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
_ENDPOINT: Final = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
_PAYLOAD: Final = "http://terminology.hl7.org/CodeSystem/endpoint-payload-type"
_FORMAT: Final = "http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode"
_UIDS: Final = "http://dicom.nema.org/resources/ontology/DCMUID"
_FHIR_FORMAT: Final = "urn:ihe:rad:MADO:fhir-manifest:2026"
_NOT_SPECIFIED: Final = "http://notspecified"
_CONTENT_PROFILE: Final = (
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-DocumentReference.content.profile"
)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_DATE_TIME: Final = re.compile(
    r"\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))?)?)?\Z", re.ASCII
)
_FULL_URL: Final = re.compile(
    r"(?:https?://\S+|urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|urn:oid:[\d.]+)\Z"
)


def bundle(root: Node) -> Iterator[Finding]:
    """A MadoFhirBundle."""
    if root.text("type") != "document":
        yield finding("MADO-FHIR-001", f"{root.path}.type", "another type", root.text("type"))
    uid = _uid(root.child("identifier").text("value"))
    if not uid:
        value = root.child("identifier").text("value")
        yield finding("MADO-FHIR-002", f"{root.path}.identifier", "absent, or no OID", value)
    if not _INSTANT.match(root.text("timestamp")):
        yield finding(
            "MADO-FHIR-003", f"{root.path}.timestamp", "absent, or no instant", root.text("timestamp")
        )
    if "total" in root:
        yield finding("MADO-FHIR-004", f"{root.path}.total", "present")
    entries = root.children("entry")
    resources = [Node(one.child("resource").value, f"{one.path}.resource") for one in entries]
    yield from _entries(root, entries, resources)
    by_type: dict[str, list[Node]] = {}
    for one in resources:
        by_type.setdefault(one.text("resourceType"), []).append(one)
    for name, most, id in (
        ("Composition", 1, "MADO-FHIR-010"),
        ("ImagingStudy", 1, "MADO-FHIR-020"),
        ("Device", 1, "MADO-FHIR-050"),
    ):
        if len(by_type.get(name, ())) != most:
            yield finding(id, f"{root.path}.entry", f"{len(by_type.get(name, ()))} times {name}")
    for name, rule in _RULES.items():
        for one in by_type.get(name, ()):
            yield from rule(one)
    yield from _endpoints(root, by_type.get("Endpoint", []))
    yield from _together(root, by_type)


def _uid(text: str) -> str:
    """The UID of an identifier, with or without urn:oid:; empty when it is none."""
    bare = text.removeprefix("urn:oid:")
    return bare if UID.match(bare) else ""


def _entries(root: Node, entries: tuple[Node, ...], resources: list[Node]) -> Iterator[Finding]:
    if resources and resources[0].text("resourceType") != "Composition":
        value = resources[0].text("resourceType")
        yield finding("MADO-FHIR-005", f"{root.path}.entry[0]", "not the Composition", value)
    urls: Counter[str] = Counter()
    for one in entries:
        url = one.text("fullUrl")
        urls[url] += 1
        if not _FULL_URL.match(url):
            yield finding("MADO-FHIR-006", f"{one.path}.fullUrl", "no absolute URL and no urn:uuid:", url)
    for url, times in urls.items():
        if times > 1:
            yield finding("MADO-FHIR-006", f"{root.path}.entry.fullUrl", f"{times} entries of one URL", url)
    known_urls = set(urls) | {
        f"{one.text('resourceType')}/{one.text('id')}" for one in resources if one.text("id")
    }
    for one in resources:
        for reference in _references(one):
            if reference.text("reference") not in known_urls:
                at = f"{reference.path}.reference"
                yield finding("MADO-FHIR-007", at, "no entry of the Bundle", reference.text("reference"))


def _references(node: Node) -> Iterator[Node]:
    if isinstance(node.value, dict):
        if node.text("reference") and not node.text("reference").startswith("#"):
            yield node
        for name in node.value:
            for child in node.children(name):
                yield from _references(child)


def _codings(concept: Node) -> list[tuple[str, str]]:
    return [(one.text("system"), one.text("code")) for one in concept.children("coding")]


def _extensions(node: Node, name: str) -> list[Node]:
    return [one for one in node.children("extension") if one.text("url") == f"{_PROFILE}{name}"]


# --- resources ---------------------------------------------------------------------------------------


def _composition(one: Node) -> Iterator[Finding]:
    narrative = one.child("text")
    if narrative.text("status") in ("", "empty") or not narrative.text("div"):
        at = f"{narrative.path}.status"
        yield finding("MADO-FHIR-011", at, "absent, or empty", narrative.text("status"))
    if one.text("status") != "final":
        yield finding("MADO-FHIR-012", f"{one.path}.status", "not final", one.text("status"))
    if (_LOINC, "18748-4") not in _codings(one.child("type")):
        yield finding("MADO-FHIR-013", f"{one.path}.type", "another type", str(_codings(one.child("type"))))
    if not one.child("subject").text("reference"):
        yield finding("MADO-FHIR-014", f"{one.path}.subject", "no reference to a Patient")
    if not _DATE_TIME.match(one.text("date")):
        yield finding("MADO-FHIR-015", f"{one.path}.date", "absent, or no date", one.text("date"))
    if not one.text("title"):
        yield finding("MADO-FHIR-016", f"{one.path}.title", "absent")
    if not one.children("event"):
        yield finding("MADO-FHIR-017", f"{one.path}.event", "no event with the ImagingStudy")
    for section in one.children("section"):
        if section.child("text").text("status") in ("", "empty"):
            yield finding("MADO-FHIR-018", f"{section.path}.text", "no narrative")


def _imaging_study(one: Node) -> Iterator[Finding]:
    identifiers = [
        each for each in one.children("identifier") if (_DCM, "110180") in _codings(each.child("type"))
    ]
    at = f"{one.path}.identifier"
    if len(identifiers) != 1:
        yield finding("MADO-FHIR-021", at, f"{len(identifiers)} Study Instance UIDs (110180, DCM)")
    for each in identifiers:
        if each.text("system") != "urn:dicom:uid":
            yield finding("MADO-FHIR-022", f"{each.path}.system", "not urn:dicom:uid", each.text("system"))
        if not each.text("value").startswith("urn:oid:") or not _uid(each.text("value")):
            yield finding("MADO-FHIR-023", f"{each.path}.value", "no urn:oid: with a UID", each.text("value"))
    if one.text("status") != "available":
        yield finding("MADO-FHIR-024", f"{one.path}.status", "not available", one.text("status"))
    if not one.child("subject").value:
        yield finding("MADO-FHIR-025", f"{one.path}.subject", "absent")
    if one.number("numberOfSeries") is None:
        yield finding("MADO-FHIR-026", f"{one.path}.numberOfSeries", "absent, or no number")
    elif one.number("numberOfSeries") != len(one.children("series")):
        right = str(len(one.children("series")))
        value = one.number("numberOfSeries")
        yield finding("MADO-FHIR-027", f"{one.path}.numberOfSeries", "not the number", value, right=right)
    if not any(
        each.text("text") or any(coding.text("display") for coding in each.children("coding"))
        for each in one.children("procedureCode")
    ):
        yield finding("MADO-FHIR-028", f"{one.path}.procedureCode", "none with a text or a display")
    for each in one.children("basedOn"):
        if (each.child("identifier")).value is not None:
            yield from _accession(each.child("identifier"))
    yield from _regions(one)
    for each in one.children("modality"):
        if each.text("system") != _DCM or each.text("code") not in MODALITIES:
            yield finding("MADO-FHIR-030", each.path, "no modality of DCM", each.text("code"))
    for series in one.children("series"):
        yield from _series(series)
    yield from _unique(one)


def _regions(study: Node) -> Iterator[Finding]:
    for extension in _extensions(study, "MadoAnatomicalRegionExtension"):
        concept = extension.child("valueCodeableConcept")
        codings = _codings(concept)
        if not codings:
            yield finding("MADO-FHIR-029", extension.path, "no coded region")
        elif not any(system == _SNOMED and code in REGIONS for system, code in codings):
            yield finding("MADO-FHIR-031", concept.path, "no region of the value set", str(codings[0]))


def _accession(identifier: Node) -> Iterator[Finding]:
    codings = _codings(identifier.child("type"))
    if (_V2, "ACSN") not in codings or (_DCM, "121022") not in codings:
        yield finding("MADO-FHIR-032", f"{identifier.path}.type", "not ACSN and 121022", str(codings))
    for name in ("system", "value"):
        if not identifier.text(name):
            yield finding("MADO-FHIR-033", f"{identifier.path}.{name}", "absent")


def _series(series: Node) -> Iterator[Finding]:
    if not UID.match(series.text("uid")):
        yield finding("MADO-FHIR-034", f"{series.path}.uid", "absent, or no bare UID", series.text("uid"))
    modality = series.child("modality")
    if modality.text("system") != _DCM or modality.text("code") not in MODALITIES:
        yield finding("MADO-FHIR-030", modality.path, "absent, or no modality of DCM", modality.text("code"))
    instances = series.children("instance")
    stated = series.number("numberOfInstances")
    if stated is None:
        yield finding("MADO-FHIR-035", f"{series.path}.numberOfInstances", "absent, or no number")
    elif stated != len(instances):
        at = f"{series.path}.numberOfInstances"
        yield finding("MADO-FHIR-036", at, "not the number", stated, right=str(len(instances)))
    if not series.children("endpoint"):
        yield finding("MADO-FHIR-037", f"{series.path}.endpoint", "no Endpoint of WADO-RS")
    if not instances:
        yield finding("MADO-FHIR-038", f"{series.path}.instance", "no instance")
    for instance in instances:
        yield from _instance(instance)


def _instance(instance: Node) -> Iterator[Finding]:
    if not UID.match(instance.text("uid")):
        yield finding("MADO-FHIR-039", f"{instance.path}.uid", "absent, or no bare UID", instance.text("uid"))
    sop_class = _uid(instance.child("sopClass").text("code"))
    if not sop_class:
        at = f"{instance.path}.sopClass.code"
        yield finding("MADO-FHIR-040", at, "absent, or no UID", instance.child("sopClass").text("code"))
    for extension in _extensions(instance, "MadoNumberOfFrames"):
        if (extension.number("valueInteger") or 0) < 1:
            yield finding("MADO-FHIR-041", f"{extension.path}.valueInteger", "no number of frames")
    titles = _extensions(instance, "MadoKeyObjectDocumentTitle")
    for extension in titles:
        codings = _codings(extension.child("valueCodeableConcept"))
        if not any(system == _DCM and code in TITLES for system, code in codings):
            yield finding("MADO-FHIR-042", extension.path, "no title of CID 7010", str(codings))
    if titles and sop_class and sop_class != KEY_OBJECT_SELECTION:
        yield finding("MADO-FHIR-043", titles[0].path, "the title of something else than a KOS", sop_class)


def _unique(study: Node) -> Iterator[Finding]:
    series = Counter(one.text("uid") for one in study.children("series"))
    instances = Counter(
        each.text("uid") for one in study.children("series") for each in one.children("instance")
    )
    for uid, times in (*series.items(), *instances.items()):
        if uid and times > 1:
            yield finding("MADO-FHIR-044", f"{study.path}.series", f"one UID {times} times", uid)


def _device(one: Node) -> Iterator[Finding]:
    codings = _codings(one.child("type"))
    if codings != [(f"{_ROOT}CodeSystem/MadoDeviceType", "mado-creator")]:
        yield finding("MADO-FHIR-051", f"{one.path}.type", "not mado-creator alone", str(codings))
    if not one.text("manufacturer"):
        yield finding("MADO-FHIR-052", f"{one.path}.manufacturer", "absent")


def _organization(one: Node) -> Iterator[Finding]:
    if not one.text("name"):
        yield finding("MADO-FHIR-053", f"{one.path}.name", "absent")


def _service_request(one: Node) -> Iterator[Finding]:
    identifiers = [
        each for each in one.children("identifier") if (_V2, "ACSN") in _codings(each.child("type"))
    ]
    if len(identifiers) != 1:
        yield finding("MADO-FHIR-054", f"{one.path}.identifier", f"{len(identifiers)} accession numbers")
    for each in identifiers:
        yield from _accession(each)
    if one.text("intent") != "order" or not one.text("status"):
        yield finding("MADO-FHIR-055", f"{one.path}.intent", "not order, or no status", one.text("intent"))


def _patient(one: Node) -> Iterator[Finding]:
    if not one.children("identifier"):
        yield finding("MADO-FHIR-056", f"{one.path}.identifier", "absent")


_RULES: Final = {
    "Composition": _composition,
    "ImagingStudy": _imaging_study,
    "Device": _device,
    "Organization": _organization,
    "ServiceRequest": _service_request,
    "Patient": _patient,
}


def _endpoints(root: Node, endpoints: list[Node]) -> Iterator[Finding]:
    wado = [one for one in endpoints if one.child("connectionType").text("code") == "dicom-wado-rs"]
    if not wado:
        yield finding("MADO-FHIR-060", f"{root.path}.entry", "no Endpoint of dicom-wado-rs")
    for one in endpoints:
        connection = one.child("connectionType")
        pair = connection.text("system"), connection.text("code")
        if pair not in (
            (_ENDPOINT, "dicom-wado-rs"),
            (f"{_ROOT}CodeSystem/MadoEndpointConnectionTypes", "web-viewer"),
        ):
            yield finding(
                "MADO-FHIR-061", connection.path, "neither dicom-wado-rs nor web-viewer", " ".join(pair)
            )
        if not one.text("address").startswith(("http://", "https://")):
            yield finding("MADO-FHIR-062", f"{one.path}.address", "absent, or no URL", one.text("address"))
        payloads = [pair for each in one.children("payloadType") for pair in _codings(each)]
        if (_PAYLOAD, "none") not in payloads:
            yield finding("MADO-FHIR-063", f"{one.path}.payloadType", "no coding none", str(payloads))
    for one in wado:
        locations = _extensions(one, "MadoRetrieveLocationUIDExtension")
        if len(locations) != 1 or not _uid(locations[0].text("valueString")):
            yield finding("MADO-FHIR-064", f"{one.path}.extension", "no Retrieve Location UID")
        if one.text("status") != "active":
            yield finding("MADO-FHIR-065", f"{one.path}.status", "not active", one.text("status"))
        if "/studies" in one.text("address"):
            base = one.text("address").partition("/studies")[0]
            wrong = "the URL of a resource, not the base"
            yield finding("MADO-FHIR-066", f"{one.path}.address", wrong, one.text("address"), right=base)
        if not any(each.text("text") == "DICOM WADO-RS" for each in one.children("payloadType")):
            yield finding("MADO-FHIR-067", f"{one.path}.payloadType.text", "not DICOM WADO-RS")
        if one.text("address") == _NOT_SPECIFIED and "_address" not in one:
            yield finding("MADO-FHIR-068", f"{one.path}._address", "no data-absent-reason")


def _together(root: Node, by_type: dict[str, list[Node]]) -> Iterator[Finding]:
    """What several resources say, they say alike."""
    types = {
        entry.text("fullUrl"): entry.child("resource").text("resourceType")
        for entry in root.children("entry")
    }
    types |= {f"{name}/{one.text('id')}": name for name, listed in by_type.items() for one in listed}
    for one in by_type.get("Composition", []):
        stated = one.child("identifier").text("value").removeprefix("urn:oid:")
        if stated != root.child("identifier").text("value").removeprefix("urn:oid:"):
            at = f"{one.path}.identifier"
            wrong = "not the identifier of the Bundle"
            yield finding("MADO-FHIR-070", at, wrong, one.child("identifier").text("value"))
        authors = [types.get(each.text("reference"), "") for each in one.children("author")]
        for name in ("Organization", "Device"):
            if authors.count(name) != 1:
                yield finding("MADO-FHIR-071", f"{one.path}.author", f"{authors.count(name)} times {name}")
        details = [
            types.get(each.text("reference"), "")
            for event in one.children("event")
            for each in event.children("detail")
        ]
        if one.children("event") and details.count("ImagingStudy") != 1:
            yield finding("MADO-FHIR-072", f"{one.path}.event.detail", "no reference to the ImagingStudy")
    connections = {
        entry.text("fullUrl"): entry.child("resource").child("connectionType").text("code")
        for entry in root.children("entry")
    }
    connections |= {
        f"Endpoint/{one.text('id')}": one.child("connectionType").text("code")
        for one in by_type.get("Endpoint", [])
    }
    for study in by_type.get("ImagingStudy", []):
        for each in study.children("endpoint"):
            if connections.get(each.text("reference")) == "dicom-wado-rs":
                yield finding("MADO-FHIR-073", each.path, "WADO-RS at the study", each.text("reference"))
        for series in study.children("series"):
            codes = {connections.get(each.text("reference")) for each in series.children("endpoint")}
            if series.children("endpoint") and "dicom-wado-rs" not in codes:
                yield finding("MADO-FHIR-037", f"{series.path}.endpoint", "no Endpoint of WADO-RS")


# --- DocumentReference -------------------------------------------------------------------------------


def document_reference(root: Node) -> Iterator[Finding]:
    """A MadoFhirDocumentReference or a MadoDicomKosDocumentReference, by its contentType."""
    master = root.child("masterIdentifier")
    pairs = [(each.text("system"), each.text("value")) for each in root.children("identifier")]
    if not _uid(master.text("value")):
        yield finding("MADO-FHIR-080", master.path, "absent, or no OID", master.text("value"))
    elif (master.text("system"), master.text("value")) not in pairs:
        yield finding("MADO-FHIR-081", f"{root.path}.identifier", "without the masterIdentifier")
    for name in ("type", "category", "subject"):
        if not root.children(name):
            yield finding("MADO-FHIR-082", f"{root.path}.{name}", "absent")
    modalities = [
        one for one in root.children("extension") if one.text("url").endswith("DocumentReference.modality")
    ]
    if not modalities:
        yield finding("MADO-FHIR-083", f"{root.path}.extension", "no modality")
    for content in root.children("content"):
        yield from _content(content)
    yield from _context(root)


def _content(content: Node) -> Iterator[Finding]:
    attachment, format = content.child("attachment"), content.child("format")
    for name in ("language", "creation"):
        if not attachment.text(name):
            yield finding("MADO-FHIR-084", f"{attachment.path}.{name}", "absent")
    media_type, pair = attachment.text("contentType"), (format.text("system"), format.text("code"))
    if media_type == "application/dicom":
        if pair != (_UIDS, KEY_OBJECT_SELECTION):
            yield finding("MADO-FHIR-085", format.path, "not that of a KOS", " ".join(pair))
        if format.text("display") != "Key Object Selection Document":
            yield finding("MADO-FHIR-086", f"{format.path}.display", "another", format.text("display"))
        return
    if media_type != "application/fhir+json":
        yield finding("MADO-FHIR-087", f"{attachment.path}.contentType", "another", media_type)
    if pair != (_FORMAT, _FHIR_FORMAT):
        yield finding("MADO-FHIR-085", format.path, "not that of a manifest in FHIR", " ".join(pair))
    profiles = [one for one in content.children("extension") if one.text("url") == _CONTENT_PROFILE]
    stated = {
        inner.text("valueCanonical") or inner.text("valueUri")
        for one in profiles
        for inner in one.children("extension")
    }
    if f"{_PROFILE}MadoFhirBundle" not in stated:
        yield finding("MADO-FHIR-088", f"{content.path}.extension", "no profile of the Bundle")


def _context(root: Node) -> Iterator[Finding]:
    context = root.child("context")
    for name in ("facilityType", "practiceSetting"):
        if not context.children(name):
            yield finding("MADO-FHIR-089", f"{context.path}.{name}", "absent")
    if not context.child("period").text("start"):
        yield finding("MADO-FHIR-090", f"{context.path}.period.start", "absent")
    studies = [
        one.child("identifier")
        for one in context.children("related")
        if (_DCM, "110180") in _codings(one.child("identifier").child("type"))
    ]
    if len(studies) != 1 or not _uid(studies[0].text("value")):
        yield finding("MADO-FHIR-091", f"{context.path}.related", f"{len(studies)} Study Instance UIDs")

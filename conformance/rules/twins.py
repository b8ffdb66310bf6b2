"""The two encodings of one MADO manifest say the same (RAD MADO 1.0.0, mapping of KOS and FHIR)."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.findings import Finding
from conformance.readers.json import Node
from conformance.requirements import finding
from conformance.rules.kos import Manifest


def _bare(uid: str) -> str:
    return uid.removeprefix("urn:oid:")


def resources(bundle: Node, name: str) -> list[Node]:
    """The resources of a type in a Bundle."""
    listed = (Node(one.child("resource").value, f"{one.path}.resource") for one in bundle.children("entry"))
    return [one for one in listed if one.text("resourceType") == name]


def study_of(bundle: Node) -> str:
    """The Study Instance UID of a Bundle, or empty."""
    for study in resources(bundle, "ImagingStudy"):
        for one in study.children("identifier"):
            if one.text("system") == "urn:dicom:uid":
                return _bare(one.text("value"))
    return ""


def twins(bundle: Node, manifest: Manifest) -> Iterator[Finding]:
    """A Bundle and a manifest of one study."""
    main = manifest.data_set
    uid, stated = main.text(0x00080018), _bare(bundle.child("identifier").text("value"))
    if stated != uid:
        at = f"{bundle.path}.identifier"
        yield finding("MADO-TWIN-001", at, "not the SOP Instance UID", stated, right=uid)
    in_manifest = {(one.series, one.sop_instance) for one in manifest.evidence}
    in_bundle: set[tuple[str, str]] = set()
    for study in resources(bundle, "ImagingStudy"):
        for series in study.children("series"):
            in_bundle |= {(series.text("uid"), one.text("uid")) for one in series.children("instance")}
        yield from _accession(study, main.text(0x00080050))
    for series_uid, instance in sorted(in_manifest ^ in_bundle):
        where = "Bundle" if (series_uid, instance) in in_manifest else "manifest"
        yield finding("MADO-TWIN-002", bundle.path, f"an instance that the {where} has not", instance)
    yield from _addresses(bundle, manifest)


def _accession(study: Node, accession: str) -> Iterator[Finding]:
    values = [one.child("identifier").text("value") for one in study.children("basedOn")]
    if accession and values and accession not in values:
        at = f"{study.path}.basedOn"
        yield finding("MADO-TWIN-003", at, "another accession number", " ".join(values), right=accession)


def _addresses(bundle: Node, manifest: Manifest) -> Iterator[Finding]:
    endpoints = [
        one
        for one in resources(bundle, "Endpoint")
        if one.child("connectionType").text("code") == "dicom-wado-rs"
    ]
    locations = {
        _bare(extension.text("valueString")) for one in endpoints for extension in one.children("extension")
    }
    addresses = {one.text("address").rstrip("/") for one in endpoints}
    for _, series in manifest.series_items:
        location, url = series.text(0x0040E011), series.text(0x00081190).partition("/studies")[0].rstrip("/")
        if location and location not in locations:
            at = series.place(0x0040E011)
            yield finding("MADO-TWIN-004", at, "no Endpoint of this Retrieve Location UID", location)
        if url and url not in addresses:
            at = series.place(0x00081190)
            yield finding("MADO-TWIN-005", at, "no Endpoint of this address", url)

"""Manifests that an imaging source publishes (RAD-68): what is registered, what the manifest says, and whether what
it names can be had. By MADO 1.0.0 it describes it, too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from lxml import etree

from conformance.codes import KEY_OBJECT_SELECTION
from conformance.envelopes import NAMES, Element
from conformance.findings import Finding, Severity
from conformance.instances import EXPLICIT, Image
from conformance.plans import metadata, repository
from conformance.plans.feed import admit
from conformance.plans.images import stored
from conformance.plans.imaging_source import retrieve
from conformance.plans.probe import Plan, Unmet, expect, expect_equal
from conformance.plans.stand import Stand
from conformance.readers.dicom import read_dicom
from conformance.readers.source import Source
from conformance.rules.collation import NamedFile, collated
from conformance.rules.kos import Manifest
from conformance.schemes import REFERENCE_IDS
from conformance.validation import judge
from shared.attempts import attempted

PLAN = Plan("imaging-source", needs=("registry", "repository"))
_RAD68, _MADO = "RAD TF-2 4.68.4.1.2", "RAD MADO 1.0.0"
_OPTION: Final = "Publication"


@dataclass(frozen=True, slots=True)
class Publication:
    """A manifest, and its entry in the registry."""

    entry: Element
    octets: bytes

    @property
    def manifest(self) -> Manifest:
        """As it is read here."""
        return Manifest(read_dicom(self.octets).data_set)


def published(stand: Stand) -> Publication:
    """The manifest of the study that is stored: it is waited for, once, and asked for where this product is judged."""
    if "publication" not in stand.shared:
        stand.shared["publication"] = attempted(lambda: _published_now(stand))
    publication: Publication | Exception = stand.shared["publication"]
    if isinstance(publication, Exception):
        raise publication
    return publication


def _published_now(stand: Stand) -> Publication:
    study = stored(stand)
    patient_id = stand.patient_id(study.images[0].patient)
    if stand.target.endpoints.get("feed"):
        admit(stand, patient_id)
    if publisher := stand.target.endpoints.get("publisher"):
        reply = stand.http(
            "POST",
            f"{publisher.rstrip('/')}/api/publish",
            body=json.dumps({"study_instance_uid": study.uid}).encode(),
            headers={"Content-Type": "application/json"},
        )
        expect(reply.status < 300, f"HTTP {reply.status} to the wish to publish")
    entry = _registered(stand, patient_id, study.uid)
    ids = _slot(entry, "repositoryUniqueId"), metadata.unique_id_of(entry)
    reply = repository.retrieve(stand, ids).expect_success()
    (document,) = reply.all("xds:DocumentResponse/xds:Document")
    return Publication(entry, reply.content_of(document))


def _registered(stand: Stand, patient_id: str, study: str) -> Element:
    """The entry, once it is there: a source publishes in its own time, or when its operator says so."""
    entries = stand.until(lambda: list(_manifests(stand, patient_id, study)))
    if not entries:
        raise Unmet(f"no manifest of the study is registered within {stand.target.patience_seconds:g} s")
    return entries[0]


def _manifests(stand: Stand, patient_id: str, study: str) -> Iterator[Element]:
    with suppress(Unmet):  # the registry may not know the patient yet
        for entry in metadata.documents_of(stand, patient_id):
            formats = entry.xpath("rim:Classification/@nodeRepresentation", namespaces=NAMES)
            if KEY_OBJECT_SELECTION in formats and study in _slot(entry, REFERENCE_IDS):
                yield entry


def _slot(entry: Element, name: str) -> str:
    return " ".join(map(str, entry.xpath(f"rim:Slot[@name='{name}']//rim:Value/text()", namespaces=NAMES)))


def _expect_no_errors(findings: Iterable[Finding]) -> None:
    errors = [f"{one.id} {one.wrong} ({one.place})" for one in findings if one.severity is Severity.ERROR]
    expect(not errors, "; ".join(errors))


def _collated(*files: tuple[str, bytes]) -> Iterable[Finding]:
    belong_together, findings = collated([NamedFile(name, Source.of(octets)) for name, octets in files])
    expect(belong_together, "the files do not belong together: they name other documents, or other studies")
    return findings


@PLAN.requires("IMG-68-101", _RAD68, option=_OPTION)
def _(stand: Stand) -> None:
    """A study that is published is found in the registry by its patient and its Study Instance UID."""
    published(stand)


@PLAN.requires("IMG-68-102", "RAD TF-3 4.68.4.1.2.3", option=_OPTION)
def _(stand: Stand) -> None:
    """The metadata of a manifest have no error that the validator finds."""
    _expect_no_errors(judge(etree.tostring(published(stand).entry), "entry").findings)


@PLAN.requires("IMG-68-103", "RAD TF-3 4.68.4.1.2.1", option=_OPTION)
def _(stand: Stand) -> None:
    """The manifest has no error that the validator finds."""
    _expect_no_errors(judge(published(stand).octets, "manifest").findings)


@PLAN.requires("IMG-68-104", "RAD TF-3 4.68.4.1.2.1", option=_OPTION)
def _(stand: Stand) -> None:
    """The manifest names every instance of the study, and no other."""
    uids = sorted(one.sop_instance for one in published(stand).manifest.evidence)
    expect_equal(uids, sorted(one.uid for one in stored(stand).images), "the instances")


@PLAN.requires("IMG-68-105", "RAD TF-3 4.68.4.1.2.3", option=_OPTION)
def _(stand: Stand) -> None:
    """Manifest and metadata say the same: ids, dates, hash and size."""
    publication = published(stand)
    _expect_no_errors(
        _collated(("manifest", publication.octets), ("entry", etree.tostring(publication.entry)))
    )


@PLAN.requires("IMG-68-106", "RAD TF-3 4.68.4.1.2.1", option=_OPTION)
def _(stand: Stand) -> None:
    """The manifest says of each instance what the instance says."""
    instances = [(one.uid, one.octets) for one in stored(stand).images]
    _expect_no_errors(_collated(("manifest", published(stand).octets), *instances))


@PLAN.requires("IMG-68-107", "RAD TF-2 4.69.4.1.2", option=_OPTION, needs=("source",))
def _(stand: Stand) -> None:
    """What the manifest names is had by RAD-69 at its Retrieve Location UID."""
    manifest = published(stand).manifest
    locations = {series.text(0x0040E011) for _, series in manifest.series_items}
    expect(len(locations) == 1 and all(locations), f"the Retrieve Location UIDs are {sorted(locations)}")
    images = [Image(one.study, one.series, one.sop_instance, b"", "") for one in manifest.evidence]
    reply = retrieve.retrieve(stand, images, (EXPLICIT,), repository=locations.pop()).expect_success()
    expect_equal(len(retrieve.delivered(reply)), len(images), "instances that came")


@PLAN.requires("IMG-68-108", "DICOM PS3.18 10.4", option=_OPTION, needs=("dicomweb",))
def _(stand: Stand) -> None:
    """A Retrieve URL of the manifest leads to its series."""
    for study, series in published(stand).manifest.series_items:
        if base := series.text(0x00081190):
            url = f"{base.rstrip('/')}/studies/{study}/series/{series.text(0x0020000E)}"
            reply = stand.http("GET", url, headers={"Accept": 'multipart/related; type="application/dicom"'})
            expect_equal(reply.status, 200, f"the HTTP status of {url}")


@PLAN.requires("IMG-68-201", _MADO, option="MADO")
def _(stand: Stand) -> None:
    """The manifest is one with description, and has no error that the validator of MADO finds."""
    report = judge(published(stand).octets, "manifest")
    expect_equal(report.title, "MADO manifest (KOS)", "what the manifest is recognised for")
    _expect_no_errors(report.findings)

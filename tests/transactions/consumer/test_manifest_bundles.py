"""Manifests that are FHIR document Bundles (RAD MADO): found, read and followed as Key Object Selection
Documents are, and trusted no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import xdsi
from conformance.corpus import metadata
from conformance.corpus.messages import digest_of
from conformance.instances import CT
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import MANIFEST, SERIES, STUDY, World
from consumer.domain.study import Via
from tests.transactions.consumer.test_wrong_sources import DOMAIN, IMAGES, SOURCE, Hospital, viewer_of
from xdsi.failures import Failed

KOS_FORMAT = ("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1")
BUNDLE_FORMAT = ("urn:ihe:rad:MADO:fhir-manifest:2026", "1.3.6.1.4.1.19376.1.2.7.1")
STRANGER = {"resourceType": "Patient", "id": "other", "identifier": [{"value": "P2"}]}


@dataclass(frozen=True)
class BundledWorld(World):
    """The study, published by a Bundle alone; `changes` are what is otherwise in its resources by type."""

    changes: dict[str, dict[str, Any]] = field(default_factory=dict, hash=False)
    beside: tuple[dict[str, Any], ...] = field(default=(), hash=False)

    @cached_property
    def manifest(self) -> bytes:
        endpoint = {
            "resourceType": "Endpoint",
            "id": "images",
            "extension": [
                {
                    "url": "https://profiles.ihe.net/RAD/MADO/StructureDefinition/MadoRetrieveLocationUIDExtension",
                    "valueString": f"urn:oid:{self.location}",
                }
            ],
            "connectionType": {"code": "dicom-wado-rs"},
            "address": self.dicomweb,
        }
        if not self.location:
            del endpoint["extension"]
        study = {
            "resourceType": "ImagingStudy",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}],
            "subject": {"reference": "Patient/one"},
            "series": [
                {
                    "uid": series,
                    "modality": {"code": "CT"},
                    "endpoint": [{"reference": "Endpoint/images"}],
                    "instance": [
                        {"uid": uid, "sopClass": {"code": f"urn:oid:{CT}"}, "number": number}
                        for number, uid in enumerate(uids, 1)
                    ],
                }
                for series, uids in SERIES.items()
            ],
        }
        patient = {"resourceType": "Patient", "id": "one", "identifier": [{"value": "P1"}]}
        made = [{**one, **self.changes.get(one["resourceType"], {})} for one in (study, patient, endpoint)]
        entries = [{"resource": one} for one in (*made, *self.beside)]
        return json.dumps({"resourceType": "Bundle", "type": "document", "entry": entries}).encode()

    @cached_property
    def objects(self) -> str:
        text = metadata.objects(digest_of(self.manifest), len(self.manifest))
        for of_dicom, of_fhir in zip(KOS_FORMAT, BUNDLE_FORMAT, strict=True):
            text = text.replace(f'"{of_dicom}"', f'"{of_fhir}"').replace(f">{of_dicom}<", f">{of_fhir}<")
        text = text.replace("application/dicom", "application/fhir+json")
        return text.replace(metadata.PATIENT, self.patient_id.replace("&", "&amp;"))


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    cast = Cast(World(DOMAIN), {"registry": RIGHT, "repository": RIGHT, SOURCE: RIGHT})
    with http_simulator(cast.handle) as peers:
        yield Hospital(cast, peers.url)


def publish(hospital: Hospital, via: Via | None = None, **otherwise: Any) -> World:
    world = BundledWorld(
        DOMAIN,
        "" if via is Via.RAD69 else otherwise.pop("dicomweb", f"{hospital.url}/dicomweb"),
        location="" if via is Via.WADO_RS else World(DOMAIN).location,
        **otherwise,
    )
    hospital.cast.world = world
    for actor in ("registry", "repository", SOURCE):
        hospital.cast.play(actor, RIGHT)
    return world


@pytest.mark.parametrize("via", [Via.RAD69, Via.WADO_RS])
async def test_a_study_is_found_read_chosen_from_and_retrieved(hospital: Hospital, tmp_path: Path, via: Via):
    world = publish(hospital, via)
    first, *_ = SERIES

    async with xdsi.connect(**hospital.settings(tmp_path / "state")) as program:
        (study,) = await program.find(world.patient_id)
        manifest = await program.manifest(study)
        chosen = await program.fetch(study, tmp_path / "chosen", via=via, series=[first])
        everything = await program.fetch(study, tmp_path / "all", via=via)

    assert {
        series.series_instance_uid: series.modality for series in manifest.studies[0].series
    } == dict.fromkeys(SERIES, "CT")
    assert (chosen.instances, chosen.missing) == (len(SERIES[first]), ())
    assert (everything.instances, everything.missing) == (IMAGES, ())


async def test_a_viewer_gets_the_study_by_the_front(hospital: Hospital, tmp_path: Path):
    publish(hospital, Via.RAD69)

    async with viewer_of(hospital.settings(tmp_path / "state")) as viewer:
        answer = await viewer.get(f"/dicomweb/studies/{STUDY}")

    assert answer.status_code == 200


@pytest.mark.parametrize("via", [Via.RAD69, Via.WADO_RS])
async def test_images_of_another_patient_than_it_names_are_not_taken(
    hospital: Hospital, tmp_path: Path, via: Via
):
    publish(hospital, via, changes={"Patient": {"identifier": [{"value": "P2"}]}})

    async with xdsi.connect(**hospital.settings(tmp_path / "state")) as program:
        images = await program.fetch(MANIFEST, tmp_path / "to", via=via)

    assert images.instances == 0
    assert {one.reason for one in images.missing} == {"it names another patient than its manifest"}
    assert not [path for path in (tmp_path / "to").rglob("*") if path.is_file()]


async def test_one_that_names_two_patients_is_no_manifest(hospital: Hospital, tmp_path: Path):
    publish(hospital, beside=(STRANGER,))

    async with xdsi.connect(**hospital.settings(tmp_path / "state")) as program:
        (study,) = await program.find(World(DOMAIN).patient_id)
        with pytest.raises(Failed, match="it names two patients"):
            await program.manifest(study)
    async with viewer_of(hospital.settings(tmp_path / "front")) as viewer:
        answer = await viewer.get(f"/dicomweb/studies/{STUDY}")

    assert (answer.status_code, "two patients" in answer.json()["detail"]) == (422, True)


async def test_a_host_that_is_no_peer_is_asked_for_nothing(hospital: Hospital, tmp_path: Path):
    asked: list[str] = []
    publish(hospital, Via.WADO_RS, dicomweb="http://127.0.0.2:9/dicomweb")

    def assertion() -> bytes:
        asked.append("signed")
        return b"<Assertion/>"

    async with xdsi.connect(assertion=assertion, **hospital.settings(tmp_path / "state")) as program:
        (study,) = await program.find(World(DOMAIN).patient_id)
        await program.manifest(study)
        before = len(asked)
        images = await program.fetch(study, tmp_path / "to", via=Via.WADO_RS)

    assert images.instances == 0
    assert {one.reason.partition(" (")[0] for one in images.missing} == {
        f"the Retrieve URL of the manifest is not of {hospital.url}"
    }
    # Registry and repository are asked again, and nobody else.
    assert len(asked) - before == before - 1


async def test_a_uid_that_is_none_becomes_no_file(hospital: Hospital, tmp_path: Path):
    series = [
        {"uid": "../../etc", "instance": [{"uid": "1.2.3"}], "endpoint": [{"reference": "Endpoint/images"}]}
    ]
    publish(hospital, Via.RAD69, changes={"ImagingStudy": {"series": series}})

    async with viewer_of(hospital.settings(tmp_path / "state")) as viewer:
        answer = await viewer.get(f"/dicomweb/studies/{STUDY}")

    assert answer.status_code in {422, 502}
    assert not (tmp_path / "etc").exists()

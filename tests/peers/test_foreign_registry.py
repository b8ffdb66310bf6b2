"""Beside a registry of another vendor, which knows none of our interfaces, the rest of the platform works."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from consumer.domain.clinician import Clinician
from consumer.imaging_document_consumer import Via, open_consumer
from consumer.settings import ConsumerSettings
from imaging_source import app as imaging_source_app
from imaging_source.settings import ImagingSourceSettings
from repository import app as repository_app
from repository.settings import RepositorySettings
from shared.ebrim.model import Code
from shared.errors import Rejected
from shared.http.server import start_server
from tests.support.dicom import a_ct, part10
from tests.support.foreign_registry import ForeignRegistry, foreign_registry
from tests.support.imaging_source import cx
from xdsi.certificates import create_community
from xdsi.import_ import import_files
from xdsi.publish import publish_studies
from xdsi.stage import free_ports

STUDY, INSTANCE = "2.25.11", "2.25.13"
PATIENT = cx("P1")
RADIOLOGIST = Clinician(name_id="dr.roe", roles=(Code("RAD-PHYS", "2.999.40.1"),))
SURGEON = Clinician(name_id="dr.doe", roles=(Code("SURGEON", "2.999.40.1"),))
FOR_RADIOLOGISTS = {"effect": "permit", "roles": ["RAD-PHYS^^2.999.40.1"]}


@dataclass
class Platform:
    """Our repository and imaging source on sockets, beside the registry of another vendor."""

    registry: ForeignRegistry
    settings: dict[str, Any]
    folder: Path

    async def publish(self) -> None:
        """Store a study and publish it: RAD-68 through our repository, ITI-42 to the foreign registry."""
        path = self.folder / "slice.dcm"
        path.write_bytes(part10(a_ct()))
        source = ImagingSourceSettings.model_validate(self.settings)
        await import_files(source, [path])
        assert await publish_studies(source, [STUDY], PATIENT) == {STUDY: "published"}

    async def fetched(self, clinician: Clinician, via: Via) -> list[str]:
        """The instances that a clinician gets: ITI-18, ITI-43, then RAD-69 or WADO-RS."""
        settings = ConsumerSettings.model_validate(self.settings)
        folder = self.folder / f"{clinician.name_id}-{via}"
        async with open_consumer(settings, clinician) as consumer:
            (entry,) = await consumer.find(PATIENT)
            manifest = await consumer.manifest(entry)
            await consumer.retrieve(manifest, folder, patient_id=PATIENT, via=via)
        return [str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.rglob("*.dcm")]


@asynccontextmanager
async def platform(folder: Path, **consent: Any) -> AsyncIterator[Platform]:
    """The services, in order from the registry to the source, and stopped the other way round."""
    community = create_community(folder / "certificates", "Clinic", ["127.0.0.1"])
    async with AsyncExitStack() as running, foreign_registry() as registry:
        repository_port, source_port, dimse_port = free_ports(3)
        source_url = f"http://127.0.0.1:{source_port}"
        settings = {
            "assertion": community.settings()["assertion"],
            "data": folder / "data",
            "registry_url": registry.url,
            "repository_url": f"http://127.0.0.1:{repository_port}/xds/repository",
            "imaging_source_url": f"{source_url}/xds/imaging-source",
            "public_url": source_url,
            "dicomweb_peers": [source_url],
            "consent": consent,
        }
        for module, settings_class, ports in (
            (repository_app, RepositorySettings, {"port": repository_port, "public_url": None}),
            (imaging_source_app, ImagingSourceSettings, {"port": source_port, "dimse_port": dimse_port}),
        ):
            ours = settings_class.model_validate({**settings, **ports})
            service = await module.build(ours)
            server = await start_server(service.asgi, ours)
            await service.start()
            running.push_async_callback(service.stop)
            running.push_async_callback(server.stop, 1)
        yield Platform(registry, settings, folder)


async def test_without_consent_of_our_own_everybody_who_is_let_in_gets_documents_and_images(tmp_path):
    async with platform(tmp_path, source="none", default="deny") as services:
        await services.publish()
        assert len(services.registry.unique_ids) == 1
        assert await services.fetched(SURGEON, Via.RAD69) == [INSTANCE]
        assert await services.fetched(RADIOLOGIST, Via.WADO_RS) == [INSTANCE]
        assert services.registry.strange == []


@pytest.mark.parametrize("place", ["everyone", "the patient"])
async def test_policies_in_a_file_decide_at_the_repository_and_the_source(tmp_path, place):
    file = tmp_path / "policies.json"
    listed = (
        {"everyone": [FOR_RADIOLOGISTS]}
        if place == "everyone"
        else {"patients": {PATIENT: [FOR_RADIOLOGISTS]}}
    )
    file.write_text(json.dumps(listed))
    async with platform(
        tmp_path, source="policies", policies=file, default="deny", max_age_seconds=0
    ) as services:
        await services.publish()
        assert await services.fetched(RADIOLOGIST, Via.RAD69) == [INSTANCE]
        with pytest.raises(Rejected):
            await services.fetched(SURGEON, Via.RAD69)

        file.write_text(json.dumps({"everyone": [FOR_RADIOLOGISTS, {"effect": "deny"}]}))
        with pytest.raises(Rejected):
            await services.fetched(RADIOLOGIST, Via.WADO_RS)

        file.write_text("{")
        with pytest.raises(Rejected):
            await services.fetched(RADIOLOGIST, Via.RAD69)
        assert services.registry.strange == []


async def test_a_registry_that_hands_out_no_policies_permits_nobody(tmp_path):
    async with platform(tmp_path, default="permit") as services:
        await services.publish()
        with pytest.raises(Rejected):
            await services.fetched(RADIOLOGIST, Via.RAD69)
        assert services.registry.strange == ["POST /vendor/services/DocumentRegistry/consent/policies"]

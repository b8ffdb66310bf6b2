"""Manifests in both encodings of RAD MADO: registered together, and true together whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from itertools import count

import pydicom
import pytest
import pytest_asyncio

from imaging_source.domain.described_manifest import of_data_set
from imaging_source.domain.drift import Drift
from imaging_source.domain.mado_bundle import bundle, of_bundle
from imaging_source.domain.publishing import FORMAT, MIME_TYPE
from imaging_source.settings import ImagingSourceSettings
from imaging_source.transactions import drift, erasure, rad68
from shared.ebrim.model import AssociationType, DocumentEntry
from shared.imaging import manifest_bundle
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.settings import SettingsError
from tests.support.publishing_rig import GET_ASSOCIATIONS, PublishingRig, a_publishing_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = count(1)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["our registry", "another vendor's registry"]
)
async def rig(tmp_path_factory, request) -> AsyncIterator[PublishingRig]:
    async with a_publishing_rig(
        tmp_path_factory.mktemp("bundles"),
        foreign=request.param != "our registry",
        publishing={"form": "mado", "bundle": True},
        publish_delay_seconds=0,
    ) as rig:
        for patient in ("P1", "P2"):
            await rig.make_known(patient)
        yield rig


@pytest.fixture
def study() -> str:
    return f"2.25.77.{next(_numbers)}"


async def both(rig: PublishingRig, patient: str, study: str) -> tuple[DocumentEntry, DocumentEntry]:
    """The Approved document and the Approved Bundle of a study; there is one of each."""
    entries = await rig.approved(patient, study)
    assert sorted(one.mime_type for one in entries) == sorted((MIME_TYPE, manifest_bundle.MEDIA_TYPE))
    document, other = sorted(entries, key=lambda one: one.mime_type == manifest_bundle.MEDIA_TYPE)
    return document, other


async def octets_of(rig: PublishingRig, entry: DocumentEntry) -> bytes:
    asked = DocumentRequest(
        repository_unique_id=entry.repository_unique_id, document_unique_id=entry.unique_id
    )
    response = await rig.client.call(
        ITI43, rig.repository_url, RetrieveDocumentSetRequest(documents=(asked,))
    )
    [document] = response.documents
    return await asyncio.to_thread(document.content.path.read_bytes)


async def read(rig: PublishingRig, patient: str, study: str) -> set[str]:
    """The images that both encodings name, which say the same."""
    document, other = await both(rig, patient, study)
    manifest = of_data_set(pydicom.dcmread(BytesIO(await octets_of(rig, document))))
    described = json.loads(await octets_of(rig, other))
    assert described == bundle(manifest)
    assert described["identifier"]["value"] == f"urn:oid:{document.unique_id}"
    instances = of_bundle(described, ae_title="XDSI").instances
    return {one.sop_instance_uid for one in instances}


async def test_both_are_registered_and_one_is_a_transformation_of_the_other(rig, study):
    image = await rig.image(study, "P1")

    await rig.publish(study)

    document, other = await both(rig, "P1", study)
    assert await read(rig, "P1", study) == {image}
    assert (document.format_code.value, other.format_code) == (FORMAT.value, manifest_bundle.FORMAT)
    assert document.unique_id != other.unique_id
    assert document.reference_ids == other.reference_ids
    request = StoredQueryRequest(
        query_id=GET_ASSOCIATIONS,
        return_type=ReturnType.LEAF_CLASS,
        parameters=encode_parameters({"$uuid": [other.entry_uuid]}),
    )
    associations = (await rig.client.call(ITI18, rig.registry_url, request)).objects.associations
    assert (AssociationType.XFRM, document.entry_uuid) in {
        (one.association_type, one.target_object) for one in associations
    }


async def test_a_study_that_grows_replaces_both(rig, study):
    first = await rig.image(study, "P1")
    await rig.publish(study)
    second = await rig.image(study, "P1")

    await rig.publish(study)

    assert await read(rig, "P1", study) == {first, second}
    await rig.publish(study)
    assert await read(rig, "P1", study) == {first, second}


async def test_both_are_withdrawn(rig, study):
    await rig.image(study, "P1")
    await rig.publish(study)

    assert await rad68.withdraw(rig.source.parts, study) == 1

    assert await rig.approved("P1", study) == []
    await rig.publish(study)
    await both(rig, "P1", study)


async def test_both_leave_a_wrong_patient(rig, study):
    image = await rig.image(study, "P1")
    await rig.publish(study, "P2")
    await both(rig, "P2", study)

    await rig.publish(study, "P1")

    assert await rig.approved("P2", study) == []
    assert await read(rig, "P1", study) == {image}


async def test_both_are_gone_with_the_images(rig, study):
    await rig.image(study, "P1")
    await rig.publish(study)

    await erasure.erase(rig.source.parts, study, (), "asked for", rig.source.parts.as_client())

    assert await rig.approved("P1", study) == []


async def test_a_bundle_that_others_ended_is_noticed_and_both_are_replaced(rig, study):
    image = await rig.image(study, "P1")
    await rig.publish(study)
    document, other = await both(rig, "P1", study)
    await rig.deprecate(other)

    found = await drift.examine(rig.source.parts, study)
    await rig.settle()

    assert Drift.BUNDLE_GONE in found
    assert await read(rig, "P1", study) == {image}
    assert (await both(rig, "P1", study))[0].unique_id != document.unique_id
    assert await drift.examine(rig.source.parts, study) == ()


async def test_a_bundle_whose_document_others_ended_does_not_stay(rig, study):
    await rig.image(study, "P1")
    await rig.publish(study)
    document, _ = await both(rig, "P1", study)
    await rig.deprecate(document)

    found = await drift.examine(rig.source.parts, study)

    assert Drift.ENDED_BY_OTHERS in found
    assert await rig.approved("P1", study) == []


async def test_both_follow_a_merge(tmp_path):
    async with a_publishing_rig(tmp_path, publishing={"form": "mado", "bundle": True}) as rig:
        for patient in ("P1", "P2"):
            await rig.make_known(patient)
        first = await rig.image("2.25.88", "P1")
        await rig.publish("2.25.88")
        await rig.merge("P1", "P2")
        await both(rig, "P2", "2.25.88")
        second = await rig.image("2.25.88", "P1")

        await rig.publish("2.25.88")

        assert await read(rig, "P2", "2.25.88") == {first, second}


async def test_a_bundle_of_a_manifest_without_description_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="PUBLISHING__FORM=mado"):
        ImagingSourceSettings.load(environ={}, data=tmp_path, publishing={"bundle": True})

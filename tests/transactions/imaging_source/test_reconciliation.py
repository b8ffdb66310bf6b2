"""Publications find their way whatever others do in the registry: real services, over sockets.

Merges, updates, removals and deprecations, a wrong patient, a patient who becomes known later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from imaging_source.domain.coding import NotPublishable
from imaging_source.store.publications import PublicationState, find_publications
from imaging_source.transactions import rad68
from shared.ebrim.model import Code
from tests.support.imaging_source import a_rejection_note, cx
from tests.support.publishing_rig import PublishingRig, a_publishing_rig


@pytest.fixture
async def rig(tmp_path) -> AsyncIterator[PublishingRig]:
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        await rig.make_known("P2")
        yield rig


@pytest.fixture(params=["our registry", "another vendor's registry"])
async def any_rig(tmp_path, request) -> AsyncIterator[PublishingRig]:
    async with a_publishing_rig(tmp_path, foreign=request.param != "our registry") as rig:
        await rig.make_known("P1")
        await rig.make_known("P2")
        yield rig


STUDY = "2.25.11"


async def only(rig: PublishingRig, patient: str, *others: str):
    """The one Approved manifest of the study, which is `patient`'s and of no other."""
    [entry] = await rig.approved(patient, STUDY)
    for other in others:
        assert await rig.approved(other, STUDY) == []
    return entry


async def states(rig: PublishingRig) -> list[PublicationState]:
    found = await find_publications(rig.source.parts.database, study_instance_uid=STUDY)
    return [one.state for one in found]


async def test_a_study_that_grows_after_its_patient_was_merged_is_published_for_the_survivor(any_rig):
    rig = any_rig
    first = await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    await rig.merge("P1", "P2")
    second = await rig.image(STUDY, "P1")

    await rig.publish(STUDY)

    entry = await only(rig, "P2")
    assert await rig.images_of(entry) == {first, second}
    assert await states(rig) == [PublicationState.PUBLISHED, PublicationState.REPLACED]


async def test_a_study_whose_patient_was_merged_before_is_published_for_the_survivor(rig):
    await rig.merge("P1", "P2")
    await rig.image(STUDY, "P1")

    await rig.publish(STUDY)

    await only(rig, "P2")


async def test_a_study_that_is_asked_for_under_the_merged_id_is_the_survivors(rig):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    await rig.merge("P1", "P2")
    await rig.image(STUDY, "P1")

    await rig.publish(STUDY, "P1")

    await only(rig, "P2")


async def test_a_study_published_for_the_wrong_patient_is_withdrawn_there_and_published_here(any_rig):
    rig = any_rig
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY, "P2")
    await only(rig, "P2", "P1")

    await rig.publish(STUDY, "P1")

    await only(rig, "P1", "P2")
    assert await states(rig) == [PublicationState.PUBLISHED, PublicationState.WITHDRAWN]


async def test_a_study_is_withdrawn_from_the_wrong_patient_before_the_right_one_is_known(rig):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY, "P2")

    await rig.publish(STUDY, "P3")

    assert await rig.approved("P2", STUDY) == []
    assert await states(rig) == [PublicationState.WAITING, PublicationState.WITHDRAWN]
    await rig.make_known("P3")
    await rig.settle()
    await only(rig, "P3", "P2", "P1")


async def test_a_new_version_of_its_entry_is_replaced(any_rig):
    rig = any_rig
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    restricted = (Code("R", "2.16.840.1.113883.5.25", "restricted"),)
    await rig.new_version(await only(rig, "P1"), confidentiality_codes=restricted)
    second = await rig.image(STUDY, "P1")

    await rig.publish(STUDY)

    assert second in await rig.images_of(await only(rig, "P1"))


async def test_an_entry_that_was_given_to_another_patient_stays_with_that_one(any_rig):
    rig = any_rig
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    await rig.new_version(await only(rig, "P1"), patient_id=cx("P2"))
    second = await rig.image(STUDY, "P1")

    await rig.publish(STUDY)

    assert second in await rig.images_of(await only(rig, "P2", "P1"))


@pytest.mark.parametrize("grown", [True, False])
@pytest.mark.parametrize("how", ["removed", "deprecated"])
async def test_what_others_removed_or_deprecated_is_registered_anew_when_it_is_published_again(
    rig, how, grown
):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    entry = await only(rig, "P1")
    await (rig.remove(entry) if how == "removed" else rig.deprecate(entry))
    assert await rig.approved("P1", STUDY) == []
    if grown:
        await rig.image(STUDY, "P1")

    await rig.publish(STUDY)

    assert (await only(rig, "P1")).unique_id != entry.unique_id


async def test_what_is_not_known_to_have_changed_is_found_when_it_is_sent(rig):
    """Between the question and the message somebody else was faster."""
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    await rig.image(STUDY, "P1")
    await rad68.publish(rig.source.parts, STUDY)
    await rig.deprecate(await only(rig, "P1"))

    await rig.settle()

    await only(rig, "P1")


async def test_a_manifest_waits_for_its_patient_and_goes_when_the_patient_is_known(any_rig):
    rig = any_rig
    await rig.image(STUDY, "P3")

    await rig.publish(STUDY)

    [waiting] = await find_publications(rig.source.parts.database, study_instance_uid=STUDY)
    assert waiting.state is PublicationState.WAITING
    assert [error.code for error in waiting.errors] == ["XDSUnknownPatientId"]
    await rig.settle()
    await rig.make_known("P3")
    await rig.settle()
    await only(rig, "P3")


async def test_the_running_service_releases_what_waited_as_soon_as_the_patient_is_known(rig):
    await rig.image(STUDY, "P3")
    await rig.publish(STUDY)
    await rig.source.publisher.start()
    await rig.make_known("P3")

    async with asyncio.timeout(30):
        while PublicationState.PUBLISHED not in await states(rig):  # noqa: ASYNC110  # told by the database alone
            await asyncio.sleep(0.05)
    await only(rig, "P3")


async def test_a_manifest_for_a_mistyped_patient_is_overtaken_by_one_for_the_right_one(any_rig):
    rig = any_rig
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY, "TYPO")

    await rig.publish(STUDY, "P1")

    await only(rig, "P1")
    assert await states(rig) == [PublicationState.PUBLISHED, PublicationState.SUPERSEDED]


async def test_a_study_of_which_everything_is_rejected_is_withdrawn(rig):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    note = a_rejection_note()
    note.PatientID = "P1"
    [image] = await rig.source.parts.instances.find_study(STUDY)
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0]
    evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[
        0
    ].ReferencedSOPInstanceUID = image.sop_instance_uid
    await rig.keep(note)

    with pytest.raises(NotPublishable, match="no instance that can be shared"):
        await rig.publish(STUDY)

    assert await rig.approved("P1", STUDY) == []
    assert await states(rig) == [PublicationState.WITHDRAWN]


@pytest.mark.parametrize("how", ["removed", "deprecated"])
async def test_another_vendors_registry_says_by_its_refusal_what_is_gone(tmp_path, how):
    async with a_publishing_rig(tmp_path, foreign=True) as rig:
        await rig.make_known("P1")
        await rig.image(STUDY, "P1")
        await rig.publish(STUDY)
        entry = await only(rig, "P1")
        await (rig.remove(entry) if how == "removed" else rig.deprecate(entry))
        second = await rig.image(STUDY, "P1")

        await rig.publish(STUDY)

        assert second in await rig.images_of(await only(rig, "P1"))

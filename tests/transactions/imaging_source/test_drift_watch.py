"""Published manifests are compared with the archive and the registry, mended, and reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
import pytest_asyncio
import typer
from sqlalchemy import delete
from typer.testing import CliRunner

from imaging_source.background.drift_watch import DriftWatch
from imaging_source.background.publisher import Publisher
from imaging_source.domain.drift import Drift
from imaging_source.store.drift import find_reports
from imaging_source.store.tables import instance
from imaging_source.transactions import drift, rad68
from shared.telemetry.metrics import Metrics
from tests.support.imaging_source import a_rejection_note
from tests.support.publishing_rig import PublishingRig, a_publishing_rig
from xdsi.checks.finding import Severity
from xdsi.checks.manifests import manifests
from xdsi.publications import command as publications_command
from xdsi.publish import command as publish_command

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Rejected for Quality, for Patient Safety, Incorrect Worklist Entry, Data Retention Policy Expired.
TITLES = ("113001", "113037", "113038", "113039")
app = typer.Typer()
app.command("publications")(publications_command)
app.command("publish")(publish_command)
_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory) -> AsyncIterator[PublishingRig]:
    folder = tmp_path_factory.mktemp("drift")
    async with a_publishing_rig(folder, publish_delay_seconds=0) as rig:
        for patient in ("P1", "P2", "P3"):
            await rig.make_known(patient)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", rig.source.parts.settings.public_url)
            yield rig


@pytest.fixture
def study() -> str:
    return f"2.25.11.{next(_numbers)}"


@pytest.fixture
def other_settings(rig) -> Iterator:
    """Changes settings for one test."""
    before = rig.source.parts.settings
    yield lambda **changes: object.__setattr__(
        rig.source.parts, "settings", before.model_copy(update=changes)
    )
    object.__setattr__(rig.source.parts, "settings", before)


async def found(rig: PublishingRig, study: str) -> set[Drift]:
    """What is found of a study; what comes of it is sent."""
    kinds = await drift.examine(rig.source.parts, study)
    await rig.settle()
    return set(kinds)


async def published(rig: PublishingRig, study: str, number: int = 2, patient: str = "P1") -> list[str]:
    images = [await rig.image(study, patient) for _ in range(number)]
    await rig.publish(study)
    return images


async def run(*words: str):
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def standing(study: str, *words: str) -> dict[str, str]:
    [outcome] = json.loads((await run("publish", study, *words, "--json")).stdout)
    return outcome


async def test_what_is_true_is_left_alone(rig, study):
    await published(rig, study)
    [before] = await rig.approved("P1", study)

    assert await found(rig, study) == set()

    assert await rig.approved("P1", study) == [before]


async def test_an_instance_that_came_later_comes_into_the_manifest(rig, study):
    images = await published(rig, study)
    late = await rig.image(study, "P1")

    assert await found(rig, study) == {Drift.INSTANCES_ADDED}

    [entry] = await rig.approved("P1", study)
    assert await rig.images_of(entry) == {*images, late}


def rejection(study: str, rejected: list[str], title: str = "113001"):
    note = a_rejection_note(
        title, rejected, PatientID="P1", StudyInstanceUID=study, SOPInstanceUID=f"2.25.40.{next(_numbers)}"
    )
    note.CurrentRequestedProcedureEvidenceSequence[0].StudyInstanceUID = study
    return note


async def test_rejected_instances_leave_the_manifest_by_each_title(rig, study):
    first, *others = await published(rig, study, 5)
    for title, uid in zip(TITLES, others, strict=True):
        await rig.keep(rejection(study, [uid], title))
        assert await found(rig, study) == {Drift.INSTANCES_GONE}
        [entry] = await rig.approved("P1", study)
        assert uid not in await rig.images_of(entry)

    assert await rig.images_of(entry) == {first}


async def test_a_study_of_which_everything_is_rejected_is_withdrawn(rig, study):
    images = await published(rig, study)
    await rig.keep(rejection(study, images))

    assert await found(rig, study) == {Drift.NOTHING_LEFT}

    assert await rig.approved("P1", study) == []


async def test_what_is_described_otherwise_is_published_anew(rig, study, other_settings):
    images = await published(rig, study)
    [before] = await rig.approved("P1", study)
    other_settings(public_url="http://elsewhere.example")

    assert await found(rig, study) == {Drift.DESCRIBED_OTHERWISE}

    [after] = await rig.approved("P1", study)
    assert after.unique_id != before.unique_id
    assert await rig.images_of(after) == set(images)


async def test_a_merge_and_a_new_version_are_followed(rig, study):
    await published(rig, study, patient="P3")
    await rig.merge("P3", "P2")

    assert await found(rig, study) == {Drift.OTHER_PATIENT}

    [entry] = await rig.approved("P2", study)
    await rig.new_version(entry, title="corrected by hand")
    assert await found(rig, study) == {Drift.NEW_VERSION}


@pytest.mark.parametrize("how", ["removed", "deprecated"])
async def test_what_others_ended_waits_for_a_person_who_is_told_how(rig, study, how):
    await published(rig, study)
    [entry] = await rig.approved("P1", study)
    await (rig.remove if how == "removed" else rig.deprecate)(entry)

    assert await found(rig, study) == {Drift.ENDED_BY_OTHERS}

    assert await rig.approved("P1", study) == []
    [finding] = await manifests(rig.source.parts.settings)
    assert finding.severity is Severity.WARNING
    assert "ended-by-others" in finding.found
    told = json.loads((await run("publications", study, "--drifted", "--json")).stdout)
    assert "--retry" in told[0]["drift"]["explanation"]
    status = await standing(study, "--status")
    assert status["state"] == "withdrawn"
    assert "--withdraw" in status["reason"]
    if how == "removed":
        assert (await run("publish", study, "--withdraw")).exit_code == 0
    else:
        assert (await run("publications", study, "--retry")).exit_code == 0
        await rig.settle()
        await found(rig, study)
    [finding] = await manifests(rig.source.parts.settings)
    assert finding.severity is Severity.OK


async def test_a_study_that_is_not_here_any_more_stays_registered_and_is_told(rig, study):
    await published(rig, study)
    gone = delete(instance).where(instance.c.study_instance_uid == study)
    await rig.source.parts.database.write(lambda transaction: transaction.execute(gone))

    assert await found(rig, study) == {Drift.STUDY_LOST}

    [_] = await rig.approved("P1", study)
    await run("publish", study, "--withdraw")
    assert await rig.approved("P1", study) == []


async def test_a_study_that_grows_is_left_alone(rig, study, other_settings):
    await published(rig, study)
    other_settings(publish_delay_seconds=60.0)
    await rig.image(study, "P1")

    assert await found(rig, study) == set()


async def test_a_person_who_named_the_patient_is_believed(rig, study):
    await rig.image(study, "P1")
    await rig.publish(study, "P2")

    assert await found(rig, study) == set()

    assert await rig.approved("P2", study)


async def test_every_study_is_looked_at_in_turn_and_counted(rig, study, monkeypatch):
    await published(rig, study)
    parts, metrics = rig.source.parts, Metrics("imaging_source")
    watch = DriftWatch(parts, Publisher(parts), metrics)
    looked_at: list[str] = []

    async def examine(_, study):
        looked_at.append(study)
        return (Drift.NEW_VERSION,)

    monkeypatch.setattr("imaging_source.background.drift_watch.drift.examine", examine)
    while len(looked_at) < 2 or looked_at[-1] != looked_at[0]:
        await watch.turn()

    assert looked_at[:-1] == sorted(set(looked_at))
    assert study in looked_at
    assert f'drift="new-version"}} {len(looked_at)}.0' in metrics.render().decode()


async def test_while_the_registry_is_away_the_watch_waits_at_its_place(rig, study, monkeypatch):
    await published(rig, study)
    parts = rig.source.parts
    watch = DriftWatch(parts, Publisher(parts), Metrics("imaging_source"))

    async def away(*_):
        raise rad68.RegistryAway("gone")

    with monkeypatch.context() as patched:
        patched.setattr(parts.registry, "find", away)
        await watch.turn()
        await watch.turn()

    assert watch._after == ""
    assert study not in await find_reports(parts.database, [study])


async def test_studies_are_withdrawn_and_their_standing_is_told(rig, study):
    await published(rig, study)

    assert (await standing(study, "--status"))["state"] == "published"
    assert (await standing(study, "--withdraw"))["state"] == "withdrawn"
    assert (await standing(study, "--status"))["state"] == "withdrawn"
    assert (await standing("2.25.999", "--status"))["state"] == "unpublished"
    assert await rig.approved("P1", study) == []
    assert (await run("publish", study, "--status", "--withdraw")).exit_code == 2

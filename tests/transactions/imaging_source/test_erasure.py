"""Images are erased with their manifests, by a person or because their time is over, and audited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
import pytest_asyncio
import typer
from sqlalchemy import update
from typer.testing import CliRunner

from imaging_source.background.retention import Retention
from imaging_source.store.adoption import adopt
from imaging_source.store.publications import audit_events, publication
from imaging_source.store.tables import instance, instance_metadata, study_patient
from imaging_source.transactions import rad68
from tests.support.dicom import a_ct, part10
from tests.support.publishing_rig import PublishingRig, a_publishing_rig
from xdsi.erase import command

pytestmark = pytest.mark.asyncio(loop_scope="module")
app = typer.Typer()
app.command()(command)
_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory) -> AsyncIterator[PublishingRig]:
    folder = tmp_path_factory.mktemp("erasure")
    async with a_publishing_rig(folder, corrections="replace", retention_days=30) as rig:
        await rig.make_known("P1")
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", rig.source.parts.settings.public_url)
            yield rig


@pytest.fixture
def study() -> str:
    return f"2.25.11.{next(_numbers)}"


async def erase(*words: str):
    command = [*words, "--yes", "--reason", "the patient asked for it"]
    return await asyncio.to_thread(CliRunner().invoke, app, command)


async def published(rig: PublishingRig, study: str) -> list[str]:
    images = [await rig.image(study, "P1") for _ in range(2)]
    await rig.publish(study)
    return images


def kept(rig: PublishingRig) -> set[str]:
    return {path.stem for path in rig.source.parts.instances.files.folder.glob("??/*.dcm")}


async def rows(rig: PublishingRig, table, study: str) -> int:
    wanted = table.select().where(table.c.study_instance_uid == study)
    return len(await rig.source.parts.database.fetch(wanted))


async def deletions(rig: PublishingRig) -> list[str]:
    """The messages of what was erased."""
    messages = await rig.source.parts.database.fetch(audit_events.select())
    texts = [str(bytes(value)) for row in messages for value in row if isinstance(value, bytes)]
    return [text for text in texts if "110105" in text]


async def test_a_study_is_withdrawn_then_gone_with_everything_that_tells_of_it(rig, study):
    before = kept(rig)
    images = await published(rig, study)
    corrected = a_ct(
        StudyInstanceUID=study, SOPInstanceUID=images[0], PatientID="P1", StudyDescription="corrected"
    )
    await rig.keep(corrected)
    assert len(kept(rig) - before) == 3

    ended = await erase(study)

    assert ended.exit_code == 0, ended.output
    assert await rig.approved("P1", study) == []
    assert kept(rig) == before
    for table in (instance, study_patient, publication):
        assert await rows(rig, table, study) == 0
    metadata = await rig.source.parts.database.fetch(instance_metadata.select())
    assert not {row[0] for row in metadata} & set(images)
    [message] = [text for text in await deletions(rig) if study in text]
    assert "the patient asked for it" in message
    assert 'EventActionCode="D"' in message


async def test_of_a_study_one_instance_goes_and_the_manifest_is_replaced(rig, study):
    first, second = await published(rig, study)

    ended = await erase(study, "--instance", first)
    await rig.settle()

    assert ended.exit_code == 0, ended.output
    [entry] = await rig.approved("P1", study)
    assert await rig.images_of(entry) == {second}


async def test_what_cannot_be_withdrawn_is_not_erased(rig, study, monkeypatch):
    images = await published(rig, study)

    async def away(*_):
        raise rad68.RegistryAway("the registry does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(rig.source.parts.registry, "find", away)
        ended = await erase(study)

    assert ended.exit_code == 1
    assert await rows(rig, instance, study) == len(images)


async def test_what_a_crash_leaves_of_erased_contents_is_not_adopted(rig, study, monkeypatch):
    before = kept(rig)
    await published(rig, study)

    async def crash(_):
        raise ConnectionAbortedError

    with monkeypatch.context() as patched:
        patched.setattr(rig.source.parts.instances, "_forget", crash)
        await erase(study)
    assert len(kept(rig) - before) == 2

    await adopt(rig.source.parts.instances, rig.source.parts.recorder.record, node="XDSI")

    assert kept(rig) == before
    assert await rows(rig, instance, study) == 0


async def test_an_erased_study_may_come_again(rig, study):
    data_set = a_ct(StudyInstanceUID=study, SOPInstanceUID=f"{study}.1", PatientID="P1")
    await rig.keep(data_set)
    await erase(study)

    await rig.keep(data_set)
    await rig.publish(study)

    [entry] = await rig.approved("P1", study)
    assert await rig.images_of(entry) == {f"{study}.1"}
    [image] = await rig.source.parts.instances.find_study(study)
    assert image.path.read_bytes() == part10(data_set)


async def test_studies_whose_time_is_over_go_by_themselves(rig, study):
    old, growing = f"{study}.1", f"{study}.2"
    for each in (old, growing, growing):
        await rig.image(each, "P1")
    await rig.publish(old)
    images = await rig.source.parts.instances.find_study(growing)
    long_ago = (images[0].received_at - timedelta(days=31)).isoformat()
    aged = [images[0].sop_instance_uid]
    aged += [one.sop_instance_uid for one in await rig.source.parts.instances.find_study(old)]
    for uid in aged:
        back = update(instance).where(instance.c.sop_instance_uid == uid).values(received_at=long_ago)
        await rig.source.parts.database.write(lambda transaction, back=back: transaction.execute(back))

    await Retention(rig.source.parts).turn()

    assert await rows(rig, instance, old) == 0
    assert await rows(rig, instance, growing) == 2
    assert await rig.approved("P1", old) == []


@pytest.mark.parametrize("words", [("no-uid",), ("2.25.1", "2.25.2", "--instance", "2.25.3")])
async def test_wrong_usage_is_told(words):
    assert (await erase(*words)).exit_code == 2

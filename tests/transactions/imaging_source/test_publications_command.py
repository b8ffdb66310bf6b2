"""`xdsi publications` on running services: what it shows, and what it mends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import typer
from typer.testing import CliRunner

from tests.support.imaging_source import cx
from tests.support.publishing_rig import PublishingRig, a_publishing_rig
from xdsi.failures import Failed
from xdsi.publications import command

STUDY, OTHER = "2.25.11", "2.25.21"
app = typer.Typer()
app.command()(command)


@pytest.fixture
async def rig(tmp_path, monkeypatch) -> AsyncIterator[PublishingRig]:
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        monkeypatch.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", rig.source.parts.settings.public_url)
        yield rig


async def run(*words: str):
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def shown(*words: str) -> dict[str, dict]:
    ended = await run(*words, "--json")
    assert ended.exit_code == 0, ended.output
    return {each["study_instance_uid"]: each for each in json.loads(ended.stdout)}


async def test_it_says_for_whom_a_manifest_waits_and_how_to_help(rig):
    await rig.image(STUDY, "P9")
    await rig.image(OTHER, "P1")
    await rig.publish(STUDY)
    await rig.publish(OTHER)

    everything, pending = await shown(), await shown("--pending")

    assert {study: each["state"] for study, each in everything.items()} == {
        STUDY: "waiting",
        OTHER: "published",
    }
    assert everything[OTHER]["explanation"] == ""
    assert pending.keys() == {STUDY}
    assert f"until the registry knows the patient {cx('P9')}" in pending[STUDY]["explanation"]
    assert "xdsi patient add" in (await run("--pending")).stdout
    assert await shown("--failed") == {}


async def test_what_others_removed_is_drifted_and_a_retry_publishes_it_anew(rig):
    await rig.image(STUDY, "P1")
    await rig.image(OTHER, "P1")
    await rig.publish(STUDY)
    await rig.publish(OTHER)
    [entry] = await rig.approved("P1", STUDY)
    await rig.remove(entry)

    drifted = await shown("--drifted")
    retried = await run("--drifted", "--retry")
    await rig.settle()

    assert drifted.keys() == {STUDY}
    assert "others deprecated or removed it" in drifted[STUDY]["explanation"]
    assert retried.exit_code == 0
    assert len(await rig.approved("P1", STUDY)) == 1
    assert await shown("--drifted") == {}


async def test_a_person_withdraws_a_study_and_publishes_it_again(rig):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)

    withdrawn = await run(STUDY, "--withdraw")

    assert withdrawn.exit_code == 0
    assert f"{STUDY}  withdrawn" in withdrawn.stdout
    assert await rig.approved("P1", STUDY) == []
    await run(STUDY, "--retry")
    await rig.settle()
    assert len(await rig.approved("P1", STUDY)) == 1


async def test_what_waits_is_not_sent_after_it_was_withdrawn(rig):
    await rig.image(STUDY, "P9")
    await rig.publish(STUDY)

    assert (await run(STUDY, "--withdraw")).exit_code == 0
    await rig.make_known("P9")
    await rig.settle()

    assert await rig.approved("P9", STUDY) == []


async def test_a_refused_withdrawal_is_a_reason_to_fail(rig, monkeypatch):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)
    monkeypatch.setattr(type(rig.source.parts.registry), "find", away)

    ended = await run(STUDY, "--withdraw")

    assert isinstance(ended.exception, Failed)
    assert "try again later" in str(ended.exception)


async def away(*_):
    from imaging_source.peers.registrations import RegistryAway

    raise RegistryAway("the registry does not answer")


@pytest.mark.parametrize(
    "words", [["--retry"], ["--withdraw"], [STUDY, "--retry", "--withdraw"], ["../x"], ["1..2"]]
)
async def test_wrong_usage_is_told(words):
    assert (await run(*words)).exit_code == 2

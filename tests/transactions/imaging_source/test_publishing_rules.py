"""Which studies are published by themselves, and what is told of one that is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from imaging_source.background.publisher import Publisher, StudyWatch
from imaging_source.domain.publishing import NotPublishable
from imaging_source.domain.publishing_rules import read_patients
from imaging_source.store.publications import find_publications
from shared.http.server import start_server
from tests.support.dicom import a_ct
from tests.support.imaging_source import Source, a_rejection_note, source
from xdsi.publish import command

__all__ = ["source"]

STUDY, OTHER = "2.25.11", "2.25.21"
app = typer.Typer()
app.command()(command)


def set_up(source: Source, **publishing) -> StudyWatch:
    """A watch over studies that have stopped growing at once."""
    settings = source.parts.settings
    changed = settings.publishing.model_copy(update=publishing)
    source.service.parts = replace(
        source.parts,
        settings=settings.model_copy(
            update={"publish_delay_seconds": 0.0, "auto_publish": True, "publishing": changed}
        ),
    )
    return StudyWatch(source.parts, Publisher(source.parts))


async def watched(watch: StudyWatch) -> None:
    """All that has come is looked at."""
    await watch._turn()


async def published(source: Source) -> set[str]:
    return {one.study_instance_uid for one in await find_publications(source.parts.database)}


async def test_studies_of_some_modalities_alone_are_published(source):
    await source.keep(a_ct(), a_ct(StudyInstanceUID=OTHER, SOPInstanceUID="2.25.23", Modality="MR"))

    await watched(set_up(source, modalities=("MR", "US")))

    assert await published(source) == {OTHER}


@pytest.mark.parametrize("line", ["P2", "P2^^^WARD", "# who opted out\n\nP2^^^1.2.3\nP2^^^WARD\n"])
async def test_a_patient_who_opted_out_is_published_by_hand_alone(source, tmp_path, line):
    (tmp_path / "withheld").write_text(line)
    await source.keep(a_ct())
    await source.keep(
        a_ct(StudyInstanceUID=OTHER, SOPInstanceUID="2.25.23", PatientID="P2", IssuerOfPatientID="WARD")
    )

    await watched(set_up(source, withheld_patients=tmp_path / "withheld"))

    assert await published(source) == {STUDY}


async def test_another_patient_of_the_same_id_is_not_withheld(source, tmp_path):
    (tmp_path / "withheld").write_text("P1^^^ELSEWHERE")
    await source.keep(a_ct())

    await watched(set_up(source, withheld_patients=tmp_path / "withheld"))

    assert await published(source) == {STUDY}


@pytest.mark.parametrize("content", [None, "P1^x", "P1^^^"])
async def test_nothing_is_published_while_nobody_knows_who_opted_out(source, tmp_path, content):
    path = tmp_path / "withheld"
    if content is not None:
        path.write_text(content)
    await source.keep(a_ct())
    watch = set_up(source, withheld_patients=path)
    await watched(watch)

    assert await published(source) == set()
    assert STUDY in watch._changed, "it is not looked at again"
    with pytest.raises(NotPublishable, match="line 1"):
        read_patients(["P1^x"])


async def test_a_study_that_is_published_stays_true_whatever_the_rules_say_now(source):
    await source.keep(a_ct())
    await watched(set_up(source))
    await source.keep(a_ct(SOPInstanceUID="2.25.131"))

    await watched(set_up(source, modalities=("MR",)))

    assert len(await find_publications(source.parts.database)) == 2


async def test_a_rejected_study_is_withdrawn_whatever_the_rules_say(source):
    await source.keep(a_ct())
    await watched(set_up(source))
    await source.keep(a_rejection_note())

    await watched(set_up(source, modalities=("MR",)))

    states = [one.state.value for one in await find_publications(source.parts.database)]
    assert states == ["withdrawn"]


@pytest.fixture
async def served(source: Source, monkeypatch) -> AsyncIterator[Source]:
    server = await start_server(source.service.asgi, source.parts.settings.model_copy(update={"port": 0}))
    monkeypatch.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", f"http://127.0.0.1:{server.port}")
    yield source
    await server.stop(1)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({}, "about to be published"),
        ({"modalities": ("MR",)}, "modalities (CT) are none of those"),
        ({"auto_publish": False}, "not published by themselves here"),
        ({"publish_delay_seconds": 900.0}, "it grows: it is published when nothing has come for 900 s"),
    ],
)
async def test_what_a_study_waits_for_is_told(served, setting, told):
    await served.keep(a_ct())
    set_up(served, **{name: value for name, value in setting.items() if name == "modalities"})
    plain = {name: value for name, value in setting.items() if name != "modalities"}
    served.service.parts = replace(served.parts, settings=served.parts.settings.model_copy(update=plain))

    ended = await asyncio.to_thread(CliRunner().invoke, app, [STUDY, "--status", "--json"])

    [outcome] = json.loads(ended.stdout)
    assert outcome["state"] == "unpublished"
    assert told in outcome["reason"]


async def test_a_study_that_is_not_here_is_told_to_be_none(served):
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["2.25.999", "--status"])

    assert "no instance of it is here" in ended.stdout

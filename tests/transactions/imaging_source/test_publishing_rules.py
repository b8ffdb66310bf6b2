"""Which studies are published by themselves, and what is told of one that is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from imaging_source.background import publisher
from imaging_source.background.publisher import Publisher, StudyWatch
from imaging_source.domain.coding import NotPublishable
from imaging_source.domain.commitment import CommitmentRequest, ReferencedInstance
from imaging_source.domain.intake import Refused
from imaging_source.domain.publishing_rules import Trigger, read_patients
from imaging_source.settings.publishing import PublishingSettings
from imaging_source.store import commitments
from imaging_source.store.publications import find_publications
from imaging_source.store.transfers import find_senders
from imaging_source.transactions import rad10
from shared.http.server import start_server
from tests.support.dicom import a_ct
from tests.support.imaging_source import Source, a_rejection_note, source
from xdsi.publish import command

__all__ = ["source"]

STUDY, OTHER = "2.25.11", "2.25.21"
RULES = {"modalities", "senders", "after"}
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


async def test_studies_that_some_have_sent_alone_are_published(source):
    await source.keep(a_ct(), sent_by="CT01")
    await source.keep(a_ct(StudyInstanceUID=OTHER, SOPInstanceUID="2.25.23"), sent_by="CN=pacs,O=North")
    await source.keep(a_ct(StudyInstanceUID="2.25.31", SOPInstanceUID="2.25.33"))

    await watched(set_up(source, senders=PublishingSettings(senders=("CT02", "CN=pacs, O=North")).senders))

    assert await published(source) == {OTHER}


async def test_a_study_is_of_everybody_who_sent_something_of_it(source):
    await source.keep(a_ct(), sent_by="CT01")
    await source.keep(a_ct(SOPInstanceUID="2.25.131"), sent_by="WORKSTATION")

    await watched(set_up(source, senders=("WORKSTATION",)))

    assert await published(source) == {STUDY}


async def test_who_was_refused_has_sent_nothing(source):
    await source.keep(a_ct(), sent_by="CT01")
    with pytest.raises(Refused):
        await source.keep(a_ct(PatientID="P9"), sent_by="CT02")

    assert await find_senders(source.parts.database, STUDY) == {"CT01"}


async def commit(source: Source, *uids: str, transaction_uid: str = "2.25.900") -> None:
    """Storage commitment of these CTs is asked for, and decided."""
    asked = tuple(ReferencedInstance(a_ct().SOPClassUID, uid) for uid in uids)
    request = CommitmentRequest(ae_title="CT01", transaction_uid=transaction_uid, instances=asked)
    noted = await commitments.note(source.parts.database, request, datetime.now(UTC))
    await rad10.decided(source.parts, noted)


async def test_a_study_is_published_once_every_instance_of_it_is_committed(source, monkeypatch):
    monkeypatch.setattr(publisher, "_PAUSE_SECONDS", 0.0)
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131"))
    watch = set_up(source, after=Trigger.COMMITMENT)
    await watched(watch)
    assert await published(source) == set(), "nobody asked"

    await commit(source, "2.25.13")
    await watched(watch)
    assert await published(source) == set(), "one of two is committed"

    await commit(source, "2.25.131", transaction_uid="2.25.901")
    await watched(watch)
    assert await published(source) == {STUDY}


async def test_what_commitment_refuses_is_not_committed(source):
    await source.keep(a_ct())
    watch = set_up(source, after=Trigger.COMMITMENT)
    asked = (ReferencedInstance("1.2.840.10008.5.1.4.1.1.4", "2.25.13"),)
    request = CommitmentRequest(ae_title="CT01", transaction_uid="2.25.900", instances=asked)
    noted = await commitments.note(source.parts.database, request, datetime.now(UTC))
    await rad10.decided(source.parts, noted)

    await watched(watch)

    assert await published(source) == set()


async def test_a_study_of_which_commitment_is_never_asked_is_published_when_the_wait_is_over(source):
    await source.keep(a_ct())

    await watched(set_up(source, after=Trigger.COMMITMENT, longest_wait_seconds=0.0))

    assert await published(source) == {STUDY}


async def test_what_is_published_changes_without_commitment(source):
    await source.keep(a_ct())
    await watched(set_up(source))
    await source.keep(a_rejection_note())

    await watched(set_up(source, after=Trigger.COMMITMENT))

    states = [one.state.value for one in await find_publications(source.parts.database)]
    assert states == ["withdrawn"]


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
        ({"senders": ("CT02",)}, "who sent it (CT01) is none of those"),
        ({"after": Trigger.COMMITMENT}, "storage commitment of 1 of its 1 instances was not answered"),
        ({"auto_publish": False}, "not published by themselves here"),
        ({"publish_delay_seconds": 900.0}, "it grows: it is published when nothing has come for 900 s"),
    ],
)
async def test_what_a_study_waits_for_is_told(served, setting, told):
    await served.keep(a_ct(), sent_by="CT01")
    set_up(served, **{name: value for name, value in setting.items() if name in RULES})
    plain = {name: value for name, value in setting.items() if name not in RULES}
    served.service.parts = replace(served.parts, settings=served.parts.settings.model_copy(update=plain))

    ended = await asyncio.to_thread(CliRunner().invoke, app, [STUDY, "--status", "--json"])

    [outcome] = json.loads(ended.stdout)
    assert outcome["state"] == "unpublished"
    assert told in outcome["reason"]


async def test_a_study_that_is_not_here_is_told_to_be_none(served):
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["2.25.999", "--status"])

    assert "no instance of it is here" in ended.stdout

"""`xdsi publish` against a running imaging source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from imaging_source.settings import ImagingSourceSettings
from shared.errors import RelayedError, Severity
from shared.http.server import start_server
from shared.messages.registry import RegistryResponse, Status
from tests.support.dicom import a_ct, part10
from tests.support.imaging_source import (
    SUCCESS,
    Source,
    cx,
    database_place,
    either_source,
    postgres_url,
    source,
)
from xdsi.failures import Failed
from xdsi.publish import command, publish_studies, study_uids

__all__ = ["database_place", "either_source", "postgres_url", "source"]

STUDY = "2.25.11"
APP = typer.Typer()
APP.command()(command)


@pytest.fixture
async def served(source: Source) -> AsyncIterator[ImagingSourceSettings]:
    """Settings of a source that listens and sends."""
    server = await start_server(source.service.asgi, source.parts.settings.model_copy(update={"port": 0}))
    await source.service.publisher.start()
    settings = source.parts.settings.model_copy(update={"public_url": f"http://127.0.0.1:{server.port}"})
    source.service.parts = replace(source.parts, settings=settings)
    yield settings
    await server.stop(1)


async def test_studies_are_published_and_their_states_told(source, served):
    await source.keep(a_ct())

    assert await publish_studies(served, [STUDY]) == {STUDY: "published"}
    assert len(source.repository.heard) == 1


async def test_text_that_may_be_misread_is_told(source, served, capsys):
    await source.keep(a_ct(), a_ct(StudyInstanceUID="2.25.21", SOPInstanceUID="2.25.23"))
    doubtful = part10(a_ct(StudyInstanceUID="2.25.31", SOPInstanceUID="2.25.33"))
    await source.keep(doubtful.replace(b"ISO_IR 192", b"ISO_IR 999"))

    await publish_studies(served, [STUDY, "2.25.31"])

    told = capsys.readouterr().err
    assert told.startswith("2.25.31: names or titles may be misread")
    assert STUDY not in told


async def test_the_patient_of_the_affinity_domain_can_be_given(source, served):
    await source.keep(a_ct())

    await publish_studies(served, [STUDY], cx("M7"))

    assert source.repository.heard[0][1].decoded.submission.submission_set.patient_id == cx("M7")


async def test_a_refusal_comes_with_the_words_of_the_registry(source, served):
    await source.keep(a_ct())
    error = RelayedError("XDSRegistryMetadataError", "a code is missing", severity=Severity.ERROR)
    source.repository.answers = [RegistryResponse(status=Status.FAILURE, errors=(error,))]

    assert await publish_studies(served, [STUDY]) == {
        STUDY: "refused: XDSRegistryMetadataError: a code is missing"
    }


async def run(*words: str):
    return await asyncio.to_thread(CliRunner().invoke, APP, list(words))


async def outcomes(*words: str) -> list[tuple[str, str]]:
    ended = await run(*words, "--json")
    return [(each["state"], each["outcome"]) for each in json.loads(ended.stdout)]


async def test_published_unchanged_and_replaced_are_told_apart(source, served, monkeypatch):
    monkeypatch.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", served.public_url)
    await source.keep(a_ct())

    first, again = await outcomes(STUDY), await outcomes(STUDY)
    await source.keep(a_ct(SOPInstanceUID="2.25.15"))
    grown = await run(STUDY)

    assert first == [("published", "published")]
    assert again == [("published", "unchanged")]
    assert grown.stdout.split()[:2] == [STUDY, "replaced"]


async def test_what_a_study_waits_for_is_told_while_it_waits(source, served, capsys):
    await source.keep(a_ct())
    busy = RelayedError("XDSRepositoryBusy", "too many at once", severity=Severity.ERROR)
    source.repository.answers = [RegistryResponse(status=Status.FAILURE, errors=(busy,)), SUCCESS]

    assert await publish_studies(served, [STUDY]) == {STUDY: "published"}

    [told] = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{STUDY}: it has no outcome yet (XDSRepositoryBusy: too many at once)")
    assert "it is tried again by itself" in told


async def test_a_study_that_is_not_here_is_told_apart_from_those_that_are(source, served):
    await source.keep(a_ct())

    states = await publish_studies(served, ["2.25.404", STUDY])

    assert states[STUDY] == "published"
    assert "import it first" in states["2.25.404"]


async def test_a_source_that_does_not_answer_is_a_reason_to_stop(source):
    nowhere = source.parts.settings.model_copy(update={"public_url": "http://127.0.0.1:1"})

    with pytest.raises(Failed, match="is it running"):
        await publish_studies(nowhere, [STUDY])


def test_studies_are_named_by_uid_by_file_and_by_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.dcm").write_bytes(part10(a_ct()))
    (tmp_path / "a" / "two.dcm").write_bytes(part10(a_ct(StudyInstanceUID="2.25.21")))
    (tmp_path / "a" / "readme.txt").write_text("no DICOM")

    assert study_uids(["2.25.9", str(tmp_path / "a"), str(tmp_path / "a" / "one.dcm")]) == [
        "2.25.9",
        STUDY,
        "2.25.21",
    ]


@pytest.mark.parametrize("named", ["no-such-file", "readme.txt"])
def test_what_names_no_study_is_told(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readme.txt").write_text("no DICOM")

    with pytest.raises(Failed, match="Study Instance UID"):
        study_uids([named])

"""What an archive keeps becomes the source's own, study by study, whoever is interrupted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
import typer
from typer.testing import CliRunner

from imaging_source.archives.archive import ArchiveAway
from imaging_source.store.archived_instances import ArchivedInstances
from tests.support.dicom import a_ct, part10
from tests.support.dicomweb_archive import ScriptedArchive
from tests.support.http_server import serving
from tests.support.imaging_source import Source
from tests.transactions.imaging_source.test_archives import content, drop_copies, fronting, retrieve
from tests.transactions.imaging_source.test_rad69 import STUDY, Ref
from xdsi.migrate import command

STUDIES = (STUDY, "2.25.21")
app = typer.Typer()
app.command()(command)


@pytest.fixture
def archive() -> ScriptedArchive:
    kept = ScriptedArchive()
    kept.keep(a_ct(), a_ct(SOPInstanceUID="2.25.14", InstanceNumber=2))
    kept.keep(a_ct(StudyInstanceUID="2.25.21", SeriesInstanceUID="2.25.22", SOPInstanceUID="2.25.23"))
    return kept


@pytest.fixture
async def front(tmp_path, archive, monkeypatch) -> AsyncIterator[Source]:
    async with fronting(tmp_path, archive) as opened, serving(opened.service.asgi) as server:
        monkeypatch.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", f"http://127.0.0.1:{server.port}")
        monkeypatch.setenv("XDSI_IMAGING_SOURCE__ARCHIVES", json.dumps({"archive-1": {"ae_title": "A"}}))
        monkeypatch.setenv(
            "XDSI_APPLICATION_ENTITIES", json.dumps({"A": {"host": "127.0.0.1", "services": ["store"]}})
        )
        monkeypatch.chdir(tmp_path)
        yield opened


async def migrate(*options: str):
    return await asyncio.to_thread(partial(CliRunner().invoke, app, ["archive-1", *options]))


def files_of(front: Source) -> int:
    return len(list((front.parts.settings.folder / "instances").glob("*/*.dcm")))


async def test_all_of_an_archive_is_kept_and_given_without_it(front, archive):
    result = await migrate("--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["studies"], summary["whole"], summary["instances"]) == (2, 2, 3)
    assert files_of(front) == 3
    archive.status = 503
    await drop_copies(front)
    response = await retrieve(front, Ref(), Ref(sop="2.25.14"))
    assert content(response) == [archive.files["2.25.13"], archive.files["2.25.14"]]


async def test_a_list_of_studies_is_migrated_alone(front, tmp_path):
    (tmp_path / "list").write_text("# the urgent ones\n2.25.21\n")
    result = await migrate("--studies", str(tmp_path / "list"))

    assert "1 of 1 study whole, 1 instance" in result.output
    assert files_of(front) == 1


async def test_what_is_whole_is_not_migrated_again(front, archive):
    await migrate()
    asked = len(archive.asked)
    result = await migrate()

    assert "2 of 2 studies whole" in result.output
    assert len(archive.asked) == asked + 1


async def test_what_the_archive_does_not_give_is_told_and_tried_again(front, archive):
    archive.sends["2.25.13"] = [part10(a_ct(PatientID="P2"))]
    result = await migrate()

    assert result.exit_code == 1
    assert f"{STUDY}: 1 of 2: " in result.output
    archive.sends.clear()
    assert (await migrate()).exit_code == 0
    assert files_of(front) == 3


async def test_a_copy_that_is_not_what_was_noted_is_not_kept(front, archive):
    await retrieve(front)
    store = front.parts.instances
    assert isinstance(store, ArchivedInstances)
    [one] = [one for one in await store.find_study(STUDY) if one.sop_instance_uid == "2.25.13"]
    store.copies.path(one.sha256).write_bytes(b"\0" * one.size)

    assert not await store.keep_for_good(one)
    assert one.sop_instance_uid in await store.archives_of([one])


async def test_a_report_whose_last_line_was_broken_off_is_gone_on_with(front, tmp_path):
    await migrate()
    report = tmp_path / "migration.jsonl"
    lines = report.read_text().splitlines()
    report.write_text(f"{lines[0]}\n{lines[1][:40]}")

    assert "2 of 2 studies whole" in (await migrate()).output
    assert json.loads(report.read_text().splitlines()[-1])["whole"], "the broken line took the next one along"


async def test_no_more_than_the_rate_passes_in_a_second(front, archive, monkeypatch, tmp_path):
    paused: list[float] = []

    async def rest(pace: object, seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("xdsi.migrate._Pace.rest", rest)
    size = sum(map(len, archive.files.values()))
    took = 30.0

    result = await migrate("--rate", str(size / took / 1_000_000))

    assert result.exit_code == 0, result.output
    # Nobody waited really, so each pause is from the beginning: the last one is the longest.
    assert took - 5 < max(paused) <= took
    assert sum("multipart" in one for one in archive.asked) >= 2, "all came in one go"
    paused.clear()
    await migrate("--report", str(tmp_path / "again.jsonl"))
    assert not any(paused)


async def test_an_archive_that_is_none_is_told(front):
    with pytest.raises(ArchiveAway, match="there are archive-1"):
        await front.parts.archives.studies_of("other", None, limit=1)  # type: ignore[arg-type]

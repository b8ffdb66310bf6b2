"""kill -9 while an archive is migrated, of the source or the command: every image comes, equal and once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import suppress

import httpx2
import pytest

from imaging_source.settings import ImagingSourceSettings
from tests.support.dicom import a_ct
from tests.support.dicomweb_archive import ScriptedArchive
from tests.support.forked import Program, program
from tests.support.http_server import serving
from tests.support.source_process import SourceProcess
from tests.support.waiting import until
from xdsi.failures import Failed
from xdsi.migrate import _migrated as migrated

STUDIES = [f"2.25.3{number}" for number in range(8)]


@pytest.mark.heavy
async def test_every_image_is_kept_after_kills_and_no_study_is_begun_anew_that_is_whole(tmp_path, long: bool):
    archive = ScriptedArchive()
    for study in STUDIES:
        for number in range(4):
            series, instance = f"{study}.1", f"{study}.1.{number}"
            archive.keep(a_ct(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=instance))
    async with serving(archive) as server, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        url = f"http://127.0.0.1:{server.port}/dicom-web"
        source = SourceProcess(tmp_path / "source", archives={"old": {"url": url}}, archive_check_seconds=0)
        settings = ImagingSourceSettings.load(
            environ={}, data=tmp_path, public_url=source.base, archives={"old": {"url": url}}
        )

        async def migrate() -> list:
            report = tmp_path / "report.jsonl"
            return await migrated(settings, "old", None, "", 0.0, report, lambda number, total: None)

        for _ in range(6 if long else 2):
            await asyncio.to_thread(source.start)
            before = archive.retrievals
            running = asyncio.create_task(migrate())
            with suppress(AssertionError):
                await until(
                    lambda before=before, running=running: archive.retrievals > before or running.done(), 60
                )
            await asyncio.sleep(random.uniform(0.0, 0.1))
            source.process.kill()
            with suppress(Failed):
                await running
        await asyncio.to_thread(source.start)
        outcomes = await migrate()
        archive.status = 503
        answers = {study: await source.study(http, study) for study in STUDIES}
        source.process.terminate()
        assert source.process.wait_stopped() == 0, source.process.last_words()

    assert [one for one in outcomes if not one.whole] == []
    for uid, octets in archive.files.items():
        assert octets in answers[uid.rpartition(".1.")[0]]
    files = list((tmp_path / "source" / "data").glob("*/instances/*/*.dcm"))
    assert len(files) == len(archive.files)


@pytest.mark.heavy
async def test_a_command_that_was_killed_is_gone_on_with_by_the_same_command(tmp_path, long: bool):
    archive = ScriptedArchive()
    for study in STUDIES:
        archive.keep(
            a_ct(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.0")
        )
    async with serving(archive) as server, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        archives = {"old": {"url": f"http://127.0.0.1:{server.port}/dicom-web"}}
        source = SourceProcess(tmp_path / "source", archives=archives)
        await asyncio.to_thread(source.start)
        report = tmp_path / "report.jsonl"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")} | {
            "XDSI_DATA": str(tmp_path / "command"),
            "XDSI_IMAGING_SOURCE__PUBLIC_URL": source.base,
            "XDSI_IMAGING_SOURCE__ARCHIVES": json.dumps(archives),
        }
        words = ("migrate", "old", "--report", str(report), "--json")

        def command() -> Program:
            return program("xdsi", *words, env=environment, log=tmp_path / "log")

        for _ in range(20 if long else 2):
            before = archive.retrievals
            running = command()
            with suppress(AssertionError):
                await until(
                    lambda before=before, running=running: (
                        archive.retrievals > before or running.poll() is not None
                    ),
                    60,
                )
            await asyncio.sleep(random.uniform(0.0, 0.05))
            running.kill()
            await asyncio.to_thread(running.wait)
            running.stdout.close()
        last = command()
        summary = json.loads(await asyncio.to_thread(last.stdout.read))
        assert await asyncio.to_thread(last.wait) == 0, (tmp_path / "log").read_text()
        last.stdout.close()
        archive.status = 503
        answers = {study: await source.study(http, study) for study in STUDIES}
        source.process.kill()

    assert (summary["studies"], summary["whole"]) == (len(STUDIES), len(STUDIES))
    for uid, octets in archive.files.items():
        assert octets in answers[uid.rpartition(".1.")[0]]
    whole = [json.loads(line)["study_instance_uid"] for line in report.read_text().splitlines()]
    assert sorted(whole) == sorted(STUDIES), "a study was migrated twice, or a line of the report is lost"

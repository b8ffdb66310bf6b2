"""Instances that have aged are moved to a colder storage: given as before, and never lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import delete
from typer.testing import CliRunner

from imaging_source.background import cooling
from imaging_source.maintenance.scrub import scrub
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.adoption import adopt
from imaging_source.store.stores import open_contents
from imaging_source.store.tables import metadata
from imaging_source.store.tiers import TieredFiles
from shared.http.checked import StoreUnavailable
from shared.settings import S3Settings, SettingsError
from shared.store.scrub import Finding
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct
from tests.support.imaging_source import Source, close_source, open_source
from tests.support.storages import object_access
from xdsi.cli import build
from xdsi.failures import Failed

__all__ = ["object_access"]

STUDY = "2.25.11"
ALL_DAYS = 400


@dataclass
class Tiers:
    """A source with two tiers, and what it was given."""

    source: Source
    octets: bytes
    uid: str

    @property
    def files(self) -> TieredFiles:
        files = self.source.parts.instances.files
        assert isinstance(files, TieredFiles)
        return files

    async def instance(self) -> Any:
        return (await self.source.parts.instances.find_instances([self.uid]))[self.uid]

    async def at_hand(self) -> bool:
        return self.files.path((await self.instance()).sha256).exists()

    async def in_cold(self) -> bool:
        one = await self.instance()
        return await self.files.cold.whole(one.sha256, one.size)

    async def age(self) -> None:
        """Let the instance have come long ago."""
        then = time.time() - ALL_DAYS * 24 * 3600
        os.utime(self.files.path((await self.instance()).sha256), (then, then))

    async def cool(self) -> None:
        """One turn copies, the next one lets go."""
        for _ in range(2):
            await self.source.service.cooling.turn()

    async def given(self) -> bytes:
        """What WADO-RS gives; empty when nothing is found."""
        async with self.source.client() as client:
            answer = await client.get(
                f"/dicomweb/studies/{STUDY}",
                headers={"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            )
        return answer.content if answer.status_code == 200 else b""


def cold_settings(tmp_path: Path, kind: str, access: S3Settings) -> dict[str, Any]:
    if kind == "files":
        return {"cold_storage_url": (tmp_path / "cold").as_uri()}
    return {"cold_storage_url": f"s3://test/{tmp_path.name}", "s3": access}


@pytest.fixture(params=["files", "objects"])
async def tiers(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    object_access: S3Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Tiers]:
    monkeypatch.setattr(cooling, "PARTING_SECONDS", 0.0)
    settings = cold_settings(tmp_path, request.param, object_access)
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    source = await open_source(place, tmp_path / "data", **settings)
    [kept] = await source.keep(a_ct())
    yield Tiers(source, kept.path.read_bytes(), kept.sop_instance_uid)
    await close_source(source)


async def test_what_has_aged_is_moved_and_given_as_before(tiers: Tiers):
    turn = tiers.source.service.cooling.turn
    await turn()
    assert (await tiers.at_hand(), await tiers.in_cold()) == (True, False), "it is young"
    await tiers.age()
    await turn()
    assert (await tiers.at_hand(), await tiers.in_cold()) == (True, True), "readers may be on their way"
    await turn()
    assert (await tiers.at_hand(), await tiers.in_cold()) == (False, True)

    assert tiers.octets in await tiers.given()
    one = await tiers.instance()
    assert (await tiers.files.local(one)).read_bytes() == tiers.octets
    assert b"".join(tiers.files.read(one.sha256, one.size)) == tiers.octets


async def test_a_scrub_covers_both_tiers(tiers: Tiers):
    async def findings() -> list[Finding]:
        parts = tiers.source.parts
        return [each async for _, _, each in scrub(parts.database, tiers.files, parts.recorder)]

    await tiers.age()
    for _ in range(2):
        await tiers.source.service.cooling.turn()
        assert await findings() == [Finding.WHOLE]
    one = await tiers.instance()
    tiers.files.cold.settled_seconds = -1.0
    await tiers.files.cold.forget(one.sha256)
    assert await findings() == [Finding.DAMAGED]
    assert await tiers.given() == b""


async def test_a_damaged_file_at_hand_goes_when_the_cold_one_is_whole_and_is_moved_never(tiers: Tiers):
    one = await tiers.instance()
    path = tiers.files.path(one.sha256)
    await tiers.age()
    then = path.stat()
    path.write_bytes(bytes(one.size))
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    await tiers.source.service.cooling.turn()
    assert not await tiers.in_cold()
    assert path.exists()

    path.write_bytes(tiers.octets)
    await tiers.files.copy_to_cold(one.sha256, one.size)
    path.write_bytes(bytes(one.size))
    assert tiers.octets in await tiers.given()
    assert not path.exists()


async def test_a_kill_between_any_two_steps_leaves_it_whole_and_the_next_process_goes_on(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
):
    class KilledError(BaseException):
        """The process ends here."""

    def killed(*_: Any, **__: Any) -> Any:
        raise KilledError

    await tiers.age()
    for owner, step in (
        (tiers.files.cold, "copy"),
        (tiers.files.cold, "keep"),
        (tiers.files.cold, "release"),
        (tiers.files, "let_go"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, step, killed)
            with pytest.raises(KilledError):
                await tiers.cool()
        # What it knew in memory is gone.
        tiers.source.service.cooling._copied.clear()
        assert await tiers.at_hand()
        assert tiers.octets in await tiers.given()
    await tiers.cool()
    assert (await tiers.at_hand(), await tiers.in_cold()) == (False, True)


async def test_what_comes_again_is_the_same_instance_and_is_at_hand_only_where_it_was_lost(tiers: Tiers):
    await tiers.age()
    await tiers.cool()
    await tiers.source.keep(tiers.octets)
    assert len(await tiers.source.parts.instances.find_study(STUDY)) == 1
    assert tiers.octets in await tiers.given()


async def test_a_cold_storage_that_is_away_loses_nothing_and_is_told_of(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: Any) -> bool:
        raise StoreUnavailable("the store does not answer")

    await tiers.age()
    with monkeypatch.context() as patched:
        patched.setattr(tiers.files.cold, "whole", away)
        with pytest.raises(StoreUnavailable):
            await tiers.source.service.cooling.turn()
        assert tiers.octets in await tiers.given(), "what is at hand needs no cold storage"


async def test_what_is_erased_is_gone_from_both(tiers: Tiers):
    one = await tiers.instance()
    await tiers.files.copy_to_cold(one.sha256, one.size)
    tiers.files.cold.settled_seconds = -1.0
    await tiers.files.forget(one.sha256)
    assert not tiers.files.path(one.sha256).exists()
    assert not await tiers.files.cold.whole(one.sha256, one.size)


async def test_contents_without_a_row_are_adopted_from_the_cold_storage_too(tiers: Tiers):
    await tiers.age()
    await tiers.cool()
    tiers.files.cold.settled_seconds = -1.0
    for table in reversed(metadata.sorted_tables):
        await tiers.source.parts.database.write(lambda transaction, of=table: transaction.execute(delete(of)))
    assert await adopt(tiers.source.parts.instances, tiers.source.recorder.record, node="here") == 1
    assert tiers.octets in await tiers.given()


# --- settings ------------------------------------------------------------------------------------------


def settings_of(tmp_path: Path, **changes: Any) -> ImagingSourceSettings:
    return ImagingSourceSettings.load(environ={}, data=tmp_path / "data", **changes)


def test_a_cold_storage_that_was_used_may_not_be_left_out_or_be_another(tmp_path: Path):
    cold = (tmp_path / "cold").as_uri()
    open_contents(settings_of(tmp_path, cold_storage_url=cold)).close()
    open_contents(settings_of(tmp_path, cold_storage_url=cold)).close()
    for changes in ({}, {"cold_storage_url": (tmp_path / "other").as_uri()}):
        with pytest.raises(SettingsError, match=r"XDSI_COLD_STORAGE_URL: instances of .* are in file://"):
            open_contents(settings_of(tmp_path, **changes))


def test_a_cold_folder_that_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path: Path):
    cold = tmp_path / "cold"
    open_contents(settings_of(tmp_path, cold_storage_url=cold.as_uri())).close()
    cold.rename(tmp_path / "unplugged")
    cold.mkdir()
    with pytest.raises(SettingsError, match="not mounted"):
        open_contents(settings_of(tmp_path, cold_storage_url=cold.as_uri()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"storage_url": "s3://test/a", "cold_storage_url": "s3://test/b"}, "are objects already"),
        ({"storage_url": "file:///srv/a", "cold_storage_url": "file:///srv/a"}, "name another place"),
    ],
)
def test_a_cold_storage_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], said: str):
    with pytest.raises(SettingsError, match=said):
        settings_of(tmp_path, **changes)


# --- commands ------------------------------------------------------------------------------------------


@dataclass
class CommandLine:
    """`xdsi db` beside the source."""

    environment: dict[str, str]

    async def __call__(self, *words: str) -> Result:
        return await asyncio.to_thread(
            CliRunner().invoke, build("db"), ["db", *words], env=dict(self.environment)
        )

    async def where(self) -> dict[str, int]:
        """How many instances are in each place, and due."""
        told = json.loads((await self("tiers", "--json")).stdout)
        return {place: one["contents"] for place, one in told.items() if one["contents"]}


@pytest.fixture
def command_line(tiers: Tiers, tmp_path: Path) -> CommandLine:
    settings = tiers.source.parts.settings
    environment = {
        "XDSI_DATA": str(settings.data),
        "XDSI_DATABASE_URL": f"sqlite:///{tmp_path}/database/imaging_source.sqlite3",
        "XDSI_COLD_STORAGE_URL": str(settings.cold_storage_url),
        "XDSI_S3__ENDPOINT": str(settings.s3.endpoint or "https://nowhere.invalid"),
        "XDSI_S3__ACCESS_KEY": settings.s3.access_key or "id",
        "XDSI_S3__SECRET_KEY": settings.s3.secret_key or "secret",
        "XDSI_S3__ALLOW_HTTP": "true",
    }
    return CommandLine(environment)


async def test_it_is_told_what_lies_where_and_what_is_due(tiers: Tiers, command_line: CommandLine):
    turn = tiers.source.service.cooling.turn
    assert await command_line.where() == {"at_hand": 1}
    await tiers.age()
    assert await command_line.where() == {"at_hand": 1, "due": 1}
    await turn()
    assert await command_line.where() == {"in_both": 1, "due": 1}
    await turn()
    assert await command_line.where() == {"cold": 1}
    assert "cold" in (await command_line("tiers")).stdout

    tiers.files.cold.settled_seconds = -1.0
    await tiers.files.cold.forget((await tiers.instance()).sha256)
    lost = await command_line("tiers")
    assert isinstance(lost.exception, Failed)
    assert "nowhere" in str(lost.exception)


@pytest.mark.parametrize("words", [[STUDY], ["--all"]])
async def test_what_was_moved_is_brought_back_and_ages_anew(
    tiers: Tiers, command_line: CommandLine, words: list[str]
):
    await tiers.age()
    await tiers.cool()
    done = await command_line("warm", *words)
    assert done.stdout.startswith("brought back: 1 instance, ")
    await tiers.cool()
    assert (await tiers.at_hand(), await tiers.in_cold()) == (True, True)
    assert tiers.octets in await tiers.given()
    await tiers.age()
    await tiers.cool()
    assert (await tiers.at_hand(), await tiers.in_cold()) == (False, True)


async def test_what_was_copied_and_is_wanted_again_is_not_let_go(tiers: Tiers, command_line: CommandLine):
    await tiers.age()
    await tiers.source.service.cooling.turn()
    assert "1 instance, 0.0 MB at hand already" in (await command_line("warm", STUDY)).stdout
    one = await tiers.instance()
    assert not await tiers.files.let_go(one.sha256, one.size, before=cooling.cools_before(365))
    assert await tiers.at_hand()


async def test_what_is_damaged_does_not_come_back_and_is_named(tiers: Tiers, command_line: CommandLine):
    await tiers.age()
    await tiers.cool()
    one = await tiers.instance()
    tiers.files.cold.settled_seconds = -1.0
    await tiers.files.cold.forget(one.sha256)
    done = await command_line("warm", STUDY)
    assert isinstance(done.exception, Failed)
    assert one.sha256 in done.stderr
    assert not await tiers.at_hand()


@pytest.mark.parametrize(
    ("words", "change", "told"),
    [
        (["warm", "1.2.3"], {}, "has no study 1.2.3"),
        (["warm", STUDY], {"XDSI_COLD_STORAGE_URL": None}, "no cold storage is named"),
        (["tiers"], {"XDSI_DATABASE_URL": "sqlite:////nowhere/x"}, "has no data here"),
    ],
)
async def test_what_cannot_be_brought_back_is_said(
    tiers: Tiers, command_line: CommandLine, words: list[str], change: dict[str, str], told: str
):
    command_line.environment.update(change)
    assert told in str((await command_line(*words)).exception)


async def test_who_could_write_what_the_service_cannot_read_is_turned_away(
    tiers: Tiers, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    assert "run it as that one" in str((await command_line("warm", STUDY)).exception)


@pytest.mark.parametrize("words", [[], [STUDY, "--all"], ["no-uid"]])
def test_how_warm_is_used_is_said(words: list[str]):
    assert CliRunner().invoke(build("db"), ["db", "warm", *words]).exit_code == 2

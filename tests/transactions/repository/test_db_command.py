"""`xdsi db`: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from repository.settings import RepositorySettings
from repository.store.files import FileBlobs
from repository.store.integrity import Integrity
from repository.store.tables import MIGRATIONS
from repository.transactions import iti41
from repository.unit import Parts
from shared.audit.recorder import AuditRecorder
from shared.security.caller import Node
from shared.store.opening import open_database
from tests.support.metadata import a_document_entry, a_submission
from tests.transactions.repository.conftest import (
    PROVIDER,
    House,
    NobodyMakes,
    ScriptedConsent,
    ScriptedRegistry,
)
from xdsi.db import app
from xdsi.failures import Failed


async def _filled(settings: RepositorySettings, number: int) -> None:
    blobs, recorder = FileBlobs(settings.folder), AuditRecorder(settings, "repository")
    database = await open_database(None, folder=settings.folder, migrations=MIGRATIONS)
    registry, consent = ScriptedRegistry(), ScriptedConsent()
    parts = Parts(
        settings=settings,
        database=database,
        blobs=blobs,
        integrity=Integrity(blobs, None, recorder),
        consent=consent,
        registry=registry,
        provider=NobodyMakes(),
        recorder=recorder,
        node=Node(address="127.0.0.1"),
    )
    house = House(parts, registry, consent)
    for index in range(number):
        request = house.request(
            a_submission(a_document_entry(hash="", size=None, repository_unique_id="")), a=b"%d" % index
        )
        await iti41.handle(house.unit(replace(PROVIDER, message_id=f"urn:uuid:{uuid4()}")), request)
    await recorder.close()
    await database.close()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a repository with three documents that is not running."""
    data = tmp_path / "data"
    monkeypatch.setenv("XDSI_DATA", str(data))
    # nobody listens there: what is recorded waits in the spool
    monkeypatch.setenv("XDSI_AUDIT__URL", "tcp://127.0.0.1:9")
    asyncio.run(_filled(RepositorySettings.load(), 3))
    return data


def run(*words: object):
    return CliRunner().invoke(app, [*map(str, words)])


def blobs_of(data: Path) -> list[Path]:
    return sorted(one for one in (data / "repository" / "blobs").rglob("*") if one.is_file())


def test_whole_documents_are_counted(data: Path):
    result = run("verify")
    assert result.exit_code == 0
    assert "3 documents, 0.0 MB: 3 whole, 0 repaired, 0 damaged, 0 unknown" in result.output


def test_damage_ends_with_a_failure_and_is_named_and_recorded(data: Path):
    blob = blobs_of(data)[1]
    blob.write_bytes(b"x")

    result = run("verify", "--json", "--rate", "100")

    assert isinstance(result.exception, Failed)
    found = json.loads(result.output)
    assert (found["whole"], found["damaged"]) == (2, 1)
    assert found["not_whole"] == [{"sha256": blob.name, "finding": "damaged"}]
    spooled = b"".join(
        one.read_bytes() for one in (data / "repository" / "tools").rglob("*") if one.is_file()
    )
    assert b"110113" in spooled
    assert f"urn:sha256:{blob.name}".encode() in spooled


def test_a_backup_repairs_what_it_is_the_replica_of(data: Path, tmp_path: Path, monkeypatch):
    assert run("backup", tmp_path / "backup").exit_code == 0
    blob = blobs_of(data)[0]
    octets = blob.read_bytes()
    blob.write_bytes(b"x")
    monkeypatch.setenv("XDSI_REPLICA_URL", (tmp_path / "backup" / "repository").as_uri())

    result = run("verify", "--json")

    assert result.exit_code == 0
    assert json.loads(result.output)["repaired"] == 1
    assert blob.read_bytes() == octets


def test_a_backup_is_restored_into_an_empty_repository_alone(data: Path, tmp_path: Path, monkeypatch):
    result = run("backup", tmp_path / "backup", "--json")
    assert json.loads(result.output)["repository"]["contents"] == 3
    assert isinstance(run("restore", tmp_path / "backup").exception, Failed)
    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "new"))

    result = run("restore", tmp_path / "backup")

    assert result.exit_code == 0
    assert "3 documents" in result.output
    assert run("verify").exit_code == 0
    assert [one.name for one in blobs_of(tmp_path / "new")] == [one.name for one in blobs_of(data)]


def test_a_backup_of_another_repository_is_refused(data: Path, tmp_path: Path, monkeypatch):
    run("backup", tmp_path / "backup")
    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "new"))
    monkeypatch.setenv("XDSI_REPOSITORY_UNIQUE_ID", "1.2.3")

    assert "REPOSITORY_UNIQUE_ID" in str(run("restore", tmp_path / "backup").exception)


def test_what_is_no_backup_is_refused(data: Path, tmp_path: Path):
    assert "no backup" in str(run("restore", tmp_path).exception)
    (tmp_path / "repository").mkdir()
    assert "no complete backup" in str(run("restore", tmp_path).exception)


def test_where_there_are_no_data_nothing_is_backed_up(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "nowhere"))
    assert "no service has data here" in str(run("backup", tmp_path / "backup").exception)
    assert not (tmp_path / "backup").exists()

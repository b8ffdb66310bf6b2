"""Backup and restore: what was acknowledged before the backup began is in it, whole, whoever writes on."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from repository.background.janitor import Janitor
from repository.domain.provision import ProvisionState
from repository.maintenance.backup import backup, restore
from repository.settings import RepositorySettings
from repository.store.documents import count_blobs
from repository.store.encoding import Encoding
from repository.store.files import FileBlobs
from repository.store.integrity import Integrity
from repository.store.tables import MIGRATIONS
from repository.transactions import iti41, iti43, iti86
from repository.unit import Parts
from shared.audit.recorder import AuditRecorder
from shared.messages.documents import DocumentRequest
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.messages.iti86 import RemoveDocumentsRequest
from shared.security.caller import Node
from shared.soap.client import PeerUnclear
from shared.store.backup import BackupError, read_manifest
from shared.store.failures import DatabaseUnavailable
from shared.store.opening import open_database
from shared.store.snapshot import open_reader, open_snapshot
from tests.support.blobs import octets_of
from tests.support.metadata import a_document_entry, a_submission
from tests.support.waiting import until
from tests.transactions.repository.conftest import (
    PROVIDER,
    House,
    NobodyMakes,
    ScriptedConsent,
    ScriptedRegistry,
)

KEY = bytes(range(32))


@dataclass
class Place:
    """Where repositories are: below a folder, each with a database of its own."""

    kind: str
    folder: Path
    cluster: str

    async def settings(self, name: str) -> RepositorySettings:
        url = await self._database() if self.kind == "postgresql" else None
        return RepositorySettings.load(environ={}, data=self.folder / name, database_url=url)

    async def _database(self) -> str:
        name = f"b{uuid4().hex}"
        connection = await asyncpg.connect(self.cluster)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.cluster.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    cluster = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return Place(request.param, tmp_path, cluster)


@pytest.fixture
async def opened(place: Place) -> AsyncIterator:
    """Opens repositories, and closes them at the end."""
    closers = []

    async def open_house(settings: RepositorySettings, encoding: Encoding | None = None) -> House:
        blobs = FileBlobs(settings.folder, encoding)
        recorder = AuditRecorder(settings, "repository")
        database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
        registry, consent = ScriptedRegistry(), ScriptedConsent()
        closers.extend((database.close, recorder.close))
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
        return House(parts, registry, consent)

    yield open_house
    for close in closers:
        await close()


async def kept(house: House, octets: bytes) -> str:
    entry = a_document_entry(hash="", size=None, repository_unique_id="")
    caller = replace(PROVIDER, message_id=f"urn:uuid:{uuid4()}")
    await iti41.handle(house.unit(caller), house.request(a_submission(entry), a=octets))
    return entry.unique_id


def named(house: House, unique_id: str) -> tuple[DocumentRequest, ...]:
    ours = house.parts.settings.repository_unique_id
    return (DocumentRequest(repository_unique_id=ours, document_unique_id=unique_id),)


async def retrieved(house: House, unique_id: str) -> bytes | None:
    request = RetrieveDocumentSetRequest(documents=named(house, unique_id))
    response = await iti43.handle(house.unit(), request)
    return octets_of(response.documents[0].content) if response.documents else None


async def backed_up(house: House, folder: Path, encoding: Encoding | None = None) -> list[str]:
    """Back up and return what was left out."""
    folder.mkdir(exist_ok=True)
    target = FileBlobs(folder, encoding)
    return [
        sha256
        async for sha256, _, whole in backup(house.parts.settings, house.parts.blobs, target, folder)
        if not whole
    ]


async def restored(
    folder: Path,
    settings: RepositorySettings,
    encoding: Encoding | None = None,
    registry_taken: float | None = None,
) -> list[str]:
    """Restore and return what was missing."""
    source, target = FileBlobs(folder, encoding), FileBlobs(settings.folder, encoding)
    manifest = read_manifest(folder, "repository")
    return [
        sha256
        async for sha256, _, whole in restore(
            settings, source, target, folder, manifest, registry_taken=registry_taken
        )
        if not whole
    ]


@pytest.mark.parametrize("encoding", [None, Encoding([KEY], compress=True)], ids=["plain", "encrypted"])
async def test_what_was_backed_up_comes_back_elsewhere(place: Place, opened, encoding):
    house = await opened(await place.settings("old"), encoding)
    documents = {await kept(house, octets): octets for octets in (b"", b"one", os.urandom(100_000))}
    gone = await kept(house, b"removed")
    request = RemoveDocumentsRequest(documents=named(house, gone))
    await iti86.handle(house.unit(replace(PROVIDER, community_node=True)), request)

    assert await backed_up(house, place.folder / "backup", encoding) == []
    settings = await place.settings("new")
    assert await restored(place.folder / "backup", settings, encoding) == []

    new = await opened(settings, encoding)
    assert {unique_id: await retrieved(new, unique_id) for unique_id in documents} == documents
    assert await retrieved(new, gone) is None


async def test_a_retry_after_the_restore_is_answered_as_before_and_doubts_are_kept(place: Place, opened):
    house = await opened(await place.settings("old"))
    entry = a_document_entry(hash="", size=None, repository_unique_id="")
    submission = a_submission(entry)
    await iti41.handle(house.unit(), house.request(submission, a=b"x"))
    house.registry.answers = [PeerUnclear("http://127.0.0.1:8010/xds/registry", "no answer")]
    await kept(house, b"in doubt")
    await backed_up(house, place.folder / "backup")
    settings = await place.settings("new")
    await restored(place.folder / "backup", settings)

    new = await opened(settings)
    await iti41.handle(new.unit(), new.request(submission, a=b"x"))

    assert new.registry.heard == []
    assert sorted(await new.states()) == [ProvisionState.IN_DOUBT, ProvisionState.REGISTERED]


async def test_a_restored_repository_goes_on(place: Place, opened):
    house = await opened(await place.settings("old"))
    first = await kept(house, b"first")
    await backed_up(house, place.folder / "backup")
    settings = await place.settings("new")
    await restored(place.folder / "backup", settings)

    new = await opened(settings)
    second = await kept(new, b"second")

    assert [await retrieved(new, one) for one in (first, second)] == [b"first", b"second"]


async def test_what_the_registrys_older_backup_may_lack_is_registered_again(place: Place, opened):
    house = await opened(await place.settings("old"))
    unique_id = await kept(house, b"x")
    await backed_up(house, place.folder / "backup")
    settings = await place.settings("new")
    await restored(place.folder / "backup", settings, registry_taken=time.time())
    new = await opened(settings)
    assert await new.states() == [ProvisionState.IN_DOUBT]

    assert await Janitor(new.parts).resolve(older_than_seconds=-1) == 1

    [(message_id, request)] = new.registry.heard
    assert message_id == house.registry.heard[0][0]
    assert request.decoded.submission.document_entries[0].unique_id == unique_id
    assert await new.states() == [ProvisionState.REGISTERED]


async def test_a_backup_while_others_write_is_a_prefix_of_what_was_acknowledged(place: Place, opened):
    house = await opened(await place.settings("old"))
    acknowledged: dict[str, bytes] = {}
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            octets = random.randbytes(2_000)
            acknowledged[await kept(house, octets)] = octets
            await asyncio.sleep(0.001)

    writers = [asyncio.create_task(write()) for _ in range(3)]
    await until(lambda: len(acknowledged) >= 10)
    before = dict(acknowledged)
    assert await backed_up(house, place.folder / "backup") == []
    done.set()
    await asyncio.gather(*writers)

    settings = await place.settings("new")
    assert await restored(place.folder / "backup", settings) == []
    new = await opened(settings)
    found = {unique_id: await retrieved(new, unique_id) for unique_id in acknowledged}
    there = {unique_id: octets for unique_id, octets in found.items() if octets is not None}
    assert before.items() <= there.items() <= acknowledged.items()


async def test_a_second_backup_copies_what_is_new_and_replaces_the_first(place: Place, opened):
    house = await opened(await place.settings("old"))
    first = await kept(house, b"first")
    folder = place.folder / "backup"
    await backed_up(house, folder)
    [copy] = [one for one in (folder / "blobs").rglob("*") if one.is_file()]
    inode = copy.stat().st_ino
    second = await kept(house, b"second")

    await backed_up(house, folder)

    assert copy.stat().st_ino == inode
    assert len(list(folder.glob("index-*.jsonl"))) == 1
    settings = await place.settings("new")
    await restored(folder, settings)
    new = await opened(settings)
    assert [await retrieved(new, one) for one in (first, second)] == [b"first", b"second"]


async def test_a_damaged_document_is_left_out_and_named(place: Place, opened):
    house = await opened(await place.settings("old"))
    await kept(house, b"whole")
    await kept(house, b"damaged")
    for path in (house.parts.settings.folder / "blobs").rglob("*"):
        if path.is_file() and path.read_bytes() == b"damaged":
            path.write_bytes(b"Damaged")
            name = path.name

    assert await backed_up(house, place.folder / "backup") == [name]


async def test_a_restore_goes_into_an_empty_repository_alone(place: Place, opened):
    house = await opened(await place.settings("old"))
    await kept(house, b"x")
    await backed_up(house, place.folder / "backup")
    if place.kind == "sqlite":
        with pytest.raises(DatabaseUnavailable, match="another process"):
            await restored(place.folder / "backup", house.parts.settings)
    else:
        with pytest.raises(BackupError, match="holds 1 submissions"):
            await restored(place.folder / "backup", house.parts.settings)


@pytest.mark.parametrize("harm", ["absent", "unfinished", "index"])
async def test_a_folder_that_is_no_whole_backup_is_refused(place: Place, opened, harm: str):
    house = await opened(await place.settings("old"))
    await kept(house, b"x")
    folder = place.folder / "backup"
    await backed_up(house, folder)
    if harm == "absent":
        (folder / "manifest.json").unlink()
    elif harm == "unfinished":
        (folder / "manifest.json").write_text("{")
    else:
        [index] = folder.glob("index-*")
        index.write_bytes(index.read_bytes()[:-1])

    with pytest.raises(BackupError):
        read_manifest(folder, "repository")


async def test_there_is_no_snapshot_of_what_is_not_there(place: Place):
    settings = await place.settings("nowhere")
    if settings.database_url:
        settings = settings.model_copy(
            update={"database_url": settings.database_url.replace("/b", "/absent")}
        )
    with pytest.raises(DatabaseUnavailable):
        async with open_snapshot(settings.database_url, folder=settings.folder):
            pass


async def test_a_snapshot_stays_and_a_reader_sees_what_comes(place: Place, opened):
    settings = await place.settings("old")
    house = await opened(settings)
    where = {"folder": settings.folder}
    async with (
        open_snapshot(settings.database_url, **where) as snapshot,
        open_reader(settings.database_url, **where) as reader,
    ):
        assert await count_blobs(snapshot) == (0, 0)
        await kept(house, b"12345")

        assert await count_blobs(snapshot) == (0, 0)
        assert await count_blobs(reader) == (1, 5)

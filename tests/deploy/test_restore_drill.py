"""A community is destroyed, and restored elsewhere by the scripts of `deploy/backup`: whatever was
acknowledged before the backup is there, and its trail is whole."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from lxml import etree

from shared.audit import syslog
from tests.support.community import cx, permit, settings_of, started
from tests.support.object_stores import ObjectStore, moto, reset, seaweedfs
from tests.support.postgres import binaries, running
from tests.support.trail import told
from tests.support.waiting import until
from tests.support.workload import SentStudy, Workload
from xdsi.audit import verified_by_service
from xdsi.consent import ask_registry
from xdsi.services import Service
from xdsi.stage import Stage, free_ports, write_toml

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.peer,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL is started as another user, which needs root"),
    # pynetdicom's SCU leaves its socket open when the other side was first to end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Not fewer where it is restored than where the log was written.
CONNECTIONS = "-c max_connections=200"
SCRIPTS = Path(__file__).parents[2] / "deploy" / "backup"


@dataclass
class Place:
    """Where a community is: what its services keep, its settings and keys, and its PostgreSQL."""

    folder: Path
    database: Path
    port: int
    store: ObjectStore

    @property
    def config(self) -> Path:
        """The settings of the services that keep documents and instances."""
        return self.etc / "north.toml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.database}&port={self.port}"

    def stage(self) -> Stage:
        """The community, with the certificates that are there, or new ones."""
        changes: dict[str, Any] = {
            "data": str(self.data),
            "database_url": self.url,
            "consent": {"default": "permit"},
            # Documents are objects, and instances files.
            "repository": {
                "storage_url": f"s3://{self.store.bucket}/documents",
                "s3": self.store.settings.model_dump(exclude_none=True),
            },
        }
        return Stage(self.etc, changes=changes)

    def environment(self, backup: Path) -> dict[str, str]:
        """What the scripts are told."""
        programs = binaries()
        assert programs is not None
        return {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "BACKUP": str(backup / "backup"),
            "KEYS": str(backup / "keys"),
            "XDSI_DATA": str(self.data),
            "ETC": str(self.etc),
            "CONFIG": str(self.config),
            "XDSI": str(Path(sys.executable).with_name("xdsi")),
            "PGHOST": str(self.database),
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGDATA": str(self.database / "data"),
            "PG_BIN": str(programs),
            "PG_OPTIONS": f"-k {self.database} -p {self.port} -c listen_addresses=127.0.0.1 {CONNECTIONS}",
        }


async def script(name: str, *words: str, environment: dict[str, str]) -> str:
    """What a script said, which has to succeed."""
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / name, *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, said.decode()
    return said.decode()


@dataclass(frozen=True)
class Acknowledged:
    """What was acknowledged at a moment."""

    submissions: frozenset[str]
    documents: frozenset[str]
    studies: dict[str, SentStudy]
    patients: tuple[str, ...]
    policies: frozenset[str]

    @classmethod
    async def by_now(cls, workload: Workload) -> Acknowledged:
        sent = [one for one in workload.submissions.values() if one.acknowledged]
        studies = {
            uid: replace(study, stored=set(study.stored))
            for uid, study in workload.studies.items()
            if study.stored
        }
        patients = tuple(workload.patients)
        return cls(
            frozenset(one.set_unique_id for one in sent),
            frozenset(uid for one in sent for uid in one.documents),
            studies,
            patients,
            await policies_of(workload.stage, patients),
        )


async def policies_of(stage: Stage, patients: tuple[str, ...]) -> frozenset[str]:
    """The ids of the policies of patients."""
    settings = settings_of(stage, Service.REGISTRY)
    answers = [await ask_registry(settings, "policies", {"patient_id": cx(patient)}) for patient in patients]
    return frozenset(policy["policy_id"] for answer in answers for policy in answer["policies"])


async def registrations_in_trail(place: Place) -> set[str]:
    """The submission sets of which the trail says that they were provided and that they were registered."""
    connection = await asyncpg.connect(place.url)
    try:
        rows = await connection.fetch("SELECT raw FROM audit_repository.audit_record")
    finally:
        await connection.close()
    records = [told(etree.fromstring(syslog.parse(row["raw"]).body)) for row in rows]
    named = [
        {
            uid
            for one in records
            if transaction in one.types and one.reporter == reporter
            for uid in one.objects
        }
        for transaction, reporter in (("ITI-41", "xdsi-repository"), ("ITI-42", "xdsi-registry"))
    ]
    return named[0] & named[1]


@contextmanager
def folder_of_postgres() -> Iterator[Path]:
    """A folder into which the user postgres comes."""
    folder = Path(tempfile.mkdtemp(prefix="xdsi-drill-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def archiving_database(backup: Path, port: int) -> Iterator[Path]:
    """A PostgreSQL that archives its log as docs/restore-drill.md says."""
    archive = backup / "backup" / "wal"
    archive.mkdir(parents=True)
    for each in (backup / "backup", archive):
        each.chmod(0o755)
    shutil.chown(archive, "postgres", "postgres")
    command = f"cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f"
    more = f"-c wal_level=replica -c archive_mode=on -c archive_command='{command}' {CONNECTIONS}"
    with running(port=port, more=more) as folder:
        yield folder


@asynccontextmanager
async def at_work(stage: Stage) -> AsyncIterator[Workload]:
    """People at work, who set policies too."""
    async with Workload.on(stage, random.randrange(2**32)) as workload:
        await workload.start()
        await permit(stage, *workload.patients)
        yield workload


def is_busy(workload: Workload, times: int) -> bool:
    return all(workload.counts[kind] >= times for kind in ("provided", "publication taken", "read study"))


async def test_a_community_that_is_destroyed_is_restored_elsewhere_with_all_that_was_acknowledged(long: bool):
    stores = seaweedfs if long else moto
    with folder_of_postgres() as folder, ExitStack() as stack:
        backup = folder / "kept"
        backup.mkdir()
        with moto() as store:
            sent, before = await destroyed_after_a_backup(folder, backup, store, 20 if long else 3)
            # All stores of moto in one process have the same contents.
            await asyncio.to_thread(reset, store)
        new_store = stack.enter_context(stores())
        began = time.monotonic()
        new = Place(folder / "new", folder / "new-database", free_ports(1)[0], new_store)
        new.database.mkdir()
        shutil.chown(new.database, "postgres", "postgres")
        try:
            environment = new.environment(backup)
            await script("restore.sh", "database", environment=environment)
            await script("restore.sh", "files", environment=environment)
            # The store is another one now, which is to be named before it is filled.
            restored = new.stage()
            write_toml(new.config, restored.settings(restored.north))
            said = await script("restore.sh", "objects", environment=environment)
            assert re.search(r"repository: [1-9]\d* objects?, .* 0 damaged", said)
            with started(restored) as stage:
                print(f"restored and ready after {time.monotonic() - began:.1f} s")
                await all_of_it_is_there(new, stage, sent, before)
        finally:
            stop_database(new)


async def destroyed_after_a_backup(
    folder: Path, backup: Path, store: ObjectStore, times: int
) -> tuple[Workload, Acknowledged]:
    """What was sent to a community until it was destroyed, and what was acknowledged before its backup, by
    when people had done everything so many times."""
    [port] = free_ports(1)
    with archiving_database(backup, port) as database:
        old = Place(folder / "old", database, port, store)
        environment = old.environment(backup)
        stage = old.stage()
        for _ in stage.start():
            pass
        try:
            async with at_work(stage) as workload:
                await script("back-up.sh", "base", environment=environment)
                await until(lambda: is_busy(workload, times), 120)
                before = await Acknowledged.by_now(workload)
                await script("back-up.sh", "files", environment=environment)
                then = workload.counts["provided"]
                await until(lambda: workload.counts["provided"] >= then + times, 120)
                await workload.stop()
                assert workload.broken() == []
                assert workload.violations == []
        finally:
            for _, member in stage.members:
                member.kill()
    shutil.rmtree(old.data)
    for party in ("community", "north", "south"):
        shutil.rmtree(old.etc / party)
    return workload, before


async def all_of_it_is_there(place: Place, stage: Stage, sent: Workload, before: Acknowledged) -> None:
    async with Workload.on(stage, 1) as restored:
        restored.submissions, restored.studies = sent.submissions, before.studies
        for submission in sent.submissions.values():
            whole = await restored.check_whole(submission)
            assert whole or submission.set_unique_id not in before.submissions
        visible = set[str]()
        for patient in before.patients:
            found = await restored.find(cx(patient))
            visible |= {entry.unique_id for entry in found}
            await restored.check_bytes(found)
        assert before.documents <= visible
        for study in before.studies.values():
            await restored.check_study(study)
        assert restored.violations == []
        assert await policies_of(stage, before.patients) == before.policies

        until_told = time.monotonic() + 60
        while not before.submissions <= await registrations_in_trail(place):
            assert time.monotonic() < until_told, "the trail lacks what was acknowledged"
            await asyncio.sleep(0.5)
        report = await verified_by_service(settings_of(stage, Service.AUDIT_REPOSITORY), "")
        assert report["problems"] == []


def stop_database(place: Place) -> None:
    try:
        process = int((place.database / "data" / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        os.kill(process, signal.SIGQUIT)
    except (OSError, ValueError):
        return
    while Path(f"/proc/{process}").exists():
        time.sleep(0.05)

"""A community is destroyed, and restored elsewhere by the scripts of `deploy/backup`: whatever was
acknowledged before the backup is there, and its trail is whole."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.community import started
from tests.support.drill import (
    Acknowledged,
    all_of_it_is_there,
    at_work,
    folder_of_postgres,
    is_busy,
    script,
)
from tests.support.object_stores import ObjectStore, moto, reset, seaweedfs
from tests.support.postgres import binaries, running
from tests.support.waiting import until
from tests.support.workload import Workload
from xdsi.stage import Stage, free_ports, write_toml

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.peer,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL is started as another user, which needs root"),
    # pynetdicom's SCU leaves its socket open when the other side was first to end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Not fewer where it is restored than where the log was written.
CONNECTIONS = "-c max_connections=200"


#: By then people have done everything a few times, on a busy machine too.
BUSY_SECONDS = 600


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


async def test_a_community_that_is_destroyed_is_restored_elsewhere_with_all_that_was_acknowledged(long: bool):
    stores = seaweedfs if long else moto
    with folder_of_postgres() as folder, ExitStack() as stack:
        backup = folder / "kept"
        backup.mkdir()
        with moto() as store:
            sent, before = await destroyed_after_a_backup(folder, backup, store, 5 if long else 3)
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
                await all_of_it_is_there(new.url, stage, sent, before)
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
                await until(lambda: is_busy(workload, times), BUSY_SECONDS)
                before = await Acknowledged.by_now(workload)
                await script("back-up.sh", "files", environment=environment)
                then = workload.counts["provided"]
                await until(lambda: workload.counts["provided"] >= then + times, BUSY_SECONDS)
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


def stop_database(place: Place) -> None:
    try:
        process = int((place.database / "data" / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        os.kill(process, signal.SIGQUIT)
    except (OSError, ValueError):
        return
    while Path(f"/proc/{process}").exists():
        time.sleep(0.05)

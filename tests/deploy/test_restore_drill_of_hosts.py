"""The drill of several hosts: database, objects, audit repository and the other services are each at one of
their own; all of them are lost, and the community is restored on others, which have other addresses.

The hosts are networks of their own on this machine; the folder of the backup is one that all of them mount.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.support import hosts as hosts_module
from tests.support.drill import (
    Acknowledged,
    all_of_it_is_there,
    at_work,
    folder_of_postgres,
    is_busy,
    script,
)
from tests.support.hosts import Daemon, Host, hosts
from tests.support.patroni import wait_until
from tests.support.postgres import binaries
from tests.support.waiting import until
from tests.support.workload import Workload
from xdsi.community import Process, processes, start_all
from xdsi.services import Service
from xdsi.stage import Stage, write_toml

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.peer,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed"),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(bool(hosts_module.impossible()), reason=hosts_module.impossible()),
    # pynetdicom's SCU leaves its socket open when the other side was first to end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PARTS = ("services", "audit")
PORT, STORE_PORT = 5432, 5000
#: Not fewer where it is restored than where the log was written.
CONNECTIONS = "max_connections=200"
MOMENT = "2030-05-04"
TIMES = 5
#: By then people have done everything so often, on a busy machine too.
BUSY_SECONDS = 600


class SpreadStage(Stage):
    """A stage whose audit repository is at a host of its own, with data and settings of its own there."""

    def __init__(self, folder: Path, audit: Host, audit_folder: Path, changes: dict[str, Any]) -> None:
        self._audit_host, self._audit_folder = audit, audit_folder
        super().__init__(folder, changes=changes)
        etc = audit_folder / "etc"
        self.audit = Daemon(
            audit,
            (sys.executable, "-m", "xdsi", "serve", Service.AUDIT_REPOSITORY, "--config", etc / "xdsi.toml"),
            audit_folder / "log",
        )

    def url(self, name: str, path: str = "") -> str:
        """An address of the community."""
        url = super().url(name, path)
        return url.replace("127.0.0.1", self._audit_host.address) if name == "audit" else url

    def settings(self, who: Any) -> dict[str, Any]:
        """The settings of everything that belongs to `who`."""
        made = super().settings(who)
        made["audit"] = {"url": f"tls://{self._audit_host.address}:{self.ports['syslog']}"}
        made["audit_repository"] |= {"host": self._audit_host.address, "public_url": self.url("audit")}
        return made

    def start(self) -> Iterator[Process]:
        """Start every service, and yield each of this host when it is ready."""
        self._start_audit()
        for who, services in (
            (self.community, (Service.REGISTRY,)),
            (self.north, (Service.REPOSITORY, Service.IMAGING_SOURCE)),
        ):
            config = write_toml(self.folder / f"{who.name.lower()}.toml", self.settings(who))
            environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
            for member in processes(services, environment, self.folder / "log", config=config):
                self.members.append((who.name, member))
        return start_all([member for _, member in self.members])

    def _start_audit(self) -> None:
        etc = self._audit_folder / "etc"
        own = etc / "certificates"
        theirs = self.folder / "community" / "certificates"
        shutil.copytree(theirs, own, dirs_exist_ok=True)
        settings = self.settings(self.community) | {"data": str(self._audit_folder / "data")}
        # What is for others; documents are not here.
        for name in ("repository", "imaging_source", "registry"):
            settings.pop(name)
        path = write_toml(etc / "xdsi.toml", settings)
        path.write_text(path.read_text("utf-8").replace(str(theirs), str(own)), "utf-8")
        self.audit.start()
        log = self.audit.log
        wait_until(lambda: " ready " in log.read_text("utf-8"), 60, lambda: log.read_text("utf-8"))

    def kill(self) -> None:
        """End everything at once."""
        self.audit.kill()
        for _, member in self.members:
            member.kill()


@dataclass
class Site:
    """A community on hosts, and where they keep what."""

    folder: Path
    database: Host
    objects: Host
    audit: Host

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.database.address}:{PORT}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "postgresql" / "data"

    def stage(self) -> SpreadStage:
        changes = {
            "data": str(self.folder / "services" / "data"),
            "database_url": self.url,
            "consent": {"default": "permit"},
            "repository": {
                "storage_url": "s3://test/documents",
                "s3": {
                    "endpoint": f"http://{self.objects.address}:{STORE_PORT}",
                    "access_key": "id",
                    "secret_key": "secret",
                    "allow_http": True,
                },
            },
        }
        return SpreadStage(self.folder / "services" / "etc", self.audit, self.folder / "audit", changes)

    def environment(self, backup: Path, part: str) -> dict[str, str]:
        """What the scripts are told at the host of this part."""
        programs = binaries()
        assert programs is not None
        return {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "BACKUP": str(backup / "backup"),
            "KEYS": str(backup / "keys"),
            "PART": part,
            "XDSI_DATA": str(self.folder / part / "data"),
            "ETC": str(self.folder / part / "etc"),
            "CONFIG": str(self.folder / part / "etc" / ("xdsi.toml" if part == "audit" else "north.toml")),
            "XDSI": str(Path(sys.executable).with_name("xdsi")),
            "PGHOST": self.database.address,
            "PGPORT": str(PORT),
            "PGUSER": "postgres",
            "PGDATA": str(self.data),
            "PG_BIN": str(programs),
            "PG_OPTIONS": f"-k {self.data.parent} -p {PORT} -c listen_addresses={self.database.address} "
            f"-c {CONNECTIONS}",
        }

    async def script(self, name: str, *words: str, backup: Path, part: str) -> str:
        """What a script said at the host of a part."""
        host = {"database": self.database, "audit": self.audit}.get(part)
        return await script(
            name, *words, environment=self.environment(backup, part), at=host.command() if host else ()
        )

    @contextmanager
    def store(self) -> Iterator[None]:
        """A store of objects that keeps them as long as its host lives."""
        words = (sys.executable, "-m", "moto.server", "-H", self.objects.address, "-p", str(STORE_PORT))
        daemon = Daemon(self.objects, words, self.folder / "store.log")
        daemon.start()
        try:
            make = Request(f"http://{self.objects.address}:{STORE_PORT}/test", method="PUT")
            wait_until(lambda: _is_done(make), 60, lambda: (self.folder / "store.log").read_text("utf-8"))
            yield
        finally:
            daemon.kill()

    @contextmanager
    def postgresql(self, backup: Path) -> Iterator[None]:
        """A PostgreSQL that archives its log as docs/restore-drill.md says, and listens to other hosts."""
        programs = binaries()
        assert programs is not None
        archive = backup / "backup" / "wal"
        archive.mkdir(parents=True)
        shutil.chown(archive, "postgres", "postgres")
        self.own_folder()
        as_postgres = ("runuser", "-u", "postgres", "--")
        subprocess.run(
            [*as_postgres, programs / "initdb", "-D", self.data, "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write(f"host all,replication all {self.database.net}.0/24 trust\n")
        command = f"cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f"
        options = (
            f"listen_addresses={self.database.address}", f"unix_socket_directories={self.data.parent}",
            "fsync=off", "wal_level=replica", "archive_mode=on", f"archive_command={command}", CONNECTIONS,
        )  # fmt: skip
        words = [programs / "postgres", "-D", self.data, "-p", str(PORT)]
        for option in options:
            words += ["-c", option]
        daemon = Daemon(self.database, words, self.data.parent / "log", user="postgres")
        daemon.start()
        try:
            wait_until(lambda: (self.data.parent / f".s.PGSQL.{PORT}").exists(), 60, lambda: "no PostgreSQL")
            yield
        finally:
            daemon.kill()

    def own_folder(self) -> None:
        """Make the folder that belongs to PostgreSQL."""
        self.data.parent.mkdir(parents=True)
        shutil.chown(self.data.parent, "postgres", "postgres")

    def stop_postgresql(self) -> None:
        """End one that a script started."""
        path = self.data / "postmaster.pid"
        if path.exists():
            process = int(path.read_text("utf-8").split("\n", 1)[0])
            os.kill(process, signal.SIGQUIT)
            wait_until(lambda: not Path(f"/proc/{process}").exists(), 30, lambda: "it does not end")


def _is_done(request: Request) -> bool:
    with suppress(OSError):
        urlopen(request).close()
        return True
    return False


async def test_a_community_of_several_hosts_is_restored_on_others(long: bool):
    if not long:
        pytest.skip("it takes a minute: --long; the drill of one host is its short form")
    with folder_of_postgres() as folder, ExitStack() as stack:
        members = stack.enter_context(
            hosts("database", "objects", "audit", "new-database", "new-objects", "new-audit")
        )
        backup = folder / "kept"
        backup.mkdir()
        old = Site(folder / "old", members["database"], members["objects"], members["audit"])
        sent, before = await lost(old, backup)

        began = time.monotonic()
        new = Site(folder / "new", members["new-database"], members["new-objects"], members["new-audit"])
        new.own_folder()
        stack.callback(new.stop_postgresql)
        await new.script("restore.sh", "database", backup=backup, part="database")
        for part in PARTS:
            await new.script("restore.sh", "files", backup=backup, part=part)
        stack.enter_context(new.store())
        stage = new.stage()
        stack.callback(stage.kill)
        # Everything has another address now, which is to be named before it is used.
        write_toml(stage.folder / "north.toml", stage.settings(stage.north))
        said = await new.script("restore.sh", "objects", backup=backup, part="services")
        assert "0 damaged" in said
        for _ in stage.start():
            pass
        print(f"restored and ready after {time.monotonic() - began:.1f} s")
        await all_of_it_is_there(new.url, stage, sent, before)


async def lost(site: Site, backup: Path) -> tuple[Workload, Acknowledged]:
    """What was sent to a community until all of its hosts were lost, and what was acknowledged before its
    backup."""
    site.folder.mkdir()
    with ExitStack() as stack:
        stack.enter_context(site.postgresql(backup))
        stack.enter_context(site.store())
        stage = site.stage()
        stack.callback(stage.kill)
        for _ in stage.start():
            pass
        async with at_work(stage) as workload:
            await site.script("back-up.sh", "base", backup=backup, part="database")
            await until(lambda: is_busy(workload, TIMES), BUSY_SECONDS)
            before = await Acknowledged.by_now(workload)
            for part in PARTS:
                await site.script("back-up.sh", "before", MOMENT, backup=backup, part=part)
            await site.script("back-up.sh", "moment", MOMENT, backup=backup, part="database")
            for part in PARTS:
                await site.script("back-up.sh", "after", MOMENT, backup=backup, part=part)
            then = workload.counts["provided"]
            await until(lambda: workload.counts["provided"] >= then + TIMES, BUSY_SECONDS)
            await workload.stop()
            assert workload.broken() == []
            assert workload.violations == []
    for gone in ("data", "etc/community", "etc/north", "etc/south"):
        shutil.rmtree(site.folder / "services" / gone)
    shutil.rmtree(site.folder / "audit")
    return workload, before

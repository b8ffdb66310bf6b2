"""A private PostgreSQL cluster: one for each test process, in a temporary folder, on a Unix socket."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.own_folders import own_folder

_USER = "postgres"


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, where it is installed."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


def _run(*command: str | Path) -> None:
    # PostgreSQL refuses to run as root; the cluster then belongs to the user postgres.
    prefix = ["runuser", "-u", _USER, "--"] if os.geteuid() == 0 else []
    subprocess.run(
        [*prefix, *map(str, command)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
    )


@contextmanager
def running(*, port: int, more: str = "") -> Iterator[Path]:
    """A server on 127.0.0.1 and in the folder that is given, as Debian starts one: passwords over TCP.

    `more` are further options.
    """
    programs = binaries()
    assert programs is not None
    folder = _folder(programs)
    folder.chmod(0o755)
    data = folder / "data"
    _run(
        programs / "initdb", "-D", data, "-U", _USER, "-E", "UTF8", "--no-locale", "--no-sync",
        "--auth-local=trust", "--auth-host=scram-sha-256",
    )  # fmt: skip
    options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 -c fsync=off {more}"
    _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    try:
        yield folder
    finally:
        _end(programs, folder)


@functools.cache
def _cluster(programs: Path) -> str:
    folder = _folder(programs)
    data = folder / "data"
    _run(
        programs / "initdb", "-D", data, "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-locale", "--no-sync"
    )
    # fsync is off: what is tested here is logic, and durability has its tests in tests/faults.
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200 -c max_wal_size=128MB"
    _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    return f"postgresql://{_USER}@/postgres?host={folder}"


def _folder(programs: Path) -> Path:
    folder = own_folder("xdsi-postgresql-", functools.partial(_stop, programs))
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
    return folder


def _stop(programs: Path, folder: Path) -> None:
    if (folder / "data" / "postmaster.pid").exists():
        with suppress(subprocess.CalledProcessError):  # what was killed left its file
            _run(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")


def _end(programs: Path, folder: Path) -> None:
    _stop(programs, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the cluster; tests that need one are skipped where PostgreSQL is not installed.

    There is one, whichever module asks. It ends with the last test: a worker that has said that it is done
    has no time for it.
    """
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and runuser is missing")
    cluster = _cluster(programs)
    yield cluster
    _end(programs, Path(cluster.partition("host=")[2]))


def database_url(cluster: str, name: str) -> str:
    """The URL of the database of that name in the cluster at the URL `cluster`."""
    return cluster.replace("/postgres?", f"/{name}?")


async def fresh_database(cluster: str) -> str:
    """The URL of a new, empty database in the cluster at the URL `cluster`."""
    url = database_url(cluster, f"test_{uuid.uuid4().hex}")
    await copy_database(cluster, url, None)
    return url


#: Databases that nobody needs any more; they go with the next that is made.
_DROPPED: list[str] = []


def drop_later(url: str) -> None:
    """Have the database at a URL dropped."""
    _DROPPED.append(url)


async def copy_database(cluster: str, url: str, template: str | None) -> None:
    """Make the database at `url`: empty, or as that at the URL `template`, which nobody uses then."""
    connection = await asyncpg.connect(cluster)
    try:
        while _DROPPED:
            await connection.execute(f'DROP DATABASE "{_name(_DROPPED.pop())}" WITH (FORCE)')
        copied = "" if template is None else f'TEMPLATE "{_name(template)}"'
        if connection.get_server_version().major >= 15:
            copied += " STRATEGY file_copy"  # as before 15, and fast where nothing is synced
        await connection.execute(f'CREATE DATABASE "{_name(url)}" {copied}')
    finally:
        await connection.close()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")

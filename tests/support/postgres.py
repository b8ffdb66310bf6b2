"""A private PostgreSQL cluster: one for each test process, in a temporary folder, on a Unix socket."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

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
    folder = Path(tempfile.mkdtemp(prefix="xdsi-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
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
        _stop(programs, data, folder)


@functools.cache
def _cluster(programs: Path) -> str:
    folder = Path(tempfile.mkdtemp(prefix="xdsi-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
    data = folder / "data"
    _run(
        programs / "initdb", "-D", data, "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-locale", "--no-sync"
    )
    # fsync is off: what is tested here is logic, and durability has its tests in tests/faults.
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
    _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    atexit.register(_stop, programs, data, folder)
    return f"postgresql://{_USER}@/postgres?host={folder}"


def _stop(programs: Path, data: Path, folder: Path) -> None:
    _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """URL of the cluster; tests that need one are skipped where PostgreSQL is not installed."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and runuser is missing")
    return _cluster(programs)


async def fresh_database(cluster: str) -> str:
    """The URL of a new, empty database in the cluster at the URL `cluster`."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(cluster)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return cluster.replace("/postgres?", f"/{name}?")

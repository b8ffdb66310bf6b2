"""`xdsi db upgrade`: schemas brought up to date, and those that it must not touch."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from registry.settings import RegistrySettings
from registry.store.tables import METADATA, MIGRATIONS
from shared.store import schema
from shared.store.engine import open_database
from tests.support.databases import postgres_url
from xdsi.cli import Failed
from xdsi.db import app

__all__ = ["postgres_url"]

SERVICES = ("registry", "repository", "imaging-source", "audit-repository")


def run(*words: object):
    return CliRunner().invoke(app, ["upgrade", *map(str, words)])


def head() -> str:
    found = schema._script(MIGRATIONS).get_current_head()
    assert found is not None
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder; on PostgreSQL the services share an empty database."""
    monkeypatch.setenv("XDSI_DATA", str(tmp_path))
    if request.param == "postgresql":
        url = asyncio.run(_database(request.getfixturevalue("postgres_url")))
        monkeypatch.setenv("XDSI_DATABASE_URL", url)
    return tmp_path


async def _database(cluster: str) -> str:
    name = f"u{uuid4().hex}"
    connection = await asyncpg.connect(cluster)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return cluster.replace("/postgres?", f"/{name}?")


async def _change(statement: str) -> None:
    """Change the registry's database behind its back."""
    settings = RegistrySettings.load()
    if settings.database_url is None:
        with closing(sqlite3.connect(settings.folder / "registry.sqlite3")) as connection:
            connection.execute(statement)
            connection.commit()
        return
    connection = await asyncpg.connect(settings.database_url, server_settings={"search_path": "registry"})
    await connection.execute(statement)
    await connection.close()


def at_first_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the registry's database as the first release did."""

    def steps(migrations):
        script = schema._script(migrations)
        return {"fn": lambda revision, _: script._upgrade_revs("0001", revision), "script": script}

    async def make() -> None:
        settings = RegistrySettings.load()
        database = await open_database(
            settings.database_url, folder=settings.folder, metadata=METADATA, migrations=MIGRATIONS
        )
        await database.close()

    with monkeypatch.context() as patched:
        patched.setattr(schema, "_steps", steps)
        asyncio.run(make())


def test_an_older_schema_is_upgraded_and_said_from_where_to_where(data: Path, monkeypatch):
    at_first_revision(monkeypatch)

    result = run()

    assert result.exit_code == 0, result.exception
    assert f"registry: 0001 → {head()}" in result.output
    assert f"registry: up to date ({head()})" in run().output


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_named_gets_its_tables(data: Path, service: str):
    found = json.loads(run("--service", service, "--json").output)

    assert list(found) == [service]
    assert found[service]["added"]
    assert json.loads(run("--service", service, "--json").output)[service]["added"] == []


def test_tables_that_came_with_this_release_are_added(data: Path):
    run("--service", "repository")
    asyncio.run(_drop_assembly())

    assert "repository: tables added: assembly" in run().output


async def _drop_assembly() -> None:
    from repository.settings import RepositorySettings

    settings = RepositorySettings.load()
    if settings.database_url is None:
        with closing(sqlite3.connect(settings.folder / "repository.sqlite3")) as connection:
            connection.execute("DROP TABLE assembly")
            connection.commit()
        return
    connection = await asyncpg.connect(settings.database_url, server_settings={"search_path": "repository"})
    await connection.execute("DROP TABLE assembly")
    await connection.close()


def test_a_schema_of_a_newer_release_is_refused_and_left_as_it_is(data: Path):
    run("--service", "registry")
    asyncio.run(_change("UPDATE alembic_version SET version_num = '9999'"))

    result = run()

    assert isinstance(result.exception, Failed)
    assert "another release" in str(result.exception)
    asyncio.run(_change("UPDATE alembic_version SET version_num = '9999' WHERE version_num = '9999'"))
    assert "another release" in str(run().exception)


def test_a_running_service_keeps_its_sqlite_file_and_shares_its_postgresql(data: Path):
    run("--service", "registry")

    async def while_open() -> object:
        settings = RegistrySettings.load()
        database = await open_database(
            settings.database_url, folder=settings.folder, metadata=METADATA, migrations=MIGRATIONS
        )
        result = await asyncio.to_thread(run)
        await database.check()
        await database.close()
        return result

    result = asyncio.run(while_open())
    if RegistrySettings.load().database_url is None:
        assert "open in another process" in str(result.exception)
    else:
        assert result.exit_code == 0


def test_where_there_are_no_data_nothing_is_made(data: Path):
    assert "no service has data here" in str(run().exception)
    assert list(data.iterdir()) == []

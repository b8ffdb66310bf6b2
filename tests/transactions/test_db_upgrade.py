"""`xdsi db upgrade`: schemas brought up to date, and those that it must not touch."""

from __future__ import annotations

import asyncio
import importlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from registry.settings import RegistrySettings
from registry.store.tables import MIGRATIONS
from shared.store import migration
from shared.store.opening import open_database
from tests.support.databases import DatabasePlace, postgres_url
from tests.support.releases import make_first_release, upgraded_to
from xdsi.db import app
from xdsi.failures import Failed
from xdsi.schemas import SERVICES
from xdsi.services import Service

__all__ = ["postgres_url"]

WITHOUT_REVISIONS = [service for service in SERVICES if service is not Service.REGISTRY]


def run(*words: object):
    return CliRunner().invoke(app, ["upgrade", *map(str, words)])


def head(service: Service = Service.REGISTRY) -> str:
    migrations = importlib.import_module(f"{service.package}.store.tables").MIGRATIONS
    found = migration._script(migrations).get_current_head()
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


def settings_of(service: Service):
    return service.settings_class().load()


def place_of(service: Service) -> DatabasePlace:
    settings = settings_of(service)
    return DatabasePlace(url=settings.database_url, folder=settings.folder, name=service.package)


def at_revision(revision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the registry's database as an earlier release did."""

    async def make() -> None:
        await (await place_of(Service.REGISTRY).open(MIGRATIONS)).close()

    with upgraded_to(revision, monkeypatch):
        asyncio.run(make())


def test_an_older_schema_is_upgraded_and_said_from_where_to_where(data: Path, monkeypatch):
    at_revision("0001", monkeypatch)

    result = run()

    assert result.exit_code == 0, result.exception
    assert f"registry: 0001 → {head()}" in result.output
    assert f"registry: up to date ({head()})" in run().output


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_named_gets_its_tables(data: Path, service: Service):
    found = json.loads(run("--service", service, "--json").output)

    assert found == {service: {"before": "nothing", "after": head(service)}}
    again = json.loads(run("--service", service, "--json").output)
    assert again == {service: {"before": head(service), "after": head(service)}}


def test_all_that_the_first_release_left_here_are_brought_up_to_date_and_each_is_told(
    data: Path, monkeypatch: pytest.MonkeyPatch
):
    at_revision("0004", monkeypatch)
    for service in WITHOUT_REVISIONS:
        asyncio.run(make_first_release(place_of(service), service.package, {}))

    result = run()

    assert result.exit_code == 0, result.exception
    assert result.output.splitlines() == [
        f"registry: 0004 → {head(Service.REGISTRY)}",
        *(f"{one}: tables without a revision → {head(one)}" for one in WITHOUT_REVISIONS),
    ]
    assert run().output.splitlines() == [f"{one}: up to date ({head(one)})" for one in SERVICES]


@pytest.mark.parametrize("service", ["consumer", "gateway"])
def test_a_service_that_keeps_no_database_is_refused(data: Path, service: str):
    assert f"the {service} keeps no database" in str(run("--service", service).exception)


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
        database = await open_database(settings.database_url, folder=settings.folder, migrations=MIGRATIONS)
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

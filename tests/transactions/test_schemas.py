"""Of the schema of every service: its revisions make its tables, and what another release made is refused."""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import StaticPool

from shared.store import migration, schema
from shared.store.failures import SchemaError
from tests.support.databases import DatabasePlace, database_place, postgres_url
from tests.support.forked import run
from tests.support.releases import FIRST_RELEASE, make_first_release
from xdsi.schemas import SERVICES
from xdsi.services import Service

__all__ = ["database_place", "postgres_url"]

of_every_service = pytest.mark.parametrize("service", SERVICES)


def tables_of(service: Service) -> Any:
    # The application brings every table with it, wherever it is defined.
    importlib.import_module(f"{service.package}.app")
    return importlib.import_module(f"{service.package}.store.tables")


def metadata_of(service: Service) -> MetaData:
    tables = tables_of(service)
    found: MetaData = getattr(tables, "METADATA", None) or tables.metadata
    return found


def head_of(service: Service) -> str:
    head = migration._script(tables_of(service).MIGRATIONS).get_current_head()
    assert head is not None
    return head


def differences(path: Path, metadata: MetaData) -> list[Any]:
    """Between the tables of a file and those of the code."""
    with closing(sqlite3.connect(path)) as connection:
        engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        with engine.connect() as wrapped:
            options = {
                "include_name": lambda name, kind, _: name not in ("store_probe", "schema_floor"),
                "compare_type": True,
            }
            context = MigrationContext.configure(wrapped, opts=options)
            return list(compare_metadata(context, metadata))


@of_every_service
def test_its_revisions_are_one_line_in_the_order_of_their_numbers(service: Service):
    script = migration._script(tables_of(service).MIGRATIONS)
    numbers = sorted(path.name[:4] for path in Path(script.versions).glob("[0-9]*.py"))

    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)], "two have one number"
    assert len(script.get_heads()) == 1
    assert [Path(step.path).name[:4] for step in script.walk_revisions()] == numbers[::-1]


@of_every_service
async def test_the_revisions_make_the_tables(service: Service, tmp_path: Path):
    place = DatabasePlace(url=None, folder=tmp_path, name="made")
    await (await place.open(tables_of(service).MIGRATIONS)).close()

    assert differences(tmp_path / "made.sqlite3", metadata_of(service)) == []


@pytest.mark.parametrize(
    "service", [one for one in SERVICES if (FIRST_RELEASE / f"{one.package}.sqlite.sql").exists()]
)
async def test_they_make_the_same_of_the_tables_of_the_first_release(service: Service, tmp_path: Path):
    place = DatabasePlace(url=None, folder=tmp_path, name="adopted")
    await make_first_release(place, service.package, {})
    await (await place.open(tables_of(service).MIGRATIONS)).close()

    assert differences(tmp_path / "adopted.sqlite3", metadata_of(service)) == []


@of_every_service
def test_the_names_of_the_files_tell_the_last_revision(service: Service):
    assert schema.latest(tables_of(service).MIGRATIONS) == head_of(service)


@of_every_service
async def test_what_is_up_to_date_stays_as_it_is(service: Service, database_place: DatabasePlace):
    for _ in range(2):
        database = await database_place.open(tables_of(service).MIGRATIONS)
        await database.check()
        await database.close()


@of_every_service
async def test_a_schema_of_a_newer_release_is_refused_with_a_sentence_and_left_as_it_is(
    service: Service, database_place: DatabasePlace
):
    migrations = tables_of(service).MIGRATIONS
    await (await database_place.open(migrations)).close()
    await database_place.execute(["UPDATE alembic_version SET version_num = '9999'"])

    for _ in range(2):
        with pytest.raises(SchemaError) as refused:
            await database_place.open(migrations)
        assert str(refused.value) == (
            "the database is of another release: its revision 9999 is none of this one, which knows them up "
            f"to {head_of(service)}; start the release that wrote it, or a newer one"
        )


@pytest.mark.heavy
@of_every_service
async def test_a_service_does_not_start_on_a_newer_schema_and_says_why(service: Service, tmp_path: Path):
    place = DatabasePlace(url=None, folder=tmp_path / service, name=service.package)
    await (await place.open(tables_of(service).MIGRATIONS)).close()
    await place.execute(["UPDATE alembic_version SET version_num = '9999'"])

    ended = await asyncio.to_thread(run, "serve", service, env={"XDSI_DATA": str(tmp_path)})

    assert ended.returncode == 1
    assert ended.stderr.startswith("xdsi: ")
    assert "the database is of another release: its revision 9999 is none of this one" in ended.stderr
    assert "exception" not in ended.stderr


def test_what_is_up_to_date_is_opened_without_alembic(tmp_path: Path):
    migrations = tables_of(Service.REGISTRY).MIGRATIONS
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from shared.store.opening import open_database\n"
        "async def main():\n"
        f"    opened = await open_database(None, folder=Path({str(tmp_path)!r}), migrations={migrations!r})\n"
        "    await opened.close()\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    said = []
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        said.append(ran.stdout.strip())
    assert said == ["True", "False"]

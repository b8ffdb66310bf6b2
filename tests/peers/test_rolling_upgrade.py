"""Releases side by side at one database: the schema grows while both answer, and shrinks later
(docs/decisions/0034).
"""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import registry.app
from registry.domain.stored_queries import FIND_SUBMISSION_SETS
from registry.maintenance import backup
from registry.settings import RegistrySettings
from registry.store.tables import MIGRATIONS
from shared.http.client import http_client
from shared.http.server import start_server
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from shared.store import schema
from shared.store.backup import BackupError
from shared.store.failures import SchemaError
from shared.store.inspection import inspect
from tests.support.databases import DatabasePlace, database_place, postgres_url
from tests.support.metadata import PATIENT, a_submission
from tests.support.next_release import next_release
from tests.support.postgres import fresh_database
from tests.support.registry_process import RegistryClient, RegistryProcess, client_of

__all__ = ["database_place", "postgres_url"]

pytestmark = pytest.mark.peer

#: As releases do: a table, a column with a value for those who do not know it, one without, an index.
GROWTH = """op.create_table("remark", sa.Column("id", sa.Integer(), primary_key=True))
    op.add_column("patient", sa.Column("remarks", sa.Integer(), server_default="0", nullable=False))
    op.add_column("submission", sa.Column("remark", sa.Text(), nullable=True))
    op.create_index("patient_remarks", "patient", ["remarks"], unique=False)"""
SHRINKING = 'op.drop_table("remark")'
BUSY = frozenset({"XDSRegistryBusy"})


# --- what the schema says ------------------------------------------------------------------------------


async def test_an_older_release_starts_on_a_schema_that_only_grew_and_leaves_it_as_it_is(
    database_place: DatabasePlace, tmp_path: Path
):
    later = next_release(tmp_path, MIGRATIONS, (GROWTH, True), ("pass", True))
    await (await database_place.open(later)).close()

    for migrations in (MIGRATIONS, later, MIGRATIONS):
        database = await database_place.open(migrations)
        await database.check()
        await database.close()


async def test_an_older_release_refuses_what_it_cannot_live_with(
    database_place: DatabasePlace, tmp_path: Path
):
    grown = next_release(tmp_path, MIGRATIONS, (GROWTH, True))
    shrunk = next_release(tmp_path, MIGRATIONS, (GROWTH, True), (SHRINKING, False))
    after = next_release(tmp_path, MIGRATIONS, (GROWTH, True), (SHRINKING, False), ("pass", True))
    await (await database_place.open(after)).close()

    for migrations in (MIGRATIONS, grown):
        with pytest.raises(SchemaError, match="start the release that wrote it, or a newer one"):
            await database_place.open(migrations)
    await (await database_place.open(shrunk)).close()


async def test_a_step_that_says_nothing_is_one_that_older_releases_cannot_live_with(
    database_place: DatabasePlace, tmp_path: Path
):
    later = next_release(tmp_path, MIGRATIONS, ("pass", False))
    await (await database_place.open(later)).close()

    with pytest.raises(SchemaError):
        await database_place.open(MIGRATIONS)


async def test_doctor_says_that_a_release_can_live_with_a_newer_schema(postgres_url: str, tmp_path: Path):
    later = next_release(tmp_path, MIGRATIONS, (GROWTH, True))
    url = await fresh_database(postgres_url)
    settings = RegistrySettings(data=tmp_path, database_url=url)
    await (await registry.app.open_database(url, folder=settings.folder, migrations=later)).close()

    found = await inspect(url, folder=settings.folder, migrations=MIGRATIONS)

    assert str(found).endswith(
        f"revision {schema.latest(later)} of a newer release, with which this one can live"
    )


@pytest.mark.parametrize("embedded", [True, False], ids=["sqlite", "postgresql"])
async def test_a_release_backs_up_no_schema_of_which_it_knows_a_part(
    request: pytest.FixtureRequest, tmp_path: Path, embedded: bool
):
    later = next_release(tmp_path, MIGRATIONS, (GROWTH, True))
    url = None if embedded else await fresh_database(request.getfixturevalue("postgres_url"))
    settings = RegistrySettings(data=tmp_path, database_url=url)
    await (await registry.app.open_database(url, folder=settings.folder, migrations=later)).close()
    (tmp_path / "backup").mkdir()

    with pytest.raises(BackupError, match="back up with the newer release"):
        await backup.backup(settings, tmp_path / "backup")


#: What a step that only adds is made of.
ADDING = {"create_table", "add_column", "create_index"}
STEPS = sorted(
    path for path in Path(registry.app.__file__).parents[1].glob("*/store/migrations/versions/0*.py")
)


@pytest.mark.parametrize("step", STEPS, ids=lambda path: f"{path.parts[-5]}-{path.stem}")
def test_a_step_that_says_so_only_adds(step: Path):
    tree = ast.parse(step.read_text("utf-8"))
    says_so = any(isinstance(one, ast.Assign) and one.targets[0].id == "additive" for one in tree.body)
    calls = [
        one for one in ast.walk(tree) if isinstance(one, ast.Call) and ast.unparse(one.func).startswith("op.")
    ]
    if not says_so:
        return
    added = {call.args[0].value for call in calls if call.func.attr == "create_table"}
    for call in calls:
        if call.func.attr == "execute":
            # What nobody knows yet may be filled.
            assert call.args[0].value.split()[:2] == ["INSERT", "INTO"]
            assert call.args[0].value.split()[2] in added
            continue
        assert call.func.attr in ADDING
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if call.func.attr == "create_index":
            # What nobody has written to yet breaks no rule that is new.
            assert given.get("unique", "False") == "False" or call.args[1].value in added
        if call.func.attr == "add_column":
            column = ast.unparse(call.args[1])
            assert "nullable=True" in column or "server_default" in column


# --- both at once --------------------------------------------------------------------------------------


@asynccontextmanager
async def a_later_registry(url: str, folder: Path) -> AsyncIterator[SimpleNamespace]:
    """A registry of the release at hand, in this process."""
    settings = RegistrySettings(
        data=folder, port=0, mllp_port=0, database_url=url, patients="any", audit={"url": "tcp://127.0.0.1:9"}
    )
    service = await registry.app.build(settings)
    await service.start()
    server = await start_server(service.asgi, settings)
    base = f"http://127.0.0.1:{server.port}"
    try:
        async with http_client(TlsSettings(), peers=(base,)) as http:
            yield SimpleNamespace(client=RegistryClient(SoapClient(http), f"{base}/xds/registry"))
    finally:
        await server.stop(grace_seconds=1)
        await service.stop()


class Load:
    """Clients that register and ask without a pause, at whichever registries they are led to."""

    def __init__(self) -> None:
        self.targets: list[RegistryClient] = []
        self.answers: Counter[frozenset[str]] = Counter()
        self.failures: list[str] = []
        self.registered: set[str] = set()
        self._under_way: Counter[int] = Counter()
        self._ends = False

    async def run(self, number: int) -> None:
        while not self._ends:
            client = self.targets[number % len(self.targets)]
            number += 1
            self._under_way[id(client)] += 1
            try:
                await self._turn(client)
            except Exception as error:
                self.failures.append(repr(error))
            self._under_way[id(client)] -= 1
            await asyncio.sleep(0)

    async def _turn(self, client: RegistryClient) -> None:
        submission = a_submission()
        uid = submission.submission_set.unique_id
        answer = await client.register(submission)
        self.answers[answer] += 1
        if not answer:
            self.registered.add(uid)

    async def drained(self, client: RegistryClient) -> None:
        """Lead nobody there any more, and wait for those that are on their way."""
        self.targets = [other for other in self.targets if other is not client]
        while self._under_way[id(client)]:  # noqa: ASYNC110  # other tasks' doing
            await asyncio.sleep(0.01)

    async def more(self, count: int) -> None:
        """Wait for so many more registrations."""
        wanted = len(self.registered) + count
        async with asyncio.timeout(60):
            while len(self.registered) < wanted:  # noqa: ASYNC110  # other tasks' doing
                await asyncio.sleep(0.01)

    def end(self) -> None:
        self._ends = True


@pytest.mark.heavy
async def test_the_schema_grows_while_two_releases_answer_and_no_request_fails_but_for_busy(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    later = next_release(tmp_path, MIGRATIONS, (GROWTH, True))
    url = await fresh_database(postgres_url)
    former = RegistryProcess(tmp_path / "former", url, patients="any")
    former.start()
    load = Load()
    clients: list[asyncio.Task[None]] = []
    try:
        async with client_of(former) as to_former:
            load.targets = [to_former]
            clients = [asyncio.create_task(load.run(number)) for number in range(4)]
            await load.more(50)

            # The next release starts beside it, and brings the schema up to date under load.
            monkeypatch.setattr(registry.app, "MIGRATIONS", later)
            async with a_later_registry(url, tmp_path / "latter") as latter:
                load.targets = [to_former, latter.client]
                await load.more(100)

                # The former one is restarted as it is, on the schema of the latter.
                await load.drained(to_former)
                former.process.terminate()
                assert await asyncio.to_thread(former.process.wait_stopped) == 0
                await asyncio.to_thread(former.start)
                load.targets = [to_former, latter.client]
                await load.more(100)
                load.end()
                await asyncio.gather(*clients)
                for client in (to_former, latter.client):
                    assert await sets_of(client) >= load.registered
    finally:
        load.end()
        await asyncio.gather(*clients, return_exceptions=True)
        former.process.kill()

    assert load.failures == []
    assert set(load.answers) <= {frozenset(), BUSY}


async def sets_of(client: RegistryClient) -> set[str]:
    """The submission sets of the patient that a registry finds."""
    found = await client.query(
        FIND_SUBMISSION_SETS,
        {"$XDSSubmissionSetPatientId": PATIENT, "$XDSSubmissionSetStatus": [APPROVED]},
    )
    return {one.unique_id for one in found.submission_sets}


APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"

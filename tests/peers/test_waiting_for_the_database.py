"""At the start of a service PostgreSQL may not be there yet: it is waited for as long as a setting says."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE

import pytest

from registry.store.tables import MIGRATIONS
from shared.store import opening
from shared.store.failures import DatabaseAway, DatabaseUnavailable
from shared.store.opening import open_database
from tests.support.databases import postgres_url
from tests.support.postgres import fresh_database
from tests.support.postgres_relay import error_response, postgres_relay
from tests.support.waiting import until

__all__ = ["postgres_url"]

pytestmark = pytest.mark.peer

STARTING_UP = "57P03"
LONG = 20.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(opening, "PAUSE_SECONDS", 0.02)


async def test_a_database_that_starts_is_waited_for(postgres_url, tmp_path, caplog):
    async with postgres_relay(await fresh_database(postgres_url)) as relay:
        relay.refusal = error_response(STARTING_UP)
        opened = asyncio.create_task(
            open_database(relay.url, folder=tmp_path / "registry", migrations=MIGRATIONS, wait_seconds=LONG)
        )
        await until(lambda: "waiting for the database" in caplog.text)
        relay.refusal = None
        await (await opened).close()


@pytest.mark.parametrize("wait_seconds", [0.0, 0.1])
async def test_after_that_time_it_is_said_that_it_is_away(postgres_url, tmp_path, wait_seconds):
    async with postgres_relay(await fresh_database(postgres_url)) as relay:
        relay.refusal = error_response(STARTING_UP)
        with pytest.raises(DatabaseAway, match="does not answer"):
            await open_database(
                relay.url, folder=tmp_path / "registry", migrations=MIGRATIONS, wait_seconds=wait_seconds
            )


@pytest.mark.parametrize("sqlstate", ["28P01", "3D000", "42501"])
async def test_what_waiting_does_not_mend_is_told_at_once(postgres_url, tmp_path, sqlstate):
    async with postgres_relay(await fresh_database(postgres_url)) as relay:
        relay.refusal = error_response(sqlstate)
        with pytest.raises(DatabaseUnavailable) as told:
            await open_database(
                f"{relay.url}?sslmode=disable",
                folder=tmp_path / "registry",
                migrations=MIGRATIONS,
                wait_seconds=LONG,
            )
        assert not isinstance(told.value, DatabaseAway)


async def test_a_service_that_waits_ends_when_it_is_asked_to(tmp_path):
    settings = {
        "XDSI_DATA": str(tmp_path),
        "XDSI_DATABASE_URL": f"postgresql://xdsi@/xdsi?host={tmp_path}",
        "XDSI_DATABASE_WAIT_SECONDS": "600",
        "XDSI_REGISTRY__PORT": "0",
        "XDSI_REGISTRY__MLLP_PORT": "0",
    }
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "xdsi", "serve", "registry", env=settings, stdout=PIPE, stderr=PIPE
    )
    try:
        assert service.stderr is not None
        line = await service.stderr.readline()
        assert b"waiting for the database" in line
        service.send_signal(signal.SIGTERM)
        said, _ = await service.communicate()
    finally:
        if service.returncode is None:
            service.kill()
    assert (service.returncode, said) == (0, b"")

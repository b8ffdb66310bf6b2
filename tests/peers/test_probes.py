"""Probes without a certificate have a port of their own: health and metrics, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.http.application import application
from shared.http.health import PAGES, ProbedAlone, health_routes
from shared.http.server import start_probes
from shared.settings import ServiceSettings, SettingsError
from tests.support.certificates import communities
from tests.support.databases import postgres_url
from tests.support.every_door import a_house
from tests.support.postgres import fresh_database
from tests.support.postgres_relay import error_response, postgres_relay
from xdsi.services import Service
from xdsi.stage import free_ports

__all__ = ["postgres_url"]

pytestmark = pytest.mark.peer

NORTH, _ = communities()
STARTING_UP = "57P03"


async def asked(port: int, page: str, method: str = "GET") -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        return await http.request(method, f"http://127.0.0.1:{port}{page}")


async def test_every_service_shows_health_and_metrics_to_whoever_asks_and_nothing_else(
    tmp_path: Path,
):
    shown: dict[str, Any] = {}
    async with a_house(tmp_path, NORTH.settings()) as house:
        for name, service in house.services.items():
            pages = ProbedAlone()
            pages.show(service.asgi)
            server = await start_probes(pages, ServiceSettings(health_port=0))
            answers = {page: await asked(server.port, page) for page in PAGES}
            others = {path for one, _, path in house.routes() if one == name} - set(PAGES) | {"/", "/health"}
            shown[name] = {page: answer.status_code for page, answer in answers.items()}
            assert answers["/health/live"].json()["service"] == name.replace(" ", "_")
            assert "xdsi_service{" in answers["/metrics"].text
            assert {(await asked(server.port, path)).status_code for path in others} == {404}
            assert {(await asked(server.port, path, "POST")).status_code for path in others} == {404}
            await server.stop(grace_seconds=0)

    assert len(shown) == len(Service)
    assert set(map(tuple, (answers.values() for answers in shown.values()))) == {(200, 200, 200)}


@asynccontextmanager
async def a_registry(folder: Path, database: str) -> AsyncIterator[int]:
    """A registry with TLS; its port for probes, which answers before it is ready."""
    port, mllp_port, health_port = free_ports(3)
    settings = {
        "XDSI_DATA": str(folder),
        "XDSI_DATABASE_URL": database,
        "XDSI_DATABASE_WAIT_SECONDS": "600",
        "XDSI_PORT": str(port),
        "XDSI_MLLP_PORT": str(mllp_port),
        "XDSI_HEALTH_PORT": str(health_port),
        "XDSI_AUDIT__URL": "tls://127.0.0.1:9",
        "XDSI_TLS__CERTIFICATE": str(NORTH.node.certificate),
        "XDSI_TLS__KEY": str(NORTH.node.key),
        "XDSI_TLS__TRUST": str(NORTH.trust),
    }
    command = (sys.executable, "-m", "xdsi", "serve", "registry")
    service = await asyncio.create_subprocess_exec(*command, env=settings, stdout=DEVNULL, stderr=DEVNULL)
    try:
        yield health_port
        service.send_signal(signal.SIGTERM)
        assert await service.wait() == 0
    finally:
        if service.returncode is None:
            service.kill()


async def test_a_registry_lives_while_its_database_is_away_and_says_that_it_is(postgres_url, tmp_path: Path):
    async def says(page: str, status: int, why: str = "") -> bool:
        try:
            answer = await asked(port, page)
        except httpx2.TransportError:
            return False
        return answer.status_code == status and why in str(answer.json().get("reasons", ""))

    async def told(page: str, status: int, why: str = "") -> None:
        async with asyncio.timeout(30):
            while not await says(page, status, why):  # noqa: ASYNC110  # a service's doing
                await asyncio.sleep(0.05)

    async with postgres_relay(await fresh_database(postgres_url)) as relay:
        relay.refusal = error_response(STARTING_UP)
        async with a_registry(tmp_path, relay.url) as port:
            await told("/health/live", 200)
            await told("/health/ready", 503, "it waits for its database")

            relay.refusal = None
            await told("/health/ready", 200)

            relay.refusal = error_response(STARTING_UP)
            relay.break_all()
            await told("/health/ready", 503, "the database cannot be reached")
            await told("/health/live", 200)

            relay.refusal = None
            await told("/health/ready", 200)


async def test_probes_are_told_that_a_service_takes_leave():
    pages = ProbedAlone()
    pages.show(application(health_routes({})))
    server = await start_probes(pages, ServiceSettings(health_port=0))
    assert [(await asked(server.port, page)).status_code for page in PAGES] == [200, 200, 200]
    pages.leave()
    assert [(await asked(server.port, page)).status_code for page in PAGES] == [503, 503, 200]
    await server.stop(grace_seconds=0)


async def test_a_port_for_probes_that_is_taken_is_told(tmp_path: Path):
    first = await start_probes(ProbedAlone(), ServiceSettings(health_port=0))
    try:
        with pytest.raises(SettingsError, match=r"HEALTH_PORT: 127\.0\.0\.1 port \d+ is in use"):
            await start_probes(ProbedAlone(), ServiceSettings(health_port=first.port))
        with pytest.raises(SettingsError, match=r"XDSI_HEALTH_HOST: 192\.0\.2\.1 is no address"):
            await start_probes(ProbedAlone(), ServiceSettings(health_port=0, health_host="192.0.2.1"))
    finally:
        await first.stop(grace_seconds=0)

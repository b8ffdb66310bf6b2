"""Health and metrics pages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from shared.http import health
from shared.http.application import application
from shared.http.health import NotReady, health_routes
from shared.settings import TlsSettings
from shared.telemetry.metrics import Metrics, Result


async def answer(path: str, checks=None, metrics=None) -> httpx2.Response:
    app = application(health_routes(checks or {}, metrics))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path)


async def good() -> None:
    pass


async def full() -> None:
    raise NotReady("less than 5 % of the disk is free")


async def broken() -> None:
    raise ValueError("patient 12345 could not be read")


async def test_a_live_process_says_so_even_when_it_is_not_ready():
    response = await answer("/health/live", {"disk": full})
    assert (response.status_code, response.json()) == (200, {"status": "live"})


async def test_a_service_is_ready_when_all_checks_hold():
    response = await answer("/health/ready", {"database": good, "disk": good})
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


async def test_a_service_that_is_not_ready_gives_every_reason_and_no_more():
    response = await answer("/health/ready", {"database": broken, "disk": full, "spool": good})

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json()["reasons"] == {
        "database": "it did not work; the log tells why",
        "disk": "less than 5 % of the disk is free",
    }
    assert "12345" not in response.text


async def test_a_check_that_hangs_is_a_reason(monkeypatch):
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.01)
    response = await answer("/health/ready", {"database": lambda: asyncio.sleep(10)})
    assert response.status_code == 503
    assert "no answer" in response.json()["reasons"]["database"]


async def test_metrics_are_shown_as_prometheus_reads_them():
    metrics = Metrics("registry")
    metrics.transaction("ITI-18").count(Result.SUCCESS, 0.004)

    response = await answer("/metrics", metrics=metrics)

    assert response.headers["content-type"].startswith("text/plain")
    assert 'xdsi_transactions_total{outcome="success",transaction="ITI-18"} 1.0' in response.text


async def test_metrics_of_the_process_are_shown_without_any_of_the_service():
    assert "process_resident_memory_bytes" in (await answer("/metrics")).text


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_these_pages_are_only_read(path):
    app = application(health_routes({}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        assert (await client.post(path)).status_code == 405


async def test_what_responders_said_of_certificates_is_counted_where_they_are_asked():
    tls = TlsSettings(certificate=Path("node.pem"), revocation="hard", ocsp=True)
    app = application(health_routes({}, Metrics("registry"), tls=tls))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        shown = (await client.get("/metrics")).text

    counted = {line.split("}")[0] for line in shown.splitlines() if line.startswith("xdsi_ocsp")}
    outcomes = ("good", "revoked", "unknown", "none")
    assert counted == {f'xdsi_ocsp_answers{{answer="{outcome}"' for outcome in outcomes}

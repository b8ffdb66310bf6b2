"""An auditor and a patient without a mouse, in Chromium, in the pages of the trail.

Every page is looked at wide and narrow, in the light and by night, and judged by axe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from audit_repository.app import build
from audit_repository.settings import AuditRepositorySettings
from shared.audit.events import AuditSource, Outcome, node_authentication_failure
from shared.http.server import start_server
from tests.peers.test_guided_pages import looked_at
from tests.support import chromium
from tests.support.audit import PATIENT, an_event
from tests.support.chromium import Tab, browser
from tests.transactions.audit_repository.test_iti81 import AUDITOR, PATIENT_ROLE, trusting
from tests.transactions.audit_repository.test_pages import recent, signed_in

pytestmark = [
    pytest.mark.peer,
    pytest.mark.heavy,
    pytest.mark.skipif(chromium.program() is None, reason="Chromium is not here"),
]


@asynccontextmanager
async def pages(folder: Path) -> AsyncIterator[str]:
    """The address of an audit repository in which something happened."""
    settings = AuditRepositorySettings(data=folder, port=0, syslog_port=0, **trusting())
    service = await build(settings)
    await service.start()
    server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
    refused = an_event(
        outcome=Outcome.SERIOUS_FAILURE, outcome_description="refused by consent: policy north-1 denies"
    )
    stranger = node_authentication_failure("192.0.2.9", "unknown authority")
    other = AuditSource(source_id="xdsi-other", hostname="h")
    await service.trail.append(
        [recent(), recent(source=other), recent(event=refused), recent(event=stranger)]
    )
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop(1.0)
        await service.stop()


async def walked(folder: Path, base: str, walk: Callable[[Tab, str, Path], list[str]], **who) -> list[str]:
    """What is wrong, as whoever is signed in walks."""
    pictures = folder / "pictures"
    pictures.mkdir()
    async with httpx2.AsyncClient(base_url=base, trust_env=False) as http:
        await signed_in(http, who.pop("name_id"), **who)
        cookies = dict(http.cookies)

    def walking() -> list[str]:
        with browser(folder / "profile") as tab:
            for name, value in cookies.items():
                tab.call("Network.setCookie", url=base, name=name, value=value)
            return [*walk(tab, base, pictures), *tab.refusals]

    wrong = await asyncio.to_thread(walking)
    if chromium.axe_source() is None and not wrong:
        pytest.skip("axe-core is not here (make viewer): walked, and not judged by it")
    return wrong


def as_an_auditor(tab: Tab, base: str, pictures: Path) -> list[str]:
    tab.open(f"{base}/trail")
    wrong = looked_at(tab, "questions", pictures)
    tab.tab_to("#patient")
    tab.type("P0001")
    tab.press("Enter")
    tab.until("location.pathname.startsWith('/patients/')")
    wrong += looked_at(tab, "patient", pictures)
    tab.open(f"{base}/trail")
    tab.tab_to("a[href='/records?question=refused']")
    tab.press("Enter")
    tab.until("document.body.innerText.includes('north-1')")
    wrong += looked_at(tab, "refused", pictures)
    tab.tab_to("td a[href^='/records/']")
    tab.press("Enter")
    tab.until("document.body.innerText.includes('AuditMessage')")
    wrong += looked_at(tab, "record", pictures)
    tab.open(f"{base}/trail")
    tab.tab_to("a[href='/gaps']")
    tab.press("Enter")
    tab.until("location.pathname === '/gaps'")
    wrong += looked_at(tab, "gaps", pictures)
    tab.tab_to("form.who button")
    tab.press("Enter")
    tab.until("document.querySelector('input[type=file]')")
    return [*wrong, *looked_at(tab, "sign-in", pictures)]


def as_a_patient(tab: Tab, base: str, pictures: Path) -> list[str]:
    tab.open(f"{base}/own")
    tab.until("document.body.innerText.includes('u-778')")
    wrong = looked_at(tab, "own", pictures)
    tab.tab_to("a.brand")
    tab.press("Enter")
    tab.until("location.pathname === '/own'")
    return wrong


async def test_an_auditor_finds_who_was_refused_by_keyboard_and_axe_finds_nothing(tmp_path: Path):
    async with pages(tmp_path / "data") as base:
        assert await walked(tmp_path, base, as_an_auditor, name_id="o.lang", roles=(AUDITOR,)) == []


async def test_a_patient_reads_the_own_log_by_keyboard_and_axe_finds_nothing(tmp_path: Path):
    async with pages(tmp_path / "data") as base:
        who = {"name_id": "pat", "roles": (PATIENT_ROLE,), "resource_ids": (PATIENT,)}
        assert await walked(tmp_path, base, as_a_patient, **who) == []

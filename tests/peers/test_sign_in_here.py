"""People sign in at the community's own provider, and the pages of consumer and auditors know them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import audit_repository.app
import consumer.app
import identity.app
from audit_repository.settings import AuditRepositorySettings
from consumer.settings import ConsumerSettings
from identity.settings import IdentitySettings
from shared.http.server import start_server
from tests.support.certificates import communities
from tests.support.identity import (
    CLIENT,
    DR_ROE,
    PASSWORD,
    ROLE,
    Person,
    Stand,
    given_credentials,
    settings_of,
)
from tests.support.sessions import visitors_of
from tests.support.viewing import AXE, browser, browser_missing, violations_of, window
from xdsi.stage import free_ports

PAGES = ("consumer", "audit_repository")
EMERGENCY = "BTG^^2.16.840.1.113883.5.8"


@dataclass
class Site:
    """The services, each on a socket: their addresses, and themselves."""

    urls: dict[str, str]
    services: dict[str, Any]
    person: Person

    async def signed_in(self, browser: httpx2.AsyncClient, pages: str, begin: str) -> httpx2.Response:
        """The answer of the pages to who begins there, types what is asked for, and comes back."""
        away = await browser.get(f"{self.urls[pages]}{begin}")
        form = await browser.get(away.headers["location"])
        if form.status_code == 200:
            self.person.http, self.person.page = browser, form
            form = await self.person.sends(
                f"{self.urls['identity']}/password", name="dr.roe", password=PASSWORD
            )
        return await browser.get(form.headers["location"])


@asynccontextmanager
async def a_site(folder: Path) -> AsyncIterator[Site]:
    ports = dict(zip(("identity", *PAGES), free_ports(3), strict=True))
    # Passkeys are of a host by its name.
    urls = {name: f"http://localhost:{port}" for name, port in ports.items()}
    north = communities()[0]
    common = {
        "data": folder,
        "audit": {"url": "tcp://127.0.0.1:9"},
        "assertion": north.settings()["assertion"],
    }
    sign_in = {
        "issuer": urls["identity"],
        "name": "North",
        "client_id": CLIENT,
        "exchange_url": f"{urls['identity']}/token",
        "emergency_purpose": EMERGENCY,
    }
    of_identity = settings_of(
        folder,
        port=ports["identity"],
        public_url=urls["identity"],
        providers={},
        second_factor=False,
        clients={CLIENT: {"redirect_uris": [f"{urls[name]}/sign-in/back" for name in PAGES]}},
    )
    of_pages = {
        name: common | {"port": ports[name], "public_url": urls[name], "sign_in": sign_in} for name in PAGES
    }
    of_pages["audit_repository"] |= {"auditor_roles": [ROLE], "syslog_port": 0}
    made = {
        "identity": (identity.app, IdentitySettings.load(None, {}, **of_identity)),
        "consumer": (consumer.app, ConsumerSettings.load(None, {}, **of_pages["consumer"])),
        "audit_repository": (
            audit_repository.app,
            AuditRepositorySettings.load(None, {}, **of_pages["audit_repository"]),
        ),
    }
    services: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        for name, (module, settings) in made.items():
            services[name] = service = await module.build(settings)
            await service.start()
            stack.push_async_callback(service.stop)
            server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
            stack.push_async_callback(server.stop, 1.0)
        administrator = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=urls["identity"], trust_env=False)
        )
        assert (await administrator.post("/people/set", json=DR_ROE | {"logins": []})).status_code == 200
        person = await given_credentials(Stand(services["identity"], administrator), app=False)
        yield Site(urls, services, person)


@pytest.mark.heavy
async def test_who_signs_in_here_is_known_to_the_pages_and_signs_in_once_for_both(tmp_path: Path):
    async with a_site(tmp_path) as site, httpx2.AsyncClient(trust_env=False) as browser:
        first = await site.signed_in(browser, "consumer", "/sign-in/begin")
        page = await browser.get(site.urls["consumer"])
        away = await browser.get(f"{site.urls['audit_repository']}/sign-in/begin")
        back = await browser.get(away.headers["location"])
        second = await browser.get(back.headers["location"])
        of_trail = await browser.get(f"{site.urls['audit_repository']}/trail")

    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert "Dr. Roe" in page.text
    # Who is signed in is asked nothing by the second.
    assert (back.status_code, second.status_code) == (303, 303)
    assert "Dr. Roe" in of_trail.text
    assert of_trail.status_code == 200


@pytest.mark.heavy
async def test_for_an_emergency_who_is_signed_in_is_asked_anew(tmp_path: Path):
    async with a_site(tmp_path) as site, httpx2.AsyncClient(trust_env=False) as browser:
        await site.signed_in(browser, "consumer", "/sign-in/begin")
        away = await browser.get(f"{site.urls['consumer']}/sign-in/begin?for=emergency")
        asked_anew = await browser.get(away.headers["location"])
        answer = await site.signed_in(browser, "consumer", "/sign-in/begin?for=emergency")
        (visitor,) = visitors_of(site.services["consumer"].sessions)

    assert asked_anew.status_code == 200
    assert "Password" in asked_anew.text
    assert answer.status_code == 303
    assert [purpose.value for purpose in visitor.user.purposes] == ["BTG"]


@pytest.mark.heavy
@pytest.mark.peer
@pytest.mark.skipif(bool(browser_missing()), reason=browser_missing())
async def test_a_person_registers_a_passkey_in_a_browser_and_signs_in_to_the_pages_by_it(tmp_path: Path):
    async with a_site(tmp_path) as site:
        seen = await asyncio.to_thread(_journey, site.urls)

    assert seen["account"] == "1"
    assert seen["page"] == "Dr. Roe"
    assert seen["serious"] == []
    assert seen["errors"] == []


def _journey(urls: dict[str, str]) -> dict[str, Any]:
    """What a person sees who adds a passkey, signs out, and signs in to the consumer's pages by it."""
    with browser() as chromium, window(chromium) as opened:
        page = opened.page
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        device = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session.send("WebAuthn.addVirtualAuthenticator", {"options": device})
        page.goto(urls["identity"])
        serious = violations_of(page, "serious", "critical") if AXE.is_file() else []
        page.get_by_label("Name").fill("dr.roe")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Add a passkey").click()
        passkeys = page.locator("dt:has-text('Passkeys') + dd")
        passkeys.filter(has_text=re.compile("^1$")).wait_for()
        account = passkeys.inner_text()
        serious += violations_of(page, "serious", "critical") if AXE.is_file() else []
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Password").wait_for()
        page.goto(f"{urls['consumer']}/sign-in/begin")
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url(f"{urls['consumer']}/")
        name = page.locator("header .name").inner_text().replace("Signed in as", "").strip()
        return {"account": account, "page": name, "serious": serious, "errors": opened.errors}

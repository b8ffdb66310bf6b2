"""People sign in to the pages at an OpenID provider that is not ours (oidc-provider of npm), and the pages
know them as the community does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

import audit_repository.app
import consumer.app
import identity.app
from audit_repository.settings import AuditRepositorySettings
from consumer.settings import ConsumerSettings
from identity.settings import IdentitySettings
from shared.http.server import start_server
from shared.settings import ServiceSettings
from tests.support.certificates import communities
from tests.support.identity import CLIENT, DR_ROE, ROLE, settings_of
from tests.support.sessions import visitors_of
from xdsi.stage import free_ports

ROOT = Path(__file__).parents[2]
#: Where `npm install oidc-provider` may have put it.
PLACES = (ROOT / "node_modules", *map(Path, filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep))))
MODULE = next((place for each in PLACES if (place := each / "oidc-provider/lib/index.js").exists()), None)
EMERGENCY = "BTG^^2.16.840.1.113883.5.8"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        MODULE is None or shutil.which("node") is None,
        reason="needs node, and oidc-provider of npm in node_modules here or in NODE_PATH",
    ),
]


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(3)


@pytest.fixture(scope="module")
def issuer(ports: list[int]) -> Iterator[str]:
    provider, pages, _ = ports
    back = f"http://127.0.0.1:{pages}/sign-in/back"
    command = ["node", ROOT / "tests/support/oidc_provider.mjs", MODULE, str(provider), back]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{provider}"
        process.terminate()


@dataclass
class Stand:
    """The pages of a consumer at which people sign in, and a browser."""

    pages: Any
    base: str
    issuer: str

    def browser(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.base, trust_env=False, follow_redirects=False)

    async def walked(self, browser: httpx2.AsyncClient, start: str, user: str) -> httpx2.Response:
        """The answer to which a person comes who begins at `start` and types a name where one is asked for,
        before the pages are asked again."""
        answer = await browser.get(start)
        for _ in range(12):
            if location := answer.headers.get("location"):
                url = httpx2.URL(answer.url).join(location)
                if url.path == "/sign-in/back":
                    return httpx2.Response(200, headers={"location": str(url)})
                answer = await browser.get(url)
            elif action := re.search(r'<form[^>]* action="([^"]*)"', answer.text):
                prompt = re.search(r'name="prompt" value="([a-z]*)"', answer.text)
                fields = {"prompt": prompt[1] if prompt else "login", "login": user, "password": "x"}
                answer = await browser.post(action[1], data=fields)
            else:
                break
        raise AssertionError(answer.text[:500])

    async def signed_in(self, browser: httpx2.AsyncClient, start: str, user: str) -> httpx2.Response:
        """What the pages answer to who comes back."""
        return await browser.get((await self.walked(browser, start, user)).headers["location"])

    async def records(self) -> list[bytes]:
        spool = self.pages.parts.recorder.spool
        return [event for _, event in await spool.reader("test").next(100)]


@asynccontextmanager
async def a_stand(
    folder: Path,
    ports: list[int],
    issuer: str,
    of: tuple[Any, type[ServiceSettings]] = (consumer.app, ConsumerSettings),
    **changes: Any,
) -> AsyncIterator[Stand]:
    _, of_pages, of_identity = ports
    north = communities()[0]
    given = settings_of(
        folder, port=of_identity, providers={issuer: {"keys": f"{issuer}/jwks", "client_ids": [CLIENT]}}
    )
    people = await identity.app.build(IdentitySettings.load(None, {}, **given))
    module, settings_class = of
    settings = settings_class.load(
        None,
        {},
        data=folder,
        port=of_pages,
        audit={"url": "tcp://127.0.0.1:9"},
        assertion=north.settings()["assertion"],
        sign_in={
            "issuer": issuer,
            "name": "North login",
            "client_id": CLIENT,
            "client_secret": "not a secret at all, %: but escaped",
            "exchange_url": f"http://127.0.0.1:{of_identity}/token",
            "emergency_purpose": EMERGENCY,
        },
        **changes,
    )
    pages = await module.build(settings)
    await people.start()
    await pages.start()
    servers = [
        await start_server(people.asgi, people.parts.settings, on_tls_failure=people.node_refused),
        await start_server(pages.asgi, settings, on_tls_failure=pages.node_refused),
    ]
    try:
        async with httpx2.AsyncClient(trust_env=False) as http:
            person = DR_ROE | {"logins": [{"issuer": issuer, "subject": "2440"}]}
            kept = await http.post(f"http://127.0.0.1:{of_identity}/people/set", json=person)
            assert kept.status_code == 200
        yield Stand(pages, f"http://127.0.0.1:{of_pages}", issuer)
    finally:
        for server in servers:
            await server.stop(1.0)
        await pages.stop()
        await people.stop()


async def test_who_signs_in_there_is_known_here(tmp_path: Path, ports: list[int], issuer: str):
    async with a_stand(tmp_path, ports, issuer) as stand, stand.browser() as browser:
        form = await browser.get("/sign-in")
        before = number_of(browser)
        answer = await stand.signed_in(browser, "/sign-in/begin", "2440")
        page = await browser.get("/")
        (visitor,) = visitors_of(stand.pages.sessions)
        records = await stand.records()

    assert "Sign in at North login" in form.text
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=lax" in answer.headers["set-cookie"].lower()
    # The number that the browser had before is not that of the session.
    assert number_of(browser) not in ("", before)
    assert "Dr. Roe" in page.text
    assert visitor.user.name_id == "dr.roe"
    assert [purpose.value for purpose in visitor.user.purposes] == ["TREAT"]
    assert any(b'csd-code="110122"' in record and b"dr.roe" in record for record in records)


async def test_an_auditor_signs_in_there_to_the_pages_of_the_trail(
    tmp_path: Path, ports: list[int], issuer: str
):
    trail = audit_repository.app, AuditRepositorySettings
    own = {"auditor_roles": [ROLE], "syslog_port": 0}
    async with a_stand(tmp_path, ports, issuer, trail, **own) as stand, stand.browser() as browser:
        answer = await stand.signed_in(browser, "/sign-in/begin", "2440")
        page = await browser.get("/trail")
        (visitor,) = visitors_of(stand.pages.sessions)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert page.status_code == 200
    assert "Dr. Roe" in page.text
    assert visitor.user.name_id == "dr.roe"


async def test_an_emergency_is_signed_in_for_anew_and_named(tmp_path: Path, ports: list[int], issuer: str):
    async with a_stand(tmp_path, ports, issuer) as stand, stand.browser() as browser:
        await stand.signed_in(browser, "/sign-in/begin", "2440")
        asked = await browser.get((await browser.get("/sign-in/begin?for=emergency")).headers["location"])
        answer = await stand.signed_in(browser, "/sign-in/begin?for=emergency", "2440")
        (visitor,) = visitors_of(stand.pages.sessions)

    # Who is signed in at the provider already is asked all the same.
    assert "/interaction/" in asked.headers["location"]
    assert answer.status_code == 303
    assert [purpose.value for purpose in visitor.user.purposes] == ["BTG"]


async def test_who_is_nobody_here_is_told_so_and_recorded(tmp_path: Path, ports: list[int], issuer: str):
    async with a_stand(tmp_path, ports, issuer) as stand, stand.browser() as browser:
        answer = await stand.signed_in(browser, "/sign-in/begin", "9999")
        sessions, records = len(stand.pages.sessions), await stand.records()

    assert answer.status_code == 401
    assert "does not know you" in answer.text
    assert sessions == 0
    assert any(b'csd-code="110122"' in record and b'Indicator="8"' in record for record in records)


async def test_an_answer_opens_nothing_but_for_the_browser_that_began_and_once(
    tmp_path: Path, ports: list[int], issuer: str
):
    async with a_stand(tmp_path, ports, issuer) as stand:
        answers = {}
        for name in ("another browser", "another state", "another issuer", "no code", "used"):
            async with stand.browser() as browser, stand.browser() as other:
                back = (await stand.walked(browser, "/sign-in/begin", "2440")).headers["location"]
                if name == "used":
                    assert (await browser.get(back)).status_code == 303
                    browser.cookies.clear()
                url = changed(back, name)
                answers[name] = await (other if name == "another browser" else browser).get(url)
                assert len(stand.pages.sessions) == (name == "used"), name

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert all('role="alert"' in answer.text for answer in answers.values())


def number_of(browser: httpx2.AsyncClient) -> str:
    """The number by which the pages know a browser."""
    return next((str(one.value) for one in browser.cookies.jar if one.name == "xdsi-consumer"), "")


def changed(url: str, what: str) -> str:
    parts = urlsplit(url)
    values = dict(parse_qsl(parts.query))
    values |= {"another state": {"state": "x"}, "another issuer": {"iss": "https://evil.example"}}.get(
        what, {}
    )
    if what == "no code":
        del values["code"]
    return parts._replace(query=urlencode(values)).geturl()


async def test_without_the_provider_people_are_told_and_files_still_do(tmp_path: Path):
    provider, *others = free_ports(3)
    async with (
        a_stand(tmp_path, [provider, *others], f"http://127.0.0.1:{provider}") as stand,
        stand.browser() as browser,
    ):
        answer = await browser.get("/sign-in/begin")
        form = await browser.get("/sign-in")

    assert answer.status_code == 502
    assert "cannot be used to sign in now" in answer.text
    assert 'name="assertion"' in form.text

"""What other sites, other people and old windows try at the pages of every service, in Chromium: refused.

Over all pages that are served, wherever they are: a new one is among them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, Response

from audit_repository.domain.record import record_of
from imaging_source.store.outbox import enqueue
from imaging_source.store.publications import (
    NewPublication,
    PublicationError,
    encode_errors,
    publication,
)
from shared.audit.events import REFUSED_BY_CONSENT, Outcome
from shared.audit.recorder import message
from shared.http.client import http_client
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.pages.forms import FormBody
from shared.security.caller import Node
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from tests.support.audit import SOURCE, SOURCES, an_event
from tests.support.certificates import assertion_for, communities
from tests.support.consumer import saml
from tests.support.every_door import OF_PAGES, House, a_house, acquainted
from tests.support.metadata import OTHER_PATIENT, PATIENT, a_document_entry, a_submission
from tests.support.viewing import Window, browser, browser_missing, window

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.peer,
    pytest.mark.skipif(bool(browser_missing()), reason="Chromium is not here"),
]

#: Services whose pages people sign in to with their assertion.
WITH_SESSIONS = ("consumer", "audit repository", "imaging source")
RUN = "document.documentElement.dataset.ran=1"
HOSTILE = f'"><img src=x onerror="{RUN}"><script>{RUN}</script>'


@dataclass
class Site:
    """A community that runs in a thread of its own, and a browser."""

    house: House
    loop: asyncio.AbstractEventLoop
    within: Browser
    kept: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """The cookies of those who are signed in, by service and user."""

    def done(self, work: Any) -> Any:
        """What a coroutine comes to, where the services live."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def origin(self, service: str) -> str:
        return self.house.url(service)

    @contextmanager
    def tab(self, service: str = "", user: str = "dr.north") -> Iterator[Window]:
        """A window in which somebody is signed in at a service, or nobody."""
        with window(self.within) as opened:
            if service and (service, user) not in self.kept:
                sign_in(opened.page, self.origin(service), user)
                self.kept[service, user] = opened.page.context.cookies()
            elif service:
                opened.page.context.add_cookies(self.kept[service, user])
            yield opened


def sign_in(page: Page, origin: str, user: str = "dr.north") -> None:
    page.goto(f"{origin}/sign-in")
    file = {"name": "me.xml", "mimeType": "text/xml", "buffer": assertion_for(user)}
    page.set_input_files("#assertion", file)
    page.get_by_role("button", name="Sign in").click()
    page.locator("form.who").wait_for()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    stack = AsyncExitStack()
    trust = {"assertion": communities()[0].settings()["assertion"], "xua": "required"}
    settings = {**acquainted(), **trust, "patients": "any", "consent": {"default": "permit"}}
    opened = a_house(tmp_path_factory.mktemp("house"), **settings)
    with browser() as within:
        try:
            house = asyncio.run_coroutine_threadsafe(stack.enter_async_context(opened), loop).result(60)
            yield Site(house, loop, within)
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def routes(method: str, service: str, long: bool) -> list[tuple[str, Any]]:
    """Path and transaction of the pages, or forms, of a service; with `--long` of all, else of the first."""
    found = [
        (route.removeprefix(f"{method} "), served)
        for route, served in OF_PAGES[service].items()
        if route.startswith(f"{method} ")
    ]
    return found if long else found[:3]


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """The address of a page of another site, which is on this machine too, so that nothing but what is tested
    keeps it from us."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            octets = html.encode() if self.path == "/" else b"<main>of the other site</main>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://evil.localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("service", OF_PAGES)
def test_no_page_is_shown_in_a_frame_of_another_site(site: Site, service: str, long: bool):
    addresses = [site.origin(service) + path for path, _ in routes("GET", service, long)]
    frames = "".join(f'<iframe src="{escape(one)}"></iframe>' for one in ("/own", *addresses))
    with site.tab(service if service in WITH_SESSIONS else "") as opened, another_site(frames) as evil:
        opened.page.goto(evil)
        opened.page.wait_for_load_state("networkidle")
        framed = [frame for frame in opened.page.frames if frame.parent_frame]
        shown = [frame.url for frame in framed if "<main" in frame.content()]

        assert len(framed) == len(addresses) + 1
        assert shown == [f"{evil}own"]
        assert any("frame-ancestors" in one for one in opened.refusals)


@pytest.mark.parametrize("service", OF_PAGES)
def test_no_form_that_another_site_sends_does_anything(site: Site, service: str, long: bool):
    forms = [(site.origin(service) + path, served) for path, served in routes("POST", service, long)]
    html = "".join(a_form(action, served) for action, served in forms)
    with site.tab(service if service in WITH_SESSIONS else "") as opened, another_site(html) as evil:
        answers: dict[str, int] = {}
        opened.page.on("response", lambda one: answers.setdefault(one.url, one.status))
        opened.page.goto(evil)
        opened.evaluate("[...document.forms].forEach(one => one.submit())")
        opened.page.wait_for_load_state("networkidle")
        if service in WITH_SESSIONS:
            opened.page.goto(site.origin(service))
            assert opened.page.locator("form.who").count() == 1, "somebody was signed out"

    assert {action: answers.get(action) for action, _ in forms} == {action: 403 for action, _ in forms}


def a_form(action: str, served: Any) -> str:
    """A form of another site, whose answer goes into a frame of its own."""
    kind = served.decode.media_type if isinstance(served.decode, FormBody) else "text/plain"
    return (
        f'<form method="post" enctype="{kind}" action="{action}" target="{action}">'
        '<input name="sure" value="yes"><input name="patient" value="P-1"></form>'
        f'<iframe name="{action}"></iframe>'
    )


@pytest.mark.parametrize("service", WITH_SESSIONS)
def test_a_number_that_was_planted_before_the_sign_in_is_nobodys_after_it(site: Site, service: str):
    origin = site.origin(service)
    with site.tab() as victim, site.tab() as attacker:
        attacker.page.goto(f"{origin}/sign-in")
        [planted] = attacker.page.context.cookies()
        victim.page.context.add_cookies([planted])
        sign_in(victim.page, origin)
        [kept] = [one for one in victim.page.context.cookies() if one["name"] == planted["name"]]
        attacker.page.goto(origin)

        assert kept["value"] != planted["value"]
        assert kept["httpOnly"]
        assert kept["sameSite"] == "Lax"
        assert attacker.page.locator("#assertion").count() == 1


@pytest.mark.parametrize("service", WITH_SESSIONS)
def test_after_signing_out_the_way_back_shows_nothing(site: Site, service: str, long: bool):
    origin = site.origin(service)
    with site.tab(service, "dr.leaving") as opened:
        page = opened.page
        caching = set()
        for path, served in routes("GET", service, long):
            if served.right and "/1" not in path and (answer := page.goto(origin + path)) and answer.ok:
                caching.add(answer.headers.get("cache-control"))
        page.goto(origin)
        page.get_by_role("button", name="Sign out").click()
        page.locator("#assertion").wait_for()
        page.go_back()
        assert page.locator("#assertion").count() == 1
        assert page.locator("form.who").count() == 0

        assert caching == {"no-store"}


@pytest.mark.parametrize("service", OF_PAGES)
def test_no_address_leads_to_another_site(site: Site, service: str, long: bool):
    ways = ("next", "url", "return", "redirect", "redirect_uri", "continue", "iss", "target_link_uri", "for")
    query = "&".join(f"{one}=http://evil.example/" for one in ways)
    tried = [f"{path}?{query}" for path, _ in routes("GET", service, long)]
    with site.tab(service if service in WITH_SESSIONS else "") as opened:
        followed: list[str] = []
        opened.page.on("request", lambda one: followed.append(one.url))
        for path in (*tried, "//evil.example/", "/\\evil.example/"):
            _opened(opened.page, site.origin(service) + path)

    assert {urlsplit(one).hostname for one in followed} == {"127.0.0.1"}


def _opened(page: Page, url: str) -> Response | None:
    """What is answered; None for what is kept as a file, or nobody answers."""
    try:
        return page.goto(url)
    except Error:
        return None


@pytest.mark.parametrize("service", OF_PAGES)
def test_under_a_foreign_name_no_page_is_given(site: Site, service: str, long: bool):
    """What a page does whose name was made to lead here (DNS rebinding)."""
    statuses = {}
    with site.tab() as opened:
        for path, _ in routes("GET", service, long):
            # Every name below localhost leads to this machine (RFC 6761).
            address = f"http://rebound.localhost:{site.house.ports[service]}{path}"
            answer = _opened(opened.page, address)
            statuses[path] = answer.status if answer else 0

    assert statuses == dict.fromkeys(statuses, 421)


def test_a_link_to_a_study_is_worth_nothing_to_another_person_nor_when_it_is_changed(site: Site):
    site.done(_registered(site))
    with site.tab("consumer") as mine, site.tab("consumer", "dr.other") as others:
        page = mine.page
        page.goto(site.origin("consumer"))
        page.fill("[name=patient_id]", "P-1001")
        page.get_by_role("button", name="Find").click()
        links = page.locator("a[href^='/studies/']").evaluate_all("all => all.map(one => one.href)")
        assert links
        for link in links:
            answer = others.page.goto(link)
            assert answer is not None
            assert answer.status == 404, link
            assert "Secret" not in others.page.content()
            handle = urlsplit(link).path.split("/")[2]
            for at in (0, len(handle) // 2, len(handle) - 2):
                other = "A" if handle[at] != "A" else "B"
                answer = page.goto(link.replace(handle, handle[:at] + other + handle[at + 1 :]))
                assert answer is not None
                assert answer.status == 404
        assert "P-1001" not in "".join(links)


def test_a_launch_is_opened_once_by_who_clicks_and_by_nobody_whom_another_site_sends(site: Site):
    site.done(_registered(site))
    address = site.done(_launched(site))
    with site.tab() as opened, site.tab() as another:
        with another_site(f'<a href="{address}">Win</a>') as evil:
            opened.page.goto(evil)
            opened.page.get_by_role("link").click()
        opened.page.get_by_text("You will be signed in as").wait_for()
        assert "dr.launched" in opened.page.locator("main").inner_text()
        assert opened.page.locator("form.who").count() == 0
        opened.strike("Enter")
        opened.page.wait_for_selector(".timeline")
        assert "dr.launched" in opened.page.locator("form.who").inner_text()
        assert "P-1001" not in opened.page.url
        again = another.page.goto(address)

        assert again is not None
        assert again.status == 404
        assert another.page.locator("form.who").count() == 0


async def _launched(site: Site) -> str:
    """The address of a launch that a program asked for."""
    url = site.house.url("consumer", "/api/launches")
    async with http_client(TlsSettings(), peers=(url,)) as http:
        answer = await http.post(
            url, json={"patient_id": "P-1001"}, headers=saml(assertion_for("dr.launched"))
        )
    return str(answer.json()["url"])


async def _registered(site: Site) -> None:
    entries = [
        a_document_entry(title="Secret", patient_id=PATIENT),
        a_document_entry(title="Another", patient_id=OTHER_PATIENT),
    ]
    registry = site.house.url("registry", "/xds/registry")
    async with http_client(TlsSettings(), peers=(registry,)) as http:
        soap = SoapClient(http, spool_folder=site.house.services["consumer"].parts.spool_folder)
        for entry in entries:
            answer = await soap.call(ITI42, registry, RegisterRequest.of(a_submission(entry)))
            assert answer.errors == ()


async def _hostile_publication(site: Site) -> None:
    database = site.house.services["imaging source"].parts.database
    texts = dict.fromkeys(
        ("patient_id", "department_patient_id", "class_code", "type_code", "document_unique_id"), HOSTILE
    )
    ids = {name: f"2.25.{number}" for number, name in enumerate(_IDS, 700)}
    await enqueue(
        database,
        NewPublication(
            publication_id="4711",
            study_instance_uid="2.25.666",
            confidentiality=frozenset(),
            document=b"",
            submission=b"",
            **texts,
            **ids,
        ),
    )
    errors = encode_errors([PublicationError(HOSTILE, HOSTILE)])
    await database.write(
        lambda transaction: transaction.execute(publication.update().values(state="refused", errors=errors))
    )


_IDS = ("digest", "message_id", "entry_uuid", "replacement_uuid", "submission_set_unique_id")


async def _hostile_record(site: Site) -> None:
    event = an_event(outcome=Outcome.SERIOUS_FAILURE, outcome_description=f"{REFUSED_BY_CONSENT}{HOSTILE}")
    record = record_of(
        message(event, SOURCE),
        node=Node(address="192.0.2.7", subject=f"CN={HOSTILE}", fingerprint="ab" * 32),
        received=datetime.now(UTC),
        sources=SOURCES,
    )
    await site.house.services["audit repository"].trail.append([record])


@pytest.mark.parametrize(
    ("service", "pages", "prepare"),
    [
        (
            "imaging source",
            ("/", "/publications", "/publications?state=refused", "/publications/4711"),
            _hostile_publication,
        ),
        ("audit repository", ("/trail", "/records?question=refused", "/records/1", "/gaps"), _hostile_record),
    ],
)
def test_what_others_wrote_is_shown_and_never_runs(
    site: Site, service: str, pages: tuple[str, ...], prepare: Any
):
    site.done(prepare(site))
    with site.tab(service) as opened:
        seen = []
        for path in pages:
            opened.page.goto(site.origin(service) + path)
            seen.append(opened.page.locator("main").inner_text())
            assert opened.evaluate("document.documentElement.dataset.ran") is None
            assert opened.page.locator("main script, main img").count() == 0

        assert any("onerror" in one for one in seen)
        assert opened.refusals == []
        assert opened.errors == []


@pytest.mark.parametrize("service", OF_PAGES)
def test_what_is_asked_for_is_repeated_as_text(site: Site, service: str, long: bool):
    """Every parameter of every address, as it is told what was wrong with it."""
    hostile = "%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E"
    names = ("state", "question", "user", "days", "after", "study", "for", "manner", "error")
    query = "&".join(f"{one}={hostile}" for one in names)
    with site.tab(service if service in WITH_SESSIONS else "") as opened:
        for path, _ in routes("GET", service, long):
            asked = re.sub(r"/1(?=/|$)", f"/{hostile}", path)
            _opened(opened.page, f"{site.origin(service)}{asked}?{query}")
            assert opened.page.locator("img[src=x]").count() == 0, path

        assert opened.refusals == []


def test_every_service_with_pages_is_among_them():
    assert {*WITH_SESSIONS, "identity", "conformance"} == OF_PAGES.keys()

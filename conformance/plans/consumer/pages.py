"""The pages of a consumer, as this product has them: the journeys of a clinician, by links and forms alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode, urljoin

from lxml import html

from conformance.plans.consumer.peers import peers
from conformance.plans.message import Reply
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand
from conformance.simulators.world import OTHER_PATIENT

PLAN = Plan("consumer", needs=("consumer", "pages"), begin=peers)
_FIND, _OPEN, _SAFE = "ITI TF-2 3.18.4.1.3", "RAD TF-2 4.69.4.2.3", "RFC 9110 17"
_OPTION: Final = "Pages"


class Visit:
    """A browser without scripts at the pages: it keeps cookies, follows links, and fills in forms."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._base = stand.endpoint("pages").rstrip("/")
        self._cookies: dict[str, str] = {}
        self.url = f"{self._base}/"
        self.urls: list[str] = []
        self.reply = Reply(0, {}, b"")

    def open(self, path: str) -> Visit:
        """Open a page, and whatever it leads to."""
        self._ask("GET", self._at(path))
        return self

    def submit(self, action: str, **fields: str) -> Visit:
        """Send the form with this action, its hidden fields as they stand."""
        (form,) = self.page.xpath(f"//form[@action='{action}']")
        values = {one.get("name"): one.get("value", "") for one in form.xpath(".//input[@name]")}
        self.post(action, **{**values, **fields})
        return self

    def post(self, path: str, **fields: str) -> Reply:
        """Send a form of these fields alone."""
        self._ask("POST", self._at(path), urlencode(fields).encode())
        return self.reply

    @property
    def page(self) -> Any:
        """The page that is open."""
        expect_equal((self.reply.status, self.reply.media_type), (200, "text/html"), "status and media type")
        return html.document_fromstring(self.reply.content.decode())

    @property
    def words(self) -> str:
        """What the page says."""
        return " ".join(self.page.text_content().split())

    def links(self, beginning: str) -> list[str]:
        """Where the page leads, as far as that begins so."""
        links = dict.fromkeys(str(one) for one in self.page.xpath("//a/@href"))
        return [one for one in links if one.startswith(beginning)]

    def studies(self) -> list[str]:
        """Where the page leads to studies themselves, and not to something of theirs."""
        return [one for one in self.links("/studies/") if one.count("/") == 2 and "?" not in one]

    def _ask(self, method: str, url: str, body: bytes = b"") -> None:
        for method_now, url_now, body_now in self._steps(method, url, body):
            headers = {
                "Accept": "text/html",
                "Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items()),
            }
            if body_now:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            self.url = url_now
            self.urls.append(url_now)
            self.reply = self._stand.http(method_now, url_now, body=body_now, headers=headers)
            name, _, value = self.reply.headers.get("set-cookie", "").partition(";")[0].partition("=")
            if name:
                self._cookies[name] = value

    def _steps(self, method: str, url: str, body: bytes) -> Iterator[tuple[str, str, bytes]]:
        """The request, and at most four redirections after it."""
        yield method, url, body
        for _ in range(4):
            if self.reply.status not in (302, 303):
                return
            yield "GET", self._at(self.reply.headers.get("location", "")), b""

    def _at(self, path: str) -> str:
        """Where a link leads: pages may lie below a path of somebody's proxy."""
        return self._base + path if path.startswith("/") else urljoin(self.url, path)


def _searched(stand: Stand, patient: str = "") -> Visit:
    patient = patient or peers(stand).world.patient
    return Visit(stand).open("/").submit("/search", patient_id=patient)


def _study(stand: Stand) -> Visit:
    visit = _searched(stand)
    (link,) = visit.studies()
    return visit.open(link)


@PLAN.requires("CON-PAGE-101", _FIND, option=_OPTION)
def _(stand: Stand) -> None:
    """Who searches for a patient sees the study that is published."""
    expect_equal(len(_searched(stand).studies()), 1, "studies on the page")


@PLAN.requires("CON-PAGE-102", _OPEN, option=_OPTION)
def _(stand: Stand) -> None:
    """Who opens a study sees its images, and keeps each as the source gave it."""
    visit = _study(stand)
    links = visit.links("/instances/")
    octets = sorted(visit.open(link).reply.content for link in links)
    expect(octets == sorted(one.octets for one in peers(stand).world.images.values()), "an image is another")


@PLAN.requires("CON-PAGE-103", _FIND, option=_OPTION)
def _(stand: Stand) -> None:
    """Of a patient about whom nothing is published the page says that nothing is found."""
    visit = _searched(stand, OTHER_PATIENT)
    expect_equal(visit.links("/studies/"), [], "studies on the page")
    expect("othing found" in visit.words, "the page does not say so")


@PLAN.requires("CON-PAGE-104", _FIND, option=_OPTION)
def _(stand: Stand) -> None:
    """A registry that gives no answer is told as that, and not as a patient without studies."""
    ours = peers(stand)
    ours.play(registry="closed")
    try:
        visit = _searched(stand)
    finally:
        ours.play()
    expect(visit.reply.status >= 500, f"HTTP {visit.reply.status}, and 502 or 503 would be right")
    expect(b"othing found" not in visit.reply.content, "the page says that nothing is found")


@PLAN.requires("CON-PAGE-105", _OPEN, option=_OPTION)
def _(stand: Stand) -> None:
    """An image that a source does not give as it should be is not given, and the page says why."""
    ours = peers(stand)
    visit = _study(stand)
    (link, *_) = visit.links("/instances/")
    ours.play(imaging_source="other-patient")
    try:
        reply = visit.open(link).reply
    finally:
        ours.play()
    expect(reply.status >= 400, f"HTTP {reply.status}: an image of another patient is given")
    expect(reply.media_type == "text/html" and len(reply.content) > 200, "no page says why")


@PLAN.requires("CON-PAGE-201", _SAFE, option=_OPTION)
def _(stand: Stand) -> None:
    """No address says who the patient is, or which study it is."""
    visit = _study(stand)
    patient = peers(stand).world.patient
    links = [*visit.urls, *visit.links("/")]
    expect(not [one for one in links if patient in one or "2.25." in one], "an address tells")


@PLAN.requires("CON-PAGE-202", _SAFE, option=_OPTION)
def _(stand: Stand) -> None:
    """A form that is not from a page of this browser is refused."""
    visit = Visit(stand).open("/")
    expect_equal(visit.post("/search", patient_id=peers(stand).world.patient).status, 403, "the HTTP status")


@PLAN.requires("CON-PAGE-203", _SAFE, option=_OPTION)
def _(stand: Stand) -> None:
    """A link that somebody made up leads to nothing."""
    for path in ("/studies/x", "/searches/x", "/instances/x", "/studies/" + "A" * 64):
        expect_equal(Visit(stand).open(path).reply.status, 404, f"the HTTP status of {path}")


@PLAN.requires("CON-PAGE-204", _SAFE, option=_OPTION)
def _(stand: Stand) -> None:
    """Pages about a patient are kept by no cache, framed by no other site, and run no script that came in."""
    headers = _study(stand).reply.headers
    expect("no-store" in headers.get("cache-control", ""), "Cache-Control has no no-store")
    policy = headers.get("content-security-policy", "")
    expect("frame-ancestors 'none'" in policy, "other sites may frame it")
    expect("unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0], "scripts within run")

"""A browser that is looked at: Chromium by Playwright, and what a test does and reads in its windows."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from runpy import run_path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

from consumer.pages.viewer_files import viewer_entry
from xdsi.certificates import Community

ROOT = Path(__file__).parents[2]
VIEWER = ROOT / "consumer" / "viewer"
#: Finds what keeps people from using a page. Where `make viewer` puts it.
AXE = VIEWER / "node_modules" / "axe-core" / "axe.min.js"
#: How wide a page is looked at, and whether by night.
LOOKS = [(width, dark) for width in (1280, 390) for dark in (False, True)]
#: Nothing is drawn by a graphics card that is not here, but what the viewer draws (WebGL), by SwiftShader.
_SWITCHES = ("--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader")
_PATIENCE_SECONDS = 90
#: What only passed is not asked for.
_JUDGED = "axe.run({resultTypes: ['violations']}).then(judged => judged.violations)"
_SHOWN = '.pane[data-received]:not([data-received="0"])'

Seen = TypeVar("Seen")


@dataclass
class Window:
    """A window of the browser, what it asked others for, and what went wrong in it."""

    page: Page
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Addresses, each with its Authorization."""
    errors: list[str] = field(default_factory=list)
    """What its scripts threw."""
    refusals: list[str] = field(default_factory=list)
    """What its own policy refused it."""

    # --- any page ------------------------------------------------------------------------------------

    def document(self, url: str) -> str:
        """The document at an address as it is after everything in it ran."""
        self.page.goto(url, wait_until="networkidle")
        return self.page.content()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the page, awaited."""
        return self.page.evaluate(expression)

    def until(self, expression: str) -> None:
        """Return as soon as an expression is true."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        # Asked from here: a page whose policy forbids eval cannot watch by itself.
        while not self._holds(expression):
            assert time.monotonic() < deadline, f"{expression}: {self.evaluate('document.body.innerText')}"
            self.page.wait_for_timeout(20)

    def _holds(self, expression: str) -> bool:
        try:
            return bool(
                self.evaluate(f"(() => {{ try {{ return !!({expression}) }} catch {{ return null }} }})()")
            )
        except Error:  # the page went away while it was asked
            return False

    def type(self, text: str) -> None:
        """Write text where the focus is."""
        self.page.keyboard.insert_text(text)

    def strike(self, key: str) -> None:
        """Press a key where the focus is, as a person without a mouse."""
        self.page.keyboard.press(key)

    def tab_to(self, selector: str, most: int = 60) -> None:
        """Press Tab until the focus is at an element; AssertionError when it never comes there."""
        for _ in range(most):
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            self.strike("Tab")
        raise AssertionError(f"no Tab leads to {selector}")

    def look(self, *, width: int, dark: bool) -> None:
        """Be so wide, by day or by night."""
        look(self.page, width=width, dark=dark)

    def violations(self, *impacts: str) -> list[str]:
        """What axe finds on the page; of these impacts alone when some are named."""
        return violations_of(self.page, *impacts)

    def wrong_in(self, name: str, pictures: Pictures, *impacts: str) -> list[str]:
        """What is wrong with the page in any look; of what axe finds, these impacts when some are named."""
        return wrong_in(self.page, name, pictures, *impacts)

    # --- the viewer ----------------------------------------------------------------------------------

    def sign_in(self, url: str, assertion: bytes) -> None:
        self.page.goto(url)
        self.page.set_input_files(
            "#assertion", {"name": "user.xml", "mimeType": "text/xml", "buffer": assertion}
        )
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_selector("[name=patient_id]")

    def view(self, patient: str) -> None:
        """Find the only study of a patient, open it, and wait for its first image."""
        self.page.fill("[name=patient_id]", patient)
        self.page.get_by_role("button", name="Find").click()
        self.page.locator('a[href^="/studies/"]').first.click()
        self.page.get_by_role("link", name="View the images").click()
        self.page.wait_for_selector(_SHOWN)

    def press(self, *keys: str) -> None:
        """Keys in the first view."""
        self.page.locator(".pane").first.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def reads(self, corner: str, text: str, position: int = 0) -> str:
        """What stands in a corner of a view, as soon as it holds `text`."""
        shown = self.page.locator(f".{corner}").nth(position)
        shown.filter(has_text=text).wait_for()
        return shown.inner_text()

    def sides(self) -> str:
        """The letters at the left, right, top and bottom of the first view."""
        edges = ("left", "right", "top", "bottom")
        return "".join(self.page.locator(f".side.{edge}").first.inner_text() for edge in edges)

    def value_at(self, across: float, down: float) -> tuple[int, int, float]:
        """Column, row and value under the pointer, put at a place in the first view (0 to 1)."""
        box = self.page.locator(".pane .canvas").first.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
        place, _, value = self.page.locator(".corner.value").first.inner_text().partition(": ")
        column, row = place.split(", ")
        return int(column), int(row), float(value.split()[0])


@dataclass(frozen=True)
class Pictures:
    """Where pages are kept as they looked: those in which something is wrong, with `--long` all."""

    folder: Path
    every: bool

    def keep(self, page: Page, name: str, wrong: Sequence[str]) -> None:
        if wrong or self.every:
            page.screenshot(path=self.folder / f"{name}.png", full_page=True)


@pytest.fixture
def pictures(tmp_path: Path, long: bool) -> Pictures:
    """In a folder of the test."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return Pictures(folder, long)


def look(page: Page, *, width: int, dark: bool) -> None:
    """Have a page so wide, by day or by night."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if dark else "light")


def wrong_in(page: Page, name: str, pictures: Pictures, *impacts: str) -> list[str]:
    """What is wrong with a page in any look; it is left in the last of them."""
    found = []
    for width, dark in LOOKS:
        look(page, width=width, dark=dark)
        how = f"{name}-{width}-{'dark' if dark else 'light'}"
        wrong = violations_of(page, *impacts) if AXE.is_file() else []
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append("wider than the window")
        pictures.keep(page, how, wrong)
        found += [f"{how}: {one}" for one in wrong]
    return found


def violations_of(page: Page, *impacts: str) -> list[str]:
    """What axe finds on a page; of these impacts alone when some are named."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in page.evaluate(_JUDGED)
        if not impacts or one["impact"] in impacts
        for node in one["nodes"]
    ]


def _chromium(*, whole: bool) -> str | None:
    """Where Chromium is: without what surrounds its pages on a desktop, which takes two thirds of the time to
    start it, unless the whole is needed or nothing else is here."""
    return (not whole and shutil.which("chromium-headless-shell")) or shutil.which("chromium")


def browser_missing(*, whole: bool = False) -> str:
    """Why there is no browser here; empty when there is one."""
    return "" if _chromium(whole=whole) else "Chromium is not here"


def viewer_missing() -> str:
    """Why the viewer cannot be looked at here; empty when it can."""
    if reason := browser_missing():
        return reason
    if viewer_entry() is None:
        return "the viewer was not made: make viewer"
    build = run_path(str(VIEWER / "build.py"))
    return "" if build["is_up_to_date"](VIEWER) else "the viewer was made of other sources: make viewer"


@contextmanager
def browser(*, whole: bool = False) -> Iterator[Browser]:
    """A browser; it belongs to the thread that it is opened in, and shows PDF only when it is the whole."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_chromium(whole=whole), args=list(_SWITCHES))
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def window(
    within: Browser,
    origin: str = "",
    node: Community | None = None,
    *,
    cookies: Mapping[str, str] | None = None,
) -> Iterator[Window]:
    """A window with nothing remembered but `cookies`, for `origin`, which lets it in by the certificate of
    `node`."""
    certificates = [
        {"origin": origin, "certPath": str(node.node.certificate), "keyPath": str(node.node.key)}
        for node in ([node] if node else [])
    ]
    context = within.new_context(
        client_certificates=certificates,  # type: ignore[arg-type]
        ignore_https_errors=True,
        viewport={"width": 1280, "height": 800},
    )
    context.set_default_timeout(_PATIENCE_SECONDS * 1000)
    context.add_cookies(
        [{"name": name, "value": value, "url": origin} for name, value in (cookies or {}).items()]
    )
    opened = Window(context.new_page())
    opened.page.on(
        "request", lambda one: opened.asked.append((one.url, one.headers.get("authorization", "")))
    )
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    log = context.new_cdp_session(opened.page)
    log.on("Log.entryAdded", lambda one: opened.refusals.extend(_refusals(one["entry"])))
    log.send("Log.enable")
    try:
        yield opened
    finally:
        context.close()


def _refusals(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry["source"] == "security":
        yield str(entry["text"])


class Onlooker:
    """A browser with a thread of its own, for tests whose services live in the loop of theirs."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._open = ExitStack()
        self._browser = self._thread.submit(self._open.enter_context, browser()).result()

    async def sees(self, walk: Callable[[Window], Seen], origin: str = "", **window_of: Any) -> Seen:
        """What `walk` finds in a new window."""

        def walked() -> Seen:
            with window(self._browser, origin, **window_of) as opened:
                return walk(opened)

        return await asyncio.wrap_future(self._thread.submit(walked))

    def close(self) -> None:
        """Close the browser."""
        self._thread.submit(self._open.close).result()
        self._thread.shutdown()


@pytest.fixture(scope="module")
def onlooker() -> Iterator[Onlooker]:
    """One browser for all tests of a module; each sees it in a new window."""
    if reason := browser_missing():
        pytest.skip(reason)
    opened = Onlooker()
    yield opened
    opened.close()

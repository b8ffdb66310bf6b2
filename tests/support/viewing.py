"""The viewer in a browser: Chromium by Playwright, and what a test reads of what it shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, Request, sync_playwright

from consumer.pages.viewer_files import viewer_entry
from tests.support.chromium import AXE
from xdsi.certificates import Community

_SWITCHES = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_PATIENCE_MILLISECONDS = 90_000
_SHOWN = '.pane[data-received]:not([data-received="0"])'


@dataclass
class Window:
    """A window of the browser, what it asked others for, and what went wrong in its scripts."""

    page: Page
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Addresses, each with its Authorization."""
    errors: list[str] = field(default_factory=list)

    def remember(self, request: Request) -> None:
        self.asked.append((request.url, request.headers.get("authorization", "")))

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

    def violations(self) -> list[str]:
        """What axe finds to be serious or worse."""
        return violations_of(self.page)


def violations_of(page: Page) -> list[str]:
    """What axe finds on a page to be serious or worse."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")
    ]


def needs() -> str:
    """Why the viewer cannot be looked at here; empty when it can."""
    if shutil.which("chromium") is None:
        return "Chromium is not here"
    return "" if viewer_entry() else "the viewer was not made: make viewer"


@contextmanager
def window(
    origin: str, node: Community | None = None, *, width: int = 1280, dark: bool = False
) -> Iterator[Window]:
    """A window at `node`, by whose certificate it is let in."""
    if reason := needs():
        pytest.skip(reason)
    certificates = [
        {"origin": origin, "certPath": str(node.node.certificate), "keyPath": str(node.node.key)}
        for node in ([node] if node else [])
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(_SWITCHES))
        context = browser.new_context(
            client_certificates=certificates,  # type: ignore[arg-type]
            ignore_https_errors=True,
            viewport={"width": 1280, "height": 800},
        )
        context.set_default_timeout(_PATIENCE_MILLISECONDS)
        opened = Window(context.new_page())
        opened.page.on(
            "request", lambda one: opened.asked.append((one.url, one.headers.get("authorization", "")))
        )
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        try:
            yield opened
        finally:
            browser.close()

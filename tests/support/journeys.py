"""People at the pages without a mouse: Chromium by Playwright, each page judged by axe, wide and narrow, in
the light and by night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.viewing import Pictures, browser, browser_missing, wrong_in

_MOST_KEYS = 80


@dataclass
class Journey:
    """One person's way through the pages; `wrong` is what was found on it."""

    page: Page
    base: str
    pictures: Pictures
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Come to a page by its address."""
        self.page.goto(self.base + path)

    def tab_to(self, selector: str) -> None:
        """Press Tab until the focus is there."""
        for _ in range(_MOST_KEYS):
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the keyboard does not reach {selector}")

    def follow(self, selector: str, heading: str) -> None:
        """Go to an element by Tab, press Enter, and see a page with this in its first heading."""
        self.tab_to(selector)
        self.page.keyboard.press("Enter")
        self.page.locator("h1", has_text=heading).wait_for()

    def write(self, selector: str, text: str) -> None:
        """Go to a field by Tab and write."""
        self.tab_to(selector)
        self.page.keyboard.insert_text(text)

    def look(self, name: str) -> None:
        """Judge the page in every look."""
        self.wrong += wrong_in(self.page, name, self.pictures, "serious", "critical")


@contextmanager
def journey(base: str, pictures: Pictures, cookies: dict[str, str]) -> Iterator[Journey]:
    """A browser that is signed in at `base` by its cookies; skipped where there is none."""
    if reason := browser_missing():
        pytest.skip(reason)
    kept: Sequence[Any] = [{"name": name, "value": value, "url": base} for name, value in cookies.items()]
    with browser() as opened:
        context = opened.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies(kept)
        walked = Journey(context.new_page(), base, pictures)
        # What the policy of the page refuses is told there.
        walked.page.on(
            "console", lambda said: walked.wrong.append(said.text) if said.type == "error" else None
        )
        yield walked

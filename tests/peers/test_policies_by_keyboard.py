"""A privacy officer without a mouse, in Chromium, in the pages about policies.

Every page is looked at wide and narrow, in the light and by night, and judged by axe.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.peers.test_policies_in_pages import a_desk
from tests.support.journeys import Journey, journey
from tests.support.viewing import AXE, Pictures, browser_missing

pytestmark = [
    pytest.mark.peer,
    pytest.mark.heavy,
    pytest.mark.skipif(bool(browser_missing()), reason="Chromium is not here"),
]


def as_a_privacy_officer(way: Journey) -> None:
    way.open("/policies")
    way.look("find")
    way.write("#patient", "P-77")
    way.follow("form[action='/policies'] button", "Who may see the documents of P-77")
    way.follow("a[href$='/new']", "A policy for P-77")
    way.write("#valid_until", "soon")
    way.follow("main form button", "A policy for P-77")
    way.page.locator("#valid_until[aria-invalid]").wait_for()
    way.look("wrong")
    way.tab_to("[name=effect]")
    way.page.keyboard.press("ArrowDown")
    way.write("#roles", "SURGEON")
    way.tab_to("#valid_until")
    way.page.keyboard.press("Control+A")
    way.page.keyboard.insert_text("2099-12-31")
    way.follow("main form button", "Before it is saved")
    way.look("preview")
    way.follow("main form button", "Who may see the documents of P-77")
    way.look("policies")
    way.follow("a[href$='/why']", "May somebody see")
    way.write("#role", "SURGEON")
    way.tab_to("main form button")
    way.page.keyboard.press("Enter")
    way.page.get_by_text("Refused, because of this policy").wait_for()
    way.look("why")
    way.follow("nav a", "Who may see the documents of P-77")
    way.follow("a[href*='/change']", "Change a policy of P-77")
    way.look("change")
    way.tab_to("#roles")
    way.page.keyboard.press("Control+A")
    way.page.keyboard.insert_text("NURSE")
    way.follow("main form button", "Before it is saved")
    way.write("#reason", "the wrong role")
    way.look("changed")
    way.follow("main form button", "Who may see the documents of P-77")
    way.page.get_by_text("NURSE").first.wait_for()
    way.follow("a[href*='/end']", "End this policy?")
    way.look("end")
    way.write("#reason", "she changed her mind")
    way.follow("main form button", "Who may see the documents of P-77")
    way.page.get_by_text("There is no policy").wait_for()


async def test_a_policy_is_tried_written_explained_changed_and_ended_by_keyboard(
    tmp_path: Path, pictures: Pictures
):
    async with a_desk(tmp_path / "data") as desk:
        base, cookies = str(desk.http.base_url).rstrip("/"), dict(desk.http.cookies)

        def walking() -> list[str]:
            with journey(base, pictures, cookies) as opened:
                as_a_privacy_officer(opened)
                return opened.wrong

        wrong = await asyncio.to_thread(walking)
    if not AXE.is_file() and not wrong:
        pytest.skip("axe-core is not here (make viewer): walked, and not judged by it")
    # What cannot be kept is answered by 422, which the browser tells as an error.
    assert [one for one in wrong if "422" not in one] == []

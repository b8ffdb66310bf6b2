"""An operator without a mouse, in Chromium, in the pages of the imaging source: finds what is stuck, mends
it, and has the installation examined.

Every page is looked at wide and narrow, in the light and by night, and judged by axe.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from imaging_source.transactions import drift
from imaging_source.transactions.rad13 import OrderReceiver
from shared.security.caller import Node
from tests.support.dicom import a_ct
from tests.support.journeys import Journey, journey
from tests.support.orders import oru
from tests.support.publishing_rig import PublishingRig
from tests.support.viewing import AXE, Pictures, browser_missing
from tests.transactions.imaging_source.test_pages import findings, opened, signed_in

pytestmark = [
    pytest.mark.peer,
    pytest.mark.heavy,
    pytest.mark.skipif(bool(browser_missing()), reason="Chromium is not here"),
]

WAITING, PUBLISHED, REMOVED, MIXED = "2.25.11", "2.25.21", "2.25.31", "2.25.41"


async def a_day(rig: PublishingRig) -> None:
    """A day on which something went wrong."""
    for study, patient in ((WAITING, "P9"), (PUBLISHED, "P1"), (REMOVED, "P1")):
        await rig.image(study, patient)
        await rig.publish(study)
    [entry] = await rig.approved("P1", REMOVED)
    await rig.remove(entry)
    await drift.examine(rig.source.parts, REMOVED)
    receiver = OrderReceiver(parts=rig.source.parts, host="source.example")
    for message in (
        oru(patient="P2^^^NORTH", study=PUBLISHED),
        oru(patient="P1^^^NORTH", study="2.25.99999", control_id="C2", filler="FO-2"),
    ):
        await receiver.acknowledge(message, Node(address="127.0.0.1"))
    await rig.source.reports.turn()
    await rig.image(MIXED, "P1")
    await rig.keep(a_ct(StudyInstanceUID=MIXED, SOPInstanceUID="2.25.99", PatientID="P2"))


def as_an_operator(way: Journey) -> None:
    page = way.page
    way.open("/")
    way.look("overview")
    way.follow("a[href='/publications?state=waiting']", "What is published")
    way.look("waiting")
    way.follow("th a[href^='/publications/']", "Waiting")
    way.look("publication")
    way.write("#patient", "P 1^^nonsense")
    way.tab_to("form[action$='/patient'] button")
    page.keyboard.press("Enter")
    page.get_by_text("that is no patient id").wait_for()
    way.look("wrong-patient")
    page.locator("#patient").fill("")
    way.write("#patient", "P1")
    way.tab_to("form[action$='/patient'] button")
    page.keyboard.press("Enter")
    page.get_by_text("about to be sent").wait_for()
    way.open("/publications?state=published")
    way.follow("th a[href^='/publications/']", "Published")
    way.tab_to("form[action$='/withdraw'] [type=checkbox]")
    page.keyboard.press("Space")
    way.follow("form[action$='/withdraw'] button", "Withdrawn")
    way.look("withdrawn")
    way.follow("a[href='/reports']", "Which reports wait")
    way.look("reports")
    way.write("#study-1", "no uid")
    way.tab_to("form[action$='/accept'] button")
    page.keyboard.press("Enter")
    page.get_by_text("that is no Study Instance UID").wait_for()
    way.look("reports-wrong")
    page.locator("#study-1").fill("")
    way.tab_to("form[action$='/accept'] button")
    page.keyboard.press("Enter")
    page.get_by_text("it is about to be sent").wait_for()
    way.follow("a[href='/drift']", "Which manifests")
    way.look("drift")
    way.follow("a[href='/set-aside']", "Which images")
    way.look("set-aside")
    way.tab_to("form[action$='/accept'] button")
    page.keyboard.press("Enter")
    page.locator("h1", has_text="Which images").wait_for()
    way.follow("a[href='/connections']", "Archives")
    way.look("connections")
    way.follow("a[href='/certificates']", "When do certificates end?")
    way.look("certificates")
    way.follow("a[href='/load']", "Load and space")
    way.look("load")
    way.follow("a[href='/doctor']", "Is anything wrong here?")
    way.look("doctor")
    way.tab_to("form[action='/doctor'] button")
    page.keyboard.press("Enter")
    page.get_by_text("Nobody answers").wait_for()
    way.look("examined")
    way.tab_to("form.who button")
    page.keyboard.press("Enter")
    page.locator("input[type=file]").wait_for()
    way.look("sign-in")


async def test_an_operator_finds_what_is_stuck_and_mends_it_by_keyboard(tmp_path: Path, pictures: Pictures):
    tables: dict[str, Any] = {
        "archives": {
            "old-pacs": {"url": "https://pacs.example/dicom-web"},
            "near-line": {"ae_title": "NEARLINE"},
        },
        "application_entities": {
            "NEARLINE": {"host": "127.0.0.1", "port": 4242, "services": ["store", "find", "move"]},
            "CT01": {
                "certificate": "CN=ct01,O=Hospital North",
                "services": ["store", "commit"],
                "host": "127.0.0.1",
            },
        },
    }
    async with opened(tmp_path / "data", examine=findings, publish_delay_seconds=0, **tables) as (rig, http):
        # Nobody answers at the archives that are shown: none is asked.
        rig.source.parts.archives._archives = ()
        await a_day(rig)
        await signed_in(http)

        def walk() -> list[str]:
            with journey(rig.source_url, pictures, dict(http.cookies)) as way:
                as_an_operator(way)
                # A browser says of a form that was refused that it was.
                return [one for one in way.wrong if "422 (Unprocessable Entity)" not in one]

        wrong = await asyncio.to_thread(walk)

    if not AXE.is_file() and not wrong:
        pytest.skip("axe-core is not here (make viewer): walked, and not judged by it")
    assert wrong == []

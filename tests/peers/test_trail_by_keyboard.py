"""An auditor, an administrator and a patient without a mouse, in Chromium, in the pages of the trail.

Every page is looked at wide and narrow, in the light and by night, and judged by axe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from audit_repository.domain.record import record_of
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, AuditSource, Outcome
from shared.audit.node_events import node_authentication_failure, user_authentication_failure
from shared.audit.patterns import Side
from shared.ebrim.model import Code
from shared.security.caller import Node
from tests.support.audit import PATIENT, SOURCES, a_caller, an_event
from tests.support.every_door import a_house, acquainted
from tests.support.journeys import Journey, journey
from tests.support.viewing import AXE, Pictures, browser_missing
from tests.transactions.audit_repository.test_iti81 import AUDITOR, PATIENT_ROLE, trusting
from tests.transactions.audit_repository.test_pages import recent, signed_in

pytestmark = [
    pytest.mark.peer,
    pytest.mark.heavy,
    pytest.mark.skipif(bool(browser_missing()), reason="Chromium is not here"),
]

ADMINISTRATOR = Code("ADMIN", "2.999.40.1", "Administrator")


@asynccontextmanager
async def pages(folder: Path) -> AsyncIterator[str]:
    """The address of an audit repository in which something happened, with a registry beside it."""
    house_of = acquainted()
    house_of["audit_repository"] |= {"auditor_roles": (str(AUDITOR), str(ADMINISTRATOR))}
    house_of["audit_repository"] |= {"patient_roles": (str(PATIENT_ROLE),)}
    node = Node(address="192.0.2.17", subject="CN=n", fingerprint="ab" * 32)
    emergency = patterns.break_glass(
        Side.SERVER,
        a_caller(),
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STARTED,
        policy_id="urn:oid:2.999.4711",
        patient_id=PATIENT,
        reason="unconscious, on call",
    )
    refused = an_event(
        outcome=Outcome.SERIOUS_FAILURE, outcome_description="refused by consent: policy north-1 denies"
    )
    records = [
        recent(),
        recent(source=AuditSource(source_id="xdsi-other", hostname="h")),
        recent(event=refused),
        recent(event=node_authentication_failure("192.0.2.9", "unknown authority")),
        recent(event=user_authentication_failure(claimed="", node=node, reason="the assertion is expired")),
        recent(event=emergency),
        record_of(b"<85>1 what is this", node=node, received=datetime.now(UTC), sources=SOURCES),
    ]
    async with a_house(folder, **house_of, assertion=trusting()["assertion"]) as house:
        await house.services["audit repository"].trail.append(records)
        yield house.url("audit repository")


async def walked(pictures: Pictures, base: str, walk: Callable[[Journey], None], **who: Any) -> list[str]:
    """What is wrong, as whoever is signed in walks."""
    async with httpx2.AsyncClient(base_url=base, trust_env=False) as http:
        await signed_in(http, who.pop("name_id"), **who)
        cookies = dict(http.cookies)

    def walking() -> list[str]:
        with journey(base, pictures, cookies) as opened:
            walk(opened)
            return opened.wrong

    wrong = await asyncio.to_thread(walking)
    if not AXE.is_file() and not wrong:
        pytest.skip("axe-core is not here (make viewer): walked, and not judged by it")
    return wrong


def as_an_auditor(way: Journey) -> None:
    way.open("/trail")
    way.look("questions")
    way.write("#patient", "P0001")
    way.follow("form[action='/patients'] button", "P0001")
    way.look("patient")
    way.open("/trail")
    way.follow("a[href='/records?question=refused']", "Who was refused")
    way.page.get_by_text("north-1").first.wait_for()
    way.look("refused")
    way.follow("td a[href^='/records/']", "Record")
    way.page.get_by_text("AuditMessage").first.wait_for()
    way.look("record")
    way.open("/trail")
    way.follow("a[href='/emergencies']", "Who looked in an emergency")
    way.look("emergencies")
    way.write("textarea", "she was on call")
    way.tab_to("form[action='/emergencies/sign-off'] button")
    way.page.keyboard.press("Enter")
    way.page.get_by_text("None waits for a review").wait_for()
    way.page.get_by_text("she was on call, by o.lang").wait_for()
    way.look("signed-off")
    way.follow("nav a[href='/trail']", "What do you want to know?")
    way.follow("a[href='/gaps']", "What is missing")
    way.look("gaps")
    way.tab_to("form.who button")
    way.page.keyboard.press("Enter")
    way.page.locator("input[type=file]").wait_for()
    way.look("sign-in")


def as_an_administrator(way: Journey) -> None:
    """Whose systems cannot talk, who cannot sign in, and what nobody can read."""
    way.open("/")
    for question, found in (
        ("strangers", "unknown authority"),
        ("logins", "the assertion is expired"),
        ("unread", "could not be read"),
        ("policies", "no such record"),
        ("readers", "a.min"),
    ):
        way.follow(f"a[href='/records?question={question}']", "?")
        way.page.get_by_text(found).first.wait_for()
        way.look(question)
        way.follow("nav a[href='/trail']", "What do you want to know?")


def as_a_patient(way: Journey) -> None:
    way.open("/own")
    way.page.get_by_text("u-778").first.wait_for()
    way.look("own")
    way.tab_to("a.brand")
    way.page.keyboard.press("Enter")
    way.page.wait_for_url("**/own")


async def test_an_auditor_finds_who_was_refused_and_signs_an_emergency_off_by_keyboard(
    tmp_path: Path, pictures: Pictures
):
    async with pages(tmp_path / "data") as base:
        assert await walked(pictures, base, as_an_auditor, name_id="o.lang", roles=(AUDITOR,)) == []


async def test_an_administrator_finds_what_cannot_connect_sign_in_or_be_read_by_keyboard(
    tmp_path: Path, pictures: Pictures
):
    async with pages(tmp_path / "data") as base:
        assert (
            await walked(pictures, base, as_an_administrator, name_id="a.min", roles=(ADMINISTRATOR,)) == []
        )


async def test_a_patient_reads_the_own_log_by_keyboard(tmp_path: Path, pictures: Pictures):
    async with pages(tmp_path / "data") as base:
        who = {"name_id": "pat", "roles": (PATIENT_ROLE,), "resource_ids": (PATIENT,)}
        assert await walked(pictures, base, as_a_patient, **who) == []

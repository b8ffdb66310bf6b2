"""A clinician breaks the glass in a page: the registry keeps it, both sides record it, and what was kept
back is seen for a time."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, Outcome
from shared.ebrim.model import Code
from tests.support.certificates import assertion_for, communities
from tests.support.consumer import Desk, desk, search, sign_in, token_of
from tests.support.metadata import PATIENT, a_document_entry

BTG = Code("BTG", "2.16.840.1.113883.5.8", "break the glass")
DOCTOR = Code("DOCTOR", "2.999.40.1", "Doctor")
ALLOWED = {"break_glass_roles": ["DOCTOR^^urn:oid:2.999.40.1"], "consent": {"default": "deny"}}


@pytest.fixture
async def at_work(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, tls=True, registry=ALLOWED) as made:
        yield made


@pytest.fixture
async def browser(at_work: Desk) -> AsyncIterator[httpx2.AsyncClient]:
    """A doctor at North, who comes for an emergency."""
    async with at_work.client(communities()[0]) as client:
        await sign_in(client, assertion_for("dr.a", roles=(DOCTOR,), purposes=(BTG,)))
        yield client


async def broken(browser: httpx2.AsyncClient, reason: str = "unconscious", patient: str = "P-1001", **more):
    form = await browser.get("/emergency")
    assert form.status_code == 200, form.text
    token = token_of(form)
    fields = {"token": token, "patient_id": patient, "reason": reason} | more
    return await browser.post("/emergency", data=fields)


async def test_what_policies_keep_back_is_seen_after_a_reason_was_given(at_work: Desk, browser):
    await at_work.register(a_document_entry(title="kept back"))
    before = await browser.get((await search(browser, "P-1001")).headers["location"])
    page = await broken(browser)
    after = await browser.get(re.search(r'href="(/searches/[^"]+)"', page.text)[1])
    again = await broken(browser)

    assert page.status_code == 200, page.text
    assert re.search(r"Until \d{4}-\d\d-\d\d \d\d:\d\d UTC", page.text)
    assert ("kept back" in before.text, "kept back" in after.text) == (False, True)
    assert again.status_code == 409
    assert "open for you already" in again.text


async def test_it_is_recorded_with_the_patient_the_person_and_the_reason(at_work: Desk, browser):
    await at_work.register(a_document_entry())
    await broken(browser, reason="on the table")
    events = [one for one in at_work.recorder.events if EMERGENCY_OVERRIDE_STARTED in one.event_types]

    assert [one.outcome for one in events] == [Outcome.SUCCESS]
    assert events[0].objects[0].object_id == PATIENT
    assert events[0].objects[1].details[0][1] == b"on the table"
    assert any("dr.a" in one.user_name for one in events[0].participants)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"reason": "  "}, 422, "Say why"),
        ({"patient": "P 1^^"}, 422, "patient"),
        ({"token": "00"}, 403, ""),
    ],
)
async def test_what_is_not_filled_in_is_told_and_nothing_is_asked(at_work, browser, changes, status, words):
    page = await broken(browser, **changes)

    assert page.status_code == status
    assert words in page.text
    assert not any(b'"reason"' in sent for sent in at_work.wire.sent)


async def test_who_may_not_is_told_what_it_needs_and_that_is_recorded(at_work: Desk):
    await at_work.register(a_document_entry())
    async with at_work.client(communities()[0]) as client:
        await sign_in(client, assertion_for("dr.b", roles=(DOCTOR,)))
        page = await broken(client)
    events = [one for one in at_work.recorder.events if EMERGENCY_OVERRIDE_STARTED in one.event_types]

    assert page.status_code == 403
    assert "an emergency as its purpose" in page.text
    assert [one.outcome for one in events] == [Outcome.SERIOUS_FAILURE]


async def test_a_registry_that_is_away_is_told_and_the_attempt_is_recorded(at_work: Desk, browser):
    at_work.wire.away = httpx2.ConnectError("gone")
    page = await broken(browser)

    assert page.status_code in (502, 503)
    assert any(EMERGENCY_OVERRIDE_STARTED in one.event_types for one in at_work.recorder.events)

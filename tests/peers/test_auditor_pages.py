"""The ten questions of a privacy officer, each answered in three clicks at most."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import httpx2
import pytest

from audit_repository.app import build
from audit_repository.settings import AuditRepositorySettings
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, Outcome, ihe
from shared.audit.node_events import node_authentication_failure, user_authentication_failure
from shared.audit.patterns import Side
from shared.http.server import start_server
from shared.security.caller import Node
from tests.support.audit import PATIENT, a_caller, an_event
from tests.support.viewing import browser_missing
from tests.transactions.audit_repository.test_pages import recent, token_in

pytestmark = [pytest.mark.peer]

HOME = "/trail"
#: The question, the visible texts that are clicked one after the other, and what then is read.
QUESTIONS = {
    "Who saw patient X's images?": (["Show accesses", "who saw"], "Nobody used the data"),
    "Who tried to?": (["Show accesses", "who was refused"], "policy north-1"),
    "Who broke the glass?": (["Who looked in an emergency?"], "unconscious, on call"),
    "Which logins failed, by node?": (["Which sign-ins failed?"], "the assertion is expired"),
    "What did user U do?": (["Show records"], "Registry Stored Query"),
    "Who read the audit log?": (["Who looked into this trail?"], "Retrieve ATNA Audit Event"),
    "Which node has gaps?": (["What is missing, which source fell silent, which clock is wrong?"], "missing"),
    "Was a document removed, by whom?": (["What was removed, and by whom?"], "Remove Metadata"),
    "Who changed the consent of X?": (
        ["Who changed a patient's consent, or a legal hold?"],
        "consent policy set",
    ),
    "Which clock runs off?": (["What is missing, which source fell silent, which clock is wrong?"], "clock"),
}


async def clicked(http, page: httpx2.Response, text: str) -> httpx2.Response:
    """The page behind a link or a button that is called so."""
    if text == "Show accesses":
        return await http.post("/patients", data={"token": token_in(page), "patient": "P0001"})
    if text == "Show records":
        return await http.get("/records", params={"user": "u-778"})
    links = re.findall(r'<a href="([^"]+)">([^<]+)</a>', page.text)
    (address,) = {unescape(to) for to, name in links if unescape(name).strip() == text}
    return await http.get(address)


async def test_ten_questions_are_answered_in_three_clicks(tmp_path: Path, request: pytest.FixtureRequest):
    settings = AuditRepositorySettings(data=tmp_path, port=0, syslog_port=0)
    service = await build(settings)
    await service.start()
    server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
    removal = an_event(event_types=(ihe("ITI-62", "Remove Metadata"),))
    refused = an_event(
        outcome=Outcome.SERIOUS_FAILURE, outcome_description="refused by consent: policy north-1 denies"
    )
    strangers = node_authentication_failure("192.0.2.9", "unknown authority")
    emergency = patterns.break_glass(
        Side.SERVER,
        a_caller(),
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STARTED,
        policy_id="urn:uuid:1",
        patient_id=PATIENT,
        reason="unconscious, on call",
    )
    sign_in = user_authentication_failure(
        claimed="", node=Node(address="192.0.2.8"), reason="the assertion is expired"
    )
    consent = patterns.consent_changed(
        Side.SERVER, a_caller(), Outcome.SUCCESS, policy_id="p-1", patient_id=PATIENT, change="set"
    )
    events = (an_event(), removal, refused, strangers, emergency, sign_in, consent)
    await service.trail.append([recent(event=one) for one in events])
    unanswered = {}
    try:
        base = f"http://127.0.0.1:{server.port}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False, follow_redirects=True) as http:
            for question, (texts, answer) in QUESTIONS.items():
                page = await http.get(HOME)
                for text in texts:
                    page = await clicked(http, page, text)
                if page.status_code != 200 or answer not in page.text or len(texts) > 3:
                    unanswered[question] = page.text
        if not browser_missing():
            onlooker = request.getfixturevalue("onlooker")
            shown = await onlooker.sees(lambda tab: tab.document(f"{base}{HOME}"))
            assert "<rect" in shown
            assert "/style.css" in shown
    finally:
        await server.stop(1.0)
        await service.stop()

    assert len(QUESTIONS) == 10
    assert unanswered == {}

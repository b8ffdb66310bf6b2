"""The pages for auditors, and the one for patients."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from audit_repository.domain.questions import QUESTIONS
from audit_repository.domain.record import record_of
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, AuditSource, Coded, Outcome, purposes
from shared.audit.node_events import node_authentication_failure
from shared.audit.recorder import message
from shared.security.caller import Node
from tests.support.audit import CLINICIAN, PATIENT, SOURCE, SOURCES, a_caller, an_event
from tests.support.certificates import assertion_for
from tests.transactions.audit_repository.served import asked
from tests.transactions.audit_repository.test_iti81 import AUDITOR, PATIENT_ROLE, trusting

CLINICIAN_PURPOSES = purposes(CLINICIAN)


def token_in(page):
    return re.search(r'name="token" value="([^"]+)"', page.text)[1]


async def signed_in(http, name_id, **content):
    form = await http.get("/sign-in")
    answer = await http.post(
        "/sign-in",
        data={"token": token_in(form)},
        files={"assertion": ("me.xml", assertion_for(name_id, **content), "text/xml")},
    )
    assert answer.status_code == 303, answer.text


def recent(**changes):
    """A record of now, as the pages show the last days."""
    node = Node(address="192.0.2.17", subject="CN=n", fingerprint="ab" * 32)
    source = changes.pop("source", SOURCE)
    event = changes.pop("event", None) or an_event(purposes=CLINICIAN_PURPOSES, **changes)
    return record_of(message(event, source), node=node, received=datetime.now(UTC), sources=SOURCES)


async def patient_page(http, patient="P0001"):
    home = await http.get("/trail")
    answer = await http.post("/patients", data={"token": token_in(home), "patient": patient})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_an_auditor_sees_who_used_a_patients_data_with_both_sides_as_one(tmp_path):
    async with asked(tmp_path, **trusting()) as (service, http):
        other = AuditSource(source_id="xdsi-other", hostname="h")
        await service.trail.append([recent(), recent(source=other)])
        await signed_in(http, "o.lang", roles=(AUDITOR,))
        address = await patient_page(http)
        page = await http.get(address)

        assert "P0001" not in address
        assert page.status_code == 200
        assert page.text.count("<tbody>") == page.text.count('<th scope="row"') == 1
        for shown in ("u-778", "Radiologist", "searched for", "treatment", "xdsi-test", "xdsi-other"):
            assert shown in page.text
        record = re.search(r'href="(/records/[0-9]+)"', page.text)[1]
        assert "&lt;AuditMessage&gt;" in (await http.get(record)).text
        table = await http.get(f"{address}/accesses.csv")
        assert table.headers["content-disposition"] == 'attachment; filename="accesses.csv"'
        assert table.text.splitlines()[0].startswith("time,who,roles")
        assert (await http.get(f"{address}?manner=saw")).text.count('<th scope="row"') == 0


async def test_a_link_to_a_patient_is_worth_nothing_to_another(tmp_path):
    async with asked(tmp_path, **trusting()) as (_, http):
        await signed_in(http, "o.lang", roles=(AUDITOR,))
        address = await patient_page(http)
        http.cookies.clear()
        await signed_in(http, "a.other", roles=(AUDITOR,))

        assert (await http.get(address)).status_code == 404


async def test_every_page_is_a_look_that_is_recorded_with_who_looked(tmp_path):
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([recent()])
        await signed_in(http, "o.lang", roles=(AUDITOR,))
        address = await patient_page(http)
        pages = [
            address,
            "/trail",
            "/records?question=refused",
            "/gaps",
            "/records/1",
            f"{address}/accesses.csv",
        ]
        for page in pages:
            before = service.trail.sequence
            assert (await http.get(page)).status_code == 200
            assert service.trail.sequence == before + 1
        readers = await http.get("/records?question=readers")
        assert "o.lang" in readers.text


@pytest.mark.parametrize("page", ["/trail", "/records?question=all", "/gaps", "/records/1"])
async def test_a_clinician_sees_no_page_of_the_trail_and_that_is_recorded(tmp_path, page):
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([recent()])
        await signed_in(http, "dr.roe")
        before = service.trail.sequence
        answer = await http.get(page)

        assert answer.status_code == 403
        assert "u-778" not in answer.text
        assert service.trail.sequence == before + 1


async def test_a_patient_sees_who_used_the_own_data_and_nothing_else(tmp_path):
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([recent(), recent(objects=(), outcome_description="of somebody else")])
        await signed_in(http, "p.mueller", roles=(PATIENT_ROLE,), resource_ids=(PATIENT,))
        entrance = await http.get("/")
        page = await http.get("/own")

        assert entrance.headers["location"] == "/own"
        assert page.text.count('<th scope="row"') == 1
        for shown in ("u-778", "the list of documents", "treatment", "searched for", "xdsi-test"):
            assert shown in page.text
        assert "somebody else" not in page.text
        assert (await http.get("/trail")).status_code == 403


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Coded("RAD-75", "IHE Transactions", "Cross Gateway Retrieve Imaging Document Set"), "images"),
        (Coded("ITI-38", "IHE Transactions", "Cross Gateway Query"), "the list of documents"),
        (Coded("ITI-42", "IHE Transactions", "Register Document Set-b"), "a document"),
        (Coded("ITI-44", "IHE Transactions", "Patient Identity Feed HL7 V3"), "name and identifiers"),
        (EMERGENCY_OVERRIDE_STARTED, "access in an emergency, begun"),
        (Coded("X-1", "99LOCAL", "Peer review"), "Peer review"),
        (Coded("X-2", "99LOCAL", ""), "X-2"),
    ],
    ids=lambda value: value.code if isinstance(value, Coded) else "",
)
async def test_a_patient_is_told_what_was_used_in_words_and_not_in_codes(tmp_path, kind, words):
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([recent(event_types=(kind,))])
        await signed_in(http, "p.mueller", roles=(PATIENT_ROLE,), resource_ids=(PATIENT,))
        page = (await http.get("/own")).text

        assert f">{words}<" in page
        assert kind.code == words or kind.code not in page


@pytest.mark.parametrize("question", QUESTIONS)
async def test_every_question_has_its_page(tmp_path, question):
    refused = recent(
        outcome=Outcome.SERIOUS_FAILURE, outcome_description="refused by consent: policy north-1 denies"
    )
    stranger = recent(event=node_authentication_failure("192.0.2.9", "unknown authority"))
    expected = {"refused": "policy north-1 denies", "strangers": "unknown authority", "all": "u-778"}
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([recent(), refused, stranger])
        page = await http.get(f"/records?question={question}")

        assert page.status_code == 200
        assert expected.get(question, "") in page.text


async def test_what_a_user_did_is_found_by_the_login_and_pages_go_on(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([recent(outcome_description=f"number {number}") for number in range(105)])
        await service.trail.append([recent(caller=a_caller(user=None))])
        page = await http.get("/records?user=u-778")
        older = re.search(r'class="button" href="([^"]+)"', page.text)[1].replace("&amp;", "&")
        next_page = await http.get(older)

        assert page.text.count('<th scope="row"') == 100
        assert next_page.text.count('<th scope="row"') == 5


@pytest.mark.parametrize("path", ["/records/x", "/records/4711", "/patients/x", "/patients/x/accesses.csv"])
async def test_what_is_not_there_is_told_on_a_page(tmp_path, path):
    async with asked(tmp_path) as (_, http):
        answer = await http.get(path)

        assert answer.status_code in (400, 404)
        assert "<h1>" in answer.text


async def test_pages_are_lent_to_no_other_site_and_take_no_form_of_one(tmp_path):
    async with asked(tmp_path) as (_, http):
        home = await http.get("/trail")
        foreign = await http.post("/patients", data={"token": "x", "patient": "P0001"})

        assert "frame-ancestors 'none'" in home.headers["content-security-policy"]
        assert home.headers["cache-control"] == "no-store"
        assert foreign.status_code == 403


async def test_what_strangers_wrote_is_shown_as_text(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([recent(outcome_description="<script>alert(1)</script>")])
        page = await http.get("/records")

        assert "<script>" not in page.text
        assert "&lt;script&gt;" in page.text

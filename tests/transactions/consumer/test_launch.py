"""Other entrances to the pages: addresses of IHE Invoke Image Display (RAD-106), and launch tickets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from shared.ebrim.schemes import REFERENCE_ACCESSION, REFERENCE_STUDY_INSTANCE_UID
from tests.support.certificates import assertion_for, communities, stranger
from tests.support.consumer import Desk, desk, saml, sign_in, token_of
from tests.support.metadata import DOMAIN, OTHER_PATIENT, a_document_entry

STUDY = "2.25.501"
SHOWN = {"requestType": "STUDY", "studyUID": STUDY, "patientID": "P-1001"}
IID = "/IHEInvokeImageDisplay"


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, tls=True) as made:
        yield made


@pytest.fixture
def browser(strict: Desk) -> httpx2.AsyncClient:
    return strict.client(communities()[0])


@pytest.fixture
async def published(strict: Desk) -> None:
    await strict.register(
        a_document_entry(
            title="The one",
            reference_ids=(
                f"{STUDY}^^^^{REFERENCE_STUDY_INSTANCE_UID}",
                f"A77^^^&2.25.9&ISO^{REFERENCE_ACCESSION}",
            ),
        ),
        a_document_entry(title="Another", patient_id=OTHER_PATIENT),
    )


async def followed(browser: httpx2.AsyncClient, answer: httpx2.Response) -> httpx2.Response:
    """Where the browser is at the end."""
    for _ in range(5):
        if answer.status_code != 303:
            return answer
        answer = await browser.get(answer.headers["location"])
    raise AssertionError("no end of redirections")


async def test_an_address_leads_who_signs_in_then_to_the_timeline(strict: Desk, browser, published):
    unsigned = await followed(
        browser, await browser.get(IID, params={"requestType": "PATIENT", "patientID": "P-1001"})
    )
    assert (unsigned.status_code, "Sign in" in unsigned.text) == (401, True)

    page = await followed(browser, await sign_in(browser, assertion_for("dr.roe")))

    assert page.status_code == 200
    assert "The one" in page.text
    # It is followed once.
    assert "Find studies" in (await followed(browser, await browser.get("/"))).text


async def test_an_address_of_a_study_leads_to_its_images(strict: Desk, browser, published):
    await sign_in(browser, assertion_for("dr.roe"))
    by_number = {"requestType": "STUDY", "accessionNumber": "A77", "patientID": f"P-1001^^^&{DOMAIN}&ISO"}
    for asked in (SHOWN, by_number, {name.upper(): value for name, value in SHOWN.items()}):
        answer = await browser.get(IID, params=asked)
        assert answer.status_code == 303
        onward = await browser.get(answer.headers["location"])
        assert re.fullmatch(r"/studies/[\w-]+/viewer", onward.headers["location"]), asked
        assert "P-1001" not in answer.headers["location"] + onward.headers["location"]


async def test_a_study_of_another_patient_and_one_that_is_not_there_are_told_alike(
    strict: Desk, browser, published
):
    await sign_in(browser, assertion_for("dr.roe"))
    answers = [
        await followed(browser, await browser.get(IID, params=SHOWN | changed))
        for changed in ({"studyUID": "2.25.404"}, {"patientID": "P-2002"}, {"patientID": "P-404"})
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({re.sub(r'value="[0-9a-f]+"', "", answer.text) for answer in answers}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"requestType": "SERIES", "patientID": "P-1001"},
        {"requestType": "STUDY", "patientID": "P-1001"},
        {"requestType": "STUDY", "studyUID": "2.25.1"},
        {"requestType": "STUDY", "studyUID": "//elsewhere.example", "patientID": "P-1001"},
        {"requestType": "PATIENT"},
    ],
)
async def test_an_address_that_does_not_say_enough_is_told_what_is_needed(strict: Desk, browser, wrong):
    answer = await browser.get(IID, params=wrong)

    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "kept", ["//elsewhere.example", "https://elsewhere.example", "x", "../sign-out", "%0d%0aa:b"]
)
async def test_what_a_browser_keeps_leads_nowhere_unless_it_is_of_ours(strict: Desk, browser, kept: str):
    await sign_in(browser, assertion_for("dr.roe"))
    answer = await browser.get(
        "/", headers={"cookie": f"xdsi-consumer-invocation={kept}; " + _cookies(browser)}
    )

    assert answer.status_code == 200
    assert "location" not in answer.headers


def _cookies(browser: httpx2.AsyncClient) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


# --- tickets -----------------------------------------------------------------------------------------


async def ticket(strict: Desk, **body: str) -> str:
    """The path of a launch that a program at a node of South asked for, for its user."""
    async with strict.client(communities()[1]) as program:
        answer = await program.post(
            "/api/launches", json={"patient_id": "P-1001", **body}, headers=saml(assertion_for("dr.launched"))
        )
    assert answer.status_code == 201, answer.text
    return urlsplit(answer.json()["url"]).path


async def used(browser: httpx2.AsyncClient, path: str) -> httpx2.Response:
    page = await browser.get(path)
    return await browser.post(path, data={"token": token_of(page)})


async def test_a_ticket_signs_its_user_in_and_leads_to_what_was_asked_for(strict: Desk, browser, published):
    path = await ticket(strict)
    page = await browser.get(path)
    assert "dr.launched" in page.text
    assert "P-1001" not in path + page.text

    shown = await followed(browser, await used(browser, path))

    assert "The one" in shown.text
    assert "dr.launched" in shown.text
    [login] = strict.told("110114")
    assert any(one.user_id.startswith("<dr.launched@") for one in login.participants)


async def test_a_ticket_is_used_once_and_to_look_at_it_uses_nothing(strict: Desk, browser, published):
    path = await ticket(strict, study_instance_uid=STUDY)
    await browser.get(path)
    first = await used(browser, path)
    async with strict.client(communities()[0]) as another:
        again = await another.get(path)
        page = await another.get("/sign-in")
        sent_again = await another.post(path, data={"token": token_of(page)})

    assert first.status_code == 303
    assert (again.status_code, sent_again.status_code) == (404, 404)


async def test_a_restart_keeps_who_is_signed_in_and_no_ticket_that_was_used(tmp_path: Path):
    cookies, tickets = [], []
    async with desk(tmp_path, tls=True) as before, before.client(communities()[0]) as browser:
        tickets = [await ticket(before) for _ in range(2)]
        assert (await used(browser, tickets[0])).status_code == 303
        cookies = list(browser.cookies.jar)
    async with desk(tmp_path, tls=True) as after, after.client(communities()[0]) as browser:
        for cookie in cookies:
            browser.cookies.jar.set_cookie(cookie)
        page = await browser.get("/")
        again, unused = [await browser.get(path) for path in tickets]

    assert page.status_code == 200
    assert "dr.launched" in page.text
    assert (again.status_code, unused.status_code) == (404, 200)


@pytest.mark.parametrize("forged", ["x", "A" * 86, "..%2f..", "%00"])
async def test_a_ticket_that_was_made_up_is_as_unknown_as_one_that_was_used(strict: Desk, browser, forged):
    assert (await browser.get(f"/launches/{forged}")).status_code == 404


async def test_a_ticket_is_of_no_use_without_the_form_of_its_page(strict: Desk, browser, published):
    path = await ticket(strict)
    assert (await browser.post(path, data={"token": "0" * 64})).status_code == 403
    assert (await browser.get(path)).status_code == 200


async def test_whoever_has_no_assertion_that_is_accepted_gets_no_ticket(strict: Desk):
    async with strict.client(communities()[1]) as program:
        for headers in ({}, saml(assertion_for("dr.roe", stranger()))):
            answer = await program.post("/api/launches", json={"patient_id": "P-1001"}, headers=headers)
            assert answer.status_code == 401


async def test_a_session_of_a_ticket_ends_with_the_assertion_that_it_came_by(
    strict: Desk, browser, published
):
    shown = await followed(browser, await used(browser, await ticket(strict)))
    assert shown.status_code == 200
    strict.later[0] = timedelta(hours=12)

    assert (await browser.get("/")).status_code == 401

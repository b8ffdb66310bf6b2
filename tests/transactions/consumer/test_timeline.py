"""The timeline of a patient, in this process beside a real registry: what stands together, and what is said
of what may not be seen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.ebrim.model import Author, Code
from shared.ebrim.schemes import REFERENCE_STUDY_INSTANCE_UID
from tests.support.certificates import assertion_for, communities
from tests.support.consumer import Desk, desk, search, sign_in, token_of
from tests.support.metadata import OTHER_PATIENT, PATIENT, Timestamp, a_document_entry
from tests.support.reports import a_report_entry

TREATMENT = Code("TREAT", "2.16.840.1.113883.5.8", "treatment")
RESEARCH = Code("HRESCH", "2.16.840.1.113883.5.8", "research")


@pytest.fixture
async def open_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as made:
        yield made


def a_study(number: int, **changes: object):
    return a_document_entry(
        reference_ids=(f"2.25.{number}^^^^{REFERENCE_STUDY_INSTANCE_UID}",),
        title=f"Study {number}",
        **changes,
    )


async def shown(open_desk: Desk, patient: str = "P-1001", **narrowed: str) -> str:
    async with open_desk.client() as browser:
        page = await browser.get((await search(browser, patient, **narrowed)).headers["location"])
    assert page.status_code == 200
    return " ".join(page.text.split())


async def test_a_study_that_two_places_share_stands_there_once_and_names_both(open_desk: Desk):
    def at(name: str):
        return a_study(7, authors=(Author(institutions=(f"{name}^^^^^^^^^2.25.8",)),))

    await open_desk.register(at("Hospital North"), at(r"Mercy \T\ Sons"))

    page = await shown(open_desk)

    assert len(re.findall(r"<h3>", page)) == 1
    assert "1 study" in page
    assert "Hospital North" in page
    assert "Mercy &amp; Sons" in page


async def test_studies_stand_by_years_newest_first(open_desk: Desk):
    moments = ("20220101", "20240505", "20240606")
    await open_desk.register(
        *(a_study(k, service_start_time=Timestamp(one)) for k, one in enumerate(moments))
    )

    page = await shown(open_desk)

    assert re.findall(r'class="year">(\d+)<|Study (\d)</a>', page) == [
        ("2024", ""),
        ("", "2"),
        ("", "1"),
        ("2022", ""),
        ("", "0"),
    ]


async def test_reports_stand_beside_their_study_and_others_below(open_desk: Desk):
    await open_desk.register(
        a_study(1),
        a_report_entry(PATIENT, "application/pdf", "Of the study", "2.25.1"),
        a_report_entry(PATIENT, "text/xml", "Of no study"),
        a_report_entry(OTHER_PATIENT, "text/xml", "Of somebody else"),
    )

    page = await shown(open_desk)

    within, _, others = page.partition("Other reports")
    assert "Of the study" in within
    assert "Beside the images" in within
    assert "Of no study" in others
    assert "Of somebody else" not in page


async def test_older_studies_are_a_page_away(open_desk: Desk):
    days = [f"202401{day:02}" for day in range(1, 15)]
    await open_desk.register(*(a_study(k, service_start_time=Timestamp(one)) for k, one in enumerate(days)))
    async with open_desk.client() as browser:
        first = await browser.get((await search(browser, "P-1001")).headers["location"])
        (older,) = re.findall(r'href="(/searches/[^"]+)"', first.text)
        second = await browser.get(older)

    assert len(re.findall("<h3>", first.text)) == 12
    assert len(re.findall("<h3>", second.text)) == 2
    assert "13 to 14 are here" in " ".join(second.text.split())


async def test_what_could_not_be_opened_is_told_and_the_page_is_there(open_desk: Desk):
    await open_desk.register(a_study(1))

    page = await shown(open_desk)

    assert "Number of images not known: the repository cannot be reached now" in page


async def test_a_date_of_the_entry_alone_is_said_to_be_in_utc(open_desk: Desk):
    await open_desk.register(a_study(1, service_start_time=Timestamp("20240305233000")))

    assert re.search(r"2024-03-05 <small[^>]*>UTC</small>", await shown(open_desk))


@pytest.mark.parametrize("patient", ["P-1001", "P-404"])
async def test_the_page_says_how_to_ask_whether_or_not_there_is_more(open_desk: Desk, patient: str):
    """Who may not know of a study sees what there is to see where none is."""
    await open_desk.register(a_study(1))

    page = await shown(open_desk, patient)

    assert "nothing here tells whether there is more" in page
    assert 'href="/emergency"' in page


async def test_the_purpose_is_stated_and_recorded(tmp_path: Path):
    both = assertion_for("dr.roe", purposes=(TREATMENT, RESEARCH))
    async with desk(tmp_path, tls=True) as strict, strict.client(communities()[0]) as browser:
        await sign_in(browser, both)
        form = (await browser.get("/")).text
        unstated = await search(browser, "P-1001")
        forged = await search(browser, "P-1001", purpose="ETREAT^^2.16.840.1.113883.5.8")
        sent = await search(browser, "P-1001", purpose=str(RESEARCH))
        page = await browser.get(sent.headers["location"])

    assert 'value="TREAT^^2.16.840.1.113883.5.8"' in form
    assert (unstated.status_code, forged.status_code) == (422, 422)
    assert "say for which of these purposes you look" in unstated.text
    assert "looked for: research" in " ".join(page.text.split())
    queries = strict.told("110112")
    assert queries
    assert {one.code for event in queries for one in event.purposes} == {"HRESCH"}


async def test_two_studies_of_one_patient_are_compared_and_no_others(open_desk: Desk):
    await open_desk.register(a_study(1))
    async with open_desk.client() as browser:
        page = await browser.get((await search(browser, "P-1001")).headers["location"])
        (handle,) = re.findall(r'href="/studies/([^"/]+)"', page.text)
        one = await browser.get("/compare", params={"study": [handle]})
        same = await browser.get("/compare", params={"study": [handle, handle]})
        made_up = await browser.get("/compare", params={"study": [handle, handle[:-4] + "AAAA"]})

    assert (one.status_code, same.status_code) == (422, 422)
    assert "go back and choose two" in one.text
    assert made_up.status_code in (404, 503)


async def test_a_handle_of_one_kind_or_person_opens_nothing_else(tmp_path: Path):
    async with desk(tmp_path, tls=True) as strict:
        await strict.register(a_study(1), a_report_entry(PATIENT, "text/plain", "Report", "2.25.1"))
        async with strict.client(communities()[0]) as browser, strict.client(communities()[0]) as another:
            await sign_in(browser, assertion_for("dr.roe"))
            await sign_in(another, assertion_for("dr.doe"))
            page = await browser.get((await search(browser, "P-1001")).headers["location"])
            (study,) = re.findall(r'href="/studies/([^"/]+)"', page.text)
            (report,) = re.findall(r'href="/reports/([^"/]+)"', page.text)
            ways = [
                (browser, f"/studies/{report}"),
                (browser, f"/studies/{report}/thumbnail"),
                (browser, f"/reports/{study}"),
                (browser, f"/searches/{study}"),
                (browser, f"/studies/{study[:-6]}AAAAAA/thumbnail"),
                *(
                    (another, path)
                    for path in (
                        f"/studies/{study}",
                        f"/studies/{study}/thumbnail",
                        f"/reports/{report}",
                        f"/reports/{report}/document",
                        f"/studies/{study}/reports/{report}",
                        f"/compare?study={study}&study={report}",
                    )
                ),
            ]
            answers = {path: (await who.get(path)).status_code for who, path in ways}

    assert set(answers.values()) == {404}, answers


async def test_after_signing_out_no_address_leads_anywhere_and_no_page_was_kept(tmp_path: Path):
    async with desk(tmp_path, tls=True) as strict, strict.client(communities()[0]) as browser:
        await strict.register(a_study(1))
        await sign_in(browser, assertion_for("dr.roe"))
        page = await browser.get((await search(browser, "P-1001")).headers["location"])
        paths = set(re.findall(r'(?:href|src)="(/(?:studies|reports|searches)/[^"]+)"', page.text))
        await browser.post("/sign-out", data={"token": token_of(page)})
        after = {path: await browser.get(path) for path in paths}

    assert page.headers["cache-control"] == "no-store"
    assert len(paths) == 4
    assert {answer.status_code for answer in after.values()} == {401}

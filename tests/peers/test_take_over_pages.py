"""Studies are taken over from the pages, in front of a whole community with mutual TLS and signed assertions:
ordered by keyboard, followed, kept as a ZIP, brought into an archive; and who sees what of it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pydicom
import pytest

from shared.ebrim.identifiers import CX
from tests.peers.test_consumer_service import House, a_study, prepared
from tests.support.community import RADIOLOGIST, ask_registry, assertion_of, cx, running, settings_of
from tests.support.consumer import consumer_process, search, sign_in, token_of
from tests.support.pix_manager import SYSTEM, PixManager, pix_manager
from tests.support.viewing import Pictures, Window, browser, browser_missing, window
from xdsi.services import Service
from xdsi.stage import free_ports

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

PATIENT, LEAVING = "PAGES-1", "PAGES-2"


@pytest.fixture(scope="module")
def manager() -> Iterator[PixManager]:
    with pix_manager() as started:
        yield started


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, manager: PixManager) -> Iterator[House]:
    studies = {
        patient: a_study(tmp_path_factory.mktemp("study"), patient, InstitutionName="Hospital North")
        for patient in (PATIENT, LEAVING)
    }
    (port,) = free_ports(1)
    archives = json.dumps({"PACS": f"dicom://PACS@127.0.0.1:{port}"})
    with running(tmp_path_factory.mktemp("community")) as stage:
        asyncio.run(prepared(stage, studies, PATIENT, LEAVING))
        settings = {
            "XDSI_CONSUMER__TAKE_OVER_TO": archives,
            "XDSI_CONSUMER__PIX_URL": manager.url,
            "XDSI_CONSUMER__PIX_DOMAIN": SYSTEM.removeprefix("urn:oid:"),
        }
        with consumer_process(stage, **settings) as consumer:
            yield House(stage, consumer, studies)


@pytest.fixture
def tab(house: House) -> Iterator[Window]:
    """A radiologist of South who found the patient."""
    if reason := browser_missing():
        pytest.skip(reason)
    url = house.consumer.url
    with browser() as within, window(within, url, house.stage.south) as opened:
        opened.sign_in(url, assertion_of(house.stage))
        opened.page.fill("[name=patient_id]", PATIENT)
        opened.page.get_by_role("button", name="Find").click()
        opened.page.wait_for_selector(".timeline")
        yield opened


def wrong_in(opened: Window, name: str, pictures: Pictures) -> list[str]:
    """What is wrong with a page in any look; it is left wide, by day."""
    found = opened.wrong_in(name, pictures, "serious", "critical")
    opened.look(width=1280, dark=False)
    return found


def test_a_study_is_ordered_by_keyboard_followed_kept_and_forgotten(
    tab: Window, house: House, pictures: Pictures
):
    page, study = tab.page, house.studies[PATIENT]
    wrong = wrong_in(tab, "timeline", pictures)
    tab.tab_to("a[href$='/take-over']")
    tab.strike("Enter")
    page.get_by_text("Who is this patient here?").wait_for()
    tab.tab_to("[type=radio]")
    tab.strike("Enter")
    page.get_by_text("The patient id of your hospital is needed").wait_for()
    wrong += wrong_in(tab, "order", pictures)
    tab.tab_to("[type=radio]")
    tab.strike("ArrowDown")
    tab.tab_to("#patient_id")
    tab.type("L-77")
    tab.tab_to("form[action$='/take-over'] button")
    tab.strike("Enter")
    page.get_by_text("Complete:").wait_for()
    wrong += wrong_in(tab, "orders", pictures)
    tab.tab_to("a[download]")
    with page.expect_download() as download:
        tab.strike("Enter")
    kept = ZipFile(BytesIO(Path(download.value.path()).read_bytes()))
    tab.tab_to("form[action$='/forget'] button")
    tab.strike("Enter")
    page.get_by_text("You have ordered nothing yet").wait_for()

    images = [
        pydicom.dcmread(BytesIO(kept.read(name))) for name in kept.namelist() if not name.endswith("DICOMDIR")
    ]
    assert {str(one.SOPInstanceUID) for one in images} == set(study.files)
    assert {one.PatientID for one in images} == {"L-77"}
    assert "DICOMDIR" in kept.namelist()
    assert wrong == []
    assert tab.errors == tab.refusals == []


def test_the_id_that_the_pix_manager_knows_is_offered_and_never_chosen_among_several(
    tab: Window, manager: PixManager, pictures: Pictures
):
    source = f"urn:oid:{CX.parse(cx(PATIENT)).authority}|{PATIENT}"
    page, offered = tab.page, []
    wrong: list[str] = []

    def look(name: str) -> None:
        page.reload()
        offered.append((page.input_value("#patient_id"), page.inner_text("#known-hint")))
        wrong.extend(wrong_in(tab, name, pictures))

    page.locator("a[href$='/take-over']").first.click()
    try:
        for known in ([], [(SYSTEM, "L-77")], [(SYSTEM, "L-77"), (SYSTEM, "L-78")]):
            manager.known[source] = known
            look(f"known-{len(known)}")
        manager.answer = (403, b"{}")
        look("known-refused")
    finally:
        manager.known.clear()
        manager.answer = None

    nobody, only, several, refused = offered
    assert [id_ for id_, _ in offered] == ["", "L-77", "", ""]
    assert "knows no id" in nobody[1]
    assert "L-77" in only[1]
    assert "L-77, L-78" in several[1]
    assert "could not be asked" in refused[1]
    assert wrong == []


def test_an_archive_that_is_away_is_told_and_what_was_fetched_is_tried_again(tab: Window):
    page = tab.page
    page.locator("a[href$='/take-over']").first.click()
    page.fill("#patient_id", "L-78")
    page.get_by_role("button", name="Take over").click()
    page.get_by_text("Not complete:").or_(page.get_by_text("Not begun.")).wait_for()
    told = page.locator(".notice").inner_text()
    page.get_by_role("button", name="Try again").click()
    page.locator(".notice").wait_for()
    page.get_by_role("button", name="Forget").click()
    page.get_by_text("You have ordered nothing yet").wait_for()

    assert "PACS" in told or "127.0.0.1" in told
    assert "Traceback" not in told


async def test_orders_are_their_person_s_alone_and_a_zip_is_given_while_consent_holds(house: House):
    """Another radiologist sees no order, cannot open one by its address, and a consent that ended ends it."""
    async with house.client() as mine, house.client() as others:
        await sign_in(mine, assertion_of(house.stage))
        other = assertion_of(house.stage, replace(RADIOLOGIST, name_id="dr.other"))
        await sign_in(others, other)
        found = await mine.get((await search(mine, LEAVING)).headers["location"])
        form = _address(found.text, "/take-over")
        ordered = await mine.post(form, data={"token": token_of(await mine.get(form)), "to": "zip"})
        assert ordered.headers["location"] == "/take-overs"
        async with asyncio.timeout(60):
            while (await mine.get("/take-overs/progress")).json()["runs"]:
                assert (await mine.get("/take-overs")).status_code == 200
        page = await mine.get("/take-overs")
        media = _address(page.text, "/media")

        assert "You have ordered nothing yet" in (await others.get("/take-overs")).text
        assert (await others.get(media)).status_code == 404
        for act in ("retry", "forget"):
            stranger = await others.post(
                media.replace("/media", f"/{act}"), data={"token": token_of(await others.get("/"))}
            )
            assert stranger.status_code == 404
        given = await mine.get(media)
        assert given.headers["content-type"] == "application/zip"
        registry = settings_of(house.stage, Service.REGISTRY)
        await ask_registry(registry, "set", {"patient_id": cx(LEAVING), "effect": "deny"})
        refused = await mine.get(media)

    assert refused.status_code == 404
    assert "PK" not in refused.text


async def test_a_study_under_two_ids_is_two_files_and_each_goes_with_its_order(house: House):
    async with house.client() as mine:
        await sign_in(mine, assertion_of(house.stage, replace(RADIOLOGIST, name_id="dr.twice")))
        form = _address(
            (await mine.get((await search(mine, PATIENT)).headers["location"])).text, "/take-over"
        )
        for local_id in ("L-1", "L-2"):
            fields = {"token": token_of(await mine.get(form)), "to": "zip", "patient_id": local_id}
            assert (await mine.post(form, data=fields)).status_code == 303
        async with asyncio.timeout(60):
            while (await mine.get("/take-overs/progress")).json()["runs"]:
                assert (await mine.get("/take-overs")).status_code == 200
        page = (await mine.get("/take-overs")).text
        ids = re.findall(r"as patient <strong>([^<]+)<", page)
        files = [await mine.get(one) for one in re.findall(r'href="([^"]+/media)"', page)]
        kept = [ZipFile(BytesIO(one.content)) for one in files]
        inside = [
            {
                str(pydicom.dcmread(BytesIO(zipped.read(name))).PatientID)
                for name in zipped.namelist()
                if "DICOMDIR" not in name
            }
            for zipped in kept
        ]
        first = _address(page, "/forget")
        await mine.post(first, data={"token": token_of(await mine.get("/"))})
        left = (await mine.get("/take-overs")).text

    assert sorted(ids) == ["L-1", "L-2"]
    assert inside == [{one} for one in ids]
    assert re.findall(r"as patient <strong>([^<]+)<", left) == ids[1:]
    assert len(re.findall(r'href="[^"]+/media"', left)) == 1


def _address(html: str, end: str) -> str:
    return re.search(rf'(?:href|action)="([^"]+{end})"', html)[1]

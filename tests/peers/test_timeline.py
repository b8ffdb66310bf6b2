"""The timeline and what it leads to, in Chromium, in front of a whole community with mutual TLS and signed
assertions: pictures, reports beside images, two studies, and what hostile content cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.peers.test_consumer_service import CORPUS, MARK, RUN, House
from tests.support.community import (
    StudyFiles,
    assertion_of,
    make_known,
    permit,
    publish,
    running,
    store,
    studies_in,
)
from tests.support.consumer import consumer_process
from tests.support.reports import a_cda, a_pdf, provide
from tests.support.viewing import AXE, Window, browser, browser_missing, viewer_missing, window
from xdsi.builtin_study import write_study
from xdsi.stage import Stage

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:The value length:UserWarning"),
]

PATIENT = "TIMELINE-1"
STRANGERS = (
    "This report names Roe, Rick, the images Phantom, Phoebe. Make sure that both are of your patient."
)
HOSTILE = f'<paragraph>No fracture.</paragraph><script>{RUN}</script><img src="x" onerror="{RUN}"/>'
_ALL_PICTURES = (
    "[...document.querySelectorAll('.picture')].every(one => one.complete && one.naturalWidth > 0)"
)


def write_prior(folder: Path, date: str, **attributes: str) -> str:
    """The built-in study once more, as one of another day; gives its UID."""
    uids = {}
    for path in write_study(folder):
        image = pydicom.dcmread(path)
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            uid = uids.setdefault((name, getattr(image, name)), generate_uid())
            setattr(image, name, uid)
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.PatientID, image.StudyDate, image.StudyTime = PATIENT, date, "003000"
        image.TimezoneOffsetFromUTC = "+0100"
        for name, value in attributes.items():
            setattr(image, name, value)
        image.save_as(path, enforce_file_format=True)
    return str(image.StudyInstanceUID)


async def shared(stage: Stage, studies: list[StudyFiles]) -> None:
    await make_known(stage, PATIENT)
    await store(stage, studies)
    await publish(stage, *(one.uid for one in studies))
    await permit(stage, PATIENT)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if reason := viewer_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("studies")
    current = write_prior(folder / "current", "20260301", InstitutionName="Hospital North")
    hostile = {name: CORPUS[name] for name in ("StudyDescription", "AccessionNumber")}
    write_prior(folder / "prior", "20240301", InstitutionName=f'<img src=x onerror="{RUN}">'[:64], **hostile)
    studies = {one.uid: one for one in studies_in(folder)}
    with running(tmp_path_factory.mktemp("community")) as stage:
        asyncio.run(shared(stage, list(studies.values())))
        provide(stage, PATIENT, "application/pdf", a_pdf(), title="Written", study_instance_uid=current)
        cda = a_cda(HOSTILE, title=f"&lt;b&gt;{RUN}&lt;/b&gt;")
        provide(stage, PATIENT, "text/xml", cda, title=CORPUS["StudyDescription"], study_instance_uid=current)
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, studies)


@contextmanager
def found(house: House, *, whole: bool = False) -> Iterator[Window]:
    """A radiologist of South who found the patient, in the whole browser or what shows pages."""
    url = house.consumer.url
    with browser(whole=whole) as within, window(within, url, house.stage.south) as opened:
        opened.sign_in(url, assertion_of(house.stage))
        opened.page.fill("[name=patient_id]", PATIENT)
        opened.page.get_by_role("button", name="Find").click()
        opened.page.wait_for_selector(".timeline")
        yield opened


@pytest.fixture(scope="module")
def timeline(house: House) -> Iterator[Window]:
    with found(house) as opened:
        yield opened


@pytest.fixture
def at_timeline(timeline: Window) -> Iterator[Window]:
    address = timeline.page.url
    yield timeline
    timeline.page.goto(address)
    timeline.page.wait_for_selector(".timeline")


def pictures_are_there(opened: Window) -> bool:
    for picture in opened.page.locator(".picture").all():
        picture.scroll_into_view_if_needed()
    opened.page.wait_for_load_state("networkidle")
    return bool(opened.page.evaluate(_ALL_PICTURES))


def test_what_helps_to_choose_is_said_of_each_study(at_timeline: Window):
    newest = at_timeline.page.locator(".timeline .card").first.inner_text()

    # Half past midnight at the source is the day before in UTC, by which it is registered.
    assert "2026-03-01" in newest
    assert "CT" in newest
    assert "Hospital North" in newest
    assert "images in" in newest
    assert "Written" in newest
    assert at_timeline.page.locator(".year").all_inner_texts() == ["2026", "2024"]
    assert pictures_are_there(at_timeline)


def test_nothing_that_is_shown_of_a_study_or_report_runs(at_timeline: Window):
    page = at_timeline.page
    address, seen = page.url, []
    for name in (CORPUS["StudyDescription"], "Written"):
        page.goto(address)
        page.locator(".reports a").filter(has_text=name).first.click()
        page.wait_for_selector("article.report")
        seen.append(page.content())
    page.goto(address)
    page.locator("h3 a").last.click()
    page.wait_for_selector(".instances", state="attached")
    seen.append(page.content())

    assert at_timeline.errors == []
    assert not any(f'{MARK}="1"' in one for one in seen)
    assert "No fracture." in seen[0]
    assert "<script" not in seen[0]
    assert "&lt;img src=x onerror" in seen[2]


def test_a_pdf_is_shown_within_the_page(house: House):
    if reason := browser_missing(whole=True):
        pytest.skip(reason)
    # A second browser has a thread of its own.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_opens_a_pdf, house).result()


def _opens_a_pdf(house: House) -> None:
    with found(house, whole=True) as opened:
        page = opened.page
        page.locator(".reports a").filter(has_text="Written").click()
        frame = page.locator("iframe.pdf")
        frame.wait_for()
        answer = page.context.request.get(page.url + "/document")

        assert answer.headers["content-type"] == "application/pdf"
        assert answer.body() == a_pdf()
        # The viewer of the browser has taken it: a frame that was refused has no document of this type.
        shown = next(one for one in page.frames if one.url.endswith("/document"))
        assert shown.evaluate("document.contentType") == "application/pdf"
        assert opened.errors == []


def test_a_report_stands_beside_the_images(at_timeline: Window):
    page = at_timeline.page
    page.get_by_role("link", name="Beside the images").last.click()
    page.wait_for_selector('.pane[data-received]:not([data-received="0"])')
    report, images = (page.locator(one).bounding_box() for one in (".report", ".stage"))

    assert "No fracture." in page.locator(".report").inner_text() or page.locator(".report iframe").count()
    assert report is not None
    assert images is not None
    assert report["x"] + report["width"] <= images["x"]
    assert at_timeline.errors == []


def test_a_report_that_names_another_patient_than_the_images_beside_it_says_so(at_timeline: Window):
    page = at_timeline.page
    for title, warned in (("onerror", True), ("Written", False)):
        page.locator(".reports li").filter(has_text=title).get_by_role("link").last.click()
        page.wait_for_selector(".report")
        told = page.locator(".report [role=alert]").all_inner_texts()

        assert (told == [STRANGERS]) == warned
        page.go_back()


def test_the_page_of_a_study_tells_the_day_that_the_timeline_tells(at_timeline: Window):
    page = at_timeline.page
    page.locator("h3 a").first.click()
    page.wait_for_selector("dl.facts")

    assert "2026-03-01" in page.locator("dl.facts").inner_text()


def test_a_prior_stands_at_the_side_of_the_current_study_by_keyboard_alone(at_timeline: Window):
    page, before = at_timeline.page, len(at_timeline.asked)
    for box in page.locator("[name=study]").all():
        box.focus()
        page.keyboard.press("Space")
    page.get_by_role("button", name="Compare").focus()
    page.keyboard.press("Enter")
    for number in (0, 1):
        page.locator('.pane[data-received]:not([data-received="0"])').nth(number).wait_for()
    dates = [one.inner_text().splitlines()[-1] for one in page.locator(".corner.patient").all()]
    tokens = {
        (url.partition("/studies/")[2].partition("/")[0], authorization)
        for url, authorization in at_timeline.asked[before:]
        if "/dicomweb/" in url
    }

    assert dates == ["2026-03-01", "2024-03-01"]
    assert page.locator(".warning").is_hidden()
    # Each study by a token of its own.
    assert len(tokens) == len({study for study, _ in tokens}) == len({token for _, token in tokens})
    assert at_timeline.errors == []


def test_no_other_site_may_frame_a_page_and_no_link_leads_to_one(at_timeline: Window, house: House):
    page = at_timeline.page
    policy = page.context.request.get(page.url).headers["content-security-policy"]
    links = page.evaluate("[...document.links].map(one => new URL(one.href).origin)")
    elsewhere = page.context.request.get(
        f"{house.consumer.url}//elsewhere.example/", max_redirects=0, fail_on_status_code=False
    )

    assert "frame-ancestors 'none'" in policy
    assert set(links) == {house.consumer.url}
    assert "location" not in elsewhere.headers


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True), (2560, False)])
def test_everybody_can_use_it(at_timeline: Window, width: int, dark: bool):
    if not AXE.is_file():
        pytest.skip("axe-core is not here: make viewer")
    page = at_timeline.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if dark else "light")
    address, found = page.url, at_timeline.violations("serious", "critical")
    page.locator(".reports a").first.click()
    page.wait_for_selector("article.report")
    found += at_timeline.violations("serious", "critical")
    page.goto(address)

    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width

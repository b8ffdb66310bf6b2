"""OHIF in Chromium, where it is installed: the same front, the same token, and nothing from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from consumer.settings import ConsumerSettings
from consumer.store.ohif import BASE, PACKAGE, install
from tests.peers.test_consumer_service import House, prepared
from tests.support.community import assertion_of, running, studies_in
from tests.support.consumer import consumer_process
from tests.support.viewing import Pictures, Window, browser, browser_missing, window
from xdsi.builtin_study import PATIENT_ID, write_study

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

ROOT = Path(__file__).parents[2]
#: Where `make ohif` puts it.
AT_HAND = ROOT / "var" / PACKAGE


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if reason := browser_missing():
        pytest.skip(reason)
    if not AT_HAND.is_file():
        pytest.skip("the package of OHIF is not here: make ohif")
    folder = tmp_path_factory.mktemp("studies")
    write_study(folder)
    (study,) = studies_in(folder)
    with running(tmp_path_factory.mktemp("community")) as stage:
        asyncio.run(prepared(stage, {PATIENT_ID: study}, PATIENT_ID))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, {PATIENT_ID: study})


@pytest.fixture(scope="module")
def viewing(house: House) -> Iterator[Window]:
    """A radiologist of South who looks at the study in OHIF, to which no link led before it was installed."""
    url = house.consumer.url
    with browser() as within, window(within, url, house.stage.south) as opened:
        opened.sign_in(url, assertion_of(house.stage))
        opened.page.fill("[name=patient_id]", PATIENT_ID)
        opened.page.get_by_role("button", name="Find").click()
        opened.page.locator('a[href^="/studies/"]').first.click()
        opened.page.get_by_role("link", name="View the images").wait_for()
        assert opened.page.get_by_role("link", name="Open in OHIF").count() == 0
        install(AT_HAND, house.stage.load(ConsumerSettings, house.stage.south).data)
        opened.page.reload()
        opened.page.get_by_role("link", name="Open in OHIF").click()
        opened.page.get_by_text("CT of a phantom").first.wait_for()
        yield opened


def frames_of(window: Window) -> set[str]:
    return {urlsplit(url).path for url, _ in window.asked if urlsplit(url).path.endswith("/frames/1")}


def test_the_study_is_shown_with_all_its_images(viewing: Window, house: House):
    images = house.studies[PATIENT_ID].files
    while len(frames_of(viewing)) < len(images):
        viewing.page.wait_for_timeout(50)
    viewing.page.get_by_text("investigational use").wait_for()
    assert (viewing.errors, viewing.refusals) == ([], [])


def test_each_request_for_images_has_the_token_and_none_goes_elsewhere_or_names_the_patient(
    viewing: Window, house: House
):
    asked = [
        (urlsplit(url), authorization)
        for url, authorization in viewing.asked
        if not url.startswith(("blob:", "data:"))
    ]
    assert {url.netloc for url, _ in asked} == {urlsplit(house.consumer.url).netloc}
    front = [(url, authorization) for url, authorization in asked if url.path.startswith("/dicomweb/")]
    assert all(authorization.startswith("Bearer study.") for _, authorization in front)
    assert not any(PATIENT_ID in url.geturl() or "study." in url.geturl() for url, _ in asked)
    others = {url.path for url, _ in asked} - {url.path for url, _ in front}
    assert {
        path for path in others if not path.startswith((BASE, "/studies/", "/search")) and path.count("/") > 1
    } == set()


def test_its_policy_names_no_other_host_and_is_not_that_of_our_pages(viewing: Window):
    here = viewing.page.url
    policies = [
        viewing.evaluate(f"fetch({address!r}).then(one => one.headers.get('content-security-policy'))")
        for address in (here, "/")
    ]
    of_ohif, ours = policies
    assert "http" not in of_ohif
    assert "'unsafe-eval'" not in of_ohif
    assert "unsafe" not in ours


@pytest.mark.parametrize("width", [1280, 390])
def test_it_looks_so_beside_ours(viewing: Window, pictures: Pictures, width: int):
    """With `--long` both are kept as pictures."""
    viewing.look(width=width, dark=False)
    skip = viewing.page.get_by_text("Skip all")
    if skip.count():
        skip.first.click()
    pictures.keep(viewing.page, f"ohif-{width}", [])
    assert viewing.errors == []


def test_after_signing_out_the_token_leads_nowhere(viewing: Window, house: House):
    frame = next(url for url, _ in viewing.asked if url.endswith("/frames/1"))
    token = next(authorization for _, authorization in reversed(viewing.asked) if authorization)
    viewing.page.goto(house.consumer.url)
    viewing.page.get_by_role("button", name="Sign out").click()
    viewing.page.wait_for_load_state()

    status = viewing.page.evaluate(
        "([url, authorization]) => fetch(url, {headers: {authorization}}).then(one => one.status)",
        [frame, token],
    )

    assert status in {401, 403}

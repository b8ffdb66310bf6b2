"""The viewer in Chromium, in front of a whole community with mutual TLS and signed assertions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from tests.peers.test_consumer_service import House, prepared
from tests.support.community import assertion_of, running, studies_in
from tests.support.consumer import consumer_process
from tests.support.viewing import AXE, Window, browser, viewer_missing, window
from xdsi.builtin_study import write_study

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

PATIENT = "VIEWED-1"
#: Each series in a transfer syntax of its own, uncompressed first.
SYNTAXES = {"Native": None, "RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}
SLICES = 6


def write_series(folder: Path) -> dict[str, list[pydicom.Dataset]]:
    """A study of a series for each syntax; gives the images as they are without it, in their order."""
    every: dict[str, list[pydicom.Dataset]] = {}
    paths = write_study(folder)
    for path in paths[SLICES:]:
        path.unlink()
    for number, (name, syntax) in enumerate(SYNTAXES.items(), 1):
        series = generate_uid()
        for path in paths[:SLICES]:
            image = pydicom.dcmread(path)
            image.PatientID, image.SeriesInstanceUID = PATIENT, series
            image.SeriesNumber, image.SeriesDescription = number, name
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            every.setdefault(name, []).append(pydicom.dcmread(path))
            if syntax is not None:
                image.compress(syntax, generate_instance_uid=False)
            image.save_as(folder / f"{number}-{path.name}", enforce_file_format=True)
    for path in paths[:SLICES]:
        path.unlink()
    return every


@pytest.fixture(scope="module")
def images() -> dict[str, list[pydicom.Dataset]]:
    return {}


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, images: dict[str, list[pydicom.Dataset]]
) -> Iterator[House]:
    if reason := viewer_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("study")
    images |= write_series(folder)
    (study,) = studies_in(folder)
    with running(tmp_path_factory.mktemp("community")) as stage:
        asyncio.run(prepared(stage, {PATIENT: study}, PATIENT))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, {PATIENT: study})


@pytest.fixture(scope="module")
def viewing(house: House) -> Iterator[Window]:
    """A radiologist of South who is looking at the study."""
    url = house.consumer.url
    with browser() as within, window(within, url, house.stage.south) as opened:
        opened.sign_in(url, assertion_of(house.stage))
        opened.view(PATIENT)
        yield opened


def test_who_is_shown_and_which_side_is_which_stands_in_the_view(viewing: Window):
    assert "Phantom, Phoebe" in viewing.reads("corner.patient", PATIENT)
    assert [
        viewing.page.locator(f".side.{edge}").inner_text() for edge in ("left", "right", "top", "bottom")
    ] == list("RLAP")
    viewing.press("r")
    viewing.reads("side.top", "R")
    assert [
        viewing.page.locator(f".side.{edge}").inner_text() for edge in ("left", "right", "top", "bottom")
    ] == list("PARL")
    viewing.press("0")
    viewing.reads("side.top", "A")
    assert viewing.page.get_by_text("Not for primary diagnosis").is_visible()


@pytest.mark.parametrize("name", SYNTAXES)
def test_the_value_under_the_pointer_is_that_of_the_pixel(
    viewing: Window, images: dict[str, list[pydicom.Dataset]], name: str
):
    viewing.page.get_by_role("navigation").get_by_role("button", name=name).click()
    viewing.reads("corner.image", f"CT {name}")
    viewing.press("Home")
    viewing.reads("corner.image", f"Image 1 of {SLICES}")
    pixels = images[name][0].pixel_array.astype(float) - 1024
    for across, down in ((0.5, 0.5), (0.45, 0.4), (0.55, 0.62), (0.52, 0.3)):
        column, row, value = viewing.value_at(across, down)
        assert value == pixels[row, column], (column, row)


def test_images_are_scrolled_windowed_and_measured_by_keyboard_alone(viewing: Window):
    viewing.press("Home", "ArrowDown", "ArrowDown")
    viewing.reads("corner.image", f"Image 3 of {SLICES}")
    viewing.press("3")
    assert viewing.reads("corner.window", "W 1800") == "C 400  W 1800"
    length = viewing.page.get_by_role("button", name="Length", exact=True)
    length.focus()
    viewing.page.keyboard.press("Enter")
    viewing.press("c", "Enter", *["ArrowRight"] * 10, "Enter", "c")
    measured = viewing.page.locator(".measurements li").first
    measured.filter(has_text="mm").wait_for()
    # Ten steps of four pixels of the screen, which shows 256 mm over the height of the view.
    box = viewing.page.locator(".pane .canvas").bounding_box()
    assert box is not None
    millimetres = float(measured.locator("span").inner_text().split()[1])
    assert millimetres == pytest.approx(40 * 256 / box["height"], rel=0.15)
    measured.get_by_role("button").click()
    viewing.page.get_by_text("None yet").wait_for()


def test_two_series_scroll_to_the_same_place(viewing: Window):
    viewing.page.get_by_role("button", name="Two series").click()
    viewing.page.locator('.pane[data-received="6"]').nth(1).wait_for()
    viewing.press("Home", "ArrowDown", "ArrowDown", "ArrowDown")
    viewing.reads("corner.image", f"Image 4 of {SLICES}")
    viewing.reads("corner.image", f"Image 4 of {SLICES}", 1)
    viewing.page.get_by_role("button", name="One series").click()


def test_planes_are_cut_through_a_volume(viewing: Window):
    viewing.page.get_by_role("button", name="Three planes").click()
    viewing.page.get_by_role("region", name="Sagittal").wait_for()
    coronal = viewing.page.get_by_role("region", name="Coronal")
    coronal.locator(".side.top").filter(has_text="H").wait_for()
    viewing.page.get_by_role("button", name="One series").click()
    viewing.page.locator('.pane[data-received="6"]').wait_for()


def test_no_request_goes_without_the_token_of_the_study_and_none_to_another_host(
    viewing: Window, house: House
):
    host = urlsplit(house.consumer.url).netloc
    asked = [
        (urlsplit(url), authorization)
        for url, authorization in viewing.asked
        if not url.startswith(("blob:", "data:"))
    ]
    assert {url.netloc for url, _ in asked} == {host}
    images = [(url, authorization) for url, authorization in asked if url.path.startswith("/dicomweb/")]
    assert len(images) > SLICES
    assert all(authorization.startswith("Bearer study.") for _, authorization in images)
    assert not any("study." in url.query or url.query for url, _ in images)
    assert viewing.errors == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_keeps_people_from_using_it(viewing: Window, width: int, dark: bool):
    if not AXE.is_file():
        pytest.skip("axe-core is not here: make viewer")
    viewing.page.set_viewport_size({"width": width, "height": 800})
    viewing.page.emulate_media(color_scheme="dark" if dark else "light")
    assert viewing.violations("serious", "critical") == []


def test_after_signing_out_the_token_leads_nowhere(viewing: Window, house: House):
    url, token = next((url, token) for url, token in viewing.asked if "/frames/" in url)
    viewing.page.get_by_role("button", name="Sign out").click()
    viewing.page.wait_for_selector("#assertion")
    answer = viewing.page.context.request.get(url, headers={"authorization": token})
    assert answer.status in (401, 403)

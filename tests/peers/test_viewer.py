"""The viewer in Chromium, in front of a whole community with mutual TLS and signed assertions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Route
from pydicom.uid import JPEGLSLossless, generate_uid

from tests.peers.test_consumer_service import House, prepared
from tests.support.community import assertion_of, running, studies_in
from tests.support.consumer import consumer_process
from tests.support.viewed_studies import (
    FRAMES,
    NOTE,
    PDF,
    REPORT_TEXT,
    Pixels,
    write_objects,
    write_syntaxes,
    write_two_names,
)
from tests.support.viewing import AXE, Window, browser, viewer_missing, window
from xdsi.builtin_study import write_study

pytestmark = [pytest.mark.heavy, pytest.mark.peer]

PATIENT, WITH_OBJECTS, WITH_SYNTAXES, OF_TWO = "VIEWED-1", "VIEWED-2", "VIEWED-3", "VIEWED-4"
#: Each series in a transfer syntax of its own, uncompressed first.
SYNTAXES = {"Native": None, "JPEG-LS": JPEGLSLossless}
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
def syntaxes() -> dict[str, Pixels]:
    return {}


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory,
    images: dict[str, list[pydicom.Dataset]],
    syntaxes: dict[str, Pixels],
) -> Iterator[House]:
    if reason := viewer_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("studies")
    images |= write_series(folder / PATIENT)
    syntaxes |= write_syntaxes(folder / WITH_SYNTAXES, WITH_SYNTAXES)
    write_objects(folder / WITH_OBJECTS, WITH_OBJECTS)
    studies = {study.patient: study for study in studies_in(folder)}
    write_two_names(folder / OF_TWO, OF_TWO)
    one, other = studies_in(folder / OF_TWO)
    studies |= {OF_TWO: one, f"{OF_TWO}-AGAIN": other}
    with running(tmp_path_factory.mktemp("community")) as stage:
        asyncio.run(prepared(stage, studies, *studies))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, studies)


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


def choose(window: Window, series: str) -> None:
    window.page.get_by_role("navigation", name="Series").get_by_role("button", name=series).click()


def asked_for(window: Window, end: str) -> list[str]:
    return [urlsplit(url).path for url, _ in window.asked if urlsplit(url).path.endswith(end)]


def test_a_series_comes_by_one_request(viewing: Window):
    before, alone = len(asked_for(viewing, "/pixeldata")), len(asked_for(viewing, "/frames/1"))
    with viewing.page.expect_request("**/pixeldata"):
        choose(viewing, "JPEG-LS")
    viewing.page.locator(f'.pane[data-received="{SLICES}"]').wait_for()
    viewing.reads("corner.image", "CT JPEG-LS")

    assert len(asked_for(viewing, "/pixeldata")) == before + 1
    assert len(asked_for(viewing, "/frames/1")) <= alone + 1

    choose(viewing, "Native")
    viewing.reads("corner.image", "CT Native")
    choose(viewing, "JPEG-LS")
    viewing.reads("corner.image", "CT JPEG-LS")
    viewing.page.locator(f'.pane[data-received="{SLICES}"]').wait_for()
    assert len(asked_for(viewing, "/pixeldata")) <= before + 2


@pytest.mark.parametrize("share", [0.0, 0.4], ids=["refused", "broken off"])
def test_what_does_not_come_so_is_asked_for_alone(viewing: Window, house: House, share: float):
    def cut(route: Route) -> None:
        answer = route.fetch()
        whole = answer.body()
        route.fulfill(
            status=200 if share else 503,
            headers={"content-type": answer.headers["content-type"]},
            body=whole[: int(len(whole) * share)],
        )

    viewing.page.route("**/pixeldata", cut)
    viewing.page.goto(house.consumer.url)
    alone = len(asked_for(viewing, "/frames/1"))
    viewing.view(PATIENT)
    viewing.page.locator(f'.pane[data-received="{SLICES}"]').wait_for()
    viewing.page.unroute("**/pixeldata")

    assert len(asked_for(viewing, "/frames/1")) - alone in ((SLICES,) if not share else range(2, SLICES))
    viewing.press("End")
    viewing.reads("corner.image", f"Image {SLICES} of {SLICES}")


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


@pytest.mark.parametrize(
    ("tool", "steps", "words"),
    [
        ("Angle", ("Right", "Down"), ("90.0°",)),
        ("Region", ("RightDown",), ("mm²", "mean", "HU")),
        ("Ellipse", ("RightDown",), ("mm²", "mean", "HU")),
    ],
)
def test_angles_and_regions_are_measured_by_keyboard(
    viewing: Window, tool: str, steps: tuple[str, ...], words: tuple[str, ...]
):
    viewing.page.get_by_role("button", name=tool, exact=True).click()
    viewing.press("c", "Enter")
    for step in steps:
        moves = [f"Arrow{one}" for one in ("Right", "Down") if one in step]
        viewing.press(*moves * 10, "Enter")
    viewing.press("c")
    measured = viewing.page.locator(".measurements li").first
    for word in words:
        measured.filter(has_text=word).wait_for()
    measured.get_by_role("button").click()
    viewing.page.get_by_text("None yet").wait_for()


def test_images_are_zoomed_and_moved_by_keyboard(viewing: Window):
    viewing.press("0")
    column, row, _ = viewing.value_at(0.7, 0.5)
    viewing.press("+", "+")
    nearer, _, _ = viewing.value_at(0.7, 0.5)
    viewing.press("0", "Shift+ArrowRight", "Shift+ArrowDown")
    moved = viewing.value_at(0.7, 0.5)
    viewing.press("0")

    assert 128 < nearer < column
    assert (moved[0] > column, moved[1] > row) == (True, True)
    assert viewing.value_at(0.7, 0.5)[:2] == (column, row)


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
    assert {url.query for url, _ in images} <= {"", "limit=1"}
    assert viewing.errors == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_keeps_people_from_using_it(viewing: Window, width: int, dark: bool):
    if not AXE.is_file():
        pytest.skip("axe-core is not here: make viewer")
    viewing.page.set_viewport_size({"width": width, "height": 800})
    viewing.page.emulate_media(color_scheme="dark" if dark else "light")
    assert viewing.violations("serious", "critical") == []


# --- what is no stack of slices ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects(viewing: Window, house: House) -> Window:
    """The window, at the study of one object of every kind."""
    viewing.look(width=1280, dark=False)
    viewing.page.goto(house.consumer.url)
    viewing.view(WITH_OBJECTS)
    return viewing


def test_key_images_are_shown_by_the_note_that_names_them(objects: Window):
    choose(objects, "Key images")

    objects.reads("message", "Key images: Of Interest")
    objects.reads("corner.image", "Image 3 of 4")


def test_an_image_is_seen_as_its_presentation_state_wants_it(objects: Window):
    choose(objects, "Presentation")

    objects.reads("corner.image", "Presentation state: Look at it, Roe, Ann")
    assert "Image 2 of 4" in objects.reads("corner.image", "Image 2 of 4")
    assert objects.reads("corner.window", "C 300") == "C 300  W 500"
    assert objects.sides() == "PARL"
    drawn = objects.page.locator(".presentation")
    assert drawn.get_attribute("aria-label") == NOTE
    # Turned by a quarter to the right, the pixel (64, 32) lies at (224, 64) of 256.
    shown, note = objects.page.locator(".pane .canvas").bounding_box(), drawn.locator("text").bounding_box()
    assert shown is not None
    assert note is not None
    scale = shown["height"] / 256
    left = shown["x"] + (shown["width"] - 256 * scale) / 2
    assert (note["x"] - left) / scale == pytest.approx(224, abs=3)
    assert (note["y"] - shown["y"]) / scale == pytest.approx(64, abs=6)
    assert drawn.locator("polyline").count() == drawn.locator(".shutter").count() == 1

    objects.press("ArrowDown")
    objects.reads("corner.image", "Image 3 of 4")
    assert drawn.is_hidden()
    objects.press("ArrowUp")
    objects.reads("corner.window", "C 300")
    objects.page.get_by_label("Presentation state", exact=True).select_option("")
    assert objects.sides() == "RLAP"
    assert drawn.is_hidden()


def colours_of(opened: Window) -> tuple[int, ...]:
    """The most of red, green and blue in the middle of the first view, once it is drawn."""
    opened.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    seen = Image.open(BytesIO(opened.page.locator(".pane .canvas").screenshot())).convert("RGB")
    wide, high = seen.size
    middle = seen.crop((wide * 2 // 5, high * 2 // 5, wide * 3 // 5, high * 3 // 5))
    return tuple(int(most) for _, most in middle.getextrema())


def test_pseudo_colours_are_those_of_the_palette_and_what_is_left_out_is_said(objects: Window):
    choose(objects, "Slices")
    objects.reads("corner.image", "Image 1 of 4")
    grey = colours_of(objects)

    choose(objects, "Coloured")
    objects.reads("corner.image", "Presentation state: COLOURED, Roe, Ann")
    objects.reads("corner.image", "shown without its ICC profile")
    objects.reads("corner.window", "C 0  W 1000")
    red = colours_of(objects)
    objects.page.get_by_label("Presentation state", exact=True).select_option("")
    grey_again = colours_of(objects)

    assert max(grey) == grey[0] == grey[1] == grey[2] > 100
    assert red[0] > 100
    assert red[1:] == (0, 0)
    assert max(grey_again) == grey_again[0] == grey_again[1] == grey_again[2]


def test_a_state_of_a_kind_that_is_not_shown_is_told(objects: Window):
    choose(objects, "Blended")

    objects.reads("message", "BLENDED, Roe, Ann: presentation states of this kind are not shown here.")
    option = objects.page.get_by_label("Presentation state", exact=True).locator("option", has_text="BLENDED")
    assert option.get_attribute("disabled") is not None


def test_a_report_is_text_and_leads_to_the_images_that_it_names(objects: Window):
    choose(objects, "Report")

    report = objects.page.get_by_role("article", name="Diagnostic imaging report")
    report.get_by_text("complete · verified").wait_for()
    text = report.inner_text()
    assert f"Finding: {REPORT_TEXT}" in text
    assert "Diameter: 12.5 mm" in text
    assert "Region: Chest" in text
    assert "Observer: Roe, Ann" in text
    assert report.locator("img").count() == 0
    report.get_by_role("button", name="Show the image").click()
    objects.reads("corner.image", "Image 4 of 4")


def test_a_clip_in_colour_is_played_frame_by_frame_at_its_own_pace(objects: Window):
    choose(objects, "Clip")

    objects.reads("corner.image", f"Image 1 of {FRAMES}")
    objects.page.locator(f'.pane[data-received="{FRAMES}"]').wait_for()
    objects.press("ArrowDown", "ArrowDown")
    objects.reads("corner.image", f"Image 3 of {FRAMES}")
    objects.page.locator(".pane .canvas").first.hover()
    objects.reads("corner.value", "80 / 7 / 7")
    objects.press("Home", " ")
    objects.page.get_by_role("button", name="Pause").wait_for()
    objects.reads("corner.image", f"Image 4 of {FRAMES}")
    objects.press(" ")
    objects.page.get_by_role("button", name="Play").wait_for()


def test_a_document_is_shown_from_the_memory_of_the_page(objects: Window):
    objects.evaluate(
        "(() => { const make = URL.createObjectURL; window.blobs = {};"
        " URL.createObjectURL = (one) => { const url = make(one); window.blobs[url] = one; return url; } })()"
    )
    choose(objects, "Letter")

    frame = objects.page.locator("iframe.document")
    frame.wait_for()
    assert frame.get_attribute("title") == "Letter"
    octets = objects.evaluate("window.blobs[document.querySelector('iframe.document').src].text()")
    assert octets.encode().rstrip() == PDF.rstrip()


def test_a_cda_report_is_read_and_nothing_of_it_runs_or_asks_anybody(objects: Window):
    choose(objects, "Findings")

    report = objects.page.get_by_role("article", name="CT of the chest")
    report.wait_for()
    told = report.inner_text()
    assert "Roe, Rick · L-77" in told
    assert "This report names Roe, Rick" in report.get_by_role("alert").inner_text()
    assert report.locator("ol li strong").inner_text() == "fracture"
    assert report.locator("td").inner_text() == "12 mm"
    assert '<img src=x onerror="window.ran = 1">' in told
    assert report.locator("script, img, a, iframe, [onclick], [style], [href], [src]").count() == 0
    assert objects.evaluate("window.ran") is None
    assert not any("elsewhere.example" in url for url, _ in objects.asked)
    assert objects.errors == []


def test_a_document_within_a_cda_report_is_shown(objects: Window):
    choose(objects, "Wrapped")

    frame = objects.page.get_by_role("article").locator("iframe.document")
    frame.wait_for()
    assert frame.get_attribute("src").startswith("blob:")


def test_a_film_is_played(objects: Window):
    choose(objects, "Film")

    objects.page.locator("video.document").wait_for()
    objects.until("document.querySelector('video').readyState >= 2")
    assert objects.evaluate("document.querySelector('video').videoWidth") == 16
    assert objects.errors == []


def test_two_views_of_two_patients_are_warned_of(viewing: Window, house: House):
    viewing.page.goto(house.consumer.url)
    viewing.page.fill("[name=patient_id]", OF_TWO)
    viewing.page.get_by_role("button", name="Find").click()
    links = viewing.page.locator('a[href^="/studies/"]')
    links.first.wait_for()
    handles = dict.fromkeys(
        urlsplit(str(link.get_attribute("href"))).path.split("/")[2] for link in links.all()
    )
    viewing.page.goto(f"{house.consumer.url}/compare?{'&'.join(f'study={one}' for one in handles)}")

    viewing.page.get_by_role("alert").filter(has_text="Two different patients are shown").wait_for()
    names = {
        viewing.page.locator(".corner.patient").nth(place).inner_text().split("\n")[0] for place in (0, 1)
    }
    assert names == {"Phantom, Phoebe", "Roe, Rick"}


def test_in_every_transfer_syntax_the_value_under_the_pointer_is_that_of_the_pixel(
    viewing: Window, house: House, syntaxes: dict[str, Pixels]
):
    viewing.page.goto(house.consumer.url)
    viewing.view(WITH_SYNTAXES)
    wrong = {}
    for name, pixels in syntaxes.items():
        choose(viewing, name)
        viewing.reads("corner.image", f"MR {name}")
        viewing.page.locator('.pane[data-received="1"]').wait_for()
        for across, down in ((0.5, 0.5), (0.41, 0.3), (0.6, 0.72)):
            column, row, value = viewing.value_at(across, down)
            if value != pixels[row, column]:
                wrong[name, column, row] = value, pixels[row, column]
    assert wrong == {}


def test_after_signing_out_the_token_leads_nowhere(viewing: Window, house: House):
    url, token = next((url, token) for url, token in viewing.asked if "/frames/" in url)
    viewing.page.get_by_role("button", name="Sign out").click()
    viewing.page.wait_for_selector("#assertion")
    answer = viewing.page.context.request.get(url, headers={"authorization": token})
    assert answer.status in (401, 403)

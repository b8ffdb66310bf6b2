"""Presentation states in rendered images (PS3.18 9.5.2, 10.4.1.1.4; PS3.4 N.2): what they say is shown."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from pydicom.dataset import Dataset

from shared.audit.events import Outcome
from shared.imaging import drawing
from shared.imaging.presentation import COLOR, GRAYSCALE, PSEUDO_COLOR
from shared.imaging.rendering import Rendering
from tests.support.dicom import a_color_image, a_ct, a_multi_frame, an_sr, changed, part10, with_pixels
from tests.support.imaging_source import a_rejection_note, cx, source
from tests.transactions.imaging_source.test_rad107 import STUDY, get, parts
from tests.transactions.imaging_source.test_rendered import shown

__all__ = ["source"]

STATE = f"{STUDY}/series/2.25.77/instances/2.25.78"
ROWS, COLUMNS = 40, 64


def an_image(**changes: Any) -> Dataset:
    """A CT whose values are 0 to 4095 of 12 bits, and which says how it would be shown without a state."""
    data_set = a_ct()
    values = (np.arange(ROWS * COLUMNS).reshape(1, ROWS, COLUMNS) * 4095 // (ROWS * COLUMNS)).astype(
        np.uint16
    )
    with_pixels(data_set, values)
    data_set.BitsStored, data_set.HighBit = 12, 11
    data_set.RescaleSlope, data_set.RescaleIntercept = 3, 7
    data_set.WindowCenter, data_set.WindowWidth = 40, 80
    return changed(data_set, **changes)


def item(**attributes: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set


def reference(image: Dataset, frames: Any = None) -> Dataset:
    made = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    if frames is not None:
        made.ReferencedFrameNumber = frames
    return made


def an_area(image: Dataset, **changes: Any) -> Dataset:
    area = item(
        DisplayedAreaTopLeftHandCorner=[1, 1],
        DisplayedAreaBottomRightHandCorner=[image.Columns, image.Rows],
        PresentationSizeMode="SCALE TO FIT",
        PresentationPixelAspectRatio=[1, 1],
    )
    return changed(area, **changes)


def a_state(*images: Dataset, frames: Any = None, **changes: Any) -> Dataset:
    """A state of its own series that shows `images` and says nothing else of them."""
    state = an_sr(SOPClassUID=GRAYSCALE, Modality="PR", SOPInstanceUID="2.25.78", SeriesInstanceUID="2.25.77")
    state.PresentationCreationDate, state.PresentationCreationTime = "20260301", "120000"
    state.ContentLabel, state.ContentDescription, state.ContentCreatorName = "STATE", "", "Reader^A"
    state.InstanceNumber = 1
    del state.ConceptNameCodeSequence
    state.ReferencedSeriesSequence = [
        item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedImageSequence=[reference(image, frames)])
        for image in images
    ]
    state.DisplayedAreaSelectionSequence = [
        an_area(image, ReferencedImageSequence=[reference(image)]) for image in images
    ]
    state.PresentationLUTShape = "IDENTITY"
    return changed(state, **changes)


def rendered(folder: Path, image: Dataset, state: Dataset, **changes: Any) -> np.ndarray:
    """As the worker renders it."""
    paths = [folder / name for name in ("image", "state", "out")]
    paths[0].write_bytes(part10(image))
    paths[1].write_bytes(part10(state))
    drawing.render(paths[0], paths[2], Rendering(media_type="image/png", **changes), paths[1])
    return np.asarray(Image.open(paths[2]))


def stored(image: Dataset) -> np.ndarray:
    return np.frombuffer(image.PixelData, np.uint16).reshape(image.Rows, image.Columns).astype(float)


def eight_bits(part_of_one: np.ndarray) -> np.ndarray:
    return part_of_one.clip(0, 1) * 255


def a_lut(entries: int, first: int, bits: int, data: np.ndarray) -> Dataset:
    lut = item(LUTDescriptor=[entries, first, bits])
    lut.add_new(0x00283006, "OW", data.astype("<u2").tobytes())
    return lut


VOI_LUT = a_lut(256, 100, 12, np.arange(256) ** 2 * 4095 // 255**2)
CURVE = a_lut(256, 0, 16, (np.arange(256) / 255) ** 2 * 65535)


# --- grey --------------------------------------------------------------------------------------------


def test_what_a_state_does_not_say_is_the_identity_whatever_the_image_says(tmp_path):
    image = an_image(PhotometricInterpretation="MONOCHROME1")

    seen = rendered(tmp_path, image, a_state(image))

    assert np.abs(seen - eight_bits(stored(image) / 4095)).max() <= 1


def test_values_are_shown_by_the_tables_of_the_state(tmp_path):
    image = an_image()
    window = item(WindowCenter=500, WindowWidth=1000)
    state = a_state(
        image, RescaleSlope=0.5, RescaleIntercept=-100, RescaleType="HU", SoftcopyVOILUTSequence=[window]
    )
    right = ((stored(image) * 0.5 - 100) - 499.5) / 999 + 0.5

    assert np.abs(rendered(tmp_path, image, state) - eight_bits(right)).max() <= 1
    inverse = changed(state, PresentationLUTShape="INVERSE")
    assert np.abs(rendered(tmp_path, image, inverse) - eight_bits(1 - right.clip(0, 1))).max() <= 1


def test_lookup_tables_are_applied_one_after_the_other(tmp_path):
    image = an_image()
    state = a_state(
        image,
        SoftcopyVOILUTSequence=[item(VOILUTSequence=[VOI_LUT])],
        PresentationLUTShape=None,
        PresentationLUTSequence=[CURVE],
    )
    at = (stored(image) - 100).clip(0, 255).astype(int)
    voi = (np.arange(256) ** 2 * 4095 // 255**2)[at] / 4095

    assert np.abs(rendered(tmp_path, image, state) - eight_bits(np.round(voi * 255) ** 2 / 255**2)).max() <= 1


def test_a_window_is_for_the_images_and_frames_that_it_names(tmp_path):
    image = a_multi_frame(2)
    other = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID="2.25.999")
    state = a_state(
        image,
        SoftcopyVOILUTSequence=[
            item(WindowCenter=1, WindowWidth=1, ReferencedImageSequence=[other]),
            item(WindowCenter=1, WindowWidth=1, ReferencedImageSequence=[reference(image, 1)]),
            item(WindowCenter=384.5, WindowWidth=256, ReferencedImageSequence=[reference(image, [2])]),
        ],
    )

    seen = rendered(tmp_path, image, state, frame=2)

    assert np.abs(seen - np.arange(256).reshape(16, 16)).max() <= 1


@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SoftcopyVOILUTSequence": [item(WindowCenter=1800, WindowWidth=900)]},
        {"SoftcopyVOILUTSequence": [item(VOILUTSequence=[VOI_LUT])]},
        {"PresentationLUTShape": "INVERSE"},
        {"RescaleSlope": 2, "RescaleIntercept": -1024, "RescaleType": "HU"},
        {
            "RescaleSlope": 2,
            "RescaleIntercept": -1024,
            "RescaleType": "HU",
            "SoftcopyVOILUTSequence": [item(WindowCenter=40, WindowWidth=400)],
        },
    ],
)
def test_grey_is_as_dcmtk_renders_it(tmp_path, changes):
    image = an_image()
    state = a_state(image, **changes)
    seen = rendered(tmp_path, image, state)

    command = ["dcmp2pgm", "--pstate", "state", "image", "out.pgm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    theirs = np.asarray(Image.open(tmp_path / "out.pgm"))
    assert np.abs(seen.astype(int) - theirs).max() <= 1


# --- places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["N", "Y"])
def test_an_image_is_turned_clockwise_and_then_flipped(tmp_path, turn, flip):
    image = an_image()
    upright = rendered(tmp_path, image, a_state(image))

    seen = rendered(tmp_path, image, a_state(image, ImageRotation=turn, ImageHorizontalFlip=flip))

    right = np.rot90(upright, -turn // 90)
    assert np.array_equal(seen, right[:, ::-1] if flip == "Y" else right)


def test_the_displayed_area_is_shown_and_what_is_beyond_the_image_is_black(tmp_path):
    image = an_image()
    whole = rendered(tmp_path, image, a_state(image))
    area = an_area(image, DisplayedAreaTopLeftHandCorner=[-3, 5], DisplayedAreaBottomRightHandCorner=[20, 24])

    seen = rendered(tmp_path, image, a_state(image, DisplayedAreaSelectionSequence=[area]))

    assert np.array_equal(seen[:, 4:], whole[4:24, :20])
    assert not seen[:, :4].any()


def test_corners_are_those_of_what_is_shown_after_it_is_turned(tmp_path):
    image = an_image()
    area = an_area(image, DisplayedAreaTopLeftHandCorner=[20, 24], DisplayedAreaBottomRightHandCorner=[1, 5])
    state = a_state(image, DisplayedAreaSelectionSequence=[area], ImageRotation=180)
    whole = rendered(tmp_path, image, a_state(image))

    assert np.array_equal(rendered(tmp_path, image, state), whole[4:24, :20][::-1, ::-1])


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"PresentationSizeMode": "MAGNIFY", "PresentationPixelMagnificationRatio": 2.0}, (128, 80)),
        ({"PresentationPixelAspectRatio": [2, 1]}, (64, 80)),
        ({"PresentationPixelAspectRatio": None, "PresentationPixelSpacing": [0.5, 1.0]}, (64, 20)),
    ],
)
def test_pixels_are_as_large_and_as_square_as_the_state_says(tmp_path, changes, size):
    image = an_image()
    state = a_state(image, DisplayedAreaSelectionSequence=[an_area(image, **changes)])

    assert rendered(tmp_path, image, state).shape[::-1] == size


@pytest.mark.parametrize(
    ("changes", "open_at", "shut_at"),
    [
        (
            {
                "ShutterShape": "RECTANGULAR",
                "ShutterLeftVerticalEdge": 11,
                "ShutterRightVerticalEdge": 50,
                "ShutterUpperHorizontalEdge": 6,
                "ShutterLowerHorizontalEdge": 30,
            },
            [(5, 10), (29, 49)],
            [(4, 10), (5, 9), (30, 49), (29, 50)],
        ),
        (
            {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [20, 30], "RadiusOfCircularShutter": 8},
            [(19, 29), (19, 37), (11, 29)],
            [(19, 38), (10, 29), (13, 23)],
        ),
        (
            {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [5, 5, 5, 35, 35, 5]},
            [(6, 6), (20, 5)],
            [(30, 30), (2, 2), (39, 4)],
        ),
    ],
)
def test_a_shutter_covers_what_is_outside_of_it(tmp_path, changes, open_at, shut_at):
    image = an_image()
    whole = rendered(tmp_path, image, a_state(image))

    seen = rendered(tmp_path, image, a_state(image, ShutterPresentationValue=65535, **changes))

    assert all(seen[at] == whole[at] for at in open_at)
    assert all(seen[at] == 255 for at in shut_at)
    covered = seen != whole
    assert np.array_equal(seen[covered], np.full(covered.sum(), 255))


# --- annotations -------------------------------------------------------------------------------------


def layered(
    image: Dataset, *graphics: Dataset, grey: int = 65535, texts: Any = (), **changes: Any
) -> Dataset:
    annotation = item(ReferencedImageSequence=[reference(image)], GraphicLayer="LAYER")
    if graphics:
        annotation.GraphicObjectSequence = list(graphics)
    if texts:
        annotation.TextObjectSequence = list(texts)
    layer = item(GraphicLayer="LAYER", GraphicLayerOrder=1, GraphicLayerRecommendedDisplayGrayscaleValue=grey)
    return a_state(image, GraphicLayerSequence=[layer], GraphicAnnotationSequence=[annotation], **changes)


def a_graphic(kind: str, data: list[float], *, units: str = "PIXEL", filled: str = "N") -> Dataset:
    return item(
        GraphicAnnotationUnits=units,
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(data) // 2,
        GraphicData=data,
        GraphicType=kind,
        GraphicFilled=filled,
    )


@pytest.mark.parametrize(
    ("graphic", "on", "off"),
    [
        (a_graphic("POLYLINE", [10.5, 5.5, 30.5, 5.5]), [(5, 10), (5, 20), (5, 30)], [(6, 20), (5, 32)]),
        (a_graphic("POLYLINE", [0.25, 0.5, 0.75, 0.5], units="DISPLAY"), [(20, 16), (20, 48)], [(20, 14)]),
        (a_graphic("POINT", [10.5, 5.5]), [(5, 10)], [(10, 10)]),
        (a_graphic("CIRCLE", [20.5, 20.5, 30.5, 20.5]), [(20, 30), (20, 10), (10, 20)], [(20, 20)]),
        (a_graphic("CIRCLE", [20.5, 20.5, 30.5, 20.5], filled="Y"), [(20, 20), (20, 30)], [(2, 2)]),
        (
            a_graphic("ELLIPSE", [10.5, 20.5, 50.5, 20.5, 30.5, 15.5, 30.5, 25.5]),
            [(20, 10), (20, 50), (15, 30), (25, 30)],
            [(20, 30)],
        ),
        (
            a_graphic("INTERPOLATED", [5.5, 5.5, 20.5, 10.5, 35.5, 5.5]),
            [(5, 5), (10, 20), (5, 35)],
            [(20, 20)],
        ),
    ],
)
def test_graphics_are_drawn_where_they_are(tmp_path, graphic, on, off):
    image = an_image()
    plain = rendered(tmp_path, image, a_state(image))

    seen = rendered(tmp_path, image, layered(image, graphic, grey=0))

    assert [seen[at] for at in on] == [0] * len(on)
    assert [seen[at] for at in off] == [plain[at] for at in off]


def test_what_is_drawn_on_pixels_turns_with_them(tmp_path):
    image = an_image()
    graphic = a_graphic("POLYLINE", [5.5, 3.5, 20.5, 3.5])
    upright = rendered(tmp_path, image, layered(image, graphic))

    for turn in (90, 180, 270):
        state = layered(image, graphic, ImageRotation=turn, ImageHorizontalFlip="Y")
        drawn = rendered(tmp_path, image, state) == 255
        assert np.array_equal(drawn, np.rot90(upright, -turn // 90)[:, ::-1] == 255)


def test_a_text_is_written_into_its_box(tmp_path):
    image = an_image()
    text = item(
        UnformattedTextValue="HI",
        BoundingBoxAnnotationUnits="PIXEL",
        BoundingBoxTopLeftHandCorner=[10.0, 5.0],
        BoundingBoxBottomRightHandCorner=[40.0, 25.0],
        BoundingBoxTextHorizontalJustification="LEFT",
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPoint=[60.5, 35.5],
        AnchorPointVisibility="Y",
    )
    plain = rendered(tmp_path, image, a_state(image))

    changed_pixels = rendered(tmp_path, image, layered(image, texts=[text])) != plain

    assert changed_pixels[5:25, 10:40].any()
    assert changed_pixels[30:36, 52:62].any(), "no line to the anchor"
    assert not changed_pixels[:4].any()
    assert not changed_pixels[:, :9].any()


def test_an_overlay_is_shown_in_the_layer_that_activates_it(tmp_path):
    image = an_image()
    plane = np.zeros((8, 8), np.uint8)
    plane[2:4, 1:6] = 1
    state = layered(image, grey=0)
    state.add_new(0x60000010, "US", 8)
    state.add_new(0x60000011, "US", 8)
    state.add_new(0x60000040, "CS", "G")
    state.add_new(0x60000050, "SS", [11, 21])
    state.add_new(0x60000100, "US", 1)
    state.add_new(0x60000102, "US", 0)
    state.add_new(0x60003000, "OW", np.packbits(plane, bitorder="little").tobytes())
    quiet = rendered(tmp_path, image, state)
    state.add_new(0x60001001, "CS", "LAYER")

    seen = rendered(tmp_path, image, state)

    right = quiet.copy()
    right[12:14, 21:26] = 0
    assert np.array_equal(seen, right)


def test_a_colour_image_keeps_its_colours_and_is_drawn_on_in_colour(tmp_path):
    image = a_color_image()
    state = layered(image, a_graphic("POLYLINE", [2.5, 3.5, 10.5, 3.5]), SOPClassUID=COLOR)
    # Red, in CIELab of 16 bits.
    state.GraphicLayerSequence[0].GraphicLayerRecommendedDisplayCIELabValue = [35600, 53600, 51000]
    plain = np.frombuffer(image.PixelData, np.uint8).reshape(16, 18, 3)

    seen = rendered(tmp_path, image, state)

    red = seen[3, 5]
    assert red[0] > 200
    assert max(red[1:]) < 60
    assert np.array_equal(np.delete(seen, 3, axis=0), np.delete(plain, 3, axis=0))


def a_palette(state: Dataset, colours: np.ndarray, *, bits: int, first: int = 0) -> Dataset:
    """`state` with a palette: a row of `colours` for each entry."""
    for name, column in zip(("Red", "Green", "Blue"), colours.T, strict=True):
        setattr(state, f"{name}PaletteColorLookupTableDescriptor", [len(colours), first, bits])
        setattr(
            state, f"{name}PaletteColorLookupTableData", column.astype("<u2" if bits > 8 else "u1").tobytes()
        )
    return state


@pytest.mark.parametrize(
    ("entries", "bits", "first"), [(256, 16, 0), (1024, 16, 0), (256, 8, 0), (16, 16, 7)]
)
def test_pseudo_colours_are_those_of_the_palette_behind_the_window(tmp_path, entries, bits, first):
    image = an_image()
    most = 2**bits - 1
    colours = np.stack(
        [np.linspace(0, most, entries), np.linspace(most, 0, entries), np.full(entries, most // 2)], 1
    )
    state = a_state(
        image,
        SOPClassUID=PSEUDO_COLOR,
        RescaleSlope=1,
        RescaleIntercept=0,
        SoftcopyVOILUTSequence=[item(WindowCenter=1000, WindowWidth=2000)],
    )

    seen = rendered(tmp_path, image, a_palette(state, colours.round(), bits=bits, first=first))

    grey = ((stored(image) - 999.5) / 1999 + 0.5).clip(0, 1)
    right = np.round(grey * (entries - 1)) / (entries - 1)
    assert np.abs(seen[..., 0] - right * 255).max() <= 1
    assert np.abs(seen[..., 1] - (1 - right) * 255).max() <= 1
    assert np.ptp(seen[..., 2]) == 0


def test_colours_are_of_the_space_that_the_profile_of_the_state_says(tmp_path):
    image = a_color_image()
    plain = np.frombuffer(image.PixelData, np.uint8).reshape(16, 18, 3).astype(int)
    of_srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Its red is the green of sRGB, and its green the red.
    turned = of_srgb.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")

    same = rendered(tmp_path, image, a_state(image, SOPClassUID=COLOR, ICCProfile=of_srgb))
    other = rendered(tmp_path, image, a_state(image, SOPClassUID=COLOR, ICCProfile=turned))

    assert np.abs(same.astype(int) - plain).max() <= 1
    assert np.abs(other.astype(int) - plain[..., [1, 0, 2]]).max() <= 2
    with pytest.raises(ValueError, match="ICC profile"):
        rendered(tmp_path, image, a_state(image, SOPClassUID=COLOR, ICCProfile=b"no profile "))


def test_pseudo_colours_without_a_palette_or_for_colours_are_not_made(tmp_path):
    image, coloured = an_image(), a_color_image()
    palette = np.zeros((2, 3))

    with pytest.raises(ValueError, match="no palette"):
        rendered(tmp_path, image, a_state(image, SOPClassUID=PSEUDO_COLOR))
    state = a_palette(a_state(coloured, SOPClassUID=PSEUDO_COLOR), palette, bits=16)
    with pytest.raises(ValueError, match="has its own"):
        rendered(tmp_path, coloured, state)


@pytest.mark.parametrize(
    "changes",
    [
        {"MaskSubtractionSequence": [item(MaskOperation="AVG_SUB")]},
        {"ShutterShape": "STARS"},
        {"ImageRotation": 45},
    ],
)
def test_what_is_not_done_here_is_never_left_out_silently(tmp_path, changes):
    image = an_image()

    with pytest.raises(ValueError, match="presentation state"):
        rendered(tmp_path, image, a_state(image, **changes))


def test_a_displayed_area_as_large_as_a_country_is_not_made(tmp_path):
    image = an_image()
    area = an_area(image, DisplayedAreaBottomRightHandCorner=[2**30, 2**30])

    with pytest.raises(drawing.TooManyPixels):
        rendered(tmp_path, image, a_state(image, DisplayedAreaSelectionSequence=[area]))


# --- over the web ------------------------------------------------------------------------------------


async def test_a_presentation_state_is_rendered_as_what_it_shows(source, tmp_path):
    image = an_image()
    state = a_state(image, PresentationLUTShape="INVERSE", ImageRotation=90)
    right = rendered(tmp_path, image, state)
    await source.keep(image, state)

    assert np.array_equal(await shown(source, f"{STATE}/rendered"), right)
    assert (await shown(source, f"{STATE}/thumbnail", "image/jpeg")).shape == (128, 80)
    small = await shown(source, f"{STATE}/rendered?viewport=32,32")
    assert small.shape == (32, 20)


async def test_each_image_of_a_state_is_a_part(source):
    images = [an_image(SOPInstanceUID=f"2.25.13{number}") for number in range(3)]
    await source.keep(*images, a_state(*images))

    response = await get(source, f"{STATE}/rendered", 'multipart/related; type="image/png"')

    assert response.status_code == 200
    assert len(parts(response)) == 3
    (event,) = source.recorder.taken()
    assert event.outcome is Outcome.SUCCESS


async def test_frames_that_a_state_names_are_shown(source):
    image = a_multi_frame(3)
    await source.keep(image, a_state(image, frames=[1, 3]))

    response = await get(source, f"{STATE}/rendered", 'multipart/related; type="image/png"')

    assert [Image.open(BytesIO(octets)).size for _, octets in parts(response)] == [(16, 16)] * 2


@pytest.mark.parametrize("changes", [{"PatientID": "P2"}, {"StudyInstanceUID": "2.25.999"}, None])
async def test_images_of_another_patient_or_study_are_not_shown(source, changes):
    image = an_image()
    await source.keep(a_state(image))
    if changes is not None:
        await source.keep(changed(image, **changes))

    response = await get(source, f"{STATE}/rendered", "image/png")

    assert response.status_code == 404
    assert "no image here" in response.json()["detail"]


async def test_a_rejected_image_is_not_shown(source):
    image = an_image()
    await source.keep(image, a_state(image), a_rejection_note())

    assert (await get(source, f"{STATE}/rendered", "image/png")).status_code == 404


async def test_who_is_refused_is_told_that_there_is_none(source):
    image = an_image()
    await source.keep(image, a_state(image))
    absent = await get(source, f"{STATE}0/rendered", "image/png")
    source.consent.refused = frozenset({cx("P1")})

    refused = await get(source, f"{STATE}/rendered", "image/png")

    assert (refused.status_code, refused.content) == (404, absent.content)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("rendered?window=1,5,linear", 400),
        ("frames/1/rendered", 404),
    ],
)
async def test_what_a_state_says_itself_is_not_asked_for(source, path, status):
    image = an_image()
    await source.keep(image, a_state(image))

    assert (await get(source, f"{STATE}/{path}", "image/png")).status_code == status


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.11.4", "1.2.840.10008.5.1.4.1.1.11.5"])
async def test_a_state_of_a_class_that_is_not_applied_is_not_rendered(source, uid):
    image = an_image()
    await source.keep(image, a_state(image, SOPClassUID=uid))

    assert (await get(source, f"{STATE}/rendered", "image/png")).status_code == 406


async def test_wado_uri_shows_an_image_by_the_state_that_it_names(source, tmp_path):
    image, other = an_image(), an_image(SOPInstanceUID="2.25.131")
    state = a_state(image, PresentationLUTShape="INVERSE")
    right = rendered(tmp_path, image, state)
    await source.keep(image, other, state)
    query = "requestType=WADO&studyUID=2.25.11&seriesUID=2.25.12&contentType=image/png"
    by_state = f"/wado?{query}&presentationSeriesUID=2.25.77"

    seen = await shown(source, f"{by_state}&presentationUID=2.25.78&objectUID=2.25.13")

    assert np.array_equal(seen, right)
    for end, status in {
        "&presentationUID=2.25.78&objectUID=2.25.131": 404,
        "&presentationUID=2.25.131&objectUID=2.25.13": 404,
        "&objectUID=2.25.13": 400,
        "&presentationUID=2.25.78&objectUID=2.25.13&region=0,0,0.5,0.5": 400,
        "&presentationUID=2.25.78&objectUID=2.25.13&windowCenter=1&windowWidth=2": 400,
    }.items():
        assert (await get(source, by_state + end, "image/png")).status_code == status, end

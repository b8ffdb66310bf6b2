"""Rendered images and thumbnails (PS3.18 8.3.5, 10.4.1.1.4): what people see is what the values mean."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID

from shared.audit.events import Outcome
from shared.dicom.uids import DEFLATED_LE, EXPLICIT_LE, JPEG_LS_LOSSLESS, RLE
from shared.imaging import drawing as rendering
from tests.support.dicom import a_color_image, a_ct, a_multi_frame, an_sr, changed, part10, with_pixels
from tests.support.imaging_source import Source, a_rejection_note, cx, source
from tests.transactions.imaging_source.test_rad107 import INSTANCE, SERIES, STUDY, get, parts

__all__ = ["source"]


def an_image(**changes: Any) -> Dataset:
    """A CT of 48 by 64 pixels with values of both signs."""
    data_set = a_ct()
    values = (np.arange(48 * 64).reshape(1, 48, 64) - 1500).astype(np.int16)
    with_pixels(data_set, values.view(np.uint16))
    data_set.PixelRepresentation = 1
    data_set.RescaleSlope, data_set.RescaleIntercept = 2, -100
    return changed(data_set, **changes)


def reference(data_set: Dataset) -> np.ndarray:
    """By pydicom's look-up tables and numpy alone."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    values = apply_voi_lut(apply_modality_lut(data_set.pixel_array, data_set), data_set).astype(float)
    shown = (values - values.min()) / (values.max() - values.min()) * 255
    return 255 - shown if data_set.PhotometricInterpretation == "MONOCHROME1" else shown


async def shown(source: Source, path: str = f"{INSTANCE}/rendered", accept: str = "image/png") -> np.ndarray:
    response = await get(source, path, accept)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == accept
    return np.asarray(Image.open(BytesIO(response.content)))


def a_lut() -> Dataset:
    lut = Dataset()
    lut.LUTDescriptor = [256, -200, 12]
    lut.add_new(0x00283006, "OW", (np.arange(256) ** 2 * 4095 // 255**2).astype("<u2").tobytes())
    return lut


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"WindowCenter": 40, "WindowWidth": 400},
        {"WindowCenter": [40, 300], "WindowWidth": [400, 1500]},
        {"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 40, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 40, "WindowWidth": 400, "PhotometricInterpretation": "MONOCHROME1"},
        {"VOILUTSequence": [a_lut()]},
        {"RescaleSlope": 0.5, "RescaleIntercept": 12.25, "WindowCenter": 40, "WindowWidth": 99.5},
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, RLE])
async def test_values_are_shown_as_the_image_says(source, changes, syntax):
    data_set = an_image(**changes)
    right = reference(data_set)
    await source.keep(data_set, syntax=syntax)

    image = await shown(source)

    assert image.shape == (48, 64)
    assert np.abs(image - right).max() <= 1


@pytest.mark.parametrize("syntax", [JPEG_LS_LOSSLESS, DEFLATED_LE])
async def test_it_makes_no_difference_in_what_an_image_is_stored(source, syntax):
    data_set = an_image(WindowCenter=40, WindowWidth=400)
    right = reference(data_set)
    await source.keep(data_set, syntax=syntax)

    assert np.abs(await shown(source) - right).max() <= 1


@pytest.mark.parametrize("function", ["linear", "linear-exact", "sigmoid"])
async def test_the_window_of_the_request_goes_before_that_of_the_image(source, function):
    await source.keep(an_image(WindowCenter=900, WindowWidth=10))
    wanted = an_image(WindowCenter=40, WindowWidth=400, VOILUTFunction=function.upper().replace("-", "_"))

    image = await shown(source, f"{INSTANCE}/rendered?window=40,400,{function}")

    assert np.abs(image - reference(wanted)).max() <= 1


async def test_functional_groups_say_how_their_frame_is_shown(source):
    data_set = a_multi_frame(3)
    groups = []
    for number in range(3):
        transformation, window, group = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = number + 1, 0
        window.WindowCenter, window.WindowWidth = 300, 256
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [transformation], [window]
        groups.append(group)
    data_set.PerFrameFunctionalGroupsSequence = groups
    await source.keep(data_set)

    image = await shown(source, f"{INSTANCE}/frames/2/rendered")

    values = (np.arange(256, 512).reshape(16, 16) * 2).astype(float)
    right = (((values - 299.5) / 255 + 0.5).clip(0, 1)) * 255
    assert np.abs(image - right).max() <= 1


async def test_colours_are_those_of_the_image(source):
    data_set = a_color_image()
    right = np.frombuffer(data_set.PixelData, np.uint8).reshape(16, 18, 3)
    await source.keep(data_set)

    assert np.array_equal(await shown(source), right)


async def test_a_palette_is_applied(source):
    data_set = a_ct(PhotometricInterpretation="PALETTE COLOR", BitsAllocated=8, BitsStored=8, HighBit=7)
    data_set.add_new(0x7FE00010, "OB", bytes(range(16)))
    for name, factor in (("Red", 16), ("Green", 8), ("Blue", 4)):
        setattr(data_set, f"{name}PaletteColorLookupTableDescriptor", [16, 0, 16])
        table = (np.arange(16) * factor * 256).astype("<u2").tobytes()
        setattr(data_set, f"{name}PaletteColorLookupTableData", table)
    await source.keep(data_set)

    image = await shown(source)

    assert np.abs(image[3, 3].astype(int) - (240, 120, 60)).max() <= 1


# --- forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/gif", "image/gif"),
        ("image/webp, image/png;q=0.5", "image/png"),
        (None, "image/jpeg"),
        ("application/dicom", ""),
        ("text/html", ""),
    ],
)
async def test_an_image_comes_in_the_form_that_is_asked_for(source, accept, media_type):
    await source.keep(an_image())

    response = await get(source, f"{INSTANCE}/rendered", accept)

    assert response.status_code == (200 if media_type else 406)
    if media_type:
        assert response.headers["content-type"] == media_type
        assert Image.open(BytesIO(response.content)).format == media_type.partition("/")[2].upper()


async def test_a_gif_has_all_frames_and_another_form_one(source):
    await source.keep(a_multi_frame(3, WindowCenter=400, WindowWidth=800))

    moving = Image.open(BytesIO((await get(source, f"{INSTANCE}/rendered", "image/gif")).content))
    still = Image.open(BytesIO((await get(source, f"{INSTANCE}/rendered", "image/png")).content))
    one = Image.open(BytesIO((await get(source, f"{INSTANCE}/frames/2/rendered", "image/gif")).content))

    assert [getattr(image, "n_frames", 1) for image in (moving, still, one)] == [3, 1, 1]


@pytest.mark.parametrize(("path", "number"), [(STUDY, 3), (SERIES, 2), (f"{INSTANCE}/frames/1,1", 2)])
async def test_several_images_come_as_parts(source, path, number):
    await source.keep(an_image(), an_image(SOPInstanceUID="2.25.131"), an_sr())
    await source.keep(an_image(SOPInstanceUID="2.25.132", SeriesInstanceUID="2.25.15"))

    response = await get(source, f"{path}/rendered", 'multipart/related; type="image/png"')

    assert response.status_code == 200
    listed = parts(response)
    assert [headers["Content-Type"] for headers, _ in listed] == ["image/png"] * number
    assert all(headers["Content-Location"].endswith("/rendered") for headers, _ in listed)
    assert Image.open(BytesIO(listed[-1][1])).size == (64, 48)


async def test_a_better_quality_is_longer(source):
    await source.keep(an_image())

    lengths = [
        len((await get(source, f"{INSTANCE}/rendered?quality={quality}", "image/jpeg")).content)
        for quality in (1, 50, 100)
    ]

    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        ("32,32", (32, 24)),
        ("128,128", (128, 96)),
        ("16,16,0,0,16,16", (16, 16)),
        ("16,16,,,16,16", (16, 16)),
        ("32,24,32,24,,", (32, 24)),
    ],
)
async def test_an_image_is_fitted_into_the_viewport(source, viewport, size):
    await source.keep(an_image())

    image = await shown(source, f"{INSTANCE}/rendered?viewport={viewport}")

    assert image.shape[::-1] == size


async def test_a_region_may_be_turned_over(source):
    await source.keep(an_image())
    whole = await shown(source)

    region = await shown(source, f"{INSTANCE}/rendered?viewport=16,8,4,2,-16,-8")

    assert np.array_equal(region, whole[2:10, 4:20][::-1, ::-1])


async def test_annotation_is_burned_in_where_it_is_asked_for_and_never_into_a_thumbnail(source):
    await source.keep(an_image())
    plain = await shown(source)

    annotated = await shown(source, f"{INSTANCE}/rendered?annotation=patient,technique,horoscope")
    unknown = await shown(source, f"{INSTANCE}/rendered?annotation=horoscope")
    small = await shown(source, f"{INSTANCE}/thumbnail?annotation=patient")

    assert not np.array_equal(annotated, plain)
    assert np.array_equal(unknown, plain)
    assert np.array_equal(small, await shown(source, f"{INSTANCE}/thumbnail"))


@pytest.mark.parametrize(
    "query",
    [
        "quality=0",
        "quality=101",
        "quality=best",
        "quality=",
        "viewport=1",
        "viewport=0,5",
        "viewport=99999,5",
        "viewport=5,5,1",
        "viewport=5,5,0,0,0,5",
        "window=1",
        "window=1,0,linear",
        "window=1,nan,linear",
        "window=1,5,cubic",
        "quality=1&quality=2",
        "window=a,b,linear",
    ],
)
async def test_a_value_that_a_parameter_cannot_have_is_refused(source, query):
    await source.keep(an_image())

    status = (await get(source, f"{INSTANCE}/rendered?{query}", "image/png")).status_code

    assert status == (200 if query == "quality=" else 400)


async def test_a_parameter_that_is_not_known_has_no_say(source):
    await source.keep(an_image())

    assert np.array_equal(
        await shown(source, f"{INSTANCE}/rendered?iccprofile=srgb&x=1"), await shown(source)
    )


# --- thumbnails --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STUDY, SERIES, INSTANCE, f"{INSTANCE}/frames/1"])
async def test_every_resource_has_a_thumbnail(source, path):
    await source.keep(an_image(), an_sr())

    image = await shown(source, f"{path}/thumbnail", "image/jpeg")

    assert image.shape == (96, 128)


# --- what cannot be ----------------------------------------------------------------------------------


async def test_what_has_no_pixels_is_not_rendered(source):
    await source.keep(an_sr())
    path = INSTANCE.replace("2.25.13", "2.25.14")

    assert (await get(source, f"{path}/rendered", "image/jpeg")).status_code == 406
    assert (await get(source, f"{STUDY}/thumbnail", "image/jpeg")).status_code == 406


@pytest.mark.parametrize(("frame", "status"), [("4", 404), ("x", 400)])
async def test_a_frame_that_is_not_there_is_not_rendered(source, frame, status):
    await source.keep(a_multi_frame())

    assert (await get(source, f"{INSTANCE}/frames/{frame}/rendered", "image/jpeg")).status_code == status


async def test_pixels_that_cannot_be_decoded_are_not_rendered(source):
    data_set = a_multi_frame()
    octets = bytearray(part10(data_set, RLE))
    octets[-200:-100] = bytes(100)
    await source.keep(bytes(octets))

    response = await get(source, f"{INSTANCE}/frames/3/rendered", "image/jpeg")

    assert response.status_code == 406
    assert "cannot be rendered" in response.json()["detail"]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    """As its attributes say: what would be decoded is nothing yet."""
    data_set = an_image(Rows=60_000, Columns=60_000)
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(part10(data_set))

    with pytest.raises(rendering.TooManyPixels, match="megapixels"):
        rendering.render(source, target, rendering.Rendering(media_type="image/png"))


async def test_an_image_of_too_many_pixels_is_told(source):
    await source.keep(an_image(Rows=60_000, Columns=60_000))

    assert (await get(source, f"{INSTANCE}/rendered", "image/png")).status_code == 413


@pytest.mark.parametrize("end", ["rendered", "thumbnail", "frames/1/rendered"])
async def test_who_is_refused_is_told_that_there_is_none(source, end):
    await source.keep(an_image())
    absent = await get(source, f"{INSTANCE}0/{end}", "image/jpeg")
    source.consent.refused = frozenset({cx("P1")})

    refused = await get(source, f"{INSTANCE}/{end}", "image/jpeg")

    assert (refused.status_code, refused.content) == (404, absent.content)
    (event,) = source.recorder.taken()
    assert (event.outcome, event.event_types[0].code) == (Outcome.SERIOUS_FAILURE, "RAD-107")


async def test_what_is_rejected_is_not_rendered(source):
    await source.keep(an_image(), a_rejection_note())

    for path in (STUDY, SERIES, INSTANCE):
        assert (await get(source, f"{path}/rendered", "image/jpeg")).status_code == 404
        assert (await get(source, f"{path}/thumbnail", "image/jpeg")).status_code == 404


async def test_an_image_that_has_not_changed_is_not_given_again(source):
    await source.keep(an_image())
    first = await get(source, f"{INSTANCE}/rendered", "image/png")
    etag = {"if-none-match": first.headers["etag"]}

    assert (await get(source, f"{INSTANCE}/rendered", "image/png", **etag)).status_code == 304
    assert (
        await get(source, f"{INSTANCE}/rendered?window=1,5,linear", "image/png", **etag)
    ).status_code == 200

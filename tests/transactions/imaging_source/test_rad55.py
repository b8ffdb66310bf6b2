"""WADO-URI as a client meets it (PS3.18 9; RAD TF-2 4.55; imaging dossier 11)."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import urlencode

import httpx2
import numpy as np
import pydicom
import pytest
from PIL import Image

from shared.audit.events import Outcome
from shared.dicom.uids import EXPLICIT_LE, JPEG_LS_LOSSLESS, RLE
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.imaging_source import Source, a_rejection_note, cx, source
from tests.transactions.imaging_source.test_rad107 import get
from tests.transactions.imaging_source.test_rendered import an_image

__all__ = ["source"]

INSTANCE = {"requestType": "WADO", "studyUID": "2.25.11", "seriesUID": "2.25.12", "objectUID": "2.25.13"}
DICOM = {"contentType": "application/dicom"}


async def wado(source: Source, accept: str | None = "*/*", /, **changes: str) -> httpx2.Response:
    keys = {name: value for name, value in {**INSTANCE, **changes}.items() if value != "absent"}
    return await get(source, f"/wado?{urlencode(keys)}", accept)


# --- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["*/*", "application/dicom", None])
async def test_an_instance_comes_byte_for_byte(source, accept):
    await source.keep(octets := part10(a_ct()))

    response = await wado(source, accept, **DICOM)

    assert (response.status_code, response.content) == (200, octets)
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"


@pytest.mark.parametrize(
    ("asked", "syntax"),
    [
        ("absent", EXPLICIT_LE),
        ("*", RLE),
        (RLE, RLE),
        (EXPLICIT_LE, EXPLICIT_LE),
        (JPEG_LS_LOSSLESS, JPEG_LS_LOSSLESS),
    ],
)
async def test_an_instance_comes_in_the_transfer_syntax_that_is_asked_for(source, asked, syntax):
    await source.keep(a_multi_frame(), syntax=RLE)

    response = await wado(source, **DICOM, transferSyntax=asked)

    data_set = pydicom.dcmread(BytesIO(response.content))
    assert str(data_set.file_meta.TransferSyntaxUID) == syntax
    assert np.array_equal(data_set.pixel_array, np.arange(768).reshape(3, 16, 16))


@pytest.mark.parametrize(
    "asked", ["2.25.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50"]
)
async def test_a_transfer_syntax_that_cannot_be_is_not_replaced_by_another(source, asked):
    await source.keep(a_multi_frame())

    assert (await wado(source, **DICOM, transferSyntax=asked)).status_code == 406


async def test_a_report_comes_as_a_file_and_not_as_an_image(source):
    await source.keep(an_sr())

    assert (await wado(source, objectUID="2.25.14", **DICOM)).status_code == 200
    assert (await wado(source, objectUID="2.25.14")).status_code == 406


# --- images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "accept", "media_type"),
    [
        ("absent", "*/*", "image/jpeg"),
        ("absent", None, "image/jpeg"),
        ("image/png", "*/*", "image/png"),
        ("image/jpeg", "image/jpeg", "image/jpeg"),
        ("image/png,image/jpeg", "image/jpeg", "image/jpeg"),
        ("image/jpeg", "image/png", ""),
        ("text/html", "*/*", ""),
        ("application/dicom", "image/jpeg", ""),
    ],
)
async def test_what_comes_fits_both_parameter_and_header(source, content_type, accept, media_type):
    await source.keep(an_image())

    response = await wado(source, accept, contentType=content_type)

    assert response.status_code == (200 if media_type else 406)
    if media_type:
        assert response.headers["content-type"] == media_type
        assert Image.open(BytesIO(response.content)).size == (64, 48)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"rows": "24"}, (32, 24)),
        ({"columns": "32"}, (32, 24)),
        ({"rows": "96", "columns": "32"}, (32, 24)),
        ({"region": "0,0,0.5,1"}, (32, 48)),
        ({"region": "0.5,0.5,1,1", "rows": "48"}, (64, 48)),
        ({"annotation": "patient"}, (64, 48)),
        ({"imageQuality": "10"}, (64, 48)),
        ({"windowCenter": "40", "windowWidth": "400"}, (64, 48)),
        ({"unknown": "1"}, (64, 48)),
    ],
)
async def test_an_image_is_shown_as_it_is_asked_for(source, changes, size):
    await source.keep(an_image())

    response = await wado(source, contentType="image/png", **changes)

    assert Image.open(BytesIO(response.content)).size == size


async def test_the_frame_that_is_asked_for_is_shown(source):
    await source.keep(a_multi_frame(3, WindowCenter=384, WindowWidth=768))

    images = [
        np.asarray(
            Image.open(BytesIO((await wado(source, contentType="image/png", frameNumber=number)).content))
        )
        for number in ("1", "2", "3")
    ]

    assert [int(image.mean()) for image in images] == sorted({int(image.mean()) for image in images})


# --- what is asked wrongly ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"requestType": "absent"},
        {"requestType": "WADO-RS"},
        {"studyUID": "absent"},
        {"seriesUID": ""},
        {"objectUID": "absent"},
        {"objectUID": "x"},
        {"studyUID": "1..2"},
        {"frameNumber": "4"},
        {"frameNumber": "0"},
        {"frameNumber": "1,2"},
        {"windowCenter": "1"},
        {"windowWidth": "1"},
        {"windowCenter": "1", "windowWidth": "0"},
        {"imageQuality": "0"},
        {"rows": "0"},
        {"columns": "many"},
        {"region": "0,0,2,1"},
        {"region": "1,1,0,0"},
        {"anonymize": "yes"},
        {"presentationUID": "2.25.1"},
        {"transferSyntax": "x", "contentType": "application/dicom"},
    ],
)
async def test_a_parameter_that_is_missing_or_cannot_be_is_refused(source, changes):
    await source.keep(a_multi_frame())

    response = await wado(source, **changes)

    assert response.status_code == 400
    assert response.json()["detail"]


@pytest.mark.parametrize("name", ["studyUID", "seriesUID", "objectUID"])
@pytest.mark.parametrize("kind", [{}, DICOM])
async def test_an_instance_that_is_not_there_is_not_found(source, name, kind):
    await source.keep(an_image())

    assert (await wado(source, **{name: "2.25.404"}, **kind)).status_code == 404


# --- who may have it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, DICOM, {"frameNumber": "9"}])
async def test_who_is_refused_is_told_that_there_is_none(source, kind):
    await source.keep(an_image())
    absent = await wado(source, objectUID="2.25.404", **kind)
    source.consent.refused = frozenset({cx("P1")})

    refused = await wado(source, **kind)

    assert (refused.status_code, refused.content) == (404, absent.content)
    (event,) = source.recorder.taken()
    assert (event.outcome, event.event_types[0].code) == (Outcome.SERIOUS_FAILURE, "RAD-55")


@pytest.mark.parametrize("kind", [{}, DICOM])
async def test_what_is_rejected_is_not_found(source, kind):
    await source.keep(an_image(), a_rejection_note())

    assert (await wado(source, **kind)).status_code == 404


@pytest.mark.parametrize("kind", [{}, DICOM])
async def test_what_is_given_stands_in_the_trail(source, kind):
    await source.keep(an_image())

    await wado(source, **kind)

    (event,) = source.recorder.taken()
    assert (event.event_id.code, event.event_types[0].code, event.outcome) == (
        "110104",
        "RAD-55",
        Outcome.SUCCESS,
    )
    assert {one.object_id for one in event.objects} == {cx("P1"), "2.25.11"}

"""Frames of an instance alone (PS3.18 10.4.1.1.3): each is its own pixels, wherever they lie in the file."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
from imagecodecs import jpeg8_decode, jpeg8_encode
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import get_decoder

from shared.audit.events import Outcome
from shared.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    RLE,
)
from tests.support.dicom import VARIANTS, a_ct, a_multi_frame, an_sr, part10, real_files
from tests.support.imaging_source import (
    BASE,
    Source,
    cx,
    database_place,
    either_source,
    postgres_url,
    source,
)
from tests.transactions.imaging_source.test_rad107 import INSTANCE, get, parts

__all__ = ["database_place", "either_source", "postgres_url", "source"]

OCTETS = 'multipart/related; type="application/octet-stream"'
AS_JLS = f"image/jls; transfer-syntax={JPEG_LS_LOSSLESS}"
AS_RLE = f"image/dicom-rle; transfer-syntax={RLE}"
PIXELS = np.arange(768, dtype="<u2").reshape(3, 256)
NATIVE = [frame.tobytes() for frame in PIXELS]


async def frames(source: Source, numbers: str, accept: str = OCTETS) -> list[bytes]:
    response = await get(source, f"{INSTANCE}/frames/{numbers}", accept)
    assert response.status_code == 200, response.text
    return [octets for _, octets in parts(response)]


def compressed(syntax: str) -> tuple[Dataset, list[bytes]]:
    """A multi-frame instance in a compressed syntax, and its frames as they are compressed."""
    data_set = pydicom.dcmread(BytesIO(part10(a_multi_frame(), syntax)))
    return data_set, list(generate_frames(data_set.PixelData, number_of_frames=3))


def refragmented(data_set: Dataset, pixel_data: bytes, **changes: bytes) -> bytes:
    """The file with its compressed pixel data laid out in another way."""
    data_set.PixelData = pixel_data
    data_set["PixelData"].is_undefined_length = True
    for keyword, value in changes.items():
        setattr(data_set, keyword, value)
    file = BytesIO()
    data_set.save_as(file, enforce_file_format=True)
    return file.getvalue()


# --- where frames lie --------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE, RLE, JPEG_LS_LOSSLESS])
async def test_a_frame_is_its_pixels_whatever_they_are_stored_in(source, syntax):
    await source.keep(a_multi_frame(), syntax=syntax)

    assert await frames(source, "2") == [NATIVE[1]]
    assert await frames(source, "3,1,3") == [NATIVE[2], NATIVE[0], NATIVE[2]]


async def test_a_frame_of_the_other_byte_order_is_turned(source):
    data_set = a_multi_frame()
    data_set.PixelData = PIXELS.astype(">u2").tobytes()
    await source.keep(part10(data_set, EXPLICIT_BE))

    assert await frames(source, "1,3") == [NATIVE[0], NATIVE[2]]


@pytest.mark.parametrize("count", [1, 3])
async def test_a_frame_of_single_bits_may_begin_within_a_byte(source, count):
    bits = (np.arange(45 * count) * 7 % 3 == 0).astype(np.uint8)
    data_set = a_ct(NumberOfFrames=count, Rows=5, Columns=9, BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(bits, bitorder="little").tobytes()
    data_set.add_new(0x7FE00010, "OB", packed + bytes(len(packed) % 2))
    await source.keep(data_set)

    (frame,) = await frames(source, str(count))

    read = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:45]
    assert np.array_equal(read, bits[-45:])


async def test_a_frame_whose_pixels_share_their_colour_is_shorter(source):
    octets = bytes(range(256))[:192]
    data_set = a_ct(
        NumberOfFrames=3,
        Rows=4,
        Columns=8,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL_422",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
    )
    data_set.add_new(0x7FE00010, "OB", octets)
    await source.keep(data_set)

    assert await frames(source, "2") == [octets[64:128]]


@pytest.mark.parametrize(
    "layout", ["basic", "empty", "extended", "wrong", "in fragments", "in fragments, no table"]
)
async def test_compressed_frames_are_told_apart(source, layout):
    data_set, right = compressed(JPEG_LS_LOSSLESS)
    changes: dict[str, bytes] = {}
    if layout == "extended":
        pixel_data, offsets, lengths = encapsulate_extended(right)
        changes = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    else:
        several = 2 if layout.startswith("in fragments") or layout == "wrong" else 1
        pixel_data = encapsulate(
            right, fragments_per_frame=several, has_bot=layout in ("basic", "in fragments", "wrong")
        )
    if layout == "wrong":
        # The second offset is that of a fragment in the middle of a frame.
        pixel_data = pixel_data[:12] + (2).to_bytes(4, "little") + pixel_data[16:]
    await source.keep(refragmented(data_set, pixel_data, **changes))

    accept = f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS_LOSSLESS}'
    as_stored = await frames(source, "1,2,3", accept)

    assert [frame.rstrip(b"\0") for frame in as_stored] == [frame.rstrip(b"\0") for frame in right]
    assert await frames(source, "2") == [NATIVE[1]]


async def test_an_extended_offset_table_tells_fragments_of_frames_apart(source):
    """RLE has no marker by which a frame begins."""
    data_set, right = compressed(RLE)
    pixel_data = encapsulate(right, fragments_per_frame=2, has_bot=False)
    starts, at = [], 0
    for frame in right:
        starts.append(at)
        at += len(frame) + len(frame) % 2 + 2 * 8
    # Two fragments of each frame: their lengths are even, as `encapsulate` makes them.
    offsets = np.array(starts, "<u8").tobytes()
    await source.keep(
        refragmented(data_set, pixel_data, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=offsets)
    )

    accept = f'multipart/related; type="image/dicom-rle"; transfer-syntax={RLE}'
    assert [one.rstrip(b"\0") for one in await frames(source, "3", accept)] == [right[2].rstrip(b"\0")]


async def test_frames_that_nobody_can_tell_apart_are_not_given(source):
    data_set, right = compressed(RLE)
    await source.keep(refragmented(data_set, encapsulate(right, fragments_per_frame=2, has_bot=False)))

    response = await get(source, f"{INSTANCE}/frames/1", 'multipart/related; type="image/dicom-rle"')

    assert response.status_code == 406
    assert "apart" in response.json()["detail"]


@pytest.mark.skipif(not VARIANTS.is_dir(), reason="no real images here")
async def test_frames_of_real_images_are_as_pydicom_reads_them(source):
    for number, path in enumerate(real_files(VARIANTS)):
        data_set = pydicom.dcmread(path)
        # Some are the same instance in several syntaxes.
        data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = f"2.25.9{number}"
        syntax = data_set.file_meta.TransferSyntaxUID
        if "PixelData" not in data_set or not syntax.is_compressed or not get_decoder(syntax).is_available:
            continue
        file = BytesIO()
        data_set.save_as(file, enforce_file_format=True)
        (kept,) = await source.keep(file.getvalue())
        place = f"/dicomweb/studies/{kept.study_instance_uid}/series/{kept.series_instance_uid}"
        response = await get(source, f"{place}/instances/{kept.sop_instance_uid}/frames/1", OCTETS)
        assert response.status_code == 200, path.name
        ((_, octets),) = parts(response)
        arrays = data_set.pixel_array
        first = arrays[0] if kept.number_of_frames > 1 else arrays
        assert octets.rstrip(b"\0") == first.tobytes().rstrip(b"\0"), path.name


# --- forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "stored", "media_type", "status"),
    [
        ("*/*", EXPLICIT_LE, "application/octet-stream", 200),
        ("*/*", RLE, "application/octet-stream", 200),
        ("multipart/related", RLE, "application/octet-stream", 200),
        (OCTETS, RLE, "application/octet-stream", 200),
        ("multipart/related; type=application/octet-stream", RLE, "application/octet-stream", 200),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2.1", RLE, "application/octet-stream", 200),
        (f"{OCTETS}; transfer-syntax=*", RLE, f"application/octet-stream; transfer-syntax={RLE}", 200),
        (f"{OCTETS}; transfer-syntax=*", EXPLICIT_LE, "application/octet-stream", 200),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2", EXPLICIT_LE, "", 406),
        (f"{OCTETS}; transfer-syntax=2.25.1", EXPLICIT_LE, "", 406),
        ('multipart/related; type="image/jls"', JPEG_LS_LOSSLESS, AS_JLS, 200),
        ('multipart/related; type="image/jls"', RLE, AS_JLS, 200),
        ('multipart/related; type="image/*"; transfer-syntax=*', RLE, AS_RLE, 200),
        ('multipart/related; type="image/jpeg"', RLE, "", 406),
        (f'multipart/related; type="image/jpeg", {OCTETS}; q=0.5', RLE, "application/octet-stream", 200),
        ("image/png", EXPLICIT_LE, "", 406),
        ('multipart/related; type="application/dicom"', EXPLICIT_LE, "", 406),
    ],
)
async def test_frames_come_in_the_form_that_is_asked_for(source, accept, stored, media_type, status):
    await source.keep(a_multi_frame(), syntax=stored)

    response = await get(source, f"{INSTANCE}/frames/1", accept)

    assert response.status_code == status, response.text
    if media_type:
        ((headers, octets),) = parts(response)
        assert headers["Content-Type"] == media_type
        assert headers["Content-Location"] == f"{BASE}{INSTANCE}/frames/1"
        assert f'type="{media_type.partition(";")[0]}"' in response.headers["content-type"]
        if media_type == "application/octet-stream":
            assert octets == NATIVE[0]


@pytest.mark.parametrize("accept", ["application/octet-stream", "image/jls"])
async def test_one_frame_may_be_the_body_and_several_may_not(source, accept):
    await source.keep(a_multi_frame(), syntax=JPEG_LS_LOSSLESS)

    alone = await get(source, f"{INSTANCE}/frames/2", accept)

    assert alone.status_code == 200
    assert alone.headers["content-type"].startswith(accept)
    assert (alone.content == NATIVE[1]) is (accept == "application/octet-stream")
    assert (await get(source, f"{INSTANCE}/frames/1,2", accept)).status_code == 406


async def test_the_query_parameter_says_what_the_header_would(source):
    await source.keep(a_multi_frame())

    response = await get(source, f"{INSTANCE}/frames/1?accept=application/octet-stream", "*/*")

    assert response.content == NATIVE[0]


async def test_a_lossy_frame_comes_decoded_and_as_it_is_stored_to_who_asks_for_that(source):
    pixels = (np.arange(256).reshape(16, 16) % 200).astype(np.uint8)
    lossy = jpeg8_encode(pixels)
    data_set = a_ct(Rows=16, Columns=16, BitsAllocated=8, BitsStored=8, HighBit=7)
    data_set.add_new(0x7FE00010, "OB", encapsulate([lossy]))
    data_set["PixelData"].is_undefined_length = True
    await source.keep(part10(data_set, JPEG_BASELINE, compress=False))

    decoded = await get(source, f"{INSTANCE}/frames/1", "application/octet-stream")
    stored = await get(source, f"{INSTANCE}/frames/1", "image/jpeg")

    assert decoded.content == jpeg8_decode(lossy).tobytes()
    assert stored.content.rstrip(b"\0") == lossy.rstrip(b"\0")
    assert stored.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG_BASELINE}"


# --- what is not there -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ("4", 404),
        ("1,4", 404),
        ("0", 400),
        ("one", 400),
        ("1,", 400),
        ("-1", 400),
        ("1,,2", 400),
        ("1-2", 400),
    ],
)
async def test_a_frame_that_is_not_there_is_404_and_a_list_that_is_none_400(source, numbers, status):
    await source.keep(a_multi_frame())

    assert (await get(source, f"{INSTANCE}/frames/{numbers}", "*/*")).status_code == status


async def test_what_has_no_pixels_has_no_frames(source):
    (kept,) = await source.keep(an_sr())

    response = await get(source, f"{INSTANCE[:-2]}14/frames/1", "*/*")

    assert (kept.sop_instance_uid, response.status_code) == ("2.25.14", 404)


async def test_pixels_that_end_too_early_are_not_given_as_others(source):
    data_set = a_multi_frame()
    data_set.PixelData = data_set.PixelData[:1200]
    await source.keep(data_set)

    assert await frames(source, "2") == [NATIVE[1]]
    assert (await get(source, f"{INSTANCE}/frames/3", "*/*")).status_code == 406


async def test_who_is_refused_is_told_that_there_is_none(source):
    await source.keep(a_multi_frame())
    absent = await get(source, f"{INSTANCE}0/frames/1", "*/*")
    source.consent.refused = frozenset({cx("P1")})

    refused = await get(source, f"{INSTANCE}/frames/1", "*/*")

    assert (refused.status_code, refused.content) == (404, absent.content)
    (event,) = source.recorder.taken()
    assert (event.outcome, event.event_types[0].code) == (Outcome.SERIOUS_FAILURE, "RAD-107")


# --- again, and in ranges -----------------------------------------------------------------------------


async def test_what_has_not_changed_is_not_given_again(source):
    await source.keep(a_multi_frame())
    first = await get(source, f"{INSTANCE}/frames/1", OCTETS)

    again = await get(source, f"{INSTANCE}/frames/1", OCTETS, **{"if-none-match": first.headers["etag"]})
    other = await get(source, f"{INSTANCE}/frames/2", OCTETS, **{"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


@pytest.mark.parametrize(
    ("asked", "status", "octets", "place"),
    [
        ("bytes=0-3", 206, NATIVE[1][:4], "bytes 0-3/512"),
        ("bytes=500-", 206, NATIVE[1][500:], "bytes 500-511/512"),
        ("bytes=-12", 206, NATIVE[1][-12:], "bytes 500-511/512"),
        ("bytes=10-9999", 206, NATIVE[1][10:], "bytes 10-511/512"),
        ("bytes=512-", 416, None, "bytes */512"),
        ("bytes=0-1,4-5", 200, NATIVE[1], None),
        ("frames=1-2", 200, NATIVE[1], None),
        ("bytes=4-2", 200, NATIVE[1], None),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, EXPLICIT_BE])
async def test_a_range_of_one_frame_is_given(source, syntax, asked, status, octets, place):
    data_set = a_multi_frame()
    if syntax == EXPLICIT_BE:
        data_set.PixelData = PIXELS.astype(">u2").tobytes()
    await source.keep(part10(data_set, syntax))

    response = await get(source, f"{INSTANCE}/frames/2", "application/octet-stream", range=asked)

    assert (response.status_code, response.headers.get("content-range")) == (status, place)
    if octets is not None:
        assert response.content == octets


async def test_a_range_of_what_has_changed_is_the_whole(source):
    await source.keep(a_multi_frame())

    response = await get(
        source,
        f"{INSTANCE}/frames/2",
        "application/octet-stream",
        range="bytes=0-3",
        **{"if-range": '"other"'},
    )

    assert (response.status_code, response.content) == (200, NATIVE[1])

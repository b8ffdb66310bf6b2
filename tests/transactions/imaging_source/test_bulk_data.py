"""Every BulkDataURI that metadata name is answered with the value (PS3.18 8.7.3.3, F.2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from shared.audit.events import Outcome
from shared.dicom.uids import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG_LS_LOSSLESS, RLE
from tests.support.dicom import a_ct, a_multi_frame, part10
from tests.support.imaging_source import BASE, Source, cx, database_place, postgres_url, source
from tests.transactions.imaging_source.test_rad107 import INSTANCE, get, parts

__all__ = ["database_place", "postgres_url", "source"]

OCTETS = 'multipart/related; type="application/octet-stream"'
LONG = bytes(range(256)) * 64
NOT_THERE = ["00100010", "7FE00011", "00081140/0/7FE00010", "00280010/0/7FE00010"]


def with_nested_values() -> Dataset:
    """Values that are too long for metadata: at the top, in an item, and in an item of an item."""
    inner, outer = Dataset(), Dataset()
    inner.EncapsulatedDocument = LONG
    outer.EncapsulatedDocument = LONG[::-1]
    outer.IconImageSequence = [Dataset(), inner]
    return a_ct(ReferencedImageSequence=[outer], RedPaletteColorLookupTableData=LONG)


def named(metadata: Any) -> Iterator[str]:
    """Every BulkDataURI below."""
    for element in metadata.values():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"]
        for value in element.get("Value", ()):
            if isinstance(value, dict) and element["vr"] == "SQ":
                yield from named(value)


async def values(source: Source, accept: str = OCTETS) -> dict[str, bytes]:
    """What is answered at every URI that the metadata of the instance name, by its path."""
    (metadata,) = (await get(source, f"{INSTANCE}/metadata", "*/*")).json()
    found = {}
    for uri in named(metadata):
        response = await get(source, uri.removeprefix(BASE), accept)
        assert response.status_code == 200, uri
        ((headers, octets),) = parts(response)
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Location"] == uri
        found[uri.partition("/bulkdata/")[2]] = octets
    return found


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE])
async def test_every_value_that_metadata_name_is_given(source, syntax):
    await source.keep(with_nested_values(), syntax=syntax)

    found = await values(source)

    assert found == {
        "00281201": LONG,
        "00081140/0/00420011": LONG[::-1],
        "00081140/0/00880200/1/00420011": LONG,
        "7FE00010": np.arange(16, dtype="<u2").tobytes(),
    }


async def test_words_of_the_other_byte_order_are_turned(source):
    data_set = a_ct()
    data_set.PixelData = np.arange(16, dtype=">u2").tobytes()
    await source.keep(part10(data_set, EXPLICIT_BE))

    assert await values(source) == {"7FE00010": np.arange(16, dtype="<u2").tobytes()}


@pytest.mark.parametrize("syntax", [JPEG_LS_LOSSLESS, RLE])
async def test_compressed_pixels_are_given_decoded(source, syntax):
    await source.keep(a_multi_frame(), syntax=syntax)

    assert await values(source) == {"7FE00010": np.arange(768, dtype="<u2").tobytes()}


async def test_pixels_that_nothing_decodes_are_given_as_they_are_stored(source):
    data_set = a_ct()
    data_set.PixelData = pydicom.encaps.encapsulate([b"\x00\x00\x01\xba video"])
    await source.keep(part10(data_set, "1.2.840.10008.1.2.4.102", compress=False))

    response = await get(source, f"{INSTANCE}/bulkdata/7FE00010", "*/*")

    ((headers, octets),) = parts(response)
    assert (headers["Content-Type"], octets.rstrip(b"\0")) == ("video/mp4", b"\x00\x00\x01\xba video")


@pytest.mark.parametrize("accept", ["application/octet-stream", "application/*"])
async def test_a_value_is_given_as_the_body_to_whoever_asks_so(source, accept):
    await source.keep(a_ct())

    response = await get(source, f"{INSTANCE}/bulkdata/7FE00010", accept)

    assert response.headers["content-type"] == "application/octet-stream"
    assert response.content == np.arange(16, dtype="<u2").tobytes()
    again = await get(
        source, f"{INSTANCE}/bulkdata/7FE00010", accept, **{"if-none-match": response.headers["etag"]}
    )
    assert again.status_code == 304


@pytest.mark.parametrize("accept", ["image/jpeg", "text/html", 'multipart/related; type="image/jp2"'])
async def test_another_form_is_not_acceptable(source, accept):
    await source.keep(a_ct())

    assert (await get(source, f"{INSTANCE}/bulkdata/7FE00010", accept)).status_code == 406


@pytest.mark.parametrize(
    "path", [*NOT_THERE, "", "7fe00010", "7FE00010/", "PixelData", "..%2Fmetadata", "00081140/0", "1/" * 99]
)
async def test_what_metadata_do_not_name_is_not_found(source, path):
    await source.keep(with_nested_values())

    assert (await get(source, f"{INSTANCE}/bulkdata/{path}", "*/*")).status_code == 404


async def test_who_is_refused_the_instance_is_told_that_there_is_none(source):
    await source.keep(a_ct())
    absent = await get(source, f"{INSTANCE}0/bulkdata/7FE00010", "*/*")
    source.consent.refused = frozenset({cx("P1")})

    refused = await get(source, f"{INSTANCE}/bulkdata/7FE00010", "*/*")

    assert (refused.status_code, refused.content) == (404, absent.content)
    (event,) = source.recorder.taken()
    assert (event.outcome, event.event_types[0].code) == (Outcome.SERIOUS_FAILURE, "RAD-107")


async def test_a_value_that_is_given_stands_in_the_trail(source):
    await source.keep(a_ct())

    await get(source, f"{INSTANCE}/bulkdata/7FE00010", "*/*")

    (event,) = source.recorder.taken()
    assert (event.outcome, event.event_types[0].code) == (Outcome.SUCCESS, "RAD-107")
    assert {one.object_id for one in event.objects} == {cx("P1"), "2.25.11"}


async def test_a_value_of_a_damaged_file_is_not_given(source):
    (kept,) = await source.keep(a_ct())
    octets = bytearray(kept.path.read_bytes())
    octets[-1] ^= 1
    kept.path.chmod(0o600)
    kept.path.write_bytes(octets)

    assert (await get(source, f"{INSTANCE}/bulkdata/7FE00010", "*/*")).status_code == 500


async def test_pydicom_reads_metadata_and_their_bulk_data(source):
    """As a library of others follows the links."""
    await source.keep(with_nested_values())
    answers = await values(source)
    (metadata,) = (await get(source, f"{INSTANCE}/metadata", "*/*")).json()

    data_set = Dataset.from_json(
        metadata, bulk_data_uri_handler=lambda uri: answers[re.sub(r".*/bulkdata/", "", uri)]
    )

    assert data_set.PixelData == np.arange(16, dtype="<u2").tobytes()
    assert data_set.ReferencedImageSequence[0].IconImageSequence[1].EncapsulatedDocument == LONG
    assert BytesIO(data_set.RedPaletteColorLookupTableData).read() == LONG

"""Large valid instances are ordinary: memory is bounded, and neither frames nor fragments are counted."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib

import pytest

from imaging_source.domain.intake import BeyondLimits, Refused
from imaging_source.domain.stow import Results, status_of
from shared.dicom.uids import DEFLATED_LE, JPEG_BASELINE
from tests.support.faulty_files import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED, a_data_set, a_file, element
from tests.support.imaging_source import source
from tests.support.intake import a_transfer, an_intake

__all__ = ["source"]

MEBIBYTE = 1024**2
PIXELS = b"\xe0\x7f\x10\x00"


def sequence(tag: int, *items: bytes, defined: bool = True) -> bytes:
    if defined:
        value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
        return element(tag, "SQ", value)
    return element(tag, "SQ", b"".join(ITEM + item + ITEM_END for item in items), UNDEFINED) + SEQUENCE_END


def per_frame(frames: int, *, defined: bool) -> bytes:
    """Per-frame Functional Groups as an Enhanced MR has them."""

    def frame(number: int) -> bytes:
        place = struct.pack("<II", 1, number)
        return sequence(0x00209111, element(0x00209157, "UL", place), defined=defined) + sequence(
            0x00209113, element(0x00200032, "DS", b"-1.5\\2.25\\3.5 "), defined=defined
        )

    return sequence(0x52009230, *map(frame, range(frames)), defined=defined)


def with_elements(octets: bytes, **changes: object) -> bytes:
    """The CT with `octets` before its pixels."""
    data_set = a_data_set(**changes)
    at = data_set.index(PIXELS)
    return data_set[:at] + octets + data_set[at:]


def an_rtstruct() -> bytes:
    """Twenty megabytes of contours, none of them long."""
    points = b"\\".join([b"-123.4567"] * 600)
    contour = element(0x30060046, "IS", b"200 ") + element(0x30060050, "DS", points[:5998])
    roi = element(0x30060084, "IS", b"1 ")
    return sequence(0x30060039, *[sequence(0x30060040, *[contour] * 35, defined=False) + roi] * 100)


def deflated(data_set: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return a_file(deflater.compress(data_set) + deflater.flush(), syntax=DEFLATED_LE)


def a_slide(tiles: int) -> bytes:
    """So many tiles, a fragment each, with a Basic Offset Table."""
    data_set = a_data_set(NumberOfFrames=str(tiles))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"JPEG"
    table = struct.pack(f"<{tiles}I", *range(0, 12 * tiles, 12))
    head = struct.pack("<HHI", 0xFFFE, 0xE000, len(table)) + table
    pixels = element(0x7FE00010, "OB", head + item * tiles, UNDEFINED) + SEQUENCE_END
    return a_file(data_set[: data_set.index(PIXELS)] + pixels, syntax=JPEG_BASELINE)


LARGE = {
    "enhanced MR": lambda: a_file(with_elements(per_frame(6_000, defined=False))),
    "segmentation": lambda: a_file(with_elements(per_frame(17_000, defined=True))),
    "RTSTRUCT": lambda: a_file(with_elements(an_rtstruct())),
    "sparse segmentation, deflated": lambda: deflated(
        with_elements(per_frame(9_000, defined=True)) + element(0xFFFCFFFC, "OB", bytes(64 * MEBIBYTE))
    ),
    "slide": lambda: a_slide(240_000),
}


@pytest.fixture(scope="module", params=LARGE.values(), ids=LARGE.keys())
def large(request) -> bytes:
    return request.param()


async def test_a_large_valid_instance_is_kept_in_little_memory(tmp_path, large):
    async with an_intake(tmp_path) as intake:
        spooled = intake.spooled(large)
        tracemalloc.start()
        try:
            stored = await intake.store.store_part10(spooled, a_transfer())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert stored.new
        assert stored.warnings == ()
        assert stored.instance.path.read_bytes() == large
        assert peak < 24 * MEBIBYTE


async def test_its_metadata_are_whole_and_come_in_pieces(tmp_path):
    async with an_intake(tmp_path) as intake:
        large = LARGE["enhanced MR"]()
        instance = (await intake.store.store_part10(intake.spooled(large), a_transfer())).instance

        pieces = [piece async for piece in intake.store.metadata_array([instance])]

    (metadata,) = json.loads(b"".join(pieces))
    frames = metadata["52009230"]["Value"]
    assert len(frames) == 6_000
    assert frames[5_999]["00209111"]["Value"][0]["00209157"]["Value"] == [1, 5_999]
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert max(map(len, pieces)) < MEBIBYTE


async def test_it_is_answered_by_wado_rs_and_published(source):
    (instance,) = await source.keep(LARGE["enhanced MR"]())
    path = f"/dicomweb/studies/{instance.study_instance_uid}"

    async with source.client() as client:
        metadata = await client.get(f"{path}/metadata")
        whole = await client.get(path, headers={"accept": 'multipart/related; type="application/dicom"'})

    (found,) = metadata.json()
    assert len(found["52009230"]["Value"]) == 6_000
    assert found["7FE00010"]["BulkDataURI"].startswith("http://127.0.0.1:8030/dicomweb/studies/")
    assert whole.status_code == 200
    assert instance.path.read_bytes() in whole.content


# --- limits are settings, and beyond them is out of resources -----------------------------------------


def flat(number: int) -> bytes:
    """So many private elements at the top, which no sequence lets stay in the file."""
    return b"".join(element(0x00290000 + at, "LO", bytes(60)) for at in range(0x1000, 0x1000 + number))


BEYOND = {
    "elements": ({"max_elements": 1_000}, a_file(with_elements(per_frame(500, defined=True)))),
    "depth": ({"max_sequence_depth": 3}, a_file(with_elements(
        sequence(0x00081140, sequence(0x00081140, sequence(0x00081140, sequence(0x00081140, b""))))
    ))),
    "memory": ({"max_header_bytes": MEBIBYTE}, a_file(with_elements(flat(4_000)))),
    "inflation": ({"max_inflated_bytes": 100_000}, deflated(
        with_elements(element(0x00420011, "OB", bytes(100_000)))
    )),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "octets"), BEYOND.values(), ids=BEYOND.keys())
async def test_what_asks_for_more_than_a_setting_allows_is_out_of_resources(tmp_path, changes, octets):
    async with an_intake(tmp_path / "small", **changes) as small:
        with pytest.raises(BeyondLimits) as refused:
            await small.store.store_part10(small.spooled(octets), a_transfer())
        assert small.kept == []
    async with an_intake(tmp_path / "usual") as usual:
        assert (await usual.store.store_part10(usual.spooled(octets), a_transfer())).new

    assert refused.value.status == 0xA700
    assert status_of(Results((refused.value,))) == 413


async def test_what_cannot_be_read_is_still_told_as_that(tmp_path):
    async with an_intake(tmp_path) as intake:
        with pytest.raises(Refused) as refused:
            await intake.store.store_part10(intake.spooled(a_file(b"\x08\0")), a_transfer())

    assert refused.value.status == 0xC000
    assert status_of(Results((refused.value,))) == 400

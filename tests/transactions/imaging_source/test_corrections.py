"""Another data set under a known SOP Instance UID: a named outcome by setting, and never a silent loss."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from imaging_source.domain.corrections import CorrectionPolicy
from imaging_source.domain.intake import Refused
from imaging_source.maintenance.backup import _files
from imaging_source.maintenance.scrub import scrub
from imaging_source.store.adoption import adopt
from imaging_source.store.catalogue import is_filled
from imaging_source.store.tables import study
from shared.dicom.uids import IMPLICIT_LE, JPEG_2000_LOSSLESS, JPEG_LS_LOSSLESS, RLE
from shared.imaging.description import Claim
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_color_image, a_ct, by_plane, part10, with_pixels
from tests.support.imaging_source import a_rejection_note
from tests.support.intake import a_transfer, an_intake

__all__ = ["database_place", "postgres_url"]

STUDY = "2.25.11"


@pytest.fixture
async def intake(tmp_path, database_place, request):
    async with an_intake(tmp_path, database_place, corrections=request.param) as made:
        yield made


def by(policy: CorrectionPolicy):
    return pytest.mark.parametrize("intake", [policy], indirect=True)


async def keep(intake, data_set, came_by=None):
    octets = part10(data_set)
    return await intake.store.store_part10(intake.spooled(octets), came_by or a_transfer(), Claim())


async def events_of(intake, came_by):
    await intake.store.conclude(came_by, intake.trail.record)
    return [(event.action, event.outcome.value) for event in intake.trail.events]


async def only(intake):
    [instance] = await intake.store.find_study(STUDY)
    return instance


@by(CorrectionPolicy.KEEP_FIRST)
async def test_the_first_stays_the_other_is_kept_beside_it_and_the_sender_is_warned(intake):
    first = await keep(intake, a_ct())
    came_by = a_transfer()

    again = await keep(intake, a_ct(PatientName="Roe^Corrected"), came_by)

    assert (again.instance, again.new) == (first.instance, False)
    assert "kept beside it" in again.warnings[0]
    assert await only(intake) == first.instance
    assert len(intake.kept) == 2
    assert await events_of(intake, came_by) == [("C", 0)]
    assert "kept beside others" in intake.trail.events[0].outcome_description


@by(CorrectionPolicy.REPLACE)
async def test_a_corrected_instance_takes_the_place_and_the_first_is_kept(intake):
    await keep(intake, a_ct(StudyDescription="wrong"))
    changed: list[str] = []
    intake.store.on_stored.append(changed.append)
    came_by = a_transfer()

    corrected = await keep(intake, a_ct(StudyDescription="right"), came_by)

    assert await only(intake) == corrected.instance
    assert "took the place" in corrected.warnings[0]
    assert changed == [STUDY]
    assert len(intake.kept) == 2
    metadata = await intake.store.metadata([corrected.instance.sop_instance_uid])
    assert b"right" in next(iter(metadata.values()))
    [(attributes,)] = await intake.database.fetch(study.select().with_only_columns(study.c.attributes))
    assert b"right" in attributes
    assert await events_of(intake, came_by) == [("U", 0)]
    assert await is_filled(intake.database)


@by(CorrectionPolicy.REPLACE)
async def test_the_same_content_in_another_encoding_is_no_correction(intake):
    first = await keep(intake, a_ct())

    octets = part10(a_ct(), IMPLICIT_LE)
    again = await intake.store.store_part10(intake.spooled(octets), a_transfer(), Claim())

    assert (again.instance, again.warnings) == (first.instance, ())


async def store(intake, octets: bytes, came_by=None):
    return await intake.store.store_part10(intake.spooled(octets), came_by or a_transfer(), Claim())


def a_slice(**changes):
    """A grey image that every encoder has room for."""
    image = a_ct(**changes)
    with_pixels(image, np.arange(32 * 32, dtype=np.uint16).reshape(1, 32, 32))
    return image


def a_picture():
    """A colour image likewise, pixel by pixel."""
    image = a_color_image()
    with_pixels(image, (np.arange(32 * 32 * 3) % 256).astype(np.uint8).reshape(1, 32, 32, 3))
    return image


# As it comes plain, and from what it is compressed.
IMAGES = {
    "grey": (a_slice, a_slice),
    "colour": (a_picture, a_picture),
    "colour by plane": (lambda: by_plane(a_picture()), a_picture),
}


@by(CorrectionPolicy.REFUSE)
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("to", [RLE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
@pytest.mark.parametrize("is_compressed_first", [False, True])
async def test_an_image_compressed_without_loss_is_the_same_image(intake, image, to, is_compressed_first):
    encodings = [part10(image[0]()), part10(image[1](), to)]
    first = await store(intake, encodings[is_compressed_first])
    came_by = a_transfer()

    again = await store(intake, encodings[not is_compressed_first], came_by)

    assert (again.instance, again.new, again.warnings) == (first.instance, False, ())
    assert (await only(intake)).path.read_bytes() == encodings[is_compressed_first]
    assert await events_of(intake, came_by) == [("R", 0)]
    assert (len(intake.kept), intake.incoming) == (1, [])


@by(CorrectionPolicy.REFUSE)
async def test_what_an_encoder_says_of_itself_makes_no_other_image(intake):
    first = await store(intake, part10(a_slice()))
    told = a_slice(DerivationDescription="Lossless compression 2:1", LossyImageCompression="00")

    again = await store(intake, part10(told, JPEG_LS_LOSSLESS))

    assert again.instance == first.instance


def with_one_other_pixel():
    changed = a_slice()
    changed.PixelData = bytes([changed.PixelData[0] ^ 1]) + changed.PixelData[1:]
    return changed


OTHERS = {
    "one bit of one pixel": with_one_other_pixel,
    "another attribute": lambda: a_slice(StudyDescription="other"),
    "compressed with loss before": lambda: a_slice(LossyImageCompression="01"),
}


@pytest.mark.parametrize("intake", list(CorrectionPolicy), indirect=True)
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_another_image_that_comes_compressed_is_another_image(intake, other):
    first = await store(intake, part10(a_slice()))
    octets = part10(other(), JPEG_LS_LOSSLESS)

    match intake.store._corrections:
        case CorrectionPolicy.REFUSE:
            with pytest.raises(Refused, match="another data set"):
                await store(intake, octets)
            assert await only(intake) == first.instance
        case CorrectionPolicy.KEEP_FIRST:
            assert (await store(intake, octets)).warnings
            assert await only(intake) == first.instance
        case CorrectionPolicy.REPLACE:
            await store(intake, octets)
            assert (await only(intake)).path.read_bytes() == octets
    assert intake.incoming == []


@by(CorrectionPolicy.REFUSE)
async def test_pixels_that_nobody_can_decode_are_no_proof(intake):
    first = await store(intake, part10(a_slice()))
    octets = part10(a_slice(), JPEG_LS_LOSSLESS)
    start = octets.index(b"\xff\xd8\xff")

    with pytest.raises(Refused, match="another data set"):
        await store(intake, octets[:start] + bytes(8) + octets[start + 8 :])

    assert await only(intake) == first.instance


@by(CorrectionPolicy.REPLACE)
async def test_a_correction_that_is_taken_back_ends_where_it_began(intake):
    first = await keep(intake, a_ct())
    await keep(intake, a_ct(StudyDescription="other"))

    await keep(intake, a_ct())

    assert (await only(intake)).sha256 == first.instance.sha256
    assert len(intake.kept) == 2


@by(CorrectionPolicy.REPLACE)
@pytest.mark.parametrize(
    "changes",
    [
        {"PatientID": "P2"},
        {"StudyInstanceUID": "2.25.99"},
        {"SeriesInstanceUID": "2.25.98"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
    ],
)
async def test_what_is_of_another_patient_or_place_replaces_nothing(intake, changes):
    first = await keep(intake, a_ct())

    with pytest.raises(Refused, match="under this SOP Instance UID"):
        await keep(intake, a_ct(**changes))

    assert await only(intake) == first.instance
    assert len(intake.kept) == 1


@by(CorrectionPolicy.REPLACE)
async def test_a_rejection_note_is_not_replaced(intake):
    await keep(intake, a_rejection_note())

    with pytest.raises(Refused, match="key objects are not replaced"):
        await keep(intake, a_rejection_note("113037"))


@by(CorrectionPolicy.REPLACE)
async def test_of_many_corrections_at_once_one_is_the_instance_and_none_is_lost(intake):
    await keep(intake, a_ct())

    await asyncio.gather(*(keep(intake, a_ct(StudyDescription=f"number {n}")) for n in range(6)))

    await only(intake)
    assert len(intake.kept) == 7


@by(CorrectionPolicy.REPLACE)
async def test_what_is_kept_beside_is_no_file_without_a_row_and_is_backed_up_and_scrubbed(intake):
    await keep(intake, a_ct())
    await keep(intake, a_ct(StudyDescription="other"))

    assert await adopt(intake.store, intake.trail.record, node="XDSI") == 0

    assert len(intake.kept) == 2
    digests = {path.stem for path in intake.kept}
    assert {sha256 async for sha256, _ in _files(intake.database)} == digests
    walk = scrub(intake.database, intake.store.files, intake.trail)
    assert {sha256 async for sha256, _, _ in walk} == digests


@by(CorrectionPolicy.REPLACE)
async def test_an_adopted_file_replaces_nothing(intake):
    first = await keep(intake, a_ct())
    spooled = intake.spooled(part10(a_ct(StudyDescription="of an older day")))
    intake.store.files.place(spooled)
    spooled.path.unlink()

    await adopt(intake.store, intake.trail.record, node="XDSI")

    assert await only(intake) == first.instance
    assert len(intake.kept) == 2

"""From one transfer syntax to another: the same pixels, the same identity, everything else untouched."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate

from imaging_source.store.transcode import transcode
from shared.dicom.part10 import scan
from shared.dicom.uids import (
    DEFLATED_LE,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE,
)
from tests.support.dicom import (
    VARIANTS,
    a_color_image,
    a_ct,
    a_multi_frame,
    an_sr,
    needs_studies,
    part10,
    real_files,
    with_pixels,
)

TARGETS = [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE, JPEG_LS_LOSSLESS, RLE]


@pytest.fixture
def transcoded(tmp_path):
    def run(octets: bytes, to: str) -> bytes:
        source, target = tmp_path / "source.dcm", tmp_path / "target.part"
        source.write_bytes(octets)
        try:
            transcode(source, target, to)
            assert {path.name for path in tmp_path.iterdir()} == {"source.dcm", "target.part"}
            return target.read_bytes()
        finally:
            target.unlink(missing_ok=True)

    return run


def read(octets: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(octets))


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize("stored", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE, JPEG_LS_LOSSLESS, RLE])
def test_pixels_and_identity_stay(transcoded, stored, to):
    found = read(transcoded(part10(a_multi_frame(3), stored), to))

    assert found.file_meta.TransferSyntaxUID == to
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == "2.25.13"
    assert np.array_equal(found.pixel_array, np.arange(768).reshape(3, 16, 16))
    assert found.NumberOfFrames == 3


@pytest.mark.parametrize("stored", [RLE, JPEG_LS_LOSSLESS])
def test_color_comes_back_pixel_by_pixel(transcoded, stored):
    octets = part10(a_color_image(), stored)

    found = read(transcoded(octets, EXPLICIT_LE))

    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("RGB", 0)
    assert found.PixelData == a_color_image().PixelData


@pytest.mark.parametrize("to", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE])
def test_an_instance_without_pixels_keeps_every_element(transcoded, to):
    found = read(transcoded(part10(an_sr(), IMPLICIT_LE), to))

    assert found == an_sr()


def test_elements_beside_the_pixels_stay_also_behind_them(transcoded):
    data_set = a_multi_frame(2, LossyImageCompression="01", LossyImageCompressionRatio=10)
    data_set.add_new(0x00091001, "LO", "private")
    data_set.add_new(0xFFFCFFFC, "OB", b"\0\0")

    found = read(transcoded(part10(data_set, RLE), EXPLICIT_LE))

    assert found == read(part10(data_set_without_compression(data_set)))


def data_set_without_compression(data_set: pydicom.Dataset) -> pydicom.Dataset:
    with_pixels(data_set, np.arange(512, dtype=np.uint16).reshape(2, 16, 16))
    return data_set


def test_an_odd_number_of_pixel_bytes_is_padded(transcoded):
    data_set = a_ct()
    with_pixels(data_set, np.arange(441, dtype=np.uint16).astype(np.uint8).reshape(1, 21, 21))

    found = read(transcoded(part10(data_set, RLE), EXPLICIT_LE))

    assert len(found.PixelData) == 442
    assert found["PixelData"].VR == "OB"


def test_uncompressed_pixels_in_fragments_become_a_plain_value(transcoded):
    data_set = a_multi_frame(3)
    native = data_set.PixelData
    data_set.PixelData = encapsulate([native[at : at + 512] for at in range(0, 1536, 512)])
    data_set["PixelData"].VR = "OB"

    found = read(transcoded(part10(data_set, ENCAPSULATED_UNCOMPRESSED, compress=False), EXPLICIT_LE))

    assert found.PixelData == native


def compressed(syntax: str) -> bytes:
    """A file in `syntax`; our encoder of JPEG 2000 takes no image as small as the synthetic ones."""
    if syntax == JPEG_2000_LOSSLESS:
        return real_files(VARIANTS / syntax)[0].read_bytes()
    return part10(a_multi_frame(2), syntax)


@needs_studies
@pytest.mark.parametrize("syntax", [RLE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_damaged_pixels_are_an_error(transcoded, syntax):
    octets = bytearray(compressed(syntax))
    pixels = octets.index(b"\xe0\x7f\x10\x00")
    octets[pixels + 40 : pixels + 120] = b"\xff" * 80

    with pytest.raises(ValueError, match="pixels"):
        transcoded(bytes(octets), EXPLICIT_LE)


def test_fewer_frames_than_announced_are_an_error(transcoded):
    data_set = a_multi_frame(3)
    part10(data_set, RLE)
    data_set.NumberOfFrames = 5

    with pytest.raises(ValueError, match="pixels"):
        transcoded(part10(data_set, RLE, compress=False), EXPLICIT_LE)


@needs_studies
@pytest.mark.parametrize("syntax", [JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_real_compressed_images_have_the_pixels_of_their_uncompressed_twins(transcoded, syntax):
    plain = {path.stem: path for path in real_files(VARIANTS / EXPLICIT_LE)}
    for path in real_files(VARIANTS / syntax)[:4]:
        found = read(transcoded(path.read_bytes(), EXPLICIT_LE))
        assert found.PixelData == pydicom.dcmread(plain[path.stem]).PixelData


@needs_studies
def test_what_is_transcoded_is_part_10_to_our_own_scanner(transcoded, tmp_path):
    result = tmp_path / "result"
    path = real_files(VARIANTS / JPEG_LS_LOSSLESS)[0]
    octets = transcoded(path.read_bytes(), EXPLICIT_LE)
    result.write_bytes(octets)

    assert scan(result).transfer_syntax_uid == EXPLICIT_LE

"""From one transfer syntax to another: the same pixels, the same identity, everything else untouched."""

from __future__ import annotations

import importlib.util
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pydicom.misc
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from shared.dicom.part10 import scan
from shared.dicom.uids import (
    DEFLATED_FRAMES,
    DEFLATED_LE,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE,
)
from shared.imaging.transcode import transcode
from tests.support.dicom import (
    a_color_image,
    a_ct,
    a_multi_frame,
    an_sr,
    by_plane,
    part10,
    with_pixels,
)
from tests.support.faulty_files import TOLERATED, a_data_set, a_file, data_set_of, element
from tests.support.made_studies import Studies, a_slice, studies

__all__ = ["studies"]


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


@pytest.mark.parametrize("to", TARGETS)
def test_color_that_is_plane_by_plane_is_the_same_picture(transcoded, to):
    found = read(transcoded(part10(by_plane(a_color_image())), to))

    assert np.array_equal(found.pixel_array, (np.arange(864) % 256).reshape(16, 18, 3))


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


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_damaged_pixels_are_an_error(transcoded, syntax):
    octets = bytearray(part10(a_slice("2.25.11", 1), syntax))
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


@pytest.mark.parametrize("syntax", [JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
def test_compressed_images_have_the_pixels_of_their_uncompressed_twins(transcoded, syntax, studies: Studies):
    for path in studies.variant(syntax)[:4]:
        found = read(transcoded(path.read_bytes(), EXPLICIT_LE))
        assert found.PixelData == pydicom.dcmread(studies.plain_twin(path)).PixelData


def test_what_is_transcoded_is_part_10_to_our_own_scanner(transcoded, tmp_path, studies: Studies):
    result = tmp_path / "result"
    path = studies.variant(JPEG_LS_LOSSLESS)[0]
    octets = transcoded(path.read_bytes(), EXPLICIT_LE)
    result.write_bytes(octets)

    assert scan(result).transfer_syntax_uid == EXPLICIT_LE


# --- JPEG, and frames that are deflated ----------------------------------------------------------------


def test_lossless_jpeg_has_every_pixel_of_the_same_image_without_compression(transcoded, studies: Studies):
    files = studies.variant(JPEG_LOSSLESS_SV1)
    for path in files[::4]:
        plain = studies.plain_twin(path)

        found = read(transcoded(path.read_bytes(), EXPLICIT_LE))

        assert found.PixelData == pydicom.dcmread(plain).PixelData
    assert files


def jpegs(syntax: str) -> list[Path]:
    """Files of pydicom's own tests in this syntax."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    return [
        path for path in sorted(folder.glob("*.dcm")) if pydicom.misc.is_dicom(path) and _is_in(path, syntax)
    ]


def _is_in(path: Path, syntax: str) -> bool:
    read_file = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    return read_file.get("Rows") and read_file.file_meta.get("TransferSyntaxUID") == syntax


@pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="Pillow is not installed")
def test_baseline_jpeg_is_decoded_as_pydicom_decodes_it_with_its_own_plugin(transcoded):
    files = [path for path in jpegs(JPEG_BASELINE) if not scan(path).tolerated]
    for path in files:
        reference = pydicom.dcmread(path)
        decoded = next(
            get_decoder(JPEG_BASELINE).iter_array(reference, as_rgb=True, decoding_plugin="pillow")
        )[0]

        found = read(transcoded(path.read_bytes(), EXPLICIT_LE))

        first = found.pixel_array.reshape(-1, *decoded.shape)[0]
        assert np.array_equal(first, decoded), path.name
        assert found.PhotometricInterpretation in ("RGB", "MONOCHROME2")
    assert files


def test_extended_jpeg_of_12_bits_is_decoded(transcoded):
    for path in jpegs(JPEG_EXTENDED):
        found = read(transcoded(path.read_bytes(), EXPLICIT_LE))

        assert (found.pixel_array.shape, found.pixel_array.dtype) == ((1024, 256), np.dtype("u2"))
        assert 0 < found.pixel_array.max() < 4096


def deflated_frame(octets: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(octets) + deflater.flush()


def test_frames_that_are_deflated_each_by_itself_come_back(transcoded):
    data_set = a_multi_frame(3)
    native = data_set.PixelData
    plain = data_set_of(part10(data_set))
    frames = [deflated_frame(native[at : at + 512]) for at in range(0, 1536, 512)]
    pixels = element(0x7FE00010, "OB", encapsulate(frames, has_bot=False), 0xFFFFFFFF)
    octets = a_file(
        plain[: plain.index(b"\xe0\x7f\x10\x00")] + pixels + bytes.fromhex("feffdde000000000"),
        syntax=DEFLATED_FRAMES,
    )

    assert read(transcoded(octets, EXPLICIT_LE)).PixelData == native
    with pytest.raises(ValueError, match="pixels"):
        transcoded(octets.replace(frames[0][:20], b"\xff" * 20), EXPLICIT_LE)


# --- what is made is read before it is given -----------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        element(0x00120064, "LO", b"DEIDENTIFIED"),
        element(0x00080060, "SQ", b""),
        element(0x00280106, "DS", b"12"),
        element(0x00189073, "US", b"\1\0"),
        element(
            0x00081140, "SQ", bytes.fromhex("feff00e014000000") + element(0x00120064, "LO", b"DEIDENTIFIED")
        ),
    ],
)
def test_a_vr_of_another_kind_than_the_dictionary_has_is_never_told_without_vr(transcoded, wrong):
    data_set = a_data_set(Modality="CT")
    at = data_set.index(b"\x20\x00\x0d\x00UI")
    octets = a_file(
        data_set.replace(element(0x00080060, "CS", b"CT"), b"")[: at - 10] + wrong + data_set[at:]
    )

    with pytest.raises(ValueError, match="which Implicit VR cannot tell"):
        transcoded(octets, IMPLICIT_LE)


@pytest.mark.parametrize("fault", TOLERATED, ids=str)
@pytest.mark.parametrize("to", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE, RLE])
def test_what_is_tolerated_is_transcoded_whole_or_not_at_all(transcoded, fault, to):
    data_set = a_data_set()
    octets = a_file(fault.applied(data_set))

    try:
        made = transcoded(octets, to)
    except ValueError:
        return
    assert list(read(made).iterall())
    assert read(made).StudyInstanceUID == "2.25.11"


def test_pixels_in_fragments_of_no_compression_are_not_guessed(transcoded):
    data_set = a_data_set()
    pixels = element(
        0x7FE00010, "OB", bytes.fromhex("feff00e000000000feff00e004000000") + b"ABCD", 0xFFFFFFFF
    )
    octets = a_file(
        data_set[: data_set.index(b"\xe0\x7f\x10\x00")] + pixels + bytes.fromhex("feffdde000000000")
    )

    with pytest.raises(ValueError, match="a compression that nobody names"):
        transcoded(octets, IMPLICIT_LE)

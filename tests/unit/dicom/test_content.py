"""Sameness by content: every encoding of a data set has one digest, and no other data set has it."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from shared.dicom.content import content_digest
from shared.dicom.part10 import scan
from shared.dicom.uids import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, RLE
from tests.support.dicom import a_color_image, a_ct, a_multi_frame, an_sr, part10
from tests.support.faulty_files import a_data_set, a_file, data_set_of, element

ENCODINGS = [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE]


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    path = tmp_path_factory.mktemp("content") / "file"

    def of(octets: bytes) -> bytes:
        path.write_bytes(octets)
        return content_digest(scan(path))

    return of


def a_report(**changes) -> Dataset:
    """With nested items, private elements and numbers of every width."""
    data_set = an_sr(**changes)
    data_set.add_new(0x00091001, "UN", b"\x01\x02\x03\x04")
    data_set.add_new(0x00090010, "LO", "SOMEBODY")
    data_set.add_new(0x00189073, "FD", [1.5, -2.25])
    data_set.add_new(0x00280106, "US", 7)
    data_set.add_new(0x00082112, "SQ", [Dataset(), Dataset()])
    data_set[0x00082112].value[1].add_new(0x00081155, "UI", "2.25.7")
    data_set.add_new(0x00420011, "OB", bytes(range(256)) * 10)
    return data_set


def in_syntax(data_set: Dataset, syntax: str) -> bytes:
    """The file of a data set; pydicom leaves it to the caller to swap pixels of 16 bits."""
    if syntax == EXPLICIT_BE and data_set.get("BitsAllocated") == 16:
        data_set.PixelData = np.frombuffer(data_set.PixelData, "<u2").byteswap().tobytes()
    return part10(data_set, syntax)


@pytest.mark.parametrize("made", [a_ct, a_report, a_multi_frame])
def test_every_encoding_of_a_data_set_is_one_content(digest, made):
    assert len({digest(in_syntax(made(), syntax)) for syntax in ENCODINGS}) == 1


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "StudyDescription"])
def test_another_value_is_another_content(digest, syntax, keyword):
    assert digest(part10(a_report(**{keyword: "2.25.1"}), syntax)) != digest(part10(a_report(), syntax))


def test_one_changed_pixel_is_another_content(digest):
    octets = part10(a_ct())

    assert digest(octets[:-1] + b"\x7f") != digest(octets)


def test_group_lengths_padding_and_item_lengths_are_of_the_encoding(digest):
    plain = a_data_set()
    inner = element(0x00081155, "UI", b"2.25.9")
    ends = bytes.fromhex("feff0de000000000"), bytes.fromhex("feffdde000000000")
    with_items = [
        element(0x00081140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner),
        element(0x00081140, "SQ", bytes.fromhex("feff00e0ffffffff") + inner + ends[0], 0xFFFFFFFF) + ends[1],
    ]
    mark = b"\x10\x00\x10\x00PN"
    one, other = (a_file(plain.replace(mark, items + mark)) for items in with_items)

    assert digest(one) == digest(other) != digest(a_file(plain))
    assert digest(a_file(element(0x00080000, "UL", b"\x10\x02\0\0") + plain)) == digest(a_file(plain))
    assert digest(a_file(plain + bytes(8))) == digest(a_file(plain))
    assert digest(a_file(plain.replace(b"\x02\x00CT", b"\x04\x00CT  "))) == digest(a_file(plain))


def test_a_private_sequence_copied_as_un_is_the_sequence_that_it_was(digest):
    inner = struct.pack("<HHI", 0x0009, 0x1002, 4) + b"ABCD"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    explicit = struct.pack("<HH2sH", 0x0009, 0x1002, b"LO", 4) + b"ABCD"
    as_sequence = element(0x00091001, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(explicit)) + explicit)
    as_unknown = element(0x00091001, "UN", item)
    mark = b"\x10\x00\x10\x00PN"

    one, other = (
        digest(a_file(a_data_set().replace(mark, private + mark))) for private in (as_sequence, as_unknown)
    )

    assert one == other


def test_deflated_anew_is_the_same_content(digest):
    plain = a_data_set()
    files = []
    for level in (1, 9):
        deflater = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
        files.append(a_file(deflater.compress(plain) + deflater.flush(), syntax=DEFLATED_LE))

    assert files[0] != files[1]
    assert digest(files[0]) == digest(files[1]) == digest(a_file(plain))


def test_how_compressed_pixels_are_cut_is_of_the_encoding(digest):
    data_set = a_multi_frame(3)
    whole = part10(data_set, RLE)
    frames = list(generate_frames(data_set.PixelData, number_of_frames=3))
    data_set.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=False)

    assert digest(part10(data_set, RLE, compress=False)) == digest(whole)
    assert digest(part10(a_multi_frame(3))) != digest(whole)


texts = st.text(st.characters(codec="ascii", exclude_characters="\\\0"), max_size=20).map(str.strip)


@given(
    values=st.lists(
        st.tuples(st.sampled_from([0x00081030, 0x00104000, 0x00400254, 0x00321060]), texts), max_size=4
    ),
    words=st.lists(st.integers(0, 65535), min_size=1, max_size=5),
    depth=st.integers(0, 3),
)
def test_any_data_set_is_one_content_in_every_encoding(digest, values, words, depth):
    data_set = a_color_image()
    for tag, value in values:
        data_set.add_new(tag, pydicom.datadict.dictionary_VR(tag), value)
    inner = Dataset()
    inner.add_new(0x00280106, "US", words)
    for _ in range(depth):
        outer = Dataset()
        outer.add_new(0x00082112, "SQ", [inner, Dataset()])
        inner = outer
    data_set.add_new(0x00081140, "SQ", [inner])

    assert len({digest(part10(data_set, syntax)) for syntax in (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE)}) == 1


def test_and_pydicom_wrote_what_was_compared(digest):
    assert pydicom.dcmread(BytesIO(part10(a_report(), IMPLICIT_LE))).PatientID == "P1"
    assert data_set_of(part10(a_ct())) == a_data_set()

"""The bounded scanner: what it reads, what it refuses, and that nothing makes it do anything else."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from shared.dicom.content import content_digest
from shared.dicom.json import encode
from shared.dicom.part10 import (
    OUT_OF_RESOURCES,
    PIXEL_DATA,
    SYNTAX_NOT_SUPPORTED,
    BeyondLimit,
    Bulk,
    DicomError,
    Limits,
    LongSequence,
    file_meta,
    scan,
    uid_of,
)
from shared.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_LS_LOSSLESS,
    RLE,
    UNCOMPRESSED,
)
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.made_studies import Studies, studies

__all__ = ["studies"]


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def file_of(data_set: bytes, syntax: str = EXPLICIT_LE) -> bytes:
    head = file_meta(sop_class_uid="2.25.1", sop_instance_uid="2.25.2", transfer_syntax_uid=syntax)
    return head + data_set


@pytest.fixture
def scanned(tmp_path):
    def scan_bytes(octets: bytes, **limits: int):
        path = tmp_path / "file"
        path.write_bytes(octets)
        return scan(path, Limits(**limits)) if limits else scan(path)

    return scan_bytes


UNDEFINED_SEQUENCE = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("syntax", sorted(UNCOMPRESSED - {"1.2.840.10008.1.2.1.98"}))
def test_identifiers_are_read_in_every_uncompressed_transfer_syntax(scanned, syntax):
    found = scanned(part10(a_ct(), syntax))

    assert found.transfer_syntax_uid == syntax
    assert uid_of(found.data_set, 0x0020000D) == "2.25.11"
    assert found.big_endian == (syntax == EXPLICIT_BE)
    assert found.deflated == (syntax == DEFLATED_LE)


def test_pixels_stay_in_the_file_and_are_located_to_the_byte(scanned):
    octets = part10(a_ct())

    pixels = scanned(octets).data_set[PIXEL_DATA].value

    assert isinstance(pixels, Bulk)
    assert octets[pixels.offset : pixels.offset + pixels.length] == a_ct().PixelData


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS_LOSSLESS])
def test_fragments_are_located_without_their_item_heads(scanned, syntax):
    data_set = a_multi_frame(3)
    octets = part10(data_set, syntax)

    pixels = scanned(octets).data_set[PIXEL_DATA].value

    fragments = [octets[offset : offset + length] for offset, length in pixels.fragments]
    assert fragments == list(pydicom.encaps.generate_fragments(data_set.PixelData))[1:]


def test_the_data_set_begins_where_group_2_ends(scanned):
    octets = part10(a_ct())

    offset = scanned(octets).data_set_offset

    assert octets[offset : offset + 4] == struct.pack("<HH", 0x0008, 0x0005)


def test_sequences_of_undefined_and_of_defined_length_are_read_alike(scanned):
    inner = element(0x00081155, b"UI", b"2.25.9")
    undefined = UNDEFINED_SEQUENCE + ITEM + inner + ITEM_END + SEQUENCE_END
    defined = element(0x00081140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner)

    found = [scanned(file_of(octets)).data_set[0x00081140].value for octets in (undefined, defined)]

    assert found[0] == found[1]
    assert uid_of(found[0][0], 0x00081155) == "2.25.9"


def test_a_sequence_written_as_un_is_read_as_implicit_vr(scanned):
    item = struct.pack("<HHI", 0x0008, 0x1155, 6) + b"2.25.9"
    octets = (
        struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + ITEM + item + ITEM_END + SEQUENCE_END
    )

    (found,) = scanned(file_of(octets)).data_set[0x00091001].value

    assert uid_of(found, 0x00081155) == "2.25.9"


def test_a_sequence_without_items_has_none(scanned):
    assert scanned(file_of(element(0x00081140, b"SQ", b""))).data_set[0x00081140].value == ()


def test_every_file_of_other_makers_is_read_as_pydicom_reads_it(studies: Studies):
    for path in studies.files:
        found = scan(path)
        reference = pydicom.dcmread(path, stop_before_pixels=True)
        read = sorted(tag for tag in found.data_set if tag < PIXEL_DATA)
        assert read == sorted(int(tag) for tag in reference._dict)
        assert found.transfer_syntax_uid == reference.file_meta.TransferSyntaxUID


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "no DICM at byte 128"),
        (b"<!DOCTYPE html>" * 20, "no DICM at byte 128"),
        (bytes(128) + b"DICM", "no data set behind group 0002"),
        (bytes(128) + b"DICM" + element(0x00020002, b"UI", b"2.25.1"), "no data set behind group 0002"),
        (file_of(b"", "1.2.3.4"), "is not supported"),
        (file_of(b"\x08\x00"), "truncated"),
        (file_of(b"\x08\x00\x05\x00??\x09\x00"), "has no known VR"),
        (file_of(struct.pack("<HH2sH", 8, 5, b"CS", 500)), "claims 500 bytes, 0 are left"),
        (
            file_of(element(0x00080060, b"CS", b"CT") + element(0x00080060, b"CS", b"MR")),
            r"\(0008,0060\) appears twice, with two values",
        ),
        (file_of(ITEM), "out of place"),
        (file_of(UNDEFINED_SEQUENCE + ITEM + ITEM_END), "has no end"),
        (file_of(UNDEFINED_SEQUENCE + ITEM), "has no end"),
        (file_of(UNDEFINED_SEQUENCE + element(0x00081155, b"UI", b"2.25.9")), "where an item is due"),
        (file_of(element(0x00081140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 99))), "claims 99 bytes"),
        (file_of(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF), RLE), "truncated"),
        (
            file_of(struct.pack("<HH2sHIHHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 99), RLE),
            "break off",
        ),
        (file_of(b"no deflate", DEFLATED_LE), "cannot be inflated"),
    ],
)
def test_what_is_not_dicom_is_refused_by_what_is_wrong_with_it(scanned, octets, reason):
    with pytest.raises(DicomError, match=reason):
        scanned(octets)


def test_an_unknown_transfer_syntax_has_its_own_status(scanned):
    with pytest.raises(DicomError) as refused:
        scanned(file_of(b"", "1.2.3.4"))

    assert refused.value.status == SYNTAX_NOT_SUPPORTED


@pytest.mark.parametrize("uid", [b"1.2.x", b"../../etc", b"1" * 65, b"1.2 3"])
def test_a_malformed_uid_is_refused(scanned, uid):
    found = scanned(file_of(element(0x0020000D, b"UI", uid)))

    with pytest.raises(DicomError, match=r"\(0020,000D\) is not a UID"):
        uid_of(found.data_set, 0x0020000D)


def test_a_uid_may_be_padded_and_is_not_normalised(scanned):
    assert uid_of(scanned(file_of(element(0x0020000D, b"UI", b"1.02.3\0"))).data_set, 0x0020000D) == "1.02.3"


def test_every_truncation_of_a_file_is_refused_or_ends_between_two_elements(scanned):
    octets = part10(an_sr())
    whole = scanned(octets).data_set
    for length in range(132, len(octets)):
        try:
            found = scanned(octets[:length]).data_set
        except DicomError:
            continue
        assert all(whole[tag] == found[tag] for tag in found)


def nested(levels: int) -> bytes:
    return (UNDEFINED_SEQUENCE + ITEM) * levels + (ITEM_END + SEQUENCE_END) * levels


def test_nesting_is_bounded(scanned):
    scanned(file_of(nested(32)))

    with pytest.raises(DicomError, match="deeper than 32"):
        scanned(file_of(nested(33)))


def test_the_number_of_elements_is_bounded(scanned):
    octets = b"".join(element(0x00090000 + number, b"LO", b"") for number in range(1, 11))
    count = 6 + 1 + 10

    scanned(file_of(octets), elements=count)
    with pytest.raises(DicomError, match="more than 9 elements"):
        scanned(file_of(octets), elements=9)


def test_empty_items_count_as_elements(scanned):
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 5000

    with pytest.raises(DicomError, match="more than 4000 elements"):
        scanned(file_of(element(0x00081140, b"SQ", items)), elements=4000)


def test_what_is_kept_in_memory_is_bounded_and_what_is_beyond_is_out_of_resources(scanned):
    octets = b"".join(element(0x00090000 + number, b"LO", bytes(60)) for number in range(1, 21))

    with pytest.raises(BeyondLimit, match="more than 5000 bytes of values") as refused:
        scanned(file_of(octets), kept=5000)
    assert refused.value.status == OUT_OF_RESOURCES


def test_values_stay_in_the_file_before_memory_runs_out(scanned):
    octets = b"".join(element(0x00090000 + number, b"LO", bytes(1000)) for number in range(1, 11))

    found = scanned(file_of(octets), kept=10_000).data_set

    assert isinstance(found[0x0009000A].value, Bulk)


def test_long_values_stay_in_the_file(scanned):
    found = scanned(
        file_of(element(0x00420011, b"OB", bytes(5000)) + element(0x0040A160, b"UT", b"x" * 70_000))
    )

    assert found.data_set[0x00420011].value == Bulk(found.data_set_offset + 12, 5000)
    assert isinstance(found.data_set[0x0040A160].value, Bulk)


def as_json(found) -> bytes:
    return encode(found.data_set, "/".join, big_endian=found.big_endian)


@given(depth=st.integers(0, 3), items=st.integers(0, 3), syntax=st.sampled_from(sorted(UNCOMPRESSED)))
def test_sequences_that_stay_in_the_file_say_what_they_say_in_memory(depth, items, syntax, tmp_path_factory):
    data_set = an_sr()
    for _ in range(depth):
        outer = Dataset()
        outer.add_new(0x00082112, "SQ", [data_set] * items)
        outer.add_new(0x00100010, "PN", "Müller")
        data_set = outer
    top = an_sr()
    top.add_new(0x00082112, "SQ", [data_set] * items)
    path = tmp_path_factory.mktemp("long") / "file"
    path.write_bytes(part10(top, syntax))

    in_memory, in_file = scan(path), scan(path, Limits(sequence=0))

    assert as_json(in_file) == as_json(in_memory)
    assert content_digest(in_file) == content_digest(in_memory)
    assert isinstance(in_file.data_set[0x00082112].value, LongSequence) == (items > 0)


def test_and_in_every_file_of_other_makers(studies: Studies):
    for path in studies.files:
        assert as_json(scan(path, Limits(sequence=0))) == as_json(scan(path))


def deflated(octets: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(octets) + deflater.flush()


def test_inflation_is_bounded_in_size_and_not_in_ratio(scanned):
    sparse = file_of(deflated(element(0x00420011, b"OB", bytes(30_000_000))), DEFLATED_LE)

    assert len(sparse) < 40_000
    assert scanned(sparse).data_set[0x00420011].value.length == 30_000_000
    with pytest.raises(BeyondLimit, match="longer than 1000 bytes"):
        scanned(file_of(deflated(element(0x00420011, b"OB", bytes(2000))), DEFLATED_LE), inflated=1000)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("behind", [b"", b"\0", b"\0\0", b"behind the end" * 10_000])
@pytest.mark.parametrize("size", [10, 1024**2 - 12, 1024**2, 3 * 1024**2 + 8])
def test_what_follows_the_end_of_a_deflated_data_set_is_let_be(scanned, size, behind):
    octets = deflated(element(0x00420011, b"OB", bytes(size)))

    value = scanned(file_of(octets + behind, DEFLATED_LE)).data_set[0x00420011].value

    assert (value.length if isinstance(value, Bulk) else len(value)) == size


def test_a_deflated_data_set_without_end_is_truncated(scanned):
    octets = deflated(element(0x00420011, b"OB", bytes(range(256)) * 8))

    with pytest.raises(DicomError, match="truncated"):
        scanned(file_of(octets[:-4], DEFLATED_LE))


@given(data=st.data())
def test_no_damage_raises_anything_but_a_dicom_error(data, tmp_path_factory):
    octets = bytearray(part10(an_sr(), data.draw(st.sampled_from([EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE]))))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(128, len(octets) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(octets)

    with suppress(DicomError):
        scan(path)


def test_file_meta_is_what_pydicom_reads_back(tmp_path):
    path = tmp_path / "file"
    data_set = Dataset()
    data_set.PatientID = "P1"
    path.write_bytes(file_of(element(0x00100020, b"LO", b"P1")))

    found = pydicom.dcmread(path)

    assert found.file_meta.MediaStorageSOPInstanceUID == "2.25.2"
    assert found.file_meta.FileMetaInformationVersion == b"\0\1"
    assert found == data_set

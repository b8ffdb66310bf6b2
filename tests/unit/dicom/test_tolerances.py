"""What identifies itself is read: each tolerance by its fault, and what no tolerance excuses."""

from __future__ import annotations

import struct

import pytest

from imaging_source.domain.intake import Refused, identify, right_meta, tolerances
from shared.dicom.data_set import Tolerance
from shared.dicom.part10 import DicomError, file_meta, is_dicom, scan, uid_of
from shared.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from shared.imaging.description import Claim, describe
from tests.support.dicom import CT, a_ct, part10
from tests.support.faulty_files import (
    OTHER_ENCODINGS,
    REFUSED,
    TOLERATED,
    Fault,
    a_data_set,
    a_file,
    data_set_of,
    element,
    implicit,
)


@pytest.fixture
def tolerated(tmp_path):
    """What is tolerated of a file that is taken in; `Refused` or `DicomError` when it is not."""

    def intake(octets: bytes):
        path = tmp_path / "file"
        path.write_bytes(octets)
        part10 = scan(path)
        described = describe(part10, identify(part10, Claim()), file="", size=0, sha256="", received_at=None)
        return described.tolerated, part10

    return intake


@pytest.mark.parametrize("fault", TOLERATED, ids=str)
def test_a_fault_in_the_data_set_is_tolerated_under_its_name(tolerated, fault: Fault):
    found, _ = tolerated(a_file(fault.applied(a_data_set())))

    assert next(iter(found)) == fault.tolerance


@pytest.mark.parametrize("fault", TOLERATED, ids=str)
def test_what_is_tolerated_takes_nothing_else_with_it(tolerated, fault: Fault):
    _, whole = tolerated(a_file(a_data_set()))
    _, found = tolerated(a_file(fault.applied(a_data_set())))

    for tag, kept in whole.data_set.items():
        if tag not in (0x7FE00010, 0x00080005, 0x00100010):
            assert found.data_set[tag] == kept


@pytest.mark.parametrize("fault", REFUSED, ids=str)
def test_what_does_not_identify_itself_or_is_cut_off_is_refused(tolerated, fault: Fault):
    with pytest.raises((DicomError, Refused)):
        tolerated(a_file(fault.applied(a_data_set())))


def test_a_good_file_needs_no_tolerance(tolerated):
    for syntax in (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE):
        assert not tolerated(part10(a_ct(), syntax))[0]


@pytest.mark.parametrize(("declared", "true"), OTHER_ENCODINGS)
def test_a_data_set_in_another_encoding_than_declared_is_read_as_it_is(tolerated, declared, true):
    found, part10_file = tolerated(a_file(a_data_set(syntax=true), syntax=declared))

    assert list(found) == [Tolerance.OTHER_SYNTAX]
    assert part10_file.transfer_syntax_uid == true
    assert uid_of(part10_file.data_set, 0x0020000D) == "2.25.11"


# --- around the data set -------------------------------------------------------------------------------


def meta(*elements: bytes) -> bytes:
    return bytes(128) + b"DICM" + b"".join(elements)


UIDS = element(0x00020002, "UI", CT.encode() + b"\0") + element(0x00020003, "UI", b"2.25.13\0")
SYNTAX = element(0x00020010, "UI", EXPLICIT_LE.encode() + b"\0")

AROUND = {
    "no preamble": (lambda data_set: a_file(data_set)[132:], {Tolerance.NO_PREAMBLE}),
    "the prefix first": (lambda data_set: a_file(data_set)[128:], {Tolerance.NO_PREAMBLE}),
    "a bare data set": (lambda data_set: data_set, {Tolerance.NO_PREAMBLE, Tolerance.NO_META}),
    "no group 0002": (lambda data_set: meta() + data_set, {Tolerance.NO_META}),
    "no transfer syntax": (lambda data_set: meta(UIDS) + data_set, {Tolerance.NO_META}),
    "another instance": (
        lambda data_set: meta(UIDS.replace(b"2.25.13", b"2.25.99"), SYNTAX) + data_set,
        {Tolerance.META_DIFFERS},
    ),
    "another class": (
        lambda data_set: (
            meta(UIDS.replace(CT.encode() + b"\0", b"1.2.840.10008.5.1.4.1.1.7\0"), SYNTAX) + data_set
        ),
        {Tolerance.META_DIFFERS},
    ),
    "no UID": (
        lambda data_set: meta(UIDS.replace(b"2.25.13\0", b"unknown\0"), SYNTAX) + data_set,
        {Tolerance.META_DIFFERS},
    ),
    "group 0002 twice": (lambda data_set: meta(UIDS, SYNTAX, SYNTAX) + data_set, {Tolerance.META_REPEATED}),
    "group 0002 without VR": (
        lambda data_set: (
            meta(implicit(0x00020003, b"2.25.13\0"), implicit(0x00020010, EXPLICIT_LE.encode() + b"\0"))
            + data_set
        ),
        {Tolerance.NO_VR},
    ),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys())
def test_what_stands_before_the_data_set_is_put_right(tmp_path, tolerated, around):
    made, expected = around

    _, part10_file = tolerated(made(a_data_set()))

    identity = identify(part10_file, Claim())
    assert set(tolerances(part10_file, identity)) == expected
    right = right_meta(part10_file, identity)
    if expected != {Tolerance.NO_VR}:
        assert right == file_meta(
            sop_class_uid=CT, sop_instance_uid="2.25.13", transfer_syntax_uid=EXPLICIT_LE
        )


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_a_bare_data_set_is_recognised_in_each_encoding(tmp_path, syntax):
    path = tmp_path / "bare"
    path.write_bytes(data_set_of(part10(a_ct(), syntax)))

    assert is_dicom(path)
    assert scan(path).transfer_syntax_uid == syntax


@pytest.mark.parametrize("octets", [b"", b"DIC", b"%PDF-1.7" * 100, b"\x89PNG\r\n" * 40, b"plain text " * 40])
def test_what_is_no_dicom_is_told_apart(tmp_path, octets):
    path = tmp_path / "other"
    path.write_bytes(octets)

    assert not is_dicom(path)
    with pytest.raises(DicomError, match="not a DICOM file"):
        scan(path)


def test_compressed_pixels_without_transfer_syntax_are_refused(tolerated):
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + bytes.fromhex("feffdde000000000")
    data_set = a_data_set()
    at = data_set.index(b"\xe0\x7f\x10\x00")

    with pytest.raises(DicomError, match="no Transfer Syntax UID"):
        tolerated(meta(UIDS) + data_set[:at] + pixels)

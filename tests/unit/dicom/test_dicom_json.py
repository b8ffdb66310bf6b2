"""DICOM JSON: what annex F of PS3.18 says, and pydicom as a second opinion."""

from __future__ import annotations

import json
import struct

import pydicom
import pytest
from pydicom.dataset import Dataset

from shared.dicom.json import encode, items, number, text, texts, values, with_base
from shared.dicom.part10 import Bulk, DataElement, scan
from shared.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.support.dicom import a_ct, an_sr, part10
from tests.support.made_studies import Studies, studies

__all__ = ["studies"]


def bulk_uri(path):
    return "bulk/" + "/".join(path)


def one(vr: str, value, **options):
    """The JSON of one element of the tag (0040,A121)."""
    encoded = json.loads(encode({0x0040A121: DataElement(0x0040A121, vr, value)}, bulk_uri, **options))
    return encoded["0040A121"]


@pytest.fixture
def as_json(tmp_path):
    def encode_file(data_set: Dataset, syntax: str = EXPLICIT_LE):
        path = tmp_path / "file"
        path.write_bytes(part10(data_set, syntax))
        found = scan(path)
        return json.loads(encode(found.data_set, bulk_uri, big_endian=found.big_endian))

    return encode_file


@pytest.mark.parametrize(
    ("vr", "octets", "expected"),
    [
        ("CS", b"CT\\ MR ", ["CT", "MR"]),
        ("LO", b"a\\\\b ", ["a", None, "b"]),
        ("UI", b"1.2.3\0", ["1.2.3"]),
        ("DS", b"1.50\\-2e3\\ 007\\x", [1.5, -2000.0, 7.0, "x"]),
        ("IS", b"12\\+3", [12, 3.0]),
        ("DS", b"nan\\inf", ["nan", "inf"]),
        ("US", struct.pack("<2H", 1, 65535), [1, 65535]),
        ("FL", struct.pack("<3f", 0.5, float("inf"), float("nan")), [0.5, "Infinity", "NaN"]),
        ("AT", struct.pack("<4H", 0x0010, 0x0020, 0x7FE0, 0x0010), ["00100020", "7FE00010"]),
        (
            "PN",
            b"Doe^Jane=\xb3\xd8=x\\",
            [{"Alphabetic": "Doe^Jane", "Ideographic": "³Ø", "Phonetic": "x"}, None],
        ),
        ("LT", b"line\\one ", ["line\\one"]),
    ],
)
def test_values_are_written_as_their_vr_asks(vr, octets, expected):
    assert one(vr, octets) == {"vr": vr, "Value": expected}


@pytest.mark.parametrize("vr", ["LO", "OB", "US", "DS"])
def test_an_empty_value_has_neither_value_nor_binary(vr):
    assert one(vr, b"") == {"vr": vr}


def test_a_value_of_blanks_is_empty():
    assert one("LO", b"  ") == {"vr": "LO"}


def test_short_binary_values_are_inline_and_little_endian():
    assert one("OW", b"\1\2\3\4") == {"vr": "OW", "InlineBinary": "AQIDBA=="}
    assert one("OW", b"\1\2\3\4", big_endian=True) == {"vr": "OW", "InlineBinary": "AgEEAw=="}


def test_what_stayed_in_the_file_is_a_uri_of_its_path():
    nested = {0x00420011: DataElement(0x00420011, "OB", Bulk(1000, 5000))}

    encoded = one("SQ", ({}, nested))

    assert encoded["Value"][1]["00420011"] == {"vr": "OB", "BulkDataURI": "bulk/0040A121/1/00420011"}


def test_members_ascend_by_tag_at_every_level():
    elements = {tag: DataElement(tag, "LO", b"x") for tag in (0x00200010, 0x00080050, 0x00100020)}
    encoded = json.loads(
        encode({**elements, 0x00081140: DataElement(0x00081140, "SQ", (elements,))}, bulk_uri)
    )

    assert list(encoded) == sorted(encoded)
    assert list(encoded["00081140"]["Value"][0]) == sorted(encoded["00081140"]["Value"][0])


def test_group_lengths_and_group_2_are_left_out():
    elements = {tag: DataElement(tag, "UL", b"\0\0\0\0") for tag in (0x00020000, 0x00080000, 0x00100000)}

    assert encode(elements, bulk_uri) == b"{}"


@pytest.mark.parametrize(
    ("character_set", "octets", "name"),
    [
        (b"ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        (b"ISO_IR 192", "Müller".encode(), "Müller"),
        (b"GB18030", "王小东".encode("gb18030"), "王小东"),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
        (b"no such set", "Müller".encode("latin-1"), "Müller"),
        (b"", "Müller".encode("latin-1"), "Müller"),
    ],
)
def test_text_is_read_in_the_character_set_of_its_data_set(character_set, octets, name):
    data_set = {
        0x00080005: DataElement(0x00080005, "CS", character_set),
        0x00100010: DataElement(0x00100010, "PN", octets),
    }

    (value,) = json.loads(encode(data_set, bulk_uri))["00100010"]["Value"]

    assert name in value.values()


def test_items_have_the_character_set_of_what_holds_them_unless_they_say_otherwise():
    inherits = {0x00080104: DataElement(0x00080104, "LO", "ü".encode())}
    says = {
        0x00080005: DataElement(0x00080005, "CS", b"ISO_IR 100"),
        0x00080104: DataElement(0x00080104, "LO", "ü".encode("latin-1")),
    }
    data_set = {
        0x00080005: DataElement(0x00080005, "CS", b"ISO_IR 192"),
        0x00081032: DataElement(0x00081032, "SQ", (inherits, says)),
    }

    encoded = json.loads(encode(data_set, bulk_uri))

    assert [text(item, 0x00080104) for item in items(encoded, 0x00081032)] == ["ü", "ü"]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
def test_the_encoding_of_the_file_does_not_show(as_json, syntax):
    assert as_json(an_sr(), syntax) == as_json(an_sr())


def test_only_the_tags_asked_for_are_written(as_json):
    data_set = {tag: DataElement(tag, "LO", b"x") for tag in (0x00100010, 0x00100020)}

    assert list(json.loads(encode(data_set, bulk_uri, only={0x00100020}))) == ["00100020"]


def test_uris_become_absolute_and_text_that_looks_like_one_does_not():
    look_alike = DataElement(0x00081030, "LO", b'"BulkDataURI":"x')
    bulk = DataElement(0x7FE00010, "OW", Bulk(0, 0))
    metadata = encode({0x00081030: look_alike, 0x7FE00010: bulk}, bulk_uri)

    complete = json.loads(with_base(metadata, "https://pacs.example.org/dicomweb"))

    assert complete["7FE00010"]["BulkDataURI"] == "https://pacs.example.org/dicomweb/bulk/7FE00010"
    assert text(complete, 0x00081030) == '"BulkDataURI":"x'


def test_every_file_of_other_makers_reads_as_pydicom_writes_it(studies: Studies):
    for path in studies.files:
        encoded = json.loads(encode(scan(path).data_set, bulk_uri))
        reference = pydicom.dcmread(path).to_json_dict(
            bulk_data_threshold=1025, bulk_data_element_handler=lambda element: "elsewhere"
        )
        assert difference(encoded, reference) == []


def difference(encoded: dict, reference: dict) -> list:
    """Tags whose values differ; private elements that pydicom knows better than the file are left out."""
    found = []
    for tag in encoded.keys() | {tag for tag in reference if tag[4:] != "0000"}:
        ours, theirs = encoded.get(tag, {}), reference.get(tag, {})
        if ours.get("vr") == "UN" or "BulkDataURI" in ours:
            continue
        if ours.get("vr") == "SQ":
            pairs = zip(ours.get("Value", ()), theirs.get("Value", ()), strict=True)
            found += [found for pair in pairs for found in difference(*pair)]
        elif ours.get("Value", []) != theirs.get("Value", []):
            found.append(tag)
    return found


# --- reading -----------------------------------------------------------------------------------------


def test_values_are_read_back_as_dicom_spells_them(as_json):
    attributes = as_json(a_ct())

    assert text(attributes, 0x00100010) == "Müller^Jürgen"
    assert number(attributes, 0x00200011) == 3
    assert texts(attributes, 0x00080060) == ["CT"]
    assert values(attributes, 0x00101010) == []
    assert text(attributes, 0x00101010) == ""


@pytest.mark.parametrize(
    ("octets", "expected"), [(b"7", 7), (b"7.0", 7), (b"7.5", None), (b"x", None), (b"", None)]
)
def test_a_number_is_whole_or_nothing(octets, expected):
    attributes = json.loads(encode({0x00200013: DataElement(0x00200013, "IS", octets)}, bulk_uri))

    assert number(attributes, 0x00200013) == expected

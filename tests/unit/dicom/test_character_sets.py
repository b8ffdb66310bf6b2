"""Text is read whatever its Specific Character Set is spelled like, and what may be misread is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging_source.domain.header import study_header
from imaging_source.domain.intake import identify
from imaging_source.settings import ImagingSourceSettings
from shared.dicom.character_sets import UNDECLARED, decode, encoding_of, encodings_of
from shared.dicom.data_set import Tolerance
from shared.dicom.part10 import scan
from shared.imaging.description import Claim, describe
from shared.settings import SettingsError
from tests.support.faulty_files import a_data_set, a_file, element


@pytest.mark.parametrize(
    ("terms", "encoding"),
    [
        (
            ["ISO_IR 192", "ISO_IR 192 ", " iso_ir 192", "ISO IR 192", "ISO_IR_192", "ISO-IR-192", "UTF-8"],
            "utf_8",
        ),
        (["utf8", "ISO_IR192", "ISO 2022 IR 192"], "utf_8"),
        (["ISO_IR 100", "ISO 2022 IR 100", "ISO_8859-1", "ISO8859-1", "Latin1", "ISO_IR_100\0"], "latin_1"),
        (["ISO_IR 149", "ISO_IR_149", "ISO 2022 IR 149", "EUC-KR"], "euc_kr"),
        (["GB18030", "gb 18030"], "gb18030"),
        (["ISO_IR 13", "Shift_JIS"], "shift_jis"),
        (["windows-1252", "CP1252"], "cp1252"),
        (["", "ISO_IR 6", "ISO 2022 IR 6"], "ascii"),
        (["ISO_IR 999", "KLINGON", "192.168"], None),
    ],
)
def test_a_term_is_read_by_what_it_means(terms, encoding):
    assert {encoding_of(term) for term in terms} == {encoding}


KOREAN = "홍^길동"


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        (b"ISO_IR 192", "Müller".encode(), "Müller"),
        (b"ISO_IR 100", "Müller".encode("latin-1"), "Müller"),
        (b"ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        (
            b"\\ISO 2022 IR 149",
            b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "洪^吉洞=홍^길동",
        ),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf", KOREAN),
        (b"\\ISO 2022 IR 149", KOREAN.encode("euc_kr"), KOREAN),
        (b"ISO 2022 IR 149", KOREAN.encode("euc_kr"), KOREAN),
        (b"ISO_IR 149", KOREAN.encode("euc_kr"), KOREAN),
        (b"\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada=山田^太郎"),
        (b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J", "ﾔﾏﾀﾞ=山田"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A\xcd\xf5^\x1b$)A\xb6\xab", "王^东"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (
            b"ISO 2022 IR 100\\ISO 2022 IR 144",
            "Müller=".encode("latin-1") + b"\x1b-L" + "Люк".encode("iso8859_5"),
            "Müller=Люк",
        ),
    ],
)
def test_a_value_is_read_in_what_it_declares(declared, value, text):
    encodings, unknown = encodings_of(declared)

    assert unknown is None
    assert decode(value, encodings) == (text, None)


@pytest.mark.parametrize(
    ("encodings", "value", "text", "tolerance"),
    [
        (UNDECLARED, "Müller".encode(), "Müller", Tolerance.NO_CHARACTER_SET),
        (UNDECLARED, "Müller".encode("latin-1"), "Müller", Tolerance.NO_CHARACTER_SET),
        (UNDECLARED, b"Mueller", "Mueller", None),
        (("utf_8",), "Müller".encode("latin-1"), "M\ufffdller", Tolerance.UNREADABLE_TEXT),
        (("utf_8",), b"\x1b%Z", "\ufffd%Z", Tolerance.UNREADABLE_TEXT),
    ],
)
def test_what_may_be_misread_is_told(encodings, value, text, tolerance):
    assert decode(value, encodings) == (text, tolerance)


@given(value=st.binary(max_size=40), declared=st.binary(max_size=30))
def test_no_bytes_are_an_error(value, declared):
    decode(value, encodings_of(declared)[0])


@given(text=st.text(max_size=30))
def test_utf_8_comes_back(text):
    assert decode(text.replace("\x1b", "").encode(), ("utf_8",)) == (text.replace("\x1b", ""), None)


# --- from the file to the study ------------------------------------------------------------------------


def described(tmp_path, data_set: bytes, character_set=UNDECLARED):
    path = tmp_path / "file"
    path.write_bytes(a_file(data_set))
    found = scan(path)
    return describe(
        found,
        identify(found, Claim()),
        file="",
        size=0,
        sha256="",
        received_at=None,
        character_set=character_set,
    )


def without_character_set(name: bytes) -> bytes:
    undeclared = a_data_set().replace(element(0x00080005, "CS", b"ISO_IR 192"), b"")
    return undeclared.replace("Müller^Jürgen ".encode().strip(), name.ljust(15))


def test_a_site_says_what_instances_without_character_set_are_in(tmp_path):
    settings = ImagingSourceSettings.load(environ={}, data=tmp_path, default_character_set="ISO_IR 144")
    name = "Люк".encode("iso8859_5")

    guessed = described(tmp_path, without_character_set(name))
    known = described(tmp_path, without_character_set(name), settings.character_set)

    assert list(guessed.tolerated) == [Tolerance.NO_CHARACTER_SET]
    assert not known.tolerated
    assert json.loads(known.metadata)["00100010"]["Value"] == [{"Alphabetic": "Люк"}]
    with pytest.raises(SettingsError, match="DEFAULT_CHARACTER_SET"):
        ImagingSourceSettings.load(environ={}, data=tmp_path, default_character_set="KLINGON")


@pytest.mark.parametrize(
    ("data_set", "misread"),
    [
        (a_data_set(), False),
        (without_character_set(b"Mueller"), False),
        (without_character_set("Müller".encode()), True),
        (without_character_set("Müller".encode("latin-1")), True),
        (a_data_set().replace(b"ISO_IR 192", b"ISO_IR 999"), True),
        (a_data_set().replace("Jürgen".encode(), "Jürgen ".encode("latin-1")), True),
    ],
)
def test_a_study_knows_whether_its_text_may_be_misread(tmp_path, data_set, misread):
    header = json.loads(described(tmp_path, data_set).header)

    assert study_header("2.25.11", [header]).misread == misread

"""Keys and what they match (PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from fnmatch import translate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom.json import Attributes
from shared.imaging.query.matching import Match, WrongKey, key_of, match, without_value

NAME, PATIENT_ID, DATE, TIME = 0x00100010, 0x00100020, 0x00080020, 0x00080030
STUDY, MODALITIES, NUMBER = 0x0020000D, 0x00080061, 0x00200011
REQUEST, STEP, PROCEDURE = 0x00400275, 0x00400009, 0x00401001


def having(tag: int, *values: object, vr: str = "LO") -> Attributes:
    return {f"{tag:08X}": {"vr": vr, "Value": list(values)}}


def key(tag: int, text: str, **options: bool) -> Match:
    found = key_of((tag,), text, **options)
    assert found is not None
    return found


def named(alphabetic: str, **groups: str) -> Attributes:
    return having(NAME, {"Alphabetic": alphabetic, **groups}, vr="PN")


@pytest.mark.parametrize(
    ("tag", "text", "value", "is_met"),
    [
        (PATIENT_ID, "P1", "P1", True),
        (PATIENT_ID, "P1", "p1", False),
        (PATIENT_ID, "P1", "P12", False),
        (PATIENT_ID, "P?", "P1", True),
        (PATIENT_ID, "P?", "P12", False),
        (PATIENT_ID, "*1", "P1", True),
        (PATIENT_ID, "P.", "P1", False),
        (PATIENT_ID, "P1\\P2", "P2", True),
        (DATE, "20240305", "20240305", True),
        (DATE, "20240305", "2024.03.05", True),
        (DATE, "20240301-20240331", "20240305", True),
        (DATE, "20240305-20240305", "20240305", True),
        (DATE, "20240301-", "20240305", True),
        (DATE, "-20240301", "20240305", False),
        (DATE, "20240306-", "20240305", False),
        (DATE, "2024-03-05", "20240305", True),
        (TIME, "10", "103000", True),
        (TIME, "103000", "1030", True),
        (TIME, "1000-1030", "103059.5", True),
        (TIME, "1000-1029", "103059.5", False),
        (STUDY, "1.2,1.3", "1.3", True),
        (STUDY, "1.2\\1.3", "1.3", True),
        (STUDY, "1.2", "1.20", False),
        (NUMBER, "003", 3, True),
        (NUMBER, "3", 30, False),
    ],
)
def test_a_value_meets_a_key_or_not(tag, text, value, is_met):
    assert key(tag, text).meets(having(tag, value)) is is_met
    assert not key(tag, text).meets({})


@pytest.mark.parametrize(
    ("text", "name", "is_met"),
    [
        ("doe^jane", named("DOE^JANE"), True),
        ("Doe^Jane^^^", named("Doe^Jane"), True),
        ("Doe", named("Doe^Jane"), False),
        ("Doe*", named("Doe^Jane"), True),
        ("*jane*", named("Doe^Jane"), True),
        ("Muller*", named("Müller^Jürgen"), False),
        ("山田*", named("Yamada^Tarou", Ideographic="山田^太郎"), True),
        ("Yamada^Tarou=山田^太郎", named("Yamada^Tarou", Ideographic="山田^太郎"), True),
        ("Yamada^Tarou=山田^次郎", named("Yamada^Tarou", Ideographic="山田^太郎"), False),
    ],
)
def test_names_are_met_whatever_their_cases_in_any_group(text, name, is_met):
    assert key(NAME, text).meets(name) is is_met


@pytest.mark.parametrize(
    ("text", "is_met"), [("jürg mül", True), ("muller^jurgen", True), ("mul*", True), ("ull", False)]
)
def test_a_fuzzy_name_is_met_by_the_beginnings_of_its_words(text, is_met):
    assert key(NAME, text, fuzzy=True).meets(named("Müller^Jürgen")) is is_met


@pytest.mark.parametrize(("tag", "text"), [(PATIENT_ID, ""), (PATIENT_ID, "**"), (DATE, " "), (STUDY, "")])
def test_a_key_without_a_value_is_no_key(tag, text):
    assert key_of((tag,), text) is None


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (DATE, "yesterday"),
        (DATE, "2024"),
        (DATE, "-"),
        (DATE, "*"),
        (TIME, "25h"),
        (STUDY, "1.*"),
        (STUDY, "x"),
        (NUMBER, "three"),
        (REQUEST, "x"),
        (STUDY, ",".join(f"1.{number}" for number in range(501))),
    ],
)
def test_what_no_value_of_the_attribute_can_be_is_no_key(tag, text):
    with pytest.raises(WrongKey):
        key_of((tag,), text)


def test_one_of_several_values_suffices():
    assert key(MODALITIES, "CT").meets(having(MODALITIES, "MR", "CT", vr="CS"))
    assert key(MODALITIES, "CT,PT", several=True).meets(having(MODALITIES, "PT", vr="CS"))
    assert not key(MODALITIES, "CT,PT").meets(having(MODALITIES, "PT", vr="CS"))


def test_keys_of_one_sequence_are_met_by_one_item():
    def an_item(step: str, procedure: str) -> Attributes:
        return having(STEP, step, vr="SH") | having(PROCEDURE, procedure, vr="SH")

    keys = [key_of((REQUEST, STEP), "S1"), key_of((REQUEST, PROCEDURE), "R2")]
    apart = having(REQUEST, an_item("S1", "R1"), an_item("S2", "R2"), vr="SQ")
    together = having(REQUEST, an_item("S1", "R1"), an_item("S1", "R2"), vr="SQ")

    assert not match(apart, keys)
    assert match(together, keys)


def test_the_absence_of_a_value_is_a_key_of_its_own():
    assert without_value((PATIENT_ID,)).meets({"00100020": {"vr": "LO"}})
    assert without_value((PATIENT_ID,)).meets({})
    assert not without_value((PATIENT_ID,)).meets(having(PATIENT_ID, "P1"))


ALPHABET = st.text("ab*?", max_size=8)


@given(ALPHABET, st.text("ab", min_size=1, max_size=10))
def test_wildcards_mean_what_they_mean_in_a_shell(text, value):
    found = key_of((PATIENT_ID,), text)
    is_met = found is None or found.meets(having(PATIENT_ID, value))
    assert is_met is bool(re.match(translate(text or "*"), value))


def test_many_asterisks_take_no_longer_than_few():
    """By a matcher that tries every way of them this would not end."""
    assert not key(PATIENT_ID, "*a" * 32 + "b").meets(having(PATIENT_ID, "a" * 64))

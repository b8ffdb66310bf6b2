"""Metadata values: what they refuse, and how times compare."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.ebrim.model import Author, Code, Slot, Timestamp, UnencodableText
from tests.support.metadata import a_document_entry, a_folder, a_submission_set, an_association


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1b", "\ud800", "\ufffe", "\uffff"])
@pytest.mark.parametrize(
    "make",
    [
        lambda text: Code(text, "1.2"),
        lambda text: Code("a", text),
        lambda text: Code("a", "1.2", text),
        lambda text: Slot(text, ()),
        lambda text: Slot("urn:a", ("fine", text)),
        lambda text: Author(person=text),
        lambda text: Author(telecommunications=(text,)),
        lambda text: a_document_entry(title=text),
        lambda text: a_document_entry(comments=text),
        lambda text: a_document_entry(unique_id=text),
        lambda text: a_document_entry(source_patient_info=(text,)),
        lambda text: a_document_entry(reference_ids=(text,)),
        lambda text: a_submission_set(title=text),
        lambda text: a_submission_set(intended_recipients=(text,)),
        lambda text: a_folder(title=text),
        lambda text: an_association(text, "b"),
        lambda text: an_association("a", "b", submission_set_status=text),
    ],
)
def test_a_character_that_xml_forbids_is_refused_when_the_value_is_made(make, character):
    with pytest.raises(UnencodableText, match=f"U\\+{ord(character):04X}"):
        make(f"a{character}b")


def test_tabs_line_ends_and_every_plane_of_unicode_are_welcome():
    assert a_document_entry(comments="a\tb\r\nc \x85 𝄞 é").comments == "a\tb\r\nc \x85 𝄞 é"


@pytest.mark.parametrize("digits", ["", "202", "2024-03", "20240305101500.1", "٢٠٢٤", "202403051015001"])
def test_a_time_is_four_to_fourteen_digits(digits):
    with pytest.raises(ValueError, match="YYYY"):
        Timestamp(digits)


def test_a_moment_becomes_utc_to_the_second():
    berlin = timezone(timedelta(hours=1))

    assert Timestamp.of(datetime(2024, 3, 5, 11, 15, 0, 999_999, tzinfo=berlin)) == Timestamp(
        "20240305101500"
    )
    assert Timestamp.of(datetime(2024, 3, 5, tzinfo=UTC)).earliest == "20240305000000"


def test_times_are_ordered_by_the_earliest_second_that_they_can_mean():
    year, first_second, later = Timestamp("2024"), Timestamp("20240101000000"), Timestamp("202402")

    assert year <= first_second <= year
    assert year >= first_second >= year
    assert not year < first_second
    assert not year > first_second
    assert year != first_second
    assert year < later
    assert later > first_second


@pytest.mark.parametrize(
    ("start", "stop", "after"),
    [
        ("20240305", "2024", False),
        ("2024", "20240305", False),
        ("20240306", "20240305235959", True),
        ("20240305101500", "20240305101500", False),
        ("20240305101501", "20240305101500", True),
    ],
)
def test_one_time_is_after_another_at_the_coarser_of_both_precisions(start, stop, after):
    assert Timestamp(start).is_after(Timestamp(stop)) is after

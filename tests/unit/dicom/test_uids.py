"""The form of UIDs (PS3.5 9.1), with what real studies need tolerated and nothing that is a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom.uids import is_uid
from shared.ebrim.identifiers import is_unique_id

NO_UIDS = [
    "",
    ".",
    "..",
    "...",
    "1..2",
    ".1",
    "1.",
    "1.2.",
    "../1",
    "1/2",
    "1.2 ",
    "1.2\n",
    "1.a",
    "١.٢",
    "1" * 65,
]


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.1", "2.25.0", "1.02.3", "1.2.00", "7", "1" * 64])
def test_uids_of_real_studies_are_taken(uid):
    assert is_uid(uid)
    assert is_unique_id(uid)


@pytest.mark.parametrize("uid", NO_UIDS)
def test_what_is_no_uid_is_not_taken(uid):
    assert not is_uid(uid)


@given(st.text("0123456789./", max_size=70))
def test_a_uid_is_one_name_below_any_folder(text):
    if is_uid(text):
        assert "/" not in text
        assert text.strip(".") == text


@pytest.mark.parametrize(
    "unique_id", ["1.2.3^a/b", "urn:uuid:a-b", "urn:oid:1.2", "https://a.example/b", "doc 1"]
)
def test_a_unique_id_is_any_text(unique_id):
    assert is_unique_id(unique_id)


@pytest.mark.parametrize(
    "unique_id", [".", "..", "1..2", ".1", "1.2.", "../x", "a/../b", "a/..", "..\\x", "a\n", "a\0b", "/./"]
)
def test_a_unique_id_is_no_path(unique_id):
    assert not is_unique_id(unique_id)

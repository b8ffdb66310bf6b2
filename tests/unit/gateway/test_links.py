"""Which patient is whose: the table of links, and communities by their id."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.communities import Communities, names_patient
from gateway.domain.links import COLUMNS, LinksError, read_links
from shared.errors import MissingHomeCommunityId, UnavailableCommunity, UnknownCommunity

OURS, THEIRS = "77^^^&2.999.1&ISO", 'a b,"c"^^^&2.999.2&ISO'
WEST = "urn:oid:2.999.2"

_ids = st.from_regex(r"[A-Za-z0-9 ,\"'.-]{1,12}", fullmatch=True).map(str.strip).filter(bool)
_patients = _ids.map(lambda name: f"{name}^^^&2.999.5&ISO")


def table(*rows: tuple[str, ...]) -> list[str]:
    written = io.StringIO()
    csv.writer(written).writerows((COLUMNS, *rows))
    return written.getvalue().splitlines(keepends=True)


@given(
    st.dictionaries(st.tuples(_patients, st.sampled_from([WEST, "urn:oid:2.999.3"])), _patients, max_size=8)
)
def test_what_was_written_is_linked_and_nobody_else(links: dict[tuple[str, str], str]):
    read = read_links(table(*((ours, home, theirs) for (ours, home), theirs in links.items())))

    assert dict(read.by_patient) == links
    for (ours, home), theirs in links.items():
        assert read.of(ours, home) == theirs
        assert read.of(ours, "urn:oid:2.999.99") == ours
    assert read.of("nobody^^^&2.999.5.1&ISO", WEST) == "nobody^^^&2.999.5.1&ISO"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "first line"),
        (["patient_id,home_community_id\n"], "first line"),
        (table((OURS, WEST)), "line 2: 3 columns are needed, 2 found"),
        (table((OURS, WEST, "W-9")), "line 2: a patient id is no CX"),
        (table(("77", WEST, THEIRS)), "line 2: a patient id is no CX"),
        (table((OURS, WEST, THEIRS), (OURS, WEST, "b^^^&2.999.2&ISO")), "line 3: .* linked .* twice"),
        ([*table(), '"half a\n'], "line"),
    ],
)
def test_a_table_that_cannot_be_read_says_where_and_names_nobody(lines: list[str], said: str):
    with pytest.raises(LinksError, match=said) as caught:
        read_links(lines)

    assert "77" not in str(caught.value)


def test_the_same_link_twice_and_empty_lines_do_no_harm():
    read = read_links([*table((OURS, WEST, THEIRS), (OURS, WEST, THEIRS)), "\n"])

    assert read.of(OURS, WEST) == THEIRS


def test_a_home_leads_to_one_community_and_to_no_other():
    known = Communities.of("urn:oid:2.999.1", {WEST: {"ITI-38": "https://west.example/query"}})

    assert known.find("urn:oid:2.999.1").is_own
    assert known.find(WEST).gateway_url("ITI-38") == "https://west.example/query"
    with pytest.raises(UnavailableCommunity, match=r"no address of urn:oid:.* is known for RAD-75"):
        known.find(WEST).gateway_url("RAD-75")
    with pytest.raises(UnknownCommunity) as unknown:
        known.find("urn:oid:2.999.9", location="1.2.3")
    assert unknown.value.location == "1.2.3"
    for wrong in ("", " ", "2.999.2", WEST.upper()):
        with pytest.raises(MissingHomeCommunityId if not wrong else UnknownCommunity):
            known.find(wrong)


@pytest.mark.parametrize(
    ("parameters", "about_a_patient"),
    [
        (["$XDSDocumentEntryPatientId", "$XDSDocumentEntryStatus"], True),
        (["$XDSSubmissionSetPatientId"], True),
        (["$XDSFolderPatientId"], True),
        (["$patientId"], True),
        (["$XDSDocumentEntryUniqueId"], False),
        (["$uuid"], False),
        ([], False),
    ],
)
def test_a_query_is_about_a_patient_when_it_names_one(parameters: list[str], about_a_patient: bool):
    assert names_patient(parameters) is about_a_patient

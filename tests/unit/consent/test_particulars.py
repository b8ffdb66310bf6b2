"""What policies about single documents read of their metadata."""

from __future__ import annotations

import pytest

from shared.consent.particulars import particulars_of
from shared.ebrim.model import Author
from tests.support.metadata import a_document_entry


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        (Author(person="11375^Welby^Marcus^^^Dr^^^&1.2.84&ISO"), {"person|11375^^1.2.84"}),
        (Author(person="11375"), {"person|11375"}),
        (Author(person="^Welby^Marcus"), set()),
        (Author(institutions=("North^^^^^&1.2.3&ISO^^^^45",)), {"institution|45^^1.2.3"}),
        (Author(institutions=("North^^^^^^^^^1.2.3.9",)), {"institution|1.2.3.9"}),
        (Author(institutions=("North",)), {"institution|North"}),
        (Author(), set()),
    ],
)  # fmt: skip
def test_authors_are_known_by_their_ids(author: Author, expected: set[str]):
    assert particulars_of(a_document_entry(authors=(author,))).authors == expected


def test_a_document_is_known_by_its_uniqueid_and_its_studies():
    entry = a_document_entry(unique_id="2.25.1")
    assert particulars_of(entry).ids == {"2.25.1", "2.25.500"}
    assert particulars_of(a_document_entry(unique_id="2.25.1", reference_ids=())).ids == {"2.25.1"}

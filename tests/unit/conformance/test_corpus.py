"""Every broken example is found, by the right requirement; on a good one there is no error."""

from __future__ import annotations

import pytest

from conformance.corpus import mado
from conformance.corpus.example import Example
from conformance.findings import Severity
from conformance.requirements import requirements
from conformance.validation import judge
from tests.unit.conformance.corpus import CORPUS


@pytest.mark.parametrize("example", CORPUS, ids=lambda example: example.name)
def test_an_example_is_found_to_be_what_it_is(example: Example):
    report = judge(example.octets, example.name)

    assert report.kind == example.kind
    if not example.finds:
        assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []
        return
    assert example.finds in {finding.id for finding in report.findings}, report.findings
    for finding in report.findings:
        assert finding.clause == requirements()[finding.id].clause
        assert finding.place
        assert finding.wrong
        assert finding.right


def test_mado_has_forty_mutations_and_more():
    assert len(mado.MUTATIONS) >= 40

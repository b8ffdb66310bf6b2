"""Every record of the golden ones is right by the judge's own reading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.findings import Severity
from conformance.validation import judge

RECORDS = sorted((Path(__file__).parents[1] / "audit" / "records").glob("*.xml"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_of_ours_has_no_error(path: Path):
    records = re.findall(rb"<AuditMessage>.*?</AuditMessage>", path.read_bytes(), re.DOTALL)
    assert records
    for record in records:
        report = judge(record, path.stem)
        assert report.title.startswith("audit message (")
        assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []

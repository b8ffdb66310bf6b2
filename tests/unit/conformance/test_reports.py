"""Reports: bounded, whole for programs, and whatever the bytes are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.corpus import manifests
from conformance.corpus.data_sets import part10
from conformance.corpus.manifests import CT
from conformance.findings import MOST_OF_A_REQUIREMENT, MOST_SHOWN, Severity
from conformance.validation import judge
from tests.unit.conformance.corpus import CORPUS


def test_of_one_requirement_some_places_are_listed_and_the_others_counted():
    many = manifests.manifest()
    many[0x0040A730] = [
        {0x0040A010: "CONTAINS", 0x0040A040: "IMAGE", 0x00081199: [manifests.reference(CT, f"2.25.{number}")]}
        for number in range(1, 101)
    ]
    findings = [one for one in judge(part10(many), "many").findings if one.id == "KOS-042"]

    assert len(findings) == MOST_OF_A_REQUIREMENT
    assert findings[-1].wrong.endswith(f"(and in {100 - MOST_OF_A_REQUIREMENT} more places)")


def test_a_value_is_shown_in_one_line_and_shortened():
    long = manifests.manifest() | {0x00080080: "Hospital\r\n" * 30}
    (finding,) = (one for one in judge(part10(long), "long").findings if one.id == "DCM-009")

    assert len(finding.value) <= MOST_SHOWN + 2 * finding.value.count("\\")
    assert "\n" not in finding.value


@pytest.mark.parametrize("octets", [b"", b"\0", b"hello", b"<a/>", b"{}", b"[1]", bytes(200)])
def test_what_is_not_recognised_is_a_finding(octets: bytes):
    report = judge(octets, "x")

    assert [finding.id for finding in report.findings] == ["FILE-001"]
    assert not report.passed


def test_a_report_is_whole_as_json():
    report = judge(part10(manifests.manifest() | {0x00080060: "SR"}), "one.dcm")
    shown = json.loads(json.dumps(report.as_json()))

    assert shown["source"] == "one.dcm"
    assert shown["kind"] == "dicom"
    assert shown["passed"] is False
    assert shown["findings"][0] == {
        "id": "KOS-002",
        "severity": Severity.ERROR,
        "clause": "DICOM PS3.3 C.17.6.1",
        "place": "(0008,0060) Modality",
        "wrong": "another modality",
        "right": "Modality is KO",
        "value": "SR",
    }


@given(st.binary(max_size=600))
def test_any_bytes_give_a_report(octets: bytes):
    assert judge(octets, "x").findings


@given(st.sampled_from(CORPUS), st.data())
def test_an_example_with_some_bytes_changed_gives_a_report(example, data):
    octets = bytearray(example.octets)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(octets) - 1))
        match data.draw(st.sampled_from(("set", "cut", "double"))):
            case "set":
                octets[at] = data.draw(st.integers(0, 255))
            case "cut":
                del octets[at : at + data.draw(st.integers(1, 40))]
            case "double":
                octets[at:at] = octets[at : at + 40]
        if not octets:
            return
    report = judge(bytes(octets), "x")
    assert "FILE-002" not in {finding.id for finding in report.findings}, report.findings

"""Reports: bounded, whole for programs, and whatever the bytes are."""

from __future__ import annotations

import json
import re
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.corpus import assertions, audit, dicomweb, mado_fhir, manifests
from conformance.corpus.data_sets import part10
from conformance.corpus.manifests import CT
from conformance.findings import MOST_OF_A_REQUIREMENT, MOST_SHOWN, Severity
from conformance.reports.findings import findings_page
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


def test_findings_are_one_file_that_needs_nothing_else():
    reports = [judge(part10(manifests.manifest() | {0x00080060: "<SR>"}), "<one>.dcm"), judge(b"", "two")]
    text = findings_page(reports)

    for shown in (
        "&lt;one&gt;.dcm",
        "KOS-002",
        "&lt;SR",
        "DICOM PS3.3 C.17.6.1",
        "Modality is KO",
        "FILE-001",
    ):
        assert shown in text
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=.(?!#)", text)


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("vr", "Value", "code", "coding", "00081199", "x")), inner, max_size=3
        )
    ),
    max_leaves=8,
)
DOCUMENTS = [mado_fhir.bundle(), mado_fhir.document_reference(), [dicomweb.study()]]


@given(st.sampled_from(DOCUMENTS), st.lists(st.integers(0, 30), min_size=1, max_size=8), JSON)
def test_json_with_anything_in_any_place_gives_a_report(document, way, value):
    changed = deepcopy(document)
    node = changed
    for step in way:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = keys[step % len(keys)]
        parent, node = node, node[key]
        if not isinstance(node, dict | list):
            break
    else:
        parent[key] = value
    report = judge(json.dumps(changed).encode(), "x")
    assert "FILE-002" not in {finding.id for finding in report.findings}, report.findings


@given(
    JSON, JSON, st.sampled_from(("alg", "kid", "typ")), st.sampled_from(("aud", "exp", "iat", "extensions"))
)
def test_a_token_with_anything_in_its_claims_gives_a_report(header, claim, name, other):
    octets = assertions.token({"alg": "ES256", name: header}, {"iss": "x", other: claim})
    report = judge(octets, "x")
    assert report.findings
    assert "FILE-002" not in {finding.id for finding in report.findings}, report.findings


@pytest.mark.parametrize("number", ["9" * 5_000, "²", "-1", "1e400"])
def test_a_number_that_is_too_long_gives_a_report(number: str):
    for octets in (
        f"POST /xds HTTP/1.1\r\nContent-Length: {number}\r\n\r\n",
        f'{{"resourceType": "Bundle", "total": {number}}}',
        audit.query().replace('TypeCodeRole="24"', f'TypeCodeRole="{number}"'),
    ):
        report = judge(octets.encode(), "x")
        assert "FILE-002" not in {finding.id for finding in report.findings}

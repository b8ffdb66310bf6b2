"""`xdsi validate`: status, table and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conformance.corpus import mado, manifests
from conformance.corpus.data_sets import part10
from conformance.validation import judge
from xdsi.cli import build
from xdsi.validate import lines

RUNNER = CliRunner()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.dcm"
    path.write_bytes(part10(mado.described()))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.dcm"
    path.write_bytes(part10(manifests.manifest() | {0x00080060: "SR", 0x00080201: ""}))
    return path


def validate(*arguments: object):
    return RUNNER.invoke(build("validate"), ["validate", *map(str, arguments)])


def test_a_good_file_ends_with_0(good):
    ran = validate(good)
    assert ran.exit_code == 0
    assert "MADO manifest (KOS)" in ran.output
    assert "passed" in ran.output


def test_an_error_in_one_of_several_files_ends_with_1(good, broken):
    ran = validate(good, broken)
    assert ran.exit_code == 1
    assert "KOS-002" in ran.output


def test_a_warning_alone_ends_with_0(tmp_path: Path):
    path = tmp_path / "warned.dcm"
    path.write_bytes(part10(manifests.manifest() | {0x00080201: ""}))
    ran = validate(path)
    assert ran.exit_code == 0
    assert "passed: 1 warning" in ran.output


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path):
    ran = validate(tmp_path / "absent.dcm")
    assert getattr(ran.exception, "status", None) == 2
    assert "name a file that can be read" in str(ran.exception)


def test_a_folder_is_wrong_usage(tmp_path: Path):
    assert getattr(validate(tmp_path).exception, "status", None) == 2


def test_json_holds_every_report(good, broken):
    ran = validate("--json", good, broken)
    reports = json.loads(ran.output)
    assert [report["passed"] for report in reports] == [True, False]
    assert {finding["id"] for finding in reports[1]["findings"]} == {"KOS-002", "KOS-053"}


def test_the_table_is_eighty_wide_and_names_place_reason_and_clause():
    report = judge(part10(manifests.manifest() | {0x00080060: "SR", 0x00080201: ""}), "broken.dcm")
    assert list(lines(report, width=80)) == [
        "broken.dcm: XDS-I.b manifest (KOS)",
        "  ERROR   KOS-002  (0008,0060) Modality",
        "          another modality: SR",
        "          → Modality is KO  [DICOM PS3.3 C.17.6.1]",
        "  warning KOS-053  (0008,0201) Timezone Offset From UTC",
        "          the attribute is empty",
        "          → Timezone Offset From UTC has a value, without which no time is",
        "            certain  [RAD TF-3 4.68.4.1.3]",
        "  FAILED: 1 error, 1 warning",
    ]


def test_no_line_is_wider_than_eighty_but_for_words():
    for change in mado.MUTATIONS.values():
        one = mado.described()
        change[1](one)
        for line in lines(judge(part10(one), "x.dcm"), width=80):
            assert len(line) <= 80 or " " not in line.strip()

"""Every record of ours is a valid AuditEvent of FHIR R4, as the HAPI validator says beside BALP."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.audit.dicom_xml import ParsedAuditMessage
from shared.audit.resource import message_of_resource, resource_of
from shared.audit.structure import flaws
from tests.support.audit import SOURCE
from tests.support.golden_records import records

FHIR = Path(__file__).parents[3] / "shared" / "fhir"
RESOURCES = {
    f"{name.replace(' ', '-')}-{number}": resource_of(ParsedAuditMessage(event=event, source=SOURCE))
    for name, described in records().items()
    for number, event in enumerate(described())
}


def test_every_record_of_ours_is_an_audit_event_and_says_the_same_when_it_is_read_again():
    assert {name: flaws(resource) for name, resource in RESOURCES.items() if flaws(resource)} == {}
    assert [one for one in RESOURCES.values() if resource_of(message_of_resource(one)) != one] == []


@pytest.mark.peer
@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_hapi_validator_finds_no_error_in_them(tmp_path: Path, request: pytest.FixtureRequest):
    """Of other vendors' samples it finds none either, and in a record without an agent it finds one."""
    if not request.config.getoption("--long"):
        pytest.skip("the validator is fetched and run with --long")
    if not (FHIR / "validator").is_dir() or not (shutil.which("mvn") and shutil.which("javac")):
        pytest.skip("Java, Maven or the shared definitions are not here")
    shutil.copytree(FHIR / "validator", tmp_path, dirs_exist_ok=True)
    for command in (
        ["mvn", "-q", "dependency:copy-dependencies", "-DoutputDirectory=lib"],
        ["javac", "-cp", "lib/*", "-d", "V", "V.java"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=600)
    wrong = {name: value for name, value in next(iter(RESOURCES.values())).items() if name != "agent"}
    files = []
    for name, resource in {**RESOURCES, "wrong": wrong}.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(resource))
    files += sorted((FHIR / "samples").glob("audit-*.json"))
    guides = [FHIR / name for name in ("BALP-1.1.4", "MHD-4.2.4", "support")]
    found = subprocess.run(
        ["java", "-cp", "lib/*:V", "V", *map(str, guides), "--", *map(str, files)],
        cwd=tmp_path,
        check=True,
        timeout=600,
        capture_output=True,
        text=True,
    ).stdout

    assert [line for line in found.splitlines() if " ok=false " in line][:2] == [
        line for line in found.splitlines() if line.startswith("== wrong.json ")
    ]
    assert found.count(" ok=true ") == len(files) - 1

"""Every record of ours is a valid AuditEvent of FHIR R4, and of the profile of BALP 1.1.4 that it claims: so
say the HAPI validator and `fhir.resources`."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from audit_repository.domain.balp import PROFILES, patterned
from shared.audit.dicom_xml import ParsedAuditMessage
from shared.audit.resource import message_of_resource, resource_of
from shared.audit.structure import flaws
from tests.support.audit import SOURCE
from tests.support.golden_records import records

FHIR = Path(__file__).parents[3] / "shared" / "fhir"
EVENTS = {
    f"{name.replace(' ', '-')}-{number}": event
    for name, described in records().items()
    for number, event in enumerate(described())
}
for name in ("imaging-source-RAD-107-0", "consumer-asks-RAD-107-0"):
    # Those are of two studies; most who ask over plain HTTP ask for one.
    EVENTS[f"{name}-of-one"] = replace(EVENTS[name], objects=EVENTS[name].objects[:2])
RESOURCES = {
    name: patterned(resource_of(ParsedAuditMessage(event=event, source=SOURCE)))
    for name, event in EVENTS.items()
}


def test_every_record_of_ours_is_an_audit_event_and_says_the_same_when_it_is_read_again():
    assert {name: flaws(resource) for name, resource in RESOURCES.items() if flaws(resource)} == {}
    plain = [one for one in RESOURCES.values() if one["type"]["code"] != "rest"]
    assert [one for one in plain if resource_of(message_of_resource(one)) != one] == []
    # What is shown in a pattern is still the event that DICOM calls so.
    kinds = {message_of_resource(one).event.event_id.code for one in RESOURCES.values() if one not in plain}
    assert kinds == {"110103", "110104", "110112"}


def test_reads_queries_and_creations_over_plain_http_claim_their_profile_and_failures_none():
    claimed = {
        name: [one.removeprefix(PROFILES) for one in resource["meta"]["profile"]]
        for name, resource in RESOURCES.items()
        if "meta" in resource
    }

    assert claimed["imaging-source-RAD-129-0"] == ["PatientQuery"]
    assert claimed["imaging-source-RAD-108-1"] == ["PatientCreate"]
    assert {tuple(one) for one in claimed.values()} >= {
        ("PatientQuery",),
        ("PatientRead",),
        ("PatientCreate",),
    }
    assert all(RESOURCES[name]["outcome"] == "0" for name in claimed)


def test_fhir_resources_takes_every_one():
    audit_event = pytest.importorskip("fhir.resources.R4B.auditevent", reason="fhir.resources is not here")
    for resource in RESOURCES.values():
        audit_event.AuditEvent.model_validate(resource)


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

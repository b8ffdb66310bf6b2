"""Simulated peers: played rightly they meet what is asked of them, and each wrong way is told by a probe."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from conformance.plans.catalogue import probes
from conformance.plans.probe import Outcome
from conformance.plans.run import chosen, run
from conformance.plans.stand import Target
from conformance.simulators.audit_repository import Reception, syslog_simulator
from conformance.simulators.scripts import ACTORS, Cast, scripts
from conformance.simulators.server import HttpSimulator, http_simulator
from conformance.simulators.world import World
from conformance.validation import judge

WORLD = World(domain=Target().domain, home="urn:oid:2.999.72")
#: Each registry that does something wrongly, and the requirement that it does not meet.
WRONG = {
    "no-relates-to": "REG-SOAP-02",
    "one-error-code": "REG-18-501",
    "accepts-anything": "REG-42-101",
    "mixes-patients": "REG-18-508",
    "shows-deprecated": "REG-18-416",
    "ignores-codes": "REG-18-401",
    "loses-reference": "REG-18-201",
    "always-full": "REG-18-201",
    "replaces-nothing": "REG-42-701",
    "keeps-symbolic-ids": "REG-42-502",
    "believes-status": "REG-42-501",
    "loses-slots": "REG-42-516",
    "takes-twice": "REG-42-509",
}


@pytest.fixture(scope="module")
def cast() -> Cast:
    return Cast(WORLD, dict.fromkeys(ACTORS, "right"))


@pytest.fixture(scope="module")
def playing(cast: Cast) -> Iterator[HttpSimulator]:
    with http_simulator(cast.handle) as simulator:
        yield simulator


def _outcomes(url: str, names: list[str], folder: Path) -> dict[str, Outcome]:
    target = Target(endpoints={"registry": f"{url}/xds/registry"})
    return {one.probe.id: one.outcome for one in run(chosen(probes(), names), target, folder).verdicts}


def test_there_are_ten_wrong_registries_and_no_script_without_a_probe():
    deliveries = set(scripts("responding-gateway"))
    assert set(scripts("registry")) - deliveries == set(WRONG)
    assert len(WRONG) >= 10


def test_a_registry_that_plays_rightly_meets_the_requirements(
    cast: Cast, playing: HttpSimulator, tmp_path: Path
):
    cast.play("registry", "right")
    outcomes = _outcomes(playing.url, list(WRONG.values()), tmp_path)

    assert set(outcomes.values()) == {Outcome.PASSED}


@pytest.mark.parametrize(("script", "requirement"), WRONG.items(), ids=WRONG)
def test_a_wrong_registry_is_found_by_a_probe(
    cast: Cast, playing: HttpSimulator, script: str, requirement: str, tmp_path: Path
):
    cast.play("registry", script)

    assert _outcomes(playing.url, [requirement], tmp_path) == {requirement: Outcome.FAILED}


# --- documents -----------------------------------------------------------------------------------------


def test_the_manifest_of_the_world_has_no_error():
    report = judge(WORLD.manifest, "manifest")

    assert [one for one in report.findings if one.severity == "error"] == []


@pytest.mark.parametrize(
    "script", ["other-bytes", "other-document", "other-patient", "no-dicom", "one-missing"]
)
def test_an_imaging_source_gives_something_else_by_its_script(
    cast: Cast, playing: HttpSimulator, script: str
):
    url = f"{playing.url}/dicomweb/studies/2.25.500/series/2.25.501"
    cast.play("imaging-source", "right")
    right = httpx2.get(url, trust_env=False)
    cast.play("imaging-source", script)
    wrong = httpx2.get(url, trust_env=False)

    assert right.status_code == wrong.status_code == 200
    assert right.content.count(b"DICM") == 2
    assert right.content != wrong.content


# --- how answers leave ---------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["closed", "truncated", "too-short", "no-xml", "error", "busy", "bomb"])
def test_what_leaves_wrongly_meets_no_requirement(
    cast: Cast, playing: HttpSimulator, script: str, tmp_path: Path
):
    cast.play("registry", script)

    assert _outcomes(playing.url, ["REG-SOAP-01"], tmp_path)["REG-SOAP-01"] in (
        Outcome.FAILED,
        Outcome.UNDECIDED,
    )


def test_a_silent_registry_lets_wait(cast: Cast, playing: HttpSimulator):
    cast.play("registry", "silent")

    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{playing.url}/xds/registry", content=b"<x/>", trust_env=False, timeout=0.3)


def test_an_endless_answer_does_not_end(cast: Cast, playing: HttpSimulator):
    cast.play("registry", "endless")
    octets = 0
    with httpx2.stream("POST", f"{playing.url}/xds/registry", content=b"<x/>", trust_env=False) as answer:
        for piece in answer.iter_raw():
            octets += len(piece)
            if octets > 4 * 1024**2:
                break

    assert octets > 4 * 1024**2


# --- syslog --------------------------------------------------------------------------------------------


def _sent(url: str, octets: bytes) -> bytes:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(octets)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1)


def test_records_are_kept_as_they_came_and_what_is_no_frame_is_told():
    with syslog_simulator() as simulator:
        _sent(simulator.url, b"5 <85>15 <85>2")
        _sent(simulator.url, b"<85>1 no length\n")
        _sent(simulator.url, b"07 leading")

    assert simulator.records == [b"<85>1", b"<85>2"]
    assert len(simulator.broken) == 2


@pytest.mark.parametrize(("reception", "records"), [(Reception.CLOSES, 1), (Reception.REFUSES, 0)])
def test_an_audit_repository_takes_as_many_records_as_its_script_says(reception: Reception, records: int):
    with syslog_simulator(reception) as simulator, suppress(OSError):
        _sent(simulator.url, b"5 <85>1" * 3)

    assert len(simulator.records) == records

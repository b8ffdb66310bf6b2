"""`xdsi doctor` before anything runs, what it prints, and that no mistake of ours ends it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from pynetdicom import AE
from typer.testing import CliRunner

from imaging_source.settings import ImagingSourceSettings
from xdsi.checks import machine
from xdsi.checks.finding import Severity
from xdsi.cli import build
from xdsi.community import PORTS, Addresses, environment
from xdsi.doctor import examine_running
from xdsi.services import Service
from xdsi.stage import free_ports

RUNNER = CliRunner(env={"NO_COLOR": "1"})


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A community at ports that nobody uses, and that does not run."""
    for name in [name for name in os.environ if name.upper().startswith("XDSI_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)  # where no community runs
    monkeypatch.setattr("xdsi.community.PORTS", dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))
    return environment(Addresses(), tmp_path / "var")


def examined(env: Mapping[str, str], *words: str) -> tuple[int, list[dict[str, str]]]:
    told = RUNNER.invoke(build("doctor"), ["doctor", "--json", *words], env=env)
    return told.exit_code, json.loads(told.stdout)


def test_all_is_well_before_the_first_start(env):
    status, findings = examined(env)
    assert [one for one in findings if one["severity"] == "error"] == []
    assert status == 0
    told = {one["subject"]: one["found"] for one in findings}
    for service in Service:
        assert told[f"XDSI_{service.package.upper()}__PORT"].endswith(": free")
    assert told["XDSI_REGISTRY_URL"].endswith("the registry of this installation; nothing runs yet")
    assert "XDSI_CONSUMER__DATABASE_URL" not in told  # it has none
    assert not (Path(env["XDSI_DATA"])).exists()  # nothing was made


def test_every_finding_has_an_id_and_a_severity_and_every_error_a_remedy(env):
    _, findings = examined({**env, "XDSI_REGISTRY__DATABASE_URL": "postgresql://127.0.0.1:9/x"})
    assert {one["severity"] for one in findings} <= set(Severity)
    assert all(one["id"] for one in findings)
    assert all(bool(one["remedy"]) == (one["severity"] != "ok") for one in findings)
    [wrong] = [one for one in findings if one["severity"] == "error"]
    assert (wrong["id"], wrong["service"]) == ("database", "registry")
    assert wrong["subject"] == "XDSI_REGISTRY__DATABASE_URL"
    assert wrong["remedy"] == "start it, or name another"


def test_one_service_is_looked_at_alone(env):
    _, findings = examined(env, "--service", "registry")
    assert {one["service"] for one in findings} == {"", "registry"}
    assert "XDSI_REPOSITORY__PORT" not in {one["subject"] for one in findings}


def test_people_read_lines_that_end_with_a_count(env):
    env["XDSI_REGISTRY__DATABASE_URL"] = "postgresql://127.0.0.1:9/x"
    told = RUNNER.invoke(build("doctor"), ["doctor"], env=env)
    lines = told.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("ERROR"))
    assert lines[at].startswith(
        "ERROR    XDSI_REGISTRY__DATABASE_URL: postgresql://127.0.0.1:9/x: PostgreSQL"
    )
    assert lines[at + 1] == "         → start it, or name another"
    assert lines[-1] == "1 error, 0 warnings"
    assert told.exit_code == 1


def test_a_mistake_of_ours_in_one_check_leaves_the_others(env, monkeypatch: pytest.MonkeyPatch):
    def broken() -> None:
        raise ZeroDivisionError("patient 12345")

    monkeypatch.setattr(machine, "machine", broken)
    status, findings = examined(env)
    [wrong] = [one for one in findings if one["severity"] == "error"]
    assert status == 1
    assert wrong["id"] == "doctor"
    assert "ZeroDivisionError" in wrong["found"]
    assert "12345" not in json.dumps(findings)
    assert len(findings) > 10


def test_a_warning_alone_is_no_failure(env, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "_synchronised", lambda: False)
    status, findings = examined(env)
    [warning] = [one for one in findings if one["severity"] == "warning"]
    assert (status, warning["subject"], warning["remedy"]) == (0, "clock", "start NTP (ITI-1)")


def test_two_listeners_at_one_port_are_found(env):
    env["XDSI_CONSUMER__PORT"] = env["XDSI_REGISTRY__PORT"]
    _, findings = examined(env)
    [wrong] = [one for one in findings if one["severity"] == "error"]
    assert wrong["subject"] == "XDSI_CONSUMER__PORT"
    assert wrong["found"].endswith("is that of XDSI_REGISTRY__PORT too")


def test_each_ae_title_with_an_address_is_called(env):
    entity = AE("PACS")
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    [nobody] = free_ports(1)
    table = {
        "PACS": {"host": "127.0.0.1", "port": server.server_address[1]},
        "AWAY": {"host": "127.0.0.1", "port": nobody},
        "CT01": {"services": ["store"]},
    }
    try:
        _, findings = examined(
            {**env, "XDSI_APPLICATION_ENTITIES": json.dumps(table)}, "--service", "imaging-source"
        )
    finally:
        server.shutdown()

    told = {one["subject"]: one["severity"] for one in findings if one["id"] == "entity"}
    assert told == {"XDSI_APPLICATION_ENTITIES PACS": "ok", "XDSI_APPLICATION_ENTITIES AWAY": "warning"}


def test_each_receiver_of_the_trail_to_whom_there_is_a_connection_is_called(env):
    [nobody] = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as siem:
        there = siem.getsockname()[1]
        urls = [f"tcp://127.0.0.1:{there}", f"tcp://127.0.0.1:{nobody}", f"udp://127.0.0.1:{nobody}"]
        env["XDSI_AUDIT_REPOSITORY__RELAY"] = json.dumps(urls)
        _, findings = examined(env, "--service", "audit-repository")
    told = [one for one in findings if one["subject"] == "XDSI_AUDIT_REPOSITORY__RELAY"]

    assert [(one["severity"], one["id"]) for one in told if str(there) in one["found"]] == [("ok", "audit")]
    [wrong] = [one for one in told if f"tcp://127.0.0.1:{nobody}" in one["found"]]
    assert (wrong["severity"], bool(wrong["remedy"])) == ("error", True)
    # By UDP nobody answers.
    assert not any("udp://" in one["found"] for one in told)


async def test_a_source_is_examined_beside_its_work_by_the_settings_that_it_runs_by(env):
    """As its page of the doctor does: what stands in a file or the environment meanwhile is nothing."""
    settings = ImagingSourceSettings.load(None, env)
    env["XDSI_IMAGING_SOURCE__DATABASE_URL"] = "postgresql://127.0.0.1:9/x"

    findings = await examine_running(Service.IMAGING_SOURCE, settings)

    assert {one.service for one in findings} == {"", "imaging-source"}
    assert "XDSI_IMAGING_SOURCE__PORT" in {one.subject for one in findings}
    # Nobody else runs here, and the database is the one that it uses.
    assert {one.id for one in findings if one.severity is Severity.ERROR} == {"peer"}

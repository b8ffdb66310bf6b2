"""`xdsi node`: what it registers is what services read; what it cannot understand changes nothing."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.audit.recorder import AuditRecorder
from shared.security.nodes import read_register
from shared.security.peer_certificate import fingerprint_of
from shared.settings import ServiceSettings
from tests.support.certificates import communities
from xdsi import recording
from xdsi.cli import build
from xdsi.node import summed_up

NORTH, SOUTH = communities()
PEM = str(SOUTH.node.certificate)


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "nodes.json"
    monkeypatch.setenv("XDSI_NODES", str(path))
    # Nobody takes records here: they wait.
    monkeypatch.setattr(recording, "CONNECT_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    return path


def node(*words: str):
    return CliRunner().invoke(build("node"), ["node", *words])


def test_a_node_is_registered_listed_shown_and_revoked(register: Path):
    added = node("add", "south", PEM, "--actor", "imaging-document-source", "--ae-title", "PACS")
    assert added.exit_code == 0, added.output
    [entry] = read_register(register).nodes
    assert entry.sha256 == fingerprint_of(SOUTH.node.certificate)

    [listed] = json.loads(node("list", "--json").output)
    assert listed["may"] == ["policies", "record", "submit"]
    assert "PACS" in node("list").output
    assert "imaging-document-source" in node("show", "south").output

    assert node("revoke", "south", "--reason", "stolen").exit_code == 0
    [entry] = read_register(register).nodes
    assert entry.revoked is not None
    assert entry.reason == "stolen"
    assert entry.granted == frozenset()
    assert node("list", "--quiet").output == "south\n"


def waiting() -> list[bytes]:
    """The records that wait in the folder where a command was typed."""
    settings = ServiceSettings(data=Path("var/tools"))

    async def read() -> list[bytes]:
        spool = AuditRecorder(settings, "node").spool
        reader, records = spool.reader("test"), []
        while waiting_now := await reader.next(100):
            records += [event for _, event in waiting_now]
        await spool.close()
        return records

    return asyncio.run(read())


def test_each_change_of_the_register_leaves_a_record_of_who_made_it(register: Path):
    node("add", "south", PEM, "--actor", "modality")
    node("revoke", "south", "--reason", "key was stolen")
    node("revoke", "nobody")
    node("list")
    records = waiting()

    assert len(records) == 2
    assert all(b'csd-code="110129"' in one and b'UserID="' in one for one in records)
    assert b"node south registered as modality; may record, store" in records[0]
    assert b"node south revoked: key was stolen" in records[1]
    assert all(f'UserID="{getpass.getuser()}"'.encode() in one for one in records)


def test_a_change_that_cannot_be_recorded_is_not_made(register: Path, tmp_path: Path):
    (tmp_path / "var").write_text("no folder")

    answer = node("add", "south", PEM, "--actor", "modality")

    assert answer.exit_code != 0
    assert not register.exists()


def test_a_node_is_known_by_its_names_where_that_is_asked_for(register: Path):
    assert node("add", "south", PEM, "--actor", "modality", "--by-name").exit_code == 0

    [entry] = read_register(register).nodes
    assert (entry.sha256, entry.subject, entry.issuer) == (
        "",
        "CN=South node,O=South",
        "CN=authority,O=South",
    )


@pytest.mark.parametrize(
    "words",
    [
        ("add", "south", "/nowhere.pem", "--actor", "modality"),
        ("add", "south", PEM, "--actor", "initiating-gateway"),
        ("add", "south", PEM, "--actor", "modality", "--repository", "no oid"),
        ("add", "south", "0" * 64, "--actor", "modality", "--by-name"),
        ("add", "known", PEM, "--actor", "modality"),
        ("add", "south", "0" * 64, "--actor", "modality"),
        ("revoke", "nobody"),
        ("show", "nobody"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(register: Path, words: tuple[str, ...]):
    assert node("add", "known", "0" * 64, "--actor", "modality").exit_code == 0
    before = register.read_bytes()

    assert node(*words).exit_code != 0
    assert register.read_bytes() == before


def test_refusals_are_summed_up_by_address_with_those_that_a_record_only_counts():
    def record(address: str, text: str, time: str):
        return {"description": text, "time": time, "objects": [{"id": address}]}

    first, second = summed_up(
        [
            record("192.0.2.1", "certificate verify failed", "2030-05-04T09:00:00Z"),
            record(
                "192.0.2.1",
                "41 more refusals since 2030-05-04T09:00:00+00:00: certificate verify failed (41)",
                "2030-05-04T09:01:00Z",
            ),
            record("192.0.2.2", "unsupported protocol", "2030-05-04T08:00:00Z"),
        ]
    )

    assert (first.address, first.number, first.last) == ("192.0.2.1", 42, "2030-05-04T09:01:00Z")
    assert (second.address, second.number) == ("192.0.2.2", 1)

"""`xdsi audit` against a running audit repository, over its socket."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
from typer.testing import CliRunner

from audit_repository.app import build
from audit_repository.domain.record import record_of
from audit_repository.domain.sources import Standing
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search, Trail
from shared.audit import resending
from shared.audit.events import (
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    PATIENT_RECORD,
    Outcome,
    ihe,
    patient_object,
    pull_participants,
    study_object,
)
from shared.audit.recorder import AuditSource, message
from shared.audit.set_aside import SetAside
from shared.http.server import start_server
from shared.security.caller import Node
from shared.settings import TlsSettings
from shared.store.failures import DatabaseUnavailable
from tests.support.audit import PATIENT, SOURCE, SOURCES, a_caller, an_event
from tests.support.certificates import communities
from tests.support.releases import BEFORE_MERGES
from xdsi import audit, listing
from xdsi.failures import Failed
from xdsi.set_aside import set_aside

RAD69 = ihe("RAD-69", "Retrieve Imaging Document Set")


def a_record(source=SOURCE, **changes):
    raw = message(an_event(**changes), source)
    node = Node(address="192.0.2.17", subject="CN=n", fingerprint="ab" * 32)
    return record_of(raw, node=node, received=datetime.now(UTC), sources=SOURCES)


def a_retrieval(server: bool):
    caller = a_caller()
    return a_record(
        AuditSource(source_id="xdsi-imaging-source" if server else "xdsi-consumer"),
        event_id=INSTANCES_TRANSFERRED if server else INSTANCES_ACCESSED,
        action="R",
        event_types=(RAD69,),
        participants=pull_participants(caller, server=server),
        objects=(patient_object(PATIENT), study_object("2.999.5.1")),
    )


@asynccontextmanager
async def serving(folder, *more, **changes):
    settings = AuditRepositorySettings(data=folder, port=0, syslog_port=0, **changes)
    service = await build(settings)
    await service.start()
    server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
    try:
        await service.trail.append(
            [
                a_record(),
                a_record(outcome=Outcome.SERIOUS_FAILURE),
                a_retrieval(True),
                a_retrieval(False),
                *more,
            ]
        )
        yield f"{'https' if settings.tls.enabled else 'http'}://127.0.0.1:{server.port}"
    finally:
        await server.stop(1)
        await service.stop()


async def run(*arguments, env=None):
    runner = CliRunner()
    wide = {"COLUMNS": "300", "TERM": "dumb"}
    return await asyncio.to_thread(runner.invoke, audit.app, list(arguments), env=wide | (env or {}))


async def test_a_search_shows_a_readable_table(tmp_path):
    async with serving(tmp_path) as url:
        shown = await run("search", "--patient", "P0001", "--type", "ITI-18", "--url", url)

        assert shown.exit_code == 0, shown.output
        assert "2 records" in shown.output
        assert "ITI-18 Registry Stored Query" in shown.output
        assert "serious failure" in shown.output
        rows = [line.split() for line in shown.output.splitlines()[2:]]
        assert [row[-2:] for row in rows] == [["u-778", "P0001"]] * 2


async def test_every_id_of_a_search_finds_its_records_again(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "_width", lambda: 80)
    async with serving(tmp_path) as url:
        shown = await run("search", "--type", "RAD-69", "--url", url)

        pasted = {tuple(line.split()) for line in shown.output.splitlines() if line.startswith("  ")}
        assert pasted >= {("user", "u-778"), ("patient", "P0001"), ("study", "2.999.5.1")}
        assert max(map(len, shown.output.splitlines())) <= 80
        for option in (["--user", "u-778"], ["--patient", "P0001"], ["--object", "2.999.5.1"]):
            again = await run("search", "--type", "RAD-69", *option, "--url", url)
            assert again.output.startswith("2 records"), option


async def test_refused_is_a_category_of_its_own_among_what_did_not_succeed(tmp_path):
    refused = a_record(
        outcome=Outcome.SERIOUS_FAILURE, outcome_description="refused by consent: urn:uuid:1 deny everyone"
    )
    async with serving(tmp_path, refused) as url:
        found = {}
        for outcome in ("success", "failure", "refused", None):
            words = ["--outcome", outcome] if outcome else []
            shown = await run("search", "--patient", "P0001", *words, "--json", "--url", url)
            found[outcome] = {record["sequence"] for record in json.loads(shown.output)}

        assert found[None] == found["success"] | found["failure"]
        assert not found["success"] & found["failure"]
        assert found["refused"] < found["failure"]
        assert len(found["refused"]) == 1
        shown = (await run("search", "--outcome", "refused", "--url", url)).output
        assert "refused: by consent: urn:uuid:1 deny everyone" in shown
        reported = await run("report", "--patient", "P0001", "--outcome", "refused", "--url", url)
        assert [line for line in reported.output.splitlines() if line.startswith("who ")] == [
            "who was refused"
        ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--since", "2999-01-01"], False),
        (["--until", "2999-01-01"], True),
        (["--until", "1999-01-01"], False),
        (["--user", "u-778"], True),
        (["--user", "nobody"], False),
        (["--node", "192.0.2.17"], True),
        (["--node", "192.0.2.18"], False),
    ],
)
async def test_search_and_report_are_narrowed_down_alike(tmp_path, words: list[str], found: bool):
    async with serving(tmp_path) as url:
        searched = await run("search", "--patient", "P0001", *words, "--json", "--url", url)
        reported = await run("report", "--patient", "P0001", *words, "--json", "--url", url)

    assert bool(json.loads(searched.output)) is found
    assert bool(json.loads(reported.output)) is found


async def test_csv_has_every_column_and_no_formula(tmp_path):
    strange = a_record(outcome=Outcome.SERIOUS_FAILURE, outcome_description="=cmd|'/c calc'!A1")
    async with serving(tmp_path, strange) as url:
        searched = await run("search", "--csv", "--url", url)
        reported = await run("report", "--patient", "P0001", "--csv", "--url", url)
    records, accesses = (list(csv.DictReader(StringIO(one.output))) for one in (searched, reported))

    assert "'=cmd|'/c calc'!A1" in {record["description"] for record in records}
    retrieved = next(one for one in records if one["what"].startswith("RAD-69"))
    assert (retrieved["users"], retrieved["studies"], retrieved["outcome"]) == (
        "u-778",
        "2.999.5.1",
        "success",
    )
    assert {one["manner"] for one in accesses} >= {"saw", "searched for"}


async def test_a_search_can_be_read_by_programs(tmp_path):
    async with serving(tmp_path) as url:
        shown = await run("search", "--user", "u-778", "--outcome", "failure", "--json", "--url", url)

        (record,) = json.loads(shown.output)
        assert record["outcome"] == 8
        shown = await run("search", "--since", "2999-01-01", "--json", "--url", url)
        assert json.loads(shown.output) == []


async def test_a_report_tells_who_saw_searched_and_tried(tmp_path):
    async with serving(tmp_path) as url:
        shown = await run("report", "--patient", "P0001", "--url", url)

        assert shown.exit_code == 0, shown.output
        for title in ("who saw", "who searched for", "who tried and failed"):
            assert title in shown.output
        assert "Radiologist" in shown.output
        as_json = json.loads((await run("report", "--patient", "P0001", "--json", "--url", url)).output)
        (saw,) = [access for access in as_json if access["manner"] == "saw"]
        assert sorted(saw["reported_by"]) == ["xdsi-consumer", "xdsi-imaging-source"]

        nobody = await run("report", "--patient", "P0002", "--url", url)
        assert "Nobody touched" in nobody.output


async def test_a_report_shows_under_which_id_of_a_merged_patient_each_access_was_recorded(tmp_path):
    detail = (("MSH-10", b"M-1"),)
    survivor = PATIENT.replace("P0001", "P0007")
    halves = [
        a_record(
            event_id=PATIENT_RECORD,
            action=action,
            event_types=(ihe("ITI-8", "Patient Identity Feed"),),
            objects=(patient_object(patient, details=detail),),
            time=datetime(2030, 5, 4, tzinfo=UTC),
        )
        for action, patient in (("D", PATIENT), ("U", survivor))
    ]
    seen = a_record(event_types=(RAD69,), objects=(patient_object(survivor),))
    async with serving(tmp_path, *halves, seen) as url:
        shown = await run("report", "--patient", "P0007", "--url", url)

        assert shown.exit_code == 0, shown.output
        assert "recorded under" in shown.output
        assert "P0001" in shown.output
        as_json = json.loads((await run("report", "--patient", "P0007", "--json", "--url", url)).output)
        assert [PATIENT] in [access["patients"] for access in as_json]
        assert [survivor] in [access["patients"] for access in as_json]
        as_json = json.loads((await run("report", "--patient", "P0001", "--json", "--url", url)).output)
        assert [access["patients"] for access in as_json] == [[PATIENT]] * len(as_json)


async def test_a_record_that_is_not_its_source_s_is_shown_as_such_wherever_records_are_shown(tmp_path):
    foreign = Node(address="192.0.2.66", subject="CN=foreign,O=South", fingerprint="cd" * 32)
    false = replace(
        a_record(SOURCE, objects=(patient_object("P0009^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"),)),
        standing=Standing.MISMATCHED,
        subject=foreign.subject,
        fingerprint=foreign.fingerprint,
        peer=foreign.address,
    )
    shown_as = "NOT xdsi-test: sent by CN=foreign,O=South (SHA-256 cdcdcdcdcdcdcdcd…)"
    async with serving(tmp_path, false) as url:
        for options in (
            ["--patient", "P0009"],
            ["--node", foreign.subject],
            ["--node", foreign.fingerprint],
            ["--node", foreign.address],
            ["--standing", "mismatched"],
        ):
            shown = await run("search", *options, "--url", url)
            assert shown_as in shown.output, options
            assert "1 record\n" in shown.output
        genuine = await run("search", "--standing", "proved", "--type", "ITI-18", "--url", url)
        assert "NOT" not in genuine.output

        reported = await run("report", "--patient", "P0009", "--url", url)
        assert "who is named by nodes that are not who they say" in reported.output
        assert shown_as in reported.output
        assert "who saw" not in reported.output
        verified = await run("verify", "--url", url)
        assert verified.exit_code == 0
        assert "by a source that is not the node that sent it: 1 record: 6;" in verified.output


async def test_verification_by_the_service_and_of_its_files(tmp_path):
    async with serving(tmp_path) as url:
        shown = await run("verify", "--url", url)
        assert shown.exit_code == 0, shown.output
        assert "the trail is whole" in shown.output
        running = await run("verify", "--data", str(tmp_path))
        assert isinstance(running.exception, Failed)
        assert "another process" in str(running.exception)

    shown = await run("verify", "--data", str(tmp_path))
    assert shown.exit_code == 0, shown.output
    (file,) = tmp_path.glob("audit-repository/*.sqlite3")
    database = sqlite3.connect(file)
    with database:
        database.execute("UPDATE audit_record SET outcome = 0 WHERE outcome = 8")
    database.close()
    shown = await run("verify", "--data", str(tmp_path))
    assert shown.exit_code == 1
    assert "record 3 was changed" in shown.output
    assert (await run("verify", "--data", str(tmp_path), "--json")).exit_code == 1


async def test_files_that_an_older_release_left_are_verified_with_what_they_say_of_merges(tmp_path):
    detail = (("MSH-10", b"M-1"),)
    update = a_record(
        event_id=PATIENT_RECORD,
        action="U",
        event_types=(ihe("ITI-8", "Patient Identity Feed"),),
        objects=(patient_object(PATIENT, details=detail),),
    )
    async with serving(tmp_path, update):
        pass
    (file,) = tmp_path.glob("audit-repository/*.sqlite3")
    with closing(sqlite3.connect(file)) as database, database:
        for statement in BEFORE_MERGES:
            database.execute(statement)

    shown = await run("verify", "--data", str(tmp_path))

    assert shown.exit_code == 0, shown.output
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT patient, action FROM audit_identity").fetchall() == [(PATIENT, "U")]


async def test_with_tls_the_certificate_of_the_settings_is_shown(tmp_path):
    node, trust = communities()[0].node, communities()[0].trust
    tls = TlsSettings(certificate=node.certificate, key=node.key, trust=trust)
    names = {"CERTIFICATE": node.certificate, "KEY": node.key, "TRUST": trust}
    env = {f"XDSI_TLS__{name}": str(path) for name, path in names.items()}
    async with serving(tmp_path, tls=tls) as url:
        shown = await run("search", "--patient", "P0001", "--url", url, env=env)

        assert shown.exit_code == 0, shown.output
        assert "4 records" in shown.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["search", "--url", "http://127.0.0.1:1"], "cannot be reached"),
        (["search", "--since", "soon"], "--since soon"),
        (["search", "--url", "nonsense"], "nonsense"),
        (["verify", "--data", "/nowhere"], "does not exist"),
    ],
)
async def test_what_cannot_be_done_is_said_with_its_remedy(arguments, reason):
    shown = await run(*arguments)

    assert isinstance(shown.exception, Failed)
    assert reason in str(shown.exception)


async def test_what_was_set_aside_is_sent_again_and_in_the_trail(tmp_path, monkeypatch):
    monkeypatch.setattr(resending, "REST_SECONDS", 0.5)
    strange = message(an_event(outcome_description="sent again"), SOURCE)
    kept = [
        SetAside(tmp_path / folder / "audit-set-aside").keep(octets)[0]
        for folder, octets in (("registry", strange), ("consumers/0/consumer", b"no record at all"))
    ]
    settings = AuditRepositorySettings(data=tmp_path, port=0, syslog_port=0)
    service = await build(settings)
    await service.start()
    env = {"XDSI_DATA": str(tmp_path), "XDSI_AUDIT__URL": f"tcp://127.0.0.1:{service.syslog.port}"}
    try:
        resent = await run("resend", env=env)
        again = await run("resend", env=env)
        found = await service.trail.search(Search(user="u-778"))
    finally:
        await service.stop()

    assert (len(kept), resent.output) == (2, "2 records sent again and taken\n")
    assert again.output == "no record is set aside\n"
    assert [item.record.raw for item in found] == [strange]
    away = await run("resend", env=env)
    assert away.output == "no record is set aside\n"


async def test_a_repository_that_is_away_keeps_records_aside(tmp_path):
    SetAside(tmp_path / "registry" / "audit-set-aside").keep(b"record")
    env = {"XDSI_DATA": str(tmp_path), "XDSI_AUDIT__URL": "tcp://127.0.0.1:1"}

    ended = await run("resend", env=env)

    assert isinstance(ended.exception, Failed)
    assert "cannot be reached" in str(ended.exception)
    assert len(set_aside(tmp_path)) == 1


async def test_a_database_that_is_away_is_one_clear_sentence(tmp_path, monkeypatch):
    async def away(*_):
        raise DatabaseUnavailable("the database does not answer")

    async with serving(tmp_path) as url:
        monkeypatch.setattr(Trail, "search", away)
        ended = await run("search", "--url", url)

    assert isinstance(ended.exception, Failed)
    told = str(ended.exception)
    assert told.startswith("the audit repository cannot answer now: the service cannot reach its database")
    assert "\n" not in told

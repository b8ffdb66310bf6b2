"""The plan of an audit repository, asked of one that is right and of such as are not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from conformance.plans.audit_repository import PLAN, token
from conformance.plans.probe import Outcome
from conformance.plans.run import run
from conformance.plans.stand import Target
from conformance.simulators.audit_repository import Reception, SyslogSimulator, syslog_simulator
from conformance.simulators.server import HttpAnswer, HttpRequest, http_simulator
from tests.support.certificates import communities
from xdsi.tls_contexts import client_context, server_context

EVENT_TYPE = "urn:ihe:event-type-code|"


def _value(record: bytes, pattern: str) -> str:
    match = re.search(pattern, record.decode("utf-8", "replace"))
    return unescape(match[1]) if match else ""


class FhirSearch:
    """ITI-81 over what a simulated repository holds, by a reading of its own."""

    def __init__(self, syslog: SyslogSimulator, *, dates: bool = True, writes: int = 405) -> None:
        self._syslog = syslog
        self._dates = dates
        self._writes = writes

    def handle(self, request: HttpRequest) -> HttpAnswer:
        if request.method != "GET":
            return HttpAnswer(b"", "text/plain", self._writes)
        asked = parse_qs(urlsplit(request.target).query)
        if self._dates and len(asked.get("date", ())) < 2:
            return HttpAnswer(b"{}", "application/fhir+json", 400)
        events = [event for event in map(self._event, self._syslog.records) if self._holds(event, asked)]
        used = {"resourceType": "AuditEvent", "type": {"code": "110101"}}
        if "type" in asked:
            events = [used]
        bundle = {
            "resourceType": "Bundle",
            "type": "searchset",
            "entry": [{"resource": one} for one in events],
        }
        return HttpAnswer(json.dumps(bundle).encode(), "application/fhir+json")

    def _event(self, record: bytes) -> dict[str, Any]:
        patient = _value(record, 'ParticipantObjectID="([^"]*ISO)"')
        return {
            "resourceType": "AuditEvent",
            "type": {"code": _value(record, 'EventID csd-code="([^"]*)"')},
            "subtype": [{"code": _value(record, 'EventTypeCode csd-code="([^"]*)"')}],
            "action": _value(record, 'EventActionCode="([^"]*)"'),
            "outcome": _value(record, 'EventOutcomeIndicator="([^"]*)"'),
            "entity": [{"what": {"identifier": {"value": patient}}}],
            "source": _value(record, 'AuditSourceID="([^"]*)"'),
            "address": _value(record, 'NetworkAccessPointID="([^"]*)"'),
        }

    def _holds(self, event: dict[str, Any], asked: dict[str, list[str]]) -> bool:
        values = {
            "patient.identifier": token(event["entity"][0]["what"]["identifier"]["value"]),
            "subtype": EVENT_TYPE + event["subtype"][0]["code"],
            "outcome": event["outcome"],
            "source.identifier": event["source"],
            "address": event["address"],
        }
        return all(value == asked[name][0] for name, value in values.items() if name in asked)


@contextmanager
def repository(reception: Reception, *, patience: float = 20.0, **how: Any) -> Iterator[Target]:
    with syslog_simulator(reception) as syslog, http_simulator(FhirSearch(syslog, **how).handle) as search:
        yield Target(endpoints={"audit": syslog.url, "atna": search.url}, patience_seconds=patience)


def _outcomes(target: Target, folder: Path, *ids: str) -> dict[str, Outcome]:
    asked = [probe for probe in PLAN if not probe.pack and (not ids or probe.id in ids)]
    return {one.probe.id: one.outcome for one in run(asked, target, folder).verdicts}


def test_a_repository_that_is_right_fails_nothing(tmp_path: Path):
    with repository(Reception.RIGHT) as target:
        outcomes = _outcomes(target, tmp_path)

    assert [id for id, outcome in outcomes.items() if outcome in (Outcome.FAILED, Outcome.UNDECIDED)] == []
    assert sum(outcome is Outcome.PASSED for outcome in outcomes.values()) >= 40


@pytest.mark.parametrize(
    ("reception", "how", "id"),
    [
        (Reception.REFUSES, {}, "ARR-20-101"),
        (Reception.CLOSES, {}, "ARR-20-301"),
        (Reception.CLOSES, {}, "ARR-20-401"),
        (Reception.RIGHT, {"dates": False}, "ARR-81-111"),
        (Reception.RIGHT, {"writes": 200}, "ARR-81-115"),
    ],
)
def test_a_repository_that_is_not_is_found(
    reception: Reception, how: dict[str, Any], id: str, tmp_path: Path
):
    with repository(reception, patience=0.5, **how) as target:
        assert _outcomes(target, tmp_path, id) == {id: Outcome.FAILED}


def test_a_national_pack_is_asked_when_it_is_named(tmp_path: Path):
    swiss = [probe for probe in PLAN if probe.pack == "swiss"]
    with repository(Reception.RIGHT) as target:
        verdicts = run(swiss, target, tmp_path).verdicts

    assert {one.outcome for one in verdicts} == {Outcome.FAILED}


@pytest.mark.parametrize(("known", "outcome"), [(True, Outcome.PASSED), (False, Outcome.FAILED)])
def test_who_shows_no_certificate_is_refused_by_who_asks_for_one(
    known: bool, outcome: Outcome, tmp_path: Path
):
    north, _ = communities()
    node, authorities = north.node, north.authority.certificate
    tls = server_context(node.certificate, node.key, authorities if known else None)
    with syslog_simulator(tls=tls) as syslog:
        ours = client_context(node.certificate, node.key, authorities)
        target = Target(endpoints={"audit": syslog.url}, tls=ours)
        assert _outcomes(target, tmp_path, "ARR-19-101", "ARR-19-102") == {
            "ARR-19-101": outcome,
            "ARR-19-102": Outcome.PASSED,
        }

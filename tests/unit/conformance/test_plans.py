"""The plans: every requirement is stated once; a system that does not meet it is told from one that does."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from conformance.envelopes import Envelope, package
from conformance.plans.catalogue import probes
from conformance.plans.message import Reply
from conformance.plans.metadata import a_submission, an_entry, without
from conformance.plans.probe import NotOffered, Outcome, Plan, Probe, Unmet, Verdict, expect
from conformance.plans.run import Run, chosen, run
from conformance.plans.stand import Stand, Target
from conformance.reports.data import Difference, as_json, differences
from conformance.reports.junit import junit
from conformance.reports.page import page
from conformance.reports.terminal import lines
from conformance.simulators.server import HttpAnswer, http_simulator
from conformance.validation import judge

PROBES = list(probes())


def test_every_requirement_has_a_permanent_id_a_clause_and_a_sentence():
    ids = [probe.id for probe in PROBES]
    assert len(ids) == len(set(ids))
    for probe in PROBES:
        assert re.fullmatch(r"[A-Z]+-[0-9A-Z]+-\d{2,4}", probe.id), probe.id
        assert probe.clause, probe.id
        assert len(probe.purpose) > 10, probe.id


def test_there_are_enough_of_them():
    assert len(PROBES) >= 250
    assert sum(probe.actor == "imaging-source" for probe in PROBES) >= 40


def test_a_purpose_is_stated_once_for_an_actor_and_its_endpoint():
    places = [(probe.id.rpartition("-")[0], probe.purpose) for probe in PROBES]
    assert len(places) == len(set(places))


def test_probes_are_chosen_by_actor_and_by_the_beginning_of_an_id():
    assert {probe.actor for probe in chosen(PROBES, ["registry"])} == {"registry"}
    assert all(probe.id.startswith("REG-18") for probe in chosen(PROBES, ["REG-18"]))
    assert list(chosen(PROBES, [])) == [probe for probe in PROBES if not probe.pack]
    assert list(chosen(PROBES, ["nobody"])) == []


# --- what becomes of a probe ----------------------------------------------------------------------------


def _raises(error: Exception):
    def ask(stand: Stand) -> None:
        raise error

    return ask


@pytest.mark.parametrize(
    ("ask", "outcome", "reason"),
    [
        (lambda stand: None, Outcome.PASSED, ""),
        (_raises(Unmet("it is not so")), Outcome.FAILED, "it is not so"),
        (_raises(NotOffered("it has no such thing")), Outcome.NOT_OFFERED, "it has no such thing"),
        (_raises(ZeroDivisionError("mine")), Outcome.UNDECIDED, "the probe failed: ZeroDivisionError: mine"),
        (
            lambda stand: stand.http("GET", "http://127.0.0.1:9/"),
            Outcome.UNDECIDED,
            "http://127.0.0.1:9/: ",
        ),
    ],
)
def test_a_probe_ends_as_what_it_found(ask, outcome: Outcome, reason: str, tmp_path: Path):
    target = Target(endpoints={"registry": "http://127.0.0.1:9/"})
    (verdict,) = run([Probe("A-1-01", "a", "c", "p", ask)], target, tmp_path).verdicts

    assert verdict.outcome is outcome
    assert verdict.reason.startswith(reason[:40])


def test_what_was_not_given_or_is_not_claimed_is_not_asked(tmp_path: Path):
    mistake = _raises(AssertionError("it was asked"))
    asked = [
        Probe("A-1-01", "a", "c", "p", mistake, needs=("registry",)),
        Probe("A-1-02", "a", "c", "p", mistake, option="Frames"),
    ]
    outcome = run(asked, Target(without=frozenset({"Frames"})), tmp_path)

    assert [verdict.outcome for verdict in outcome.verdicts] == [Outcome.NOT_OFFERED] * 2
    assert outcome.passed


def test_what_a_plan_needs_is_there_from_the_beginning_of_the_run(tmp_path: Path):
    """A consumer that finds nobody to report to waits the longer before it tries again."""
    happened: list[str] = []
    first = Plan("a", begin=lambda stand: 1 / 0)
    second = Plan("b", begin=lambda stand: happened.append("begun"))
    elsewhere = Plan("c", needs=("not given",), begin=lambda stand: happened.append("elsewhere"))
    for plan in (first, second, elsewhere):
        plan.add(f"{plan.actor}-1", "", "asks", lambda stand: happened.append("asked"))
        plan.add(f"{plan.actor}-2", "", "asks again", lambda stand: happened.append("asked"))

    outcomes = [one.outcome for one in run([*first, *second, *elsewhere], Target(), tmp_path).verdicts]

    assert happened == ["begun", *["asked"] * 4]
    assert outcomes == [Outcome.PASSED] * 4 + [Outcome.NOT_OFFERED] * 2


def test_an_id_is_stated_once():
    plan = Plan("a")
    plan.add("A-1-01", "c", "p", lambda stand: None)
    with pytest.raises(ValueError, match="A-1-01"):
        plan.add("A-1-01", "c", "p", lambda stand: None)


# --- a system that answers nonsense ----------------------------------------------------------------------


class Nonsense(http.server.BaseHTTPRequestHandler):
    """Answers everything with one thing."""

    answer = (200, "text/plain", b"hello")
    protocol_version = "HTTP/1.1"
    # Head and body leave together.
    wbufsize = 65536

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        status, content_type, body = type(self).answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def nonsense() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


SUCCESS = Envelope(
    action="urn:x",
    body='<rs:RegistryResponse status="urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"/>',
).xml()


ANSWERS = [
    (200, "text/plain", b"hello"),
    (500, "text/html", b"<html/>"),
    (200, "application/soap+xml", SUCCESS),
    (200, "multipart/related; boundary=b", b"--b--"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["text", "an error page", "success", "an empty package"])
def test_a_system_that_answers_the_same_to_everything_meets_next_to_nothing(
    nonsense: str,
    answer: tuple[int, str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Nonsense, "answer", answer)
    names = ("registry", "repository", "source", "dicomweb", "initiating", "responding")
    target = Target(
        endpoints=dict.fromkeys(names, nonsense),
        home="urn:oid:2.999.1",
        retrieve_location_uid="2.999.2",
        patience_seconds=0.1,
    )

    # Each of the four answers is given to a quarter of them.
    outcome = run(PROBES[ANSWERS.index(answer) :: len(ANSWERS)], target, tmp_path)

    offered = len(outcome.verdicts) - outcome.count(Outcome.NOT_OFFERED)
    mistakes = [one for one in outcome.verdicts if "the probe failed" in one.reason]
    assert [(one.probe.id, one.reason) for one in mistakes] == []
    passed = [one.probe.id for one in outcome.verdicts if one.outcome is Outcome.PASSED]
    assert len(passed) <= 0.2 * offered, passed


# --- messages --------------------------------------------------------------------------------------------


def test_a_package_is_read_to_the_byte():
    parts = {"one@probe": b"\r\n--x\r\n\x00\xff", "two@probe": b""}
    content_type, body = package(SUCCESS, parts)
    reply = Reply(200, {"content-type": content_type}, body)

    assert reply.parts == parts
    assert reply.outcome == "Success"


def test_what_a_probe_takes_away_is_not_there(tmp_path: Path):
    stand = Stand(Target(), tmp_path)
    patient = stand.patient_id("1")
    whole = a_submission(stand, an_entry(stand, patient))
    lacking = a_submission(stand, an_entry(stand, patient), changes=[without("//rim:Association")])

    assert "rim:Association" in whole.xml()
    assert "rim:Association" not in lacking.xml()
    stand.close()


# --- reports ---------------------------------------------------------------------------------------------


@pytest.fixture
def outcome(tmp_path: Path) -> Run:
    def ask(stand: Stand) -> None:
        stand.keep("POST <x>", b"sent & <b>\x00", b"came")
        expect(False, "a <b> & a \x00")

    def probe(number: int, ask, option: str = "") -> Probe:
        return Probe(f"A-1-0{number}", "registry", "ITI TF-2 3.18", f"purpose {number}", ask, option)

    asked = [probe(1, lambda stand: None), probe(2, ask), probe(3, ask, "Frames")]
    return run(asked, Target(without=frozenset({"Frames"}), endpoints={"registry": "http://x"}), tmp_path)


def test_exchanges_are_kept_as_files(outcome: Run):
    (exchange,) = outcome.verdicts[1].exchanges
    assert (outcome.folder / exchange.request).read_bytes() == b"sent & <b>\x00"
    assert (outcome.folder / exchange.answer).read_bytes() == b"came"


def test_junit_counts_what_failed_and_what_was_skipped(outcome: Run):
    suite = etree.fromstring(junit(outcome)).find("testsuite")
    assert dict(suite.attrib) | {"timestamp": ""} == {
        "name": "registry",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "timestamp": "",
    }
    assert suite.find("testcase/failure").get("message") == "a <b> & a ? [ITI TF-2 3.18]"


def test_the_page_needs_nothing_else_and_shows_what_failed(outcome: Run):
    text = page(outcome)
    assert "http" not in text.replace("http://x", "").replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "sent &amp; &lt;b&gt;" in text
    assert "a &lt;b&gt; &amp; a" in text
    assert text.count("<tr id=") == 3


def test_the_page_shows_what_is_otherwise_than_before_and_what_validators_find(outcome: Run):
    (finding, *_) = judge(b"hello", "answer").findings
    verdicts = (replace(outcome.verdicts[0], findings=(finding,)), *outcome.verdicts[1:])
    changed = replace(outcome, verdicts=verdicts)
    text = page(changed, (Difference("A-1-01", "failed", "passed", ""),))

    assert '<a href="#A-1-01">A-1-01</a></th><td>failed</td><td>passed</td>' in text
    assert finding.id in text
    assert as_json(changed)["verdicts"][0]["findings"][0]["id"] == finding.id


def test_what_came_is_judged_by_the_validators_whatever_the_probe_looks_at(tmp_path: Path):
    plan = Plan("registry")

    @plan.requires("A-2-01", "ITI TF-2 3.18")
    def _(stand: Stand) -> None:
        """Something is answered."""
        stand.http("GET", f"{stand.endpoint('registry')}/x")

    wrong = HttpAnswer(b"<s:Envelope xmlns:s='urn:none'/>", "application/soap+xml")
    with http_simulator(lambda _: wrong) as simulator:
        target = Target(endpoints={"registry": simulator.url})
        (verdict,) = run(plan, target, tmp_path / "shown").verdicts
        (strictly,) = run(plan, target, tmp_path / "strict", strict=True).verdicts

    assert verdict.outcome is Outcome.PASSED
    assert verdict.findings
    assert strictly.outcome is Outcome.FAILED
    assert strictly.reason.startswith(verdict.findings[0].id)


def test_no_answer_leads_to_a_host_that_was_not_named(tmp_path: Path):
    plan = Plan("registry")

    @plan.requires("A-3-01", "ITI TF-2 3.18")
    def _(stand: Stand) -> None:
        """Who follows goes elsewhere."""
        stand.http("GET", stand.endpoint("registry") + "@127.0.0.2:1/")

    with http_simulator(lambda _: HttpAnswer()) as simulator:
        (verdict,) = run(plan, Target(endpoints={"registry": simulator.url}), tmp_path).verdicts

    assert verdict.outcome is Outcome.FAILED
    assert "none of the system's" in verdict.reason
    assert not simulator.requests


def test_json_tells_two_runs_apart(outcome: Run):
    before = json.loads(json.dumps(as_json(outcome)))
    verdicts = (
        Verdict(outcome.verdicts[0].probe, Outcome.FAILED, "now it fails"),
        *outcome.verdicts[1:2],
    )
    after = as_json(Run(datetime.now(UTC), 1.0, outcome.target, outcome.folder, verdicts))

    assert [(one.id, one.before, one.after) for one in differences(before, after)] == [
        ("A-1-01", "passed", "failed"),
        ("A-1-03", "not offered", ""),
    ]
    assert differences(before, before) == ()


def test_the_terminal_tells_what_failed_why_and_where_it_is_kept(outcome: Run):
    told = list(lines(outcome))
    assert told[0] == "FAILED  A-1-02  purpose 2"
    assert told[1].startswith("    a <b> & a")
    assert "01-request.bin" in told[2]
    assert told[-1].endswith("FAILED")

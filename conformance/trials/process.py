"""Runs one trial in a process of its own, in bounded memory: what a system does to who asks it ends there.

As a program: `python -m conformance.trials.process FOLDER`.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from conformance.plans import reach
from conformance.plans.catalogue import probes
from conformance.plans.probe import Probe, Verdict
from conformance.plans.run import chosen, run
from conformance.plans.stand import Target
from conformance.reports.data import as_json, verdict_as_json
from conformance.reports.junit import junit
from conformance.reports.page import page
from conformance.tls_contexts import client_context, server_context
from conformance.trials.folder import Question, TrialFolder
from conformance.trials.order import Order

_MEMORY: Final = 2 * 1024**3
_FILE: Final = 512 * 1024**2
#: Of the consumer's probes those that peers play wrongly; each asks the person twice or more.
_WRONG_PEERS: Final = ("CON-ERR", "CON-SEC")
_LOOK_SECONDS: Final = 0.2
#: A person may have to publish.
_PATIENCE_SECONDS: Final = 60.0


def main(path: str) -> None:
    """Run the trial in a folder, and write its reports."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
    folder = TrialFolder(Path(path))
    order = folder.order()
    # Who began it ends it before; unless that is gone.
    signal.alarm(int(order.seconds) + 60)

    def report(verdict: Verdict) -> None:
        folder.add_step(verdict_as_json(verdict))

    target = _target(order, folder)
    plan, before = list(probes_of(order)), list(reach.probes_of(order.actor, target))
    folder.write_length(len(before) + len(plan))
    outcome = run(plan, target, folder.messages, before=before, report=report)
    folder.write_report("report.html", page(outcome).encode())
    folder.write_report("report.json", json.dumps(as_json(outcome), indent=2).encode())
    folder.write_report("junit.xml", junit(outcome))
    shutil.rmtree(folder.messages, ignore_errors=True)
    folder.end("")


def probes_of(order: Order) -> Iterator[Probe]:
    """What is asked."""
    for probe in chosen(probes(), [order.actor]):
        if order.wrong_peers or not probe.id.startswith(_WRONG_PEERS):
            yield probe


def _target(order: Order, folder: TrialFolder) -> Target:
    over_tls = bool(order.trust) or any(one.startswith("https:") for one in order.endpoints.values())
    of_consumer = order.actor == "consumer"
    # A consumer asks whom we play; to an archive we are an entity that listens, by TLS if it does.
    listens_over_tls = of_consumer or (over_tls and "dimse" in order.endpoints)
    certificate = order.certificate
    return Target(
        endpoints=order.endpoints,
        domain=order.domain,
        home=order.home,
        repository_unique_id=order.repository_unique_id,
        retrieve_location_uid=order.retrieve_location_uid,
        tls=client_context(certificate, order.key, order.trust) if over_tls else None,
        assertion=order.assertion,
        entity=order.entity if "dimse" in order.endpoints else "",
        study_is_there=order.study_is_there,
        patience_seconds=_PATIENCE_SECONDS,
        peers=order.peers if of_consumer else "",
        peers_syslog=order.peers_syslog if of_consumer else "",
        peers_host=order.peers_host,
        peers_tls=(
            server_context(certificate, order.key, order.peers_trust)
            if listens_over_tls and certificate
            else None
        ),
        person=_Person(folder),
        without=frozenset(order.without),
    )


class _Person:
    """The person who reads the page of the trial."""

    def __init__(self, folder: TrialFolder) -> None:
        self._folder = folder
        self._numbers = count(1)

    def __call__(self, text: str) -> bool:
        question = Question(next(self._numbers), text)
        self._folder.ask(question)
        while (answer := self._folder.answer(question.number)) is None:
            time.sleep(_LOOK_SECONDS)
        return answer


if __name__ == "__main__":
    main(*sys.argv[1:])

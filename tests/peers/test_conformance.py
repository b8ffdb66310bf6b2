"""Our own services meet every requirement of the plans; services that do not are told from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.plans.catalogue import probes
from conformance.plans.probe import Outcome
from conformance.plans.run import chosen, run
from conformance.plans.stand import Target
from tests.support.faults_of_mutants import FAULTS
from tests.support.mutating_proxy import mutating_proxy
from xdsi.own_system import own_system

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with own_system(tmp_path_factory.mktemp("system")) as target:
        yield target


def test_our_own_services_meet_every_requirement(system: Target, tmp_path: Path):
    outcome = run(chosen(probes(), []), system, tmp_path)

    assert [
        (verdict.probe.id, verdict.probe.purpose, verdict.reason)
        for verdict in outcome.verdicts
        if verdict.outcome in (Outcome.FAILED, Outcome.UNDECIDED)
    ] == []
    assert outcome.count(Outcome.PASSED) >= 450


def test_mutants_are_told_from_what_they_were(system: Target, tmp_path: Path, long: bool):
    assert len(FAULTS) >= 60
    faults = FAULTS if long else FAULTS[::5]
    missed = []
    with mutating_proxy(system) as proxy:
        assert run(chosen(probes(), ["REG-18"]), proxy.target, tmp_path / "as it is").passed
        for number, fault in enumerate(faults):
            proxy.fault = fault
            outcome = run(chosen(probes(), fault.plan), proxy.target, tmp_path / str(number))
            if outcome.passed:
                missed.append(fault.name)

    print(f"{len(faults) - len(missed)} of {len(faults)} mutants were told; missed: {missed}")
    assert len(missed) <= 0.05 * len(faults), missed

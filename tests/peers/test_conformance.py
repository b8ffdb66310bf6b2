"""Our own services meet every requirement of the plans; services that do not are told from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.plans.catalogue import probes
from conformance.plans.probe import Outcome
from conformance.plans.run import run
from conformance.plans.stand import Target
from tests.support.forked import forked_services
from xdsi.own_system import own_system

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with forked_services(), own_system(tmp_path_factory.mktemp("system")) as target:
        yield target


def test_our_own_services_meet_every_requirement(system: Target, tmp_path: Path):
    outcome = run(probes(), system, tmp_path)

    assert [
        (verdict.probe.id, verdict.probe.purpose, verdict.reason)
        for verdict in outcome.verdicts
        if verdict.outcome in (Outcome.FAILED, Outcome.UNDECIDED)
    ] == []
    assert outcome.count(Outcome.PASSED) >= 450

"""What five clients see of a registry that is killed again and again is what one of them could see of one
that never is: each uniqueId's history is linearizable.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.linearizability import Operation
from tests.support.postgres import fresh_database, postgres_url
from tests.support.registry_history import Contenders, Histories, killed_while
from tests.support.registry_process import client_of, running_registry

__all__ = ["postgres_url"]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]

SHORT, LONG = (600, 4), (10_000, 60)  # operations, kills


@dataclass(frozen=True)
class Run:
    """One run, and how it was asked for."""

    histories: Histories
    operations: int
    kills: int


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def run(
    request: pytest.FixtureRequest, long: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    url = None
    if request.param == "postgresql":
        url = asyncio.run(fresh_database(request.getfixturevalue("postgres_url")))
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    operations, kills = LONG if long else SHORT
    histories = asyncio.run(_worked(tmp_path_factory.mktemp("registry"), url, operations, kills, seed))
    print(f"{operations} operations, {kills} kills, {histories.unknown} unknown, {dict(histories.counts)}")
    return Run(histories, operations, kills)


async def _worked(folder: Path, url: str | None, operations: int, kills: int, seed: int) -> Histories:
    with running_registry(folder, url, patients="any") as registry:
        async with client_of(registry) as client:
            contenders = Contenders(client, operations, seed)
            killing = asyncio.create_task(killed_while(registry, contenders, kills, operations, seed + 1))
            await contenders.work()
            await killing
    return contenders.histories


def test_every_history_is_explained_by_some_order(run: Run) -> None:
    assert {uid: _told(each) for uid, each in run.histories.violations().items()} == {}


def test_there_was_something_to_explain(run: Run) -> None:
    """Every kind of change was made and refused, and some of it lost; otherwise nothing was proved."""
    counts = run.histories.counts

    for change in ("Register", "SetApproved", "Remove"):
        assert counts[f"{change} Done"] >= 5, counts
        assert counts[f"{change} Refused"] >= 3, counts
    assert counts["Get Saw"] >= 50, counts
    assert counts["FindApproved Saw"] >= 50, counts
    assert counts["away"] >= run.kills, counts
    assert sum(map(len, run.histories.operations.values())) >= run.operations


def _told(operations: list[Operation]) -> list[str]:
    return [f"{each.called:.4f}-{each.returned:.4f} {each.what} {each.outcome}" for each in operations]

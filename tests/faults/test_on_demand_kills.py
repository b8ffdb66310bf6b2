"""The repository killed at every named point between the moment when a document is asked for that has to be
made, and the last commit; and at any moment."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from repository.domain.assembly import AssemblyKind
from shared.ebrim import schemes
from tests.support.faulty_repository import DELAYED_POINTS, ENTERING_POINTS, ON_DEMAND_POINTS
from tests.support.on_demand_rig import OnDemandRig, an_on_demand_rig

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(7200)]

ROUNDS, LONG_ROUNDS = 1, 10
KILLS, LONG_KILLS = 4, 100
ASKING = 4


def faults(points: tuple[str, ...], long: bool) -> list[tuple[str, str]]:
    """Each point, before or after it; both in the long form, again and again."""
    if not long:
        return [(point, random.choice(("before", "after"))) for point in points]
    return [(point, when) for point in points for when in ("before", "after") for _ in range(LONG_ROUNDS)]


async def dies(work: OnDemandRig, point: str, when: str, asking: asyncio.Task[object]) -> None:
    """Wait for the end that the fault brings, and start again."""
    try:
        await work.rig.died()
    except TimeoutError:
        pytest.fail(f"{when} {point} was not passed; the answer is {await asking}")
    await asking
    await work.start()


async def test_a_snapshot_survives_a_kill_at_every_point(tmp_path: Path, long: bool):
    async with an_on_demand_rig(tmp_path) as work:
        for point, when in faults(ON_DEMAND_POINTS, long):
            await work.grow()
            work.arm(point, when)
            await dies(work, point, when, asyncio.create_task(work.ask(work.on_demand)))

            again = await work.ask(work.on_demand)
            assert again == await work.ask(work.on_demand), (point, when)
        await work.settled()
        await work.check()
        assert len(await work.entries()) == len(faults(ON_DEMAND_POINTS, long)), (
            "a snapshot too many or too few"
        )
        await work.rig.kill()
        await work.swept()


async def test_a_delayed_document_survives_a_kill_at_every_point(tmp_path: Path, long: bool):
    async with an_on_demand_rig(tmp_path) as work:
        for point, when in faults(DELAYED_POINTS, long):
            unique_id = await work.enter(AssemblyKind.DELAYED)
            work.arm(point, when)
            await dies(work, point, when, asyncio.create_task(work.ask(unique_id)))

            assert await work.ask(unique_id) == await work.ask(unique_id) is not None, (point, when)
        await work.settled()
        await work.check()
        assert work.delayed_entries(await work.entries()) == set(work.delayed)
        await work.rig.kill()
        await work.swept()


@pytest.mark.parametrize("kind", AssemblyKind)
async def test_an_entry_survives_a_kill_at_every_point(tmp_path: Path, long: bool, kind: AssemblyKind):
    async with an_on_demand_rig(tmp_path) as work:
        entered = [work.on_demand]
        for number, (point, when) in enumerate(faults(ENTERING_POINTS, long)):
            work.arm(point, when)
            # A study has one On-Demand entry for a patient.
            patient = f"Q{number}"
            await dies(work, point, when, asyncio.create_task(work.enter(kind, patient)))

            entered.append(await work.enter(kind, patient))
        await work.settled()
        if kind is AssemblyKind.ON_DEMAND:
            assert [one.unique_id for one in await work.entries(schemes.ON_DEMAND)] == entered
        for unique_id in entered:
            assert await work.ask(unique_id)
        await work.check()
        await work.rig.kill()
        await work.swept()


async def test_kills_at_any_moment_lose_nothing_and_leave_nothing(tmp_path: Path, long: bool):
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    choice = random.Random(seed)
    async with an_on_demand_rig(tmp_path) as work:
        unique_ids = [work.on_demand]
        for _ in range(LONG_KILLS if long else KILLS):
            unique_ids.append(await work.enter(AssemblyKind.DELAYED))
            await work.grow()
            asked = [choice.choice(unique_ids[-2:] + unique_ids[:1]) for _ in range(ASKING)]
            asking = [asyncio.create_task(work.ask(unique_id)) for unique_id in asked]
            await asyncio.sleep(choice.uniform(0, 0.5))
            await work.rig.kill()
            await asyncio.gather(*asking)

            await work.start()
            for unique_id in set(asked):
                assert await work.ask(unique_id) is not None
        await work.settled()
        await work.check()
        await work.rig.kill()
        await work.swept()

"""Changes whose outcome is told: what a broken commit leaves open is found out, across a fail-over.

Whoever cannot be told the outcome must not be told that nothing was done. Each change that is written here
leaves a record of its own, by which the database itself says whether it was carried out.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from shared.store.engine import Database, Transaction, Work
from shared.store.failures import DatabaseBusy, DatabaseFull, DatabaseUnavailable, OutcomeUnknown

Result = TypeVar("Result")

SETTLE_SECONDS = 15.0
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


async def nothing_of_it(_: Transaction) -> None:
    """For work that leaves no record, because it may be done twice."""


async def write_settled(
    database: Database, work: Work[Result], *, done: Work[Result | None], doubted: bool = False
) -> Result:
    """Carry out `work` once, as `Database.write` does, and find out whether it was when the commit broke.

    Parameters
    ----------
    done
        Looks for the record that `work` leaves: the result when it is there, or None. Work that is still on
        its way must be waited for by `work` itself, which meets it at a unique index.
    doubted
        An earlier attempt may have been carried out, so that `done` is asked first.

    Raises
    ------
    OutcomeUnknown
        The database could not be asked within `SETTLE_SECONDS`.
    DatabaseError
        Nothing was done.
    """

    async def settle(transaction: Transaction) -> Result:
        outcome = await done(transaction)
        return await work(transaction) if outcome is None else outcome

    if not doubted:
        try:
            return await database.write(work)
        except OutcomeUnknown:
            pass  # it is found out below
    pause = SHORTEST_PAUSE
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                try:
                    return await database.write(settle)
                except (OutcomeUnknown, DatabaseUnavailable, DatabaseBusy, DatabaseFull):
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
    except TimeoutError:
        raise OutcomeUnknown(f"the database could not be asked within {SETTLE_SECONDS:g} s") from None

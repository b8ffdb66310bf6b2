"""How many wrong passwords are taken: of one name, and from one node, in a quarter of an hour.

Every process of the service knows it. An attempt is counted before it is made and taken back when it was
right: many at once are no more than one after the other. Names and nodes are kept as digests; beyond `MOST`
those are forgotten that began longest ago, whoever comes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, delete, select, update

from identity.store.tables import attempt
from shared.store.engine import Database, Transaction
from shared.store.statements import in_list, insert_or_ignore

SECONDS: Final = 900
OF_ONE_NAME: Final = 10
OF_ONE_NODE: Final = 40
MOST: Final = 20_000

_KEY: Final = attempt.c.key == bindparam("a_key")
_NUMBERS = select(attempt.c.key, attempt.c.number).where(
    in_list(attempt.c.key, "keys"), attempt.c.since > bindparam("over")
)
_FORGET = delete(attempt).where(attempt.c.since <= bindparam("over"))
_FORGET_OLDEST = delete(attempt).where(
    attempt.c.key.in_(select(attempt.c.key).order_by(attempt.c.since.desc()).offset(MOST))
)
_BEGIN = insert_or_ignore(attempt).values({column.name: bindparam(column.name) for column in attempt.c})
_COUNT = update(attempt).where(_KEY).values(number=attempt.c.number + 1)
_TAKE_BACK = update(attempt).where(_KEY, attempt.c.number > 0).values(number=attempt.c.number - 1)
_REMOVE = delete(attempt).where(_KEY)


class Lockout:
    """Counts attempts in `database`; `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def admits(self, name: str, node: str) -> bool:
        """Whether one more is tried for `name` from `node`, which counts as wrong until it has succeeded."""
        most = {_of_name(name): OF_ONE_NAME, _of_node(node): OF_ONE_NODE}
        now = int(self._clock())
        over = now - SECONDS
        if any(number >= most[key] for key, number in await _numbers(self._database, most, over)):
            return False

        async def work(transaction: Transaction) -> bool:
            await transaction.execute(_FORGET, over=over)
            # In one order, so that two who try the same wait for one another at most once.
            for key in sorted(most):
                await transaction.execute(_BEGIN, key=key, since=now, number=0)
                await transaction.execute(_COUNT, a_key=key)
            await transaction.execute(_FORGET_OLDEST)
            return all(number <= most[key] for key, number in await _numbers(transaction, most, over))

        return await self._database.write(work)

    async def succeeded(self, name: str, node: str) -> None:
        """Forget the attempts of who signed in, and take back the one from the node."""

        async def work(transaction: Transaction) -> None:
            await open_name(transaction, name)
            await transaction.execute(_TAKE_BACK, a_key=_of_node(node))

        await self._database.write(work)


async def open_name(transaction: Transaction, name: str) -> None:
    """Forget the attempts of a name."""
    await transaction.execute(_REMOVE, a_key=_of_name(name))


async def _numbers(reader: Database | Transaction, keys: dict[str, int], over: int) -> list[tuple[str, int]]:
    return [(row[0], row[1]) for row in await reader.fetch(_NUMBERS, keys=list(keys), over=over)]


def _of_name(name: str) -> str:
    return _digest("name", name)


def _of_node(node: str) -> str:
    return _digest("node", node)


def _digest(*parts: str) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()

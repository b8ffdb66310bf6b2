"""Assertions for one use that were used, in the whole community; until they expire by themselves."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Text, bindparam, delete, func, select

from registry.store.tables import used_assertion
from shared.security.once import MOST_KEPT, untold
from shared.store.engine import Database, Transaction
from shared.store.failures import DatabaseError
from shared.store.statements import insert_or_ignore

_USE = insert_or_ignore(used_assertion)
_FORGET = delete(used_assertion).where(used_assertion.c.until < bindparam("now", type_=Text))
_NUMBER = select(func.count()).select_from(used_assertion)


class UsedAssertions:
    """The table, as the registry's own doors and the services of the community use it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(self, key: str, until: datetime) -> bool:
        """Whether this is the first use, durable before it is told; `shared.security.once.Once`."""

        async def work(transaction: Transaction) -> bool:
            await transaction.execute(_FORGET, now=datetime.now(UTC).isoformat())
            ((number,),) = await transaction.fetch(_NUMBER)
            if number >= MOST_KEPT:
                raise untold("too many are kept; some must expire first")
            return bool(await transaction.execute(_USE, key=key, until=until.astimezone(UTC).isoformat()))

        try:
            return await self._database.write(work)
        except DatabaseError as error:
            raise untold(f"the database cannot say whether it was used ({type(error).__name__})") from None

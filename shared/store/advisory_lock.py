"""The right to a job, among all processes and hosts at one PostgreSQL: an advisory lock of a session.

It is held on a connection of its own for as long as that lives, so that it ends with the process, with the
host and with the way to the server. A pooler in between must not give sessions away (PgBouncer:
`pool_mode = session`).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

import asyncpg

ASK_SECONDS: Final = 5.0
#: After another process was found to have the right.
AGAIN_SECONDS: Final = 1.0

# Services that share a database have schemas of their own, and jobs of the same name.
_TRY: Final = "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || ' ' || $1, 0))"
_UNANSWERED: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class AdvisoryLock:
    """The right to do one job; `shared.store.sole.Sole`."""

    def __init__(self, pool: Any, job: str) -> None:
        self._pool = pool
        self._job = job
        self._connection: Any = None
        self._again = 0.0
        self._asking = asyncio.Lock()

    async def held(self) -> bool:
        """Whether the right is ours now; it is taken when nobody has it. No answer means no."""
        async with self._asking:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    return await (self._still_held() if self._connection is not None else self._taken())
            except _UNANSWERED:
                await self._let_go()
                return False

    async def close(self) -> None:
        """Give the right back."""
        async with self._asking:
            await self._let_go()

    async def _still_held(self) -> bool:
        await self._connection.execute("SELECT 1")
        return True

    async def _taken(self) -> bool:
        if time.monotonic() < self._again:
            return False
        connection = await self._pool.acquire(timeout=ASK_SECONDS)
        try:
            taken: bool = await connection.fetchval(_TRY, self._job)
        except BaseException:
            # A session that may have the right does not go back to others.
            self._connection = connection
            await self._let_go()
            raise
        if taken:
            self._connection = connection
        else:
            self._again = time.monotonic() + AGAIN_SECONDS
            await self._pool.release(connection)
        return taken

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(asyncpg.InterfaceError):
                connection.terminate()
            with suppress(*_UNANSWERED):
                await self._pool.release(connection)

"""PostgreSQL by asyncpg: READ COMMITTED, unique indexes, row locks, and a bounded number of retries.

No statement changes session state, so a connection goes back to the pool without a reset, which would cost a
round trip for every request.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import MetaData, TableClause
from sqlalchemy.sql.elements import ClauseElement

from shared.store import schema
from shared.store.engine import Row, Transaction, Work
from shared.store.failures import (
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    OutcomeUnknown,
    UniqueViolation,
)
from shared.store.statements import POSTGRESQL, Statements, insert_arrays

Result = TypeVar("Result")

POOL_SIZE = 16
ATTEMPTS = 6  # the first, and five more
STATEMENT_SECONDS = 30
LATE_SECONDS = 5  # beyond that: a server that lives has said by then that a statement took too long
CONNECT_SECONDS = 10
COMMIT_SECONDS = 30
CLOSE_SECONDS = 30
_ADVISORY_LOCK = 0x78647369  # "xdsi"

_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.LockNotAvailableError,
)
_FULL = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    OSError,
    TimeoutError,
)


class PostgresTransaction:
    """The statements of one piece of work on one connection."""

    def __init__(self, connection: Any, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._inserts: dict[tuple[TableClause, tuple[str, ...]], list[Mapping[str, Any]]] = {}

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of `statement`."""
        compiled = self._statements.compiled(statement)
        rows = await self._connection.fetch(compiled.text, *compiled.arguments(parameters))
        return [tuple(row) for row in rows]

    async def execute(self, statement: ClauseElement, /, **parameters: Any) -> int:
        """Carry out `statement` and count the rows that it touched."""
        compiled = self._statements.compiled(statement)
        status: str = await self._connection.execute(compiled.text, *compiled.arguments(parameters))
        return int(status.rpartition(" ")[2])

    async def execute_many(self, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Carry out `statement` for each of `rows`, in one round trip."""
        if rows:
            compiled = self._statements.compiled(statement)
            await self._connection.executemany(compiled.text, [compiled.arguments(row) for row in rows])

    async def insert(self, table: TableClause, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep `rows` for `finish`."""
        if rows:
            self._inserts.setdefault((table, tuple(rows[0])), []).extend(rows)

    async def finish(self) -> None:
        """Insert what was kept, in one statement."""
        if self._inserts:
            arrays = [
                [row[column] for row in rows]
                for (_, columns), rows in self._inserts.items()
                for column in columns
            ]
            await self._connection.execute(insert_arrays(tuple(self._inserts)), *arrays)


class PostgresDatabase:
    """A pool of connections whose search path is the service's schema; made by `open_database`."""

    dialect = POSTGRESQL

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._statements = Statements(POSTGRESQL)
        self._writing: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of one statement."""
        async with self._connection() as connection:
            return await PostgresTransaction(connection, self._statements).fetch(statement, **parameters)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one snapshot."""
        async with self._connection() as connection:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            result = await self._worked(work, connection, transaction)
            await transaction.commit()
            return result

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in a transaction of its own, which a cancelled caller does not stop."""
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        task = asyncio.ensure_future(self._write(work))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    async def check(self) -> None:
        """Write one row and read it back."""
        await self.write(_probe)
        await self.fetch(schema.READ_PROBE)

    async def close(self) -> None:
        """Finish what was taken, then close the connections."""
        self._closed = True
        if self._writing:
            await asyncio.wait(set(self._writing), timeout=CLOSE_SECONDS)
        await asyncio.wait_for(self._pool.close(), CLOSE_SECONDS)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with _translated():
            connection = await self._acquired()
            try:
                yield connection
            finally:
                await self._pool.release(connection)

    async def _acquired(self) -> Any:
        try:
            return await self._pool.acquire(timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise DatabaseBusy(f"no connection to PostgreSQL was free within {CONNECT_SECONDS} s") from None

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone, and then nobody else looks

    async def _write(self, work: Work[Result]) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(work)
            except _AGAIN as error:
                if attempt == ATTEMPTS:
                    raise _after_retries(error) from error
                # Jitter, so that those who met do not meet again.
                await asyncio.sleep(random.uniform(0.001, 0.005) * 2**attempt)  # noqa: S311
        raise AssertionError("unreachable")

    async def _attempt(self, work: Work[Result]) -> Result:
        async with self._connection() as connection:
            transaction = connection.transaction()
            result = await self._worked(work, connection, transaction)
            try:
                await _committed(transaction)
            except OutcomeUnknown:
                # The pool would wait for an answer that may never come, and then tell another failure.
                connection.terminate()
                raise
            return result

    async def _worked(self, work: Work[Result], connection: Any, transaction: Any) -> Result:
        """Begin and do the work; what fails is rolled back."""
        try:
            await transaction.start()
            statements = PostgresTransaction(connection, self._statements)
            result = await work(statements)
            await statements.finish()
            return result
        except TimeoutError:
            # The server has fallen silent: a rollback would wait for an answer as well.
            connection.terminate()
            raise
        except BaseException:
            await _rolled_back(transaction)
            raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise DatabaseBusy(f"PostgreSQL took longer than {STATEMENT_SECONDS} s") from error
    except _FULL as error:
        raise DatabaseFull(f"PostgreSQL: {error}") from error
    except _GONE as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot be used now ({type(error).__name__})") from error


async def _probe(transaction: Transaction) -> None:
    await transaction.execute(schema.WRITE_PROBE)


def _after_retries(error: Exception) -> DatabaseError:
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(f"PostgreSQL: {error.constraint_name}")
    return DatabaseBusy(f"PostgreSQL: {type(error).__name__} {ATTEMPTS} times")


async def _rolled_back(transaction: Any) -> None:
    try:
        await transaction.rollback()
    except _GONE:
        return  # the server rolls back what a lost connection leaves


async def _committed(transaction: Any) -> None:
    try:
        await asyncio.wait_for(transaction.commit(), COMMIT_SECONDS)
    except _GONE as error:
        raise OutcomeUnknown(f"the connection broke during COMMIT ({type(error).__name__})") from error


async def _no_reset(connection: Any) -> None:
    # A transaction left open would leak into the next request; that the driver knows without a round trip.
    if connection.is_in_transaction():
        connection.terminate()


# --- opening ------------------------------------------------------------------------------------------


async def open_database(
    url: str, *, schema: str, metadata: MetaData, migrations: str | None
) -> PostgresDatabase:
    """Connect to `url` and bring `schema` up to date."""
    address = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    settings = {"search_path": schema, "statement_timeout": str(STATEMENT_SECONDS * 1000), "jit": "off"}
    try:
        connection = await asyncpg.connect(address, timeout=CONNECT_SECONDS, server_settings=settings)
        try:
            await _upgrade(connection, schema, metadata, migrations)
        finally:
            await connection.close()
        pool = await asyncpg.create_pool(
            address,
            min_size=1,
            max_size=POOL_SIZE,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS + LATE_SECONDS,
            reset=_no_reset,
            server_settings={**settings, "synchronous_commit": "on"},
        )
    except (*_GONE, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"{_shown(url)}: {error}") from error
    return PostgresDatabase(pool)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{parts.hostname or ''}{parts.path}"


async def _upgrade(connection: Any, name: str, metadata: MetaData, migrations: str | None) -> None:
    async with connection.transaction():
        # Services and workers that start together wait for one another here.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
        if await connection.fetchval("SELECT to_regnamespace($1)::text", name) is None:
            await connection.execute(f'CREATE SCHEMA "{name}"')
        await connection.execute(schema.probe_script())
        if migrations is None:
            await connection.execute(schema.create_script(metadata))
            return
        revision = await _revision(connection)
        script = await asyncio.to_thread(schema.upgrade_script, migrations=migrations, revision=revision)
        if script:
            await connection.execute(script)


async def _revision(connection: Any) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')::text") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision

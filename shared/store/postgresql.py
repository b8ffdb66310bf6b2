"""PostgreSQL by asyncpg: READ COMMITTED, unique indexes, row locks, and a bounded number of retries.

No statement changes session state, so a connection goes back to the pool without a reset, which would cost a
round trip for every request.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from socket import gaierror
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import TableClause
from sqlalchemy.sql.elements import ClauseElement

from shared.store import schema
from shared.store.advisory_lock import AdvisoryLock
from shared.store.engine import Batch, Row, Transaction, Work
from shared.store.failures import (
    DatabaseAway,
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    OutcomeUnknown,
    UniqueViolation,
)
from shared.store.sole import Sole
from shared.store.statements import POSTGRESQL, Statements, arrays_of, insert_arrays, insertion_when
from shared.store.usage import Usage

Result = TypeVar("Result")

POOL_SIZE = 16
ATTEMPTS = 6  # the first, and five more
STATEMENT_SECONDS = 30
LATE_SECONDS = 5  # beyond that: a server that lives has said by then that a statement took too long
CONNECT_SECONDS = 10
COMMIT_SECONDS = 30
CLOSE_SECONDS = 30
# For so long a change of the schema waits for a table in use, before it lets others go first.
UPGRADE_WAIT_SECONDS = 1
UPGRADE_PAUSE_SECONDS = 0.5
UPGRADE_ATTEMPTS = 60
# Within transactions plans are for the values again, in the same round trip.
_BEGIN = "BEGIN; SET LOCAL plan_cache_mode = auto;"
_BEGIN_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL plan_cache_mode = auto;"
_COMMIT = "COMMIT;"
_ADVISORY_LOCK = 0x78647369  # "xdsi"

_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.LockNotAvailableError,
)
_FULL = (asyncpg.DiskFullError, asyncpg.OutOfMemoryError)
_ENDED = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
)
# The connection is of no more use, and another one may be: what a fail-over leaves in a pool.
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    *_ENDED,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)
GONE = (
    *_BROKEN,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    OSError,
    TimeoutError,
)
# After these it is not known whether a statement that commits by itself was carried out. What the server
# answers otherwise, it answers before it commits; `InterfaceError` is raised before anything is sent.
_UNCLEAR = (asyncpg.PostgresConnectionError, asyncpg.InternalClientError, *_ENDED, OSError, TimeoutError)


# At the start: it starts, or a fail-over is under way.
_AWAY = (*_UNCLEAR, asyncpg.InsufficientResourcesError, asyncpg.ReadOnlySQLTransactionError)


class _BrokenConnection(DatabaseUnavailable):
    """The connection broke, and nothing was done; the work may be done at once on another one."""


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
            await self._connection.executemany(compiled.text, compiled.arguments_of_each(rows))

    async def insert(self, table: TableClause, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep `rows` for `finish`."""
        if rows:
            self._inserts.setdefault((table, tuple(rows[0])), []).extend(rows)

    async def finish(self) -> None:
        """Insert what was kept, in one statement."""
        if self._inserts:
            text = insert_arrays(tuple(self._inserts))
            await self._connection.execute(text, *arrays_of(self._inserts.items()))


class PostgresDatabase:
    """A pool of connections whose search path is the service's schema; made by `open_database`."""

    dialect = POSTGRESQL

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._statements = Statements(POSTGRESQL)
        self._soles: list[AdvisoryLock] = []
        self._writing: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._waiting = 0

    @property
    def usage(self) -> Usage:
        """How much of it is in use now, rights to jobs included."""
        pool = self._pool
        in_use = pool.get_size() - pool.get_idle_size()
        return Usage(in_use=in_use, waiting=self._waiting, most=pool.get_max_size())

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of one statement."""
        try:
            return await self._fetch(statement, parameters)
        except _BrokenConnection:
            return await self._fetch(statement, parameters)

    def version(self) -> int | None:
        """None: to ask would be a round trip, as what is to be known is."""
        return None

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one snapshot."""
        try:
            return await self._read(work)
        except _BrokenConnection:
            return await self._read(work)

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in a transaction of its own, which a cancelled caller does not stop."""
        return await self._kept(lambda: self._attempt(work))

    async def insert(self, batches: Sequence[Batch], *, when: ClauseElement, **parameters: Any) -> bool:
        """Insert rows by one statement, which is a transaction of its own."""
        text, arguments = insertion_when(self._statements.compiled(when), parameters, batches)
        return await self._kept(lambda: self._insert(text, arguments))

    def sole(self, job: str) -> Sole:
        """The right to `job`, among all processes and hosts."""
        sole = AdvisoryLock(self._pool, job)
        self._soles.append(sole)
        return sole

    async def check(self) -> None:
        """Write one row and read it back."""
        await self.write(_probe)
        await self.fetch(schema.READ_PROBE)

    async def close(self) -> None:
        """Finish what was taken, then close the connections."""
        self._closed = True
        if self._writing:
            await asyncio.wait(set(self._writing), timeout=CLOSE_SECONDS)
        for sole in self._soles:
            await sole.close()
        await asyncio.wait_for(self._pool.close(), CLOSE_SECONDS)

    async def _fetch(self, statement: ClauseElement, parameters: Mapping[str, Any]) -> list[Row]:
        async with self._connection() as connection:
            return await PostgresTransaction(connection, self._statements).fetch(statement, **parameters)

    async def _read(self, work: Work[Result]) -> Result:
        async with self._connection() as connection:
            result = await self._worked(work, connection, _BEGIN_SNAPSHOT)
            await connection.execute(_COMMIT)
            return result

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with _translated():
            connection = await self._acquired()
            try:
                yield connection
            except (*_BROKEN, OutcomeUnknown):
                # Those that wait in the pool lead to the same server.
                _give_up(connection)
                await self._pool.expire_connections()
                raise
            finally:
                # What was done is done, whatever becomes of the connection now.
                with suppress(*GONE):
                    await self._pool.release(connection)

    async def _acquired(self) -> Any:
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=CONNECT_SECONDS)
        except TimeoutError:
            raise DatabaseBusy(f"no connection to PostgreSQL was free within {CONNECT_SECONDS} s") from None
        finally:
            self._waiting -= 1

    async def _kept(self, attempt: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of repeated attempts, which go on when the caller is gone."""
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        task = asyncio.ensure_future(_repeated(attempt))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone, and then nobody else looks

    async def _attempt(self, work: Work[Result]) -> Result:
        async with self._connection() as connection:
            result = await self._worked(work, connection, _BEGIN)
            try:
                await _committed(connection)
            except OutcomeUnknown:
                # The pool would wait for an answer that may never come, and then tell another failure.
                _give_up(connection)
                raise
            return result

    async def _insert(self, text: str, arguments: Sequence[Any]) -> bool:
        async with self._connection() as connection:
            try:
                status: str = await connection.execute(text, *arguments)
                return not status.endswith(" 0")
            except asyncpg.UniqueViolationError:
                return False
            except _UNCLEAR as error:
                # It ends with its commit, which may be what the server did last.
                _give_up(connection)
                raise _unknown(error) from error

    async def _worked(self, work: Work[Result], connection: Any, begin: str) -> Result:
        """Begin and do the work; what fails is rolled back."""
        try:
            await connection.execute(begin)
            statements = PostgresTransaction(connection, self._statements)
            result = await work(statements)
            await statements.finish()
            return result
        except TimeoutError:
            # The server has fallen silent: a rollback would wait for an answer as well.
            _give_up(connection)
            raise
        except _BROKEN:
            # There is nothing left to roll back on.
            raise
        except BaseException:
            await _rolled_back(connection)
            raise


async def _repeated(attempt: Callable[[], Awaitable[Result]]) -> Result:
    for number in range(1, ATTEMPTS + 1):
        try:
            return await attempt()
        except _BrokenConnection:
            if number > 1:
                raise
        except _AGAIN as error:
            if number == ATTEMPTS:
                raise _after_retries(error) from error
            # Jitter, so that those who met do not meet again.
            await asyncio.sleep(random.uniform(0.001, 0.005) * 2**number)  # noqa: S311
    raise AssertionError("unreachable")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.QueryCanceledError as error:
        raise DatabaseBusy(f"PostgreSQL took longer than {STATEMENT_SECONDS} s") from error
    except _FULL as error:
        raise DatabaseFull(f"PostgreSQL: {error}") from error
    except _BROKEN as error:
        raise _BrokenConnection(f"PostgreSQL cannot be used now ({type(error).__name__})") from error
    except GONE as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot be used now ({type(error).__name__})") from error


async def _probe(transaction: Transaction) -> None:
    await transaction.execute(schema.WRITE_PROBE)


def _after_retries(error: Exception) -> DatabaseError:
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(f"PostgreSQL: {error.constraint_name}")
    return DatabaseBusy(f"PostgreSQL: {type(error).__name__} {ATTEMPTS} times")


def _give_up(connection: Any) -> None:
    # One that broke has left the pool by itself, and says so instead.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _rolled_back(connection: Any) -> None:
    try:
        await connection.execute("ROLLBACK;")
    except GONE:
        return  # the server rolls back what a lost connection leaves


async def _committed(connection: Any) -> None:
    try:
        status = await connection.execute(_COMMIT, timeout=COMMIT_SECONDS)
    except GONE as error:
        raise _unknown(error) from error
    if status != "COMMIT":
        raise DatabaseUnavailable("PostgreSQL rolled back what was to be committed")


def _unknown(error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(f"the connection broke during COMMIT ({type(error).__name__})")


async def _no_reset(connection: Any) -> None:
    # A transaction left open would leak into the next request; that the driver knows without a round trip.
    if connection.is_in_transaction():
        connection.terminate()


# --- opening ------------------------------------------------------------------------------------------


async def open_database(url: str, *, schema: str, migrations: str, plans_kept: bool) -> PostgresDatabase:
    """Connect to `url` and bring `schema` up to date."""
    address = url.replace("postgresql+asyncpg://", "postgresql://", 1)
    settings = {"search_path": schema, "statement_timeout": str(STATEMENT_SECONDS * 1000), "jit": "off"}
    # A standby, to which a balancer may lead during a fail-over, answers of the past and takes nothing.
    writable = {} if "target_session_attrs=" in address else {"target_session_attrs": "read-write"}
    try:
        connection = await asyncpg.connect(
            address, timeout=CONNECT_SECONDS, server_settings=settings, **writable
        )
        try:
            await _upgrade(connection, schema, migrations)
        finally:
            await connection.close()
        pool = await asyncpg.create_pool(
            address,
            min_size=1,
            max_size=POOL_SIZE,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS + LATE_SECONDS,
            reset=_no_reset,
            **writable,
            server_settings={
                **settings,
                "synchronous_commit": "on",
                "plan_cache_mode": "force_generic_plan" if plans_kept else "auto",
            },
        )
    except (*GONE, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        kind = DatabaseAway if isinstance(error, _AWAY) else DatabaseUnavailable
        raise kind(f"{shown(url)}: {why_not_opened(error)}") from error
    return PostgresDatabase(pool)


def shown(url: str) -> str:
    """The URL of a database without user and password."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def why_not_opened(error: Exception) -> str:
    """Why a database cannot be opened, and what would help; no value of the URL but what the server says."""
    match error:
        case asyncpg.InvalidCatalogNameError():
            return f"{error}; make it (createdb), or name another"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return f"{error}; correct user and password"
        case asyncpg.InsufficientPrivilegeError():
            return f"{error}; grant CREATE on the database to this user"
        case gaierror():
            return "the host is not known; correct its name"
        case OSError() | asyncpg.CannotConnectNowError():
            return f"PostgreSQL does not answer ({error or type(error).__name__}); start it, or name another"
    return str(error) or type(error).__name__


async def _upgrade(connection: Any, name: str, migrations: str) -> None:
    newest = await asyncio.to_thread(schema.latest, migrations)
    if await revision_of(connection) != newest:
        # It takes its time to load, in which nobody shall wait for the lock.
        await asyncio.to_thread(importlib.import_module, "shared.store.migration")
    for _ in range(UPGRADE_ATTEMPTS):
        try:
            return await _upgraded(connection, name, migrations, newest)
        except asyncpg.LockNotAvailableError:
            # Whoever waits for a table keeps all behind him waiting, those that only read it too.
            await asyncio.sleep(UPGRADE_PAUSE_SECONDS)
    raise DatabaseUnavailable("the schema cannot be brought up to date: its tables are in use all the time")


async def _upgraded(connection: Any, name: str, migrations: str, newest: str) -> None:
    async with connection.transaction():
        # Services and workers that start together wait for one another here.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
        if await connection.fetchval("SELECT to_regnamespace($1)::text", name) is None:
            await connection.execute(f'CREATE SCHEMA "{name}"')
        for statement in schema.BESIDE_STATEMENTS:
            await connection.execute(statement)
        revision = await revision_of(connection)
        floors = await connection.fetch(schema.READ_FLOORS)
        if revision != newest and not schema.lives_with(newest, revision, floors):
            await connection.execute(f"SET LOCAL lock_timeout = '{UPGRADE_WAIT_SECONDS}s'")
            await connection.execute(await asyncio.to_thread(_script, migrations, revision))


def _script(migrations: str, revision: str | None) -> str:
    from shared.store.migration import upgrade_script

    return upgrade_script(migrations=migrations, revision=revision)


async def revision_of(connection: Any) -> str | None:
    """The alembic revision of the schema that the connection searches."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')::text") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


async def floors_of(connection: Any) -> list[Any]:
    """The floors of the revisions that the schema has had, which the connection searches."""
    if await connection.fetchval("SELECT to_regclass($1)::text", schema.FLOORS) is None:
        return []
    return list(await connection.fetch(schema.READ_FLOORS))

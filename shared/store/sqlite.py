"""The embedded database: Python's own `sqlite3`, one writer thread, reads on the event loop while they are
short.

A read that takes longer than `LOOP_SECONDS` is broken off and done again in a reader's thread: handing over
costs more than most reads take, and nobody else shall wait for the others.

One process owns the file (a lock beside it), and all writes and checkpoints come from one connection. SQLite
below 3.51.3 can corrupt a database when two connections of different threads or processes reset the
write-ahead log at once; with one writing connection that cannot happen. Readers are `mode=ro` and never
checkpoint.
"""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import text
from sqlalchemy.sql.elements import ClauseElement

from shared.attempts import attempted
from shared.store import schema
from shared.store.engine import Batch, Row, Transaction, Work
from shared.store.failures import (
    DatabaseBusy,
    DatabaseUnavailable,
    SchemaError,
    UniqueViolation,
)
from shared.store.folders import lock_file, make_folder, sync
from shared.store.sole import Sole
from shared.store.sqlite_transaction import FatalError, SqliteTransaction, drive, failure_of
from shared.store.statements import SQLITE, Statements
from shared.store.usage import Usage
from shared.store.writer import GroupWriter, WriterClosed

Result = TypeVar("Result")

OLDEST_SQLITE = (3, 38, 0)  # json_each without an extension, RETURNING, quick_check of one table

#: The write-ahead log never grows past this: the writer checkpoints when idle, and in a commit at this bound.
MAX_WAL_PAGES = 7_000
#: After an unclean stop a file up to this size is checked whole, a larger one by its first pages.
CHECKED_WHOLE_BYTES = 256 * 1024 * 1024

#: A read that takes longer does not stay on the event loop.
LOOP_SECONDS = 0.015
#: A read that takes longer is given up.
READ_SECONDS = 30.0
#: Threads for such reads.
READERS = 2
#: So often the time is looked at, in instructions of SQLite's machine: some 80 us.
_INSTRUCTIONS = 4_000

#: Pages that the writer holds in memory, as far as there are so many.
WRITER_CACHE_KB = 64 * 1024

_UNCLEAN = b"open"
_PRAGMAS = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA case_sensitive_like = ON",
)
_WRITER_PRAGMAS = (
    # Indexes are written all over; pages that fit in no memory are written twice in one transaction.
    f"PRAGMA cache_size = -{WRITER_CACHE_KB}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {MAX_WAL_PAGES}",
)

# Of the connection that asks: another one when somebody else has committed.
_VERSION = text("PRAGMA data_version")


def _version(transaction: Transaction) -> Coroutine[Any, Any, list[Row]]:
    return transaction.fetch(_VERSION)


class _TooLong(Exception):
    """A read was broken off when its time was over."""


class _Reading:
    """One connection that reads, in one thread, and breaks off what takes too long."""

    def __init__(self, path: Path) -> None:
        self._connection = _reader(path)
        self._connection.set_progress_handler(self._is_over, _INSTRUCTIONS)
        self._transaction = SqliteTransaction(self._connection, Statements(SQLITE))
        self._until = math.inf

    def run(self, work: Work[Result], seconds: float, *, snapshot: bool) -> Result:
        """The result of `work`, which only reads; raises `_TooLong` when it takes more than `seconds`."""
        self._until = time.monotonic() + seconds
        if snapshot:
            self._connection.execute("BEGIN")
        try:
            return drive(work(self._transaction))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise _TooLong from None
            raise
        except FatalError as error:
            raise error.failure from error
        finally:
            self._until = math.inf
            if snapshot:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _is_over(self) -> bool:
        return time.monotonic() > self._until


class _LongReads:
    """The threads for reads that are too long for the loop, each with a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix=f"{path.stem}-reader")
        self._own = threading.local()
        self._open: list[_Reading] = []

    async def run(self, work: Work[Result], *, snapshot: bool) -> Result:
        """The result of `work`, read in a thread; raises `DatabaseBusy` after `READ_SECONDS`."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: self._read(work, snapshot))
        except _TooLong:
            raise DatabaseBusy(f"SQLite took longer than {READ_SECONDS:g} s") from None

    def _read(self, work: Work[Result], snapshot: bool) -> Result:
        reading: _Reading | None = getattr(self._own, "reading", None)
        if reading is None:
            reading = self._own.reading = _Reading(self._path)
            self._open.append(reading)
        return reading.run(work, READ_SECONDS, snapshot=snapshot)

    def close(self) -> None:
        """Wait for the threads, and let go of the file."""
        self._threads.shutdown()
        for reading in self._open:
            reading.close()


class SqliteDatabase:
    """An open SQLite file; made by `open_database`.

    Each statement sees all that was committed before it began. Work that reads may be begun twice.
    """

    dialect = SQLITE

    def __init__(self, path: Path, lock: int, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._lock = lock
        self._connect = connect
        self._connection: sqlite3.Connection | None = connect()
        self._short = _Reading(path)
        self._long = _LongReads(path)
        self._written = Statements(SQLITE)
        self._dirty = False
        self._writer: GroupWriter[Work[Any], Any] = GroupWriter(
            self._carry_out, name=f"{path.stem}-writer", idle=self._checkpoint
        )

    async def fetch(self, statement: ClauseElement, /, **parameters: Any) -> list[Row]:
        """The rows of one statement."""

        def work(transaction: Transaction) -> Coroutine[Any, Any, list[Row]]:
            return transaction.fetch(statement, **parameters)

        try:
            return self._short.run(work, LOOP_SECONDS, snapshot=False)
        except _TooLong:
            return await self._long.run(work, snapshot=False)

    def version(self) -> int | None:
        """The number that SQLite keeps for the connection that reads."""
        [(version,)] = self._short.run(_version, LOOP_SECONDS, snapshot=False)
        return int(version)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` on one snapshot."""
        try:
            return self._short.run(work, LOOP_SECONDS, snapshot=True)
        except _TooLong:
            return await self._long.run(work, snapshot=True)

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in a savepoint of the next batch."""
        try:
            result: Result = await self._writer.put(work)
        except WriterClosed:
            raise DatabaseUnavailable("the database is closed") from None
        return result

    async def insert(self, batches: Sequence[Batch], *, when: ClauseElement, **parameters: Any) -> bool:
        """Insert rows, when `when` finds something and they are new."""

        async def work(transaction: Transaction) -> bool:
            if not await transaction.fetch(when, **parameters):
                return False
            for table, rows in batches:
                await transaction.insert(table, rows)
            return True

        try:
            return await self.write(work)
        except UniqueViolation:
            return False

    @property
    def usage(self) -> Usage:
        """How much of it is in use now."""
        return Usage(in_use=int(self._writer.is_busy), waiting=self._writer.waiting, most=1)

    def sole(self, job: str) -> Sole:
        """The right to `job`: ours, as the file is."""
        return _Owner()

    async def check(self) -> None:
        """Write one row and read it back."""
        await self.write(_probe)
        await self.fetch(schema.READ_PROBE)

    async def close(self) -> None:
        """Finish what was taken, checkpoint, and mark the file as cleanly closed."""
        await self._writer.close()
        await asyncio.to_thread(self._long.close)
        self._short.close()
        if self._connection is not None:
            self._connection.close()
            os.ftruncate(self._lock, 0)
        os.close(self._lock)

    # --- in the writer's thread ----------------------------------------------------------------------

    def _carry_out(self, batch: Sequence[Work[Any]]) -> Sequence[Any]:
        try:
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            results = [self._in_savepoint(connection, work) for work in batch]
            connection.execute("COMMIT")
        except FatalError as error:
            self._give_up()
            raise error.failure from error
        except sqlite3.Error as error:
            self._give_up()
            raise failure_of(error) or DatabaseUnavailable(f"SQLite: {error}") from error
        except BaseException:
            self._give_up()
            raise
        self._dirty = True
        return results

    def _in_savepoint(self, connection: sqlite3.Connection, work: Work[Any]) -> Any:
        connection.execute("SAVEPOINT item")
        result = attempted(lambda: drive(work(SqliteTransaction(connection, self._written))))
        if isinstance(result, FatalError):
            raise result
        if isinstance(result, Exception):
            connection.execute("ROLLBACK TO item")
        connection.execute("RELEASE item")
        return result

    def _writing(self) -> sqlite3.Connection:
        if self._connection is None:
            # After a failed sync nothing in memory is believed: open anew, which checks before it serves.
            connection = self._connect()
            try:
                _verify(connection, self._path)
            except SchemaError as error:
                connection.close()
                raise FatalError(DatabaseUnavailable(str(error))) from None
            self._connection = connection
        return self._connection

    def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing rolls back; it must not fail the batch a second time.
            with _ignored():
                connection.rollback()
            with _ignored():
                connection.close()

    def _checkpoint(self) -> None:
        if self._dirty and self._connection is not None:
            self._dirty = False
            # A checkpoint that fails loses nothing: the log keeps the pages, and the next one tries again.
            with _ignored():
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


class _Owner:
    """Who owns the file has every right to it."""

    async def held(self) -> bool:
        """Always."""
        return True


async def _probe(transaction: Transaction) -> None:
    await transaction.execute(schema.WRITE_PROBE)


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error:
        return


# --- opening ------------------------------------------------------------------------------------------


async def open_database(path: Path, *, migrations: str) -> SqliteDatabase:
    """Open the file at `path`, alone, and bring its schema up to date."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise DatabaseUnavailable(f"SQLite {sqlite3.sqlite_version} is too old; 3.38 or later is needed")
    await asyncio.to_thread(make_folder, path.parent)
    lock = _lock(path)
    try:
        await asyncio.to_thread(_prepare, path, lock, migrations)
        return SqliteDatabase(path, lock, lambda: _open_writer(path))
    except BaseException:
        os.close(lock)
        raise


def _lock(path: Path) -> int:
    try:
        return lock_file(path.with_name(path.name + ".lock"))
    except OSError:
        raise DatabaseUnavailable(
            f"{path} is open in another process; stop that one, or use PostgreSQL for several processes"
        ) from None


def _prepare(path: Path, lock: int, migrations: str) -> None:
    unclean = os.pread(lock, len(_UNCLEAN), 0) == _UNCLEAN
    os.pwrite(lock, _UNCLEAN, 0)
    try:
        connection = _open_writer(path)
        try:
            if unclean:
                _verify(connection, path)
            _upgrade(connection, migrations)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseUnavailable(
            f"{path}: SQLite: {error}; restore it from a copy, or name another"
        ) from error
    sync(path.parent)


def _upgrade(connection: sqlite3.Connection, migrations: str) -> None:
    for statement in schema.BESIDE_STATEMENTS:
        connection.execute(statement)
    revision, newest = _revision(connection), schema.latest(migrations)
    floors = connection.execute(schema.READ_FLOORS).fetchall()
    if revision != newest and not schema.lives_with(newest, revision, floors):
        from shared.store.migration import upgrade_sqlite

        upgrade_sqlite(connection, migrations=migrations)


def _revision(connection: sqlite3.Connection) -> str | None:
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _open_writer(path: Path) -> sqlite3.Connection:
    # Used by one thread at a time: the one that opens it, then the writer's.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    for pragma in (*_PRAGMAS, *_WRITER_PRAGMAS):
        connection.execute(pragma).fetchall()
    return connection


def _reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    for pragma in _PRAGMAS:
        connection.execute(pragma).fetchall()
    return connection


def _verify(connection: sqlite3.Connection, path: Path) -> None:
    """Look whether the file is sound, in bounded time.

    Raises
    ------
    SchemaError
        It is not; it must be restored from a copy.
    """
    small = path.stat().st_size <= CHECKED_WHOLE_BYTES
    check = "PRAGMA quick_check(1)" if small else "PRAGMA quick_check(sqlite_schema)"
    try:
        (problem,) = connection.execute(check).fetchone()
    except sqlite3.DatabaseError as error:
        problem = str(error)
    if problem != "ok":
        raise SchemaError(
            f"{path} is damaged ({problem.splitlines()[-1]}); restore it from a copy with `xdsi db restore`"
        )

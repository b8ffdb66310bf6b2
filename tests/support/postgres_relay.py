"""A relay between a service and PostgreSQL, which breaks connections at the moment that hurts: the commit, or
at any other place.

A commit is a COMMIT, or a statement outside a transaction that inserts table after table.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import parse_qs, urlsplit

_CHUNK = 64 * 1024
_COMMIT = b"COMMIT;\0"  # as the driver sends it, in a simple query
# The server's command tags.
_COMMITTED, _INSERTED, _NOT_INSERTED = b"COMMIT\0", b"INSERT 0 1\0", b"INSERT 0 0\0"
_BEGIN = b"BEGIN"
# The driver names a statement, and carries it out by its name.
_NAMED_INSERTION = re.compile(rb"(__asyncpg_stmt_\w+__)\0WITH part_0 .*?INSERT INTO", re.DOTALL)
_CARRIED_OUT = re.compile(rb"\AB.{4}\0(__asyncpg_stmt_\w+__)\0", re.DOTALL)


class Fault(Enum):
    """What happens to the next commit."""

    LOST = auto()
    """The connection breaks before the server hears of it."""
    UNANSWERED = auto()
    """The server commits, and the connection breaks before it can say so."""
    SILENT = auto()
    """The server commits; its answer, and whatever follows on the connection, never arrives."""


class Side(Enum):
    """What goes through the relay: what the service says, or what the server does."""

    REQUESTS = auto()
    ANSWERS = auto()


@dataclass
class Cut:
    """Once, instead of passing the `number`th piece of a side on, the connection is broken; `last_words` are
    said to the service before that."""

    side: Side
    number: int
    last_words: bytes = b""
    happened: bool = False

    def comes(self, side: Side) -> bool:
        """Whether it comes instead of this piece."""
        if self.happened or side is not self.side:
            return False
        self.number -= 1
        self.happened = self.number == 0
        return self.happened


def error_response(sqlstate: str) -> bytes:
    """What the server says before it ends a connection with this state."""
    fields = b"SFATAL\0VFATAL\0C" + sqlstate.encode() + b"\0Mas the test wants it\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


class PostgresRelay:
    """Passes everything on, unless a fault is set; `url` is where the database of `target` is reached."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._user, self._database = parts.username, parts.path
        self.port = 0
        self.fault: Fault | None = None
        self.silent = False  # while it is, no answer arrives, whatever is asked
        self.happened = asyncio.Event()
        self.cut: Cut | None = None
        self.refusal: bytes | None = None  # what is said to new connections before they are closed
        self.open: set[_Connection] = set()

    def break_all(self) -> None:
        """Break every connection that is open."""
        for connection in list(self.open):
            connection.break_off()

    @property
    def url(self) -> str:
        """The URL for the service."""
        return f"postgresql://{self._user}@127.0.0.1:{self.port}{self._database}"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the service."""
        if self.refusal is not None:
            writer.write(self.refusal)
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        connection = _Connection(self, writer, server_writer)
        self.open.add(connection)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(connection.requests(reader))
                both.create_task(connection.answers(server_reader))
        finally:
            self.open.discard(connection)
            for each in (writer, server_writer):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()


class _Connection:
    def __init__(
        self, relay: PostgresRelay, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self._relay = relay
        self._client = client
        self._server = server
        self._fault: Fault | None = None
        self._answer = b""
        self._insertions: set[bytes] = set()
        self._in_transaction = False

    async def requests(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while octets := await reader.read(_CHUNK):
                if self._is_cut(Side.REQUESTS):
                    return
                if (answer := self._answer_of_commit(octets)) and self._relay.fault is not None:
                    self._answer = answer
                    self._fault, self._relay.fault = self._relay.fault, None
                if self._fault is Fault.LOST:
                    self._broken()
                    return
                self._server.write(octets)
        self._server.close()

    async def answers(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while octets := await reader.read(_CHUNK):
                if self._is_cut(Side.ANSWERS):
                    return
                if self._answer == _INSERTED and _NOT_INSERTED in octets:
                    # Nothing was committed; the fault is for who commits next.
                    self._relay.fault, self._fault, self._answer = self._fault, None, b""
                if self._fault is not None and self._answer in octets:
                    if self._fault is Fault.UNANSWERED:
                        self._broken()
                        return
                    self._relay.happened.set()
                if self._fault is not Fault.SILENT and not self._relay.silent:
                    self._client.write(octets)
        if self._fault is not Fault.SILENT:
            self._client.close()

    def _answer_of_commit(self, octets: bytes) -> bytes:
        """What the server says when it has committed, if this makes it commit."""
        if octets.startswith(b"Q"):
            self._in_transaction = _BEGIN in octets
            return _COMMITTED if _COMMIT in octets else b""
        if named := _NAMED_INSERTION.search(octets):
            self._insertions.add(named[1])
        carried_out = None if self._in_transaction else _CARRIED_OUT.search(octets)
        return _INSERTED if carried_out and carried_out[1] in self._insertions else b""

    def _is_cut(self, side: Side) -> bool:
        cut = self._relay.cut
        if cut is None or not cut.comes(side):
            return False
        if cut.last_words:
            self._client.write(cut.last_words)
            self._client.close()
            self._server.close()
        else:
            self.break_off()
        return True

    def break_off(self) -> None:
        """Break the connection at both ends."""
        self._client.transport.abort()
        self._server.close()

    def _broken(self) -> None:
        self.break_off()
        self._relay.happened.set()


@asynccontextmanager
async def postgres_relay(target: str) -> AsyncIterator[PostgresRelay]:
    """A relay to the database at the URL `target`, which is on a Unix socket."""
    relay = PostgresRelay(target)
    tasks: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(relay.connected(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""A relay on loopback: what passes between two programs is passed on unchanged, and kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import httptools

_CHUNK = 64 * 1024


@dataclass
class Message:
    """One HTTP message; `target` of a request, `status` of a response."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    target: str = ""
    status: int = 0

    @property
    def content_type(self) -> str:
        """The whole Content-Type header."""
        return self.headers.get("content-type", "")

    def parts(self) -> list[tuple[dict[str, str], bytes]]:
        """Headers (names in lower case) and bytes of each part of a multipart message."""
        head = f"Content-Type: {self.content_type}\r\n\r\n".encode()
        parsed = message_from_bytes(head + self.body, policy=HTTP)
        assert parsed.is_multipart(), f"not multipart: {self.content_type}"
        assert not parsed.defects, parsed.defects
        return [
            ({name.lower(): str(value) for name, value in part.items()}, part.get_payload(decode=True))
            for part in parsed.iter_parts()  # type: ignore[attr-defined]
        ]


@dataclass
class Recorded:
    """One connection: the bytes of each direction."""

    requests: bytearray = field(default_factory=bytearray)
    responses: bytearray = field(default_factory=bytearray)


class Relay:
    """Listens on a port of loopback and relays to `target`, a port as well, once that is set."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self.connections: list[Recorded] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def exchanges(self) -> list[tuple[Message, Message]]:
        """Every request with its response, as far as both came."""
        return [
            pair
            for connection in list(self.connections)
            for pair in zip(
                _messages(httptools.HttpRequestParser, bytes(connection.requests)),
                _messages(httptools.HttpResponseParser, bytes(connection.responses)),
                strict=False,
            )
        ]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recorded = Recorded()
        self.connections.append(recorded)
        try:
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_passed_on(reader, their_writer, recorded.requests))
            tasks.create_task(_passed_on(their_reader, writer, recorded.responses))


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with suppress(ConnectionError):
        while octets := await reader.read(_CHUNK):
            kept += octets
            writer.write(octets)
            await writer.drain()
    writer.close()


class _Collector:
    """Takes what a parser of httptools says, message by message."""

    def __init__(self) -> None:
        self.parser: Any = None
        self.messages: list[Message] = []
        self._current = Message()

    def on_message_begin(self) -> None:
        self._current = Message()

    def on_url(self, url: bytes) -> None:
        self._current.target += url.decode("ascii")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._current.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, octets: bytes) -> None:
        self._current.body += octets

    def on_message_complete(self) -> None:
        if isinstance(self.parser, httptools.HttpResponseParser):
            self._current.status = self.parser.get_status_code()
        self.messages.append(self._current)


def _messages(parser_class: type[Any], octets: bytes) -> list[Message]:
    collector = _Collector()
    collector.parser = parser_class(collector)
    collector.parser.feed_data(octets)
    return collector.messages


@contextmanager
def relays(number: int) -> Iterator[list[Relay]]:
    """So many relays, in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relay")
    thread.start()
    try:
        made = [Relay() for _ in range(number)]
        servers = [
            asyncio.run_coroutine_threadsafe(
                asyncio.start_server(relay._connected, "127.0.0.1", 0), loop
            ).result()
            for relay in made
        ]
        for relay, server in zip(made, servers, strict=True):
            relay.port = server.sockets[0].getsockname()[1]
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(_ended(servers), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    ours = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not ours]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

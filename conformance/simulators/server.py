"""An HTTP server that can answer as no server should: cut off, endlessly, or never."""

from __future__ import annotations

import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

SECONDS: Final = 60.0
#: Of a request that is read.
MOST_OCTETS: Final = 256 * 1024**2
_SLOW_PIECES: Final = 40
_SLOW_SECONDS: Final = 0.25
_LONG_HEAD: Final = 4096


class Delivery(StrEnum):
    """How an answer leaves."""

    WHOLE = "whole"
    SLOW = "slow"
    SILENT = "silent"
    CLOSED = "closed"
    TRUNCATED = "truncated"
    ENDLESS = "endless"
    TOO_SHORT = "too short"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What came; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Without the query."""
        return urlsplit(self.target).path

    def octets(self) -> bytes:
        """The request as a capture."""
        head = [f"{self.method} {self.target} HTTP/1.1", *map(": ".join, self.headers.items())]
        return "\r\n".join((*head, "", "")).encode("latin-1", "replace") + self.body


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What is answered, and how it leaves."""

    content: bytes = b""
    content_type: str = "application/soap+xml; charset=UTF-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = Delivery.WHOLE


Handler = Callable[[HttpRequest], HttpAnswer]


@dataclass(slots=True)
class HttpSimulator:
    """A server that listens at `url`, and what it was asked."""

    url: str
    requests: list[HttpRequest] = field(default_factory=list)

    def asked(self, path: str, since: int = 0) -> list[HttpRequest]:
        """The requests to addresses that begin with `path`, without the first `since` requests."""
        return [one for one in self.requests[since:] if one.path.startswith(path)]


@contextmanager
def http_simulator(
    handler: Handler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[HttpSimulator]:
    """A server until the end of the context; port 0 takes a free one.

    Raises
    ------
    OSError
        The address cannot be listened on.
    """
    ending = threading.Event()
    simulator = HttpSimulator("")

    class HttpConnection(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SECONDS
        # Head and body leave together.
        wbufsize = 256 * 1024

        def _answer(self) -> None:
            request = HttpRequest(
                self.command,
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                self._body(),
            )
            simulator.requests.append(request)
            with suppress(OSError):  # who does not wait for the answer has gone
                self._deliver(handler(request))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _answer  # noqa: N815 - the names of the base class

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                return b"".join(self._chunks())
            return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MOST_OCTETS))

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass

        def _deliver(self, answer: HttpAnswer) -> None:
            self.close_connection = answer.delivery is not Delivery.WHOLE
            match answer.delivery:
                case Delivery.SILENT:
                    ending.wait(SECONDS)
                    return
                case Delivery.CLOSED:
                    return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.delivery is Delivery.ENDLESS:
                self.end_headers()
                self._write_endlessly(answer.content)
                return
            length = len(answer.content) // (2 if answer.delivery is Delivery.TOO_SHORT else 1)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            for piece in self._pieces(answer):
                self.wfile.write(piece)
                self.wfile.flush()

        def _pieces(self, answer: HttpAnswer) -> Iterator[bytes]:
            content = answer.content
            match answer.delivery:
                case Delivery.TRUNCATED:
                    yield content[: max(0, len(content) * 2 // 3)]
                case Delivery.SLOW:
                    size = len(content) // _SLOW_PIECES + 1
                    for start in range(0, len(content), size):
                        yield content[start : start + size]
                        ending.wait(_SLOW_SECONDS)
                case _:
                    yield content

        def _write_endlessly(self, content: bytes) -> None:
            self.wfile.write(content[: max(0, len(content) - 64)])
            while not ending.is_set():
                self.wfile.write(b"\n" * 65536)

        def log_message(self, *arguments: object) -> None:
            """Say nothing: what came is in `requests`."""

    server = SecuredServer((host, port), HttpConnection)
    server.tls = tls
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    simulator.url = f"{'https' if tls else 'http'}://{host}:{server.server_address[1]}"
    try:
        yield simulator
    finally:
        ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


class SecuredServer(socketserver.ThreadingTCPServer):
    """Threads for connections, with TLS when there is a context; the handshake is the connection's own."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """A connection has ended."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Nobody is answered any more: on no connection that stays open, either."""
        super().server_close()
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks off, or shows no certificate, ends alone."""

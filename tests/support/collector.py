"""A collector of OpenTelemetry on loopback, which keeps the spans that come."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it came; ids are hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    is_error: bool
    nanoseconds: int
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What came, by every path and kind of content."""

    url: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    requests: set[tuple[str, str]] = field(default_factory=set)

    def until(self, holds: Callable[[list[ReceivedSpan]], bool], seconds: float = 30) -> list[ReceivedSpan]:
        """The spans as soon as they hold that."""
        end = time.monotonic() + seconds
        while not holds(self.spans) and time.monotonic() < end:
            time.sleep(0.02)
        assert holds(self.spans), self.spans
        return self.spans


@contextmanager
def a_collector(context: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """One that runs, behind TLS where there is a context."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers["content-length"]))
            collector.requests.add((self.path, self.headers["content-type"]))
            collector.spans += spans_in(octets)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Who is not let in by TLS is no mistake."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if context is None else "https"
    collector = Collector(f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def spans_in(octets: bytes) -> list[ReceivedSpan]:
    """The spans of one request."""
    return [
        ReceivedSpan(
            service=attributes_of(of_service.resource)["service.name"],
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            kind=span.kind,
            is_error=span.status.code == span.status.STATUS_CODE_ERROR,
            nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
            attributes=attributes_of(span),
        )
        for of_service in ExportTraceServiceRequest.FromString(octets).resource_spans
        for scope in of_service.scope_spans
        for span in scope.spans
    ]


def attributes_of(message: Any) -> dict[str, Any]:
    return {
        one.key: one.value.string_value or one.value.int_value or one.value.double_value
        for one in message.attributes
    }

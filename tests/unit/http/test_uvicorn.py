"""What `shared.http.protocol` leans on in uvicorn; when a new version breaks one of these, look there."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import httptools
import pytest
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shared.http.limits import HttpLimits
from shared.http.protocol import ServerParts, XdsiProtocol
from shared.http.proxied import Entrance, Peer
from shared.http.server import sweep_one


class Transport(asyncio.Transport):
    """A connection that goes nowhere and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False
        self.aborted = False
        self.reading = True
        self.unsent = 0

    def write(self, data) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Application:
    """Waits until it is released, and remembers what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.release = asyncio.Event()

    async def __call__(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        await self.release.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


@pytest.fixture
def application():
    return Application()


@pytest.fixture
def parts(application):
    config = Config(
        application,
        http=XdsiProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        proxy_headers=False,
    )
    config.load()
    with ThreadPoolExecutor(1) as senders:
        entrance = Entrance(connections=10, per_peer=10)
        yield ServerParts(config=config, limits=HttpLimits(), senders=senders, admission=entrance)


@pytest.fixture
async def connection(parts, application):
    assert parts.admission.admit("127.0.0.1")
    protocol = XdsiProtocol(parts, Peer("127.0.0.1", 4000))
    transport = Transport()
    protocol.connection_made(transport)
    yield protocol, transport
    application.release.set()
    await asyncio.gather(*parts.state.tasks)
    if protocol.timeout_keep_alive_task:
        protocol.timeout_keep_alive_task.cancel()


def test_the_version_is_the_one_that_was_read():
    assert version("uvicorn") == "0.54.0"


def test_the_protocol_is_made_as_we_make_it():
    names = list(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert names == ["self", "config", "server_state", "app_state", "_loop"]
    assert {"connections", "tasks", "default_headers"} <= set(vars(ServerState()))


def test_what_is_overridden_exists():
    for name in (
        "connection_made",
        "connection_lost",
        "data_received",
        "shutdown",
        "on_message_begin",
        "on_url",
        "on_header",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "send_400_response",
        "_unset_keepalive_if_required",
    ):
        assert inspect.isfunction(getattr(HttpToolsProtocol, name)), name


def test_the_cycle_has_what_is_set_after_pieces():
    source = inspect.getsource(RequestResponseCycle)
    for name in (
        "disconnected",
        "keep_alive",
        "response_started",
        "response_complete",
        "chunked_encoding",
        "expected_content_length",
        "message_event",
        "on_response",
        "waiting_for_100_continue",
        "more_body",
    ):
        assert f"self.{name}" in source, name
    # _complete() repeats these steps.
    assert "self.response_complete = True\n                self.message_event.set()" in source
    assert "self.on_response()" in source


def test_reading_pauses_above_64_kilobytes_of_waiting_body():
    assert HIGH_WATER_LIMIT == 65536
    assert {"pause_reading", "resume_reading", "drain"} <= set(dir(FlowControl))


def test_an_exception_in_a_callback_is_an_error_of_the_parser():
    class Refusing:
        def on_url(self, url):
            raise ValueError

    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(Refusing()).feed_data(b"GET / HTTP/1.1\r\n\r\n")


def test_a_parser_goes_on_after_an_upgrade():
    urls: list[bytes] = []

    class Hearing:
        def on_url(self, url):
            urls.append(url)

    parser = httptools.HttpRequestParser(Hearing())
    head = b"POST /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as upgrade:
        parser.feed_data(memoryview(head + b"abc"))
    assert upgrade.value.args == (len(head),)
    assert parser.should_upgrade()
    parser.feed_data(b"GET /b HTTP/1.1\r\n\r\n")
    assert urls == [b"/a", b"/b"]
    assert not parser.should_upgrade()


async def test_the_task_of_a_request_begins_after_its_extensions_are_complete(connection, application):
    protocol, _ = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert application.scopes == []
    await asyncio.sleep(0)
    assert set(application.scopes[0]["extensions"]) == {
        "xdsi.pieces",
        "xdsi.passage",
        "xdsi.peer_certificate",
    }


async def test_a_connection_counts_until_it_is_lost(connection, parts):
    protocol, _ = connection
    assert parts.admission.open == 1
    protocol.connection_lost(None)
    assert parts.admission.open == 0
    assert not parts.state.connections


async def test_time_in_which_nothing_is_read_is_not_held_against_the_client(connection):
    protocol, transport = connection
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + bytes(70_000))
    assert not transport.reading
    for _ in range(2_000):
        protocol.sweep(1.0)
    assert not transport.closed


async def test_a_body_that_stalls_is_cut_at_20_seconds_and_not_before(connection):
    protocol, transport = connection
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n" + bytes(60_000))
    protocol.sweep(1.0)
    for _ in range(19):
        protocol.sweep(1.0)
        assert not transport.closed
    protocol.sweep(1.0)
    assert transport.written.startswith(b"HTTP/1.1 408 ")


async def test_a_header_is_cut_within_a_second_after_15_and_not_before(connection):
    protocol, transport = connection
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for _ in range(16):
        protocol.sweep(1.0)
        assert not transport.closed
    protocol.sweep(1.0)
    assert transport.written.startswith(b"HTTP/1.1 408 ")


async def test_a_refused_connection_lingers_for_its_answer_and_then_ends(connection, parts):
    protocol, transport = connection
    protocol.data_received(b"nonsense\r\n\r\n")
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not parts.state.tasks
    assert parts.lingering == 1
    for _ in range(2):
        protocol.sweep(1.0)
    assert not transport.aborted
    protocol.sweep(1.0)
    assert transport.aborted
    protocol.connection_lost(None)
    assert parts.lingering == 0


async def test_an_answer_that_nobody_takes_is_cut_at_20_seconds(connection):
    protocol, transport = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    transport.unsent = 1000
    for _ in range(21):
        assert not transport.aborted
        protocol.sweep(1.0)
    assert transport.aborted


async def test_an_answer_that_moves_is_not_cut(connection):
    protocol, transport = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    transport.unsent = 1000
    for _ in range(100):
        protocol.sweep(1.0)
        transport.unsent -= 1
    assert not transport.aborted


def test_a_mistake_about_one_connection_ends_that_connection_alone(parts):
    class Broken:
        transport = Transport()

        def sweep(self, elapsed_seconds):
            raise KeyError("a mistake")

    sweep_one(Broken(), 1.0)
    assert Broken.transport.aborted

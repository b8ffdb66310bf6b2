"""A request is one line of the log, under an id that goes on to peers; nothing of what it says is in it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.http.application import application
from shared.http.client import http_client
from shared.http.health import health_routes
from shared.http.raw_asgi import BodyTooLarge, ClientGone, ServerBusy, body_chunks, send_body
from shared.settings import TlsSettings
from shared.telemetry.log import logger
from shared.telemetry.trace import Span, asked_for, one_trace, trace_id, traceparent, traceparent_in
from tests.support.http_server import connected, serving, until
from tests.support.logs import answered, log_lines

NAME = "Kanarienvogel"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"
MADE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]")


@pytest.fixture
def lines():
    with log_lines() as lines:
        yield lines


def of(span: Span) -> str:
    found = MADE.fullmatch(span.traceparent)
    assert found is not None
    return found[1]


# --- the header --------------------------------------------------------------------------------------


def test_a_trace_goes_on_with_an_id_of_our_own_as_its_parent():
    span = Span("HTTP", GIVEN.encode())
    assert of(span) == TRACE == span.trace_id
    assert PARENT not in span.traceparent
    assert Span("HTTP", GIVEN.encode()).traceparent != span.traceparent


@pytest.mark.parametrize(("flags", "sent"), [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01")])
def test_whether_the_caller_samples_goes_on(flags, sent):
    assert Span("HTTP", f"00-{TRACE}-{PARENT}-{flags}".encode()).traceparent.endswith(f"-{sent}")


@pytest.mark.parametrize("later", [f"01-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01-{NAME}"])
def test_a_later_version_is_read_as_far_as_it_is_known(later):
    span = Span("HTTP", later.encode())
    assert of(span) == TRACE
    assert NAME not in span.traceparent


MALFORMED = {
    "nothing": "",
    "words": NAME,
    "capitals": GIVEN.upper(),
    "a trace of zeros": f"00-{'0' * 32}-{PARENT}-01",
    "a parent of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "the forbidden version": f"ff-{TRACE}-{PARENT}-01",
    "more than its version has": f"{GIVEN}-{NAME}",
    "more without a dash": f"01-{TRACE}-{PARENT}-01{NAME}",
    "too short": GIVEN[:-1],
    "a trace that is too short": f"00-{TRACE[1:]}-{PARENT}-01",
    "no dashes": GIVEN.replace("-", "_"),
    "a line feed behind": f"{GIVEN}\n",
    "spaces": f" {GIVEN} ",
    "a quote": f'00-{TRACE[:-1]}"-{PARENT}-01',
    "too much": f"01-{TRACE}-{PARENT}-01-{'x' * 100_000}",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_malformed_begins_a_new_trace(what):
    span = Span("HTTP", MALFORMED[what].encode())
    assert of(span) not in (TRACE, "0" * 32)
    assert len(span.traceparent) == 55


@given(st.binary(max_size=700))
def test_whatever_comes_what_goes_on_is_well_formed(octets):
    assert MADE.fullmatch(Span("HTTP", octets).traceparent)


@given(st.from_regex(MADE.pattern.encode(), fullmatch=True))
def test_whatever_goes_out_is_taken_by_who_reads_it(octets):
    name = octets[3:35]
    if name != b"0" * 32 and octets[36:52] != b"0" * 16:
        assert Span("HTTP", octets).trace_id == name.decode()


def test_of_two_headers_none_counts():
    header = (b"traceparent", GIVEN.encode())
    assert traceparent_in([(b"host", b"a"), header]) == GIVEN.encode()
    assert traceparent_in([header, header]) == b""
    assert traceparent_in([]) == b""


def test_ids_differ():
    assert len({Span("HTTP").trace_id for _ in range(100)}) == 100
    assert len({traceparent() for _ in range(100)}) == 100


def test_work_of_our_own_has_one_trace_and_no_line(lines):
    with one_trace():
        first, second = traceparent(), traceparent()
        logger("registry.janitor").info("done")
    assert first == second
    assert trace_id() == ""
    (line,) = lines()
    assert line["trace_id"] == first[3:35]


async def test_tasks_and_threads_of_a_request_are_of_its_trace():
    async def inner() -> str:
        return trace_id()

    with Span("HTTP") as span:
        found = await asyncio.gather(inner(), asyncio.to_thread(trace_id), asyncio.create_task(inner()))
    assert found == [span.trace_id] * 3


def test_a_span_in_a_span_gives_back_the_outer_one():
    with Span("HTTP") as outer:
        with Span("DIMSE"):
            pass
        assert trace_id() == outer.trace_id


# --- requests over a socket ----------------------------------------------------------------------------


def an_app() -> Starlette:
    async def found(request: Request) -> JSONResponse:
        logger("registry.app").info("at work")
        return JSONResponse({"id": request.path_params["patient_id"]})

    async def fails(_: Request) -> JSONResponse:
        raise ValueError(NAME)

    return application(
        [
            Route("/patients/{patient_id}", found),
            Route("/fails", fails, methods=["POST"]),
            *health_routes({}),
        ]
    )


async def ask(app: Any, path: str, *headers: str, method: str = "GET") -> int:
    async with serving(app) as server, connected(server.port) as client:
        return (await client.get(path, *headers, method=method)).status


async def test_a_request_is_one_line_under_the_trace_that_came_with_it(lines):
    assert await ask(an_app(), f"/patients/{NAME}?q={NAME}", f"Traceparent: {GIVEN}", f"X-A: {NAME}") == 200

    (line,) = answered(lines)
    assert line["trace_id"] == TRACE
    assert (line["door"], line["outcome"], line["status"]) == ("HTTP", "success", 200)
    assert line["resource"] == "GET /patients/{patient_id}"
    assert (line["level"], line["service"]) == ("info", "registry")
    assert line["milliseconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert NAME not in repr(lines())


async def test_every_line_of_a_request_bears_its_trace(lines):
    await ask(an_app(), "/patients/1", f"traceparent: {GIVEN}")
    assert {line["trace_id"] for line in lines()} == {TRACE}
    assert [line["event"] for line in lines()] == ["at work", "answered"]


@pytest.mark.parametrize("hostile", [f'x", "event": "{NAME}', NAME * 500, f"{GIVEN}-{NAME}", "\t"])
async def test_a_hostile_header_is_in_no_line(lines, hostile):
    assert await ask(an_app(), "/patients/1", f"traceparent: {hostile}") == 200
    (line,) = answered(lines)
    assert re.fullmatch(r"[0-9a-f]{32}", line["trace_id"])
    assert line["trace_id"] != TRACE
    assert NAME not in repr(lines())


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [(BodyTooLarge(5), 413, "failure"), (ServerBusy(), 503, "failure"), (ValueError(NAME), 500, "error")],
)
async def test_what_an_application_raises_is_the_outcome(lines, error, status, outcome):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked_for("ITI-18")
        raise error

    assert await ask(app, "/") == status
    await until(lambda: bool(answered(lines)))
    (line,) = answered(lines)
    assert (line["transaction"], line["outcome"]) == ("ITI-18", outcome)
    assert NAME not in repr(lines())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(204, "success"), (304, "success"), (401, "fault"), (403, "fault"), (404, "failure"), (502, "error")],
)
async def test_without_a_word_of_the_service_the_status_is_the_outcome(lines, status, outcome):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send_body(send, status=status, headers=[])

    await ask(app, "/")
    assert answered(lines)[0]["outcome"] == outcome


async def test_a_client_that_leaves_is_told_as_that(lines):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async for _ in body_chunks(receive):
            pass
        raise ClientGone

    async with serving(app) as server, connected(server.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
    await until(lambda: bool(answered(lines)))
    assert answered(lines)[0]["outcome"] == "broken off"


async def test_a_request_that_is_no_http_is_a_line_too(lines):
    async with serving(an_app()) as server, connected(server.port) as client:
        await client.send(f"{NAME} / HTTP/9\r\n\r\n".encode())
        assert (await client.answer()).status == 400
    (line,) = answered(lines)
    assert (line["outcome"], line["status"]) == ("fault", 400)
    assert NAME not in repr(lines())


async def test_a_foreign_host_is_a_line_too(lines):
    async with serving(an_app()) as server, connected(server.port) as client:
        await client.send(f"GET / HTTP/1.1\r\nHost: {NAME}.example\r\n\r\n".encode())
        assert (await client.answer()).status == 421
    (line,) = answered(lines)
    assert line["status"] == 421
    assert NAME not in repr(lines())


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_probes_are_lines_at_level_debug_alone(lines, path):
    await ask(an_app(), path)
    assert answered(lines) == []
    with log_lines(level="DEBUG") as all_lines:
        await ask(an_app(), path)
    assert [line["level"] for line in answered(all_lines)] == ["debug"]


async def test_above_info_no_request_is_told():
    with log_lines(level="WARNING") as lines:
        await ask(an_app(), "/patients/1")
        assert lines() == []


async def test_a_log_that_cannot_be_written_fails_no_request(lines, monkeypatch):
    def full(_text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging.getLogger().handlers[0].stream, "write", full)  # type: ignore[attr-defined]
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert await ask(an_app(), "/patients/1") == 200


async def test_a_request_to_a_peer_takes_the_trace_along(lines):
    async def peer(scope: Any, receive: Any, send: Any) -> None:
        await send_body(send, status=200, headers=[], body=traceparent_in(scope["headers"]))

    async with serving(peer) as there:
        url = f"http://127.0.0.1:{there.port}"
        async with http_client(TlsSettings(), peers=(url,)) as http:

            async def app(scope: Any, receive: Any, send: Any) -> None:
                seen = await http.get(url, headers={"traceparent": NAME})
                await send_body(send, status=200, headers=[(b"x-seen", seen.content)])

            async with serving(app) as here, httpx2.AsyncClient(trust_env=False) as client:
                answer = await client.get(
                    f"http://127.0.0.1:{here.port}/",
                    headers={"traceparent": GIVEN, "tracestate": f"a={NAME}"},
                )
            outside = await http.get(url)

    assert answer.headers["x-seen"][3:35] == TRACE
    assert MADE.fullmatch(outside.text)
    assert [line["trace_id"] for line in answered(lines)][:2] == [TRACE, TRACE]

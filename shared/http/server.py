"""Serving one ASGI application over HTTP/1.1, with mutual TLS where it is set up (ITI-19)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any, Protocol, TypeVar, cast

import uvloop
from uvicorn.config import Config

from shared.attempts import attempted
from shared.http.backlog import SILENT_SECONDS
from shared.http.guard import Guard
from shared.http.handshake import Acceptor, OnTlsFailure
from shared.http.health import ProbedAlone
from shared.http.limits import HttpLimits
from shared.http.protocol import ServerParts, XdsiProtocol
from shared.http.proxied import Entrance
from shared.http.raw_asgi import BodyTooLarge, ClientGone, Receive, Scope, Send, ServerBusy, send_body
from shared.http.wire import kept_in
from shared.security.tls import server_context
from shared.settings import ServiceSettings, SettingsError
from shared.telemetry.log import logger
from shared.telemetry.metrics import Result
from shared.telemetry.trace import BROKEN_OFF, Span, traceparent_in
from shared.telemetry.wire import WireFolder

App = Callable[[Scope, Receive, Send], Awaitable[None]]

BACKLOG = 2_048
# Each sends for as long as its client takes, and waits at most 5 ms: more threads would not send more.
SENDER_THREADS = 8
GRACE_SECONDS = 30.0
# While the server stops, for so long a handshake may go on: a busy client needs its time.
HANDSHAKE_SECONDS = 5.0
# A request makes thousands of objects, which go without the collector: looking at them as often as Python
# does by itself costs a twelfth of a registration.
COLLECT_AFTER = 20_000

_log = logger(__name__)


class Service(Protocol):
    """What `run_service` runs."""

    @property
    def asgi(self) -> App:
        """The application."""
        ...

    async def start(self) -> None:
        """Begin background work; called before the first request is accepted."""

    async def stop(self) -> None:
        """End background work; called after the last request was answered."""


class RunningServer:
    """A server that accepts connections until it is stopped."""

    def __init__(self, parts: ServerParts, acceptor: Acceptor, port: int) -> None:
        self._parts = parts
        self._acceptor = acceptor
        self._stopped = asyncio.Event()
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())
        self.port = port

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self._parts.admission.open

    async def wait(self) -> None:
        """Wait until the server was stopped.

        Raises
        ------
        Exception
            Whatever ended the watch over deadlines; a server without it must not go on.
        """
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((stopped, self._sweeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._sweeping.done() and not self._sweeping.cancelled():
            self._sweeping.result()

    async def stop(self, grace_seconds: float = GRACE_SECONDS, *, drain_seconds: float = 0.0) -> None:
        """Take leave: nobody who was let in goes without an answer, unless it takes too long.

        For `drain_seconds` new connections are still taken, but each answer is the last one of its
        connection, and probes are told that we stop. Then nobody new is let in; what is in work may end
        within `grace_seconds`, and is cut after that.
        """
        if self._stopped.is_set():
            return
        self._parts.leaving = True
        for connection in list(self._parts.state.connections):
            cast(XdsiProtocol, connection).drain()
        await asyncio.sleep(drain_seconds)
        await self._acceptor.close(
            drain_seconds=drain_seconds,
            handshake_seconds=min(HANDSHAKE_SECONDS, grace_seconds),
        )
        # Whoever has just sent a request on a kept connection is answered, and told to come no more.
        await self._ended(min(SILENT_SECONDS, grace_seconds / 10))
        for connection in list(self._parts.state.connections):
            connection.shutdown()
        if not await self._ended(grace_seconds):
            await self._cut()
        self._sweeping.cancel()
        self._parts.senders.shutdown(wait=False)
        self._stopped.set()

    async def _ended(self, within_seconds: float) -> bool:
        """Whether all connections and requests end in time."""
        state = self._parts.state
        now = asyncio.get_running_loop().time
        end = now() + within_seconds
        while (state.connections or state.tasks) and now() < end:  # noqa: ASYNC110  # uvicorn tells nobody when they are empty
            await asyncio.sleep(0.02)
        return not (state.connections or state.tasks)

    async def _cut(self) -> None:
        state = self._parts.state
        _log.warning("requests cut at stop", requests=len(state.tasks), connections=len(state.connections))
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await self._ended(1.0)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            self._parts.state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            await asyncio.sleep(self._parts.limits.sweep_seconds)
            now = loop.time()
            # Time in which this process did not get to run is nobody's fault.
            elapsed = min(now - before, 2 * self._parts.limits.sweep_seconds)
            before = now
            for connection in list(self._parts.state.connections):
                sweep_one(cast(XdsiProtocol, connection), elapsed)


def sweep_one(connection: XdsiProtocol, elapsed_seconds: float) -> None:
    """Look at the deadlines of one connection; our mistake about one must not end the watch over all."""
    mistake = attempted(lambda: connection.sweep(elapsed_seconds))
    if isinstance(mistake, Exception):
        _log.error("a connection was cut by mistake", exc_info=mistake)
        connection.transport.abort()


async def start_server(
    app: App,
    settings: ServiceSettings,
    *,
    on_tls_failure: OnTlsFailure | None = None,
    limits: HttpLimits | None = None,
    reuse_port: bool = False,
) -> RunningServer:
    """Listen on the host and port of `settings`, and serve `app`, guarded, until the server is stopped.

    Lifespan events are not sent: a service begins and ends its own work. No forwarding header of HTTP is
    believed; what `proxies` names says in the PROXY protocol for whom it calls.

    Parameters
    ----------
    on_tls_failure
        Awaited with address and reason when a node failed to authenticate, for the Security Alert of ATNA.
    reuse_port
        Whether other processes may listen on the same port, to share its connections.

    Raises
    ------
    SettingsError
        The settings contradict themselves, for example an open address without TLS; TLS cannot be set up; or
        the address cannot be listened on.
    """
    if problems := settings.problems():
        raise SettingsError(tuple(problems))
    context = server_context(settings.tls) if settings.tls.enabled else None
    guarded: App = Guard(app, settings, settings.host)
    if settings.wire_folder is not None:
        guarded = kept_in(WireFolder(settings.wire_folder, settings.service), guarded)
    parts = _parts_of(guarded, limits or HttpLimits.of(settings), settings.proxies)
    allow_open_files(2 * parts.limits.connections + 256)
    with settings.listening():
        listening = _listening(settings.host, settings.port, reuse_port)
    return _served(parts, listening, context, on_tls_failure)


async def start_probes(app: App, settings: ServiceSettings, *, reuse_port: bool = False) -> RunningServer:
    """Serve `app` at the host and port of `settings` for health, plainly and for whoever asks; raises as
    `start_server`."""
    assert settings.health_port is not None
    parts = _parts_of(Guard(app, settings, settings.health_host), HttpLimits.of(settings), ())
    with settings.listening("health_port"):
        listening = _listening(settings.health_host, settings.health_port, reuse_port)
    return _served(parts, listening, None, None)


def _served(
    parts: ServerParts,
    listening: socket.socket,
    context: ssl.SSLContext | None,
    on_tls_failure: OnTlsFailure | None,
) -> RunningServer:
    port: int = listening.getsockname()[1]
    return RunningServer(parts, Acceptor(parts, listening, context, on_tls_failure), port)


def _listening(host: str, port: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=reuse_port)
    listening.setblocking(False)
    return listening


def _parts_of(app: App, limits: HttpLimits, proxies: Iterable[str]) -> ServerParts:
    config = Config(
        cast(Any, _edge(app)),
        http=XdsiProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_seconds,
    )
    config.load()
    senders = ThreadPoolExecutor(SENDER_THREADS, thread_name_prefix="xdsi-send")
    entrance = Entrance(proxies, connections=limits.connections, per_peer=limits.connections_per_peer)
    return ServerParts(config=config, limits=limits, senders=senders, admission=entrance)


def _edge(app: App) -> App:
    """`app`, each request a span, and the exceptions of `raw_asgi` answered where the application did not."""

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        with Span("HTTP", traceparent_in(scope["headers"])) as span:

            async def watched(message: Any) -> None:
                if not span.status:
                    span.status = message["status"]
                await send(message)

            try:
                await app(scope, receive, watched)
            except ClientGone:
                _log.info("client gone", peer=(scope["client"] or ("",))[0])
                span.outcome = BROKEN_OFF
            except BodyTooLarge as error:
                await _refuse(watched, span, error, status=413, headers=[])
            except ServerBusy as error:
                await _refuse(watched, span, error, status=503, headers=[(b"retry-after", b"1")])
            span.outcome = span.outcome or _outcome(span.status)

    return edge


def _outcome(status: int) -> str:
    """How a request ended that says no more than its status."""
    if status < 400:
        return Result.SUCCESS if status else BROKEN_OFF
    if status in (401, 403):
        return Result.FAULT
    return Result.ERROR if status >= 500 and status != 503 else Result.FAILURE


async def _refuse(
    send: Send, span: Span, error: Exception, *, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    if span.status:
        raise error
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send_body(send, status=status, headers=headers, body=str(error).encode())


def allow_open_files(number: int) -> None:
    """Raise this process' limit of open files to `number`, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        most = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


AnyService = TypeVar("AnyService", bound=Service)


def run_service(
    build: Callable[[], Awaitable[AnyService]],
    settings: ServiceSettings,
    *,
    on_tls_failure: Callable[[AnyService], OnTlsFailure] | None = None,
    on_ready: Callable[[int], None] | None = None,
    reuse_port: bool = False,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Run one service in the foreground until SIGTERM or SIGINT; returning is a clean end.

    Parameters
    ----------
    build
        Makes the service; called on the loop that serves it.
    on_tls_failure
        From the service, what `start_server` is given under that name.
    on_ready
        Called with the port when requests are accepted.
    grace_seconds
        For requests in work when the signal comes; a second signal cuts them.
    """

    async def run() -> None:
        with _signals() as signalled:
            async with _probed(settings, reuse_port) as probes:
                await serve(signalled, probes)

    async def serve(signalled: asyncio.Queue[int], probes: ProbedAlone) -> None:
        service = await _built(build(), signalled)
        if service is None:
            return
        await service.start()
        probes.show(service.asgi)
        try:
            hook = on_tls_failure(service) if on_tls_failure else None
            server = await start_server(service.asgi, settings, on_tls_failure=hook, reuse_port=reuse_port)
            collect_seldom()
            if on_ready is not None:
                on_ready(server.port)
            await _until(signalled, server, probes, settings.drain_seconds, grace_seconds)
        finally:
            await service.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@contextlib.asynccontextmanager
async def _probed(settings: ServiceSettings, reuse_port: bool) -> AsyncIterator[ProbedAlone]:
    """The pages for probes, where they have a port of their own."""
    pages = ProbedAlone()
    server = (
        None if settings.health_port is None else await start_probes(pages, settings, reuse_port=reuse_port)
    )
    try:
        yield pages
    finally:
        if server is not None:
            await server.stop(grace_seconds=0)


async def _built(build: Awaitable[AnyService], signalled: asyncio.Queue[int]) -> AnyService | None:
    """The service, or None when a signal came first: what it waits for need not come any more."""
    building, asked = asyncio.ensure_future(build), asyncio.ensure_future(signalled.get())
    await asyncio.wait((building, asked), return_when=asyncio.FIRST_COMPLETED)
    if building.done():
        asked.cancel()
        return building.result()
    building.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await building
    return None


def collect_seldom() -> None:
    """Let the collector pass over what was made at the start, and come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Queue[int]]:
    """The signals that ask for an end, as they come."""
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came.put_nowait, number)
    try:
        yield came
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _until(
    signalled: asyncio.Queue[int],
    server: RunningServer,
    probes: ProbedAlone,
    drain_seconds: float,
    grace_seconds: float,
) -> None:
    """Serve until the first signal, then stop; the second one ends drain and grace."""
    first, ended = asyncio.ensure_future(signalled.get()), asyncio.ensure_future(server.wait())
    await asyncio.wait((first, ended), return_when=asyncio.FIRST_COMPLETED)
    first.cancel()
    probes.leave()
    stopping = asyncio.ensure_future(server.stop(grace_seconds, drain_seconds=drain_seconds))
    second = asyncio.ensure_future(signalled.get())
    await asyncio.wait((stopping, second), return_when=asyncio.FIRST_COMPLETED)
    second.cancel()
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait((stopping,))
        await server.stop(0)
    await ended

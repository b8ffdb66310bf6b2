"""Is the process alive, may it be given work, and how is it doing: /health/live, /health/ready, /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.attempts import awaited
from shared.audit.forwarder import Forwarder
from shared.audit.spool import AuditUnavailable
from shared.background import BackgroundWork, sentence
from shared.http.application import application
from shared.http.raw_asgi import LEAVING, App, Receive, Scope, Send
from shared.security.peer_certificate import end_of
from shared.settings import TlsSettings
from shared.store.usage import Usage
from shared.telemetry.log import logger
from shared.telemetry.metrics import CONTENT_TYPE, Metrics
from shared.telemetry.trace import probed

CHECK_SECONDS = 5.0
PAGES = ("/health/live", "/health/ready", "/metrics")

Check = Callable[[], Awaitable[None]]
_log = logger(__name__)


class NotReady(Exception):
    """Raised by a check: why the service must not be given work. The text is shown to whoever asks."""


def health_routes(
    checks: Mapping[str, Check],
    metrics: Metrics | None = None,
    *,
    background: Sequence[BackgroundWork] = (),
    trail: Forwarder | None = None,
    usage: Callable[[], Usage] | None = None,
    tls: TlsSettings | None = None,
) -> list[Route]:
    """Make the routes that every HTTP service has.

    Parameters
    ----------
    checks
        By name, what must hold for the service to be ready. A check raises to say why it does not: the text
        of `NotReady` is shown, of any other exception a sentence for its kind, because this page is open to
        everybody.
    metrics
        Those of the service, whose name the pages tell; without them those of the process are shown.
    background
        The work beside the requests: while one fails the service is not ready, and the page says which.
    trail
        What sends the service's audit records; metrics and page show how old the oldest unsent one is, and
        how many were set aside.
    usage
        How much of the service's database is in use, for its metrics.
    tls
        By which its sockets speak; metrics show when our certificate ends, and what OCSP responders said.
    """
    shown = metrics or Metrics("service")
    identity = {"service": metrics.service} if metrics else {}
    if trail is not None:
        background = (*background, *trail.works)
        checks = {**checks, "audit trail": partial(_works, trail)}
        trail.show_in(shown)
    checks = {**checks, **{work.name: partial(_works, work) for work in background}}
    _show(background, shown)
    if usage is not None:
        _show_usage(usage, shown)
    if tls is not None:
        _show_tls(tls, shown)
    details = {} if trail is None else {"audit trail": trail.details}

    def leaving() -> Response:
        return JSONResponse({"status": "stopping", **identity}, 503)

    async def live(request: Request) -> Response:
        probed()
        if LEAVING in request.scope.get("extensions", ()):
            return leaving()
        return JSONResponse({"status": "live", **identity})

    async def ready(request: Request) -> Response:
        probed()
        if LEAVING in request.scope.get("extensions", ()):
            return leaving()
        answers = await asyncio.gather(*(_reason(name, check) for name, check in checks.items()))
        reasons = {name: reason for name, reason in zip(checks, answers, strict=True) if reason}
        numbers = {"details": {name: read() for name, read in details.items()}} if details else {}
        if reasons:
            return JSONResponse(
                {"status": "not ready", **identity, "reasons": reasons, **numbers}, 503, {"retry-after": "5"}
            )
        return JSONResponse({"status": "ready", **identity, **numbers})

    async def show_metrics(_: Request) -> Response:
        probed()
        return Response(shown.render(), headers={"content-type": CONTENT_TYPE})

    pages = zip(PAGES, (live, ready, show_metrics), strict=True)
    return [Route(path, page, methods=["GET"]) for path, page in pages]


def _end(certificate: Path) -> float:
    # Read each time, as a few kilobytes: a renewed one is in use without a restart.
    try:
        return end_of(certificate).timestamp()
    except (OSError, ValueError):
        return 0.0


class ProbedAlone:
    """The pages of health and metrics of the application at hand, and nothing else of it.

    Until there is one the process is live and says for what it waits; a process that is about to stop says
    that, and is not live.
    """

    def __init__(self) -> None:
        self._starting: App = application(health_routes({"start": _starts}))
        self._application: App | None = None
        self._leaving = False

    def leave(self) -> None:
        """Say from now on that the process is about to stop."""
        self._leaving = True

    def show(self, application_at_hand: App) -> None:
        """Show the pages of `application_at_hand` from now on."""
        self._application = application_at_hand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._leaving:
            scope["extensions"][LEAVING] = {}
        shown = self._application if scope["path"] in PAGES else None
        await (shown or self._starting)(scope, receive, send)


async def _starts() -> None:
    raise NotReady("the service starts: it waits for its database, or brings it up to date")


def _show(background: Sequence[BackgroundWork], metrics: Metrics) -> None:
    if not background:
        return
    names = [work.name for work in background]
    counted = metrics.counters(
        "background_failures", "Failed turns of work beside the requests", "work", names
    )
    for work in background:
        work.on_failure = counted[work.name]
    metrics.gauges(
        "background_failing_seconds",
        "For how long work beside the requests has failed, 0 when it works",
        "work",
        {work.name: partial(getattr, work, "failing_seconds") for work in background},
    )
    metrics.gauges(
        "background_last_success_seconds",
        "When work beside the requests succeeded last, seconds since 1970",
        "work",
        {work.name: partial(getattr, work, "last_success") for work in background},
    )


def _show_tls(tls: TlsSettings, metrics: Metrics) -> None:
    if tls.certificate is not None:
        metrics.gauge(
            "certificate_end_seconds",
            "When our certificate ends, seconds since 1970; 0 when its file cannot be read",
            partial(_end, tls.certificate),
        )
    if tls.ocsp:
        from shared.security.responders import OUTCOMES, responders  # where nobody is asked it is not read

        outcomes = responders(tls.ocsp_url).outcomes
        metrics.gauges(
            "ocsp_answers",
            "What OCSP responders said of certificates of peers since the start; none: nothing that counts",
            "answer",
            {outcome: partial(outcomes.__getitem__, outcome) for outcome in map(str, OUTCOMES)},
        )


def _show_usage(usage: Callable[[], Usage], metrics: Metrics) -> None:
    metrics.gauge("database_connections", "Connections to the database in use", lambda: usage().in_use)
    metrics.gauge("database_connections_most", "Connections to the database, at most", lambda: usage().most)
    metrics.gauge("database_waiting", "Pieces of work that wait for a connection", lambda: usage().waiting)


async def _works(work: BackgroundWork | Forwarder) -> None:
    if trouble := work.trouble():
        raise NotReady(trouble)


async def _reason(name: str, check: Check) -> str:
    """Why `check` does not hold; empty when it does."""
    match await awaited(_checked(check)):
        case NotReady() as reason:
            return str(reason)
        case TimeoutError():
            return f"no answer within {CHECK_SECONDS:g} s"
        case Exception() as error:
            _log.warning("not ready", check=name, exc_info=error)
            return _sentence(error)
    return ""


async def _checked(check: Check) -> None:
    async with asyncio.timeout(CHECK_SECONDS):
        await check()


def _sentence(error: Exception) -> str:
    if isinstance(error, AuditUnavailable):
        return (
            "audit records cannot be kept; see to space and rights below XDSI_DATA, and that the audit "
            "repository is reached (XDSI_AUDIT__URL)"
        )
    return sentence(error)

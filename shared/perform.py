"""Expected actions and their audit record, in one order for SOAP and for REST (docs/architecture.md).

The unit of work is made, `handle` works in it, and the event of what became of it is durable before the
caller of `perform` gets anything to send.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

from shared.attempts import to_its_end
from shared.audit.events import AuditEvent, Outcome
from shared.audit.recorder import AuditUnavailable
from shared.audit.refusals import Refusals
from shared.errors import (
    Busy,
    OutcomeNotKnown,
    OutOfResources,
    Rejected,
    Severity,
    UnavailableError,
    XdsError,
)
from shared.faults import SoapFault
from shared.security.caller import Caller
from shared.store.failures import (
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    OutcomeUnknown,
)
from shared.telemetry.log import correlation_id, logger

_log = logger(__name__)

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response")
Parts = TypeVar("Parts")


@dataclass(slots=True)
class UnitOfWork(Generic[Parts]):
    """What one request works with: the `parts` of the service, and who asks.

    `audited` tells that what became of the request is recorded already: a change commits its events with
    itself. `events` are of what others were asked for it; they are recorded with the event of the request
    itself, by one write.
    """

    parts: Parts
    caller: Caller
    audited: bool = field(default=False, init=False)
    events: list[AuditEvent] = field(default_factory=list, init=False)


UnitFactory = Callable[[Caller], UnitOfWork[Any]]
"""Makes the unit of work of one request."""


class FallibleResponse(Protocol):
    """A response that carries errors, beside what was asked for or in its place."""

    @property
    def errors(self) -> Sequence[XdsError]:
        """What went wrong, and warnings."""
        ...


class Closable(Protocol):
    """What holds on to something until it is let go (`shared.soap.mtom.Relay`)."""

    async def aclose(self) -> None:
        """Let go of it, used or not."""
        ...


class RelayingResponse(Protocol):
    """A response whose parts arrive from somewhere else while they are sent."""

    @property
    def relay(self) -> Closable | None:
        """Where they come from; None when they are all here."""
        ...


class LimitedRequest(Protocol):
    """A request within limits (`shared.messages.bounded.Bounded`)."""

    @property
    def refused(self) -> XdsError | None:
        """What it asked for beyond its limits."""
        ...


_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_ANSWERS: tuple[type[Exception], ...] = (XdsError, Rejected, SoapFault)


class EventRecorder(Protocol):
    """Keeps audit events (`shared.audit.recorder.AuditRecorder`)."""

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Keep `events` durably, or raise `shared.audit.recorder.AuditUnavailable`."""
        ...

    @property
    def refusals(self) -> Refusals:
        """What counts the refusals of strangers, and records them."""
        ...


class Performed(Protocol[Request, Response]):
    """What `perform` needs of a transaction; `shared.soap.served.Served` and REST transactions have it."""

    @property
    def handle(self) -> Callable[[Any, Request], Awaitable[Response]]:
        """The expected actions."""
        ...

    @property
    def audit(self) -> Callable[[Request, Response | None, Caller, Outcome], tuple[AuditEvent, ...]]:
        """The events that describe them."""
        ...


class InternalError(XdsError):
    """Our mistake: what is wrong stands in the log alone, under `correlation_id`."""

    def __init__(self, found_under: str) -> None:
        super().__init__(f"internal error; the log of the service explains it under {found_under}")
        self.correlation_id = found_under


async def perform(
    served: Performed[Request, Response],
    unit: UnitFactory,
    request: Request,
    caller: Caller,
    recorder: EventRecorder,
    *,
    expected: tuple[type[Exception], ...] = (),
) -> Response:
    """Do what `request` asks and record it; the response may be sent when this returns.

    Parameters
    ----------
    expected
        Further exceptions of `handle` that are answers and no mistakes, for example HTTP problems of a REST
        transaction. Like `XdsError` they are recorded as failures and raised again.

    Raises
    ------
    XdsError, Rejected, SoapFault
        The request is refused, recorded with `response` None and outcome 8; `InternalError` when the mistake
        is ours, `OutOfResources` also when a file system is full.
    AuditUnavailable
        Nothing could be recorded: nothing may be answered but that.
    """
    if (refused := _refused(request)) is not None:
        # It asks for more than its transaction allows: known when it was read, and no work was begun.
        await recorder.record(served.audit(request, None, caller, Outcome.SERIOUS_FAILURE))
        raise refused
    work = unit(caller)
    try:
        response = await served.handle(work, request)
    except AuditUnavailable:
        raise
    except _ANSWERS + expected:
        await recorder.record((*work.events, *served.audit(request, None, caller, Outcome.SERIOUS_FAILURE)))
        raise
    except Exception as error:
        answer = unexpected(error)
        await recorder.record((*work.events, *served.audit(request, None, caller, Outcome.SERIOUS_FAILURE)))
        raise answer from error
    except BaseException:
        # The service stops, and nobody is answered; but others were asked.
        await to_its_end(recorder.record(work.events))
        raise
    await _recorded(work, served, request, response, recorder)
    return response


async def _recorded(
    work: UnitOfWork[Any],
    served: Performed[Any, Any],
    request: Any,
    response: Any,
    recorder: EventRecorder,
) -> None:
    try:
        own = () if work.audited else served.audit(request, response, work.caller, outcome_of(response))
        if work.events or own:
            await recorder.record((*work.events, *own))
    except BaseException:
        # What will not be sent holds on to nothing.
        if relay := relay_of(response):
            await relay.aclose()
        raise


def relay_of(response: object) -> Closable | None:
    """What a response brings its parts by, while they are sent."""
    return response.relay if _is_relaying(response) else None


def errors_of(response: object) -> Sequence[XdsError]:
    """The errors of a response that may have some."""
    return response.errors if _is_fallible(response) else ()


def _refused(request: object) -> XdsError | None:
    return request.refused if _is_limited(request) else None


# What `isinstance` finds out by a protocol that is checked at run time, at a twentieth of the price: every
# request passes here.


def _is_limited(request: object) -> TypeGuard[LimitedRequest]:
    return hasattr(request, "refused")


def _is_relaying(response: object) -> TypeGuard[RelayingResponse]:
    return hasattr(response, "relay")


def _is_fallible(response: object) -> TypeGuard[FallibleResponse]:
    return hasattr(response, "errors")


def outcome_of(response: object) -> Outcome:
    """SUCCESS unless one of the response's `errors` is more than a warning."""
    failed = any(error.severity is Severity.ERROR for error in errors_of(response))
    return Outcome.SERIOUS_FAILURE if failed else Outcome.SUCCESS


def unexpected(error: Exception) -> XdsError:
    """Log what nobody expected, and make the error that is told; a database that is away, or a full file
    system, is no mistake of ours."""
    if isinstance(error, DatabaseError) and (answer := answer_to(error)) is not None:
        _log.error("the database cannot be used", error=type(error).__name__)
        return answer
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        _log.error("no space", reason=error.strerror)
        return OutOfResources("there is no space left on the service; try again when there is")
    return InternalError(log_mistake(error))


def answer_to(error: DatabaseError) -> UnavailableError | None:
    """What is told when a database fails: nothing was done, or it is not known; None for a mistake of
    ours."""
    match error:
        case OutcomeUnknown():
            return OutcomeNotKnown(
                "the outcome is not known; send the same message with its MessageID again to learn it"
            )
        case DatabaseFull():
            return OutOfResources("the disk of the database is full; nothing was stored")
        case DatabaseBusy():
            return Busy("the service is busy and nothing was done; send the message again after a moment")
        case DatabaseUnavailable():
            return Busy(
                "the service cannot reach its database and nothing was done; send the message again later"
            )
    return None


def log_mistake(error: BaseException) -> str:
    """Log an unexpected exception and return the correlation id under which it is found."""
    found_under = correlation_id()
    _log.error("unexpected", correlation_id=found_under, exc_info=error)
    return found_under

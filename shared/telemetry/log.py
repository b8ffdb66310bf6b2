"""JSON logs, one object a line, without patient data.

What speaks of a patient is wrapped in `Phi` where it must be handed around. The texts of exceptions and of
other libraries are not logged, because they quote what was sent; their kind and place are. Other libraries
are heard from WARNING on.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
import warnings
from datetime import UTC, datetime
from typing import IO, Any
from uuid import uuid4

from shared.telemetry.trace import Span, tell_by, trace_id

HIDDEN = "***"
# Names under which nothing is shown, wrapped or not.
_HIDDEN_PREFIXES = ("patient", "mrn", "password", "secret", "token", "assertion")
# They log what goes over their wires, at levels that somebody may switch on.
_LOUD = ("uvicorn", "httpx2", "httpcore2", "pynetdicom", "pydicom", "asyncio", "alembic", "sqlalchemy")
# Whose texts are shown: ours, and those of a library that names nothing of a message.
_TELLING = frozenset(
    (
        "audit_repository",
        "consumer",
        "gateway",
        "imaging_source",
        "registry",
        "repository",
        "shared",
        "uvicorn",
        "xdsi",
    )
)
_UNTOLD = "said by a library; the text is left out, because it may quote what was sent"
_SCALARS = (str, int, float, bool, type(None))


class Phi:
    """A value about a patient; every way of showing it gives `***`."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, specification: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phi) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


class Logger:
    """Tells what happened in a module: the event in words, `%` filled in by `values`, and fields beside it.

    `exc_info` is an exception, or True for the one that is handled.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, *values: object, **fields: Any) -> None:
        """What helps to follow one message."""
        self._tell(logging.DEBUG, event, values, fields)

    def info(self, event: str, *values: object, **fields: Any) -> None:
        """What was done."""
        self._tell(logging.INFO, event, values, fields)

    def warning(self, event: str, *values: object, **fields: Any) -> None:
        """What was borne."""
        self._tell(logging.WARNING, event, values, fields)

    def error(self, event: str, *values: object, **fields: Any) -> None:
        """What somebody should look at."""
        self._tell(logging.ERROR, event, values, fields)

    def exception(self, event: str, *values: object, **fields: Any) -> None:
        """An error, with the exception that is handled."""
        self._tell(logging.ERROR, event, values, {"exc_info": True, **fields})

    def _tell(self, level: int, event: str, values: tuple[object, ...], fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            line = {
                "event": event % values if values else event,
                **fields,
                "logger": self._logger.name,
                "level": logging.getLevelName(level).lower(),
                "timestamp": _shown(time.time()),
                "service": _service,
            }
            self._logger.log(level, _line(line), extra={"is_line": True})


def logger(name: str) -> Logger:
    """The logger of a module; before `configure`, warnings and errors alone go to standard error."""
    return Logger(name)


def configure(service: str, *, level: str = "INFO", stream: IO[str] | None = None) -> None:
    """Make every log of this process one JSON object a line on `stream` (standard error).

    `level` is for our own loggers; others are heard from WARNING on, unless that is below `level`. Python's
    warnings, and exceptions that nobody catches, come the same way.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines(service))
    handler.addFilter(_is_heard)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)
    tell_by(_AnsweredLines(service, handler).tell, level=root.level)
    name_service(service)
    _hear_interpreter()


# Whose lines they are.
_service = "xdsi"


def name_service(service: str) -> None:
    """Every line from now on is of `service`."""
    global _service
    _service = service


def _is_heard(record: logging.LogRecord) -> bool:
    """Ours, and of others what is at least a warning."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _TELLING or _is_line(record)


def _is_line(record: logging.LogRecord) -> bool:
    return getattr(record, "is_line", False)


def _hear_interpreter() -> None:
    """Warnings and uncaught exceptions as lines: Python itself would write their texts to standard error."""
    warned: set[tuple[str, int, str]] = set()

    def warn(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        place = (filename, lineno, category.__name__)
        if place not in warned:
            warned.add(place)
            logger("warnings").warning(_UNTOLD, kind=category.__name__, at=f"{filename}:{lineno}")

    def uncaught(error: BaseException | None) -> None:
        logger("uncaught").error("an exception was not caught", exc_info=error)

    warnings.showwarning = warn
    # By default Python remembers every text that it showed.
    warnings.filterwarnings("always", category=UserWarning)
    sys.excepthook = lambda _kind, error, _trace: uncaught(error)
    sys.unraisablehook = lambda raised: uncaught(raised.exc_value)
    threading.excepthook = lambda raised: uncaught(raised.exc_value)


class _Lines(logging.Formatter):
    """Our lines as they are; the records of other libraries in the same form."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        if _is_line(record):
            return record.getMessage()
        is_safe = record.name.partition(".")[0] in _TELLING
        return _line(
            {
                "event": record.getMessage().rstrip() if is_safe else _UNTOLD,
                **({} if is_safe else {"at": f"{record.pathname}:{record.lineno} {record.funcName}"}),
                "logger": record.name,
                "level": record.levelname.lower(),
                "timestamp": _shown(record.created),
                "service": self._service,
                "exc_info": record.exc_info,
            }
        )


class _AnsweredLines:
    """The line of every request, put together by hand: the general way takes five times as long.

    What is in it are names and numbers of ours, which need no quoting.
    """

    def __init__(self, service: str, handler: logging.StreamHandler[Any]) -> None:
        self._service = service
        self._handler = handler
        self._second = 0
        self._shown = ""

    def tell(self, span: Span) -> None:
        line = self._line(span)
        # A log that cannot be written fails no request.
        self._handler.acquire()
        try:
            self._handler.stream.write(line)
            self._handler.stream.flush()
        except (OSError, ValueError):
            pass
        finally:
            self._handler.release()

    def _line(self, span: Span) -> str:
        resource = f'"resource": "{span.resource}", ' if span.resource else ""
        status = f'"status": {span.status}, ' if span.status else ""
        level = "debug" if span.quiet else "info"
        return (
            f'{{"event": "answered", "door": "{span.door}", "transaction": "{span.transaction}", '
            f'{resource}"outcome": "{span.outcome}", {status}"milliseconds": {span.milliseconds:.3f}, '
            f'"trace_id": "{span.trace_id}", "logger": "shared.telemetry.trace", "level": "{level}", '
            f'"timestamp": "{self._now()}", "service": "{self._service}"}}\n'
        )

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._shown}.{int((now - second) * 1e6):06d}Z"


def correlation_id() -> str:
    """An id to show outside in place of a detail, and to log beside the detail."""
    return uuid4().hex[:16]


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _line(event: dict[str, Any]) -> str:
    """One JSON object, with the trace of its request, and the exception by its kinds and places alone."""
    exception = _exception(event.pop("exc_info", None))
    if trace := trace_id():
        event.setdefault("trace_id", trace)
    if exception:
        event["exception"] = exception
    # A value that is no plain one is named by its type: its text might say anything.
    shown = {
        name: HIDDEN if name.startswith(_HIDDEN_PREFIXES) else _plain(value) for name, value in event.items()
    }
    return json.dumps(shown, ensure_ascii=False)


def _exception(exc_info: object) -> list[dict[str, object]]:
    """The exception and its causes, as kinds and places; never their texts."""
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if error is True:
        error = sys.exc_info()[1]
    return _told(error) if isinstance(error, BaseException) else []


def _told(error: BaseException) -> list[dict[str, object]]:
    causes: list[dict[str, object]] = []
    following: BaseException | None = error
    while following is not None and len(causes) < 8:
        causes.append(_one(following))
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return causes


def _one(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    one: dict[str, object] = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, OSError) and error.strerror:
        one["reason"] = error.strerror
    return one


def _plain(value: object) -> object:
    if isinstance(value, _SCALARS):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, Phi):
        return HIDDEN
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return f"<{type(value).__name__}>"

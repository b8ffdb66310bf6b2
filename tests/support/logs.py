"""The log of this process, as a service writes it, while a test looks."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shared.telemetry import trace
from shared.telemetry.log import configure, name_service

Lines = Callable[[], list[dict[str, Any]]]


@contextmanager
def log_lines(service: str = "registry", *, level: str = "INFO") -> Iterator[Lines]:
    """What gives the lines that were written so far; at the end all is as before."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    told = trace._tell, trace._told_from
    with warnings.catch_warnings():
        configure(service, level=level, stream=stream)
        try:
            yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
        finally:
            sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
            root.handlers, root.level = handlers, before
            trace._tell, trace._told_from = told
            name_service("xdsi")


def answered(lines: Lines) -> list[dict[str, Any]]:
    """The lines of answered requests."""
    return [line for line in lines() if line["event"] == "answered"]

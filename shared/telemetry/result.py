"""How a transaction ended."""

from __future__ import annotations

from enum import StrEnum


class Result(StrEnum):
    """How a transaction ended, as far as an operator wants to count it."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"
    """An orderly response with errors."""
    FAULT = "fault"
    """A fault or HTTP status instead of a response: the message is unreadable, or its sender not known."""
    ERROR = "error"
    """Our own mistake."""

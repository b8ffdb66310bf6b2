"""What the handles of the consumer lead to (`shared.pages.handles`)."""

from __future__ import annotations

from enum import StrEnum


class HandleKind(StrEnum):
    """One of the things that have an address."""

    SEARCH = "search"
    MANIFEST = "manifest"
    REPORT = "report"
    INVOCATION = "invocation"
    LAUNCH = "launch"
    INSTANCE = "instance"
    TAKE_OVER = "take-over"

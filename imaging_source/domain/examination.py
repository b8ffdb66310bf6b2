"""What an examination of this installation finds (`xdsi doctor`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, and its `state`; `severity` is `ok`, `warning` or `error`, and `remedy`
    empty where all is well."""

    severity: str
    subject: str
    state: str
    remedy: str = ""


Examine = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at everything this service needs, and changes nothing."""

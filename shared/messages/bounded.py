"""Requests within limits: one that asks for more is known before it is read, and nothing is done for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from shared.errors import XdsError

#: Of a refused request so many references are kept, for the trail.
TOLD = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A request within limits, or `refused`: then it holds its beginning, for the trail alone, and
    `shared.perform` answers with the error instead of handling it."""

    refused: XdsError | None = field(default=None, compare=False, repr=False)


def counted(things: Iterable[T], *, most: int, what: str) -> tuple[list[T], XdsError | None]:
    """`things` when it holds at most `most`; else its beginning, and the error that says so."""
    listed = list(islice(things, most + 1))
    if len(listed) <= most:
        return listed, None
    return listed[:TOLD], XdsError(f"more than {most} {what} in one request; ask for at most {most} at once")

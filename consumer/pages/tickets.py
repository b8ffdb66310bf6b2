"""Launch tickets: by one a program that has a user's assertion opens these pages in the user's browser, once.

A ticket is a random number; what it leads to is kept here, sealed, for minutes and for one use, and never
stands in an address. Of two who use it at the same moment, at whichever process, one does.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.http.problem import Unavailable
from shared.pages.shelf import KeptItem, Shelf

TICKET_SECONDS: Final = 120.0
_KIND: Final = "launch"
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Who is to be signed in, by what, and what is to be shown."""

    name: str
    assertion: bytes
    invocation: tuple[str, ...]


class LaunchTickets:
    """The tickets on a shelf; `clock` gives seconds since 1970."""

    def __init__(self, shelf: Shelf, clock: Callable[[], float] = time.time) -> None:
        self._shelf = shelf
        self._clock = clock

    def issue(self, name: str, assertion: bytes, invocation: Sequence[str]) -> str:
        """A ticket for one use.

        Raises
        ------
        Unavailable
            Too many wait to be used.
        """
        now = self._clock()
        over = now - TICKET_SECONDS
        self._shelf.take_ended(_KIND, used_until=over, began_until=over)
        number = secrets.token_urlsafe(32)
        content = json.dumps([name, assertion.decode(), list(invocation)]).encode()
        if not self._shelf.put(_KIND, number, content, now=now, most=_MOST):
            raise Unavailable("too many launches wait to be used; try again in a moment")
        return number

    def look(self, ticket: str) -> Launch | None:
        """What a ticket leads to, which stays as it is; None when it is none, over, or was used."""
        return self._launch(self._shelf.get(_KIND, ticket))

    def take(self, ticket: str) -> Launch | None:
        """The same, for the only time."""
        return self._launch(self._shelf.take(_KIND, ticket))

    def _launch(self, item: KeptItem | None) -> Launch | None:
        if item is None or self._clock() - item.began >= TICKET_SECONDS:
            return None
        name, assertion, invocation = json.loads(item.content)
        return Launch(name=name, assertion=assertion.encode(), invocation=tuple(invocation))

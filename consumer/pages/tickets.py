"""Launch tickets: by one a program that has a user's assertion opens these pages in the user's browser, once.

A ticket is a sealed number, which nobody else can make or change; what it leads to is kept here, for minutes
and for one use, and never stands in an address.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.pages.handle_kind import HandleKind
from shared.http.problem import Unavailable
from shared.pages.handles import Handles, UnknownHandle

TICKET_SECONDS: Final = 120.0
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Who is to be signed in, by what, and what is to be shown."""

    name: str
    assertion: bytes
    invocation: tuple[str, ...]
    until: float


class LaunchTickets:
    """The tickets of this process; `clock` gives seconds that only grow."""

    def __init__(self, handles: Handles, clock: Callable[[], float] = time.monotonic) -> None:
        self._handles = handles
        self._clock = clock
        self._launches: dict[str, Launch] = {}

    def issue(self, name: str, assertion: bytes, invocation: Sequence[str]) -> str:
        """A ticket for one use.

        Raises
        ------
        Unavailable
            Too many wait to be used.
        """
        now = self._clock()
        self._launches = {number: one for number, one in self._launches.items() if now < one.until}
        if len(self._launches) >= _MOST:
            raise Unavailable("too many launches wait to be used; try again in a moment")
        number = secrets.token_urlsafe(32)
        self._launches[number] = Launch(
            name=name, assertion=assertion, invocation=tuple(invocation), until=now + TICKET_SECONDS
        )
        return self._handles.seal(HandleKind.LAUNCH, "", number)

    def look(self, ticket: str) -> Launch | None:
        """What a ticket leads to, which stays as it is; None when it is none, over, or was used."""
        launch = self._launches.get(self._number(ticket))
        return launch if launch is not None and self._clock() < launch.until else None

    def take(self, ticket: str) -> Launch | None:
        """The same, for the only time."""
        launch = self.look(ticket)
        self._launches.pop(self._number(ticket), None)
        return launch

    def _number(self, ticket: str) -> str:
        try:
            (number,) = self._handles.open(HandleKind.LAUNCH, "", ticket)
        except UnknownHandle:
            return ""
        return number

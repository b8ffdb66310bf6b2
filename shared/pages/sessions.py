"""Sessions of people at browsers: an assertion that was brought once, kept here for a while.

The browser holds a random number and nothing else; what is kept here is found by its digest. A session ends
after a time without use, after a working day at the latest, and whenever its assertion is no longer accepted,
because that is verified anew with each request.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from shared.pages.visitors import Visitor

IDLE_SECONDS = 15 * 60.0
LONGEST_SECONDS = 8 * 3600.0
MOST = 1_000
MOST_OF_ONE_USER = 10


class TooManySessions(Exception):
    """No further session fits; one ends soon."""


@dataclass(slots=True)
class Session:
    """Who is signed in; `began` and `used` are by the sessions' clock."""

    visitor: Visitor
    began: float
    used: float


class Sessions:
    """The sessions of this process; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, visitor: Visitor) -> str:
        """Begin a session; the number that the browser keeps.

        Beyond `MOST_OF_ONE_USER` the oldest one of the same user ends.

        Raises
        ------
        TooManySessions
            `MOST` people are signed in.
        """
        own = [key for key, session in self._sessions.items() if session.visitor.holder == visitor.holder]
        if len(own) >= MOST_OF_ONE_USER:
            del self._sessions[own[0]]
        if len(self._sessions) >= MOST:
            raise TooManySessions("too many people are signed in; try again in a few minutes")
        number = secrets.token_urlsafe(32)
        now = self._clock()
        self._sessions[_key(number)] = Session(visitor, now, now)
        return number

    def find(self, number: str) -> Session | None:
        """The session of a number, which counts as used now; None when there is none, or it has ended."""
        session = self._sessions.get(_key(number))
        if session is None or self._over(session):
            return None
        session.used = self._clock()
        return session

    def close(self, number: str) -> Session | None:
        """End the session of a number; what it was, if it was one."""
        return self._sessions.pop(_key(number), None)

    def take_ended(self) -> list[Session]:
        """Forget the sessions whose time is over, and return them."""
        ended = [key for key, session in self._sessions.items() if self._over(session)]
        return [self._sessions.pop(key) for key in ended]

    def _over(self, session: Session) -> bool:
        now = self._clock()
        return now - session.used >= IDLE_SECONDS or now - session.began >= LONGEST_SECONDS


def _key(number: str) -> bytes:
    return sha256(number.encode()).digest()

"""Sessions of people at browsers: an assertion that was brought once, kept here for a while.

The browser holds a random number and nothing else; what is kept here is found by its digest. A session ends
after a time without use, after a working day at the latest, and whenever its assertion is no longer accepted,
because that is verified anew with each request. What keeps them (`shared.pages.shelf`) says whether they are
there after a restart, and for other processes.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from shared.pages.shelf import KeptItem, Shelf
from shared.pages.visitors import Visitor

IDLE_SECONDS = 15 * 60.0
LONGEST_SECONDS = 8 * 3600.0
MOST = 1_000
MOST_OF_ONE_USER = 10
_KIND: Final = "session"


class TooManySessions(Exception):
    """No further session fits; one ends soon."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in; `began` and `used` are seconds since 1970."""

    visitor: Visitor
    began: float
    used: float


@with_config(ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
@dataclass(frozen=True, slots=True)
class _SealedVisitor:
    visitor: Visitor


_SEALED: Final = TypeAdapter(_SealedVisitor)


class Sessions:
    """The sessions on a shelf; `clock` gives seconds since 1970."""

    def __init__(self, shelf: Shelf | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._shelf = shelf or Shelf()
        # Noted on the shelf now and then, not with each request.
        self._used: dict[str, float] = {}

    def __len__(self) -> int:
        return self._shelf.count(_KIND)

    def open(self, visitor: Visitor) -> str:
        """Begin a session; the number that the browser keeps.

        Beyond `MOST_OF_ONE_USER` the oldest one of the same user ends.

        Raises
        ------
        TooManySessions
            `MOST` people are signed in.
        """
        number = secrets.token_urlsafe(32)
        content = _SEALED.dump_json(_SealedVisitor(visitor))
        if not self._shelf.put(
            _KIND,
            number,
            content,
            now=self._clock(),
            most=MOST,
            holder=visitor.holder,
            each=MOST_OF_ONE_USER,
        ):
            raise TooManySessions("too many people are signed in; try again in a few minutes")
        return number

    def find(self, number: str) -> Session | None:
        """The session of a number, which counts as used now; None when there is none, or it has ended."""
        session = self._session(self._shelf.get(_KIND, number))
        if session is None or self._over(session):
            return None
        self._used[_key(number)] = self._clock()
        return session

    def close(self, number: str) -> Session | None:
        """End the session of a number, in every process; what it was, if it was one."""
        self._used.pop(_key(number), None)
        return self._session(self._shelf.take(_KIND, number))

    async def take_ended(self) -> list[Session]:
        """Forget the sessions whose time is over, and return them."""
        used, self._used = self._used, {}
        return await asyncio.to_thread(self._take_ended, used)

    def _take_ended(self, used: dict[str, float]) -> list[Session]:
        now = self._clock()
        self._shelf.use(_KIND, used)
        ended = self._shelf.take_ended(
            _KIND, used_until=now - IDLE_SECONDS, began_until=now - LONGEST_SECONDS
        )
        return [session for item in ended if (session := self._session(item)) is not None]

    def _session(self, item: KeptItem | None) -> Session | None:
        if item is None:
            return None
        try:
            visitor = _SEALED.validate_json(item.content).visitor
        except ValidationError:  # of another release
            return None
        return Session(visitor, item.began, max(item.used, self._used.get(item.key, 0)))

    def _over(self, session: Session) -> bool:
        now = self._clock()
        return now - session.used >= IDLE_SECONDS or now - session.began >= LONGEST_SECONDS


def _key(number: str) -> str:
    return sha256(number.encode()).hexdigest()

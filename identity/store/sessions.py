"""Sessions of people who signed in here, at whichever process: who they are, found by the digest of a number.

They end as those of other services do (`shared.pages.sessions`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from identity.domain.authorization import SignIn
from identity.store.tables import session as sessions
from shared.pages.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST, MOST_OF_ONE_USER, TooManySessions
from shared.pages.visitors import Visitor
from shared.store.engine import Database, Row, Transaction

#: A use is noted once in this time: a session is not written with each request.
USE_SECONDS: Final = 30

_OF_NUMBER: Final = sessions.c.key == bindparam("of")
_OVER: Final = or_(sessions.c.used <= bindparam("used_until"), sessions.c.began <= bindparam("began_until"))
_NUMBER = select(func.count()).select_from(sessions)
_BEGIN = insert(sessions).values({column.name: bindparam(column.name) for column in sessions.c})
_OLDER = (
    select(sessions.c.key)
    .where(sessions.c.holder == bindparam("at"))
    .order_by(sessions.c.began.desc(), sessions.c.key)
    .offset(MOST_OF_ONE_USER - 1)
)
_FIND = select(sessions.c.content, sessions.c.used).where(_OF_NUMBER, ~_OVER)
_USE = update(sessions).where(_OF_NUMBER, sessions.c.used < bindparam("now")).values(used=bindparam("now"))
_CONTENT = select(sessions.c.content).where(_OF_NUMBER)
_END = delete(sessions).where(_OF_NUMBER)
_ENDED = select(sessions.c.key, sessions.c.content).where(_OVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInPerson(Visitor):
    """Who signed in here at a browser, and how."""

    sign_in: SignIn


@dataclass(frozen=True, slots=True)
class PastSession:
    """One whose time is over, or that was ended."""

    visitor: SignedInPerson


_PERSON: Final = TypeAdapter(SignedInPerson)


class Sessions:
    """The sessions in `database`; `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def open(self, person: SignedInPerson) -> str:
        """Begin a session; the number that the browser keeps.

        Beyond `MOST_OF_ONE_USER` the oldest one of the same person at the same node ends.

        Raises
        ------
        TooManySessions
            `MOST` people are signed in.
        """
        number, now = secrets.token_urlsafe(32), int(self._clock())
        row = {
            "key": _digest(number),
            "holder": _digest(person.holder),
            "began": now,
            "used": now,
            "content": _PERSON.dump_json(person).decode(),
        }

        async def work(transaction: Transaction) -> bool:
            for (older,) in await transaction.fetch(_OLDER, at=row["holder"]):
                await transaction.execute(_END, of=older)
            ((number_kept,),) = await transaction.fetch(_NUMBER)
            if number_kept >= MOST:
                return False
            await transaction.execute(_BEGIN, **row)
            return True

        if not await self._database.write(work):
            raise TooManySessions("too many people are signed in; try again in a few minutes")
        return number

    async def find(self, number: str) -> SignedInPerson | None:
        """Who is signed in by a number, which counts as used now; None where nobody is."""
        key, now = _digest(number), int(self._clock())
        rows = await self._database.fetch(_FIND, of=key, **self._until())
        if not rows:
            return None
        content, used = rows[0]
        if now - used >= USE_SECONDS:

            async def work(transaction: Transaction) -> None:
                await transaction.execute(_USE, of=key, now=now)

            await self._database.write(work)
        return _PERSON.validate_json(content)

    async def close(self, number: str) -> SignedInPerson | None:
        """End the session of a number, at every process; whose it was, if it was one."""
        key = _digest(number)

        async def work(transaction: Transaction) -> SignedInPerson | None:
            rows = await transaction.fetch(_CONTENT, of=key)
            return await _ended(transaction, (key, rows[0][0])) if rows else None

        return await self._database.write(work)

    async def take_ended(self) -> list[PastSession]:
        """Forget the sessions whose time is over, and return them: each to one process."""

        async def work(transaction: Transaction) -> list[PastSession]:
            rows = await transaction.fetch(_ENDED, **self._until())
            people = [await _ended(transaction, row) for row in rows]
            return [PastSession(person) for person in people if person is not None]

        return await self._database.write(work)

    async def number(self) -> int:
        """How many people are signed in."""
        ((number,),) = await self._database.fetch(_NUMBER)
        return int(number)

    def _until(self) -> dict[str, int]:
        now = int(self._clock())
        return {"used_until": now - int(IDLE_SECONDS), "began_until": now - int(LONGEST_SECONDS)}


async def _ended(transaction: Transaction, row: Row) -> SignedInPerson | None:
    """Who was signed in by a row, for the process that takes it away."""
    key, content = row
    return _PERSON.validate_json(content) if await transaction.execute(_END, of=key) else None


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()

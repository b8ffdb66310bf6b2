"""Challenges that a passkey signs: one for each browser, for minutes and one answer, at whichever process.

A challenge is no secret: whoever signs it shows it. The number of a browser is, and is kept as its digest.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, delete, select, update

from identity.store.tables import challenge as challenges
from shared.pages.browser import Browser
from shared.store.engine import Database, Transaction
from shared.store.statements import insert_or_ignore

SECONDS: Final = 600
MOST: Final = 10_000

_OF_BROWSER: Final = challenges.c.browser == bindparam("a_browser")
_FORGET = delete(challenges).where(challenges.c.ends <= bindparam("now"))
_FORGET_OLDEST = delete(challenges).where(
    challenges.c.browser.in_(select(challenges.c.browser).order_by(challenges.c.ends.desc()).offset(MOST))
)
_BEGIN = insert_or_ignore(challenges).values({column.name: bindparam(column.name) for column in challenges.c})
_REPLACE = update(challenges).where(_OF_BROWSER).values(ends=bindparam("until"), challenge=bindparam("given"))
_GIVEN = select(challenges.c.challenge).where(_OF_BROWSER, challenges.c.ends > bindparam("now"))
_TAKE = delete(challenges).where(_OF_BROWSER, challenges.c.challenge == bindparam("given"))


class Challenges:
    """The challenges in `database`; `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def give(self, browser: Browser) -> str:
        """A new challenge for a browser, in place of the one before."""
        challenge, key, now = secrets.token_urlsafe(32), _key(browser), int(self._clock())
        ends = now + SECONDS

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_FORGET, now=now)
            await transaction.execute(_BEGIN, browser=key, ends=ends, challenge=challenge)
            await transaction.execute(_REPLACE, a_browser=key, until=ends, given=challenge)
            await transaction.execute(_FORGET_OLDEST)

        await self._database.write(work)
        return challenge

    async def take(self, browser: Browser) -> str:
        """The challenge of a browser, for the last time; where it has none, one that nobody signed."""
        key = _key(browser)

        async def work(transaction: Transaction) -> str | None:
            rows = await transaction.fetch(_GIVEN, a_browser=key, now=int(self._clock()))
            challenge: str | None = rows[0][0] if rows else None
            # Of two who answer it at the same moment one takes it away.
            number = await transaction.execute(_TAKE, a_browser=key, given=challenge) if challenge else 0
            return challenge if number else None

        return await self._database.write(work) or secrets.token_urlsafe(32)


def _key(browser: Browser) -> str:
    return sha256(browser.number.encode()).hexdigest()

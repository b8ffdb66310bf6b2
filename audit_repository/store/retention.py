"""Retention: the records of months that are over are given up whole; their heads stay, and a hold wins.

A month is given up by a signed certificate first, so that verification knows its records as given up and not
as taken out; they go then, step by step, whatever interrupts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, insert, literal, select, update

from audit_repository.domain.chain import GivenUp, Head
from audit_repository.domain.holds import Hold, last_month_given_up
from audit_repository.domain.record import IndexKind, instant
from audit_repository.store.events import Trail, head_of
from audit_repository.store.identities import identities
from audit_repository.store.tables import (
    audit_given_up,
    audit_head,
    audit_hold,
    audit_identity,
    audit_record,
    audit_relay,
    audit_term,
)
from shared.audit.events import AuditEvent
from shared.audit.node_events import partition_given_up
from shared.background import BackgroundWork
from shared.store.engine import Reader, Row, Transaction
from shared.store.statements import in_list
from shared.telemetry.log import logger

_log = logger(__name__)

REST_SECONDS = 3_600.0
STEP_RECORDS = 1_000

_HEADS = select(*audit_head.c).order_by(audit_head.c.number)
_GIVEN_UP = select(*audit_given_up.c).order_by(audit_given_up.c.number)
_GIVE_UP = insert(audit_given_up).values({one.name: bindparam(one.name) for one in audit_given_up.c})
_HOLDS = select(*audit_hold.c).order_by(audit_hold.c.placed, audit_hold.c.hold_id)
_PLACE = insert(audit_hold).values({one.name: bindparam(one.name) for one in audit_hold.c})
_RELEASE = (
    update(audit_hold)
    .where(audit_hold.c.hold_id == bindparam("of"), audit_hold.c.released == literal(""))
    .values(released=bindparam("at"), released_by=bindparam("by"))
)
_RELAYED = select(func.min(audit_relay.c.sequence))
_OLDEST = select(func.min(audit_record.c.sequence)).where(
    audit_record.c.sequence >= bindparam("first"), audit_record.c.sequence <= bindparam("last")
)
_DELETIONS = tuple(
    delete(table).where(table.c.sequence >= bindparam("first"), table.c.sequence <= bindparam("last"))
    for table in (audit_term, audit_identity, audit_record)
)


class Retention:
    """Gives up what is older than so many whole months of receipt; of 0 nothing is.

    Parameters
    ----------
    record
        Keeps an event of ours in the trail.
    """

    def __init__(self, trail: Trail, record: Callable[[AuditEvent], Awaitable[None]], *, months: int) -> None:
        self._trail = trail
        self._record = record
        self._months = months
        # A hold comes before the certificate of a month, or after it, and then is told so.
        self._deciding = asyncio.Lock()
        self.work = BackgroundWork("retention", self.turn, rest_seconds=REST_SECONDS)

    async def turn(self, now: datetime | None = None) -> None:
        """Give up the months that are over, and go on with those that were being given up."""
        last = last_month_given_up(now or datetime.now(UTC), self._months)
        database = self._trail.database
        heads = [head_of(row)[0] for row in await database.fetch(_HEADS)]
        numbers = {one.number for one, _ in await given_up(database)}
        # The head that moves is never over.
        for head in heads[:-1]:
            if head.number in numbers or (head.partition <= last and await self._give_up(head)):
                await self._remove(head)

    async def _give_up(self, head: Head) -> bool:
        async with self._deciding:
            if (reason := await self._kept_for(head)) is not None:
                _log.info("a month is over and stays", month=head.partition, reason=reason)
                return False
            await self._record(partition_given_up(head.partition, head.sequence - head.first + 1))
            certificate = GivenUp(
                number=head.number,
                partition=head.partition,
                first=head.first,
                sequence=head.sequence,
                chain=head.chain,
                time=instant(datetime.now(UTC)),
            )
            signature = self._trail.sign(certificate.statement)

            async def work(transaction: Transaction) -> None:
                await transaction.execute(_GIVE_UP, **asdict(certificate), signature=signature)

            await self._trail.database.write(work)
        _log.warning("a month of the trail was given up", month=head.partition)
        return True

    async def _kept_for(self, head: Head) -> str | None:
        """Why the records of a month stay; None where nothing keeps them."""
        database = self._trail.database
        ((relayed,),) = await database.fetch(_RELAYED)
        if relayed is not None and relayed < head.sequence:
            return "not everything of it was relayed"
        for hold in await holds(database):
            if not hold.released and await _holds(database, hold, head):
                return f"legal hold {hold.hold_id}"
        return None

    async def _remove(self, head: Head) -> None:
        """Delete what is left of a month, from its beginning on."""
        while True:
            ((oldest,),) = await self._trail.database.fetch(_OLDEST, first=head.first, last=head.sequence)
            if oldest is None:
                return
            last = min(oldest + STEP_RECORDS - 1, head.sequence)
            await self._trail.database.write(partial(_delete, first=head.first, last=last))

    # --- holds ---------------------------------------------------------------------------------------

    async def place(self, hold: Hold) -> tuple[str, ...]:
        """Let a hold begin; the months that were given up before, which it cannot bring back."""
        async with self._deciding:

            async def work(transaction: Transaction) -> None:
                await transaction.execute(_PLACE, **asdict(hold))

            await self._trail.database.write(work)
            return tuple(one.partition for one, _ in await given_up(self._trail.database))

    async def release(self, hold_id: str, *, by: str) -> bool:
        """Let a hold end; False when none of this id holds."""

        async def work(transaction: Transaction) -> int:
            return await transaction.execute(_RELEASE, of=hold_id, at=instant(datetime.now(UTC)), by=by)

        return bool(await self._trail.database.write(work))


async def _delete(transaction: Transaction, *, first: int, last: int) -> None:
    for deletion in _DELETIONS:
        await transaction.execute(deletion, first=first, last=last)


async def holds(reader: Reader) -> list[Hold]:
    """All holds, the oldest first, with those that were released."""
    names = audit_hold.c.keys()
    return [Hold(**dict(zip(names, row, strict=True))) for row in await reader.fetch(_HOLDS)]


async def given_up(reader: Reader) -> list[tuple[GivenUp, bytes]]:
    """The certificates of what was given up, in the order of the months, with their signatures."""
    return list(map(_certificate, await reader.fetch(_GIVEN_UP)))


def _certificate(row: Row) -> tuple[GivenUp, bytes]:
    *values, signature = row
    names = audit_given_up.c.keys()[:-1]
    return GivenUp(**dict(zip(names, values, strict=True))), bytes(signature)


async def _holds(reader: Reader, hold: Hold, head: Head) -> bool:
    """Whether a hold names a record of this month."""
    terms: dict[str, Sequence[str]] = {}
    if hold.patient:
        terms["patient"] = await identities(reader, hold.patient)
    if hold.study:
        terms["object"] = [hold.study]
    rows = await reader.fetch(
        _held(frozenset(terms)),
        first=head.first,
        last=head.sequence,
        since=hold.since,
        until=hold.until or "9999",
        **terms,
    )
    return bool(rows)


@lru_cache(maxsize=8)
def _held(kinds: frozenset[str]) -> Select[Any]:
    record, term = audit_record.c, audit_term.c
    statement = select(record.sequence).where(
        record.sequence >= bindparam("first"),
        record.sequence <= bindparam("last"),
        record.event_time >= bindparam("since"),
        record.event_time < bindparam("until"),
    )
    for kind in sorted(kinds):
        of_kind = term.kind == literal(IndexKind(kind).value)
        statement = statement.where(
            record.sequence.in_(select(term.sequence).where(of_kind, in_list(term.value, kind)))
        )
    return statement.limit(1)

"""Requests for storage commitment that wait: for instances that are on their way, or for who asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import bindparam, delete, exists, null, select, update

from imaging_source.domain.commitment import (
    KEPT,
    CommitmentRequest,
    CommitmentResult,
    FailureReason,
    ReferencedInstance,
    refused,
)
from imaging_source.store.tables import commitment, committed_instance, instance
from shared.store.engine import Database, Row, Transaction
from shared.store.statements import insert_or_ignore

_AT_ONCE: Final = 100

_INSERT = insert_or_ignore(commitment).values(
    commitment_id=bindparam("commitment_id"),
    ae_title=bindparam("ae_title"),
    transaction_uid=bindparam("transaction_uid"),
    received_at=bindparam("received_at"),
    due_at=bindparam("due_at"),
    attempts=0,
    instances=bindparam("instances"),
    result=bindparam("result"),
)
_OTHERS = select(commitment.c.commitment_id).where(
    commitment.c.transaction_uid == bindparam("transaction_uid"),
    commitment.c.ae_title == bindparam("ae_title"),
)
_COLUMNS = (
    commitment.c.ae_title,
    commitment.c.transaction_uid,
    commitment.c.received_at,
    commitment.c.attempts,
    commitment.c.instances,
    commitment.c.result,
)
_DUE = (
    select(*_COLUMNS)
    .where(commitment.c.due_at <= bindparam("now"))
    .order_by(commitment.c.due_at)
    .limit(_AT_ONCE)
)
_BY_ID = select(*_COLUMNS).where(commitment.c.commitment_id == bindparam("which"))
_FIRST = (
    select(*_COLUMNS)
    .where(
        commitment.c.transaction_uid == bindparam("transaction_uid"),
        commitment.c.ae_title == bindparam("ae_title"),
    )
    .order_by(commitment.c.received_at)
    .limit(1)
)
_ONE = commitment.c.commitment_id == bindparam("which")
_AGAIN = update(commitment).where(_ONE).values(due_at=bindparam("at"), attempts=0)
_LATER = update(commitment).where(_ONE).values(due_at=bindparam("at"), attempts=bindparam("number"))
_DECIDE = update(commitment).where(_ONE).values(result=bindparam("octets"))
_COMMIT = insert_or_ignore(committed_instance).values(sop_instance_uid=bindparam("committed_uid"))
_UNCOMMITTED = select(instance.c.sop_instance_uid).where(
    instance.c.study_instance_uid == bindparam("study"),
    ~exists().where(committed_instance.c.sop_instance_uid == instance.c.sop_instance_uid),
)
_DONE = update(commitment).where(_ONE).values(due_at=null())
_FORGET = delete(commitment).where(
    commitment.c.due_at.is_(None), commitment.c.received_at < bindparam("before")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A request with when it came, in UTC, how often its result was reported in vain, and the result once it
    is decided."""

    request: CommitmentRequest
    received_at: datetime
    attempts: int = 0
    result: CommitmentResult | None = None


async def note(
    database: Database, request: CommitmentRequest, now: datetime, *, reported: bool = True
) -> Commitment:
    """Keep a request durably; one that comes again is reported again, with the result that it had.

    Without `reported` the result is asked for, and nothing is due.
    """
    commitment_id = request.commitment_id

    async def keep(transaction: Transaction) -> None:
        ids = {
            row[0]
            for row in await transaction.fetch(
                _OTHERS, transaction_uid=request.transaction_uid, ae_title=request.ae_title
            )
        }
        if commitment_id in ids:
            if reported:
                await transaction.execute(_AGAIN, which=commitment_id, at=_text(now))
            return
        result = refused(request.instances, FailureReason.DUPLICATE_TRANSACTION_UID) if ids else None
        await transaction.execute(
            _INSERT,
            commitment_id=commitment_id,
            ae_title=request.ae_title,
            transaction_uid=request.transaction_uid,
            received_at=_text(now),
            due_at=_text(now) if reported else None,
            instances=json.dumps(request.instances).encode(),
            result=None if result is None else result.to_json(),
        )

    await database.write(keep)
    return Commitment(request=request, received_at=now)


async def due(database: Database, now: datetime) -> Sequence[Commitment]:
    """Those that are to be decided or reported now, at most a hundred."""
    return [_commitment(row) for row in await database.fetch(_DUE, now=_text(now))]


async def find(database: Database, commitment_id: str) -> Commitment | None:
    """One request, or None when there is none of this id."""
    rows = await database.fetch(_BY_ID, which=commitment_id)
    return _commitment(rows[0]) if rows else None


async def find_first(database: Database, ae_title: str, transaction_uid: str) -> Commitment | None:
    """The first request of this Transaction UID, which is the one that used it."""
    rows = await database.fetch(_FIRST, ae_title=ae_title, transaction_uid=transaction_uid)
    return _commitment(rows[0]) if rows else None


def _commitment(row: Row) -> Commitment:
    ae_title, transaction_uid, received_at, attempts, instances, result = row
    return Commitment(
        request=CommitmentRequest(
            ae_title=ae_title,
            transaction_uid=transaction_uid,
            instances=tuple(ReferencedInstance(*one) for one in json.loads(instances)),
        ),
        received_at=datetime.fromisoformat(received_at),
        attempts=attempts,
        result=None if result is None else CommitmentResult.from_json(result),
    )


async def decide(database: Database, one: Commitment, result: CommitmentResult) -> None:
    """Keep the result, and which instances are committed; every report says the same."""
    committed = [{"committed_uid": each.sop_instance_uid} for each in result.committed]

    async def keep(transaction: Transaction) -> None:
        await transaction.execute_many(_COMMIT, committed)
        await transaction.execute(_DECIDE, which=one.request.commitment_id, octets=result.to_json())

    await database.write(keep)


async def find_uncommitted(database: Database, study_instance_uid: str) -> frozenset[str]:
    """Instances of a study, by UID, of which commitment was not asked for, or not answered with success."""
    rows = await database.fetch(_UNCOMMITTED, study=study_instance_uid)
    return frozenset(uid for (uid,) in rows)


async def postpone(database: Database, one: Commitment, until: datetime, *, attempts: int) -> None:
    """Look at it again later."""

    async def keep(transaction: Transaction) -> None:
        await transaction.execute(_LATER, which=one.request.commitment_id, at=_text(until), number=attempts)

    await database.write(keep)


async def end(database: Database, one: Commitment) -> None:
    """It was reported, or is given up."""

    async def keep(transaction: Transaction) -> None:
        await transaction.execute(_DONE, which=one.request.commitment_id)

    await database.write(keep)


async def forget(database: Database, now: datetime) -> None:
    """Remove what ended long ago; its Transaction UID may be used again."""

    async def remove(transaction: Transaction) -> None:
        await transaction.execute(_FORGET, before=_text(now - KEPT))

    await database.write(remove)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()

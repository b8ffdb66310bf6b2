"""The ids of a patient in the trail: what feeds say of ids, kept beside the records for searching.

Derived from the records alone, which the chain covers; verification compares both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, delete, func, literal, select, update

from audit_repository.domain.identities import (
    DELETED,
    SAME_MESSAGE,
    UPDATED,
    FedIdentity,
    Pairing,
    is_believed,
    subsumed,
)
from audit_repository.domain.record import IndexKind, identities_in
from audit_repository.domain.sources import Standing
from audit_repository.store.tables import audit_backlog, audit_identity, audit_record, audit_term
from shared.store.engine import Database, Reader, Row, Transaction
from shared.store.statements import insert_or_ignore
from shared.telemetry.log import logger

_log = logger(__name__)

STEP_RECORDS = 256

_INSERT = insert_or_ignore(audit_identity)
_deletion, _updated, _other = (audit_identity.alias(name) for name in ("deletion", "updated", "other"))
_apart = _other.c.at - _deletion.c.at
# What the messages that update an id delete, each with all that is updated near it.
_PAIRINGS = (
    select(_deletion.c.sequence, _deletion.c.patient, _other.c.patient, func.abs(_apart))
    .where(
        _updated.c.patient == bindparam("survivor"),
        _updated.c.action == literal(UPDATED),
        _deletion.c.message == _updated.c.message,
        _deletion.c.action == literal(DELETED),
        _deletion.c.at.between(_updated.c.at - SAME_MESSAGE, _updated.c.at + SAME_MESSAGE),
        _other.c.message == _deletion.c.message,
        _other.c.action == literal(UPDATED),
        _other.c.at.between(_deletion.c.at - SAME_MESSAGE, _deletion.c.at + SAME_MESSAGE),
    )
    .distinct()
)
_BACKLOG = select(*audit_backlog.c).order_by(audit_backlog.c.feed).limit(1)
_OLDER = (
    select(audit_record.c.sequence, audit_record.c.raw, audit_record.c.standing)
    .join(audit_term, audit_term.c.sequence == audit_record.c.sequence)
    .where(
        audit_term.c.kind == literal(IndexKind.TYPE.value),
        audit_term.c.value == bindparam("feed"),
        audit_term.c.sequence >= bindparam("first"),
    )
    .order_by(audit_term.c.sequence)
    .limit(STEP_RECORDS)
)
_GO_ON = update(audit_backlog).where(audit_backlog.c.feed == bindparam("of")).values(first=bindparam("next"))
_DONE = delete(audit_backlog).where(audit_backlog.c.feed == bindparam("of"))


async def identities(reader: Reader, patient: str) -> list[str]:
    """The id, and all ids that were merged into it, into those, and so on; as terms."""
    ids = [patient]
    # It grows while it is gone through.
    for survivor in ids:
        rows = await reader.fetch(_PAIRINGS, survivor=survivor)
        ids += [each for each in subsumed(survivor, (Pairing(*row) for row in rows)) if each not in ids]
    return ids


def rows_of(sequence: int, standing: Standing, fed: Iterable[FedIdentity]) -> list[dict[str, Any]]:
    """What is kept of a record that feeds an id."""
    if not is_believed(standing):
        return []
    return [
        {
            "sequence": sequence,
            "patient": identity.patient,
            "action": identity.action,
            "message": identity.message,
            "at": identity.at,
        }
        for identity in fed
    ]


async def insert_identities(transaction: Transaction, rows: list[dict[str, Any]]) -> None:
    """Keep what records say of ids; twice is once."""
    await transaction.execute_many(_INSERT, rows)


# --- records of older releases -----------------------------------------------------------------------


async def read_backlog(database: Database) -> None:
    """Read what the records that an older release kept say of ids; what a stop interrupts goes on later."""
    while backlog := await database.fetch(_BACKLOG):
        ((feed, first),) = backlog
        older = await database.fetch(_OLDER, feed=feed, first=first)
        if older:
            _log.info("reading the identities of older audit records", feed=feed, first=first)
        rows = await asyncio.to_thread(_rows_of_older, older)
        await database.write(_step(feed, older, rows))


def _rows_of_older(older: list[Row]) -> list[dict[str, Any]]:
    return [
        row
        for sequence, raw, standing in older
        for row in rows_of(sequence, Standing(standing), identities_in(bytes(raw)))
    ]


def _step(feed: str, older: list[Row], rows: list[dict[str, Any]]) -> Any:
    async def work(transaction: Transaction) -> None:
        await insert_identities(transaction, rows)
        if len(older) < STEP_RECORDS:
            await transaction.execute(_DONE, of=feed)
        else:
            await transaction.execute(_GO_ON, of=feed, next=older[-1][0] + 1)

    return work

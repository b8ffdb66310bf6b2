"""The trail: records are appended, chained and signed; found again by what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)

from audit_repository.domain.chain import (
    EMPTY,
    Checkpoint,
    Head,
    decode_terms,
    encode_terms,
    head_statement,
    partition_of,
)
from audit_repository.domain.record import IndexKind, Record, RecordState, instant, undated
from audit_repository.domain.sources import Standing
from audit_repository.store.identities import identities, insert_identities, read_backlog, rows_of
from audit_repository.store.signing import Signer, last_published, publish
from audit_repository.store.tables import audit_checkpoint, audit_head, audit_record, audit_term
from shared.attempts import awaited
from shared.background import BackgroundWork
from shared.store.engine import Database, Row, Transaction
from shared.store.failures import DatabaseError
from shared.store.statements import in_list
from shared.telemetry.log import logger

_log = logger(__name__)

BATCH_BYTES = 4 * 1024**2
ANSWER_BYTES = 16 * 1024**2

_PLACE_OF_TERM = itemgetter("kind", "value", "sequence")
_INSERT_HEAD = insert(audit_head).values({column.name: bindparam(column.name) for column in audit_head.c})
_MOVE_HEAD = (
    update(audit_head)
    .where(audit_head.c.number == bindparam("number"))
    .values(sequence=bindparam("to"), chain=bindparam("link"), signature=bindparam("signed"))
)
_INSERT_CHECKPOINT = insert(audit_checkpoint).values(
    {column.name: bindparam(column.name) for column in audit_checkpoint.c}
)
_KNOWN = select(audit_record.c.digest).where(in_list(audit_record.c.digest, "digests"))
_PLACES = select(audit_record.c.digest, audit_record.c.sequence).where(
    in_list(audit_record.c.digest, "digests")
)
_LINKS = select(audit_record.c.sequence, audit_record.c.chain).where(
    in_list(audit_record.c.sequence, "sequences")
)
_HEAD = select(*audit_head.c).order_by(audit_head.c.number.desc()).limit(1)
_LAST_CHECKPOINT = select(*audit_checkpoint.c).order_by(audit_checkpoint.c.sequence.desc()).limit(1)
_CHECKPOINTS = (
    select(*audit_checkpoint.c)
    .where(audit_checkpoint.c.sequence > bindparam("after"))
    .order_by(audit_checkpoint.c.sequence)
)
_RECORDS = (
    select(*audit_record.c)
    .where(in_list(audit_record.c.sequence, "sequences"))
    .order_by(audit_record.c.sequence.desc())
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to find; an empty value means any. Times are as `instant` writes them, `since` included, `until`
    not. `patient` is an id with all that was merged into it, whose records still name it as they did then.

    `failed` None means any outcome, True any but success; `outcome` is REFUSED, for those of them where
    somebody was refused, or empty. Only records below the sequence `before` are found.
    """

    patient: str = ""
    user: str = ""
    type: str = ""
    object: str = ""
    source: str = ""
    address: str = ""
    since: str = ""
    until: str = ""
    subject: str = ""
    fingerprint: str = ""
    peer: str = ""
    standing: str = ""
    outcome: str = ""
    failed: bool | None = None
    unparsed: bool = False
    before: int = 2**62
    limit: int = 100


_TERMS = ("patient", "user", "type", "object", "source", "address", "outcome")
_BY_TERM = {name: IndexKind(name).value for name in _TERMS}
_BY_COLUMN = ("subject", "fingerprint", "peer", "standing")


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record in its place."""

    sequence: int
    partition: str
    digest: str
    chain: str
    record: Record


#: Records, each with its digest.
_Portion = Sequence[tuple[str, Record]]
_Waiting = tuple[_Portion, "asyncio.Future[int]"]


class Trail:
    """The append-only store; one object for each process, `sequence` is the last record's."""

    def __init__(
        self, database: Database, folder: Path, *, checkpoint_records: int, checkpoint_seconds: float
    ) -> None:
        self.database = database
        self.folder = folder
        self._signer = Signer(folder)
        self._every = checkpoint_records
        self._waiting: list[_Waiting] = []
        self._appending: asyncio.Task[None] | None = None
        self._published = 0
        self.sequence = 0
        self._publishing = asyncio.Lock()
        self.work = BackgroundWork("checkpoints", self.checkpoint, rest_seconds=checkpoint_seconds)
        self._searches: dict[frozenset[str], Select[Any]] = {}

    async def start(self) -> None:
        """Publish what a crash kept from being published, and begin to make checkpoints by time.

        Once after an upgrade, all that older releases kept of patient identities is read before.
        """
        await read_backlog(self.database)
        self.sequence = (await self.database.read(_head)).sequence
        self._published = await asyncio.to_thread(last_published, self.folder)
        await self._publish()
        self.work.start()

    async def stop(self) -> None:
        """Finish what was taken and sign the last records."""
        await self.work.stop()
        if self._appending is not None:
            await self._appending
        await self.checkpoint()

    def sign(self, statement: bytes) -> bytes:
        """The signature of the trail's own key."""
        return self._signer.sign(statement)

    # --- appending -----------------------------------------------------------------------------------

    async def append(self, records: Sequence[Record]) -> int:
        """Append those of `records` that are not there yet; they are durable when this returns.

        What comes while a batch is written is the next batch. Returns how many were new.

        Raises
        ------
        DatabaseError
            Nothing of `records` is known to be kept.
        """
        if not records:
            return 0
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(([(record.digest, record) for record in records], future))
        if self._appending is None or self._appending.done():
            self._appending = asyncio.create_task(self._append_waiting(), name="audit-append")
        return await future

    async def _append_waiting(self) -> None:
        while self._waiting:
            batch = self._take()
            records = [one for portion, _ in batch for one in portion]
            kept = await awaited(self.database.write(partial(self._insert, records=records)))
            if isinstance(kept, Exception):
                # Whatever it is, those who wait must learn that nothing was kept.
                for _, future in batch:
                    if not future.done():
                        future.set_exception(kept)
                continue
            new, crossed = kept
            for portion, future in batch:
                if not future.done():
                    future.set_result(sum(digest in new for digest, _ in portion))
            self.sequence += len(new)
            if crossed:
                await self._publish()

    def _take(self) -> list[_Waiting]:
        size = count = 0
        for portion, _ in self._waiting:
            size += sum(len(record.raw) for _, record in portion)
            count += 1
            if size > BATCH_BYTES:
                break
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _insert(self, transaction: Transaction, *, records: _Portion) -> tuple[set[str], bool]:
        rows_known = await transaction.fetch(_KNOWN, digests=_either_form(digest for digest, _ in records))
        seen = {digest for (digest,) in rows_known}
        before = head = await _head(transaction)
        rows: list[dict[str, Any]] = []
        terms: list[dict[str, Any]] = []
        fed: list[dict[str, Any]] = []
        heads: dict[int, Head] = {}
        checkpoints: list[Head] = []
        for digest, record in records:
            if digest in seen or undated(digest) in seen:
                continue
            seen.add(digest)
            head = head.after(record, partition_of(record.received))
            heads[head.number] = head
            rows.append(_row(head, digest, record))
            terms += [
                {"kind": kind, "value": value, "sequence": head.sequence} for kind, value in record.terms
            ]
            fed += rows_of(head.sequence, record.standing, record.fed)
            if head.sequence % self._every == 0:
                checkpoints.append(head)
        await transaction.insert(audit_record, rows)
        # In the order of its index, which then is written page after page.
        terms.sort(key=_PLACE_OF_TERM)
        await transaction.insert(audit_term, terms)
        await insert_identities(transaction, fed)
        await self._set_heads(transaction, before, heads.values())
        for reached in checkpoints:
            await self._sign(transaction, reached)
        return {row["digest"] for row in rows}, bool(checkpoints)

    async def _set_heads(self, transaction: Transaction, before: Head, heads: Iterable[Head]) -> None:
        for head in heads:
            signature = self._signer.sign(head_statement(head))
            if head.number == before.number:
                await transaction.execute(
                    _MOVE_HEAD, number=head.number, to=head.sequence, link=head.chain, signed=signature
                )
            else:
                values = {field.name: getattr(head, field.name) for field in fields(head)}
                await transaction.execute(_INSERT_HEAD, **values, signature=signature)

    # --- checkpoints ---------------------------------------------------------------------------------

    async def checkpoint(self) -> None:
        """Sign the trail as it stands, unless the newest checkpoint says the same."""

        async def work(transaction: Transaction) -> None:
            head = await _head(transaction)
            (last,) = await transaction.fetch(_LAST_CHECKPOINT) or [(0,)]
            if head.sequence > last[0]:
                await self._sign(transaction, head)

        await self.database.write(work)
        await self._publish()

    async def _sign(self, transaction: Transaction, head: Head) -> None:
        checkpoints = [checkpoint_of(row) for row in await transaction.fetch(_LAST_CHECKPOINT)]
        checkpoint = Checkpoint(
            sequence=head.sequence,
            chain=head.chain,
            time=instant(datetime.now(UTC)),
            previous=checkpoints[0][0].digest if checkpoints else "",
        )
        values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
        signature = self._signer.sign(checkpoint.statement)
        await transaction.execute(_INSERT_CHECKPOINT, **values, signature=signature)

    async def _publish(self) -> None:
        try:
            async with self._publishing:
                await self._publish_new()
        except (DatabaseError, OSError) as error:
            _log.error("an audit checkpoint was not published yet", exc_info=error)

    async def _publish_new(self) -> None:
        rows = await self.database.fetch(_CHECKPOINTS, after=self._published)
        if not rows:
            return
        checkpoints = [checkpoint_of(row) for row in rows]
        await asyncio.to_thread(publish, self.folder, checkpoints)
        newest = checkpoints[-1][0]
        self._published = newest.sequence
        _log.info("audit checkpoint", sequence=newest.sequence, chain=newest.chain)

    # --- reading -----------------------------------------------------------------------------------

    async def search(self, criteria: Search) -> list[StoredRecord]:
        """The newest records that match, newest first: up to `limit`, and up to 16 MB of them."""
        size, sequences = 0, list[int]()
        for sequence, octets in await self._places(criteria):
            size += octets
            if sequences and size > ANSWER_BYTES:
                break
            sequences.append(sequence)
        if not sequences:
            return []
        return [stored(row) for row in await self.database.fetch(_RECORDS, sequences=sequences)]

    async def _places(self, criteria: Search) -> list[Row]:
        """Sequence and size of what matches; each id of the patient is looked up by itself in the index."""
        terms = {field.name: getattr(criteria, field.name) for field in fields(criteria)}
        ids = await identities(self.database, criteria.patient) if criteria.patient else [""]
        places: set[Row] = set()
        for patient in ids:
            rows = await self.database.fetch(self._statement(criteria), **terms | {"patient": patient})
            places.update(map(tuple, rows))
        return sorted(places, reverse=True)[: criteria.limit]

    async def places(self, records: Iterable[Record]) -> dict[str, int]:
        """Where records stand that were appended, now or before: the sequence for each digest."""
        digests = [record.digest for record in records]
        rows = await self.database.fetch(_PLACES, digests=_either_form(digests))
        places = {row[0]: row[1] for row in rows}
        by_digest = {digest: places.get(digest, places.get(undated(digest))) for digest in digests}
        return {digest: place for digest, place in by_digest.items() if place is not None}

    async def links(self, sequences: Sequence[int]) -> dict[int, str]:
        """The links of the records in these places, as far as they are there."""
        rows = await self.database.fetch(_LINKS, sequences=list(sequences))
        return {row[0]: row[1] for row in rows}

    async def record(self, sequence: int) -> StoredRecord | None:
        """The record in this place."""
        rows = await self.database.fetch(_RECORDS, sequences=[sequence])
        return stored(rows[0]) if rows else None

    def _statement(self, criteria: Search) -> Select[Any]:
        names = (*_BY_TERM, *_BY_COLUMN, "since", "until", "unparsed")
        present = frozenset(name for name in names if getattr(criteria, name)) | {
            f"failed {criteria.failed}",
            f"proved {criteria.standing == Standing.PROVED}",
        }
        if present not in self._searches:
            self._searches[present] = _search(criteria)
        return self._searches[present]


def _search(criteria: Search) -> Select[Any]:
    """The statement for searches that give the same parameters as `criteria`."""
    record = audit_record.c
    terms = {name: audit_term.alias(name) for name in _BY_TERM if getattr(criteria, name)}
    place: FromClause = audit_record
    # Ordered by the first term's own column, the index of terms gives the newest first by itself.
    newest: ColumnElement[int] = record.sequence
    for indexed in reversed(terms.values()):
        place = place.join(indexed, indexed.c.sequence == record.sequence)
        newest = indexed.c.sequence
    statement = select(record.sequence, func.length(record.raw)).select_from(place)
    for name, indexed in terms.items():
        statement = statement.where(
            indexed.c.kind == literal(_BY_TERM[name]), indexed.c.value == bindparam(name)
        )
    for name in _BY_COLUMN:
        if getattr(criteria, name):
            statement = statement.where(record[name] == bindparam(name))
    if criteria.standing and criteria.standing != Standing.PROVED:
        # In words of the index, which holds these alone.
        statement = statement.where(record.standing != literal(Standing.PROVED.value))
    if criteria.since:
        statement = statement.where(record.event_time >= bindparam("since"))
    if criteria.until:
        statement = statement.where(record.event_time < bindparam("until"))
    if criteria.failed is not None:
        statement = statement.where(
            record.outcome > literal(0) if criteria.failed else record.outcome == literal(0)
        )
    if criteria.unparsed:
        statement = statement.where(record.state == literal(RecordState.UNPARSED.value))
    return statement.where(newest < bindparam("before")).order_by(newest.desc()).limit(bindparam("limit"))


# --- rows --------------------------------------------------------------------------------------------


def _either_form(digests: Iterable[str]) -> list[str]:
    return [form for digest in digests for form in {digest, undated(digest)}]


async def _head(transaction: Transaction) -> Head:
    rows = await transaction.fetch(_HEAD)
    return head_of(rows[0])[0] if rows else EMPTY


def head_of(row: Row) -> tuple[Head, bytes]:
    """A row of `audit_head`: the head and its signature."""
    number, partition, first, sequence, begin, chain, signature = row
    head = Head(partition=partition, number=number, first=first, sequence=sequence, begin=begin, chain=chain)
    return head, bytes(signature)


def checkpoint_of(row: Row) -> tuple[Checkpoint, bytes]:
    """A row of `audit_checkpoint`: the checkpoint and its signature."""
    sequence, chain, time, previous, signature = row
    return Checkpoint(sequence=sequence, chain=chain, time=time, previous=previous), bytes(signature)


def _row(head: Head, digest: str, record: Record) -> dict[str, Any]:
    return {
        "sequence": head.sequence,
        "partition": head.partition,
        "received": record.received,
        "peer": record.peer,
        "subject": record.subject,
        "raw": record.raw,
        "digest": digest,
        "state": record.state.value,
        "reason": record.reason,
        "event_time": record.event_time,
        "event": record.event,
        "outcome": record.outcome,
        "terms": encode_terms(record.terms),
        "chain": head.chain,
        "fingerprint": record.fingerprint,
        "standing": record.standing.value,
    }


def stored(row: Row) -> StoredRecord:
    """A row of `audit_record`.

    Raises
    ------
    ValueError
        The row holds what this product never writes.
    """
    sequence, partition, received, peer, subject, raw, digest, state, reason = row[:9]
    event_time, event, outcome, terms, chain, fingerprint, standing = row[9:]
    record = Record(
        received=received,
        peer=peer,
        subject=subject,
        raw=bytes(raw),
        state=RecordState(state),
        reason=reason,
        event_time=event_time,
        event=event,
        outcome=outcome,
        terms=decode_terms(terms),
        fingerprint=fingerprint,
        standing=Standing(standing),
    )
    return StoredRecord(sequence, partition, digest, chain, record)

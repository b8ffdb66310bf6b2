"""Verification: nothing of the trail was changed, deleted, inserted or put in another order.

Recomputes the chain from the stored records, compares the search index and the identities with what the chain
covers, and holds heads and checkpoints, in the database and in the published file, against their signatures.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Select, Table, bindparam, func, select, union

from audit_repository.domain.chain import (
    EMPTY,
    Checkpoint,
    GivenUp,
    Head,
    begin_of,
    canonical_of,
    encode_terms,
    head_statement,
    link_of,
)
from audit_repository.domain.record import RecordState, digest_of, identities_in, undated
from audit_repository.domain.sources import Standing
from audit_repository.store.events import checkpoint_of, head_of, stored
from audit_repository.store.identities import rows_of
from audit_repository.store.retention import given_up
from audit_repository.store.signing import PublishedCheckpoint, Verifier, published, verifier_of
from audit_repository.store.tables import (
    audit_checkpoint,
    audit_head,
    audit_identity,
    audit_record,
    audit_term,
)
from shared.audit.events import PATIENT_RECORD, Outcome
from shared.store.engine import Database, Reader, Row

STEP_RECORDS = 256
STEP_BYTES = 8 * 1024**2
MOST_PROBLEMS = 1_000
MOST_MISMATCHED = 1_000

_FED = [column.name for column in audit_identity.columns]
_CHAIN = audit_record.c.keys().index("chain")
# SQLite lets a text be octets, whose form would be the same. Where nothing was read there is no outcome.
_KINDS = frozenset(
    tuple(
        outcome if column is audit_record.c.outcome else column.type.python_type for column in audit_record.c
    )
    for outcome in (int, type(None))
)
_HEADS = select(*audit_head.c).order_by(audit_head.c.number)
_CHECKPOINTS = select(*audit_checkpoint.c).order_by(audit_checkpoint.c.sequence)
_SIZES = (
    select(audit_record.c.sequence, func.length(audit_record.c.raw))
    .where(audit_record.c.sequence >= bindparam("first"), audit_record.c.sequence <= bindparam("last"))
    .order_by(audit_record.c.sequence)
)
_RECORDS = (
    select(*audit_record.c)
    .where(audit_record.c.sequence >= bindparam("first"), audit_record.c.sequence <= bindparam("last"))
    .order_by(audit_record.c.sequence)
)
_TERMS = select(audit_term.c.sequence, audit_term.c.kind, audit_term.c.value).where(
    audit_term.c.sequence >= bindparam("first"), audit_term.c.sequence <= bindparam("last")
)
_IDENTITIES = select(*audit_identity.c).where(
    audit_identity.c.sequence >= bindparam("first"), audit_identity.c.sequence <= bindparam("last")
)


def _outside(of: Table) -> Select[Any]:
    sequence = of.c.sequence
    return select(sequence).where((sequence < bindparam("first")) | (sequence > bindparam("last")))


_OUTSIDE = (
    union(*map(_outside, (audit_record, audit_term, audit_identity)))
    .order_by("sequence")
    .limit(MOST_PROBLEMS)
)


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found; `problems` is empty when the trail is whole.

    `given_up` are the months whose records retention gave up by a signed certificate, which are not counted.
    `standings` counts the records by what is known of their source; of those whose source is not the node
    that delivered them, `mismatched` names the first.
    """

    records: int = 0
    partitions: int = 0
    checkpoints: int = 0
    given_up: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unlisted: int = 0
    standings: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Standing, 0))
    mismatched: list[int] = field(default_factory=list)

    def found(self, problem: str) -> None:
        """Note a problem; of very many only the first are listed."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.unlisted += 1

    def stands(self, sequence: int, standing: Standing) -> None:
        """Count a record by what is known of its source."""
        self.standings[standing] += 1
        if standing is Standing.MISMATCHED and len(self.mismatched) < MOST_MISMATCHED:
            self.mismatched.append(sequence)


async def verify(
    database: Database, folder: Path, *, progress: Callable[[int], None] = lambda records: None
) -> Report:
    """Verify all of the trail in `database`, signed with the key in `folder`; records come and go meanwhile.

    Raises
    ------
    SigningKeyError
        The public key is absent or unreadable.
    """
    report = Report()
    verifier = verifier_of(folder)
    # The file first, heads last: what is appended meanwhile is then only ever newer than what is asked for.
    witnessed = await asyncio.to_thread(lambda: list(published(folder)))
    signed = [checkpoint_of(row) for row in await database.fetch(_CHECKPOINTS)]
    certificates = await given_up(database)
    heads = await signed_heads(database)
    numbers = _given_up(report, verifier, certificates, [head for head, _ in heads])
    links = _checkpoints(report, verifier, signed)
    for line in witnessed:
        _witness(report, verifier, line, links)
    await _partitions(report, verifier, database, heads, numbers, links, progress)
    return report


async def signed_heads(reader: Reader) -> list[tuple[Head, bytes]]:
    """The heads of all months with their signatures, in order."""
    return [head_of(row) for row in await reader.fetch(_HEADS)]


def _given_up(
    report: Report, verifier: Verifier, certificates: list[tuple[GivenUp, bytes]], heads: list[Head]
) -> frozenset[int]:
    """The numbers of the months that were given up rightly."""
    ends = {head.number: head for head in heads}
    numbers = set()
    for certificate, signature in certificates:
        if not verifier.holds(signature, certificate.statement):
            report.found(f"that {certificate.partition} was given up has no valid signature")
        elif certificate.number not in ends or not certificate.is_of(ends[certificate.number]):
            report.found(f"{certificate.partition} was given up as another than its head says")
        else:
            numbers.add(certificate.number)
            report.given_up.append(certificate.partition)
    return frozenset(numbers)


def _checkpoints(
    report: Report, verifier: Verifier, signed: list[tuple[Checkpoint, bytes]]
) -> dict[int, str]:
    previous = ""
    for checkpoint, signature in signed:
        report.checkpoints += 1
        if not verifier.holds(signature, checkpoint.statement):
            report.found(f"the checkpoint of record {checkpoint.sequence} has no valid signature")
        if checkpoint.previous != previous:
            report.found(
                f"before the checkpoint of record {checkpoint.sequence} another is missing or changed"
            )
        previous = checkpoint.digest
    return {checkpoint.sequence: checkpoint.chain for checkpoint, _ in signed}


def _witness(report: Report, verifier: Verifier, line: PublishedCheckpoint, links: dict[int, str]) -> None:
    """Hold a published checkpoint against those of the database; what only it knows is added to `links`."""
    checkpoint = line.checkpoint
    if checkpoint is None:
        report.found(f"line {line.line} of the published checkpoints cannot be read")
    elif not verifier.holds(line.signature, checkpoint.statement):
        report.found(f"line {line.line} of the published checkpoints has no valid signature")
    elif checkpoint.sequence not in links:
        report.found(f"the checkpoint of record {checkpoint.sequence} was published and is missing now")
        links[checkpoint.sequence] = checkpoint.chain
    elif links[checkpoint.sequence] != checkpoint.chain:
        report.found(f"the checkpoint of record {checkpoint.sequence} was published as another")


async def _partitions(
    report: Report,
    verifier: Verifier,
    database: Database,
    heads: list[tuple[Head, bytes]],
    numbers: frozenset[int],
    links: dict[int, str],
    progress: Callable[[int], None],
) -> None:
    before = EMPTY
    for head, signature in heads:
        report.partitions += 1
        if not verifier.holds(signature, head_statement(head)):
            report.found(f"the head of {head.partition} has no valid signature")
        if (head.number, head.first) != (before.number + 1, before.sequence + 1):
            report.found(
                f"a head is missing between {before.partition or 'the beginning'} and {head.partition}"
            )
        if head.begin != begin_of(head.partition, before.chain):
            report.found(f"{head.partition} does not continue what was before")
        # What is left of a month that is being given up goes soon.
        if head.number not in numbers:
            before_it = len(report.problems)
            await _Partition(report, database, head, links, progress).verify()
            if len(report.problems) > before_it and await _given_up_meanwhile(database, verifier, head):
                del report.problems[before_it:]
        before = head
    for (sequence,) in await database.fetch(_OUTSIDE, first=1, last=before.sequence):
        # Appended while we looked, or put there past the chain: the next head tells.
        if not await _covered(database, sequence):
            report.found(f"record {sequence} stands outside of the trail, which ends at {before.sequence}")
    for sequence in links:
        if sequence > before.sequence:
            report.found(f"record {sequence} was signed, but the trail ends at {before.sequence}")


async def _given_up_meanwhile(database: Database, verifier: Verifier, head: Head) -> bool:
    return any(
        certificate.is_of(head) and verifier.holds(signature, certificate.statement)
        for certificate, signature in await given_up(database)
    )


async def _covered(database: Database, sequence: int) -> bool:
    heads = [head for head, _ in await signed_heads(database)]
    return any(head.first <= sequence <= head.sequence for head in heads)


class _Partition:
    """One partition's records, in order."""

    def __init__(
        self,
        report: Report,
        database: Database,
        head: Head,
        links: dict[int, str],
        progress: Callable[[int], None],
    ) -> None:
        self._report = report
        self._database = database
        self._head = head
        self._links = links
        self._progress = progress
        self._expected = head.first
        # None after a gap: what came before the next record is not known, so its own link says nothing.
        self._chain: str | None = head.begin

    async def verify(self) -> None:
        """Look at every record and its index."""
        async for first, last in self._steps():
            indexed: dict[int, list[tuple[str, str]]] = defaultdict(list)
            for sequence, kind, value in await self._database.fetch(_TERMS, first=first, last=last):
                indexed[sequence].append((kind, value))
            fed: dict[int, list[Row]] = defaultdict(list)
            for row in await self._database.fetch(_IDENTITIES, first=first, last=last):
                fed[row[0]].append(tuple(row))
            for row in await self._database.fetch(_RECORDS, first=first, last=last):
                try:
                    self._record(row, indexed.pop(row[0], []), fed.pop(row[0], []))
                except (ValueError, TypeError):
                    self._damaged(row[0], str(row[_CHAIN]))
            for sequence in indexed.keys() | fed.keys():
                self._report.found(f"record {sequence} is missing, but the search index names it")
            self._progress(self._report.records)
            # Reads run on the event loop where the database is a file; others shall have their turn.
            await asyncio.sleep(0)
        self._missing(self._head.sequence + 1)
        if self._chain not in (None, self._head.chain):
            self._report.found(
                f"the last record of {self._head.partition} is not the one that its head signs"
            )

    async def _steps(self) -> AsyncIterator[tuple[int, int]]:
        """Ranges of records that together are small enough to hold."""
        first = self._head.first
        while first <= self._head.sequence:
            last = min(first + STEP_RECORDS - 1, self._head.sequence)
            size = 0
            for sequence, octets in await self._database.fetch(_SIZES, first=first, last=last):
                size += octets
                if size > STEP_BYTES:
                    last = sequence
                    break
            yield first, last
            first = last + 1

    def _record(self, row: Row, indexed: list[tuple[str, str]], fed: list[Row]) -> None:
        """Look at one row as it stands: no value is made of it, for there are millions."""
        if tuple(map(type, row)) not in _KINDS:
            raise TypeError("a column holds a value of another type")
        sequence, partition, _, peer, subject, raw, digest, state = row[:8]
        event_time, terms, link, standing = row[9], row[12], row[13], row[15]
        RecordState(state)
        its_standing = Standing(standing)
        self._missing(sequence)
        self._report.records += 1
        self._report.stands(sequence, its_standing)
        expected = link
        if self._chain is not None:
            expected = link_of(self._chain, canonical_of(*row[:_CHAIN], *row[_CHAIN + 1 :]))
        its_digest = digest_of(subject or peer, raw, event_time)
        in_place = (link, partition) == (expected, self._head.partition)
        if not in_place or digest not in (its_digest, undated(its_digest)):
            self._report.found(f"record {sequence} was changed, or is not in its place")
        elif (encode_terms(sorted(indexed)), sorted(fed)) != (terms, _fed(row)):
            self._report.found(f"record {sequence}: the search index was changed")
        self._linked(sequence, link)

    def _damaged(self, sequence: int, chain: str) -> None:
        self._missing(sequence)
        self._report.records += 1
        self._report.found(f"record {sequence} was changed: it holds what is never written")
        self._linked(sequence, chain)

    def _linked(self, sequence: int, chain: str) -> None:
        if self._links.get(sequence, chain) != chain:
            self._report.found(f"up to record {sequence} the trail is not the one that was signed")
        self._chain, self._expected = chain, sequence + 1

    def _missing(self, upto: int) -> None:
        while self._expected < upto:
            self._report.found(f"record {self._expected} is missing")
            self._expected += 1
            self._chain = None


def _fed(row: Row) -> list[Row]:
    """What must be kept beside a record of what it says of ids."""
    event, outcome = row[10:12]
    if (event, outcome) != (PATIENT_RECORD.code, Outcome.SUCCESS):
        return []
    item = stored(row)
    rows = rows_of(item.sequence, item.record.standing, identities_in(item.record.raw))
    return sorted(tuple(row[column] for column in _FED) for row in rows)

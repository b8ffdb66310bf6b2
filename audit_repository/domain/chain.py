"""The chain: each record bound to the one before by a hash, heads and checkpoints signed.

`chain(n) = SHA-256(chain(n - 1) ‖ canonical record n)`, one chain for each month (partition) of receipt,
and the first link of a month hangs on the last of the month before. So a month can be given up whole, and
its head still proves what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from audit_repository.domain.record import Record
from audit_repository.domain.sources import Standing

ORIGIN = sha256(b"xdsi audit trail").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last link of a partition; `first` is the sequence of the partition's first record."""

    partition: str
    number: int
    first: int
    sequence: int
    begin: str
    chain: str

    def after(self, record: Record, partition: str) -> Head:
        """The head once `record` is appended, in `partition` or, when the clock went back, in the same."""
        if partition <= self.partition:
            return self._append(record)
        begun = Head(
            partition=partition,
            number=self.number + 1,
            first=self.sequence + 1,
            sequence=self.sequence,
            begin=begin_of(partition, self.chain),
            chain=begin_of(partition, self.chain),
        )
        return begun._append(record)

    def _append(self, record: Record) -> Head:
        sequence = self.sequence + 1
        return Head(
            partition=self.partition,
            number=self.number,
            first=self.first,
            sequence=sequence,
            begin=self.begin,
            chain=link(self.chain, sequence, self.partition, record),
        )


def begin_of(partition: str, previous: str) -> str:
    """The chain value before the first record of `partition`."""
    return sha256(f"{previous} {partition}".encode()).hexdigest()


#: Before any record of any partition.
EMPTY = Head(partition="", number=0, first=1, sequence=0, begin=ORIGIN, chain=ORIGIN)


def partition_of(received: str) -> str:
    """The month of receipt, `2030-05`."""
    return received[:7]


def link(previous: str, sequence: int, partition: str, record: Record) -> str:
    """The chain value of a record."""
    return link_of(previous, canonical(sequence, partition, record))


def link_of(previous: str, stored: bytes) -> str:
    """The chain value of a record whose stored values have this form."""
    return sha256(bytes.fromhex(previous) + stored).hexdigest()


def canonical(sequence: int, partition: str, record: Record) -> bytes:
    """Every stored value of a record in one unambiguous form."""
    return canonical_of(
        sequence,
        partition,
        record.received,
        record.peer,
        record.subject,
        record.raw,
        record.digest,
        record.state.value,
        record.reason,
        record.event_time,
        record.event,
        record.outcome,
        encode_terms(record.terms),
        record.fingerprint,
        record.standing.value,
    )


_NOT_COMPARED = ("", Standing.UNKNOWN.value)


def canonical_of(*values: str | int | bytes | None) -> bytes:
    """The form of stored values, in the order of their columns and without the link: each with its length
    before it.

    Records of releases that did not compare nodes have two fields less.
    """
    compared = values if values[-2:] != _NOT_COMPARED else values[:-2]
    fields = [
        value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
        for value in compared
    ]
    return b"".join([b"%d:%s" % (len(field), field) for field in fields])


def encode_terms(terms: Sequence[tuple[str, str]]) -> str:
    """Terms as one text, kept in the record beside the index that is made of them."""
    return "\n".join([f"{kind}\t{value}" for kind, value in terms])


def decode_terms(text: str) -> tuple[tuple[str, str], ...]:
    """Read what `encode_terms` wrote."""
    pairs = [line.partition("\t") for line in text.split("\n")] if text else []
    return tuple([(kind, value) for kind, _, value in pairs])


def head_statement(head: Head) -> bytes:
    """What is signed of a head."""
    values = (head.partition, head.first, head.sequence, head.begin, head.chain)
    return "\n".join(("xdsi audit head", *map(str, values))).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed statement that the chain had this value at this record; each names the one before."""

    sequence: int
    chain: str
    time: str
    previous: str

    @property
    def statement(self) -> bytes:
        """What is signed."""
        return f"xdsi audit checkpoint\n{self.sequence}\n{self.chain}\n{self.time}\n{self.previous}".encode()

    @property
    def digest(self) -> str:
        """What the next checkpoint names."""
        return sha256(self.statement).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A signed statement that the records of a partition were given up by retention, and what they were."""

    number: int
    partition: str
    first: int
    sequence: int
    chain: str
    time: str

    @property
    def statement(self) -> bytes:
        """What is signed."""
        values = (self.number, self.partition, self.first, self.sequence, self.chain, self.time)
        return "\n".join(("xdsi audit partition given up", *map(str, values))).encode()

    def is_of(self, head: Head) -> bool:
        """Whether it speaks of the partition of `head`, as that ends."""
        return (self.number, self.partition, self.first, self.sequence, self.chain) == (
            head.number,
            head.partition,
            head.first,
            head.sequence,
            head.chain,
        )

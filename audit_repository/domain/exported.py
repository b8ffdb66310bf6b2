"""An export of the trail, verified by itself: nothing in it was changed since it was made."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from audit_repository.domain.chain import GivenUp, Head, canonical_of, encode_terms, head_statement, link_of
from audit_repository.domain.record import digest_of, undated

_OF_THE_LINK = (
    "sequence",
    "partition",
    "received",
    "peer",
    "subject",
    "raw",
    "digest",
    "state",
    "reason",
    "event_time",
    "event",
    "outcome",
    "terms",
    "fingerprint",
    "standing",
)


class Signatures(Protocol):
    """Knows whether a signature is of the trail's key."""

    def holds(self, signature: bytes, statement: bytes) -> bool:
        """Whether `signature` is of `statement`."""
        ...


def statement_of_export(number: int, digest: str) -> bytes:
    """What is signed of an export: how many records it has, and the SHA-256 of its lines."""
    return f"xdsi audit export\n{number}\n{digest}".encode()


@dataclass(slots=True)
class Exported:
    """What an export holds, and what is wrong with it; `problems` is empty when it is whole."""

    records: int = 0
    problems: list[str] = field(default_factory=list)


def verified(lines: Iterable[bytes], signatures: Signatures) -> Exported:
    """Verify an export, line by line; the records of an export are as many as they are."""
    report, digest, ended = Exported(), sha256(), False
    begins: dict[int, str] = {}
    for number, octets in enumerate(lines, start=1):
        try:
            line = json.loads(octets)
            ended = "records" in line
            report.problems += _problems(line, digest.hexdigest(), report, begins, signatures)
        except (ValueError, TypeError, KeyError, AttributeError):
            report.problems.append(f"line {number} cannot be read")
        digest.update(octets)
    if not ended:
        report.problems.append("the last line, which is signed, is missing: the export broke off")
    return report


def _problems(
    line: Mapping[str, Any], digest: str, report: Exported, begins: dict[int, str], signatures: Signatures
) -> Iterator[str]:
    match line:
        case {"head": members, "signature": signature}:
            head = Head(**members)
            begins[head.first] = head.begin
            if not signatures.holds(bytes.fromhex(signature), head_statement(head)):
                yield f"the head of {head.partition} has no valid signature"
        case {"given_up": members, "signature": signature}:
            certificate = GivenUp(**members)
            if not signatures.holds(bytes.fromhex(signature), certificate.statement):
                yield f"that {certificate.partition} was given up has no valid signature"
        case {"record": record, "previous": previous}:
            report.records += 1
            if not _is_linked(record, begins.get(record["sequence"], previous)):
                yield f"record {record['sequence']} was changed"
        case {"records": number, "sha256": whole, "signature": signature}:
            statement = statement_of_export(number, whole)
            if not signatures.holds(bytes.fromhex(signature), statement):
                yield "the last line has no valid signature"
            elif (number, whole) != (report.records, digest):
                yield "the lines are not those that were signed"


def _is_linked(record: Mapping[str, Any], previous: str | None) -> bool:
    """Whether digest and link are those of the record; of one before which nothing is known, the digest."""
    raw = b64decode(record["raw"], validate=True)
    digest = digest_of(record["subject"] or record["peer"], raw, record["event_time"])
    if record["digest"] not in (digest, undated(digest)):
        return False
    if previous is None:
        return True
    values = {**record, "raw": raw, "terms": encode_terms([(kind, value) for kind, value in record["terms"]])}
    return bool(record["chain"] == link_of(previous, canonical_of(*(values[name] for name in _OF_THE_LINK))))


def key_in(first_line: bytes) -> bytes:
    """The public key that an export names, in PEM; empty when it names none."""
    try:
        return str(json.loads(first_line)["public_key"]).encode()
    except (ValueError, TypeError, KeyError):
        return b""

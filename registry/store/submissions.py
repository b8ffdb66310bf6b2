"""Submissions that were answered, for their retries; what replacements take along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, select

from registry.domain.lifecycle import CASCADING, Membership
from registry.domain.submission import HAS_MEMBER, ObjectClass
from registry.store import identifiers
from registry.store.by_patient import fetch_at
from registry.store.tables import registry_object, submission
from shared.ebrim.model import AvailabilityStatus
from shared.store.engine import Batch, Transaction
from shared.store.statements import in_list, insert_or_ignore

_APPROVED = str(AvailabilityStatus.APPROVED)

_ANSWER = select(submission.c.response).where(
    submission.c.message_id == bindparam("message_id"), submission.c.digest == bindparam("digest")
)
_KEEP = insert_or_ignore(submission)

_association = registry_object.alias("association")


def _starts_at(source: FromClause) -> ColumnElement[bool]:
    # What starts at a document or folder is within its patient.
    return and_(
        source.c.patient_id == _association.c.patient_id,
        source.c.entry_uuid == _association.c.source_object,
    )


_child = registry_object.alias("child")
_CHILDREN = (
    select(_child.c.entry_uuid)
    .select_from(_association.join(_child, _starts_at(_child)))
    .where(
        _association.c.patient_id == bindparam("patient"),
        in_list(_association.c.target_object, "ids"),
        in_list(_association.c.association_type, "types"),
        _association.c.status == _APPROVED,
        _child.c.status == _APPROVED,
    )
    .order_by(_child.c.entry_uuid)
)
_folder = registry_object.alias("folder")
_HELD = (
    select(_association.c.source_object, _association.c.target_object)
    .select_from(_association.join(_folder, _starts_at(_folder)))
    .where(
        _association.c.patient_id == bindparam("patient"),
        in_list(_association.c.target_object, "ids"),
        _association.c.association_type == str(HAS_MEMBER),
        _association.c.status == _APPROVED,
        _folder.c.object_class == str(ObjectClass.FOLDER),
        _folder.c.status == _APPROVED,
    )
    .order_by(_association.c.source_object, _association.c.target_object)
)


async def find_answer(transaction: Transaction, *, message_id: str, digest: str) -> bytes | None:
    """The response that this very message was given before, if any."""
    rows = await transaction.fetch(_ANSWER, message_id=message_id, digest=digest)
    return bytes(rows[0][0]) if rows else None


async def find_or_keep_answer(
    transaction: Transaction, *, message_id: str, digest: str, response: bytes, created: str
) -> bytes | None:
    """The response that this very message was given before; or None, and `response` is kept for its retry.

    A message without id is always new.
    """
    if not message_id:
        return None
    # Written first: of two copies of one message the second waits here, and then finds the answer.
    while not await transaction.execute(
        _KEEP, message_id=message_id, digest=digest, response=response, created=created
    ):
        if before := await find_answer(transaction, message_id=message_id, digest=digest):
            return before
        # It was forgotten between the two statements, so that the message is new.
    return None


def answer_batch(*, message_id: str, digest: str, response: bytes, created: str) -> Batch:
    """The row that keeps the response of a new message; none for a message without id."""
    row = {"message_id": message_id, "digest": digest, "response": response, "created": created}
    return submission, [row] if message_id else []


async def find_descendants(transaction: Transaction, entries: Iterable[str]) -> list[str]:
    """The Approved entries that were transformed from, or appended to, `entries`, over all generations."""
    seen = set(entries)
    generation: Sequence[str] = sorted(seen)
    descendants: list[str] = []
    while generation:
        places = await identifiers.find_leads(transaction, generation)
        rows = await fetch_at(transaction, _CHILDREN, places, types=sorted(CASCADING))
        generation = sorted({child for (child,) in rows} - seen)
        seen.update(generation)
        descendants.extend(generation)
    return descendants


async def find_memberships(transaction: Transaction, documents: Sequence[str]) -> list[Membership]:
    """The Approved memberships of `documents` in Approved folders."""
    places = await identifiers.find_leads(transaction, documents)
    rows = await fetch_at(transaction, _HELD, places)
    return [Membership(folder, document) for folder, document in rows]

"""The uniqueIds in use, each with the content that it names: where racing submissions meet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.sql.elements import ClauseElement

from registry.domain.registration import UsedUniqueId
from registry.domain.submission import Class
from registry.store.tables import unique_id
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import DocumentEntry, Folder, SubmissionSet
from shared.store.engine import Transaction
from shared.store.statements import in_list, insert_or_ignore

#: Claims of one statement.
AT_ONCE = 16

_REPLACE = (
    update(unique_id)
    .where(unique_id.c.unique_id == bindparam("which"))
    .values(content_hash=bindparam("content_hash"), size=bindparam("size"))
)
_USED = select(
    unique_id.c.unique_id, unique_id.c.object_class, unique_id.c.content_hash, unique_id.c.size
).where(in_list(unique_id.c.unique_id, "unique_ids"))

Identified = DocumentEntry | SubmissionSet | Folder


@lru_cache(maxsize=AT_ONCE)
def _claims(number: int) -> ClauseElement:
    rows: list[dict[str, Any]] = [
        {column.name: bindparam(_bound_name(column.name, at)) for column in unique_id.columns}
        for at in range(number)
    ]
    return insert_or_ignore(unique_id).values(rows).returning(unique_id.c.unique_id)


def _bound_name(name: str, at: int) -> str:
    return f"{name}_{at}"


async def claim_unique_ids(
    transaction: Transaction, objects: Sequence[Identified]
) -> tuple[UsedUniqueId, ...]:
    """Claim the uniqueIds of `objects`; return those that were in use before.

    A claim of another transaction that has not ended is waited for, in the order of the ids.
    """
    # The spelling of the message is what its rules look for.
    ordered = {nfc(thing.unique_id): thing for thing in objects}
    claimed = await _claimed(transaction, [ordered[spelled] for spelled in sorted(ordered)])
    before = {spelled: thing.unique_id for spelled, thing in ordered.items() if spelled not in claimed}
    if not before:
        return ()
    return tuple(
        UsedUniqueId(
            unique_id=before[used], object_class=Class(object_class), content_hash=content_hash, size=size
        )
        for used, object_class, content_hash, size in await transaction.fetch(
            _USED, unique_ids=sorted(before)
        )
    )


async def _claimed(transaction: Transaction, objects: Sequence[Identified]) -> set[str]:
    claimed: set[str] = set()
    for start in range(0, len(objects), AT_ONCE):
        claims = [_claim(thing) for thing in objects[start : start + AT_ONCE]]
        given = {_bound_name(name, at): claim[name] for at, claim in enumerate(claims) for name in claim}
        rows = await transaction.fetch(_claims(len(claims)), **given)
        claimed.update(spelled for (spelled,) in rows)
    return claimed


async def replace_contents(transaction: Transaction, entries: Sequence[DocumentEntry]) -> None:
    """Let the uniqueIds of `entries` name their content from now on (ITI-57, 92)."""
    await transaction.execute_many(
        _REPLACE, [{**_claim(entry), "which": nfc(entry.unique_id)} for entry in entries]
    )


def _claim(thing: Identified) -> dict[str, object]:
    match thing:
        case DocumentEntry():
            of, content_hash, size = Class.DOCUMENT_ENTRY, thing.hash.lower(), thing.size
        case SubmissionSet():
            of, content_hash, size = Class.SUBMISSION_SET, "", None
        case Folder():
            of, content_hash, size = Class.FOLDER, "", None
    return {
        "unique_id": nfc(thing.unique_id),
        "object_class": str(of),
        "content_hash": content_hash,
        "size": size,
    }

"""Answers that were kept for retries, and are let go of when they are old: a portion at a time.

A portion is found by reading along the primary key, so that the writer is asked only when there is something
to delete, and then deletes within a bounded range.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Delete, Integer, Select, Table, Text, bindparam, delete, select, tuple_

from registry.store.tables import feed_message, submission
from shared.store.engine import Database, Transaction

#: Rows that one read looks at, and one write deletes at most.
PORTION = 200

Key = tuple[str, str]
FIRST: Key = ("", "")


@dataclass(frozen=True, slots=True)
class Replays:
    """One table of answers: its next rows after a key, and the deletion of old ones in a range of keys."""

    following: Select[tuple[str, str, str]]
    delete: Delete

    @classmethod
    def of(cls, table: Table, name: Column[str]) -> Replays:
        """The statements for `table`, whose primary key is `name` and the digest."""
        key = tuple_(name, table.c.digest)
        after = key > tuple_(bindparam("after", type_=Text), bindparam("after_digest", type_=Text))
        upto = key <= tuple_(bindparam("upto", type_=Text), bindparam("upto_digest", type_=Text))
        return cls(
            select(name, table.c.digest, table.c.created)
            .where(after)
            .order_by(name, table.c.digest)
            .limit(bindparam("most", type_=Integer)),
            delete(table).where(after, upto, table.c.created < bindparam("before", type_=Text)),
        )


SUBMISSIONS = Replays.of(submission, submission.c.message_id)
FEED_MESSAGES = Replays.of(feed_message, feed_message.c.control_id)


async def forget_portion(
    database: Database, replays: Replays, *, after: Key, before: str
) -> tuple[int, Key | None]:
    """Delete what was kept before a moment (ISO 8601, UTC) among the next `PORTION` rows after a key.

    Returns how many rows went, and the last key that was looked at, or None at the end of the table.
    """
    rows = await database.fetch(replays.following, after=after[0], after_digest=after[1], most=PORTION)
    if not rows:
        return 0, None
    last: Key = (rows[-1][0], rows[-1][1])
    if all(created >= before for _, _, created in rows):
        return 0, last

    async def work(transaction: Transaction) -> int:
        return await transaction.execute(
            replays.delete,
            after=after[0],
            after_digest=after[1],
            upto=last[0],
            upto_digest=last[1],
            before=before,
        )

    return await database.write(work), last

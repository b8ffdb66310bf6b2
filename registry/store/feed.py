"""Feed messages that were acknowledged, so that a retry is acknowledged alike."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select

from registry.store.tables import feed_message
from shared.store.engine import Reader, Transaction

_FIND = select(feed_message.c.acknowledgement).where(
    feed_message.c.control_id == bindparam("control_id"), feed_message.c.digest == bindparam("digest")
)
_KEEP = insert(feed_message)


async def find_acknowledgement(reader: Reader, control_id: str, digest: str) -> bytes | None:
    """The acknowledgement that these bytes were given before, or None."""
    rows = await reader.fetch(_FIND, control_id=control_id, digest=digest)
    return bytes(rows[0][0]) if rows else None


async def keep_acknowledgement(
    transaction: Transaction, *, control_id: str, digest: str, acknowledgement: bytes, created: str
) -> None:
    """Keep the acknowledgement of a message, for its retry."""
    await transaction.execute(
        _KEEP, control_id=control_id, digest=digest, acknowledgement=acknowledgement, created=created
    )

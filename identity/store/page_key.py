"""The key by which pages seal what they give to browsers: the same in every process at the database."""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import bindparam, select

from identity.store.tables import page_key as keys
from shared.store.engine import Database, Transaction
from shared.store.statements import insert_or_ignore

_PURPOSE: Final = "handles"
_MAKE = insert_or_ignore(keys).values({column.name: bindparam(column.name) for column in keys.c})
_FIND = select(keys.c.content).where(keys.c.purpose == bindparam("of"))


async def page_key(database: Database) -> bytes:
    """The key, of 32 octets, which the first who asks makes."""

    async def work(transaction: Transaction) -> bytes:
        await transaction.execute(_MAKE, purpose=_PURPOSE, content=secrets.token_bytes(32))
        ((content,),) = await transaction.fetch(_FIND, of=_PURPOSE)
        return bytes(content)

    return await database.write(work)

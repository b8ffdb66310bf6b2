"""What counts once, in the database, so that every process of the service knows it: authorization codes, and
assertions by which clients prove themselves."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, delete, insert, select

from identity.domain.authorization import CODE_SECONDS, Authorization, CodeGrant, SignIn
from identity.store.tables import single_use
from shared.store.engine import Database, Transaction
from shared.store.failures import UniqueViolation

_KEY: Final = single_use.c.key == bindparam("a_key")
_INSERT = insert(single_use).values({column.name: bindparam(column.name) for column in single_use.c})
_CONTENT = select(single_use.c.content).where(_KEY, single_use.c.ends > bindparam("now"))
_TAKE = delete(single_use).where(_KEY, single_use.c.ends > bindparam("now"))
_FORGET = delete(single_use).where(single_use.c.ends <= bindparam("now"))


async def give_code(database: Database, grant: CodeGrant) -> str:
    """A code for what was granted, worth it for `CODE_SECONDS` and once."""
    code = secrets.token_urlsafe(32)
    await _keep(database, _digest("code", code), int(time.time() + CODE_SECONDS), json.dumps(asdict(grant)))
    return code


async def take_code(database: Database, code: str) -> CodeGrant | None:
    """What a code is worth, for the last time; None for any other."""
    key = _digest("code", code)

    async def work(transaction: Transaction) -> str | None:
        now = int(time.time())
        contents = [content for (content,) in await transaction.fetch(_CONTENT, a_key=key, now=now)]
        # Of two who come with it at the same moment one takes it away.
        return contents[0] if await transaction.execute(_TAKE, a_key=key, now=now) else None

    content = await database.write(work)
    if content is None:
        return None
    grant = json.loads(content)
    sign_in = grant["sign_in"]
    return CodeGrant(
        Authorization(**grant["authorization"]),
        SignIn(name=sign_in["name"], seconds=sign_in["seconds"], methods=tuple(sign_in["methods"])),
    )


async def use_assertion(database: Database, client_id: str, jti: str, ends: int) -> bool:
    """Whether an assertion that holds until `ends` (seconds since 1970) is used for the first time."""
    try:
        await _keep(database, _digest("assertion", client_id, jti), ends, "")
    except UniqueViolation:
        return False
    return True


async def _keep(database: Database, key: str, ends: int, content: str) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(_FORGET, now=int(time.time()))
        await transaction.execute(_INSERT, key=key, ends=ends, content=content)

    await database.write(work)


def _digest(*parts: str) -> str:
    """By what it is kept: hexadecimal, and worth nothing itself."""
    return sha256(json.dumps(parts).encode()).hexdigest()

"""What people sign in with here, in the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from identity.domain.passkey import Passkey
from identity.domain.totp import AppSecret
from identity.store.tables import credential
from shared.store.engine import Reader, Transaction

_PASSWORD: Final = "password"  # noqa: S105  # the kind
_APP: Final = "app"
_PASSKEY: Final = "passkey"

_OF_PERSON = select(credential.c.kind, credential.c.key, credential.c.content, credential.c.used).where(
    credential.c.name == bindparam("of")
)
_PASSKEY_OF_ID = select(credential.c.name, credential.c.content, credential.c.used).where(
    credential.c.kind == bindparam("a_kind"), credential.c.key == bindparam("a_key")
)
_REMOVE = delete(credential).where(
    credential.c.kind == bindparam("a_kind"), credential.c.key == bindparam("a_key")
)
_REMOVE_ALL = delete(credential).where(credential.c.name == bindparam("of"))
#: A code of an app, and a signature of a passkey that counts, is used by one request alone.
_USE = (
    update(credential)
    .where(
        credential.c.kind == bindparam("a_kind"),
        credential.c.key == bindparam("a_key"),
        credential.c.used == bindparam("before"),
    )
    .values(used=bindparam("after"))
)


class PasskeyTaken(Exception):
    """A passkey is registered already; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one person signs in with; `password` is what is kept of it."""

    password: str | None = None
    app: AppSecret | None = None
    passkeys: tuple[Passkey, ...] = ()


async def find_credentials(reader: Reader, name: str) -> Credentials:
    """What a person signs in with."""
    password, app, passkeys = None, None, []
    for kind, key, content, last in await reader.fetch(_OF_PERSON, of=name):
        if kind == _PASSWORD:
            password = bytes(content).decode()
        elif kind == _APP:
            app = AppSecret(octets=bytes(content), used=last)
        else:
            passkeys.append(Passkey(credential_id=key, public_key=bytes(content), signatures=last))
    return Credentials(password=password, app=app, passkeys=tuple(passkeys))


async def find_passkey(reader: Reader, credential_id: str) -> tuple[str, Passkey] | None:
    """Whose passkey it is, and the passkey."""
    for name, content, last in await reader.fetch(_PASSKEY_OF_ID, a_kind=_PASSKEY, a_key=credential_id):
        return name, Passkey(credential_id=credential_id, public_key=bytes(content), signatures=last)
    return None


async def keep_password(transaction: Transaction, name: str, digest: str) -> None:
    """Keep what is kept of a password, in place of the one before."""
    await _replace(transaction, _PASSWORD, name, digest.encode())


async def keep_app(transaction: Transaction, name: str, app: AppSecret) -> None:
    """Keep the secret of an app, in place of the one before."""
    await _replace(transaction, _APP, name, app.octets)


async def insert_passkey(transaction: Transaction, name: str, passkey: Passkey) -> None:
    """Keep one more passkey of a person; raises `PasskeyTaken`."""
    if await find_passkey(transaction, passkey.credential_id) is not None:
        raise PasskeyTaken("this passkey is registered already; sign in with it")
    row = _row(_PASSKEY, passkey.credential_id, name, passkey.public_key, passkey.signatures)
    await transaction.execute_many(insert(credential), [row])


async def use_app(transaction: Transaction, name: str, app: AppSecret, step: int) -> bool:
    """Use the code of a step; whether nobody else did."""
    return bool(await transaction.execute(_USE, a_kind=_APP, a_key=name, before=app.used, after=step))


async def use_passkey(transaction: Transaction, before: Passkey, after: Passkey) -> bool:
    """Keep how many signatures a passkey counted; whether nobody else used it meanwhile."""
    return bool(
        await transaction.execute(
            _USE,
            a_kind=_PASSKEY,
            a_key=before.credential_id,
            before=before.signatures,
            after=after.signatures,
        )
    )


async def forget(transaction: Transaction, name: str) -> bool:
    """Forget everything that a person signs in with; whether there was anything."""
    return bool(await transaction.execute(_REMOVE_ALL, of=name))


async def _replace(transaction: Transaction, kind: str, name: str, content: bytes) -> None:
    await transaction.execute(_REMOVE, a_kind=kind, a_key=name)
    await transaction.execute_many(insert(credential), [_row(kind, name, name, content, 0)])


def _row(kind: str, key: str, name: str, content: bytes, last: int) -> Mapping[str, Any]:
    return {"kind": kind, "key": key, "name": name, "content": content, "used": last}

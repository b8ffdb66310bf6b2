"""People and their logins in the database."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert, literal, select, update

from identity.domain.person import Login, Person, code_of
from identity.store.tables import login, person
from shared.store.engine import Reader, Row, Transaction

_COLUMNS = (person.c.name, person.c.content, person.c.disabled)
_ALL = select(*_COLUMNS).order_by(person.c.name)
_OF_LOGIN = (
    select(*_COLUMNS)
    .join(login, login.c.name == person.c.name)
    .where(login.c.issuer == bindparam("at"), login.c.subject == bindparam("known_as"))
)
_OF_NAME = select(*_COLUMNS).where(person.c.name == bindparam("of"))
_LOGINS = select(login.c.name, login.c.issuer, login.c.subject).order_by(login.c.issuer, login.c.subject)
_TAKEN = select(login.c.name).where(
    login.c.issuer == bindparam("at"), login.c.subject == bindparam("known_as")
)
_LET_IN = select(person.c.name).where(person.c.name == bindparam("of"), person.c.disabled == literal(False))
_REMOVE = delete(person).where(person.c.name == bindparam("of"))
_REMOVE_LOGINS = delete(login).where(login.c.name == bindparam("of"))
_DISABLE = update(person).where(person.c.name == bindparam("of")).values(disabled=literal(True))


class LoginTaken(Exception):
    """A login is of somebody else already; the text names whom."""


async def find_all(reader: Reader) -> list[Person]:
    """Everybody, by name."""
    rows, logins = await reader.fetch(_ALL), await reader.fetch(_LOGINS)
    return [_person(row, [one for one in logins if one[0] == row[0]]) for row in rows]


async def find_by_login(reader: Reader, at: Login) -> Person | None:
    """The person who is known by a login; None when nobody is."""
    rows = await reader.fetch(_OF_LOGIN, at=at.issuer, known_as=at.subject)
    return _person(rows[0]) if rows else None


async def find_by_name(reader: Reader, name: str) -> Person | None:
    """The person of a name, without logins; None when there is none."""
    rows = await reader.fetch(_OF_NAME, of=name)
    return _person(rows[0]) if rows else None


async def is_let_in(reader: Reader, name: str) -> bool:
    """Whether there is a person of this name who is not disabled."""
    return bool(await reader.fetch(_LET_IN, of=name))


async def keep(transaction: Transaction, one: Person) -> None:
    """Keep a person as `one` says, in place of what was said before.

    Raises
    ------
    LoginTaken
        One of the logins is of somebody else.
    """
    for each in one.logins:
        for (name,) in await transaction.fetch(_TAKEN, at=each.issuer, known_as=each.subject):
            if name != one.name:
                raise LoginTaken(f"the login {each.subject} at {each.issuer} is of {name} already")
    await transaction.execute(_REMOVE, of=one.name)
    await transaction.execute(_REMOVE_LOGINS, of=one.name)
    row = {"name": one.name, "content": _content(one), "disabled": one.disabled}
    await transaction.execute_many(insert(person), [row])
    rows = [{"issuer": each.issuer, "subject": each.subject, "name": one.name} for each in one.logins]
    await transaction.execute_many(insert(login), rows)


async def disable(transaction: Transaction, name: str) -> bool:
    """Let a person in no more; whether there is one of this name."""
    return bool(await transaction.execute(_DISABLE, of=name))


def _content(one: Person) -> str:
    return json.dumps(
        {
            "display_name": one.display_name,
            "roles": [f"{role.value}^^{role.scheme}" for role in one.roles],
            "organization": one.organization,
            "organization_ids": one.organization_ids,
            "patient_id": one.patient_id,
        }
    )


def _person(row: Row, logins: Sequence[Row] = ()) -> Person:
    name, content, disabled = row
    values = json.loads(content)
    return Person(
        name=name,
        display_name=values["display_name"],
        roles=tuple(map(code_of, values["roles"])),
        organization=values["organization"],
        organization_ids=tuple(values["organization_ids"]),
        patient_id=values["patient_id"],
        logins=tuple(Login(issuer=issuer, subject=subject) for _, issuer, subject in logins),
        disabled=bool(disabled),
    )

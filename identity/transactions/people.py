"""Who the people of the community are (JSON over HTTP), for its administrators.

POST /people/set       a person, in place of what was said of that name before
POST /people/list      everybody
POST /people/disable   {"name"}: nothing is issued to that person any more
POST /people/password  {"name", "password"}: by which the person signs in at this service itself
POST /people/app       {"name"}: a new secret for the person's app, which is told this once
POST /people/forget    {"name"}: password, app and passkeys of the person
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from identity.domain.passkey import Site
from identity.domain.password import LONGEST, SHORTEST, digest_of
from identity.domain.person import Login, Person, code_of
from identity.domain.totp import AppSecret
from identity.store import credentials, people
from identity.store.lockout import open_name
from identity.unit import Unit
from shared.audit import patterns
from shared.audit.events import USER_ATTRIBUTES_CHANGED, AuditEvent, Outcome
from shared.http.problem import BadRequest, Conflict, NotFound
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.settings.kinds import CodeWithScheme, Issuer
from shared.store.engine import Transaction

Text = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s@<>\x00-\x1f\x7f]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SentLogin(_Body):
    """A name at a provider."""

    issuer: Issuer
    subject: str = Field(min_length=1, max_length=255)


class PersonRequest(_Body):
    """Who somebody is, and by which sign-ins the person is known."""

    name: Name
    display_name: Text = ""
    roles: tuple[CodeWithScheme, ...] = Field((), max_length=32)
    organization: Text = ""
    organization_ids: tuple[Text, ...] = Field((), max_length=32)
    patient_id: Text = ""
    logins: tuple[SentLogin, ...] = Field((), max_length=16)


class NameRequest(_Body):
    """Whom it is about."""

    name: Name


class PasswordRequest(_Body):
    """By what a person signs in here."""

    name: Name
    password: str = Field(min_length=SHORTEST, max_length=LONGEST)


class AppRequest(NameRequest):
    """Whose app it is."""


class ForgetRequest(NameRequest):
    """Whose credentials are forgotten."""


class NoBody(_Body):
    """Nothing is needed."""


async def set_person(unit: Unit, request: PersonRequest) -> dict[str, Any]:
    """Keep a person."""
    one = Person(
        name=request.name,
        display_name=request.display_name,
        roles=tuple(map(code_of, request.roles)),
        organization=request.organization,
        organization_ids=request.organization_ids,
        patient_id=request.patient_id,
        logins=tuple(Login(issuer=each.issuer, subject=each.subject) for each in request.logins),
    )

    if any(each.issuer == unit.parts.settings.endpoint for each in request.logins):
        raise BadRequest("at this service a person signs in by the very name; leave that login out")

    async def work(transaction: Transaction) -> None:
        await people.keep(transaction, one)

    await unit.write(work, audit(request, None, unit.caller, Outcome.SUCCESS))
    return _shown(one)


async def list_people(unit: Unit, _: NoBody) -> dict[str, Any]:
    """Everybody."""
    return {"people": [_shown(one) for one in await unit.parts.database.read(people.find_all)]}


async def disable(unit: Unit, request: NameRequest) -> dict[str, Any]:
    """Let a person in no more."""

    async def work(transaction: Transaction) -> None:
        if not await people.disable(transaction, request.name):
            raise NotFound("there is nobody of this name; /people/list names everybody")

    await unit.write(work, audit(request, None, unit.caller, Outcome.SUCCESS))
    return {"disabled": request.name}


async def set_password(unit: Unit, request: PasswordRequest) -> dict[str, Any]:
    """Keep the password of a person."""
    digest = await asyncio.to_thread(digest_of, request.password)

    async def work(transaction: Transaction) -> None:
        await _known(transaction, request.name)
        await credentials.keep_password(transaction, request.name, digest)
        await open_name(transaction, request.name)

    await unit.write(work, audit(request, None, unit.caller, Outcome.SUCCESS))
    return {"name": request.name}


async def set_app(unit: Unit, request: AppRequest) -> dict[str, Any]:
    """Make a secret for the app of a person."""
    app = AppSecret.fresh()

    async def work(transaction: Transaction) -> None:
        await _known(transaction, request.name)
        await credentials.keep_app(transaction, request.name, app)

    await unit.write(work, audit(request, None, unit.caller, Outcome.SUCCESS))
    return {"name": request.name, "uri": app.uri(request.name, Site.of(unit.parts.settings.endpoint).host)}


async def forget(unit: Unit, request: ForgetRequest) -> dict[str, Any]:
    """Forget by what a person signs in here."""

    async def work(transaction: Transaction) -> None:
        await _known(transaction, request.name)
        await credentials.forget(transaction, request.name)

    await unit.write(work, audit(request, None, unit.caller, Outcome.SUCCESS))
    return {"forgotten": request.name}


async def _known(transaction: Transaction, name: str) -> None:
    if await people.find_by_name(transaction, name) is None:
        raise NotFound("there is nobody of this name; /people/list names everybody")


def _shown(one: Person) -> dict[str, Any]:
    return {
        "name": one.name,
        "display_name": one.display_name,
        "roles": [f"{role.value}^^{role.scheme}" for role in one.roles],
        "organization": one.organization,
        "organization_ids": list(one.organization_ids),
        "patient_id": one.patient_id,
        "logins": [{"issuer": each.issuer, "subject": each.subject} for each in one.logins],
        "disabled": one.disabled,
    }


_CHANGES: Final = {
    PersonRequest: "set",
    PasswordRequest: "given a password",
    AppRequest: "given a secret for an app",
    ForgetRequest: "left without password, app and passkeys",
    NameRequest: "disabled",
}


def audit(
    request: PersonRequest | PasswordRequest | NameRequest, _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a change of who somebody is, made or not."""
    change = _CHANGES[type(request)]
    return (patterns.user_changed(caller, outcome, name=request.name, change=change),)


def _change(name: str, route: str, kind: type[Any], handle: Any) -> ServedRest[Any, Any]:
    return ServedRest(
        name=name,
        routes=(route,),
        right=Right.CONSENT,
        decode=JsonBody(kind),
        handle=handle,
        audit=audit,
        event=USER_ATTRIBUTES_CHANGED,
        encode=json_response,
    )


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Set person",
        routes=("POST /people/set",),
        right=Right.CONSENT,
        decode=JsonBody(PersonRequest),
        handle=set_person,
        audit=audit,
        event=USER_ATTRIBUTES_CHANGED,
        encode=json_response,
        problems={people.LoginTaken: Conflict},
    ),
    ServedRest(
        name="List people",
        routes=("POST /people/list",),
        right=Right.CONSENT,
        decode=JsonBody(NoBody),
        handle=list_people,
        encode=json_response,
    ),
    _change("Disable person", "POST /people/disable", NameRequest, disable),
    _change("Set password", "POST /people/password", PasswordRequest, set_password),
    _change("Set app", "POST /people/app", AppRequest, set_app),
    _change("Forget credentials", "POST /people/forget", ForgetRequest, forget),
)

"""Who the people of the community are (JSON over HTTP), for its administrators.

POST /people/set       a person, in place of what was said of that name before
POST /people/list      everybody
POST /people/disable   {"name"}: nothing is issued to that person any more
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from identity.domain.person import Login, Person, code_of
from identity.store import people
from identity.unit import Unit
from shared.audit import patterns
from shared.audit.events import USER_ATTRIBUTES_CHANGED, AuditEvent, Outcome
from shared.http.problem import Conflict, NotFound
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


def audit(
    request: PersonRequest | NameRequest, _: Any, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a change of who somebody is, made or not."""
    change = "disabled" if isinstance(request, NameRequest) else "set"
    return (patterns.user_changed(caller, outcome, name=request.name, change=change),)


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
    ServedRest(
        name="Disable person",
        routes=("POST /people/disable",),
        right=Right.CONSENT,
        decode=JsonBody(NameRequest),
        handle=disable,
        audit=audit,
        event=USER_ATTRIBUTES_CHANGED,
        encode=json_response,
    ),
)

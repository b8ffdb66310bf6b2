"""RequestSecurityToken, Issue (OASIS WS-Trust 1.3): a user is given the assertion (XUA) that was asked for.

The user is proved by the JWT of `wst:OnBehalfOf`, an ID token of a believed provider or of this service, or
by an assertion of another issuer in the Security header; an assertion of ours is not renewed by itself.
Whatever is asked for is part of what the community knows of the person, or refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from identity.domain.person import Login, Person
from identity.transactions.issuance import allowed_purpose, assertion, patients_of
from identity.transactions.subject_token import person_of, record_refusal, sign_in_of
from identity.transactions.trust_faults import as_trust_fault
from identity.unit import Unit
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.node_events import user_authorization
from shared.ebrim.identifiers import is_cx
from shared.messages.ws_trust import (
    ISSUE_TOKEN,
    SecurityTokenRequest,
    SecurityTokenResponse,
    TrustFault,
)
from shared.security.caller import Caller, User
from shared.security.saml import Claims
from shared.security.speaker import Speaker
from shared.soap.served import Served

_EVENT_TYPE: Final = Coded(ISSUE_TOKEN.number, "OASIS WS-Trust", ISSUE_TOKEN.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedAssertion(SecurityTokenResponse):
    """The response, and of whom its assertion speaks."""

    user: User


@as_trust_fault
async def handle(unit: Unit, request: SecurityTokenRequest) -> SecurityTokenResponse:
    """Issue the assertion.

    Raises
    ------
    TrustFault
        The user is not proved, or is not what is asked for.
    """
    claims, settings = request.claims, unit.parts.settings
    person, authenticated = await _user(unit, request)
    purpose = allowed_purpose(unit.parts, _one(claims.purposes, "purpose of use"), authenticated)
    patient_id = _one(claims.resource_ids, "resource-id") or ""
    if patient_id and not is_cx(patient_id):
        raise TrustFault("InvalidRequest", "the resource-id is no CX; send ID^^^&OID&ISO")
    begins = datetime.now(UTC).replace(microsecond=0)
    user, octets = assertion(
        unit.parts,
        _narrowed(person, claims),
        purpose,
        patients_of(person, patient_id),
        request.applies_to,
        begins=begins,
    )
    return IssuedAssertion(
        assertion=octets,
        applies_to=request.applies_to,
        begins=begins,
        ends=begins + timedelta(seconds=settings.lifetime_seconds),
        context=request.context,
        user=user,
    )


async def _user(unit: Unit, request: SecurityTokenRequest) -> tuple[Person, datetime | None]:
    """The person for whom it is asked, and when that person signed in, if that is known."""
    of_header, door = unit.caller.user, ISSUE_TOKEN.number
    if of_header is not None and request.on_behalf_of:
        raise TrustFault("InvalidRequest", "name the user by the Security header or by OnBehalfOf, not both")
    if request.on_behalf_of:
        signed_in = await sign_in_of(unit, request.on_behalf_of, door=door)
        login = Login(issuer=signed_in.issuer, subject=signed_in.subject)
        return await person_of(unit, login, door=door), signed_in.authenticated
    if of_header is None:
        raise TrustFault("InvalidRequest", "nobody is named: send OnBehalfOf, or an assertion")
    own = unit.parts.assertions
    if own is not None and of_header.issuer == own.issuer:
        why = "an assertion of ours is not renewed by itself"
        await record_refusal(unit, f"<{of_header.identity}>", why, door=door)
        raise TrustFault("FailedAuthentication", f"{why}; the user signs in again")
    login = Login(issuer=of_header.issuer, subject=of_header.name_id)
    return await person_of(unit, login, door=door), None


def _one(values: tuple[Any, ...], what: str) -> Any | None:
    if len(values) > 1:
        raise TrustFault("InvalidRequest", f"an assertion has one {what}")
    return values[0] if values else None


def _narrowed(person: Person, claims: Claims) -> Person:
    """The person with what was asked for of roles and organisations alone; with all where nothing was."""
    roles = {(role.value, role.scheme): role for role in person.roles}
    asked_roles = [(role.value, role.scheme) for role in claims.roles]
    _check_had(asked_roles, roles, "role")
    _check_had(claims.organization_ids, person.organization_ids, "organisation")
    return replace(
        person,
        roles=tuple(roles[key] for key in asked_roles) or person.roles,
        organization_ids=claims.organization_ids or person.organization_ids,
    )


def _check_had(values: Collection[Any], had: Collection[Any], what: str) -> None:
    if set(values) - set(had):
        raise TrustFault("RequestFailed", f"the person has not every {what} that is asked for")


def audit(
    _: SecurityTokenRequest, response: SecurityTokenResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe what was issued to whom, or that nothing was."""
    user = response.user if isinstance(response, IssuedAssertion) else None
    return (user_authorization(_EVENT_TYPE, caller, outcome, user=user),)


SERVED = Served(ISSUE_TOKEN, handle, audit, Speaker.NODE)

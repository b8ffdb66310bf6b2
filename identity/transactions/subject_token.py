"""Who signed in, by the ID token that a provider made for a client of ours; a refusal is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from identity.domain.person import Login, Person
from identity.store import people
from identity.transactions.oauth import OAuthRefusal
from identity.unit import Unit
from shared.faults import SecurityFault
from shared.security.id_token import IdToken, verified_id_token


async def sign_in_of(unit: Unit, token: str, *, door: str = "ITI-71") -> IdToken:
    """What the ID token says.

    Raises
    ------
    OAuthRefusal
        It is not accepted; why is in the trail.
    """
    parts = unit.parts
    clients = {issuer: provider.client_ids for issuer, provider in parts.settings.providers.items()}
    if parts.settings.clients:
        clients[parts.settings.endpoint] = tuple(parts.settings.clients)
    skew = timedelta(seconds=parts.settings.assertion.skew_seconds)
    try:
        return await verified_id_token(token, parts.providers, clients, datetime.now(UTC), skew)
    except SecurityFault as fault:
        await record_refusal(unit, fault.claimed, fault.detail, door=door)
        raise OAuthRefusal("invalid_grant", "the subject token is not accepted") from None


async def person_of(unit: Unit, login: Login, *, door: str = "ITI-71") -> Person:
    """Who signed in, to the community: at this service by the very name, elsewhere by a login.

    Raises
    ------
    OAuthRefusal
        It knows nobody so, or lets the person in no more; which, is in the trail.
    """
    parts = unit.parts
    if login.issuer == parts.settings.endpoint:
        person = await people.find_by_name(parts.database, login.subject)
    else:
        person = await people.find_by_login(parts.database, login)
    if person is None or person.disabled:
        why = "the person is disabled" if person else "no person of the community has this login"
        await record_refusal(unit, f"<{login.subject[:128]}@{login.issuer[:128]}>", why, door=door)
        raise OAuthRefusal("invalid_grant", "this sign-in is of nobody whom the community lets in")
    return person


async def record_refusal(unit: Unit, claimed: str, why: str, *, door: str = "ITI-71") -> None:
    """Record, or count, that the user `claimed` is not let in by `door`."""
    fault = SecurityFault("FailedAuthentication", why, claimed=claimed)
    fault.of_a_known_node = True
    await unit.parts.recorder.refusals.user(fault, unit.caller.node, transaction=door)

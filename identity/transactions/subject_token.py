"""Who signed in, by the ID token that a provider made for a client of ours; a refusal is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from identity.transactions.oauth import OAuthRefusal
from identity.unit import Unit
from shared.faults import SecurityFault
from shared.security.id_token import IdToken, verified_id_token


async def sign_in_of(unit: Unit, token: str) -> IdToken:
    """What the ID token says.

    Raises
    ------
    OAuthRefusal
        It is not accepted; why is in the trail.
    """
    parts = unit.parts
    clients = {issuer: provider.client_ids for issuer, provider in parts.settings.providers.items()}
    skew = timedelta(seconds=parts.settings.assertion.skew_seconds)
    try:
        return await verified_id_token(token, parts.providers, clients, datetime.now(UTC), skew)
    except SecurityFault as fault:
        await record_refusal(unit, fault.claimed, fault.detail)
        raise OAuthRefusal("invalid_grant", "the subject token is not accepted") from None


async def record_refusal(unit: Unit, claimed: str, why: str) -> None:
    """Record, or count, that the user `claimed` is not let in."""
    fault = SecurityFault("FailedAuthentication", why, claimed=claimed)
    fault.of_a_known_node = True
    await unit.parts.recorder.refusals.user(fault, unit.caller.node, transaction="ITI-71")

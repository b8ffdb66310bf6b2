"""ID tokens (OpenID Connect Core 2): that somebody signed in at a provider, for a client of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from shared.faults import SecurityFault
from shared.security.key_sets import KeySets
from shared.security.signed_token import signed_claims

#: Providers write `JWT`, or nothing. An access token is none.
_TYPES: Final = ("jwt", "")

Seconds = StrictInt | StrictFloat


class _IdClaims(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    iss: StrictStr
    sub: StrictStr = Field(min_length=1, max_length=255)
    aud: StrictStr | tuple[StrictStr, ...]
    azp: StrictStr = ""
    exp: Seconds
    iat: Seconds
    nonce: StrictStr = ""
    auth_time: Seconds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdToken:
    """Who signed in, by the provider's own name; `authenticated` is when, if the provider says so."""

    issuer: str
    subject: str
    nonce: str
    authenticated: datetime | None


async def verified_id_token(
    token: str, keys: KeySets, clients: Mapping[str, Collection[str]], now: datetime, skew: timedelta
) -> IdToken:
    """What the ID token says at `now` (aware), for one of the `clients` that its issuer knows us as.

    Raises
    ------
    SecurityFault
        It is not signed by its issuer, not for these clients, or not for this time.
    """
    try:
        claims = _IdClaims.model_validate_json(await signed_claims(token, keys, _TYPES))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise _invalid(f"{place} of the id token is absent or malformed") from None
    audiences = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
    # Of several audiences the one that it was made for must be ours (3.1.3.7).
    party = {claims.azp} if claims.azp or len(audiences) > 1 else audiences
    ours = set(clients.get(claims.iss, ()))
    if not audiences & ours or not party & ours:
        raise _invalid("the id token is for another client")
    if not _moment(claims.iat) - skew <= now < _moment(claims.exp) + skew:
        raise _invalid("the id token is not yet or no longer valid")
    return IdToken(
        issuer=claims.iss,
        subject=claims.sub,
        nonce=claims.nonce,
        authenticated=None if claims.auth_time is None else _moment(claims.auth_time),
    )


def _invalid(detail: str) -> SecurityFault:
    return SecurityFault("InvalidSecurityToken", detail)


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise _invalid("a time of the token is no moment of the calendar") from None

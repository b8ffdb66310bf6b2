"""Assertions by which clients prove themselves at a token endpoint (RFC 7523 2.2 and 3; private_key_jwt)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from shared.faults import SecurityFault
from shared.security.key_sets import KeySets
from shared.security.signed_token import ALGORITHMS, signed_claims

#: No shared secrets: who verifies could sign as well.
SIGNING_ALGORITHMS: Final = tuple(name for name in ALGORITHMS if not name.startswith("HS"))
#: `typ` may be left out.
_TYPES: Final = ("", "jwt", "client-authentication+jwt")
#: How long one may hold (SMART backend services: five minutes).
_LONGEST: Final = timedelta(minutes=5)

_Seconds = Annotated[float, Field(strict=True)]


class _ProofClaims(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    iss: StrictStr
    sub: StrictStr
    aud: StrictStr | tuple[StrictStr, ...]
    jti: StrictStr = Field(min_length=1, max_length=512)
    exp: _Seconds


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """Who proves itself, by which `jti`, until when (seconds since 1970) that may not be used again."""

    client_id: str
    jti: str
    ends: int


async def verified_client_assertion(
    token: str, keys: KeySets, audiences: Collection[str], now: datetime, skew: timedelta
) -> ClientAssertion:
    """What an assertion proves at `now` (aware), for one of our `audiences`.

    Raises
    ------
    SecurityFault
        It is not signed by a key of its client, not for us, or not for this time.
    """
    try:
        claims = _ProofClaims.model_validate_json(await signed_claims(token, keys, _TYPES))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise _invalid(f"{place} of the client's assertion is absent or malformed") from None
    addressees = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
    if claims.iss != claims.sub:
        raise _invalid("the client's assertion is of one and about another")
    if not addressees & set(audiences):
        raise _invalid("the client's assertion is for another token endpoint")
    left = claims.exp - now.timestamp()
    if not -skew.total_seconds() < left <= (_LONGEST + skew).total_seconds():
        raise _invalid("the client's assertion is over, or holds for more than five minutes")
    return ClientAssertion(claims.sub, claims.jti, int(claims.exp + skew.total_seconds()) + 1)


def claimed_client(token: str) -> str:
    """Whom an assertion claims to be of, before anything is verified; empty when it cannot be read."""
    try:
        payload = token.split(".")[1]
        return str(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""


def _invalid(detail: str) -> SecurityFault:
    return SecurityFault("InvalidSecurityToken", detail)

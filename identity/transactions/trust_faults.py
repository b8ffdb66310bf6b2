"""Why nothing is issued, as WS-Trust tells it (WS-Trust 1.3, 11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

from identity.transactions.oauth import OAuthRefusal
from identity.unit import Unit
from shared.messages.ws_trust import SecurityTokenRequest, SecurityTokenResponse, TrustFault

Handle = Callable[[Unit, SecurityTokenRequest], Awaitable[SecurityTokenResponse]]

_NAMES: Final = {
    "invalid_grant": "FailedAuthentication",
    "insufficient_user_authentication": "FailedAuthentication",
}


def as_trust_fault(handle: Handle) -> Handle:
    """`handle`, whose refusals are told as faults of WS-Trust."""

    @wraps(handle)
    async def told(unit: Any, request: SecurityTokenRequest) -> SecurityTokenResponse:
        try:
            return await handle(unit, request)
        except OAuthRefusal as refusal:
            raise TrustFault(_NAMES.get(refusal.error, "RequestFailed"), refusal.detail) from None

    return told

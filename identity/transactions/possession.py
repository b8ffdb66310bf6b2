"""The key to which an access token is to be bound, as a request for one proves it (DPoP, RFC 9449 5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from identity.store.single_use import use_assertion
from identity.transactions.oauth import OAuthRefusal
from identity.transactions.subject_token import record_refusal
from identity.unit import Unit
from shared.security.dpop import key_proof
from shared.security.possession import ProofFault

#: The header of a request, in lower case.
PROOF: Final = "dpop"
#: The header of an answer with the nonce that the next proof has to name.
NONCE: Final = "dpop-nonce"


class NonceNeeded(OAuthRefusal):
    """The proof has to name `nonce`, which goes along with the refusal (RFC 9449 8)."""

    def __init__(self, nonce: str) -> None:
        super().__init__("use_dpop_nonce", "make the proof anew, with the nonce of the header DPoP-Nonce")
        self.headers = {NONCE: nonce}  # type: ignore[misc]  # of this answer alone


async def proved_key(unit: Unit, proof: str) -> str:
    """The thumbprint of the key of a proof, which is used here for the first time (`jkt`).

    Raises
    ------
    OAuthRefusal
        It does not hold, or was used; what is wrong is recorded.
    NonceNeeded
        It names no nonce of ours that holds, where one is asked for.
    """
    parts = unit.parts
    skew = timedelta(seconds=parts.settings.assertion.skew_seconds)
    try:
        proved = key_proof(
            proof, method="POST", endpoint=unit.caller.endpoint, token="", now=datetime.now(UTC), skew=skew
        )
        if parts.nonces is not None and not parts.nonces.holds(proved.nonce):
            raise NonceNeeded(parts.nonces.fresh())
        if not await use_assertion(
            parts.database, proved.jkt, proved.use_key, int(proved.until.timestamp()) + 1
        ):
            raise ProofFault("the proof was used before; make one for each request")
    except ProofFault as fault:
        await record_refusal(unit, "", fault.detail)
        raise OAuthRefusal("invalid_dpop_proof", fault.detail) from None
    return proved.jkt

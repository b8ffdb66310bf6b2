"""Authorization codes: what a client asked for, who signed in for it, and what the code for it is worth."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

CODE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What a client asks for (RFC 6749 4.1.1, OpenID Connect Core 3.1.2.1); `challenge` is S256 of PKCE, and
    `dpop_jkt` the thumbprint of the key that is to be proved with the code (RFC 9449 10), empty for none."""

    client_id: str
    redirect_uri: str
    state: str
    challenge: str
    nonce: str = ""
    scope: str = ""
    resource: str = ""
    dpop_jkt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Who signed in, when (seconds since 1970), and by what (`amr`, RFC 8176)."""

    name: str
    seconds: int
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodeGrant:
    """What a code is worth."""

    authorization: Authorization
    sign_in: SignIn

    def is_proved_by(self, verifier: str) -> bool:
        """Whether `verifier` is what the challenge was made of (RFC 7636 4.6)."""
        digest = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")
        return hmac.compare_digest(digest, self.authorization.challenge.encode())

    def is_for_key(self, jkt: str) -> bool:
        """Whether who proved the key with this thumbprint, or none, may redeem it."""
        return self.authorization.dpop_jkt in ("", jkt)

"""Tokens that come with a proof of possession (DPoP, RFC 9449), and the use of proofs: each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self

from shared.faults import SecurityFault
from shared.security.once import Once

#: Of keys that sign with something secret alone (RFC 9449 4.2).
ALGORITHMS: Final = ("ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
#: The scheme of the Authorization header, in lower case.
SCHEME: Final = "dpop"


class ProofFault(SecurityFault):
    """The proof beside a token, or its absence, is not accepted."""

    def __init__(self, detail: str) -> None:
        super().__init__("FailedAuthentication", detail)


class SentToken(str):
    """An access token that came by the scheme `DPoP`; beside it the proof, empty where there was none or
    several, and the method of the request."""

    __slots__ = ("method", "proof")

    method: str
    proof: str

    @classmethod
    def of(cls, token: str, *, proof: str, method: str) -> Self:
        """The token with what came beside it."""
        itself = cls(token)
        itself.proof, itself.method = proof, method
        return itself


class Prover(Protocol):
    """Who has a key, and makes proofs of that."""

    def proof(self, method: str, url: str, token: str = "", *, nonce: str = "") -> str:
        """One for a request, with the token that goes along with it, and the nonce of the server."""
        ...


class BoundToken(str):
    """An access token that is bound to a key, and who has that."""

    __slots__ = ("prover",)

    prover: Prover

    @classmethod
    def of(cls, token: str, prover: Prover) -> Self:
        """The token with who proves the key for it."""
        itself = cls(token)
        itself.prover = prover
        return itself

    def headers(self, method: str, url: str) -> dict[str, str]:
        """What a request is sent with: the token, and a proof of its own (RFC 9449 7.1)."""
        return {"authorization": f"DPoP {self}", "dpop": self.prover.proof(method, url, self)}


@dataclass(frozen=True, slots=True)
class KeyProof:
    """A proof that holds: the thumbprint of its key (`jkt`, RFC 7638), under what its use is kept and until
    when, and the nonce of a server that it names (RFC 9449 8)."""

    jkt: str
    use_key: str
    until: datetime
    nonce: str = ""


async def used_once(proof: KeyProof, uses: Once) -> None:
    """See that a proof is used for the first time; raises `ProofFault`."""
    if not await uses.use(proof.use_key, proof.until):
        raise ProofFault("the proof was used before; make one for each request")


def proof_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The proof in the headers of a request; empty where there is none, or several (RFC 9449 4.3)."""
    proofs = [value.decode("latin-1").strip() for name, value in headers if name.lower() == b"dpop"]
    return proofs[0] if len(proofs) == 1 else ""

"""A passkey in this process: it answers challenges as a device does (WebAuthn), or wrongly."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from identity.domain.passkey import Answer, encoded

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
VERIFIED = 0x05


@dataclass
class Device:
    """A device with one key for one site."""

    origin: str
    key: PrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    signatures: int = 0

    @property
    def public_key(self) -> bytes:
        """Its public key, DER."""
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def made(self, challenge: str, /, *, flags: int = VERIFIED | 0x40, **said: Any) -> Answer:
        """Its answer when it is registered."""
        length = len(self.credential_id).to_bytes(2)
        credential = bytes(16) + length + self.credential_id + b"\xa0"
        return Answer(
            client_data=self._client_data("webauthn.create", challenge, said),
            authenticator_data=self._data(flags, said.get("host")) + credential,
        )

    def signed(self, challenge: str, /, *, flags: int = VERIFIED, **said: Any) -> Answer:
        """Its answer when somebody signs in."""
        self.signatures += 1
        client_data = self._client_data("webauthn.get", challenge, said)
        data = self._data(flags, said.get("host"))
        octets = data + sha256(client_data).digest()
        return Answer(client_data=client_data, authenticator_data=data, signature=self._signature(octets))

    def fields(self, challenge: str) -> dict[str, str]:
        """The same, as a browser sends it."""
        answer = self.signed(challenge)
        return {
            "credential_id": encoded(self.credential_id),
            "client_data": encoded(answer.client_data),
            "authenticator_data": encoded(answer.authenticator_data),
            "signature": encoded(answer.signature),
        }

    def new_fields(self, challenge: str) -> dict[str, str]:
        """What a browser sends to register it."""
        answer = self.made(challenge)
        return {
            "client_data": encoded(answer.client_data),
            "authenticator_data": encoded(answer.authenticator_data),
            "public_key": encoded(self.public_key),
        }

    def _client_data(self, kind: str, challenge: str, said: dict[str, Any]) -> bytes:
        values = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(values | {name: value for name, value in said.items() if name != "host"}).encode()

    def _data(self, flags: int, host: str | None) -> bytes:
        of_site = sha256((host or urlsplit(self.origin).hostname or "").encode()).digest()
        return of_site + bytes([flags]) + self.signatures.to_bytes(4)

    def _signature(self, octets: bytes) -> bytes:
        match self.key:
            case ec.EllipticCurvePrivateKey():
                return self.key.sign(octets, ec.ECDSA(SHA256()))
            case rsa.RSAPrivateKey():
                return self.key.sign(octets, padding.PKCS1v15(), SHA256())
            case _:
                return self.key.sign(octets)

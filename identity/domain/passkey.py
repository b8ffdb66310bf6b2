"""Passkeys: keys of a device or a stick that sign a challenge of ours for our site alone (WebAuthn Level 2).

A key is taken without a word of who made it (attestation `none`), and signs in by itself: the device has
verified its user by a PIN or a finger.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

#: ES256, EdDSA, RS256 (COSE).
ALGORITHMS: Final = (-7, -8, -257)
_MIN_RSA_BITS: Final = 2048
_PRESENT: Final = 0x01
_VERIFIED: Final = 0x04
_WITH_CREDENTIAL: Final = 0x40
# rpIdHash, flags, signCount; then AAGUID and the length of the id.
_HEAD: Final = 37
_ID: Final = _HEAD + 16 + 2
_MAX_BYTES: Final = 16 * 1024


class PasskeyRefused(ValueError):
    """What a browser brought is no answer of a passkey to our challenge; the text says which rule broke."""


@dataclass(frozen=True, slots=True)
class Site:
    """Ourselves, as browsers know us: the origin of our pages. The id of the site is its host."""

    origin: str

    @classmethod
    def of(cls, endpoint: str) -> Site:
        """The site of the URL at which we are reached."""
        parts = urlsplit(endpoint)
        return cls(f"{parts.scheme}://{parts.netloc}")

    @property
    def host(self) -> str:
        """The relying party's id."""
        return urlsplit(self.origin).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A passkey of somebody: `public_key` is DER (SubjectPublicKeyInfo), `signatures` how many it counted."""

    credential_id: str
    public_key: bytes
    signatures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a browser brought: clientDataJSON and authenticatorData, and a signature where it signs in."""

    client_data: bytes
    authenticator_data: bytes
    signature: bytes = b""


def registered(site: Site, challenge: str, answer: Answer, public_key: bytes) -> Passkey:
    """The passkey that was made for `challenge` (7.1).

    Raises
    ------
    PasskeyRefused
        It was made for something else, without verifying its user, or is of a kind that is not taken.
    """
    _check(site, challenge, answer, kind="webauthn.create")
    octets = answer.authenticator_data
    length = int.from_bytes(octets[_ID - 2 : _ID])
    if not octets[32] & _WITH_CREDENTIAL or not 0 < length <= 1023 or len(octets) < _ID + length:
        raise PasskeyRefused("there is no credential in it")
    _key_of(public_key)
    return Passkey(
        credential_id=encoded(octets[_ID : _ID + length]),
        public_key=public_key,
        signatures=_signatures(octets),
    )


def used(site: Site, challenge: str, answer: Answer, passkey: Passkey) -> Passkey:
    """The passkey after it signed `challenge` (7.2); raises `PasskeyRefused` where it did not."""
    _check(site, challenge, answer, kind="webauthn.get")
    signed = answer.authenticator_data + sha256(answer.client_data).digest()
    key = _key_of(passkey.public_key)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(answer.signature, signed, ec.ECDSA(SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(answer.signature, signed, padding.PKCS1v15(), SHA256())
        else:
            key.verify(answer.signature, signed)
    except InvalidSignature:
        raise PasskeyRefused("the signature is wrong") from None
    signatures = _signatures(answer.authenticator_data)
    # Who counts, counts up: else there are two of it. Many do not count.
    if (signatures or passkey.signatures) and signatures <= passkey.signatures:
        raise PasskeyRefused("the passkey seems to be copied: it does not count up")
    return replace(passkey, signatures=signatures)


def _check(site: Site, challenge: str, answer: Answer, *, kind: str) -> None:
    """What holds for both ceremonies."""
    try:
        content = json.loads(answer.client_data)
        type_, origin, of_ours = content["type"], content["origin"], str(content["challenge"])
        crossed = content.get("crossOrigin", False)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PasskeyRefused("the client data cannot be read") from None
    if type_ != kind or origin != site.origin or crossed is not False:
        raise PasskeyRefused("it was made for another purpose or another site")
    if not hmac.compare_digest(of_ours.encode(), challenge.encode()):
        raise PasskeyRefused("it answers another challenge")
    octets = answer.authenticator_data
    if len(octets) < _HEAD or octets[:32] != sha256(site.host.encode()).digest():
        raise PasskeyRefused("the authenticator data is of another site")
    if octets[32] & (_PRESENT | _VERIFIED) != _PRESENT | _VERIFIED:
        raise PasskeyRefused("the device did not verify its user")


def _signatures(octets: bytes) -> int:
    return int.from_bytes(octets[33:_HEAD])


def _key_of(der: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise PasskeyRefused("the public key cannot be read") from None
    strong = (
        (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1))
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS)
        or isinstance(key, ed25519.Ed25519PublicKey)
    )
    if not strong:
        raise PasskeyRefused("a key of this kind is not taken; ES256, EdDSA and RS256 are")
    return key  # type: ignore[return-value]  # one of the three


def encoded(octets: bytes) -> str:
    """Octets as WebAuthn writes them: base64url without padding."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """What `encoded` was given; raises `PasskeyRefused` for what it did not write."""
    if len(text) > _MAX_BYTES:
        raise PasskeyRefused("it is too long")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise PasskeyRefused("it is no base64url") from None

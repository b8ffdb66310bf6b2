"""A passkey signs in for our site, for this challenge, with its user verified; and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from identity.domain.passkey import Passkey, PasskeyRefused, Site, registered, used
from tests.support.passkeys import Device

SITE = Site("https://login.example:8100")
CHALLENGE = "a-challenge"


def a_passkey(device: Device) -> Passkey:
    return registered(SITE, CHALLENGE, device.made(CHALLENGE), device.public_key)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["ES256", "EdDSA", "RS256"],
)
def test_a_passkey_that_was_registered_signs_in(key):
    device = Device(SITE.origin, key)
    passkey = a_passkey(device)

    after = used(SITE, CHALLENGE, device.signed(CHALLENGE), passkey)

    assert (passkey.signatures, after.signatures) == (0, 1)
    assert after == replace(passkey, signatures=1)


WRONG = {
    "another challenge": lambda device: device.signed("another"),
    "another origin": lambda device: device.signed(CHALLENGE, origin="https://evil.example"),
    "another site": lambda device: device.signed(CHALLENGE, host="evil.example"),
    "a frame of another site": lambda device: device.signed(CHALLENGE, crossOrigin=True),
    "another ceremony": lambda device: device.signed(CHALLENGE, type="webauthn.create"),
    "nobody there": lambda device: device.signed(CHALLENGE, flags=0x04),
    "user not verified": lambda device: device.signed(CHALLENGE, flags=0x01),
    "another key": lambda device: Device(SITE.origin).signed(CHALLENGE),
    "changed data": lambda device: replace(
        device.signed(CHALLENGE), authenticator_data=device.signed(CHALLENGE).authenticator_data + b"x"
    ),
    "no data": lambda device: replace(device.signed(CHALLENGE), authenticator_data=b""),
    "no JSON": lambda device: replace(device.signed(CHALLENGE), client_data=b"["),
    "a list": lambda device: replace(device.signed(CHALLENGE), client_data=b"[]"),
    "a number": lambda device: device.signed(CHALLENGE, challenge=7),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_its_answer_signs_nobody_in(name: str):
    device = Device(SITE.origin)
    passkey = a_passkey(device)

    with pytest.raises(PasskeyRefused):
        used(SITE, CHALLENGE, WRONG[name](device), passkey)


def test_a_copy_is_found_by_its_count():
    device = Device(SITE.origin)
    registered_key = a_passkey(device)
    passkey = used(SITE, CHALLENGE, device.signed(CHALLENGE), registered_key)
    copy = Device(SITE.origin, device.key, device.credential_id)

    with pytest.raises(PasskeyRefused, match="copied"):
        used(SITE, CHALLENGE, copy.signed(CHALLENGE), passkey)


@pytest.mark.parametrize(
    "public_key",
    [
        b"",
        b"nonsense",
        Device("", ec.generate_private_key(ec.SECP384R1())).public_key,
        Device("", rsa.generate_private_key(65537, 1024)).public_key,
    ],
)
def test_a_key_of_another_kind_is_not_registered(public_key: bytes):
    device = Device(SITE.origin)

    with pytest.raises(PasskeyRefused):
        registered(SITE, CHALLENGE, device.made(CHALLENGE), public_key)


def test_nothing_is_registered_without_a_credential_in_it():
    device = Device(SITE.origin)

    with pytest.raises(PasskeyRefused):
        registered(SITE, CHALLENGE, device.made(CHALLENGE, flags=0x05), device.public_key)

"""Signature values are verified, by whom somebody trusts; xmlsec1 is asked for a second opinion."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from conformance.corpus import signatures
from conformance.corpus.example import Example
from conformance.findings import Severity
from conformance.trust import trusting
from conformance.validation import judge
from xdsi.cli import build

EXAMPLES = list(signatures.examples())


def errors(octets: bytes) -> set[str]:
    return {one.id for one in judge(octets, "x").findings if one.severity is Severity.ERROR}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_broken_signature_is_found_and_a_good_one_is_none(example: Example):
    with trusting(signatures.trust()):
        assert errors(example.octets) == ({example.finds} if example.finds else set())


def test_without_trust_a_value_is_verified_by_the_certificate_that_is_shown_alone():
    impostor = signatures.signers()[2]
    assert errors(signatures.signed_assertion(impostor).encode()) == set()
    assert errors(signatures.signed_assertion(impostor, shows=False).encode()) == set()
    wrong = next(one for one in EXAMPLES if one.name == "saml-assertion with another signature value")
    assert errors(wrong.octets) == {"XUA-026"}


@pytest.mark.parametrize("at", range(0, 400, 3))
def test_a_certificate_that_cannot_be_read_is_told(at: int):
    signer = signatures.signers()[0]
    octets = bytearray(b64decode(signer.der))
    octets[at % len(octets)] ^= 0xFF
    shown = signatures.signed_assertion(signer).replace(signer.der, b64encode(octets).decode())
    with trusting(signatures.trust()):
        found = errors(shown.encode())
    assert found <= {"XUA-026", "XUA-027", "XUA-028"}


def test_what_has_no_canonical_form_is_not_what_was_signed():
    good = signatures.signed_assertion(signatures.signers()[0])
    relative = good.replace('xmlns="urn:hl7-org:v3"', 'xmlns="urnRAD-PHYS"', 1)
    assert relative != good
    assert "XUA-007" in errors(relative.encode())


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not here")
@pytest.mark.parametrize(
    "example",
    [one for one in EXAMPLES if one.kind == "saml-assertion" and "certificate" not in one.name],
    ids=lambda example: example.name,
)
def test_xmlsec1_says_the_same(example: Example, tmp_path: Path):
    path = tmp_path / "a.xml"
    path.write_bytes(example.octets)
    trust = []
    for number, one in enumerate(signatures.trust()):
        pem = tmp_path / f"{number}.pem"
        pem.write_bytes(one.public_bytes(Encoding.PEM))
        trust += ["--trusted-pem", pem]
    ran = subprocess.run(
        ("xmlsec1", "--verify", "--id-attr:ID", "Assertion", *trust, path),
        capture_output=True,
        check=False,
    )
    # Whether a key of 1024 bits is too short depends on how OpenSSL is set up.
    assert (ran.returncode == 0) == (not example.finds) or example.finds == "XUA-028", ran.stderr


def test_the_command_takes_whom_to_trust(tmp_path: Path):
    path, pem = tmp_path / "a.jwt", tmp_path / "trust.pem"
    path.write_bytes(signatures.signed_token(signatures.signers()[2]).encode())
    pem.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in signatures.trust()))

    ran = CliRunner().invoke(build("validate"), ["validate", str(path), "--trust", str(pem)])
    unread = CliRunner().invoke(build("validate"), ["validate", str(path), "--trust", str(path)])

    assert ran.exit_code == 1
    assert "JWT-019" in ran.output
    assert "name a file of PEM" in str(unread.exception)

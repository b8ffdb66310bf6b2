"""A client proves its key beside its tokens (RFC 9449 4.2), and services take that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from shared.security.dpop import key_proof
from shared.security.possession import BoundToken, KeyProof, ProofFault
from shared.security.proving import ProvingKey

URL = "https://source.example/dicomweb/studies"


def taken(proof: str, *, url: str = URL, token: str = "a.b.c") -> KeyProof:
    return key_proof(
        proof, method="GET", endpoint=url, token=token, now=datetime.now(UTC), skew=timedelta(seconds=5)
    )


def pem(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_service_takes_what_a_key_proves_and_each_proof_is_another():
    key = ProvingKey()
    first, second = (taken(key.proof("GET", f"{URL}?PatientID=P-1#x", "a.b.c", nonce="n")) for _ in range(2))
    assert first.jkt == second.jkt == key.thumbprint
    assert first.use_key != second.use_key
    assert first.nonce == "n"


def test_a_proof_is_for_its_request_and_token_alone():
    proof = ProvingKey().proof("GET", URL, "a.b.c")
    for other in ({"url": f"{URL}/1.2"}, {"token": "a.b.d"}):
        with pytest.raises(ProofFault):
            taken(proof, **other)


def test_a_key_outlives_its_process_as_pem():
    kept = pem(ec.generate_private_key(ec.SECP256R1()))
    assert ProvingKey(kept).thumbprint == ProvingKey(kept).thumbprint
    assert taken(ProvingKey(kept).proof("GET", URL, "a.b.c")).jkt == ProvingKey(kept).thumbprint


@pytest.mark.parametrize(
    "wrong",
    [
        b"no key",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP384R1())),
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["no key", "RSA", "P-384", "public"],
)
def test_what_cannot_prove_is_refused_when_it_is_given(wrong):
    with pytest.raises(ValueError, match="key"):
        ProvingKey(wrong)


def test_a_bound_token_is_sent_with_a_proof_and_never_as_bearer():
    token = BoundToken.of("a.b.c", ProvingKey())
    headers = token.headers("GET", URL)
    assert headers["authorization"] == "DPoP a.b.c"
    assert taken(headers["dpop"]).jkt == token.prover.thumbprint

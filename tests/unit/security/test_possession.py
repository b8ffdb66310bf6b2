"""A proof of possession is for one request, one token, one key and one use (RFC 9449)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.faults import SecurityFault
from shared.security import once
from shared.security.dpop import LIFETIME, key_proof
from shared.security.once import InProcess
from shared.security.possession import KeyProof, ProofFault, proof_in, used_once
from tests.support.proofs import a_key, a_proof, wrong_proofs

URL, TOKEN, SKEW = "https://us.example/dicom-web/studies", "a.b.c", timedelta(seconds=5)


def read(proof: str, *, method: str = "GET", url: str = URL, token: str = TOKEN) -> KeyProof:
    return key_proof(proof, method=method, endpoint=url, token=token, now=datetime.now(UTC), skew=SKEW)


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_proof_shows_the_key_to_which_a_token_may_be_bound(kind: str):
    key = a_key("of this kind", kind)

    proof = read(a_proof("GET", URL, TOKEN, key=key))

    assert proof.jkt == key.thumbprint()
    assert proof.until >= datetime.now(UTC) + LIFETIME - timedelta(seconds=2)


@pytest.mark.parametrize("name", [name for name in wrong_proofs("GET", URL, TOKEN) if name != "another key"])
def test_what_is_wrong_with_a_proof_is_found(name: str):
    with pytest.raises(ProofFault):
        read(wrong_proofs("GET", URL, TOKEN)[name])


@pytest.mark.parametrize(
    "htu", ["HTTPS://US.example:443/dicom-web/studies", f"{URL}?PatientID=1", f"{URL}#frames"]
)
def test_an_address_that_is_written_otherwise_is_the_same(htu: str):
    assert read(a_proof("GET", URL, TOKEN, htu=htu))


@pytest.mark.parametrize("htu", ["https://us.example:99999/", "https://[us.example/", "", "studies"])
def test_an_address_that_is_none_is_refused_and_breaks_nothing(htu: str):
    with pytest.raises(ProofFault):
        read(a_proof("GET", URL, TOKEN, htu=htu))


def test_of_several_proofs_none_is_taken():
    assert proof_in([(b"DPoP", b"a.b.c")]) == "a.b.c"
    assert proof_in([(b"dpop", b"a.b.c"), (b"dpop", b"a.b.c")]) == proof_in([]) == ""


async def test_a_proof_is_used_once_and_what_is_over_makes_room(monkeypatch: pytest.MonkeyPatch):
    now = [datetime(2030, 5, 1, tzinfo=UTC)]
    uses = InProcess(lambda: now[0])
    first, second, third = (KeyProof("k", str(at), now[0] + LIFETIME) for at in range(3))
    monkeypatch.setattr(once, "MOST_KEPT", 2)

    await used_once(first, uses)
    await used_once(second, uses)
    with pytest.raises(ProofFault):
        await used_once(first, uses)
    with pytest.raises(SecurityFault):
        await used_once(third, uses)
    now[0] += LIFETIME
    await used_once(third, uses)

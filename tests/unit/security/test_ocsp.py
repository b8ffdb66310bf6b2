"""What responders say of certificates: which answers count, and for how long they are believed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from shared.security.ocsp import CertificateStatus, NoAnswerError, checked
from shared.security.responders import FRESH_SECONDS, SILENCE_SECONDS, Responders
from tests.support.ocsp import (
    AUTHORITY,
    CERTIFICATE,
    NONCE,
    NORTH,
    SOUTH,
    Responder,
    answer,
    authority,
    certificate_of,
    delegate,
    in_process,
)
from tests.support.waiting import until

REVOKED, UNKNOWN = ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN


def status(octets: bytes, nonce: bytes | None = NONCE) -> CertificateStatus:
    return checked(octets, CERTIFICATE, AUTHORITY, nonce).status


@pytest.mark.parametrize(
    "answered",
    [{}, {"signer": delegate(NORTH)}, {"nonce": None}, {"lasts": None}],
    ids=["authority", "delegate", "signed in advance", "without an end"],
)
def test_an_answer_of_the_authority_or_of_whom_it_certified_for_that_counts(answered: dict[str, Any]):
    assert status(answer(**answered)) is CertificateStatus.GOOD


def test_an_answer_says_revoked_or_unknown():
    assert status(answer(REVOKED)) is CertificateStatus.REVOKED
    assert status(answer(UNKNOWN)) is CertificateStatus.UNKNOWN


def broken(octets: bytes) -> bytes:
    """An answer whose signature was made for another."""
    of_another = ocsp.load_der_ocsp_response(answer(REVOKED)).signature
    return octets.replace(ocsp.load_der_ocsp_response(octets).signature, of_another)


@pytest.mark.parametrize(
    "octets",
    [
        answer(signer=authority(SOUTH)),
        answer(signer=delegate(SOUTH)),
        answer(signer=delegate(NORTH, may_respond=False)),
        answer(signer=delegate(NORTH, ends=-timedelta(days=1))),
        answer(about=certificate_of(NORTH.provider.certificate)),
        answer(about=certificate_of(SOUTH.node.certificate), of=certificate_of(SOUTH.authority.certificate)),
        answer(nonce=b"m" * 16),
        answer(since=timedelta(hours=2)),
        answer(since=-timedelta(hours=2)),
        answer(since=timedelta(minutes=7), lasts=None),
        broken(answer()),
        ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(
            Encoding.DER
        ),
        b"nonsense",
        b"",
    ],
    ids=[
        "another authority",
        "another's delegate",
        "no delegate",
        "delegate of yesterday",
        "another certificate",
        "another community",
        "another question",
        "old",
        "of tomorrow",
        "old without an end",
        "broken",
        "later",
        "nonsense",
        "nothing",
    ],
)
def test_any_other_answer_is_none(octets: bytes):
    with pytest.raises(NoAnswerError):
        status(octets)


# --- what is remembered ---------------------------------------------------------------------------------


@pytest.fixture
def there() -> Iterator[Responder]:
    with in_process() as responder:
        yield responder


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def waited(responders: Responders) -> CertificateStatus:
    said = responders.status(CERTIFICATE, [AUTHORITY])
    return said.result(10) if isinstance(said, Future) else said


def test_one_question_answers_all_who_come_while_its_answer_is_fresh(there: Responder):
    responders = Responders(there.url)

    assert {waited(responders) for _ in range(20)} == {CertificateStatus.GOOD}
    assert there.questions == 1
    assert responders.outcomes == {"good": 1}


async def test_it_is_asked_anew_beside_before_its_answer_is_old(there: Responder):
    clock = Clock()
    responders = Responders(there.url, clock=clock)
    waited(responders)
    there.said, clock.now = REVOKED, FRESH_SECONDS * 0.6

    assert responders.status(CERTIFICATE, [AUTHORITY]) is CertificateStatus.GOOD, "nobody waits"
    await until(lambda: responders.outcomes["revoked"] == 1)
    assert responders.status(CERTIFICATE, [AUTHORITY]) is CertificateStatus.REVOKED


def test_who_comes_when_it_is_old_waits_for_a_new_one(there: Responder):
    clock = Clock()
    responders = Responders(there.url, clock=clock)
    waited(responders)
    there.said, clock.now = REVOKED, FRESH_SECONDS + 1

    assert waited(responders) is CertificateStatus.REVOKED


def test_what_was_said_holds_to_its_end_while_the_responder_is_silent_and_no_longer(there: Responder):
    clock = Clock()
    responders = Responders(there.url, clock=clock)
    waited(responders)
    there.said, clock.now = None, FRESH_SECONDS + 1
    assert waited(responders) is CertificateStatus.GOOD
    questions = there.questions
    assert waited(responders) is CertificateStatus.GOOD
    assert there.questions == questions, "it is let alone for a while"

    brief = Responders(there.url, clock=clock)
    there.said, there.lasts = ocsp.OCSPCertStatus.GOOD, -timedelta(seconds=1)  # within the skew of clocks
    assert waited(brief) is CertificateStatus.UNKNOWN


def test_a_silent_responder_is_asked_again_when_it_was_let_alone_for_a_while(there: Responder):
    clock, there.said = Clock(), None
    responders = Responders(there.url, clock=clock)

    assert {waited(responders) for _ in range(3)} == {CertificateStatus.UNKNOWN}
    assert there.questions == 1
    there.said, clock.now = ocsp.OCSPCertStatus.GOOD, SILENCE_SECONDS + 1
    assert waited(responders) is CertificateStatus.GOOD


def test_an_older_answer_that_comes_along_does_not_undo_a_newer_one(there: Responder):
    there.said = REVOKED
    responders = Responders(there.url)
    waited(responders)

    responders.take(CERTIFICATE, answer(nonce=None, since=timedelta(minutes=30)), [AUTHORITY])
    assert waited(responders) is CertificateStatus.REVOKED


def test_nobody_is_asked_about_a_certificate_of_an_authority_that_is_not_trusted(there: Responder):
    responders = Responders(there.url)
    stranger = certificate_of(SOUTH.node.certificate)

    said = responders.status(stranger, [AUTHORITY])
    assert isinstance(said, Future)
    assert said.result(10) is CertificateStatus.UNKNOWN
    assert there.questions == 0

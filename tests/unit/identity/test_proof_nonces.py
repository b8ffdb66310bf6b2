"""Nonces by which the identity service dates proofs (RFC 9449 8)."""

from __future__ import annotations

import pytest

from identity.domain.proof_nonce import ProofNonces

KEY = b"k" * 32


class Clock:
    """A clock that is set by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_nonce_holds_for_its_time_and_no_longer(clock):
    nonces = ProofNonces(KEY, 60, clock)
    nonce = nonces.fresh()
    clock.now += 59
    assert nonces.holds(nonce)
    clock.now += 2
    assert not nonces.holds(nonce)


def test_another_process_with_the_key_takes_it_and_nobody_with_another(clock):
    nonce = ProofNonces(KEY, 60, clock).fresh()
    assert ProofNonces(KEY, 60, clock).holds(nonce)
    assert not ProofNonces(b"x" * 32, 60, clock).holds(nonce)


def test_none_of_later_is_taken(clock):
    nonces = ProofNonces(KEY, 60, clock)
    nonce = nonces.fresh()
    clock.now -= 10
    assert not nonces.holds(nonce)


@pytest.mark.parametrize("other", ["", "a", "é" * 40, "=" * 40, "A" * 39 + "!", "A" * 40, "A" * 10_000])
def test_what_was_not_given_does_not_hold(clock, other):
    assert not ProofNonces(KEY, 60, clock).holds(other)


def test_one_that_is_edited_does_not_hold(clock):
    nonces = ProofNonces(KEY, 60, clock)
    nonce = nonces.fresh()
    for at in range(len(nonce)):
        edited = nonce[:at] + ("A" if nonce[at] != "A" else "B") + nonce[at + 1 :]
        assert not nonces.holds(edited)

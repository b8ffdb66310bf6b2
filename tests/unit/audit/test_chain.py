"""The links of the chain, for records of this release and of the one that compared no nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit_repository.domain.chain import ORIGIN, canonical, link, link_of
from audit_repository.domain.record import Record, RecordState, undated
from audit_repository.domain.sources import Standing

BEFORE = Record(
    received="2030-05-04T00:00:00.000000Z",
    peer="192.0.2.17",
    subject="CN=node",
    raw=b"<85>1 raw",
    state=RecordState.PARSED,
    event_time="2030-05-04T00:00:00.000000Z",
    event="110112",
    outcome=0,
    terms=(("source", "xdsi-test"), ("type", "110112")),
)
# As the release before wrote it, which put no time before a digest.
LINK_BEFORE = "0f0fdfaad1cbe73cec97bca93cc6cdcde2a67e6e29f6d0a3576f4dd0792949b7"


def test_a_record_of_the_release_before_keeps_its_link():
    dated = BEFORE.digest.encode()
    stored = canonical(1, "2030-05", BEFORE)
    as_before = undated(BEFORE.digest).encode()
    stored = stored.replace(b"%d:%s" % (len(dated), dated), b"%d:%s" % (len(as_before), as_before))

    assert link_of(ORIGIN, stored) == LINK_BEFORE


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "ab" * 32},
        *({"standing": standing} for standing in Standing if standing is not Standing.UNKNOWN),
        *({"standing": standing, "fingerprint": "ab" * 32} for standing in Standing),
    ],
)
def test_what_is_known_of_the_node_is_part_of_the_link(changes):
    assert link(ORIGIN, 1, "2030-05", replace(BEFORE, **changes)) != link(ORIGIN, 1, "2030-05", BEFORE)

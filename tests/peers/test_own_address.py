"""A service that listens on every address is known in the trail by one under which it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit_repository.store.events import Search
from tests.support.certificates import communities
from tests.support.every_door import Visit, a_house
from tests.support.waiting import until
from xdsi.stage import free_ports

pytestmark = [pytest.mark.peer, pytest.mark.heavy]

NORTH, _ = communities()
#: The addresses that mean every address.
EVERY = (b"0.0.0.0", b'"::"', b"[::]")


async def test_no_record_of_any_service_names_the_address_that_means_all(tmp_path: Path):
    (syslog,) = free_ports(1)
    changes = {"host": "0.0.0.0", "syslog_port": syslog, "audit": {"url": f"tls://127.0.0.1:{syslog}"}}
    async with a_house(tmp_path, NORTH.settings(), **changes) as house:
        await Visit(house, NORTH).tried()
        trail = house.services["audit repository"].trail
        await until(lambda: trail.sequence > 30, seconds=30)
        found = await trail.search(Search())

    raw = [item.record.raw for item in found]
    sources = {octets.partition(b'AuditSourceID="')[2].partition(b'"')[0] for octets in raw}
    assert len(sources) == 6
    assert [octets for octets in raw if any(address in octets for address in EVERY)] == []

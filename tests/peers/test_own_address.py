"""A service that listens on every address is known in the trail by one under which it is called."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from audit_repository.store.events import Search, Trail
from tests.support.certificates import communities
from tests.support.every_door import Visit, a_house
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
        async with asyncio.timeout(30):
            while len(dict(records := await of_every_service(trail))) < 6:  # noqa: ASYNC110  # others' doing
                await asyncio.sleep(0.1)

    assert len(records) > 10
    assert [octets for _, octets in records if any(address in octets for address in EVERY)] == []


async def of_every_service(trail: Trail) -> list[tuple[bytes, bytes]]:
    """The records of a trail, each with its AuditSourceID."""
    raw = [item.record.raw for item in await trail.search(Search())]
    return [(octets.partition(b'AuditSourceID="')[2].partition(b'"')[0], octets) for octets in raw]

"""One silent host takes the DICOM listener from nobody: not from other hosts, and not for long from who
shares its address."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import pytest
from pynetdicom import AE

from imaging_source.dimse import listener as listener_module
from imaging_source.dimse import places
from shared.dicom.uids import VERIFICATION
from tests.peers.test_dcmtk_storescu import a_listener
from tests.support.waiting import until

pytestmark = pytest.mark.peer

SILENT_HOST, OTHER_HOST = "127.0.0.1", "127.0.0.2"


def connect(port: int) -> socket.socket:
    return socket.create_connection((SILENT_HOST, port), timeout=5, source_address=(SILENT_HOST, 0))


def is_echoed(port: int, host: str) -> bool:
    """Whether an association from `host` is taken, and answered."""
    entity = AE("GOOD")
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 30
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(SILENT_HOST, port, ae_title="XDSI", bind_address=(host, 0))
    if not association.is_established:
        return False
    status = association.send_c_echo().get("Status")
    association.release()
    return bool(status == 0)


async def test_ninety_silent_connections_cost_other_hosts_no_association(tmp_path, monkeypatch):
    # So that nobody gets a place because a silent one gave it up.
    monkeypatch.setattr(places, "SILENT_SECONDS", 3600.0)
    monkeypatch.setattr(listener_module, "_SILENCE_SECONDS", 3600)

    def attacked(port: int) -> list[bool]:
        with ExitStack() as held:
            for _ in range(90):
                held.enter_context(connect(port))
            return [is_echoed(port, OTHER_HOST) for _ in range(10)]

    async with a_listener(tmp_path) as (_, listener):
        assert await asyncio.to_thread(attacked, listener.port) == [True] * 10


async def test_who_has_said_nothing_for_a_while_gives_its_place_to_who_shares_its_address(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "SILENT_SECONDS", 0.0)

    def attacked(port: int) -> list[bool]:
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(connect(port))
            return [is_echoed(port, SILENT_HOST) for _ in range(5)]

    async with a_listener(tmp_path, max_associations_per_peer=3) as (_, listener):
        assert await asyncio.to_thread(attacked, listener.port) == [True] * 5
        await until(lambda: listener.open_connections == 0)


async def test_an_association_gives_its_place_to_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "SILENT_SECONDS", 0.0)

    def full(port: int) -> tuple[bool, bool]:
        entity = AE("GOOD")
        entity.add_requested_context(VERIFICATION)
        association = entity.associate(SILENT_HOST, port, ae_title="XDSI")
        refused = not is_echoed(port, SILENT_HOST)
        still_there = association.send_c_echo().get("Status") == 0
        association.release()
        return refused, still_there

    async with a_listener(tmp_path, max_associations_per_peer=1) as (_, listener):
        assert await asyncio.to_thread(full, listener.port) == (True, True)

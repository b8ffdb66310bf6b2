"""The table of AE titles over TLS: a certificate says who uses a title, and to whom instances go."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from shared.dicom.uids import EXPLICIT_LE
from shared.security.peer_certificate import fingerprint_of
from shared.security.tls import client_context, server_context
from shared.settings import TlsSettings
from tests.peers.test_dcmtk_storescu import a_listener
from tests.support.certificates import communities
from tests.support.databases import DatabasePlace
from tests.support.dicom import CT, a_ct
from tests.support.dimse import STUDY_FIND, STUDY_GET, STUDY_MOVE, counts, identifier
from tests.support.imaging_source import Source, close_source, open_source

pytestmark = pytest.mark.peer

NORTH, SOUTH = communities()
OURS, THEIRS = fingerprint_of(NORTH.node.certificate), fingerprint_of(SOUTH.node.certificate)
TRUST = NORTH.settings(SOUTH)
STUDY = identifier("STUDY", StudyInstanceUID="2.25.11")


def tls_of(community: Any) -> TlsSettings:
    return TlsSettings(**community.settings(NORTH, SOUTH)["tls"])


@asynccontextmanager
async def a_receiver() -> AsyncIterator[tuple[int, list[str]]]:
    """A storage SCP with the certificate of the other community."""
    received: list[str] = []

    def take(event: Any) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0

    entity = AE("RECEIVER")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, take)],
        ssl_context=server_context(tls_of(SOUTH)),
    )
    try:
        yield server.server_address[1], received
    finally:
        await asyncio.to_thread(server.shutdown)


@asynccontextmanager
async def serving(folder: Path, port: int, receiver: str = THEIRS) -> AsyncIterator[Source]:
    place = DatabasePlace(url=None, folder=folder / "database", name="imaging_source")
    table = {
        "SOUTH": {
            "certificate": THEIRS,
            "services": ["find", "move", "get"],
            "destinations": ["RECEIVER"],
        },
        "NORTH": {"certificate": OURS, "services": ["store"]},
        "RECEIVER": {"host": "127.0.0.1", "port": port, "certificate": receiver},
    }
    changes = {name: value for name, value in TRUST.items() if name in ("tls", "assertion")}
    source = await open_source(place, folder / "data", application_entities=table, **changes)
    await source.service.dimse.start()
    try:
        await source.keep(*(a_ct(SOPInstanceUID=f"2.25.{number}") for number in range(100, 120)))
        yield source
    finally:
        await source.service.dimse.stop()
        await close_source(source)


def associated(source: Source, title: str) -> Any:
    context: ssl.SSLContext = client_context(tls_of(SOUTH))
    context.check_hostname = False
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    contexts = [build_context(model) for model in (STUDY_FIND, STUDY_MOVE, STUDY_GET)]
    return entity.associate(
        "127.0.0.1",
        source.service.dimse.port,
        [*contexts, build_context(CT, EXPLICIT_LE)],
        ae_title="XDSI",
        ext_neg=[build_role(CT, scp_role=True)],
        tls_args=(context, "127.0.0.1"),
    )


async def test_a_certificate_of_the_table_may_what_stands_there_and_no_title_of_another(tmp_path):
    received: list[str] = []

    def take(event: Any) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0

    def ask(source: Source) -> tuple[bool, int, tuple[int, int, int]]:
        stolen = associated(source, "NORTH").is_established
        association = associated(source, "SOUTH")
        association.bind(evt.EVT_C_STORE, take)
        *_, (got, _) = association.send_c_get(STUDY, STUDY_GET)
        found = [match for _, match in association.send_c_find(STUDY, STUDY_FIND) if match is not None]
        association.release()
        return stolen, len(found), counts(got)

    async with serving(tmp_path, 1) as source:
        stolen, found, fetched = await asyncio.to_thread(ask, source)

    assert (stolen, found, fetched) == (False, 1, (20, 0, 0))
    assert len(received) == 20


@pytest.mark.parametrize("named", [THEIRS, OURS], ids=["the one of the table", "another"])
async def test_instances_go_to_the_node_that_the_table_names_and_to_no_other(tmp_path, named):
    def ask(source: Source) -> Any:
        association = associated(source, "SOUTH")
        *_, (last, _) = association.send_c_move(STUDY, "RECEIVER", STUDY_MOVE)
        association.release()
        return last

    async with a_receiver() as (port, received), serving(tmp_path, port, named) as source:
        last = await asyncio.to_thread(ask, source)

    if named == THEIRS:
        assert (last.Status, counts(last), len(received)) == (0x0000, (20, 0, 0), 20)
    else:
        assert (last.Status, counts(last), received) == (0xA702, (0, 20, 0), [])
        assert "certificate" in last.ErrorComment


async def test_a_window_for_asynchronous_operations_is_not_taken(tmp_path):
    """Without an item in the answer operations go one after the other (PS3.7 D.3.3.3)."""

    def ask(port: int) -> tuple[bool, tuple[int, int]]:
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 8
        entity = AE("CT1")
        entity.add_requested_context(CT, EXPLICIT_LE)
        association = entity.associate("127.0.0.1", port, ae_title="XDSI", ext_neg=[window])
        answered = association.is_established, association.acceptor.asynchronous_operations
        association.release()
        return answered

    async with a_listener(tmp_path) as (_, listener):
        assert await asyncio.to_thread(ask, listener.port) == (True, (1, 1))

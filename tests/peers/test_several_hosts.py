"""Two registries with folders of their own at one PostgreSQL, as two hosts: what is to be done once, is."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.domain.stored_queries import GET_DOCUMENTS
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.registry import Status
from shared.settings import TlsSettings
from tests.support.certificates import assertion_for, communities
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.postgres import fresh_database, postgres_url
from tests.support.registry_process import (
    RegistryClient,
    RegistryProcess,
    client_of,
    fed,
    running_registry,
)
from tests.support.waiting import until
from xdsi.patient import message

__all__ = ["postgres_url"]

pytestmark = pytest.mark.peer

OPEN: dict[str, Any] = {"patients": "any", "consent": {"default": "permit"}}
NOTHING = {"$XDSDocumentEntryEntryUUID": ["urn:uuid:00000000-0000-4000-8000-000000000000"]}


@contextmanager
def hosts(folder: Path, url: str, **changes: Any) -> Iterator[list[RegistryProcess]]:
    """Two registries that run."""
    with ExitStack() as stack:
        found = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            found.append(stack.enter_context(running_registry(folder / name, url, **(OPEN | changes))))
        yield found


@asynccontextmanager
async def clients(
    registries: list[RegistryProcess], assertion: bytes | None = None
) -> AsyncIterator[list[RegistryClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(registry, assertion)) for registry in registries]


@pytest.fixture
async def url(postgres_url: str) -> str:
    return await fresh_database(postgres_url)


class Receiver:
    """An audit repository that takes everything; `identities` of the records that came, by their sets."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Receiver:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        while octets := await reader.read(65536):
            self.octets.extend(octets)
        writer.close()

    def registered(self) -> Counter[bytes]:
        """How often a record of each registration came, by the uniqueId of its submission set."""
        records = re.findall(rb"<AuditMessage.*?</AuditMessage>", bytes(self.octets), re.DOTALL)
        records = [record for record in records if b"ITI-42" in record]
        sets = [re.search(rb'ParticipantObjectID="([0-9.]+)"', record) for record in records]
        return Counter(found[1] for found in sets if found)


async def registered(client: RegistryClient) -> bytes:
    """Register a document; the uniqueId of its submission set."""
    submission = a_submission(a_document_entry())
    assert await client.register(submission) == frozenset()
    return submission.submission_set.unique_id.encode()


async def test_an_assertion_for_one_use_is_used_once_whichever_host_sees_it(tmp_path: Path, url: str):
    north, _ = communities()
    issuers = {"issuers": {north.issuer: str(north.provider.certificate)}}
    with hosts(tmp_path, url, assertion=issuers) as registries:
        for _ in range(5):
            assertion = assertion_for("Dr. Roe", one_time_use=True)
            async with clients(registries, assertion) as asking:
                answers = await asyncio.gather(
                    *(client.query(GET_DOCUMENTS, NOTHING) for client in asking * 3), return_exceptions=True
                )
            assert sum(isinstance(answer, SoapFault) for answer in answers) == len(answers) - 1


async def test_a_use_told_by_a_service_at_one_host_is_known_at_the_other(tmp_path: Path, url: str):
    with hosts(tmp_path, url) as (one, two):
        async with http_client(TlsSettings(), peers=(one.base, two.base)) as http:
            answers = [
                await http.post(
                    f"{host.base}/assertions/use", json={"key": "0" * 64, "until": "2090-01-01T00:00:00Z"}
                )
                for host in (one, two, one)
            ]
    assert [answer.json() for answer in answers] == [{"first": True}, {"first": False}, {"first": False}]


async def test_the_same_message_at_both_is_registered_once_and_answered_alike(tmp_path: Path, url: str):
    with hosts(tmp_path, url) as registries:
        async with clients(registries) as asking:
            for number in range(10):
                entry = a_document_entry()
                request = RegisterRequest.of(a_submission(entry))
                answers = await asyncio.gather(
                    *(client.call(ITI42, request, f"urn:uuid:same-{number}") for client in asking * 2)
                )
                assert {answer.status for answer in answers} == {Status.SUCCESS}
                for client in asking:
                    found = await client.query(
                        GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [entry.unique_id]}
                    )
                    assert len(found.document_entries) == 1


async def test_the_same_message_of_the_feed_at_both_is_one(tmp_path: Path, url: str):
    octets = message("A04", patient=PATIENT)
    with hosts(tmp_path, url, patients="known") as registries:
        answers = await asyncio.gather(*(fed(registry, octets) for registry in registries * 2))
        async with clients(registries) as asking:
            for client in asking:
                await registered(client)
    assert all(b"MSA|AA" in answer for answer in answers)


async def test_each_record_is_sent_by_one_and_by_the_other_when_that_one_is_gone(tmp_path: Path, url: str):
    async with Receiver() as receiver:
        with hosts(tmp_path, url, audit={"url": receiver.url}) as registries:
            async with clients(registries) as asking:
                sets = [await registered(client) for client in asking * 15]
                await until(lambda: set(receiver.registered()) >= set(sets), 30)
                by_one = receiver.registered()

                # Whichever of them has sent: the other one goes on, after a crash as well.
                for registry in registries:
                    await asyncio.to_thread(registry.process.kill)
                    [other] = [one for one in registries if one is not registry]
                    rest = [asking[registries.index(other)]]
                    more = [await registered(client) for client in rest * 5]
                    await until(lambda more=more: set(receiver.registered()) >= set(more), 30)
                    await asyncio.to_thread(registry.start)

    assert set(by_one.values()) == {1}, "a record was sent by both"

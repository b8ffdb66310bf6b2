"""A registry is killed while it merges: nobody ever sees half of the merge, and it is finished by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from registry.domain import stored_queries as queries
from shared.soap.client import PeerUnclear, PeerUnreachable
from tests.support.metadata import DOMAIN, a_document_entry, a_submission
from tests.support.postgres import fresh_database, postgres_url
from tests.support.registry_process import RegistryProcess, client_of, fed, running_registry
from tests.support.updates import APPROVED
from xdsi.patient import message as adt

__all__ = ["postgres_url"]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

SETS, DOCUMENTS_OF_A_SET = 10, 40
LONGEST_SECONDS = 0.4


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryProcess]:
    url = None
    if request.param == "postgresql":
        url = asyncio.run(fresh_database(request.getfixturevalue("postgres_url")))
    with running_registry(tmp_path_factory.mktemp("registry"), url) as process:
        yield process


async def test_a_merge_is_whole_or_not_begun_whenever_the_registry_is_killed(
    registry: RegistryProcess, long: bool
) -> None:
    choice = random.Random()
    for _ in range(50 if long else 4):
        subsumed, survivor = (f"{uuid4().hex}^^^&{DOMAIN}&ISO" for _ in range(2))
        entries = [
            [a_document_entry(patient_id=subsumed) for _ in range(DOCUMENTS_OF_A_SET)] for _ in range(SETS)
        ]
        whole = {entry.entry_uuid for each in entries for entry in each}
        async with client_of(registry) as client:
            for patient in (subsumed, survivor):
                assert b"\rMSA|AA|" in await fed(registry, adt("A04", patient=patient))
            for each in entries:
                assert await client.register(a_submission(*each)) == frozenset()
        merge = adt("A40", patient=survivor, prior=subsumed)
        seen: list[frozenset[str]] = []
        restarted = asyncio.Event()
        sent = asyncio.create_task(fed(registry, merge))
        looking = asyncio.create_task(_look(registry, survivor, seen, restarted))
        await asyncio.sleep(choice.random() * LONGEST_SECONDS)
        await asyncio.to_thread(registry.kill_and_start)
        restarted.set()
        await asyncio.gather(sent, looking, return_exceptions=True)
        seen.append(await _found(registry, survivor))

        assert set(seen) <= {frozenset(), frozenset(whole)}
        # The same message again: done now, or done before.
        assert b"\rMSA|AA|" in await fed(registry, merge)
        assert await _found(registry, survivor) == whole
        assert await _found(registry, subsumed) == frozenset()


async def _look(
    registry: RegistryProcess, patient: str, seen: list[frozenset[str]], restarted: asyncio.Event
) -> None:
    """Note what is found of a patient until the registry is gone; or was, and nobody asked meanwhile."""
    with suppress(PeerUnreachable, PeerUnclear):
        while not restarted.is_set():
            seen.append(await _found(registry, patient))


async def _found(registry: RegistryProcess, patient: str) -> frozenset[str]:
    parameters = {"$XDSDocumentEntryPatientId": patient, "$XDSDocumentEntryStatus": [APPROVED]}
    async with client_of(registry) as client:
        found = await client.query(queries.FIND_DOCUMENTS, parameters)
    return frozenset(entry.entry_uuid for entry in found.document_entries)

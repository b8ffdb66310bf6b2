"""Several processes of the registry on one port behave as one, whichever a connection comes to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.domain import stored_queries as queries
from shared.faults import SoapFault
from shared.http.relay import CONNECTION
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.security.issuer import AssertionIssuer
from shared.soap.client import PeerError
from tests.support.community import (
    RADIOLOGIST,
    assertion_of,
    call,
    http_of,
    make_known,
    permit,
    running,
    settings_of,
    trail_until,
)
from tests.support.metadata import PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED
from tests.support.registry_process import RegistryProcess, client_of, running_registry
from xdsi.serve import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

WORKERS = 3
# A connection comes to any of three workers; so many come to all of them, but once in 10,000 runs.
CONNECTIONS = 24


def workers_of(pid: int) -> list[int]:
    """The processes below a registry, the first worker first."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def alive(pid: int) -> bool:
    """Whether any thread of the process lives: the last one closes its sockets."""
    states = Path(f"/proc/{pid}/task").glob("*/stat")
    return any(path.read_text("ascii").rpartition(")")[2].split()[0] != "Z" for path in states)


async def until(holds, seconds: float = 30) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.1)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryProcess]:
    with running_registry(tmp_path, workers=WORKERS, patients="any") as process:
        yield process


async def found(registry: RegistryProcess, unique_id: str) -> int:
    """How many entries a query on a connection of its own finds."""
    async with client_of(registry) as client:
        objects = await client.query(queries.GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": [unique_id]})
        return len(objects.document_entries)


async def registered(registry: RegistryProcess) -> str:
    """The uniqueId of a document that was registered on a connection of its own."""
    document = a_document_entry()
    async with client_of(registry) as client:
        assert await client.register(a_submission(document)) == frozenset()
    return document.unique_id


async def test_what_was_registered_is_found_at_once_wherever_it_is_looked_for(registry: RegistryProcess):
    for _ in range(CONNECTIONS):
        unique_id = await registered(registry)
        assert await asyncio.gather(*(found(registry, unique_id) for _ in range(4))) == [1] * 4

    async with httpx2.AsyncClient(trust_env=False) as http:
        shown = (await http.get(f"{registry.base}/metrics")).text
    counted = {
        (sample.labels["transaction"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
        if sample.name == "xdsi_transactions_total"
    }
    assert counted["ITI-42", "success"] == CONNECTIONS
    assert counted["ITI-18", "success"] == 4 * CONNECTIONS


@pytest.mark.parametrize("victim", [0, 1], ids=["the one that writes", "one that reads"])
async def test_a_worker_that_dies_takes_nothing_along_and_comes_back(registry: RegistryProcess, victim: int):
    acknowledged: list[str] = []
    ended = asyncio.Event()

    async def client() -> None:
        while not ended.is_set():
            # Whoever is not answered knows nothing.
            with suppress(PeerError, SoapFault, AssertionError):
                acknowledged.append(await registered(registry))

    clients = [asyncio.create_task(client()) for _ in range(4)]
    await until(lambda: len(acknowledged) > 10)
    killed = workers_of(registry.process.pid)[victim]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not alive(killed) and len(workers_of(registry.process.pid)) == WORKERS)
    before = len(acknowledged)
    await until(lambda: len(acknowledged) > before + 10)
    ended.set()
    await asyncio.gather(*clients)

    for unique_id in acknowledged:
        assert await found(registry, unique_id) == 1


async def test_without_the_one_that_writes_the_others_say_so_at_once(registry: RegistryProcess):
    unique_id = await registered(registry)
    first = workers_of(registry.process.pid)[0]
    # While the process above stands still, nobody starts another one.
    os.kill(registry.process.pid, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    try:
        await until(lambda: not alive(first))
        assert await asyncio.gather(*(found(registry, unique_id) for _ in range(4))) == [1] * 4
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{registry.base}/health/ready")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
    finally:
        os.kill(registry.process.pid, signal.SIGCONT)


async def test_the_workers_end_with_the_process_that_started_them(tmp_path: Path):
    registry = RegistryProcess(tmp_path, workers=WORKERS, patients="any")
    registry.start()
    workers = workers_of(registry.process.pid)
    assert len(workers) == WORKERS

    registry.process.kill()

    await until(lambda: not any(map(alive, workers)))
    registry.start()
    registry.process.terminate()
    assert registry.process.wait_stopped() == 0


# --- with mutual TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community"), registry={"workers": WORKERS}) as stage:
        yield stage


FIND = StoredQueryRequest(
    query_id=queries.FIND_DOCUMENTS.query_id,
    return_type=ReturnType.LEAF_CLASS,
    parameters=encode_parameters(
        {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": (APPROVED,)}
    ),
)


async def test_every_query_is_in_the_trail_with_its_node_and_user(stage: Stage):
    patient = PATIENT.partition("^")[0]
    await make_known(stage, patient)
    await permit(stage, patient)
    url = stage.url("registry", "/xds/registry")
    for _ in range(CONNECTIONS):
        answer = await call(stage, ITI18, url, FIND, assertion=assertion_of(stage, RADIOLOGIST))
        assert answer.errors == ()

    records = await trail_until(
        stage,
        lambda records: len(records) >= CONNECTIONS,
        type="ITI-18",
        source="xdsi-registry",
        user=RADIOLOGIST.name_id,
    )

    assert len(records) == CONNECTIONS
    assert len({json.dumps(record["participants"], sort_keys=True) for record in records}) <= CONNECTIONS
    assert {one["address"] for record in records for one in record["participants"] if one["address"]} >= {
        "127.0.0.1"
    }


async def test_an_assertion_for_one_use_is_used_once_whoever_gets_it(stage: Stage):
    issuer = AssertionIssuer.load(
        stage.south.issuer, stage.south.provider.key, stage.south.provider.certificate
    )
    settings = settings_of(stage, Service.REGISTRY)
    assertion = issuer.sign(
        name_id="once", audience=settings.audience, roles=RADIOLOGIST.roles, one_time_use=True
    )

    async def asked() -> bool:
        try:
            await call(stage, ITI18, stage.url("registry", "/xds/registry"), FIND, assertion=assertion)
        except SoapFault:
            return False
        return True

    assert [await asked() for _ in range(CONNECTIONS)].count(True) == 1


async def test_nobody_outside_can_say_whose_connection_it_is(stage: Stage):
    facts = {"client": ["127.0.0.1", 1], "scheme": "https", "certificate": None}
    for who in (stage.community, stage.north):
        der = who.node.certificate.read_text("ascii").split("-----")[2].replace("\n", "")
        forged = {CONNECTION.decode(): json.dumps({**facts, "certificate": der})}
        for _ in range(CONNECTIONS // 2):
            async with http_of(stage, stage.south) as http:
                answer = await http.post(
                    stage.url("registry", "/consent/policies"), json={"patient_id": PATIENT}, headers=forged
                )
            assert answer.status_code == 403

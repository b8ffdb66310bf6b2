"""A thousand hostile requests beside good ones: the trail stays small, and the good ones' records all arrive.

On real services with mutual TLS, through every kind of door that a stranger can reach.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from shared.audit import syslog
from shared.audit.bounds import MAX_OBJECTS, MAX_RECORD
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.security.issuer import AssertionContent, AssertionIssuer
from tests.support.certificates import stranger
from tests.support.community import (
    RADIOLOGIST,
    SERVICES,
    assertion_of,
    database_of,
    http_of,
    post,
    running,
    settings_of,
)
from tests.support.metadata import DOMAIN
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

GOOD = 60
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
# Of each kind of refusal and listener the first, and what was counted when the services stopped.
MOST_RECORDS = 60
MOST_SPOOLED = 30_000


def a_query(*unique_ids: str) -> StoredQueryRequest:
    parameters = {"$XDSDocumentEntryUniqueId": unique_ids}
    return StoredQueryRequest(
        query_id=GET_DOCUMENTS, return_type=ReturnType.OBJECT_REF, parameters=encode_parameters(parameters)
    )


def documents(number: int) -> tuple[DocumentRequest, ...]:
    return tuple(
        DocumentRequest(repository_unique_id="2.999.5", document_unique_id=f"2.25.{at}")
        for at in range(number)
    )


def a_study(number: int) -> RetrieveImagingDocumentSetRequest:
    series = SeriesRequest(series_instance_uid="2.25.2", documents=documents(number))
    study = StudyRequest(study_instance_uid="2.25.1", series=(series,))
    return RetrieveImagingDocumentSetRequest(studies=(study,), transfer_syntax_uids=("1.2.840.10008.1.2.1",))


async def a_handshake(port: int) -> None:
    """A node whose certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(stranger().node.certificate, stranger().node.key)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            await reader.read(1)
            writer.close()


def spooled(stage: Stage) -> int:
    """Octets in the spools and outbox tables of all services."""
    folders = [settings_of(stage, service).folder for service in SERVICES]
    files = sum(path.stat().st_size for folder in folders for path in folder.glob("audit*/*.segment"))
    tables = 0
    for service in (Service.REGISTRY, Service.REPOSITORY, Service.IMAGING_SOURCE):
        with closing(database_of(stage, service)) as database:
            (octets,) = database.execute(
                "SELECT coalesce(sum(length(octets)), 0) FROM audit_outbox"
            ).fetchone()
            tables += octets
    return files + tables


def records_of(stage: Stage) -> list[bytes]:
    with closing(database_of(stage, Service.AUDIT_REPOSITORY)) as database:
        return [raw for (raw,) in database.execute("SELECT raw FROM audit_record ORDER BY sequence")]


Attack = Callable[[], Awaitable[Any]]


def attacks(stage: Stage, http: Any) -> list[Attack]:
    """A thousand, mixed."""
    xds = {
        name: stage.url(name, f"/xds/{path}")
        for name, path in (
            ("registry", "registry"),
            ("repository", "repository"),
            ("source", "imaging-source"),
        )
    }
    web = stage.url("source", "/dicomweb")
    provider = stage.north.provider
    forger = AssertionIssuer.load(stage.south.issuer, provider.key, provider.certificate)
    forged = forger.sign(
        AssertionContent(name_id="dr.south", audience=f"urn:oid:{DOMAIN}", roles=RADIOLOGIST.roles)
    )
    large = a_query(*(f"2.25.{at}" for at in range(900)))
    huge = a_query("2.25." + "9" * 60_000)
    kinds: list[tuple[int, Attack]] = [
        (200, lambda: post(http, ITI18, xds["registry"], large)),
        (50, lambda: post(http, ITI18, xds["registry"], huge)),
        (100, lambda: post(http, ITI18, xds["registry"], large, assertion=forged)),
        (
            150,
            lambda: post(
                http, ITI43, xds["repository"], RetrieveDocumentSetRequest(documents=documents(900))
            ),
        ),
        (100, lambda: post(http, RAD69, xds["source"], a_study(900))),
        (100, lambda: http.get(f"{web}/studies/2.25.1", headers={"authorization": "Bearer bm9uc2Vuc2U"})),
        (50, lambda: http.post(f"{web}/studies", headers={"authorization": "Bearer bm9uc2Vuc2U"})),
        (100, lambda: a_handshake(stage.ports["registry"])),
        (50, lambda: a_handshake(stage.ports["feed"])),
        (50, lambda: a_handshake(stage.ports["dimse"])),
        (50, lambda: a_handshake(stage.ports["syslog"])),
    ]
    each = [iter([attack] * number) for number, attack in kinds]
    mixed = []
    while each:
        for attack in list(each):
            found = next(attack, None)
            if found is None:
                each.remove(attack)
            else:
                mixed.append(found)
    assert len(mixed) == 1_000
    return mixed


async def attacked(stage: Stage, http: Any) -> None:
    waiting = attacks(stage, http)

    async def one_after_the_other() -> None:
        while waiting:
            await waiting.pop(0)()

    await asyncio.gather(*(one_after_the_other() for _ in range(6)))


async def good_ones(stage: Stage, http: Any) -> None:
    """Numbered queries of a clinician, one after the other."""
    assertion = assertion_of(stage, RADIOLOGIST)
    for number in range(GOOD):
        answer = await post(
            http,
            ITI18,
            stage.url("registry", "/xds/registry"),
            a_query(f"2.25.7700{number:03d}"),
            assertion=assertion,
        )
        assert answer.status_code == 200


NUMBER = re.compile(rb"2\.25\.7700(\d{3})")


def numbers(records: list[bytes]) -> list[int]:
    """The good ones' numbers in the order of the trail, by what the registry tells of them."""
    found = []
    for raw in records:
        body = etree.fromstring(syslog.parse(raw).body)
        for query in body.iter("ParticipantObjectQuery"):
            found += [int(each) for each in NUMBER.findall(b64decode(query.text or ""))]
    return found


async def test_a_thousand_hostile_requests_leave_the_trail_small_and_the_good_ones_records_in_order(
    tmp_path: Path,
):
    with running(tmp_path) as stage:
        async with http_of(stage) as http, http_of(stage) as other:
            before = spooled(stage)
            await asyncio.gather(attacked(stage, http), good_ones(stage, other))
            async with asyncio.timeout(10):
                while len(numbers(records_of(stage))) < GOOD:  # noqa: ASYNC110  # another process' doing
                    await asyncio.sleep(0.1)
        grown = spooled(stage) - before
        good = sum(len(raw) for raw in records_of(stage) if numbers([raw]))
    records = records_of(stage)

    assert numbers(records) == list(range(GOOD))
    assert max(map(len, records)) <= MAX_RECORD
    bodies = [etree.fromstring(syslog.parse(raw).body) for raw in records]
    assert max(len(body.findall("ParticipantObjectIdentification")) for body in bodies) <= MAX_OBJECTS
    assert grown - good <= MOST_SPOOLED, f"the spools grew by {grown - good} octets"
    others = [body for body in bodies if body.find("EventIdentification").get("EventOutcomeIndicator") != "0"]
    assert 0 < len(others) <= MOST_RECORDS
    told = [body.findtext("EventIdentification/EventOutcomeDescription", "") for body in others]
    more = [int(found[1]) for text in told if (found := re.search(r"(\d+) more refusals since ", text))]
    assert sum(more) + len(others) - len(more) == 1_000

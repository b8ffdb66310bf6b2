"""What an operator watches is measured at every service, by the same names."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.http.client import http_client
from shared.security.peer_certificate import end_of
from shared.settings import TlsSettings
from tests.support.certificates import communities
from tests.support.every_door import House, a_house
from xdsi.services import Service

pytestmark = pytest.mark.peer

NORTH, _ = communities()
#: What they are not for: the trail itself sends nothing, and these keep nothing in a database.
WITHOUT_TRAIL = {"audit repository"}
WITHOUT_DATABASE = {"conformance", "consumer", "gateway"}

EVERYWHERE = {
    "xdsi_service",
    "xdsi_certificate_end_seconds",
    "xdsi_background_failing_seconds",
    "xdsi_background_last_success_seconds",
    "xdsi_transactions_total",
    "xdsi_transaction_seconds_count",
}
OF_THE_TRAIL = {
    "xdsi_audit_waiting_seconds",
    "xdsi_audit_oldest_unsent_seconds",
    "xdsi_audit_set_aside",
    "xdsi_audit_destination_unsent_seconds",
    "xdsi_audit_destination_set_aside",
    "xdsi_audit_fill",
}
OF_A_DATABASE = {"xdsi_database_connections", "xdsi_database_connections_most", "xdsi_database_waiting"}
OF_ONE = {
    "repository": {"xdsi_provisions_in_doubt"},
    "imaging source": {"xdsi_publication_oldest_seconds", "xdsi_publications", "xdsi_damaged_instances"},
}

Measures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def measured(http: httpx2.AsyncClient, house: House, service: str) -> Measures:
    text = (await http.get(house.url(service, "/metrics"))).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_service_shows_ages_pools_work_and_the_end_of_its_certificate(tmp_path: Path):
    shown: dict[str, Measures] = {}
    async with a_house(
        tmp_path, NORTH.settings(), audit={"url": "tls://127.0.0.1:9,tls://localhost:9"}
    ) as house:
        tls = TlsSettings(**NORTH.settings()["tls"])
        async with http_client(tls, peers=[house.url(name) for name in house.services]) as http:
            for name in house.services:
                shown[name] = await measured(http, house, name)

    for name, measures in shown.items():
        wanted = EVERYWHERE | OF_ONE.get(name, set())
        wanted |= set() if name in WITHOUT_TRAIL else OF_THE_TRAIL
        wanted |= set() if name in WITHOUT_DATABASE else OF_A_DATABASE
        assert wanted - {metric for metric, _ in measures} == set(), name
        assert measures["xdsi_certificate_end_seconds", ()] == end_of(NORTH.node.certificate).timestamp()
        if name not in WITHOUT_TRAIL:
            places = {labels for metric, labels in measures if metric == "xdsi_audit_waiting_seconds"}
            assert places == {(("place", "outbox"),), (("place", "spool"),)}
            of = {labels for metric, labels in measures if metric == "xdsi_audit_destination_unsent_seconds"}
            assert of == {(("destination", "127.0.0.1:9"),), (("destination", "localhost:9"),)}
    assert len(shown) == len(Service)


async def test_work_beside_the_requests_tells_when_it_succeeded_last(tmp_path: Path):
    async with a_house(tmp_path) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        for name, work in (
            ("repository", "doubts"),
            ("registry", "forgetting"),
            ("imaging source", "publisher"),
        ):
            at = ("xdsi_background_last_success_seconds", (("work", work),))

            async def succeeded(name: str = name, at: tuple = at) -> bool:
                return (await measured(http, house, name))[at] > 1_000_000_000

            for _ in range(200):
                if await succeeded():
                    break
            else:
                pytest.fail(f"{work} of the {name} told no success")

"""Retrieve Syslog Event [ITI-82]: syslog messages are found by what stands in their header."""

from __future__ import annotations

import pytest

from audit_repository.domain.record import record_of
from shared.security.caller import Node
from tests.support.audit import SOURCES
from tests.transactions.audit_repository.served import NOW, a_record, asked

DAY = {"date": ["ge2030-05-04", "le2030-05-04"]}


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ({}, 2),
        ({"hostname": "node.hub.example"}, 1),
        ({"hostname": "other"}, 0),
        ({"app-name": "xdsi-test"}, 1),
        ({"msg-id": "IHE+RFC-3881"}, 1),
        ({"pri": "85"}, 1),
        ({"pri": "84,85"}, 1),
        ({"version": "1"}, 1),
        ({"msg": "AdhocQuery"}, 0),
        ({"msg": "<AuditMessage>"}, 1),
        ({"date": ["ge2031"]}, 0),
    ],
)
async def test_messages_are_found_by_their_header(tmp_path, parameters, number):
    broken = record_of(b"no syslog", node=Node(address="p"), received=NOW, sources=SOURCES)
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record(), broken])
        answer = await http.get("/fhir/syslogsearch", params=DAY | parameters)

        assert answer.status_code == 200
        assert len(answer.json()) == number


async def test_what_could_not_be_read_is_shown_as_it_came(tmp_path):
    broken = record_of(b"no syslog \xff", node=Node(address="p"), received=NOW, sources=SOURCES)
    async with asked(tmp_path) as (service, http):
        await service.trail.append([broken])
        (shown,) = (await http.get("/fhir/syslogsearch", params=DAY)).json()

    assert (shown["state"], shown["msg"]) == ("unparsed", "no syslog \\xff")


@pytest.mark.parametrize("query", ["", "hostname=x", "date=x", "date=2030&nonsense=1"])
async def test_a_search_that_makes_no_sense_is_told_what_is_wrong(tmp_path, query):
    async with asked(tmp_path) as (_, http):
        answer = await http.get(f"/fhir/syslogsearch?{query}")

    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"

"""Record Audit Event [ITI-20] by the FHIR feed: an AuditEvent is kept as it came, others are told why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit_repository.store.events import Search
from audit_repository.store.verification import verify
from shared.audit.resource_xml import write_xml
from shared.xml import parse
from tests.support.certificates import communities
from tests.transactions.audit_repository.served import asked

DCM = "http://dicom.nema.org/resources/ontology/DCM"
HL7 = "http://terminology.hl7.org/CodeSystem"
XHTML = "http://www.w3.org/1999/xhtml"
FHIR = {"content-type": "application/fhir+json"}
SAMPLES = Path(__file__).parents[4] / "shared" / "fhir" / "samples"


def an_audit_event(**changes):
    """How a FHIR server of another vendor records a read (BALP, PatientRead)."""
    return {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}],
        "action": "R",
        "recorded": "2030-05-04T09:15:00.123+02:00",
        "outcome": "0",
        "agent": [
            {
                "type": {"coding": [{"system": DCM, "code": "110152"}]},
                "who": {"display": "viewer.east.example"},
                "requestor": False,
                "network": {"address": "192.0.2.44", "type": "2"},
            },
            {
                "type": {
                    "coding": [
                        {
                            "system": f"{HL7}/v3-ParticipationType",
                            "code": "IRCP",
                        }
                    ]
                },
                "who": {"identifier": {"system": "https://idp.east.example", "value": "dr.okafor"}},
                "requestor": True,
            },
        ],
        "source": {"observer": {"display": "east-fhir"}},
        "entity": [
            {
                "what": {"reference": "ImagingStudy/7"},
                "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "2"},
            },
            {
                "what": {"identifier": {"system": "urn:oid:2.999.1", "value": "P77"}, "type": "Patient"},
                "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "1"},
                "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1"},
            },
        ],
    } | changes


async def sent(http, resource, path="/fhir/AuditEvent", **headers):
    content = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
    return await http.post(path, content=content, headers=FHIR | headers)


async def test_a_resource_is_kept_as_it_came_and_found_by_what_it_says(tmp_path):
    octets = json.dumps(an_audit_event(), indent=3).encode()
    async with asked(tmp_path) as (service, http):
        answer = await sent(http, octets)

        assert answer.status_code == 201, answer.text
        sequence = int(answer.headers["location"].rpartition("/")[2])
        assert answer.headers["location"] == f"http://audit.example:8050/fhir/AuditEvent/{sequence}"
        assert (await service.trail.record(sequence)).record.raw == octets
        by = [
            Search(patient="P77^^^&2.999.1&ISO"),
            Search(user="dr.okafor"),
            Search(address="192.0.2.44"),
            Search(object="ImagingStudy/7"),
            Search(type="read"),
            Search(source="east-fhir"),
        ]
        for search in by:
            assert [item.sequence for item in await service.trail.search(search)] == [sequence], search
        assert (await verify(service.trail.database, service.trail.folder)).problems == []


async def test_what_comes_again_is_the_same(tmp_path):
    async with asked(tmp_path) as (service, http):
        first, again = [await sent(http, an_audit_event()) for _ in range(2)]

        assert first.headers["location"] == again.headers["location"]
        assert len(await service.trail.search(Search(user="dr.okafor"))) == 1


async def test_of_a_batch_all_that_is_right_is_kept_and_each_entry_has_its_answer(tmp_path):
    events = [an_audit_event(outcomeDesc=f"number {number}") for number in range(3)]
    wrong = an_audit_event()
    del wrong["recorded"]
    posted = {"method": "POST", "url": "AuditEvent"}
    entries = [{"resource": one, "request": posted} for one in (*events, wrong)]
    entries += [{"resource": events[0], "request": {"method": "PUT", "url": "AuditEvent/1"}}, {"nonsense": 1}]
    async with asked(tmp_path) as (service, http):
        answer = await sent(http, {"resourceType": "Bundle", "type": "batch", "entry": entries}, "/fhir")

        assert answer.status_code == 200, answer.text
        responses = [entry["response"] for entry in answer.json()["entry"]]
        assert [one["status"][:3] for one in responses] == ["201"] * 3 + ["422"] * 3
        assert responses[3]["outcome"]["issue"][0]["expression"] == ["AuditEvent.recorded"]
        assert len(await service.trail.search(Search(user="dr.okafor"))) == 3


@pytest.mark.parametrize(
    ("change", "status", "code", "expression"),
    [
        ({"resourceType": "Patient"}, 422, "structure", "AuditEvent"),
        ({"agent": []}, 422, "required", "AuditEvent.agent"),
        ({"agent": [{"who": {"display": "x"}}]}, 422, "required", "AuditEvent.agent[0].requestor"),
        ({"source": {}}, 422, "required", "AuditEvent.source"),
        ({"source": {"site": "x"}}, 422, "required", "AuditEvent.source.observer"),
        ({"type": {"display": "x"}}, 422, "required", "AuditEvent.type.code"),
        ({"action": "X"}, 422, "code-invalid", "AuditEvent.action"),
        ({"outcome": "7"}, 422, "value", "AuditEvent"),
        ({"recorded": "yesterday"}, 422, "value", "AuditEvent"),
        ({"recorded": "2030-05-04T09:15:00"}, 422, "value", "AuditEvent"),
        ({"subtype": {}}, 422, "structure", "AuditEvent.subtype"),
        ({"nonsense": 1}, 422, "structure", "AuditEvent"),
        ({"entity": [{"name": "n", "query": "cQ=="}]}, 422, "invariant", "AuditEvent.entity[0]"),
    ],
)
async def test_what_is_no_audit_event_is_told_where_it_is_wrong_and_not_kept(
    tmp_path, change, status, code, expression
):
    async with asked(tmp_path) as (service, http):
        before = service.trail.sequence
        answer = await sent(http, an_audit_event(**change))

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("application/fhir+json")
        outcome = answer.json()
        assert outcome["resourceType"] == "OperationOutcome"
        assert (outcome["issue"][0]["code"], outcome["issue"][0]["expression"]) == (code, [expression])
        assert service.trail.sequence == before


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        (b"[" * 5_000, {}, 400),
        (b'{"a":' * 40 + b"1" + b"}" * 40, {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"accept": "application/pdf"}, 406),
        (b"{}", {"accept": "application/fhir+json; fhirVersion=5.0"}, 406),
        (b" " * (4 * 1024**2 + 1), {}, 413),
    ],
)
async def test_a_body_that_is_no_resource_is_told_as_an_operation_outcome(tmp_path, body, headers, status):
    async with asked(tmp_path) as (_, http):
        answer = await sent(http, body, **headers)

        assert answer.status_code == status
        assert answer.json()["resourceType"] == "OperationOutcome"


XML = {"content-type": "application/fhir+xml", "accept": "application/fhir+xml"}


async def test_a_resource_in_xml_is_kept_as_it_came_and_found_by_what_it_says(tmp_path):
    octets = write_xml(
        an_audit_event(text={"status": "generated", "div": f'<div xmlns="{XHTML}">read</div>'})
    )
    async with asked(tmp_path) as (service, http):
        answer = await sent(http, octets, **XML)

        assert answer.status_code == 201, answer.text
        sequence = int(answer.headers["location"].rpartition("/")[2])
        assert (await service.trail.record(sequence)).record.raw == octets
        for search in (Search(patient="P77^^^&2.999.1&ISO"), Search(user="dr.okafor"), Search(type="read")):
            assert [item.sequence for item in await service.trail.search(search)] == [sequence], search
        shown = (await http.get(answer.headers["location"])).json()
        assert {name: shown[name] for name in an_audit_event()} == an_audit_event()
        assert (await verify(service.trail.database, service.trail.folder)).problems == []


async def test_a_batch_in_xml_is_answered_in_xml_entry_by_entry(tmp_path):
    wrong = an_audit_event()
    del wrong["recorded"]
    posted = {"method": "POST", "url": "AuditEvent"}
    entries = [
        {"resource": an_audit_event(), "request": posted},
        {"resource": wrong, "request": posted},
        {"resource": an_audit_event(), "request": {"method": "DELETE", "url": "AuditEvent/1"}},
        {"request": posted},
    ]
    batch = write_xml({"resourceType": "Bundle", "type": "batch", "entry": entries})
    async with asked(tmp_path) as (service, http):
        answer = await sent(http, batch, "/fhir", **XML)

        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/fhir+xml; charset=utf-8"
        root = parse(answer.content)
        statuses = root.findall(".//{*}response/{*}status")
        assert [one.get("value")[:3] for one in statuses] == ["201", "422", "422", "422"]
        assert root.find(".//{*}outcome/{*}OperationOutcome/{*}issue/{*}expression").get("value") == (
            "AuditEvent.recorded"
        )
        assert len(await service.trail.search(Search(user="dr.okafor"))) == 1
        wrong_kind = write_xml({"resourceType": "Bundle", "type": "transaction", "entry": entries})
        assert (await sent(http, wrong_kind, "/fhir", **XML)).status_code == 400


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"<AuditEvent", 400),
        (b"<AuditEvent/>", 400),
        (b'<AuditEvent xmlns="http://hl7.org/fhir"/>', 422),
        (b'<Patient xmlns="http://hl7.org/fhir"/>', 422),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><AuditEvent xmlns="http://hl7.org/fhir"/>', 400),
        (b'<AuditEvent xmlns="http://hl7.org/fhir">' + b"<entity>" * 200, 400),
        (
            '<?xml version="1.0" encoding="utf-16"?><AuditEvent xmlns="http://hl7.org/fhir"/>'.encode(
                "utf-16"
            ),
            400,
        ),
        (
            b'<AuditEvent xmlns="http://hl7.org/fhir"><nonsense value="1"/><recorded value="1"/>'
            b'<recorded value="2"/></AuditEvent>',
            422,
        ),
    ],
)
async def test_xml_that_is_no_audit_event_is_told_in_xml_and_not_kept(tmp_path, octets, status):
    async with asked(tmp_path) as (service, http):
        before = service.trail.sequence
        answer = await sent(http, octets, **XML)

        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("application/fhir+xml")
        issue = parse(answer.content).find("{*}issue")
        assert issue.find("{*}diagnostics").get("value")
        assert service.trail.sequence == before


async def test_nothing_is_changed_or_removed(tmp_path):
    async with asked(tmp_path) as (service, http):
        location = (await sent(http, an_audit_event())).headers["location"]
        for method in ("PUT", "PATCH", "DELETE"):
            assert (await http.request(method, location, content=b"{}")).status_code == 405
        assert len(await service.trail.search(Search(user="dr.okafor"))) == 1


async def test_who_feeds_is_known_by_the_certificate_and_another_nodes_source_is_marked(tmp_path):
    from tests.transactions.audit_repository.test_search_of_trail import der_of, tls_of

    north, south = communities()
    settings = {"tls": tls_of(north), "sources": {"east-fhir": ("CN=east",)}}
    async with asked(tmp_path, certificate=der_of(north), **settings) as (service, http):
        location = (await sent(http, an_audit_event())).headers["location"]
        kept = await service.trail.record(int(location.rpartition("/")[2]))
        assert kept.record.standing == "mismatched"
        assert kept.record.fingerprint
    async with asked(tmp_path / "other", certificate=der_of(south), tls=tls_of(north)) as (_, http):
        answer = await sent(http, an_audit_event())
        assert answer.status_code == 403
        assert "XDSI_RIGHTS__RECORD" in answer.json()["issue"][0]["diagnostics"]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not here")
@pytest.mark.parametrize("name", ["audit-iti65-recipient", "audit-iti67-responder", "audit-iti68-responder"])
async def test_records_of_other_vendors_are_taken(tmp_path, name):
    async with asked(tmp_path) as (_, http):
        answer = await sent(http, (SAMPLES / f"{name}.json").read_bytes())

        assert answer.status_code == 201, answer.text

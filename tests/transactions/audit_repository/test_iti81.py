"""Retrieve ATNA Audit Event [ITI-81]: every parameter finds what it means, pages stand still while records
come in, and every look is recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from audit_repository.domain.balp import PROFILES
from audit_repository.domain.record import record_of
from shared.audit import patterns
from shared.audit.events import EXPORT, AuditSource, Outcome, ihe, study_object
from shared.audit.patterns import Side
from shared.audit.recorder import message
from shared.audit.resource_xml import read_xml
from shared.ebrim.model import Code
from shared.xml import parse
from tests.support.audit import CLINICIAN, NODE, PATIENT, SOURCE, SOURCES, a_caller
from tests.support.certificates import assertion_for, bearer, communities
from tests.transactions.audit_repository.served import NOW, a_record, asked

DAY = {"date": ["ge2030-05-04", "le2030-05-04"]}
DCM = "http://dicom.nema.org/resources/ontology/DCM"
DOMAIN = "urn:oid:1.3.6.1.4.1.21367.2005.13.20.1000"


async def found(http, path="/fhir/AuditEvent", **parameters):
    answer = await http.get(path, params=DAY | parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def entries(bundle):
    return [entry["resource"] for entry in bundle.get("entry", ())]


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ({}, 2),
        ({"patient.identifier": f"{DOMAIN}|P0001"}, 1),
        ({"patient.identifier": "P0001"}, 1),
        ({"patient": f"{DOMAIN}|P0001"}, 1),
        ({"patient:identifier": f"{DOMAIN}|P0001"}, 1),
        ({"patient.identifier": f"{DOMAIN}|"}, 1),
        ({"patient.identifier": "urn:oid:2.999|P0001"}, 0),
        ({"patient.identifier": f"{DOMAIN}|P0002,{DOMAIN}|P0001"}, 1),
        ({"entity.identifier": "2.999.5.100"}, 1),
        ({"entity.identifier": "urn:ietf:rfc:3986|urn:oid:2.999.5.100"}, 1),
        ({"entity": f"{DOMAIN}|P0001"}, 1),
        ({"agent.identifier": "u-778"}, 1),
        ({"agent:identifier": "https://idp.north.example|u-778"}, 1),
        ({"user": "u-778"}, 1),
        ({"agent.identifier": "https://idp.south.example|u-778"}, 0),
        ({"address": "192.0.2."}, 2),
        ({"address": "REGISTRY.hub"}, 2),
        ({"address": "2.17"}, 0),
        ({"source.identifier": "xdsi-test"}, 1),
        ({"source": "far-away"}, 1),
        ({"type": "110112"}, 2),
        ({"type": f"{DCM}|110112"}, 2),
        ({"type": "urn:other|110112"}, 0),
        ({"subtype": "urn:ihe:event-type-code|ITI-18"}, 2),
        ({"subtype": "ITI-43"}, 0),
        ({"outcome": "8"}, 1),
        ({"outcome": "0,8"}, 2),
        ({"action": "E"}, 2),
        ({"action": "R"}, 0),
        ({"entity-type": "1"}, 1),
        ({"entity-role": "24"}, 1),
        ({"role": "3"}, 1),
        ({"object-type": "2"}, 2),
        ({"agent-role": "RAD-PHYS"}, 1),
        ({"agent-role": "urn:oid:2.999.40.1|RAD-PHYS"}, 1),
        ({"site": "2.999.7"}, 1),
        ({"type": "110112", "outcome": "0"}, 1),
        ({"nonsense": "1"}, 2),
        ({"date": ["ge2030-05-04T09:01:00Z", "le2030-05-04"]}, 1),
        ({"date": ["2030-05-04"]}, 2),
        ({"date": ["2030-05"]}, 2),
        ({"date": ["gt2030-05-04"]}, 0),
        ({"date": ["ge2030", "lt2030-05-04T09:01:00Z"]}, 1),
        ({"date": ["2030-05-04T11:00:00+02:00"]}, 1),
    ],
)
async def test_every_parameter_finds_what_it_means(tmp_path, parameters, number):
    async with asked(tmp_path) as (service, http):
        await service.trail.append(
            [
                a_record(),
                a_record(
                    5,
                    AuditSource(source_id="far-away", hostname="h"),
                    outcome=Outcome.SERIOUS_FAILURE,
                    caller=a_caller(user=None),
                    objects=(study_object("2.999.5.100"),),
                ),
            ]
        )
        bundle = await found(http, **parameters)

        assert len(entries(bundle)) == number
        assert bundle["total"] == number
        assert ("entry" in bundle) is (number > 0)


REST = "http://terminology.hl7.org/CodeSystem/audit-event-type"
QIDO = ihe("RAD-129", "QIDO-RS Query")


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": f"{REST}|rest"},
        {"subtype": "http://hl7.org/fhir/restful-interaction|search"},
        {"type": f"{DCM}|110112"},
        {"subtype": "RAD-129"},
        {"agent-role": "RAD-PHYS", "patient.identifier": "P0001"},
    ],
)
async def test_a_query_over_plain_http_is_shown_as_balp_patterns_it_and_found_by_either_name(
    tmp_path, parameters
):
    searched = patterns.search(
        QIDO,
        Side.SERVER,
        a_caller(),
        Outcome.SUCCESS,
        patient_id=PATIENT,
        query_id="RAD-129",
        octets=b"/studies",
    )
    of_a_patient = {"roles": (PATIENT_ROLE,), "resource_ids": (PATIENT,)}
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append(
            [
                record_of(
                    message(replace(searched, time=NOW), SOURCE), node=NODE, received=NOW, sources=SOURCES
                ),
                a_record(event_types=(ihe("ITI-43", "Retrieve Document Set"),), event_id=EXPORT, objects=()),
            ]
        )
        (event,) = entries(await found(http, **parameters))
        own = await http.get("/own/fhir/AuditEvent", params=DAY, headers=speaking("pat", **of_a_patient))

    assert event["meta"]["profile"] == [f"{PROFILES}PatientQuery"]
    assert event["type"] == {"system": REST, "code": "rest"}
    assert [one["code"] for one in event["subtype"]] == ["search", "RAD-129", "110112"]
    (query,) = [one for one in event["entity"] if "query" in one]
    assert "what" not in query
    # What a patient is not shown is what the profile asks for.
    assert all("profile" not in one["meta"] for one in entries(own.json()))


async def test_an_answer_is_given_in_xml_where_that_is_asked_for(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record()])
        by_header = await http.get("/fhir/AuditEvent", params=DAY, headers={"accept": "application/fhir+xml"})
        by_format = await http.get("/fhir/AuditEvent", params=DAY | {"_format": "xml"})
        either = await http.get("/fhir/AuditEvent", params=DAY, headers={"accept": "text/xml, */*"})
        described = await http.get("/fhir/metadata", headers={"accept": "application/fhir+xml"})
        as_json = entries(await found(http))[0]

        for answer in (by_header, by_format, described):
            assert answer.headers["content-type"] == "application/fhir+xml; charset=utf-8"
        assert either.headers["content-type"].startswith("application/fhir+json")
    resource = parse(by_header.content).find("{*}entry/{*}resource/{*}AuditEvent")
    assert read_xml(etree.tostring(resource)) == as_json


async def test_pages_stand_still_while_records_come_in(tmp_path):
    async with asked(tmp_path) as (service, http):
        # Two of each minute, so that times alone do not order them.
        await service.trail.append(
            [a_record(number // 2, outcome_description=str(number)) for number in range(25)]
        )
        bundle = await found(http, _count="10", subtype="ITI-18")
        seen = entries(bundle)
        while len(following := [one["url"] for one in bundle["link"] if one["relation"] == "next"]):
            await service.trail.append([a_record(3, outcome_description=f"late {len(seen)}")])
            bundle = (await http.get(following[0])).json()
            seen += entries(bundle)

    assert [event["outcomeDesc"] for event in seen] == [str(number) for number in reversed(range(25))]


async def test_the_oldest_come_first_where_that_is_asked(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append(
            [a_record(minutes, outcome_description=str(minutes)) for minutes in (5, 1, 3)]
        )

        events = entries(await found(http, _sort="date"))

    assert [event["outcomeDesc"] for event in events] == ["1", "3", "5"]


async def test_a_link_to_the_next_page_names_nobody_and_leads_nobody_else(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record(minutes) for minutes in range(3)])
        form = {"date": "2030-05-04", "patient.identifier": f"{DOMAIN}|P0001", "_count": "2"}
        bundle = (await http.post("/fhir/AuditEvent/_search", data=form)).json()
        (following,) = [one["url"] for one in bundle["link"] if one["relation"] == "next"]

        assert "P0001" not in following
        assert len(entries((await http.get(following)).json())) == 1
        changed = await http.get(following[:-4] + "AAAA")
    assert changed.status_code == 400
    assert "search again" in changed.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("patient=P1", "required"),
        ("date=yesterday", "invalid"),
        ("date=ap2030", "not-supported"),
        ("date=2030-13-01", "invalid"),
        ("date=2030&type:not=110112", "not-supported"),
        ("date=2030&_count=none", "invalid"),
        ("date=2030&_sort=type", "not-supported"),
        ("date=2030&type=", "invalid"),
    ],
)
async def test_a_search_that_cannot_be_carried_out_is_told_why(tmp_path, query, code):
    async with asked(tmp_path) as (_, http):
        answer = await http.get(f"/fhir/AuditEvent?{query}")

        assert answer.status_code == 400
        assert answer.json()["issue"][0]["code"] == code


async def test_a_strict_search_refuses_what_is_not_known(tmp_path):
    async with asked(tmp_path) as (_, http):
        answer = await http.get(
            "/fhir/AuditEvent?date=2030&nonsense=1", headers={"prefer": "handling=strict"}
        )

        assert answer.status_code == 400


async def test_an_audit_event_is_read_by_its_id(tmp_path):
    async with asked(tmp_path) as (service, http):
        await service.trail.append([a_record()])
        (entry,) = (await found(http))["entry"]

        assert (await http.get(entry["fullUrl"])).json() == entry["resource"]
        for none in ("4711", "x", "1" * 30):
            assert (await http.get(f"/fhir/AuditEvent/{none}")).status_code == 404


async def test_every_look_is_recorded_with_what_was_looked_for(tmp_path):
    async with asked(tmp_path) as (_, http):
        await found(http, **{"patient.identifier": "P0001"})

        bundle = (await http.get("/fhir/AuditEvent?date=ge2020&type=110101")).json()

    (first,) = entries(bundle)[1:]
    (log,) = first["entity"]
    assert "patient.identifier=P0001" in log["detail"][0]["valueString"]
    assert [one["code"] for one in first["subtype"]] == ["ITI-81"]


AUDITOR = Code("AUDITOR", "2.999.40.1")
PATIENT_ROLE = Code("PAT", "2.16.756.5.30.1.127.3.10.6")


def trusting(**changes):
    return {
        "assertion": communities()[0].settings()["assertion"],
        "auditor_roles": (str(AUDITOR),),
    } | changes


def speaking(name_id, **content):
    return {"authorization": f"Bearer {bearer(assertion_for(name_id, **content))}"}


async def test_a_user_sees_the_trail_in_the_role_of_an_auditor_alone(tmp_path):
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([a_record()])
        clinician = await http.get("/fhir/AuditEvent", params=DAY, headers=speaking("dr.roe"))
        auditor = await http.get("/fhir/AuditEvent", params=DAY, headers=speaking("o.lang", roles=(AUDITOR,)))

        assert (clinician.status_code, auditor.status_code) == (403, 200)
        assert "AUDITOR_ROLES" in clinician.text
        assert PATIENT.partition("^")[0] not in clinician.text
        (refused,) = entries(await found(http, date="ge2020", type="110101", outcome="8"))
        assert any("dr.roe" in str(agent) for agent in refused["agent"])


@pytest.mark.parametrize(
    ("name_id", "content", "sees"),
    [
        ("p.mueller", {"roles": (PATIENT_ROLE,), "resource_ids": (PATIENT,)}, [PATIENT]),
        (PATIENT, {"roles": (), "resource_ids": (PATIENT,)}, [PATIENT]),
        ("p.other", {"roles": (PATIENT_ROLE,), "resource_ids": (PATIENT.replace("P0001", "P0002"),)}, []),
        ("dr.roe", {"resource_ids": (PATIENT,)}, None),
        ("p.mueller", {"roles": (PATIENT_ROLE,)}, None),
    ],
)
async def test_patients_see_who_used_their_own_data_and_nobody_elses(tmp_path, name_id, content, sees):
    async with asked(tmp_path, **trusting()) as (service, http):
        await service.trail.append([a_record(), a_record(1, objects=(study_object("2.999.5.1"),))])
        answer = await http.get("/own/fhir/AuditEvent", params=DAY, headers=speaking(name_id, **content))

        if sees is None:
            assert answer.status_code == 403
            return
        events = entries(answer.json())
        assert len(events) == len(sees)
        # What was searched by is not theirs to know, who searched is.
        assert all("query" not in entity for event in events for entity in event["entity"])
        assert all(CLINICIAN.name_id in str(event["agent"]) for event in events)


async def test_nobody_sees_a_patients_log_without_being_named(tmp_path):
    async with asked(tmp_path, **trusting()) as (_, http):
        assert (await http.get("/own/fhir/AuditEvent", params=DAY)).status_code == 403


async def test_what_is_served_is_told(tmp_path):
    async with asked(tmp_path) as (_, http):
        statement = (await http.get("/fhir/metadata")).json()

    (resource,) = statement["rest"][0]["resource"]
    assert {one["name"] for one in resource["searchParam"]} >= {"date", "patient.identifier", "outcome"}

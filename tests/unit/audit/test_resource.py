"""The AuditEvent of a message says what the message says, and nothing is lost on the way back."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.audit.dicom_xml import ParsedAuditMessage
from shared.audit.events import AuditEvent, AuditSource, Coded, Outcome, Participant, ParticipantObject
from shared.audit.resource import message_of_resource, resource_of
from shared.audit.resource_xml import read_xml, write_xml
from shared.audit.structure import flaws
from shared.xml import parse
from tests.support.audit import PATIENT, SOURCE, an_event

_WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
_CODES = st.builds(
    Coded,
    _WORDS,
    st.sampled_from(("DCM", "IHE Transactions", "RFC-3881", "2.999.1", "urn:ihe:x", "IHE XDS Metadata")),
    _WORDS,
)
_USERS = st.one_of(_WORDS, st.builds("{}<{}@https://{}>".format, _WORDS, _WORDS, _WORDS))
_PARTICIPANTS = st.builds(
    Participant,
    user_id=_USERS,
    alternative_user_id=_WORDS | st.just(""),
    user_name=_WORDS | st.just(""),
    requestor=st.booleans(),
    roles=st.lists(_CODES, max_size=3).map(tuple),
    network_id=_WORDS,
    network_type=st.sampled_from((None, 1, 2, 5)),
)
_IDS = st.one_of(
    _WORDS, st.builds("{}^^^&2.999.{}&ISO".format, _WORDS, st.integers(0, 99)), st.just("1.2.840.10008.1")
)
_OBJECTS = st.builds(
    ParticipantObject,
    object_id=_IDS,
    id_type=_CODES,
    type_code=st.integers(1, 4),
    role=st.integers(1, 24),
    life_cycle=st.sampled_from((None, 1, 15)),
    query=st.none() | st.binary(min_size=1, max_size=20),
    details=st.lists(st.tuples(_WORDS, st.binary(min_size=1, max_size=20)), max_size=3).map(tuple),
    sop_classes=st.lists(st.tuples(_WORDS, st.integers(0, 999)), max_size=2).map(tuple),
)
_EVENTS = st.builds(
    AuditEvent,
    event_id=_CODES,
    action=st.sampled_from("CRUDE"),
    outcome=st.sampled_from(Outcome),
    event_types=st.lists(_CODES, max_size=3).map(tuple),
    participants=st.lists(_PARTICIPANTS, min_size=1, max_size=3).map(tuple),
    objects=st.lists(_OBJECTS, max_size=3).map(tuple),
    outcome_description=_WORDS | st.just(""),
    purposes=st.lists(_CODES, max_size=2, unique=True).map(tuple),
    time=st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1), timezones=st.just(UTC)),
)
_SOURCES = st.builds(
    AuditSource,
    source_id=_WORDS,
    enterprise_site_id=_WORDS | st.just(""),
    type_codes=st.lists(st.sampled_from("123456789"), max_size=2).map(tuple),
)


@given(_EVENTS, _SOURCES)
def test_what_a_message_says_is_read_again_of_its_resource(event, source):
    message = ParsedAuditMessage(event=event, source=source)

    resource = resource_of(message)

    assert flaws(resource) == []
    assert message_of_resource(resource) == message


@given(_EVENTS, _SOURCES)
def test_a_resource_says_the_same_in_xml(event, source):
    resource = resource_of(ParsedAuditMessage(event=event, source=source))

    assert read_xml(write_xml(resource)) == resource


def test_xml_has_the_order_of_the_table_whatever_order_json_had():
    resource = resource_of(ParsedAuditMessage(event=an_event(), source=SOURCE))
    shuffled = dict(reversed(resource.items()))
    shuffled["agent"] = [dict(reversed(agent.items())) for agent in resource["agent"]]
    extended = {"extension": [{"url": "urn:x", "valueBoolean": True}], "id": "7"}
    shuffled |= {"meta": {"tag": [{"code": "t"}], "profile": ["urn:p"], "id": "m"}, "_action": extended}

    octets = write_xml(shuffled)

    names = [one.tag.rpartition("}")[2] for one in parse(octets)]
    assert names == ["meta", "type", "subtype", "action", "recorded", "outcome", *names[6:]]
    assert names[-3:] == ["source", "entity", "entity"]
    assert read_xml(octets) == shuffled


def test_a_stored_query_is_an_audit_event_with_the_systems_of_fhir():
    resource = resource_of(ParsedAuditMessage(event=an_event(), source=SOURCE))

    assert resource["type"] == {
        "system": "http://dicom.nema.org/resources/ontology/DCM",
        "code": "110112",
        "display": "Query",
    }
    assert resource["subtype"][0]["system"] == "urn:ihe:event-type-code"
    assert resource["outcome"] == "0"
    client, human, server = resource["agent"]
    assert [agent["requestor"] for agent in (client, human, server)] == [False, True, False]
    assert human["who"]["identifier"] == {"system": "https://idp.north.example", "value": "u-778"}
    patient, query = resource["entity"]
    assert patient["what"]["type"] == "Patient"
    identifier = patient["what"]["identifier"]
    assert f"{identifier['value']}^^^&{identifier['system'].removeprefix('urn:oid:')}&ISO" == PATIENT
    assert (query["type"]["code"], query["role"]["code"]) == ("2", "24")
    assert "name" not in query

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared.audit.dicom_xml import AuditMessageError, encode, parse
from shared.audit.events import (
    NODE_ID,
    AuditEvent,
    AuditSource,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    study_object,
)
from tests.support.audit import SOURCE, an_event
from tests.support.schemas import AUDIT, assert_valid

# What XML allows, without the white space that tokens collapse.
plain = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"), exclude_characters="\ufffe\uffff"
    ),
    max_size=30,
)
named = plain.filter(bool)
codes = st.builds(Coded, named, named, named)
participants = st.builds(
    Participant,
    user_id=plain,
    alternative_user_id=plain,
    user_name=plain,
    requestor=st.booleans(),
    roles=st.lists(codes, max_size=2).map(tuple),
    network_id=plain,
    network_type=st.sampled_from([None, 1, 2, 5]),
)
objects = st.builds(
    ParticipantObject,
    object_id=plain,
    id_type=codes,
    type_code=st.integers(1, 4),
    role=st.integers(1, 26),
    life_cycle=st.none() | st.integers(1, 15),
    query=st.none() | st.binary(max_size=40),
    details=st.lists(st.tuples(named, st.binary(max_size=20)), max_size=2).map(tuple),
    sop_classes=st.lists(st.tuples(named, st.integers(0, 9999)), max_size=2).map(tuple),
)
events = st.builds(
    AuditEvent,
    event_id=codes,
    action=st.sampled_from("CRUDE"),
    outcome=st.sampled_from(Outcome),
    event_types=st.lists(codes, max_size=2).map(tuple),
    participants=st.lists(participants, min_size=1, max_size=3).map(tuple),
    objects=st.lists(objects, max_size=3).map(tuple),
    outcome_description=plain,
    purposes=st.lists(codes, max_size=2).map(tuple),
    time=st.datetimes(
        min_value=datetime(1900, 1, 2),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-7))]),
    ),
)
sources = st.builds(
    AuditSource,
    source_id=named,
    enterprise_site_id=plain,
    type_codes=st.lists(st.sampled_from("123456789"), max_size=2).map(tuple),
)


@given(events, sources)
def test_what_is_written_is_read_again(event, source):
    read = parse(encode(event, source))

    assert read.event == event
    assert read.source == source


@given(events, sources)
def test_every_message_is_valid_by_the_schema(event, source):
    assert_valid(encode(event, source), AUDIT)


@given(st.text(max_size=30))
def test_no_value_makes_a_message_that_cannot_be_read(hostile):
    event = an_event(
        participants=(Participant(user_id=hostile, network_id=hostile),), outcome_description=hostile
    )

    assert len(parse(encode(event, SOURCE)).event.participants) == 1


def test_forbidden_characters_are_replaced_and_the_rest_stays():
    event = an_event(participants=(Participant(user_id="a\x00b\ud800c<&\"'>"),))

    (participant,) = parse(encode(event, SOURCE)).event.participants

    assert participant.user_id == "a\ufffdb\ufffdc<&\"'>"


def test_a_time_is_written_in_utc_with_its_zone():
    event = an_event(time=datetime(2030, 5, 4, 11, 15, 2, 120000, timezone(timedelta(hours=2))))

    assert b'EventDateTime="2030-05-04T09:15:02.120000Z"' in encode(event, SOURCE)


def test_query_and_details_are_base64_of_the_exact_bytes_in_one_line():
    query = b"\xef\xbb\xbf<a>\r\n" + b"x" * 200
    event = an_event(
        objects=(
            ParticipantObject(
                object_id="1",
                id_type=NODE_ID,
                type_code=2,
                role=24,
                query=query,
                details=(("d", b"\x00\xff"),),
            ),
        )
    )
    root = etree.fromstring(encode(event, SOURCE))

    text = root.findtext("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert text is not None
    assert "\n" not in text
    assert b64decode(text, validate=True) == query
    assert root.find("ParticipantObjectIdentification/ParticipantObjectDetail").get("value") == "AP8="


def test_the_parts_stand_in_the_order_of_the_schema():
    event = an_event(objects=(study_object("2.999.5", sop_classes=(("1.2", 3),)),), outcome_description="why")
    root = etree.fromstring(encode(event, SOURCE))

    assert [child.tag for child in root] == [
        "EventIdentification",
        *["ActiveParticipant"] * 3,
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]
    assert [child.tag for child in root[0]] == [
        "EventID",
        "EventTypeCode",
        "EventOutcomeDescription",
        "PurposeOfUse",
    ][: len(root[0])]


RFC3881 = b"""<?xml version="1.0" encoding="UTF-8"?>
<AuditMessage>
  <EventIdentification EventActionCode="R"
      EventDateTime="2009-02-03T04:05:06.1234567+01:00" EventOutcomeIndicator="4">
    <EventID code="110106" codeSystem="1.2.840.10008.2.16.4" codeSystemName="DCM" displayName="Export"/>
    <EventTypeCode code="ITI-43" codeSystemName="IHE Transactions" displayName="Retrieve Document Set"/>
  </EventIdentification>
  <ActiveParticipant UserID="repo" UserIsRequestor="1">
    <RoleIDCode code="110153" codeSystem="DCM" displayName="Source"/>
  </ActiveParticipant>
  <AuditSourceIdentification AuditSourceID="old">
    <AuditSourceTypeCode>4</AuditSourceTypeCode></AuditSourceIdentification>
  <AuditSourceIdentification AuditSourceID="other"><AuditSourceTypeCode code="9"/></AuditSourceIdentification>
  <ParticipantObjectIdentification ParticipantObjectTypeCode="2" ParticipantObjectTypeCodeRole="3">
    <ParticipantObjectIDTypeCode code="110180"/>
    <ParticipantObjectQuery>not base64!</ParticipantObjectQuery>
    <ParticipantObjectDetail type="plain" value="not base64 either!"/>
    <ParticipantObjectDescription>words</ParticipantObjectDescription>
    <SOPClass UID="1.2.3" NumberOfInstances="7"/>
  </ParticipantObjectIdentification>
</AuditMessage>"""


def test_the_spellings_of_rfc_3881_are_read():
    read = parse(RFC3881)

    assert read.event.event_id == Coded("110106", "DCM", "Export")
    assert read.event.event_types[0].code == "ITI-43"
    assert read.event.time == datetime(2009, 2, 3, 3, 5, 6, 123456, UTC)
    assert read.event.participants[0].requestor
    assert read.event.participants[0].roles == (Coded("110153", "DCM", "Source"),)
    assert read.source.source_id == "old"
    assert read.source.type_codes == ("4",)
    (study,) = read.event.objects
    assert study.id_type.code == "110180"
    assert study.query == b"not base64!"
    assert study.details == (("plain", b"not base64 either!"),)
    assert study.sop_classes == (("1.2.3", 7),)


@pytest.mark.parametrize("spelling", ['csd-code="5"', 'code="5"', ">5<"])
def test_a_source_type_is_read_in_its_three_spellings(spelling):
    kind = (
        f"<AuditSourceTypeCode {spelling}/>"
        if "=" in spelling
        else "<AuditSourceTypeCode>5</AuditSourceTypeCode>"
    )
    octets = encode(an_event(), SOURCE).replace(b'<AuditSourceTypeCode csd-code="4"/>', kind.encode())

    assert parse(octets).source.type_codes == ("5",)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "not well-formed"),
        (b"<AuditMessage>", "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><AuditMessage/>', "document type"),
        (b"<Other/>", "not AuditMessage"),
        (b"<AuditMessage/>", "no EventIdentification"),
        (b"<AuditMessage><EventIdentification/></AuditMessage>", "no EventID"),
        (RFC3881.replace(b'Indicator="4"', b'Indicator="5"'), "EventOutcomeIndicator"),
        (RFC3881.replace(b"2009-02-03T", b"2009-02-30T"), "EventDateTime"),
        (
            RFC3881.replace(b"2009-02-03T04:05:06.1234567+01:00", b"0001-01-01T00:00:00+14:00"),
            "EventDateTime",
        ),
    ],
)
def test_what_is_no_audit_message_is_said_without_its_content(octets, reason):
    with pytest.raises(AuditMessageError, match=reason):
        parse(octets)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_not_being_an_audit_message(octets):
    with pytest.raises(AuditMessageError):
        parse(octets)

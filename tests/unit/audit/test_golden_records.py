"""One row of the product's table of records for each: which event, whose roles, who asks, which objects."""

from __future__ import annotations

import os
from base64 import b64decode
from dataclasses import dataclass

import pytest
from lxml import etree

from shared.audit import events, node_events, patterns
from shared.audit.dicom_xml import encode
from shared.audit.events import (
    EXPORT,
    IMPORT,
    INSTANCES_ACCESSED,
    INSTANCES_TRANSFERRED,
    PATIENT_RECORD,
    QUERY,
    AuditEvent,
    Outcome,
    document_object,
    feed_participants,
    http_pull_participants,
    ihe,
    patient_object,
    pull_participants,
    purposes,
    push_participants,
    query_object,
    study_object,
    submission_set_object,
)
from shared.security.caller import Node, User
from tests.support.audit import CLINICIAN, PATIENT, SOURCE, a_caller
from tests.support.schemas import AUDIT, assert_valid

ENDPOINT = "https://registry.hub.example/xds/registry"
CLIENT = "CN=viewer.north.example"
PID = str(os.getpid())
SUBMISSION = "2.999.8.1"
QUERY_ID = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FEED = ihe("ITI-8", "Patient Identity Feed")
STORED_QUERY = ihe("ITI-18", "Registry Stored Query")
HCID = "urn:oid:2.999.1"


@dataclass(frozen=True)
class Row:
    """One row: `side` C sends the request, S answers; `source` and `destination` are UserIDs."""

    transaction: str
    side: str
    event: str
    action: str
    types: tuple[str, ...]
    source: str
    destination: str
    pid: str
    requestor: str
    objects: tuple[tuple[str, ...], ...]
    description: AuditEvent


PAT = ("1", "1", "2", "RFC-3881", PATIENT)
PAT_MSH = (*PAT, "MSH-10=MSG-00001")
SUB = ("2", "20", "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd", "IHE XDS Metadata", SUBMISSION)
QRY = (
    "2",
    "24",
    "ITI-18",
    "IHE Transactions",
    QUERY_ID,
    "QueryEncoding=UTF-8",
    f"urn:ihe:iti:xca:2010:homeCommunityId={HCID}",
)
DOC = ("2", "3", "9", "RFC-3881", "2.999.6.1", "Repository Unique Id=2.999.3", f"ihe:homeCommunityID={HCID}")
STU = ("2", "3", "110180", "DCM", "2.999.5.1")


def feed(side: str, action: str) -> Row:
    participants = feed_participants(
        sender=("NORTH", "ADT"),
        receiver=("HUB", "REG"),
        sender_address="192.0.2.30",
        receiver_host="registry.hub.example",
        server=side == "S",
    )
    described = AuditEvent(
        event_id=PATIENT_RECORD,
        action=action,
        outcome=Outcome.SUCCESS,
        event_types=(FEED,),
        participants=participants,
        objects=(patient_object(PATIENT, details=(("MSH-10", b"MSG-00001"),)),),
    )
    pid = "source" if side == "C" else "destination"
    return Row(
        "ITI-8",
        side,
        "110110",
        action,
        ("ITI-8",),
        "NORTH|ADT",
        "HUB|REG",
        pid,
        "source",
        (PAT_MSH,),
        described,
    )


def push(transaction: str, side: str, objects, values, types: tuple[str, ...], caller) -> Row:
    event, action = (EXPORT, "R") if side == "C" else (IMPORT, "C")
    described = AuditEvent(
        event_id=event,
        action=action,
        outcome=Outcome.SUCCESS,
        event_types=tuple(ihe(number, number) for number in types),
        participants=push_participants(caller, server=side == "S"),
        objects=values,
        purposes=purposes(caller.user),
    )
    pid = "source" if side == "C" else "destination"
    return Row(
        transaction, side, event.code, action, types, CLIENT, ENDPOINT, pid, "source", objects, described
    )


def query(side: str, caller) -> Row:
    details = (("QueryEncoding", b"UTF-8"), ("urn:ihe:iti:xca:2010:homeCommunityId", HCID.encode()))
    described = AuditEvent(
        event_id=QUERY,
        action="E",
        outcome=Outcome.SUCCESS,
        event_types=(STORED_QUERY,),
        participants=push_participants(caller, server=side == "S"),
        objects=(
            patient_object(PATIENT),
            query_object(QUERY_ID, STORED_QUERY, b"<query:AdhocQueryRequest/>", details=details),
        ),
        purposes=purposes(caller.user),
    )
    pid = "source" if side == "C" else "destination"
    return Row(
        "ITI-18", side, "110112", "E", ("ITI-18",), CLIENT, ENDPOINT, pid, "source", (PAT, QRY), described
    )


def pull(transaction: str, side: str, events_of_sides, objects, values, participants, caller) -> Row:
    event, action = events_of_sides[side]
    described = AuditEvent(
        event_id=event,
        action=action,
        outcome=Outcome.SUCCESS,
        event_types=(ihe(transaction, transaction),),
        participants=participants(caller, server=side == "S"),
        objects=values,
        purposes=purposes(caller.user),
    )
    pid = "destination" if side == "C" else "source"
    return Row(
        transaction,
        side,
        event.code,
        action,
        (transaction,),
        ENDPOINT,
        CLIENT,
        pid,
        "destination",
        objects,
        described,
    )


DOCUMENTS = {"C": (IMPORT, "C"), "S": (EXPORT, "R")}
INSTANCES = {"C": (INSTANCES_ACCESSED, "R"), "S": (INSTANCES_TRANSFERRED, "R")}


def rows(user) -> list[Row]:
    caller = a_caller(user)
    patient, submission = patient_object(PATIENT), submission_set_object(SUBMISSION)
    document = document_object("2.999.6.1", repository_unique_id="2.999.3", home_community_id=HCID)
    study = study_object("2.999.5.1", sop_classes=(("1.2.840.10008.5.1.4.1.1.2", 120),))
    found = []
    for side in "CS":
        # a feed comes from a system, never from a user
        found += [feed(side, action) for action in "CUD" if user is None]
        found.append(query(side, caller))
        for number in ("ITI-41", "ITI-42"):
            found.append(push(number, side, (PAT, SUB), (patient, submission), (number,), caller))
        found.append(
            push("RAD-68", side, (PAT, SUB, STU), (patient, submission, study), ("ITI-41", "RAD-68"), caller)
        )
        found.append(
            pull("ITI-43", side, DOCUMENTS, (PAT, DOC), (patient, document), pull_participants, caller)
        )
        found.append(pull("RAD-69", side, INSTANCES, (PAT, STU), (patient, study), pull_participants, caller))
        found.append(
            pull("RAD-107", side, INSTANCES, (PAT, STU), (patient, study), http_pull_participants, caller)
        )
    return found


def label(row: Row) -> str:
    human = "with a human" if any(p.user_name for p in row.description.participants) else "without a human"
    return f"{row.transaction} {row.side} {row.action} {human}"


ALL = [*rows(None), *rows(CLINICIAN)]


def written(row: Row) -> etree._Element:
    return etree.fromstring(encode(row.description, SOURCE))


def of_role(root, code: str):
    return root.xpath(f"ActiveParticipant[RoleIDCode[@csd-code='{code}' and @codeSystemName='DCM']]")


def sides(root):
    (source,), (destination,) = of_role(root, "110153"), of_role(root, "110152")
    return {"source": source, "destination": destination}


def humans(root):
    return root.xpath("ActiveParticipant[@UserName]")


@pytest.mark.parametrize("row", ALL, ids=label)
def test_event_action_and_types(row):
    root = written(row)

    assert root.find("EventIdentification/EventID").get("csd-code") == row.event
    assert root.find("EventIdentification").get("EventActionCode") == row.action
    assert [code.get("csd-code") for code in root.iterfind("EventIdentification/EventTypeCode")] == list(
        row.types
    )


@pytest.mark.parametrize("row", ALL, ids=label)
def test_source_and_destination_are_named_and_placed(row):
    found = sides(written(row))

    assert found["source"].get("UserID") == row.source
    assert found["destination"].get("UserID") == row.destination
    for side in found.values():
        assert side.get("NetworkAccessPointID")
        assert side.get("NetworkAccessPointTypeCode") in ("1", "2")


@pytest.mark.parametrize("row", ALL, ids=label)
def test_the_process_stands_with_the_writer_alone(row):
    found = sides(written(row))
    other = "source" if row.pid == "destination" else "destination"

    assert found[row.pid].get("AlternativeUserID") == PID
    assert found[other].get("AlternativeUserID") is None


@pytest.mark.parametrize("row", ALL, ids=label)
def test_the_one_requestor_is_the_human_or_the_initiating_system(row):
    root = written(row)
    requestors = [p for p in root.iterfind("ActiveParticipant") if p.get("UserIsRequestor") == "true"]

    assert requestors == (humans(root) or [sides(root)[row.requestor]])


@pytest.mark.parametrize("row", ALL, ids=label)
def test_objects_with_their_ids_and_details(row):
    found = []
    for item in written(row).iterfind("ParticipantObjectIdentification"):
        id_type = item.find("ParticipantObjectIDTypeCode")
        details = [
            f"{detail.get('type')}={b64decode(detail.get('value'), validate=True).decode()}"
            for detail in item.iterfind("ParticipantObjectDetail")
        ]
        found.append(
            (
                item.get("ParticipantObjectTypeCode"),
                item.get("ParticipantObjectTypeCodeRole"),
                id_type.get("csd-code"),
                id_type.get("codeSystemName"),
                item.get("ParticipantObjectID"),
                *details,
            )
        )

    assert tuple(found) == row.objects


@pytest.mark.parametrize("row", ALL, ids=label)
def test_query_and_name_never_stand_together(row):
    for item in written(row).iterfind("ParticipantObjectIdentification"):
        assert not (item.findall("ParticipantObjectQuery") and item.findall("ParticipantObjectName"))


@pytest.mark.parametrize("row", ALL, ids=label)
def test_the_record_is_valid_by_the_schema(row):
    assert_valid(written(row), AUDIT)


@pytest.mark.parametrize("row", rows(CLINICIAN), ids=label)
def test_the_human_is_written_as_the_assertion_names_it(row):
    root = written(row)
    (human,) = humans(root)

    assert human.get("UserID") == human.get("UserName") == "<u-778@https://idp.north.example>"
    assert [role.get("csd-code") for role in human.iterfind("RoleIDCode")] == ["RAD-PHYS"]
    assert human.find("RoleIDCode").get("codeSystemName") == "2.999.40.1"
    assert [code.get("csd-code") for code in root.iterfind("EventIdentification/PurposeOfUse")] == ["TREAT"]


@pytest.mark.parametrize("row", rows(None), ids=label)
def test_no_human_is_invented(row):
    assert humans(written(row)) == []


@pytest.mark.parametrize(
    "transaction", ["ITI-18", "ITI-41", "ITI-42", "RAD-68", "ITI-43", "RAD-69", "RAD-107"]
)
def test_the_records_of_both_sides_agree(transaction):
    client, server = (written(row) for row in rows(CLINICIAN) if row.transaction == transaction)

    for path in (
        "EventIdentification/EventTypeCode/@csd-code",
        "ParticipantObjectIdentification/@ParticipantObjectID",
    ):
        assert client.xpath(path) == server.xpath(path)
    for side in ("source", "destination"):
        assert sides(client)[side].get("UserID") == sides(server)[side].get("UserID")
    assert humans(client)[0].get("UserName") == humans(server)[0].get("UserName")


def test_a_client_without_certificate_is_anonymous_in_soap_and_its_address_in_http():
    caller = a_caller(None, node=Node(address="192.0.2.9"))

    assert push_participants(caller, server=True)[0].user_id == events.ANONYMOUS
    assert http_pull_participants(caller, server=True)[-1].user_id == "192.0.2.9"


def test_the_reply_address_of_an_asynchronous_client_is_its_name():
    caller = a_caller(None, reply_to="https://viewer.north.example/async")

    assert push_participants(caller, server=True)[0].user_id == "https://viewer.north.example/async"


def valid(event: AuditEvent):
    root = etree.fromstring(encode(event, SOURCE))
    assert_valid(root, AUDIT)
    return root


def test_a_refused_assertion_names_whom_it_claimed():
    event = node_events.user_authentication_failure(
        claimed="<u-1@https://idp>", node=Node(address="192.0.2.9"), reason="FailedAuthentication"
    )
    root = valid(event)

    identification = root.find("EventIdentification")
    assert identification.find("EventID").get("csd-code") == "110114"
    assert identification.find("EventTypeCode").get("csd-code") == "110122"
    assert identification.get("EventOutcomeIndicator") == "8"
    (participant,) = root.iterfind("ActiveParticipant")
    assert participant.get("UserID") == "<u-1@https://idp>"
    assert participant.get("UserIsRequestor") == "true"
    assert participant.get("NetworkAccessPointID") == "192.0.2.9"
    assert participant.find("RoleIDCode") is None
    assert root.find("ParticipantObjectIdentification") is None
    assert "claimed" in root.findtext("EventIdentification/EventOutcomeDescription")


@pytest.mark.parametrize(
    ("kind", "requested", "code"),
    [(events.LOGIN, True, "110122"), (events.LOGOUT, True, "110123"), (events.LOGOUT, False, "110123")],
    ids=["login", "logout", "logout by inactivity"],
)
def test_a_user_who_comes_or_goes_is_named_with_the_place(kind, requested: bool, code: str):
    user = User(name_id="u-1", issuer="https://idp", assertion_id="_1")
    root = valid(node_events.user_authentication(user, Node(address="192.0.2.9"), kind, requested=requested))

    identification = root.find("EventIdentification")
    assert identification.find("EventID").get("csd-code") == "110114"
    assert identification.find("EventTypeCode").get("csd-code") == code
    assert identification.get("EventOutcomeIndicator") == "0"
    (participant,) = root.iterfind("ActiveParticipant")
    assert participant.get("UserID") == "<u-1@https://idp>"
    assert participant.get("UserIsRequestor") == str(requested).lower()
    assert participant.get("NetworkAccessPointID") == "192.0.2.9"
    assert participant.get("NetworkAccessPointTypeCode") == "2"


def test_a_refused_node_is_an_alert_about_its_address():
    root = valid(node_events.node_authentication_failure("192.0.2.99", "untrusted issuer"))

    assert root.find("EventIdentification/EventID").get("csd-code") == "110113"
    assert root.find("EventIdentification/EventTypeCode").get("csd-code") == "110126"
    (own,) = root.iterfind("ActiveParticipant")
    assert own.get("UserID") == PID
    assert own.get("UserIsRequestor") == "false"
    (node,) = root.iterfind("ParticipantObjectIdentification")
    assert node.get("ParticipantObjectID") == "192.0.2.99"
    assert node.get("ParticipantObjectTypeCodeRole") == "13"
    assert node.find("ParticipantObjectIDTypeCode").get("csd-code") == "110182"
    detail = node.find("ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert b64decode(detail.get("value")) == b"untrusted issuer"


@pytest.mark.parametrize(
    ("event", "code"), [(node_events.started, "110120"), (node_events.stopped, "110121")]
)
def test_start_and_stop_name_the_process(event, code):
    root = valid(event(SOURCE))

    assert root.find("EventIdentification/EventID").get("csd-code") == "110100"
    assert root.find("EventIdentification/EventTypeCode").get("csd-code") == code
    (application,) = root.iterfind("ActiveParticipant")
    assert application.get("UserID") == PID
    assert application.get("UserName") == "xdsi-test"
    assert application.find("RoleIDCode").get("csd-code") == "110150"


def test_the_use_of_the_log_names_the_search():
    root = valid(
        patterns.log_used(ihe("ITI-81", "Retrieve ATNA Audit Event"), a_caller(), "https://arr/api/search")
    )

    assert root.find("EventIdentification/EventID").get("csd-code") == "110101"
    assert root.find("EventIdentification").get("EventActionCode") == "R"
    (log,) = root.iterfind("ParticipantObjectIdentification")
    assert log.get("ParticipantObjectID") == "https://arr/api/search"
    assert log.findtext("ParticipantObjectName") == "Security Audit Log"


def test_lost_records_are_told_with_their_number():
    root = valid(node_events.records_lost(17, "the spool was full"))

    assert root.find("EventIdentification/EventID").get("csd-code") == "110113"
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "12"
    assert "17 audit records were lost" in root.findtext("EventIdentification/EventOutcomeDescription")

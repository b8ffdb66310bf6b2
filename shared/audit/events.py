"""The audit event as a value (DICOM PS3.15 A.5), and what it is made of; the events of transactions are in
`shared.audit.patterns`, those of a node in `shared.audit.node_events`.

An event describes one patient and one outcome; what touches two patients, or succeeds in part, is two events.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import TypedDict
from urllib.parse import urlsplit

from shared.security.caller import Caller, User


class Outcome(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded value of the audit schema: csd-code, codeSystemName, originalText."""

    code: str
    system: str
    text: str


APPLICATION_ACTIVITY = Coded("110100", "DCM", "Application Activity")
AUDIT_LOG_USED = Coded("110101", "DCM", "Audit Log Used")
BEGIN_TRANSFERRING = Coded("110102", "DCM", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = Coded("110103", "DCM", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Coded("110104", "DCM", "DICOM Instances Transferred")
STUDY_DELETED = Coded("110105", "DCM", "DICOM Study Deleted")
EXPORT = Coded("110106", "DCM", "Export")
IMPORT = Coded("110107", "DCM", "Import")
PATIENT_RECORD = Coded("110110", "DCM", "Patient Record")
PROCEDURE_RECORD = Coded("110111", "DCM", "Procedure Record")
QUERY = Coded("110112", "DCM", "Query")
SECURITY_ALERT = Coded("110113", "DCM", "Security Alert")
USER_AUTHENTICATION = Coded("110114", "DCM", "User Authentication")

APPLICATION_START = Coded("110120", "DCM", "Application Start")
APPLICATION_STOP = Coded("110121", "DCM", "Application Stop")
LOGIN = Coded("110122", "DCM", "Login")
LOGOUT = Coded("110123", "DCM", "Logout")
USER_ATTRIBUTES_CHANGED = Coded("110137", "DCM", "User Security Attributes Changed")
NODE_AUTHENTICATION = Coded("110126", "DCM", "Node Authentication")
EMERGENCY_OVERRIDE_STARTED = Coded("110127", "DCM", "Emergency Override Started")
EMERGENCY_OVERRIDE_STOPPED = Coded("110138", "DCM", "Emergency Override Stopped")
USE_OF_RESTRICTED_FUNCTION = Coded("110132", "DCM", "Use of Restricted Function")
AUDIT_RECORDING_STOPPED = Coded("110133", "DCM", "Audit Recording Stopped")

SECURITY_CONFIGURATION = Coded("110129", "DCM", "Security Configuration")
OBJECT_SECURITY_ATTRIBUTES_CHANGED = Coded("110135", "DCM", "Object Security Attributes Changed")

APPLICATION_ROLE = Coded("110150", "DCM", "Application")
SOURCE_ROLE = Coded("110153", "DCM", "Source Role ID")
DESTINATION_ROLE = Coded("110152", "DCM", "Destination Role ID")
DESTINATION_MEDIA = Coded("110154", "DCM", "Destination Media")

PATIENT_NUMBER = Coded("2", "RFC-3881", "Patient Number")
REPORT_NUMBER = Coded("9", "RFC-3881", "Report Number")
STUDY_INSTANCE_UID = Coded("110180", "DCM", "Study Instance UID")
SOP_CLASS_UID = Coded("110181", "DCM", "SOP Class UID")
NODE_ID = Coded("110182", "DCM", "Node ID")
USER_IDENTIFIER = Coded("11", "RFC-3881", "User Identifier")
URI = Coded("12", "RFC-3881", "URI")
SUBMISSION_SET = Coded(
    "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd", "IHE XDS Metadata", "submission set classificationNode"
)

OBJECT_REFERENCE = Coded("urn:ihe:iti:2017:ObjectRef", "IHE XDS Metadata", "registry object reference")

REPOSITORY_UNIQUE_ID = "Repository Unique Id"
DOCUMENT_UNIQUE_ID = "ihe:DocumentUniqueId"
SERIES_INSTANCE_UID = "Series Instance Unique Id"
# Two spellings by history, which will not be repaired (ITI TF-2 3.18.5, 3.43.5).
HOME_OF_DOCUMENT = "ihe:homeCommunityID"
HOME_OF_QUERY = "urn:ihe:iti:xca:2010:homeCommunityId"
# How the EventOutcomeDescription of a refusal begins, and of one by consent.
REFUSED = "refused"
REFUSED_BY_CONSENT = "refused by consent: "
ALERT_DESCRIPTION = "Alert Description"
AUDIT_LOG_NAME = "Security Audit Log"
ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"


def ihe(number: str, name: str) -> Coded:
    """The EventTypeCode of a transaction, for example `ihe("ITI-18", "Registry Stored Query")`."""
    return Coded(number, "IHE Transactions", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """AuditSourceIdentification: who writes the records.

    `type_codes` are AuditSourceTypeCodes, 4 for an application server; `hostname` is HOSTNAME of the syslog
    header and not part of the message itself.
    """

    source_id: str
    enterprise_site_id: str = ""
    type_codes: tuple[str, ...] = ("4",)
    hostname: str = field(default_factory=socket.gethostname, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One ActiveParticipant; `network_id` and `network_type` as `access_point` makes them, 5 for a URI."""

    user_id: str
    alternative_user_id: str = ""
    user_name: str = ""
    requestor: bool = False
    roles: tuple[Coded, ...] = ()
    network_id: str = ""
    network_type: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipantObject:
    """One ParticipantObjectIdentification; `query` and the values of `details` are bytes before base64.

    `name` and `query` exclude each other. `sop_classes` are (SOP Class UID, number of instances).
    """

    object_id: str
    id_type: Coded
    type_code: int
    role: int
    life_cycle: int | None = None
    name: str = ""
    query: bytes | None = None
    details: tuple[tuple[str, bytes], ...] = ()
    sop_classes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One AuditMessage without its AuditSourceIdentification, which is the service's.

    `action` is C, R, U, D or E; `time` is aware and the moment of completion.
    """

    event_id: Coded
    action: str
    outcome: Outcome
    event_types: tuple[Coded, ...] = ()
    participants: tuple[Participant, ...] = ()
    objects: tuple[ParticipantObject, ...] = ()
    outcome_description: str = ""
    purposes: tuple[Coded, ...] = ()
    time: datetime = field(default_factory=lambda: datetime.now(UTC))


def is_refusal(event: AuditEvent) -> bool:
    """Whether somebody was refused, and nothing just failed: by consent, without a right, as unproved."""
    return event.outcome is not Outcome.SUCCESS and (
        event.outcome_description.startswith(REFUSED)
        or event.event_id.code == USER_AUTHENTICATION.code
        or any(kind.code == NODE_AUTHENTICATION.code for kind in event.event_types)
    )


# --- objects -----------------------------------------------------------------------------------------


def patient_object(patient_id: str, *, details: tuple[tuple[str, bytes], ...] = ()) -> ParticipantObject:
    """The patient, by the CX of the affinity domain."""
    return ParticipantObject(
        object_id=patient_id, id_type=PATIENT_NUMBER, type_code=1, role=1, details=details
    )


def submission_set_object(unique_id: str) -> ParticipantObject:
    """The submission set, by its uniqueId and not its entryUUID."""
    return ParticipantObject(object_id=unique_id, id_type=SUBMISSION_SET, type_code=2, role=20)


def document_object(
    unique_id: str,
    *,
    repository_unique_id: str,
    home_community_id: str = "",
    life_cycle: int | None = None,
) -> ParticipantObject:
    """One document of a retrieval, or of a removal (`life_cycle` 15)."""
    details = [(REPOSITORY_UNIQUE_ID, repository_unique_id.encode())]
    if home_community_id:
        details.append((HOME_OF_DOCUMENT, home_community_id.encode()))
    return ParticipantObject(
        object_id=unique_id,
        id_type=REPORT_NUMBER,
        type_code=2,
        role=3,
        life_cycle=life_cycle,
        details=tuple(details),
    )


def query_object(
    query_id: str, transaction: Coded, query: bytes, *, details: tuple[tuple[str, bytes], ...] = ()
) -> ParticipantObject:
    """The parameters of a query: the bytes as they came, never the answer."""
    return ParticipantObject(
        object_id=query_id, id_type=transaction, type_code=2, role=24, query=query, details=details
    )


def sop_class_object(sop_class_uid: str, query: bytes, transfer_syntax_uid: str) -> ParticipantObject:
    """The identifier of a query by DIMSE, of which the SOP class is the kind (DICOM PS3.15 A.5.3.10)."""
    return ParticipantObject(
        object_id=sop_class_uid,
        id_type=SOP_CLASS_UID,
        type_code=2,
        role=3,
        query=query,
        details=(("TransferSyntax", transfer_syntax_uid.encode()),),
    )


def study_object(
    study_instance_uid: str,
    *,
    sop_classes: Sequence[tuple[str, int]] = (),
    details: tuple[tuple[str, bytes], ...] = (),
) -> ParticipantObject:
    """One study, with the number of instances of each SOP class."""
    return ParticipantObject(
        object_id=study_instance_uid,
        id_type=STUDY_INSTANCE_UID,
        type_code=2,
        role=3,
        details=details,
        sop_classes=tuple(sop_classes),
    )


# --- participants ------------------------------------------------------------------------------------


def process_id() -> str:
    """The id of this process, as a participant has it."""
    return str(os.getpid())


class AccessPoint(TypedDict):
    """The two attributes of a participant that say where it is."""

    network_id: str
    network_type: int | None


def access_point(host: str) -> AccessPoint:
    """Where a participant is: an IP address (type 2), or the name of a machine (1); of nowhere, none.

    IPv6 addresses stand without brackets and zone, and an IPv4 address that came as IPv6 stands as IPv4: one
    node has one spelling.
    """
    network_id, network_type = _access_point(host)
    return AccessPoint(network_id=network_id, network_type=network_type)


@lru_cache(maxsize=1_024)
def _access_point(host: str) -> tuple[str, int | None]:
    plain = host.strip("[]")
    try:
        address = ip_address(plain.partition("%")[0])
    except ValueError:
        return (plain, 1) if plain else ("", None)
    return str(getattr(address, "ipv4_mapped", None) or address), 2


def human(user: User | None) -> tuple[Participant, ...]:
    """The user of a verified assertion (ITI TF-2 3.40.4.2), or nobody: a human is never invented."""
    if user is None:
        return ()
    roles = tuple(Coded(role.value, role.scheme, role.display_name or role.value) for role in user.roles)
    return (Participant(user_id=user.audit_name, user_name=user.audit_name, requestor=True, roles=roles),)


def purposes(user: User | None) -> tuple[Coded, ...]:
    """The purposes of use of a verified assertion."""
    if user is None:
        return ()
    return tuple(Coded(code.value, code.scheme, code.display_name or code.value) for code in user.purposes)


def _client(
    caller: Caller, role: Coded, *, own: bool, requestor: bool, unnamed: str = ANONYMOUS
) -> Participant:
    return Participant(
        user_id=caller.reply_to or caller.node.subject or unnamed,
        alternative_user_id=process_id() if own else "",
        requestor=requestor,
        roles=(role,),
        **access_point(caller.node.address),
    )


def _server(endpoint: str, role: Coded, *, own: bool) -> Participant:
    return Participant(
        user_id=endpoint,
        alternative_user_id=process_id() if own else "",
        requestor=False,
        roles=(role,),
        **access_point(urlsplit(endpoint).hostname or ""),
    )


def push_participants(caller: Caller, *, server: bool) -> tuple[Participant, ...]:
    """PUSH and QUERY-WS: the client is the Source (ITI-18, 41, 42, RAD-68).

    `server` tells which side writes; `caller.endpoint` is the server's URI, `caller.node` the client.
    """
    return (
        _client(caller, SOURCE_ROLE, own=not server, requestor=caller.user is None),
        *human(caller.user),
        _server(caller.endpoint, DESTINATION_ROLE, own=server),
    )


def pull_participants(caller: Caller, *, server: bool) -> tuple[Participant, ...]:
    """PULL: data flows from the server, which is the Source (ITI-43, RAD-69, RAD-107)."""
    return (
        _server(caller.endpoint, SOURCE_ROLE, own=server),
        *human(caller.user),
        _client(caller, DESTINATION_ROLE, own=not server, requestor=caller.user is None),
    )


def http_pull_participants(caller: Caller, *, server: bool) -> tuple[Participant, ...]:
    """The pull over plain HTTP (RAD-107, RAD-55): the client is its certificate, else its address."""
    return (
        _server(caller.endpoint, SOURCE_ROLE, own=server),
        *human(caller.user),
        _client(
            caller,
            DESTINATION_ROLE,
            own=not server,
            requestor=caller.user is None,
            unnamed=caller.node.address,
        ),
    )


def http_push_participants(caller: Caller, *, server: bool) -> tuple[Participant, ...]:
    """Requests over plain HTTP that ask or send (RAD-108, RAD-129, ITI-81): the client is the Source."""
    return (
        _client(
            caller,
            SOURCE_ROLE,
            own=not server,
            requestor=caller.user is None,
            unnamed=caller.node.address,
        ),
        *human(caller.user),
        _server(caller.endpoint, DESTINATION_ROLE, own=server),
    )


def media_participants(caller: Caller) -> tuple[Participant, ...]:
    """Export to media (PS3.15 A.5.3.4): the node that writes them, the user, and media without a name."""
    return (
        _client(caller, SOURCE_ROLE, own=True, requestor=caller.user is None, unnamed=caller.node.address),
        *human(caller.user),
        Participant(user_id="media", roles=(DESTINATION_MEDIA,)),
    )


def feed_participants(
    *,
    sender: tuple[str, str],
    receiver: tuple[str, str],
    sender_address: str,
    receiver_host: str,
    server: bool,
) -> tuple[Participant, ...]:
    """HL7 v2 over MLLP (ITI-8): both sides as (facility, application), MSH-4 and 3, MSH-6 and 5.

    `server` tells which side writes; `sender_address` and `receiver_host` are addresses or names of machines.
    """
    return (
        Participant(
            user_id="|".join(sender),
            alternative_user_id="" if server else process_id(),
            requestor=True,
            roles=(SOURCE_ROLE,),
            **access_point(sender_address),
        ),
        Participant(
            user_id="|".join(receiver),
            alternative_user_id=process_id() if server else "",
            roles=(DESTINATION_ROLE,),
            **access_point(receiver_host),
        ),
    )


def entity_participants(
    *,
    calling: tuple[str, str],
    called: tuple[str, str],
    destination: tuple[str, str] | None = None,
    pull: bool = False,
) -> tuple[Participant, ...]:
    """Application entities by DIMSE, as the called one writes it: each as AE title and host (RAD-14, 16, 18).

    `pull` tells that data flow from the called one: to whom it calls then, or to `destination` (C-MOVE).
    """
    ours, theirs = (SOURCE_ROLE, DESTINATION_ROLE) if pull else (DESTINATION_ROLE, SOURCE_ROLE)
    us = Participant(
        user_id=called[0], alternative_user_id=process_id(), roles=(ours,), **access_point(called[1])
    )
    moves = destination is not None and destination[0] != calling[0]
    caller = Participant(
        user_id=calling[0],
        requestor=True,
        roles=() if moves else (theirs,),
        **access_point(calling[1]),
    )
    if destination is None or not moves:
        return caller, us
    receiver = Participant(user_id=destination[0], roles=(theirs,), **access_point(destination[1]))
    return caller, us, receiver

"""What a node records of itself, of those who sign in at it and of those it refuses (DICOM PS3.15 A.5.3)."""

from __future__ import annotations

import socket
from dataclasses import replace

from shared.audit.events import (
    ALERT_DESCRIPTION,
    APPLICATION_ACTIVITY,
    APPLICATION_ROLE,
    APPLICATION_START,
    APPLICATION_STOP,
    AUDIT_RECORDING_STOPPED,
    LOGIN,
    NODE_AUTHENTICATION,
    NODE_ID,
    OBJECT_SECURITY_ATTRIBUTES_CHANGED,
    SECURITY_ALERT,
    SECURITY_CONFIGURATION,
    URI,
    USER_AUTHENTICATION,
    AuditEvent,
    AuditSource,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
    access_point,
    human,
    process_id,
    purposes,
)
from shared.security.caller import Caller, Node, User


def _application(source: AuditSource) -> Participant:
    # The identity of a process is the one in the system's own logs (DICOM PS3.15 A.5.2.1).
    return Participant(
        user_id=process_id(),
        user_name=source.source_id,
        roles=(APPLICATION_ROLE,),
        **access_point(source.hostname),
    )


def _application_activity(source: AuditSource, activity: Coded) -> AuditEvent:
    return AuditEvent(
        event_id=APPLICATION_ACTIVITY,
        action="E",
        outcome=Outcome.SUCCESS,
        event_types=(activity,),
        participants=(_application(source),),
    )


def started(source: AuditSource) -> AuditEvent:
    """The service of `source` is ready for requests."""
    return _application_activity(source, APPLICATION_START)


def stopped(source: AuditSource) -> AuditEvent:
    """The service of `source` takes no more requests."""
    return _application_activity(source, APPLICATION_STOP)


def user_authentication(user: User, node: Node, kind: Coded, *, requested: bool = True) -> AuditEvent:
    """A user came (`LOGIN`) or went (`LOGOUT`), by own request or by inactivity (DICOM PS3.15 A.5.3.11)."""
    return AuditEvent(
        event_id=USER_AUTHENTICATION,
        action="E",
        outcome=Outcome.SUCCESS,
        event_types=(kind,),
        participants=tuple(
            replace(one, requestor=requested, **access_point(node.address)) for one in human(user)
        ),
        purposes=purposes(user),
    )


def user_authorization(
    transaction: Coded, caller: Caller, outcome: Outcome, *, user: User | None
) -> AuditEvent:
    """A user was given a token or an assertion, or nobody was (ITI TF-2 3.71.5); its server tells it."""
    address = access_point(caller.node.address)
    server = Participant(user_id=process_id(), roles=(APPLICATION_ROLE,), **address)
    endpoint = ParticipantObject(
        object_id=caller.endpoint, id_type=URI, type_code=2, role=13, query=caller.endpoint.encode()
    )
    return AuditEvent(
        event_id=USER_AUTHENTICATION,
        action="E",
        outcome=outcome,
        event_types=(transaction,),
        participants=(server, *(replace(one, **address) for one in human(user))),
        objects=(endpoint,),
        purposes=purposes(user),
    )


def user_authentication_failure(*, claimed: str, node: Node, reason: str) -> AuditEvent:
    """A user assertion was not accepted (ITI-40); `claimed` is the name it claimed, or empty.

    Without a claimed name the node stands for the user. `reason` goes into the trail: a fault's name,
    never an assertion.
    """
    description = f"the claimed user was not authenticated: {reason}" if claimed else reason
    return AuditEvent(
        event_id=USER_AUTHENTICATION,
        action="E",
        outcome=Outcome.SERIOUS_FAILURE,
        event_types=(LOGIN,),
        participants=(
            Participant(
                user_id=claimed or node.subject or node.address,
                requestor=True,
                **access_point(node.address),
            ),
        ),
        outcome_description=description,
    )


def _alert(
    kind: Coded, outcome: Outcome, description: str, objects: tuple[ParticipantObject, ...] = ()
) -> AuditEvent:
    return AuditEvent(
        event_id=SECURITY_ALERT,
        action="E",
        outcome=outcome,
        event_types=(kind,),
        participants=(Participant(user_id=process_id(), **access_point(socket.gethostname())),),
        objects=objects,
        outcome_description=description,
    )


def node_authentication_failure(address: str, reason: str) -> AuditEvent:
    """A peer's TLS handshake, or its first words, were refused (ITI-19)."""
    node = ParticipantObject(
        object_id=address,
        id_type=NODE_ID,
        type_code=2,
        role=13,
        details=((ALERT_DESCRIPTION, reason.encode()),),
    )
    return _alert(NODE_AUTHENTICATION, Outcome.SERIOUS_FAILURE, reason, (node,))


def object_damaged(uri: str, outcome: Outcome, description: str) -> AuditEvent:
    """Kept bytes are not what was acknowledged; MINOR_FAILURE when they were repaired."""
    damaged = ParticipantObject(
        object_id=uri,
        id_type=URI,
        type_code=2,
        role=13,
        details=((ALERT_DESCRIPTION, description.encode()),),
    )
    return _alert(OBJECT_SECURITY_ATTRIBUTES_CHANGED, outcome, description, (damaged,))


def records_lost(number: int, reason: str) -> AuditEvent:
    """`number` audit records were given up; says so in their place."""
    return _alert(
        AUDIT_RECORDING_STOPPED, Outcome.MAJOR_FAILURE, f"{number} audit records were lost: {reason}"
    )


def node_changed(name: str, change: str, outcome: Outcome, *, by: str) -> AuditEvent:
    """The register of nodes is changed by `by`, who typed it; what becomes of the node `name`."""
    entry = ParticipantObject(
        object_id=name,
        id_type=NODE_ID,
        type_code=2,
        role=13,
        details=((ALERT_DESCRIPTION, change.encode()),),
    )
    alert = _alert(SECURITY_CONFIGURATION, outcome, f"node {name} {change}", (entry,))
    who = Participant(user_id=by, **access_point(socket.gethostname()))
    return replace(alert, participants=(who, *(replace(one, requestor=False) for one in alert.participants)))


def partition_given_up(partition: str, number: int) -> AuditEvent:
    """The audit repository gives up the records of a month, by retention."""
    return _alert(
        SECURITY_CONFIGURATION,
        Outcome.SUCCESS,
        f"retention gives up the {number} audit records that were received in {partition}; their head stays",
    )


def record_in_doubt(octets: int, digest: str) -> AuditEvent:
    """The audit repository ends its connections upon a record, by its length and SHA-256."""
    return _alert(
        AUDIT_RECORDING_STOPPED,
        Outcome.MINOR_FAILURE,
        f"the audit repository closes its connection upon a record of {octets} octets, SHA-256 {digest}",
    )


def record_set_aside(octets: int, digest: str) -> AuditEvent:
    """A record was set aside because the audit repository does not take it; says so in its place."""
    return _alert(
        AUDIT_RECORDING_STOPPED,
        Outcome.SERIOUS_FAILURE,
        f"an audit record of {octets} octets, SHA-256 {digest}, was set aside in the sender's folder "
        "audit-set-aside: the audit repository does not take it",
    )

"""Audit events for tests: one builder, and a source that says who writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from audit_repository.domain.sources import Sources
from shared.audit.events import (
    QUERY,
    AuditEvent,
    AuditSource,
    Outcome,
    ihe,
    patient_object,
    push_participants,
    query_object,
)
from shared.ebrim.model import Code
from shared.security.caller import Caller, Node, User
from shared.settings import ServiceSettings

PATIENT = "P0001^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
SOURCE = AuditSource(source_id="xdsi-test", enterprise_site_id="2.999.7", hostname="node.hub.example")
NODE = Node(address="192.0.2.17", subject="CN=viewer.north.example", fingerprint="ab" * 32)
CLINICIAN = User(
    name_id="u-778",
    issuer="https://idp.north.example",
    assertion_id="_a1",
    roles=(Code("RAD-PHYS", "2.999.40.1", "Radiologist"),),
    purposes=(Code("TREAT", "2.16.840.1.113883.5.8", "treatment"),),
)
#: Every node may write under every id.
SOURCES = Sources({}, of_the_community=lambda node: True, proves_nodes=False)
ITI18 = ihe("ITI-18", "Registry Stored Query")


class TestingSettings(ServiceSettings):
    """A service that exists in tests alone."""

    __test__ = False
    service = "testing"


def a_caller(user: User | None = CLINICIAN, **changes: Any) -> Caller:
    return Caller(
        **{"node": NODE, "endpoint": "https://registry.hub.example/xds/registry", "user": user} | changes
    )


def an_event(**changes: Any) -> AuditEvent:
    """A clinician's stored query, as the registry records it."""
    caller = changes.pop("caller", a_caller())
    described: dict[str, Any] = {
        "event_id": QUERY,
        "action": "E",
        "outcome": Outcome.SUCCESS,
        "event_types": (ITI18,),
        "participants": push_participants(caller, server=True),
        "objects": (
            patient_object(PATIENT),
            query_object(
                "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
                ITI18,
                b"<query:AdhocQueryRequest/>",
                details=(("QueryEncoding", b"UTF-8"),),
            ),
        ),
        "time": datetime.now(UTC),
    }
    return AuditEvent(**described | changes)

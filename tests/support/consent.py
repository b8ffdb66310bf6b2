"""Callers, resources and policies for tests about consent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shared.consent.decision import Resource
from shared.consent.policy import Effect, Policy, new_policy
from shared.ebrim.model import Code
from shared.security.caller import Caller, Node, User

PATIENT = "P0001^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
OTHER_PATIENT = "P0002^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
NOW = datetime(2030, 5, 4, 12, tzinfo=UTC)
ROLES = "2.999.40.1"
HL7_CONFIDENTIALITY = "2.16.840.1.113883.5.25"
NORMAL = f"N^^{HL7_CONFIDENTIALITY}"
VERY_RESTRICTED = f"V^^{HL7_CONFIDENTIALITY}"


def a_caller(
    *roles: str, organizations: tuple[str, ...] = (), purposes: tuple[str, ...] = (), node_alone: bool = False
) -> Caller:
    """A caller with these roles (codes of one system), organisations and purposes; or a node alone."""
    user = User(
        name_id="u-778",
        issuer="urn:idp",
        assertion_id="_1",
        roles=tuple(Code(role, ROLES) for role in roles),
        organization_ids=organizations,
        purposes=tuple(Code(purpose, "2.16.840.1.113883.5.8") for purpose in purposes),
    )
    node = Node(address="192.0.2.7", subject="CN=node")
    return Caller(node=node, endpoint="https://registry.example/xds", user=None if node_alone else user)


def a_document(*confidentiality: str, patient_id: str = PATIENT) -> Resource:
    """A document of the patient, of normal confidentiality unless codes are given."""
    return Resource(patient_id=patient_id, confidentiality=frozenset(confidentiality or (NORMAL,)))


def permit(**fields: Any) -> Policy:
    return new_policy(**{"patient_id": PATIENT, "effect": Effect.PERMIT} | fields)


def deny(**fields: Any) -> Policy:
    return new_policy(**{"patient_id": PATIENT, "effect": Effect.DENY} | fields)

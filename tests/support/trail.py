"""Audit messages as an auditor reads them, straight from the XML (PS3.15 A.5; ITI TF-2 3.20)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lxml import etree

SOURCE, DESTINATION = "110153", "110152"


@dataclass(frozen=True)
class Party:
    """One ActiveParticipant."""

    user_id: str
    process: str
    user_name: str
    requestor: bool
    roles: frozenset[str]
    address: str
    address_type: str

    @property
    def human(self) -> bool:
        """Whether it is neither source nor destination, but the user for whom they worked."""
        return not self.roles & {SOURCE, DESTINATION}


@dataclass(frozen=True)
class Told:
    """One audit message."""

    reporter: str
    event: str
    action: str
    outcome: int
    types: tuple[str, ...]
    description: str
    parties: tuple[Party, ...]
    patients: frozenset[str]
    objects: frozenset[str]
    purposes: tuple[str, ...]

    def party(self, role: str) -> Party:
        """The participant in this role."""
        (found,) = [one for one in self.parties if role in one.roles]
        return found

    @property
    def humans(self) -> tuple[str, ...]:
        """The users, as `alias<user@issuer>`."""
        return tuple(sorted(one.user_name for one in self.parties if one.human))


def told(message: etree._Element) -> Told:
    """Read a message."""
    identification = message.find("EventIdentification")
    assert identification is not None
    objects = message.findall("ParticipantObjectIdentification")
    patients = {one.get("ParticipantObjectID", "") for one in objects if _is_patient(one)}
    return Told(
        reporter=message.find("AuditSourceIdentification").get("AuditSourceID", ""),  # type: ignore[union-attr]
        event=_code(identification.find("EventID")),
        action=identification.get("EventActionCode", ""),
        outcome=int(identification.get("EventOutcomeIndicator", "-1")),
        types=tuple(map(_code, identification.findall("EventTypeCode"))),
        description=identification.findtext("EventOutcomeDescription", ""),
        parties=tuple(map(_party, message.findall("ActiveParticipant"))),
        patients=frozenset(patients),
        objects=frozenset(one.get("ParticipantObjectID", "") for one in objects if not _is_patient(one)),
        purposes=tuple(map(_code, identification.findall("PurposeOfUse"))),
    )


def of_transaction(messages: Iterable[Told], transaction: str, reporter: str) -> list[Told]:
    """What `reporter` tells of a transaction."""
    return [one for one in messages if transaction in one.types and one.reporter == reporter]


def _code(element: etree._Element | None) -> str:
    assert element is not None
    return element.get("csd-code", "")


def _is_patient(item: etree._Element) -> bool:
    return (item.get("ParticipantObjectTypeCode"), item.get("ParticipantObjectTypeCodeRole")) == ("1", "1")


def _party(participant: etree._Element) -> Party:
    return Party(
        user_id=participant.get("UserID", ""),
        process=participant.get("AlternativeUserID", ""),
        user_name=participant.get("UserName", ""),
        requestor=participant.get("UserIsRequestor") == "true",
        roles=frozenset(map(_code, participant.findall("RoleIDCode"))),
        address=participant.get("NetworkAccessPointID", ""),
        address_type=participant.get("NetworkAccessPointTypeCode", ""),
    )

"""The XML of an audit event (DICOM PS3.15 A.5.1, edition 2017c; reading also RFC 3881 and what lay between).

Writing is one pass of string templates and never fails on a value: characters that XML forbids become U+FFFD,
because a hostile name must not keep an event out of the trail. Base64 is of the exact bytes, in one line.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from shared.audit.events import (
    AuditEvent,
    AuditSource,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
)
from shared.xml import Element, XmlError, escape, escape_attribute, text
from shared.xml import parse as parse_xml

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")


# --- writing -----------------------------------------------------------------------------------------


def encode(event: AuditEvent, source: AuditSource) -> bytes:
    """One AuditMessage, UTF-8, without an XML declaration."""
    written = (
        f"<AuditMessage>{_event(event)}{_participants(event.participants)}"
        f"{_source(source)}{''.join(map(_object, event.objects))}</AuditMessage>"
    )
    try:
        octets = written.encode()
    except UnicodeEncodeError:
        return _FORBIDDEN.sub("\ufffd", written).encode()
    return octets if _allowed(octets) else _FORBIDDEN.sub("\ufffd", written).encode()


def size_of(value: str) -> int:
    """Octets that a value takes in an attribute, where it takes most."""
    return len(_FORBIDDEN.sub("\ufffd", escape_attribute(value)).encode())


def size_of_object(item: ParticipantObject) -> int:
    """Octets that an object takes."""
    return len(_FORBIDDEN.sub("\ufffd", _object(item)).encode())


def size_of_head(event: AuditEvent) -> int:
    """Octets that an event takes without its objects."""
    return len(_FORBIDDEN.sub("\ufffd", _event(event) + _participants(event.participants)).encode())


def _allowed(octets: bytes) -> bool:
    """Whether XML allows every character; a third of the price of the expression on text."""
    if len(octets.translate(None, _CONTROLS)) != len(octets):
        return False
    return octets.isascii() or (b"\xef\xbf\xbe" not in octets and b"\xef\xbf\xbf" not in octets)


def _event(event: AuditEvent) -> str:
    description = (
        f"<EventOutcomeDescription>{escape(event.outcome_description)}</EventOutcomeDescription>"
        if event.outcome_description
        else ""
    )
    return (
        f'<EventIdentification EventActionCode="{event.action}" EventDateTime="{_time(event.time)}"'
        f' EventOutcomeIndicator="{event.outcome.value}">{_coded("EventID", event.event_id)}'
        f"{''.join([_coded('EventTypeCode', code) for code in event.event_types])}{description}"
        f"{''.join([_coded('PurposeOfUse', code) for code in event.purposes])}</EventIdentification>"
    )


def _time(moment: datetime) -> str:
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"{moment.isoformat(timespec='microseconds')[:26]}Z"


# The same few codes appear in every event.
@lru_cache(maxsize=1024)
def _coded(name: str, coded: Coded) -> str:
    return (
        f'<{name} csd-code="{escape_attribute(coded.code)}" codeSystemName="{escape_attribute(coded.system)}"'
        f' originalText="{escape_attribute(coded.text)}"/>'
    )


# Users, endpoints and addresses come again with every request; patients do not, and are not kept here.
_kept = lru_cache(maxsize=4096)(escape_attribute)


def _optional(name: str, value: str) -> str:
    return f' {name}="{_kept(value)}"' if value else ""


def _number(name: str, value: int | None) -> str:
    return "" if value is None else f' {name}="{value}"'


@lru_cache(maxsize=1024)
def _participants(participants: tuple[Participant, ...]) -> str:
    return "".join(map(_participant, participants))


def _participant(participant: Participant) -> str:
    head = (
        f'<ActiveParticipant UserID="{_kept(participant.user_id)}"'
        f"{_optional('AlternativeUserID', participant.alternative_user_id)}"
        f"{_optional('UserName', participant.user_name)}"
        f' UserIsRequestor="{"true" if participant.requestor else "false"}"'
        f"{_optional('NetworkAccessPointID', participant.network_id)}"
        f"{_number('NetworkAccessPointTypeCode', participant.network_type)}"
    )
    if not participant.roles:
        return f"{head}/>"
    roles = "".join([_coded("RoleIDCode", role) for role in participant.roles])
    return f"{head}>{roles}</ActiveParticipant>"


@lru_cache(maxsize=16)
def _source(source: AuditSource) -> str:
    types = "".join(
        f'<AuditSourceTypeCode csd-code="{escape_attribute(code)}"/>' for code in source.type_codes
    )
    return (
        f'<AuditSourceIdentification AuditSourceID="{escape_attribute(source.source_id)}"'
        f"{_optional('AuditEnterpriseSiteID', source.enterprise_site_id)}>{types}</AuditSourceIdentification>"
    )


def _object(item: ParticipantObject) -> str:
    if item.query is not None:
        content = f"<ParticipantObjectQuery>{b64encode(item.query).decode()}</ParticipantObjectQuery>"
    elif item.name:
        content = f"<ParticipantObjectName>{escape(item.name)}</ParticipantObjectName>"
    else:
        content = ""
    return (
        f'<ParticipantObjectIdentification ParticipantObjectID="{escape_attribute(item.object_id)}"'
        f' ParticipantObjectTypeCode="{item.type_code}" ParticipantObjectTypeCodeRole="{item.role}"'
        f"{_number('ParticipantObjectDataLifeCycle', item.life_cycle)}>"
        f"{_coded('ParticipantObjectIDTypeCode', item.id_type)}{content}"
        f"{''.join([_detail(*detail) for detail in item.details])}{_description(item)}"
        "</ParticipantObjectIdentification>"
    )


def _detail(kind: str, value: bytes) -> str:
    return f'<ParticipantObjectDetail type="{_kept(kind)}" value="{b64encode(value).decode()}"/>'


def _description(item: ParticipantObject) -> str:
    if not item.sop_classes:
        return ""
    classes = "".join(
        f'<SOPClass UID="{escape_attribute(uid)}" NumberOfInstances="{number}"/>'
        for uid, number in item.sop_classes
    )
    return f"<ParticipantObjectDescription>{classes}</ParticipantObjectDescription>"


# --- reading -----------------------------------------------------------------------------------------


class AuditMessageError(ValueError):
    """The bytes are no audit message that can be understood; the text says why and shows no content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedAuditMessage:
    """An audit message of any sender, as far as this product has a place for it."""

    event: AuditEvent
    source: AuditSource


def parse(octets: bytes) -> ParsedAuditMessage:
    """Read an audit message of any edition.

    What every edition requires of an event (EventID, EventDateTime, EventOutcomeIndicator) must be there; all
    else is read where it is found: `csd-code` or `code`, `codeSystemName` or `codeSystem`, source types as
    text or attribute, object descriptions nested or flat, values that are not base64 as they stand.

    Raises
    ------
    AuditMessageError
        No well-formed XML, another root, or one of the three is absent or senseless.
    """
    try:
        root = parse_xml(octets)
    except XmlError as error:
        raise AuditMessageError(str(error)) from None
    if _local(str(root.tag)) != "AuditMessage":
        raise AuditMessageError("the root element is not AuditMessage")
    children = _children(root)
    return ParsedAuditMessage(event=_read_event(children), source=_read_source(children))


Children = dict[str, list[Element]]


# The same few names appear in every message.
@lru_cache(maxsize=256)
def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(element: Element) -> Children:
    """The element children by local name."""
    children: Children = {}
    for child in element:
        # That of a comment is a function.
        if isinstance(tag := child.tag, str):
            children.setdefault(_local(tag), []).append(child)
    return children


def _all(children: Children, name: str) -> Sequence[Element]:
    return children.get(name, ())


def _first(children: Children, name: str) -> Element | None:
    elements = children.get(name)
    return elements[0] if elements else None


def _token(value: str | None) -> str:
    return " ".join(value.split()) if value else ""


def _read_event(root: Children) -> AuditEvent:
    identification = _first(root, "EventIdentification")
    if identification is None:
        raise AuditMessageError("there is no EventIdentification")
    parts = _children(identification)
    event_id = _first(parts, "EventID")
    if event_id is None:
        raise AuditMessageError("there is no EventID")
    return AuditEvent(
        event_id=_read_coded(event_id),
        action=_token(identification.get("EventActionCode")),
        outcome=_read_outcome(identification.get("EventOutcomeIndicator")),
        event_types=tuple(map(_read_coded, _all(parts, "EventTypeCode"))),
        participants=tuple(map(_read_participant, _all(root, "ActiveParticipant"))),
        objects=tuple(map(_read_object, _all(root, "ParticipantObjectIdentification"))),
        outcome_description="".join(map(text, _all(parts, "EventOutcomeDescription"))),
        purposes=tuple(map(_read_coded, _all(parts, "PurposeOfUse"))),
        time=_read_time(identification.get("EventDateTime")),
    )


def _read_outcome(value: str | None) -> Outcome:
    try:
        return Outcome(int(_token(value)))
    except ValueError:
        raise AuditMessageError("EventOutcomeIndicator is none of 0, 4, 8, 12") from None


def _read_time(value: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(_token(value))
        # Senders without a zone exist; the trail is in UTC and the raw bytes keep what they said.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise AuditMessageError("EventDateTime is not an xsd:dateTime") from None


def _read_coded(element: Element) -> Coded:
    return _coded_of(
        element.get("csd-code") or element.get("code"),
        element.get("codeSystemName") or element.get("codeSystem"),
        element.get("originalText") or element.get("displayName"),
    )


# As in writing: codes, users and addresses come again with every message, patients do not.
@lru_cache(maxsize=1024)
def _coded_of(code: str | None, system: str | None, meaning: str | None) -> Coded:
    token = _token(code)
    return Coded(token, _token(system), _token(meaning) or token)


def _read_participant(element: Element) -> Participant:
    roles = _all(_children(element), "RoleIDCode") if len(element) else ()
    return _participant_of(tuple(element.items()), tuple(map(_read_coded, roles)))


@lru_cache(maxsize=1024)
def _participant_of(attributes: tuple[tuple[str, str], ...], roles: tuple[Coded, ...]) -> Participant:
    values = dict(attributes)
    return Participant(
        user_id=values.get("UserID", ""),
        alternative_user_id=values.get("AlternativeUserID", ""),
        user_name=values.get("UserName", ""),
        requestor=_token(values.get("UserIsRequestor")).lower() in ("true", "1"),
        roles=roles,
        network_id=_token(values.get("NetworkAccessPointID")),
        network_type=_read_number(values.get("NetworkAccessPointTypeCode")),
    )


# A handful of codes and versions come again with every message.
@lru_cache(maxsize=256)
def _read_number(value: str | None) -> int | None:
    digits = _token(value)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def _read_source(root: Children) -> AuditSource:
    element = _first(root, "AuditSourceIdentification")
    if element is None:
        return AuditSource(source_id="", type_codes=(), hostname="")
    types = _all(_children(element), "AuditSourceTypeCode")
    return _source_of(
        element.get("AuditSourceID"),
        element.get("AuditEnterpriseSiteID"),
        tuple([_read_coded(code).code or text(code) for code in types]),
    )


@lru_cache(maxsize=256)
def _source_of(source_id: str | None, site_id: str | None, types: tuple[str, ...]) -> AuditSource:
    return AuditSource(
        source_id=_token(source_id),
        enterprise_site_id=_token(site_id),
        type_codes=tuple(filter(None, types)),
        hostname="",
    )


def _read_object(element: Element) -> ParticipantObject:
    parts = _children(element)
    id_type = _first(parts, "ParticipantObjectIDTypeCode")
    query = _first(parts, "ParticipantObjectQuery")
    name = _first(parts, "ParticipantObjectName")
    return ParticipantObject(
        object_id=_token(element.get("ParticipantObjectID")),
        id_type=Coded("", "", "") if id_type is None else _read_coded(id_type),
        type_code=_read_number(element.get("ParticipantObjectTypeCode")) or 0,
        role=_read_number(element.get("ParticipantObjectTypeCodeRole")) or 0,
        life_cycle=_read_number(element.get("ParticipantObjectDataLifeCycle")),
        name="" if name is None else _token(text(name)),
        query=None if query is None else _bytes(text(query)),
        details=tuple(map(_read_detail, _all(parts, "ParticipantObjectDetail"))),
        sop_classes=tuple(_read_sop_classes(parts)),
    )


def _read_detail(element: Element) -> tuple[str, bytes]:
    return _token(element.get("type")), _bytes(element.get("value") or "")


def _bytes(value: str) -> bytes:
    try:
        return b64decode("".join(value.split()), validate=True)
    except (Base64Error, ValueError):
        return value.encode()


def _read_sop_classes(parts: Children) -> Iterator[tuple[str, int]]:
    nested = map(_children, _all(parts, "ParticipantObjectDescription"))
    for place in (parts, *nested):
        for sop_class in _all(place, "SOPClass"):
            yield _token(sop_class.get("UID")), _read_number(sop_class.get("NumberOfInstances")) or 0

"""AuditEvent of FHIR R4, for an audit message and back (RESTful ATNA; DICOM PS3.15 A.5).

The message stays what is kept: the resource is a view of it, and a resource that came by the FHIR feed is
read into the same values, so that both are searched, reported and compared alike.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, unquote

from shared.audit.dicom_xml import AuditMessageError, ParsedAuditMessage
from shared.audit.events import (
    EXPORT,
    IMPORT,
    PATIENT_RECORD,
    QUERY,
    AuditEvent,
    AuditSource,
    Coded,
    Outcome,
    Participant,
    ParticipantObject,
)

Resource = Mapping[str, Any]

_HL7: Final = "http://terminology.hl7.org/CodeSystem/"
REST: Final = f"{_HL7}audit-event-type"
INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
ENTITY_TYPE: Final = f"{_HL7}audit-entity-type"
ENTITY_ROLE: Final = f"{_HL7}object-role"
LIFECYCLE: Final = f"{_HL7}dicom-audit-lifecycle"
SOURCE_TYPE: Final = f"{_HL7}security-source-type"
URI: Final = "urn:ietf:rfc:3986"

#: codeSystemName of DICOM's messages, and the system that FHIR has for it.
_SYSTEMS: Final = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "IHE Transactions": "urn:ihe:event-type-code",
    "RFC-3881": "urn:ietf:rfc:3881",
}
_NAMES: Final = {system: name for name, system in _SYSTEMS.items()}
_OTHER_NAME: Final = "urn:xdsi:scheme:"
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_CX = re.compile(r"([^^]+)\^\^\^[^&^]*&([0-9.]+)&ISO")
_XUA_NAME = re.compile(r"([^<>]*)<(.+)@([^@]*)>")


def _numbers(names: str) -> Mapping[int, str]:
    return dict(enumerate(names.split(", "), start=1))


_ENTITY_TYPES = _numbers("Person, System Object, Organization, Other")
_ENTITY_ROLES = _numbers(
    "Patient, Location, Report, Domain Resource, Master file, User, List, Doctor, Subscriber, Guarantor, "
    "Security User Entity, Security User Group, Security Resource, Security Granularity Definition, "
    "Practitioner, Data Destination, Data Repository, Schedule, Customer, Job, Job Stream, Table, "
    "Routing Criteria, Query"
)
_SOURCE_TYPES = _numbers(
    "User Device, Data Interface, Web Server, Application Server, Database Server, Security Server, "
    "Network Device, Network Router, Other"
)
_OF_ACTION = {"E": QUERY, "R": EXPORT, "C": IMPORT, "U": PATIENT_RECORD, "D": PATIENT_RECORD}
_UNNAMED: Final = "not named in the record"
_SOP_CLASS: Final = "sopclass:"
_EVENT_ID = re.compile(r"1101(?:0\d|1[0-4])")


# --- of a message ------------------------------------------------------------------------------------


def resource_of(message: ParsedAuditMessage) -> dict[str, Any]:
    """The AuditEvent of a message, without an id."""
    event = message.event
    return _present(
        {
            "resourceType": "AuditEvent",
            "type": _coding(event.event_id),
            "subtype": [_coding(code) for code in event.event_types],
            "action": event.action if event.action in _OF_ACTION else "",
            "recorded": f"{event.time.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z",
            "outcome": str(int(event.outcome)),
            "outcomeDesc": event.outcome_description.strip(),
            "purposeOfEvent": [_concept(code) for code in event.purposes],
            "agent": [_agent(one) for one in event.participants] or [_agent(Participant(user_id=""))],
            "source": _source(message.source),
            "entity": [_entity(one) for one in event.objects],
        }
    )


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that say something: FHIR has no empty values."""
    return {name: value for name, value in members.items() if value not in ("", [], {}, None)}


def _coding(code: Coded) -> dict[str, Any]:
    return _present({"system": system_of(code.system), "code": code.code, "display": code.text})


def _numbered(system: str, names: Mapping[int, str], code: int) -> dict[str, Any]:
    return _present({"system": system, "code": str(code), "display": names.get(code, "")}) if code else {}


def _concept(code: Coded) -> dict[str, Any]:
    return {"coding": [_coding(code)]}


def system_of(name: str) -> str:
    """The system for a codeSystemName: an OID or a name."""
    if name in _SYSTEMS:
        return _SYSTEMS[name]
    if _OID.fullmatch(name):
        return f"urn:oid:{name}"
    if not name or _ABSOLUTE.fullmatch(name):
        return name
    return _OTHER_NAME + quote(name, safe="")


def _agent(one: Participant) -> dict[str, Any]:
    network = _present(
        {"address": one.network_id, "type": str(one.network_type) if one.network_type in range(1, 6) else ""}
    )
    return _present(
        {
            "type": _concept(one.roles[0]) if one.roles else None,
            "role": [_concept(role) for role in one.roles[1:]],
            "who": _who(one.user_id),
            "altId": one.alternative_user_id.strip(),
            "name": one.user_name.strip(),
            "requestor": one.requestor,
            "network": network,
        }
    )


def _who(user_id: str) -> dict[str, Any]:
    if user := _XUA_NAME.fullmatch(user_id):
        system = user[3] if _ABSOLUTE.fullmatch(user[3]) else ""
        return {"identifier": _present({"system": system, "value": user[2]}), "display": user_id}
    return {"identifier": {"value": user_id}} if user_id.strip() else {"display": _UNNAMED}


def _source(source: AuditSource) -> dict[str, Any]:
    types = [
        _numbered(SOURCE_TYPE, _SOURCE_TYPES, int(code)) if code.isdecimal() else {"code": code}
        for code in source.type_codes
    ]
    observer = {"identifier": {"value": source.source_id}} if source.source_id else {"display": _UNNAMED}
    return _present({"site": source.enterprise_site_id, "observer": observer, "type": types})


def _entity(one: ParticipantObject) -> dict[str, Any]:
    details = [_detail(kind, value) for kind, value in one.details]
    details += [{"type": _SOP_CLASS + uid, "valueString": str(number)} for uid, number in one.sop_classes]
    name = one.name.strip()
    return _present(
        {
            "what": _what(one),
            "type": _numbered(ENTITY_TYPE, _ENTITY_TYPES, one.type_code),
            "role": _numbered(ENTITY_ROLE, _ENTITY_ROLES, one.role),
            "lifecycle": _numbered(LIFECYCLE, {}, one.life_cycle or 0),
            "name": name if one.query is None else "",
            # A query has no name beside it (sev-1).
            "description": "" if one.query is None else name,
            "query": "" if not one.query else b64encode(one.query).decode(),
            "detail": details,
        }
    )


def _what(one: ParticipantObject) -> dict[str, Any]:
    if not one.object_id:
        return {}
    kind = _concept(one.id_type) if one.id_type.code else None
    if patient := _CX.fullmatch(one.object_id):
        identifier = {"type": kind, "system": f"urn:oid:{patient[2]}", "value": patient[1]}
    elif _OID.fullmatch(one.object_id):
        identifier = {"type": kind, "system": URI, "value": f"urn:oid:{one.object_id}"}
    else:
        identifier = {"type": kind, "value": one.object_id}
    is_a_patient = (one.type_code, one.role) == (1, 1)
    return _present({"type": "Patient" if is_a_patient else "", "identifier": _present(identifier)})


def _detail(kind: str, value: bytes) -> dict[str, str]:
    detail = {"type": kind or "unknown"}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable() and text == text.strip():
        return detail | {"valueString": text}
    return detail | {"valueBase64Binary": b64encode(value).decode()}


# --- of a resource -----------------------------------------------------------------------------------


def message_of_resource(resource: Resource) -> ParsedAuditMessage:
    """Read an AuditEvent that was found to be one (`shared.audit.structure`).

    Raises
    ------
    AuditMessageError
        It says when, what or how it ended in no way that an event can; the text shows no content.
    """
    action = str(resource.get("action", "E"))
    kind = coded(resource["type"])
    types = [coded(one) for one in resource.get("subtype", ())]
    if kind.system == REST:
        # What it was stands in the subtypes alone; where none is of DICOM, that has an event for each kind.
        event_id = next(filter(is_event_id, types), None)
        types, kind = (
            [kind, *(one for one in types if one is not event_id)],
            event_id or _OF_ACTION.get(action, QUERY),
        )
    return ParsedAuditMessage(
        event=AuditEvent(
            event_id=kind,
            action=action,
            outcome=_outcome(resource.get("outcome", "0")),
            event_types=tuple(types),
            participants=tuple(map(_participant, resource["agent"])),
            objects=tuple(map(_object, resource.get("entity", ()))),
            outcome_description=resource.get("outcomeDesc", ""),
            purposes=tuple(_purposes(resource)),
            time=_instant(resource["recorded"]),
        ),
        source=_observer(resource["source"]),
    )


def is_event_id(code: Coded) -> bool:
    """Whether a code is one of DICOM's kinds of events (PS3.16 CID 400)."""
    return code.system == "DCM" and _EVENT_ID.fullmatch(code.code) is not None


def coded(coding: Resource) -> Coded:
    """A Coding as messages have it."""
    code = str(coding.get("code", ""))
    return Coded(code, name_of(coding.get("system", "")), str(coding.get("display", "")) or code)


def _of_concept(concept: Resource) -> Coded:
    codings = concept.get("coding", ())
    return coded(codings[0]) if codings else Coded("", "", concept.get("text", ""))


def name_of(system: str) -> str:
    """The codeSystemName for a system; undoes `system_of`."""
    if system in _NAMES:
        return _NAMES[system]
    if system.startswith(_OTHER_NAME):
        return unquote(system.removeprefix(_OTHER_NAME))
    return system.removeprefix("urn:oid:") if _OID.fullmatch(system.removeprefix("urn:oid:")) else system


def _purposes(resource: Resource) -> Iterable[Coded]:
    concepts = [*resource.get("purposeOfEvent", ())]
    for agent in resource["agent"]:
        concepts += agent.get("purposeOfUse", ())
    return dict.fromkeys(map(_of_concept, concepts))


def _outcome(code: str) -> Outcome:
    try:
        return Outcome(int(code))
    except ValueError:
        raise AuditMessageError("outcome is none of 0, 4, 8, 12") from None


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise AuditMessageError("recorded is no instant: a date, a time and a zone")


def _participant(agent: Resource) -> Participant:
    who = agent.get("who", {})
    roles = [*([agent["type"]] if "type" in agent else ()), *agent.get("role", ())]
    network = agent.get("network", {})
    name = str(agent.get("name", ""))
    return Participant(
        user_id=_user_id(who, name),
        alternative_user_id=str(agent.get("altId", "")),
        user_name=name or _named_user(who),
        requestor=agent["requestor"],
        roles=tuple(map(_of_concept, roles)),
        network_id=str(network.get("address", "")),
        network_type=_number({"code": network.get("type", "")}),
    )


def _user_id(who: Resource, name: str) -> str:
    display = str(who.get("display", ""))
    if display == _UNNAMED:
        return ""
    if _XUA_NAME.fullmatch(display):
        return display
    identified = _named_user(who) or str(who.get("identifier", {}).get("value", ""))
    return identified or str(who.get("reference", "")) or display or name


def _named_user(who: Resource) -> str:
    """Whom an issuer vouches for, as `<user@issuer>` (ITI TF-2 3.40.4.2); nothing for whom nobody does."""
    if _XUA_NAME.fullmatch(str(who.get("display", ""))):
        return ""
    identifier = who.get("identifier", {})
    system, value = identifier.get("system", ""), identifier.get("value", "")
    return f"<{value}@{system}>" if system and value and who.get("type") != "Device" else ""


def _observer(source: Resource) -> AuditSource:
    observer = source["observer"]
    identifier = observer.get("identifier", {}).get("value", "") or observer.get("reference", "")
    display = observer.get("display", "")
    return AuditSource(
        source_id=str(identifier or ("" if display == _UNNAMED else display)),
        enterprise_site_id=str(source.get("site", "")),
        type_codes=tuple(str(one["code"]) for one in source.get("type", ()) if "code" in one),
        hostname="",
    )


def _object(entity: Resource) -> ParticipantObject:
    what = entity.get("what", {})
    identifier = what.get("identifier", {})
    details = entity.get("detail", ())
    return ParticipantObject(
        object_id=_object_id(what),
        id_type=_of_concept(identifier["type"]) if "type" in identifier else Coded("", "", ""),
        type_code=_number(entity.get("type", {})) or (4 if _is_request_id(entity) else 2),
        role=_number(entity.get("role", {})) or 0,
        life_cycle=_number(entity.get("lifecycle", {})),
        name=str(entity.get("name", "") or entity.get("description", "")),
        query=_octets(entity["query"]) if "query" in entity else None,
        details=tuple(
            (one["type"], _value(one)) for one in details if not one["type"].startswith(_SOP_CLASS)
        ),
        sop_classes=tuple(
            (one["type"].removeprefix(_SOP_CLASS), int(one["valueString"]))
            for one in details
            if one["type"].startswith(_SOP_CLASS) and one.get("valueString", "").isdecimal()
        ),
    )


def _is_request_id(entity: Resource) -> bool:
    return str(entity.get("type", {}).get("code", "")) == "XrequestId"


def _object_id(what: Resource) -> str:
    identifier = what.get("identifier", {})
    system, value = str(identifier.get("system", "")), str(identifier.get("value", ""))
    oid = system.removeprefix("urn:oid:")
    if value and oid != system and _OID.fullmatch(oid):
        return f"{value}^^^&{oid}&ISO"
    if system == URI:
        return value.removeprefix("urn:oid:")
    return value or str(what.get("reference", "")) or str(what.get("display", ""))


def _number(coding: Resource) -> int | None:
    code = str(coding.get("code", ""))
    return int(code) if code.isascii() and code.isdecimal() and len(code) < 10 else None


def _value(detail: Resource) -> bytes:
    if "valueBase64Binary" in detail:
        return _octets(detail["valueBase64Binary"])
    return str(detail.get("valueString", "")).encode()


def _octets(value: str) -> bytes:
    try:
        return b64decode("".join(value.split()), validate=True)
    except (Base64Error, ValueError):
        return value.encode()

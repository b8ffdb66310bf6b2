"""Audit messages (DICOM PS3.15 A.5; ITI TF-2 3.20, and 3.x.5.1 of each transaction), bare or in syslog."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from conformance.audit_events import BY_NUMBER, EVENTS, ROLES, AuditedTransaction
from conformance.findings import Finding
from conformance.identifiers import OID, UUID, wrong_cx
from conformance.judgement import Judgement
from conformance.readers.source import MOST_HELD, Source
from conformance.readers.xml import Element, NotXml, XmlReader, local, place, text
from conformance.requirements import finding
from conformance.rules.dicom import UID

_SYSLOG: Final = re.compile(
    rb"(?:(?P<length>\d{1,9}) )?<(?P<priority>\d{1,3})>(?P<version>\d+) (?P<time>\S+) (?P<host>\S+)"
    rb" (?P<app>\S+) (?P<process>\S+) (?P<id>\S+) (?P<data>-|(?:\[[^\]]*\])+) ?(?:\xef\xbb\xbf)?"
)
_TIMESTAMP: Final = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII
)
_DATE_TIME: Final = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_ORDER: Final = (
    "EventIdentification", "ActiveParticipant", "AuditSourceIdentification",
    "ParticipantObjectIdentification",
)  # fmt: skip
_EVENT_ORDER: Final = ("EventID", "EventTypeCode", "EventOutcomeDescription", "PurposeOfUse")
_OBJECT_ORDER: Final = (
    "ParticipantObjectIDTypeCode", "ParticipantObjectName", "ParticipantObjectQuery",
    "ParticipantObjectDetail", "ParticipantObjectDescription",
)  # fmt: skip
_CODED: Final = frozenset(
    {"EventID", "EventTypeCode", "PurposeOfUse", "RoleIDCode", "ParticipantObjectIDTypeCode", "MediaType"}
)
_SMALL: Final = re.compile(r"\d{1,2}\Z", re.ASCII)
_URI: Final = re.compile(r"https?://", re.IGNORECASE)


def judged(source: Source) -> Judgement:
    """An audit message, alone or in frames of syslog."""
    judgement = Judgement("audit message")
    judgement.findings = _messages(source, judgement)
    return judgement


def _messages(source: Source, judgement: Judgement) -> Iterator[Finding]:
    octets = source.read(0, MOST_HELD).removeprefix(b"\xef\xbb\xbf").lstrip()
    if octets.startswith((b"<A", b"<?", b"<!")):
        yield from _message(octets, judgement)
        return
    while octets.strip():
        frame = _SYSLOG.match(octets)
        if frame is None:
            yield finding("AUDIT-060", "syslog", "no header of RFC 5424", octets[:40].decode("latin_1"))
            return
        yield from _header(frame)
        end = len(octets)
        if frame["length"] is not None:
            end = len(frame["length"]) + 1 + int(frame["length"])
            if end > len(octets):
                yield finding("AUDIT-061", "syslog MSG-LEN", f"{len(octets)} bytes", frame["length"].decode())
        yield from _message(octets[frame.end() : end], judgement)
        octets = octets[end:]


def _header(frame: re.Match[bytes]) -> Iterator[Finding]:
    def shown(name: str) -> str:
        return frame[name].decode("latin_1")

    if frame["priority"] not in (b"85", b"84"):
        yield finding("AUDIT-062", "syslog PRI", "neither 85 nor 84", shown("priority"))
    if not _TIMESTAMP.match(frame["time"]):
        yield finding("AUDIT-063", "syslog TIMESTAMP", "not of RFC 3339", shown("time"))
    if frame["id"] not in (b"IHE+RFC-3881", b"DICOM+RFC3881"):
        yield finding("AUDIT-064", "syslog MSGID", "another", shown("id"))
    if len(frame["app"]) > 48 or len(frame["process"]) > 128 or len(frame["host"]) > 255:
        yield finding("AUDIT-065", "syslog header", "a field is too long")


def _message(octets: bytes, judgement: Judgement) -> Iterator[Finding]:
    reader = XmlReader()
    try:
        list(reader.feed(octets))
        list(reader.close())
    except NotXml as error:
        at, _, wrong = str(error).partition(": ")
        yield finding("AUDIT-001", at, wrong)
        return
    root = reader.root
    if root is None:
        return
    if root.tag != "AuditMessage":
        yield finding("AUDIT-001", place(root), "another element", str(root.tag))
        return
    judgement.title = f"audit message ({_name(root)})"
    yield from message(root)


def _name(root: Element) -> str:
    types = [one.get("csd-code") or "" for one in root.iterfind("EventIdentification/EventTypeCode")]
    event = root.find("EventIdentification/EventID")
    return " ".join(types) or ("" if event is None else event.get("csd-code") or "")


def message(root: Element) -> Iterator[Finding]:
    """An AuditMessage."""
    yield from _ordered(root, _ORDER, "AUDIT-002")
    for name in ("EventIdentification", "AuditSourceIdentification"):
        if len(root.findall(name)) != 1:
            yield finding("AUDIT-002", place(root), f"{len(root.findall(name))} times {name}")
    if root.find("ActiveParticipant") is None:
        yield finding("AUDIT-002", place(root), "no ActiveParticipant")
    for one in root.iter():
        if local(one) in _CODED:
            yield from _code(one)
    for event in root.iterfind("EventIdentification"):
        yield from _event(event)
    yield from _participants(root)
    for source in root.iterfind("AuditSourceIdentification"):
        yield from _source(source)
    for one in root.iterfind("ParticipantObjectIdentification"):
        yield from _object(one)
    yield from _patients(root)
    for type in root.iterfind("EventIdentification/EventTypeCode"):
        if transaction := BY_NUMBER.get(type.get("csd-code") or ""):
            yield from _transaction(root, type, transaction)
            break
    else:
        yield from _node_event(root)


def _ordered(element: Element, order: tuple[str, ...], id: str) -> Iterator[Finding]:
    names = [local(child) for child in element]
    positions = [order.index(name) for name in names if name in order]
    unknown = [name for name in names if name not in order]
    if unknown or positions != sorted(positions):
        wrong = "other elements, or another order"
        yield finding(id, place(element), wrong, " ".join(dict.fromkeys(names)), right=" ".join(order))


def _code(one: Element) -> Iterator[Finding]:
    if one.get("code") is not None or one.get("codeSystem") is not None:
        yield finding("AUDIT-007", place(one), "the attributes of RFC 3881", one.get("code") or "")
        return
    for name in ("csd-code", "codeSystemName", "originalText"):
        if not one.get(name):
            yield finding("AUDIT-006", place(one, f"@{name}"), "absent")


def _event(event: Element) -> Iterator[Finding]:
    yield from _ordered(event, _EVENT_ORDER, "AUDIT-008")
    action, moment = event.get("EventActionCode"), event.get("EventDateTime") or ""
    if action is not None and action not in ("C", "R", "U", "D", "E"):
        yield finding("AUDIT-003", place(event, "@EventActionCode"), "another value", action)
    if not _DATE_TIME.match(moment):
        yield finding("AUDIT-004", place(event, "@EventDateTime"), "absent, or without zone", moment)
    outcome = event.get("EventOutcomeIndicator") or ""
    if outcome not in ("0", "4", "8", "12"):
        yield finding("AUDIT-005", place(event, "@EventOutcomeIndicator"), "another value", outcome)
    ids = event.findall("EventID")
    if len(ids) != 1:
        yield finding("AUDIT-024", place(event), f"{len(ids)} EventIDs")
    for one in ids:
        is_of_dicom = one.get("csd-code") in EVENTS and one.get("codeSystemName") == "DCM"
        if not is_of_dicom and not (one.get("csd-code") or "").startswith("IHE"):
            yield finding("AUDIT-024", place(one), "no event of the table", one.get("csd-code") or "")
    for one in event.iterfind("EventTypeCode"):
        if one.get("csd-code") in BY_NUMBER and one.get("codeSystemName") != "IHE Transactions":
            value = one.get("codeSystemName") or ""
            yield finding("AUDIT-025", place(one, "@codeSystemName"), "another system", value)


def _participants(root: Element) -> Iterator[Finding]:
    requestors = 0
    for one in root.iterfind("ActiveParticipant"):
        if not one.get("UserID"):
            yield finding("AUDIT-009", place(one, "@UserID"), "absent")
        requestor = one.get("UserIsRequestor")
        if requestor not in ("true", "false", "1", "0"):
            yield finding("AUDIT-010", place(one, "@UserIsRequestor"), "absent", requestor or "")
        requestors += requestor in ("true", "1")
        type, id = one.get("NetworkAccessPointTypeCode"), one.get("NetworkAccessPointID")
        if (type is None) != (id is None) or type not in (None, "1", "2", "3", "4", "5"):
            yield finding("AUDIT-012", place(one, "@NetworkAccessPointTypeCode"), "another value", type or "")
    if requestors > 1:
        yield finding("AUDIT-011", place(root, "ActiveParticipant"), f"{requestors} requestors")


def _source(source: Element) -> Iterator[Finding]:
    if not source.get("AuditSourceID"):
        yield finding("AUDIT-013", place(source, "@AuditSourceID"), "absent")
    for one in source.iterfind("AuditSourceTypeCode"):
        code = one.get("csd-code") or ""
        if not code or (code not in "123456789" and not one.get("codeSystemName")):
            yield finding("AUDIT-014", place(one), "no csd-code, or a foreign one without its system", code)


def _object(one: Element) -> Iterator[Finding]:
    yield from _ordered(one, _OBJECT_ORDER, "AUDIT-020")
    for name, most in (
        ("ParticipantObjectTypeCode", 4),
        ("ParticipantObjectTypeCodeRole", 26),
        ("ParticipantObjectDataLifeCycle", 15),
    ):
        value = one.get(name)
        if value is not None and (not _SMALL.match(value) or not 1 <= int(value) <= most):
            yield finding("AUDIT-015", place(one, f"@{name}"), "no value of the list", value)
    if one.find("ParticipantObjectIDTypeCode") is None:
        yield finding("AUDIT-016", place(one, "ParticipantObjectIDTypeCode"), "absent")
    query = one.find("ParticipantObjectQuery")
    if query is not None and one.find("ParticipantObjectName") is not None:
        yield finding("AUDIT-017", place(one), "Name and Query")
    if query is not None and decoded(text(query)) is None:
        yield finding("AUDIT-018", place(query), "no base64 in one line", text(query))
    for detail in one.iterfind("ParticipantObjectDetail"):
        if not detail.get("type") or decoded(detail.get("value") or "") is None:
            yield finding("AUDIT-019", place(detail), "no type, or no base64", detail.get("value") or "")


def decoded(value: str) -> bytes | None:
    """What base64 stands for; None when it is none, or is wrapped."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _of_role(root: Element, type: str, role: str) -> list[Element]:
    return [
        one
        for one in root.iterfind("ParticipantObjectIdentification")
        if (one.get("ParticipantObjectTypeCode"), one.get("ParticipantObjectTypeCodeRole")) == (type, role)
    ]


def _patients(root: Element) -> Iterator[Finding]:
    patients = _of_role(root, "1", "1")
    ids = {one.get("ParticipantObjectID") or "" for one in patients}
    if len(ids) > 1:
        yield finding("AUDIT-023", place(patients[1]), f"{len(ids)} patients", " ".join(sorted(ids)))
    for one in patients:
        if wrong := wrong_cx(one.get("ParticipantObjectID") or ""):
            yield finding(
                "AUDIT-022", place(one, "@ParticipantObjectID"), wrong, one.get("ParticipantObjectID")
            )
        code = one.find("ParticipantObjectIDTypeCode")
        if code is not None and code.get("csd-code") != "2":
            yield finding("AUDIT-044", place(code), "not Patient Number", code.get("csd-code") or "")
        if one.find("ParticipantObjectQuery") is not None:
            yield finding("AUDIT-017", place(one), "a Query of a patient")


# --- records of transactions -------------------------------------------------------------------------


def _systems(root: Element, role: str) -> list[Element]:
    return [
        one
        for one in root.iterfind("ActiveParticipant")
        if any(code.get("csd-code") == role for code in one.iterfind("RoleIDCode"))
    ]


def _transaction(root: Element, type: Element, transaction: AuditedTransaction) -> Iterator[Finding]:
    event = root.find("EventIdentification")
    id = root.find("EventIdentification/EventID")
    assert event is not None
    code, action = "" if id is None else id.get("csd-code") or "", event.get("EventActionCode") or ""
    if (code, action) not in transaction.events:
        right = " or ".join(" ".join(pair) for pair in sorted(transaction.events))
        wrong = f"not the event of {transaction.number}"
        yield finding("AUDIT-030", place(event), wrong, f"{code} {action}", right=right)
    ends = {name: _systems(root, role) for name, role in ROLES.items()}
    for name, id_of in (("source", "AUDIT-031"), ("destination", "AUDIT-032")):
        if len(ends[name]) != 1:
            wrong = f"{len(ends[name])} participants of the role {ROLES[name]}"
            yield finding(id_of, place(root, "ActiveParticipant"), wrong)
    systems = [*ends["source"], *ends["destination"]]
    for one in systems:
        if not one.get("NetworkAccessPointID"):
            yield finding("AUDIT-033", place(one, "@NetworkAccessPointID"), "absent")
    processes = [one for one in systems if one.get("AlternativeUserID")]
    if len(systems) == 2 and len(processes) != 1:
        wrong = f"a process id at {len(processes)} of the two systems"
        yield finding("AUDIT-034", place(root, "ActiveParticipant/@AlternativeUserID"), wrong)
    yield from _directions(ends, transaction)
    yield from _objects(root, type, transaction)


def _directions(ends: dict[str, list[Element]], transaction: AuditedTransaction) -> Iterator[Finding]:
    server = "source" if transaction.pattern == "pull" else "destination"
    client = "destination" if server == "source" else "source"
    for one in ends[server]:
        others = ends[client]
        if transaction.by_message:
            continue
        if not _URI.match(one.get("UserID") or "") and any(
            _URI.match(each.get("UserID") or "") for each in others
        ):
            wrong = f"the {server} is not the server, whose endpoint the {client} names"
            yield finding("AUDIT-041", place(one, "@UserID"), wrong, one.get("UserID") or "")
    if transaction.by_message:
        for one in (*ends["source"], *ends["destination"]):
            if "|" not in (one.get("UserID") or ""):
                yield finding(
                    "AUDIT-042", place(one, "@UserID"), "not facility|application", one.get("UserID")
                )


def _objects(root: Element, type: Element, transaction: AuditedTransaction) -> Iterator[Finding]:
    at = place(root, "ParticipantObjectIdentification")
    number = transaction.number
    event = root.find("EventIdentification")
    outcome = "" if event is None else event.get("EventOutcomeIndicator")
    for name in transaction.objects:
        objects = _of_kind(root, name)
        if not objects and outcome == "0":
            yield finding("AUDIT-035", at, f"no {_NAMES[name]} in a record of {number}")
        for one in objects:
            yield from _of_transaction(one, name, number)
    if transaction.pattern == "feed":
        label = "II" if number == "ITI-44" else "MSH-10"
        for one in _of_kind(root, "patient"):
            if not _details(one, label):
                yield finding("AUDIT-040", place(one), f"no Detail {label}")
    if number in ("ITI-18", "ITI-38", "ITI-51"):
        for one in _of_kind(root, "query"):
            if not _details(one, "QueryEncoding"):
                yield finding("AUDIT-037", place(one), "no Detail QueryEncoding")
            code = one.find("ParticipantObjectIDTypeCode")
            if code is not None and code.get("csd-code") != type.get("csd-code"):
                yield finding("AUDIT-038", place(code), "not the transaction", code.get("csd-code") or "")
            if not UUID.match(one.get("ParticipantObjectID") or ""):
                value = one.get("ParticipantObjectID") or ""
                yield finding("AUDIT-038", place(one, "@ParticipantObjectID"), "no id of a query", value)
            if one.find("ParticipantObjectQuery") is None:
                yield finding("AUDIT-038", place(one), "no Query")


_NAMES: Final = {
    "patient": "patient (1, 1)",
    "set": "submission set (2, 20)",
    "query": "query (2, 24)",
    "document": "document (2, 3)",
    "study": "study (2, 3, 110180)",
}
_KINDS: Final = {"patient": ("1", "1"), "set": ("2", "20"), "query": ("2", "24")}


def _of_kind(root: Element, name: str) -> list[Element]:
    if name in _KINDS:
        return _of_role(root, *_KINDS[name])
    return _of_role(root, "2", "3")


def _details(one: Element, *types: str) -> list[str]:
    lowered = {type.lower() for type in types}
    return [
        detail.get("value") or ""
        for detail in one.iterfind("ParticipantObjectDetail")
        if (detail.get("type") or "").lower() in lowered
    ]


def _of_transaction(one: Element, name: str, number: str) -> Iterator[Finding]:
    id = one.get("ParticipantObjectID") or ""
    code = one.find("ParticipantObjectIDTypeCode")
    type = "" if code is None else code.get("csd-code") or ""
    if name == "set":
        if not OID.match(id):
            yield finding("AUDIT-036", place(one, "@ParticipantObjectID"), "no uniqueId", id)
    elif name == "document":
        if type != "9":
            yield finding("AUDIT-039", place(one, "ParticipantObjectIDTypeCode"), "not Report Number", type)
        if not _details(one, "Repository Unique Id"):
            yield finding("AUDIT-039", place(one), "no Detail Repository Unique Id")
    elif name == "study" and type == "110180" and not UID.match(id):
        requirement = "AUDIT-046" if id == "unknown" else "AUDIT-043"
        yield finding(requirement, place(one, "@ParticipantObjectID"), "no Study Instance UID", id)
    home = "urn:ihe:iti:xca:2010:homeCommunityId"
    if number in ("ITI-43", "ITI-39") and _details(one, home):
        yield finding("AUDIT-045", place(one), "the Detail of queries", home, right="ihe:homeCommunityID")
    if number in ("ITI-18", "ITI-38", "ITI-51") and _details(one, "ihe:homeCommunityID"):
        yield finding("AUDIT-045", place(one), "the Detail of retrievals", "ihe:homeCommunityID", right=home)


# --- events of a node --------------------------------------------------------------------------------


def _node_event(root: Element) -> Iterator[Finding]:
    id = root.find("EventIdentification/EventID")
    code = "" if id is None else id.get("csd-code") or ""
    types = {one.get("csd-code") for one in root.iterfind("EventIdentification/EventTypeCode")}
    event = place(root, "EventIdentification")
    action = root.find("EventIdentification")
    stated = "" if action is None else action.get("EventActionCode") or ""
    if code == "110100":
        if not types & {"110120", "110121"}:
            yield finding("AUDIT-050", event, "neither start nor stop", " ".join(map(str, types)))
        if not _systems(root, "110150"):
            yield finding("AUDIT-050", place(root, "ActiveParticipant"), "no application (110150)")
    elif code == "110101":
        if stated != "R":
            yield finding("AUDIT-051", event, "another action than R", stated)
        if not _of_role(root, "2", "13"):
            yield finding("AUDIT-051", place(root), "no log (2, 13)")
    elif code == "110113" and not any(str(type).startswith("1101") for type in types):
        yield finding("AUDIT-052", event, "a security alert without its kind", " ".join(map(str, types)))
    elif code == "110114" and (stated != "E" or not types):
        yield finding("AUDIT-053", event, "no action E, or no kind", stated)

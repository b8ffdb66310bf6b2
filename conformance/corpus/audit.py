"""Audit messages, and what can be wrong with them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from conformance.corpus.example import Example, mutated
from conformance.corpus.metadata import Change, encode, swap

KIND: Final = "audit-message"
_SERVER: Final = "https://registry.example.org/xds/registry"
_PATIENT: Final = "P-1^^^&amp;1.3.6.1.4.1.21367.13.20.1000&amp;ISO"


def base64(value: str) -> str:
    """Text as records hold it."""
    return b64encode(value.encode()).decode()


def _coded(name: str, code: str, system: str, text: str) -> str:
    return f'<{name} csd-code="{code}" codeSystemName="{system}" originalText="{text}"/>'


def _participant(user: str, role: str, *, process: str = "", requestor: str = "false") -> str:
    id = f' AlternativeUserID="{process}"' if process else ""
    return (
        f'<ActiveParticipant UserID="{user}"{id} UserIsRequestor="{requestor}"'
        ' NetworkAccessPointID="192.0.2.17" NetworkAccessPointTypeCode="2">'
        f"{_coded('RoleIDCode', role, 'DCM', 'Role ID')}</ActiveParticipant>"
    )


def _object(id: str, type: str, role: str, code: str, inside: str = "") -> str:
    return (
        f'<ParticipantObjectIdentification ParticipantObjectID="{id}" ParticipantObjectTypeCode="{type}"'
        f' ParticipantObjectTypeCodeRole="{role}">{code}{inside}</ParticipantObjectIdentification>'
    )


def detail(type: str, value: str) -> str:
    """A Detail."""
    return f'<ParticipantObjectDetail type="{type}" value="{base64(value)}"/>'


def patient(inside: str = "") -> str:
    """The patient object."""
    number = _coded("ParticipantObjectIDTypeCode", "2", "RFC-3881", "Patient Number")
    return _object(_PATIENT, "1", "1", number, inside)


def message(event: str, action: str, type: str, participants: str, objects: str) -> str:
    """An AuditMessage."""
    return (
        f'<AuditMessage><EventIdentification EventActionCode="{action}"'
        ' EventDateTime="2026-03-01T09:15:00.5Z" EventOutcomeIndicator="0">'
        f"{_coded('EventID', event, 'DCM', 'Event')}{type}</EventIdentification>{participants}"
        '<AuditSourceIdentification AuditSourceID="xds"><AuditSourceTypeCode csd-code="4"/>'
        f"</AuditSourceIdentification>{objects}</AuditMessage>"
    )


def transaction(number: str) -> str:
    """The EventTypeCode of a transaction."""
    return _coded("EventTypeCode", number, "IHE Transactions", "Transaction")


def _client_to_server() -> str:
    return _participant("CN=viewer", "110153", process="4711", requestor="true") + _participant(
        _SERVER, "110152"
    )


def query() -> str:
    """A query, recorded by who asks."""
    object = _object(
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
        "2",
        "24",
        _coded("ParticipantObjectIDTypeCode", "ITI-18", "IHE Transactions", "Registry Stored Query"),
        f"<ParticipantObjectQuery>{base64('<q/>')}</ParticipantObjectQuery>"
        + detail("QueryEncoding", "UTF-8"),
    )
    return message("110112", "E", transaction("ITI-18"), _client_to_server(), patient() + object)


def submission() -> str:
    """A submission, recorded by who sends it."""
    object = _object(
        "2.25.2001",
        "2",
        "20",
        _coded(
            "ParticipantObjectIDTypeCode",
            "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd",
            "IHE XDS Metadata",
            "submission set classificationNode",
        ),
    )
    return message("110106", "R", transaction("ITI-41"), _client_to_server(), patient() + object)


def retrieval() -> str:
    """A retrieval, recorded by who asks: the server is the source."""
    ends = _participant(_SERVER, "110153") + _participant(
        "CN=viewer", "110152", process="4711", requestor="true"
    )
    document = _object(
        "2.25.1001",
        "2",
        "3",
        _coded("ParticipantObjectIDTypeCode", "9", "RFC-3881", "Report Number"),
        detail("Repository Unique Id", "1.2.3.77") + detail("ihe:homeCommunityID", "urn:oid:1.2.3.900"),
    )
    return message("110107", "C", transaction("ITI-43"), ends, patient() + document)


def images() -> str:
    """A retrieval of images, recorded by the source."""
    ends = _participant(_SERVER, "110153", process="4711") + _participant(
        "CN=viewer", "110152", requestor="true"
    )
    study = _object(
        "2.25.500", "2", "3", _coded("ParticipantObjectIDTypeCode", "110180", "DCM", "Study Instance UID")
    )
    return message("110104", "R", transaction("RAD-69"), ends, patient() + study)


def feed() -> str:
    """A feed of HL7 v2, recorded by who receives it."""
    ends = _participant("HOSPITAL|ADT", "110153", requestor="true") + _participant(
        "HIE|XDS", "110152", process="4711"
    )
    return message("110110", "C", transaction("ITI-8"), ends, patient(detail("MSH-10", "42")))


def _node(event: str, action: str, type: str, role: str, objects: str = "") -> str:
    code = _coded("EventTypeCode", type, "DCM", "Kind") if type else ""
    return message(event, action, code, _participant("xds", role), objects)


def frame(body: str) -> str:
    """A message in a frame of syslog over TLS."""
    line = f"<85>1 2026-03-01T09:15:01.250Z host.example.org xds 4711 IHE+RFC-3881 - {body}"
    return f"{len(line.encode())} {line}"


_TIME: Final = "2026-03-01T09:15:00.5Z"
_QUERY: Final[dict[str, tuple[str, Change]]] = {
    "no XML": ("AUDIT-001", swap("</AuditMessage>", "</Audit>")),
    "a namespace": ("AUDIT-001", swap("<AuditMessage>", '<AuditMessage xmlns="urn:x">')),
    "the source before the participants": (
        "AUDIT-002",
        lambda document: document.__setitem__(0, _source_first(document[0])),
    ),
    "no participant": ("AUDIT-002", swap(_client_to_server(), "")),
    "an unknown action": ("AUDIT-003", swap('EventActionCode="E"', 'EventActionCode="Q"')),
    "a time without zone": ("AUDIT-004", swap(_TIME, _TIME[:-1])),
    "an unknown outcome": ("AUDIT-005", swap('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"')),
    "a code without originalText": ("AUDIT-006", swap(' originalText="Event"', "")),
    "the attributes of RFC 3881": (
        "AUDIT-007",
        swap('csd-code="110112" codeSystemName', 'code="110112" codeSystemName'),
    ),
    "PurposeOfUse before EventTypeCode": (
        "AUDIT-008",
        swap("<EventTypeCode", _coded("PurposeOfUse", "TREAT", "1.2.3", "treatment") + "<EventTypeCode"),
    ),
    "no UserID": ("AUDIT-009", swap('UserID="CN=viewer" ', "")),
    "no UserIsRequestor": ("AUDIT-010", swap(' UserIsRequestor="true"', "")),
    "two requestors": ("AUDIT-011", swap('UserIsRequestor="false"', 'UserIsRequestor="true"')),
    "an access point of an unknown type": ("AUDIT-012", swap('TypeCode="2"', 'TypeCode="9"')),
    "no AuditSourceID": ("AUDIT-013", swap(' AuditSourceID="xds"', "")),
    "a source type as text": (
        "AUDIT-014",
        swap('<AuditSourceTypeCode csd-code="4"/>', "<AuditSourceTypeCode>4</AuditSourceTypeCode>"),
    ),
    "an unknown role of an object": ("AUDIT-015", swap('TypeCodeRole="24"', 'TypeCodeRole="27"')),
    "an object without IDTypeCode": (
        "AUDIT-016",
        swap(_coded("ParticipantObjectIDTypeCode", "2", "RFC-3881", "Patient Number"), ""),
    ),
    "a name and a query": (
        "AUDIT-017",
        swap(
            "<ParticipantObjectQuery>",
            "<ParticipantObjectName>x</ParticipantObjectName><ParticipantObjectQuery>",
        ),
    ),
    "a query as text": ("AUDIT-018", swap(base64("<q/>"), "FindDocuments!")),
    "a detail as text": ("AUDIT-019", swap(f'value="{base64("UTF-8")}"', 'value="UTF-8"')),
    "a detail before the query": (
        "AUDIT-020",
        swap("<ParticipantObjectQuery>", detail("x", "y") + "<ParticipantObjectQuery>"),
    ),
    "a bare patient id": ("AUDIT-022", swap(_PATIENT, "P-1")),
    "two patients": ("AUDIT-023", swap(patient(), patient() + patient().replace("P-1", "P-2"))),
    "an unknown event": ("AUDIT-024", swap('csd-code="110112"', 'csd-code="110199"')),
    "a transaction of another system": ("AUDIT-025", swap("IHE Transactions", "IHE")),
    "the event of an export": ("AUDIT-030", swap('csd-code="110112"', 'csd-code="110106"')),
    "no source": ("AUDIT-031", swap('csd-code="110153"', 'csd-code="110150"')),
    "no destination": ("AUDIT-032", swap('csd-code="110152"', 'csd-code="110150"')),
    "no access point": (
        "AUDIT-033",
        swap(' NetworkAccessPointID="192.0.2.17" NetworkAccessPointTypeCode="2"', ""),
    ),
    "no process id": ("AUDIT-034", swap(' AlternativeUserID="4711"', "")),
    "no QueryEncoding": ("AUDIT-037", swap(detail("QueryEncoding", "UTF-8"), "")),
    "no id of the query": (
        "AUDIT-038",
        swap("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", "FindDocuments"),
    ),
    "a patient as medical record number": (
        "AUDIT-044",
        swap('csd-code="2" codeSystemName="RFC-3881"', 'csd-code="1" codeSystemName="RFC-3881"'),
    ),
    "the home of retrievals": (
        "AUDIT-045",
        swap(
            detail("QueryEncoding", "UTF-8"),
            detail("QueryEncoding", "UTF-8") + detail("ihe:homeCommunityID", "urn:oid:1.2"),
        ),
    ),
}
_SUBMISSION: Final[dict[str, tuple[str, Change]]] = {
    "no submission set": ("AUDIT-035", swap('TypeCodeRole="20"', 'TypeCodeRole="3"')),
    "the entryUUID of the submission set": (
        "AUDIT-036",
        swap('"2.25.2001"', '"urn:uuid:00000000-0000-4000-8000-000000000002"'),
    ),
    "a patient of another type": (
        "AUDIT-044",
        swap('csd-code="2" codeSystemName="RFC-3881"', 'csd-code="1" codeSystemName="RFC-3881"'),
    ),
}
_RETRIEVAL: Final[dict[str, tuple[str, Change]]] = {
    "no document": ("AUDIT-035", swap('TypeCodeRole="3"', 'TypeCodeRole="4"')),
    "no repository": ("AUDIT-039", swap(detail("Repository Unique Id", "1.2.3.77"), "")),
    "the client as source": (
        "AUDIT-041",
        lambda document: document.__setitem__(
            0, document[0].replace("110153", "@").replace("110152", "110153").replace("@", "110152")
        ),
    ),
    "the home of queries": ("AUDIT-045", swap("ihe:homeCommunityID", "urn:ihe:iti:xca:2010:homeCommunityId")),
}


def _source_first(document: str) -> str:
    start = document.index("<AuditSourceIdentification")
    end = document.index("</AuditSourceIdentification>") + len("</AuditSourceIdentification>")
    source = document[start:end]
    return (document[:start] + document[end:]).replace("<ActiveParticipant", f"{source}<ActiveParticipant", 1)


def examples() -> Iterator[Example]:
    """Good and broken records."""
    yield from mutated(KIND, "a query", [query()], encode, _QUERY)
    yield from mutated(KIND, "a submission", [submission()], encode, _SUBMISSION)
    yield from mutated(KIND, "a retrieval", [retrieval()], encode, _RETRIEVAL)
    yield from mutated(
        KIND,
        "images",
        [images()],
        encode,
        {
            "no UID": ("AUDIT-043", swap('"2.25.500"', '"study 1"')),
            "a study that is unknown": ("AUDIT-046", swap('"2.25.500"', '"unknown"')),
        },
    )
    yield from mutated(
        KIND,
        "a feed",
        [feed()],
        encode,
        {
            "no MSH-10": ("AUDIT-040", swap(detail("MSH-10", "42"), "")),
            "the application alone": ("AUDIT-042", swap("HOSPITAL|ADT", "ADT")),
        },
    )
    log = _object(
        "https://audit.example.org/",
        "2",
        "13",
        _coded("ParticipantObjectIDTypeCode", "12", "RFC-3881", "URI"),
        "<ParticipantObjectName>Security Audit Log</ParticipantObjectName>",
    )
    yield from mutated(
        KIND,
        "a start",
        [_node("110100", "E", "110120", "110150")],
        encode,
        {"neither start nor stop": ("AUDIT-050", swap("110120", "110122"))},
    )
    yield from mutated(
        KIND,
        "a log that is used",
        [_node("110101", "R", "", "110150", log)],
        encode,
        {"the action E": ("AUDIT-051", swap('EventActionCode="R"', 'EventActionCode="E"'))},
    )
    yield from mutated(
        KIND,
        "an alert",
        [_node("110113", "E", "110126", "110150")],
        encode,
        {"no kind": ("AUDIT-052", swap(_coded("EventTypeCode", "110126", "DCM", "Kind"), ""))},
    )
    yield from mutated(
        KIND,
        "a login",
        [_node("110114", "E", "110122", "110150")],
        encode,
        {"the action C": ("AUDIT-053", swap('EventActionCode="E"', 'EventActionCode="C"'))},
    )
    yield from mutated(
        KIND,
        "a frame",
        [frame(query())],
        encode,
        {
            "no syslog": ("AUDIT-060", swap(">1 ", ">1 x")),
            "a length that is too long": (
                "AUDIT-061",
                lambda document: document.__setitem__(0, "9" + document[0]),
            ),
            "another priority": ("AUDIT-062", swap("<85>", "<13>")),
            "a time with nine digits": ("AUDIT-063", swap("01.250Z", "01.250000000Z")),
            "another MSGID": ("AUDIT-064", swap("IHE+RFC-3881", "AUDIT")),
            "a long name": ("AUDIT-065", swap(" xds 4711 ", f" {'x' * 49} 4711 ")),
        },
    )

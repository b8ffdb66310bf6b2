"""A record of the trail: the message as it came, and what of it is searched (ITI TF-2 3.20.4.1.3).

Whether a message is an audit message is decided by reading it, never by its MSGID. What cannot be read is
kept all the same, as `UNPARSED`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from audit_repository.domain.identities import FedIdentity, fed_identities
from audit_repository.domain.sources import Sources, Standing
from shared.audit import dicom_xml, syslog
from shared.audit.dicom_xml import AuditMessageError, ParsedAuditMessage
from shared.audit.events import REFUSED, Coded, Participant, ParticipantObject, is_refusal
from shared.audit.resource import message_of_resource, resource_of
from shared.audit.resource_xml import is_audit_event, read_xml
from shared.audit.structure import NoResource, flaws, read_resource
from shared.audit.syslog import Oversized, SyslogError, SyslogMessage
from shared.security.caller import Node

#: One syslog message, or the resource of a feed, as it came.
Message = bytes | Oversized

#: Longer values are searched by their beginning; PostgreSQL's indexes hold no more than 2,700 octets.
MAX_TERM = 500
_BLANKS = b" \t\r\n\0" + syslog.BOM
_BEGINNING = re.compile(rb"<\?xml\s|<(?:[\w.-]+:)?AuditMessage[\s>]")
_DECLARED = re.compile(
    rb"""<\?xml[^>]*?encoding\s*=\s*["'](iso-8859-1|iso-8859-15|windows-1252|latin1)["'][^>]*>""",
    re.IGNORECASE,
)
_LONGEST_HEADER = 2_048
_SECOND = len("2030-05-01T12:00:00")
_HEXADECIMAL = 64
_XUA_NAME = re.compile(r"[^<>]*<(.+)@[^@]*>")
_CX = re.compile(r"([^^]+)\^\^\^[^&]*&([^&]+)&ISO")


class RecordState(StrEnum):
    """Whether the message could be read."""

    PARSED = "parsed"
    UNPARSED = "unparsed"


class IndexKind(StrEnum):
    """By what a record is found, beside its time."""

    PATIENT = "patient"
    USER = "user"
    TYPE = "type"
    OBJECT = "object"
    ADDRESS = "address"
    SOURCE = "source"
    ROLE = "role"
    PURPOSE = "purpose"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record before it has its place in the chain.

    `raw` is the message, or its beginning and a note in brackets when it was too long. `peer` is the address
    that sent it, `subject` and `fingerprint` are those of the certificate that it showed, and `standing` is
    what they prove of the record's source. `event_time`, `outcome` and `event` are
    empty in an unparsed record, whose `reason` says what could not be read. Times are ISO 8601, UTC, with
    microseconds. `terms` are sorted and unique. `fed` is what a feed's record says of ids, when it comes.
    """

    received: str
    peer: str
    subject: str
    raw: bytes
    state: RecordState
    reason: str = ""
    event_time: str = ""
    event: str = ""
    outcome: int | None = None
    terms: tuple[tuple[str, str], ...] = ()
    fingerprint: str = ""
    standing: Standing = Standing.UNKNOWN
    fed: tuple[FedIdentity, ...] = field(default=(), compare=False)

    @property
    def source(self) -> str:
        """The AuditSourceID that the message names, or nothing."""
        return next((value for kind, value in self.terms if kind == IndexKind.SOURCE), "")

    @property
    def digest(self) -> str:
        """The same for the same octets of the same sender: by it a record that is sent again is known."""
        return digest_of(self.subject or self.peer, self.raw, self.event_time)


def digest_of(sender: str, raw: bytes, event_time: str) -> str:
    """The digest of these octets of this sender, behind the second that they name.

    Records of one time are then neighbours in the index of digests, which is written where it ends.
    """
    digest = sha256(b"%s\0%s" % (sender.encode("utf-8", "replace"), raw)).hexdigest()
    return f"{event_time[:_SECOND]} {digest}" if event_time else digest


def undated(digest: str) -> str:
    """A digest as releases wrote it that put no time before it."""
    return digest[-_HEXADECIMAL:]


def instant(moment: datetime) -> str:
    """An aware time as the trail writes it; text of it sorts by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


class Reading(NamedTuple):
    """What a message says by its octets alone, in whichever process it is read.

    `reason` says why it could not be read, and is empty where it could; the others are as in `Record`.
    """

    reason: str = ""
    event_time: str = ""
    event: str = ""
    outcome: int | None = None
    source_id: str = ""
    terms: tuple[tuple[str, str], ...] = ()
    fed: tuple[FedIdentity, ...] = ()


def reading_of(octets: Message) -> Reading:
    """Read one syslog message, or the resource of a feed."""
    try:
        message = _read(octets)
    except (SyslogError, AuditMessageError) as error:
        return Reading(reason=str(error))
    event = message.event
    return Reading(
        event_time=instant(event.time),
        event=event.event_id.code,
        outcome=int(event.outcome),
        source_id=message.source.source_id,
        terms=tuple(sorted(set(_terms(message)))),
        fed=_fed(message),
    )


def record_of(came: Message, *, node: Node, received: datetime, sources: Sources) -> Record:
    """Read one syslog message as `node` delivered it."""
    (record,) = records_of([came], [reading_of(came)], node=node, received=received, sources=sources)
    return record


def records_of(
    messages: Sequence[Message],
    readings: Sequence[Reading],
    *,
    node: Node,
    received: datetime,
    sources: Sources,
) -> list[Record]:
    """The records of messages that `node` delivered together, each with its reading."""
    at, subject = instant(received), _clean(node.subject)
    # Asked once for each source that they name.
    standings = {each: sources.standing(each, node) for each in {one.source_id for one in readings}}
    return [
        Record(
            received=at,
            peer=node.address,
            subject=subject,
            fingerprint=node.fingerprint,
            raw=message if isinstance(message, bytes) else _cut(message),
            state=RecordState.UNPARSED if reading.reason else RecordState.PARSED,
            reason=reading.reason,
            event_time=reading.event_time,
            event=reading.event,
            outcome=reading.outcome,
            standing=standings[reading.source_id],
            terms=reading.terms,
            fed=reading.fed,
        )
        for message, reading in zip(messages, readings, strict=True)
    ]


def _read(came: Message) -> ParsedAuditMessage:
    """What a record says, by whichever way it came: a syslog message, or a resource of the FHIR feed."""
    if isinstance(came, Oversized):
        raise AuditMessageError(_told(came))
    if is_resource(came):
        return message_of_resource(_resource(came))
    return dicom_xml.parse(_body(came))


def is_resource(raw: bytes) -> bool:
    """Whether a record came as a resource, in JSON or XML: a syslog message begins with its priority."""
    return raw.lstrip(_BLANKS).startswith(b"{") or is_audit_event(raw)


def _resource(raw: bytes) -> dict[str, Any]:
    try:
        resource = read_xml(raw) if is_audit_event(raw) else read_resource(raw)
    except NoResource as error:
        raise AuditMessageError(str(error)) from None
    if flaws_found := flaws(resource):
        raise AuditMessageError(f"{flaws_found[0].expression}: {flaws_found[0].text}")
    return resource


def _body(message: bytes) -> bytes:
    """The audit message in a syslog message.

    Of a header that is not of RFC 5424 nothing is needed: old senders write that of RFC 3164, leave fields
    out, put blanks into names or write none at all. Behind the message some end a line or a text (NUL).
    """
    try:
        body = syslog.body_of(message)
    except SyslogError:
        begun = _BEGINNING.search(message, 0, _LONGEST_HEADER)
        if begun is None:
            raise
        body = message[begun.start() :]
    return _in_utf8(body.strip(_BLANKS))


def _in_utf8(body: bytes) -> bytes:
    """A message that declares one of the single-byte encodings that old systems write, in UTF-8."""
    declared = _DECLARED.match(body)
    if declared is None:
        return body
    return body[declared.end() :].decode(declared[1].decode(), "replace").encode()


def _cut(frame: Oversized) -> bytes:
    """The beginning of a message beyond the limit, and in the place of the rest what it was."""
    return b"%s\n[%s]" % (frame.beginning, _told(frame).encode())


def _told(frame: Oversized) -> str:
    return (
        f"longer than what is taken: of {frame.length} octets, SHA-256 {frame.digest}, "
        f"the first {len(frame.beginning)} are kept"
    )


def term(value: str) -> str:
    """A value as it is searched: of limited length, in one line."""
    return " ".join(_clean(value)[:MAX_TERM].split())


def _clean(value: str) -> str:
    # PostgreSQL's text holds no NUL, and UTF-8 no surrogates; the raw message keeps whatever came.
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _terms(message: ParsedAuditMessage) -> Iterator[tuple[str, str]]:
    event = message.event
    yield from _indexed((IndexKind.SOURCE, message.source.source_id))
    yield from _of_codes(event.event_id, event.event_types, event.purposes)
    if is_refusal(event):
        yield from _indexed((IndexKind.OUTCOME, REFUSED))
    for participant in event.participants:
        yield from _of_participant(participant)
    for item in event.objects:
        yield from _of_object(item)


def _indexed(*terms: tuple[IndexKind, str]) -> tuple[tuple[str, str], ...]:
    return tuple([(kind.value, term(value)) for kind, value in terms if value])


# Codes, users and addresses come again with every message; patients do not, and are not kept here.
@lru_cache(maxsize=1024)
def _of_codes(
    event_id: Coded, event_types: Sequence[Coded], purposes: Sequence[Coded]
) -> tuple[tuple[str, str], ...]:
    return _indexed(
        (IndexKind.TYPE, event_id.code),
        *((IndexKind.TYPE, code.code) for code in event_types),
        *((IndexKind.PURPOSE, code.code) for code in purposes),
    )


@lru_cache(maxsize=1024)
def _of_participant(participant: Participant) -> tuple[tuple[str, str], ...]:
    names = (participant.user_id, participant.user_name)
    return _indexed(
        *((IndexKind.USER, name) for name in names),
        *((IndexKind.USER, name_id(name)) for name in names),
        (IndexKind.ADDRESS, participant.network_id),
        *((IndexKind.ROLE, role.code) for role in participant.roles),
    )


def name_id(name: str) -> str:
    """The user in `alias<user@issuer>` (ITI TF-2 3.40.4.2), or nothing."""
    match = _XUA_NAME.fullmatch(name)
    return match[1] if match else ""


def _of_object(item: ParticipantObject) -> tuple[tuple[str, str], ...]:
    if is_patient(item):
        return _indexed((IndexKind.PATIENT, patient_term(item.object_id)))
    return _indexed((IndexKind.OBJECT, item.object_id))


def is_patient(item: ParticipantObject) -> bool:
    """Whether the object is a patient: a person in the role of one."""
    return item.type_code == 1 and item.role == 1


def patient_term(patient_id: str) -> str:
    """A patient id as it is searched: the CX without the name of its authority, which some leave out."""
    match = _CX.match(patient_id)
    return f"{match[1]}^^^&{match[2]}&ISO" if match else patient_id


def syslog_message(record_raw: bytes) -> SyslogMessage | None:
    """A record as the message of RFC 5424 that it is, or None."""
    try:
        return syslog.parse(record_raw)
    except SyslogError:
        return None


def message_of(record_raw: bytes) -> ParsedAuditMessage | None:
    """What a record says, or None when it is unparsed."""
    try:
        return _read(record_raw)
    except (SyslogError, AuditMessageError):
        return None


def resource_in(record_raw: bytes) -> dict[str, Any] | None:
    """A record as AuditEvent: the very one that came, or the one of its message; None when it is unparsed."""
    try:
        if is_resource(record_raw):
            return _resource(record_raw)
        return resource_of(_read(record_raw))
    except (SyslogError, AuditMessageError):
        return None


def identities_in(record_raw: bytes) -> tuple[FedIdentity, ...]:
    """What a record says of ids; nothing, when it is unparsed or no feed's."""
    try:
        return _fed(_read(record_raw))
    except (SyslogError, AuditMessageError):
        return ()


def _fed(message: ParsedAuditMessage) -> tuple[FedIdentity, ...]:
    patients = (item.object_id for item in message.event.objects if is_patient(item))
    return fed_identities(message, (term(patient_term(patient)) for patient in patients))

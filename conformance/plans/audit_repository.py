"""Audit Record Repository: Record Audit Event (ITI-20) by syslog, and Retrieve ATNA Audit Event (ITI-81).

Syslog is not acknowledged: whether a record was kept is looked at by ITI-81, or in the trail of this product.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import urlencode, urlsplit

from conformance.corpus import audit
from conformance.plans.probe import NotOffered, Plan, Unmet, expect, expect_equal
from conformance.plans.stand import SECONDS, Stand, Unreached

PLAN = Plan("audit-repository")
SYSLOG = ("audit",)
FHIR = ("atna",)
_FRAMING, _SYSLOG, _RECORD = "RFC 5425 4.3", "RFC 5424 6", "ITI TF-2 3.20.4.1.2"
_SEARCH = "ITI TF-2 3.81.4.1.2"
_BOM = b"\xef\xbb\xbf"
_PATIENT = audit.patient().split('ParticipantObjectID="')[1].split('"')[0]


# --- records -------------------------------------------------------------------------------------------


def record(stand: Stand, body: str = "", *, event_time: str = "") -> tuple[str, bytes]:
    """The id of a fresh patient, and a record of what was asked about them; `body` in place of a query."""
    patient = stand.patient_id()
    now = event_time or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.250Z"
    text = (body or audit.query()).replace(_PATIENT, escape(patient))
    return patient, text.replace("2026-03-01T09:15:00.5Z", now).encode()


def message(
    body: bytes,
    *,
    priority: int = 85,
    time: str = "",
    hostname: str = "probe.example.org",
    message_id: str = "IHE+RFC-3881",
    data: str = "-",
) -> bytes:
    """A syslog message around a record."""
    stamp = time or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.250Z"
    return f"<{priority}>1 {stamp} {hostname} xds 4711 {message_id} {data} ".encode() + body


def frame(octets: bytes) -> bytes:
    """With its length before it."""
    return b"%d %s" % (len(octets), octets)


# --- sending -------------------------------------------------------------------------------------------


def _address(stand: Stand) -> tuple[str, int]:
    text = stand.endpoint("audit")
    parts = urlsplit(text if "://" in text else f"syslog://{text}")
    return parts.hostname or "", parts.port or 6514


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=SECONDS)
    except OSError as error:
        raise Unreached(f"{host}:{port}: {error}") from None


def send(stand: Stand, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send pieces on one connection, end it, and return what came before the other side ended it."""
    host, port = _address(stand)
    received = b""
    plain = _connected(host, port)
    # A connection that the other side ends early is no mistake here: what was kept is looked at.
    with plain, suppress(OSError):
        tls = stand.target.tls
        with tls.wrap_socket(plain, server_hostname=host) if tls else plain as connection:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            if not tls:
                connection.shutdown(socket.SHUT_WR)
                received = connection.recv(4096)
    stand.keep(f"syslog {host}:{port}", b"".join(pieces), received)
    return received


def is_kept(stand: Stand, patient: str) -> bool:
    """Whether a record about the patient is found, now or in time."""
    return bool(stand.until(lambda: _found(stand, patient)))


def _found(stand: Stand, patient: str) -> list[Any]:
    if stand.target.endpoints.get("trail"):
        reply = stand.http(
            "POST",
            f"{stand.endpoint('trail').rstrip('/')}/api/search",
            body=json.dumps({"patient": patient}).encode(),
            headers={"Content-Type": "application/json"},
        )
        expect_equal(reply.status, 200, "the HTTP status of the search")
        return list(json.loads(reply.content)["records"])
    return events(search(stand, {"patient.identifier": token(patient)}))


def _expect_kept(stand: Stand, *patients: str) -> None:
    lost = [patient for patient in patients if not is_kept(stand, patient)]
    expect(not lost, f"{len(lost)} of {len(patients)} records are not found")


# --- ITI-20: what is taken -----------------------------------------------------------------------------


def _takes(write: Callable[[bytes], Sequence[bytes]], body: str = "") -> Callable[[Stand], None]:
    def ask(stand: Stand) -> None:
        patient, octets = record(stand, body)
        send(stand, *write(octets))
        _expect_kept(stand, patient)

    return ask


def _framed(**how: Any) -> Callable[[bytes], Sequence[bytes]]:
    return lambda body: [frame(message(body, **how))]


def _padded(size: int) -> Callable[[bytes], Sequence[bytes]]:
    return lambda body: [frame(message(body + b" " * (size - len(body))))]


_TAKEN: tuple[tuple[str, str, Callable[[bytes], Sequence[bytes]]], ...] = (
    (_FRAMING, "a record in one frame is kept", _framed()),
    (_FRAMING, "a frame that comes octet by octet is kept", lambda body: [bytes([one]) for one in frame(message(body))]),
    (_FRAMING, "a length that comes apart from its record is kept", lambda body: frame(message(body)).partition(b" ")),
    (_FRAMING, "the length counts octets, and not characters", lambda body: [frame(message(body.replace(b"CN=viewer", "CN=Müller–日本".encode())))]),
    (_SYSLOG, "a BOM before the record is no part of it", lambda body: [frame(message(_BOM + body))]),
    (_RECORD, "an XML declaration before the record may be there", lambda body: [frame(message(b'<?xml version="1.0" encoding="UTF-8"?>' + body))]),
    (_SYSLOG, "a record of severity 4 is kept", _framed(priority=84)),
    (_SYSLOG, "a record of another facility is kept", _framed(priority=134)),
    (_RECORD, "the MSGID of DICOM is as good as that of IHE", _framed(message_id="DICOM+RFC3881")),
    (_SYSLOG, "a MSGID that nobody knows is as good", _framed(message_id="-")),
    (_SYSLOG, "STRUCTURED-DATA may be there", _framed(data='[probe@32473 a="1" b="x\\]y"]')),
    (_SYSLOG, "the header may have no time", _framed(time="-")),
    (_SYSLOG, "the header's time may have an offset", _framed(time="2026-03-01T10:15:00.123456+01:00")),
    (_SYSLOG, "the header may have no host name", _framed(hostname="-")),
    ("RFC 5425 4.3.1", "a record of 8 KiB is kept", _padded(8 * 1024 - 100)),
    (_RECORD, "a record of 64 KiB is kept", _padded(64 * 1024)),
    (_RECORD, "a record of 200 KiB is kept", _padded(200 * 1024)),
)  # fmt: skip
for _number, (_clause, _purpose, _write) in enumerate(_TAKEN, 1):
    PLAN.add(f"ARR-20-1{_number:02}", _clause, _purpose, _takes(_write), needs=SYSLOG)

_EVENTS: tuple[tuple[str, str], ...] = (
    ("a query (ITI-18)", audit.query()),
    ("a submission (ITI-41)", audit.submission()),
    ("a retrieval (ITI-43)", audit.retrieval()),
    ("a retrieval of images (RAD-69)", audit.images()),
    ("a patient who is fed (ITI-8)", audit.feed()),
)
for _number, (_name, _body) in enumerate(_EVENTS, 1):
    PLAN.add(
        f"ARR-20-2{_number:02}",
        "DICOM PS3.15 A.5.3",
        f"the record of {_name} is kept, and found by its patient",
        _takes(_framed(), _body),
        needs=SYSLOG,
    )


@PLAN.requires("ARR-20-301", _FRAMING, needs=SYSLOG)
def _(stand: Stand) -> None:
    """Two frames in one segment are two records."""
    first, second = record(stand), record(stand)
    send(stand, frame(message(first[1])) + frame(message(second[1])))
    _expect_kept(stand, first[0], second[0])


@PLAN.requires("ARR-20-302", _FRAMING, needs=SYSLOG)
def _(stand: Stand) -> None:
    """A hundred records on one connection are all kept."""
    records = [record(stand) for _ in range(100)]
    send(stand, b"".join(frame(message(octets)) for _, octets in records))
    _expect_kept(stand, *(patient for patient, _ in records))


@PLAN.requires("ARR-20-303", _FRAMING, needs=SYSLOG)
def _(stand: Stand) -> None:
    """A frame whose border falls between two segments is kept, and so is the next one."""
    first, second = record(stand), record(stand)
    octets = frame(message(first[1])) + frame(message(second[1]))
    border = len(frame(message(first[1])))
    send(stand, octets[: border - 3], octets[border - 3 : border + 2], octets[border + 2 :], pause=0.02)
    _expect_kept(stand, first[0], second[0])


@PLAN.requires("ARR-20-304", _RECORD, needs=(*SYSLOG, "trail"))
def _(stand: Stand) -> None:
    """A record is kept to the byte."""
    patient, octets = record(stand)
    send(stand, frame(message(octets)))
    _expect_kept(stand, patient)
    (match,) = _found(stand, patient)
    reply = stand.http("GET", f"{stand.endpoint('trail').rstrip('/')}/api/records/{match['sequence']}/raw")
    raw = str(json.loads(reply.content)["raw"])
    expect(raw.endswith(octets.decode()), "the record is not what was sent")


@PLAN.requires("ARR-20-305", "DICOM PS3.15 A.5.2.1", needs=(*SYSLOG, "trail"))
def _(stand: Stand) -> None:
    """EventDateTime stays the time of the event, whenever it arrives."""
    patient, octets = record(stand, event_time="2026-03-01T10:00:00.125+01:00")
    send(stand, frame(message(octets)))
    _expect_kept(stand, patient)
    moment = datetime.fromisoformat(_found(stand, patient)[0]["time"])
    expect_equal(moment, datetime.fromisoformat("2026-03-01T09:00:00.125+00:00"), "EventDateTime")


# --- ITI-20: what is not as it should be ---------------------------------------------------------------


def _survives(*broken: bytes, same_connection: bool = False) -> Callable[[Stand], None]:
    """After something that is not as it should be a record is kept."""

    def ask(stand: Stand) -> None:
        patient, octets = record(stand)
        good = frame(message(octets))
        if same_connection:
            send(stand, *broken, good)
        else:
            send(stand, *broken)
            send(stand, good)
        _expect_kept(stand, patient)

    return ask


_HALF = message(audit.query().encode())[:400]
_BROKEN: tuple[tuple[str, str, tuple[bytes, ...], bool], ...] = (
    (_RECORD, "what is no XML does not end the stream: the next record is kept", (frame(message(b"no record")),), True),
    (_RECORD, "a record that breaks off does not end the stream", (frame(_HALF),), True),
    (_SYSLOG, "a message without the header of syslog does not end the stream", (frame(b"hello"),), True),
    (_RECORD, "octets that are no UTF-8 do not end the stream", (frame(message(b"\xff\xfe\x00\xc3<AuditMessage/>")),), True),
    ("DICOM PS3.15 A.5.1", "a record with a document type declaration does not end the stream, and nothing of it is expanded", (frame(message(b'<!DOCTYPE a [<!ENTITY b "bbbb">]><AuditMessage>&b;</AuditMessage>')),), True),
    (_FRAMING, "a stream without lengths costs nobody else's records", (message(b"<AuditMessage/>") + b"\n",), False),
    (_FRAMING, "a length with a leading zero costs nobody else's records", (b"012 <85>1 - - - -",), False),
    (_FRAMING, "a length of twenty digits costs nobody else's records", (b"99999999999999999999 <85>1",), False),
    (_FRAMING, "a negative length costs nobody else's records", (b"-5 <85>1",), False),
    (_FRAMING, "a connection that ends within a record costs nobody else's records", (b"5000 <85>1 - - - - - - <Audit",), False),
    (_FRAMING, "a connection on which nothing is said costs nobody else's records", (b"",), False),
    ("RFC 5425 4.3.1", "a record of 4 MiB costs nobody else's records", (b"4194304 <85>1 - - - - - - ", b"x" * 65536, b"x" * (4194304 - 65536 - 24)), False),
)  # fmt: skip
for _number, (_clause, _purpose, _pieces, _same) in enumerate(_BROKEN, 1):
    PLAN.add(
        f"ARR-20-4{_number:02}",
        _clause,
        _purpose,
        _survives(*_pieces, same_connection=_same),
        needs=SYSLOG,
    )


# --- ITI-19 at the door of ITI-20 ----------------------------------------------------------------------


def _expect_refused(stand: Stand, context: ssl.SSLContext) -> None:
    """Raise `Unmet` when a record is taken on a connection of `context`."""
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = _address(stand)
    plain = _connected(host, port)
    with (
        suppress(ssl.SSLError, ConnectionError),
        plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(frame(message(record(stand)[1])))
        connection.settimeout(2.0)
        # With TLS 1.3 the refusal is read, and not seen in the handshake.
        with suppress(TimeoutError):
            if not connection.recv(1):
                return
        raise Unmet(f"{connection.version()} without the right certificate was accepted")


@PLAN.requires("ARR-19-101", "ITI TF-2 3.19.6.1", needs=SYSLOG)
def _(stand: Stand) -> None:
    """Who shows no certificate is refused."""
    _only_with_tls(stand)
    _expect_refused(stand, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@PLAN.requires("ARR-19-102", "RFC 8996", needs=SYSLOG)
def _(stand: Stand) -> None:
    """TLS 1.1 is refused."""
    _only_with_tls(stand)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    _expect_refused(stand, context)


def _only_with_tls(stand: Stand) -> None:
    if stand.target.tls is None:
        raise NotOffered("the repository is asked without TLS")


# --- ITI-81 --------------------------------------------------------------------------------------------


def token(patient: str) -> str:
    """A patient id as a token of FHIR."""
    number, _, authority = patient.partition("^^^&")
    return f"urn:oid:{authority.removesuffix('&ISO')}|{number}"


def search(stand: Stand, more: dict[str, str], *, dates: bool = True) -> Any:
    """ITI-81 of today and the days beside."""
    now = datetime.now(UTC)
    bounds = [
        ("date", f"ge{now - timedelta(days=1):%Y-%m-%d}"),
        ("date", f"le{now + timedelta(days=1):%Y-%m-%d}"),
    ]
    query = urlencode([*(bounds if dates else []), *more.items()])
    return stand.http(
        "GET",
        f"{stand.endpoint('atna').rstrip('/')}/AuditEvent?{query}",
        headers={"Accept": "application/fhir+json"},
    )


def events(reply: Any) -> list[Any]:
    """The AuditEvents of an answer; raises `Unmet` when it is no search result."""
    expect_equal(reply.status, 200, "the HTTP status of ITI-81")
    bundle = json.loads(reply.content)
    expect_equal((bundle.get("resourceType"), bundle.get("type")), ("Bundle", "searchset"), "the answer")
    resources = [one.get("resource", {}) for one in bundle.get("entry", [])]
    return [one for one in resources if one.get("resourceType") == "AuditEvent"]


def _recorded(stand: Stand) -> str:
    """A patient about whom one record of a query was kept."""
    if "audited" not in stand.shared:
        patient, octets = record(stand)
        send(stand, frame(message(octets)))
        _expect_kept(stand, patient)
        stand.shared["audited"] = patient
    return str(stand.shared["audited"])


_NARROWING = (
    ("subtype", "urn:ihe:event-type-code|ITI-18", "urn:ihe:event-type-code|ITI-43"),
    ("outcome", "0", "8"),
    ("source.identifier", "xds", "nobody"),
    ("address", "192.0.2.17", "192.0.2.99"),
)
for _number, (_parameter, _holds, _fails) in enumerate(_NARROWING, 1):

    def _narrows(stand: Stand, parameter: str = _parameter, holds: str = _holds, fails: str = _fails) -> None:
        patient = {"patient.identifier": token(_recorded(stand))}
        expect_equal(len(events(search(stand, {**patient, parameter: holds}))), 1, "records found")
        expect_equal(len(events(search(stand, {**patient, parameter: fails}))), 0, "records found")

    PLAN.add(
        f"ARR-81-10{_number}",
        _SEARCH,
        f"{_parameter} narrows a search of records",
        _narrows,
        needs=(*SYSLOG, *FHIR),
    )


@PLAN.requires("ARR-81-111", _SEARCH, needs=FHIR)
def _(stand: Stand) -> None:
    """A search without dates is 400."""
    reply = search(stand, {"patient.identifier": token(stand.patient_id())}, dates=False)
    expect_equal(reply.status, 400, "the HTTP status")


@PLAN.requires("ARR-81-112", "ITI TF-2 3.81.4.2.2", needs=FHIR)
def _(stand: Stand) -> None:
    """A search without a match is 200 with an empty Bundle."""
    expect_equal(events(search(stand, {"patient.identifier": token(stand.patient_id())})), [], "the records")


@PLAN.requires("ARR-81-113", "ITI TF-2 3.81.4.2.2", needs=(*SYSLOG, *FHIR))
def _(stand: Stand) -> None:
    """A record comes as an AuditEvent of its event, action, outcome and patient."""
    patient = _recorded(stand)
    (event,) = events(search(stand, {"patient.identifier": token(patient)}))
    expect_equal(event["type"]["code"], "110112", "type")
    expect_equal([one["code"] for one in event["subtype"]], ["ITI-18"], "subtype")
    expect_equal((event["action"], event["outcome"]), ("E", "0"), "action and outcome")
    values = [one.get("what", {}).get("identifier", {}).get("value", "") for one in event["entity"]]
    expect(any(patient.partition("^")[0] in value for value in values), f"no entity is the patient: {values}")


@PLAN.requires("ARR-81-114", "ITI TF-2 3.81.4.1.2", needs=(*SYSLOG, *FHIR))
def _(stand: Stand) -> None:
    """A parameter that nobody knows is ignored."""
    reply = search(stand, {"patient.identifier": token(_recorded(stand)), "probe": "1"})
    expect_equal(len(events(reply)), 1, "records found")


@PLAN.requires("ARR-81-115", "ITI TF-2 3.81.4.1.3", needs=FHIR)
def _(stand: Stand) -> None:
    """Nobody changes or deletes a record."""
    url = f"{stand.endpoint('atna').rstrip('/')}/AuditEvent/1"
    for method in ("DELETE", "PUT", "PATCH"):
        reply = stand.http(method, url, body=b"{}", headers={"Content-Type": "application/fhir+json"})
        if reply.status not in (401, 403, 404, 405):
            raise Unmet(f"{method} is answered with HTTP {reply.status}, and 405 would be right")


@PLAN.requires("ARR-81-116", "DICOM PS3.15 A.5.3.2", needs=(*SYSLOG, *FHIR))
def _(stand: Stand) -> None:
    """A search is itself a record: Audit Log Used."""
    _recorded(stand)
    kind = "http://dicom.nema.org/resources/ontology/DCM|110101"
    used = stand.until(lambda: events(search(stand, {"type": kind})))
    expect(used, "no record of Audit Log Used is found")


@PLAN.requires("ARR-81-201", "CH:ATC, ITI-81", needs=FHIR, pack="swiss")
def _(stand: Stand) -> None:
    """A search without entity.identifier is 400."""
    expect_equal(search(stand, {}).status, 400, "the HTTP status")

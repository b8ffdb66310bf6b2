"""Hostile and broken input on running services: its fault, a text that helps, and the next is served.

In the default configuration, without TLS so that every byte is ours. What is expected is what the dossiers of
the standards say, not what the code happens to do.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from lxml import etree

from imaging_source.domain.stow import reason_of
from shared.dicom.multipart import closing as multipart_end
from shared.dicom.multipart import content_type as multipart_type
from shared.dicom.multipart import part_head
from shared.ebrim.identifiers import new_oid
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from tests.support.community import (
    call,
    cx,
    database_of,
    make_known,
    running,
    trail_until,
)
from tests.support.dicom import a_ct, part10
from tests.support.http_server import Answer, RawClient, connected
from tests.support.metadata import a_document_entry, a_submission
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

# Of nobody else: they must not be in any log.
PATIENT, PATIENT_NAME = "HOSTILE-9001", "Canary^Carla"

SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
WSA = "http://www.w3.org/2005/08/addressing"
RS = "{urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0}"
XOP = "application/xop+xml"
REPOSITORY_ID = "1.3.6.1.4.1.21367.2026.10.20"
LOCATION = "1.3.6.1.4.1.21367.2026.10.30"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
ENDPOINTS = {
    "registry": "/xds/registry",
    "repository": "/xds/repository",
    "source": "/xds/imaging-source",
}
# Whatever is sent, whoever sends it learns soon how it ends.
BOUND_SECONDS = 10.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(
        tmp_path_factory.mktemp("community"),
        tls=False,
        audit={"refusals_seconds": 0.3},
        registry={"mllp_frame_seconds": 2.0},
        audit_repository={"syslog_frame_seconds": 2.0, "syslog_idle_seconds": 4.0},
        imaging_source={"dimse_idle_seconds": 3.0},
    ) as stage:
        asyncio.run(make_known(stage, PATIENT))
        yield stage


@pytest.fixture(autouse=True)
async def _the_next_good_request_is_served(stage: Stage) -> AsyncIterator[None]:
    """After every test of this module, on every service, by processes that are still the same."""
    before = [member.pid for _, member in stage.members]
    yield
    assert [member.pid for _, member in stage.members if member.running] == before
    await serves(stage)


async def serves(stage: Stage) -> None:
    found = await call(stage, ITI18, stage.url("registry", ENDPOINTS["registry"]), a_query())
    assert found.errors == ()
    absent = await call(stage, ITI43, stage.url("repository", ENDPOINTS["repository"]), a_retrieval())
    assert [error.code_for(None) for error in absent.errors] == ["XDSDocumentUniqueIdError"]
    absent = await call(stage, RAD69, stage.url("source", ENDPOINTS["source"]), an_imaging_request())
    assert [error.code_for(None) for error in absent.errors] == ["XDSDocumentUniqueIdError"]


# --- good requests, to be spoilt ---------------------------------------------------------------------


def a_query(query_id: str = FIND_DOCUMENTS, **parameters: Any) -> StoredQueryRequest:
    given = parameters or {
        "$XDSDocumentEntryPatientId": cx(PATIENT),
        "$XDSDocumentEntryStatus": (APPROVED,),
    }
    return StoredQueryRequest(
        query_id=query_id, return_type=ReturnType.LEAF_CLASS, parameters=encode_parameters(given)
    )


def a_retrieval(repository: str = REPOSITORY_ID, document: str = "2.25.404") -> RetrieveDocumentSetRequest:
    asked = DocumentRequest(repository_unique_id=repository, document_unique_id=document)
    return RetrieveDocumentSetRequest(documents=(asked,))


def an_imaging_request(
    location: str = LOCATION, *, study: str = "2.25.1", syntaxes: tuple[str, ...] = (EXPLICIT_LE,)
) -> RetrieveImagingDocumentSetRequest:
    asked = DocumentRequest(repository_unique_id=location, document_unique_id="2.25.404")
    series = SeriesRequest(series_instance_uid="2.25.2", documents=(asked,))
    return RetrieveImagingDocumentSetRequest(
        studies=(StudyRequest(study_instance_uid=study, series=(series,)),), transfer_syntax_uids=syntaxes
    )


def a_provision(
    content: bytes | None = b"a document", *, set_unique_id: str = "", **changes: Any
) -> ProvideAndRegisterRequest:
    entry = a_document_entry(**{"patient_id": cx(PATIENT), "hash": "", "size": None, **changes})
    submission = a_submission(entry, unique_id=set_unique_id or new_oid())
    documents = () if content is None else (ProvidedDocument(id=entry.entry_uuid, content=content),)
    return ProvideAndRegisterRequest.of(submission, documents)


TRANSACTIONS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "registry": (ITI18, a_query),
    "repository": (ITI43, a_retrieval),
    "source": (RAD69, an_imaging_request),
}


def envelope(transaction: Any, request: Any) -> bytes:
    body = transaction.encode_request(request).xml
    return encode_request(transaction.action, f"urn:uuid:{uuid4()}", "http://127.0.0.1/", body)


def package(transaction: Any, request: Any) -> tuple[str, bytes]:
    """Content-Type and bytes of an MTOM message."""
    encoded = transaction.encode_request(request)
    octets = encode_request(transaction.action, f"urn:uuid:{uuid4()}", "http://127.0.0.1/", encoded.xml)
    content_type, pieces = write_package(octets, encoded.attachments, action=transaction.action)
    return content_type, b"".join(pieces)  # type: ignore[arg-type]


def in_package(root: bytes, *others: bytes, boundary: str = "b", start: str = "<root>") -> tuple[str, bytes]:
    """An MTOM package made by hand around a root part."""
    content_type = (
        f'multipart/related; type="{XOP}"; start="{start}"; start-info="application/soap+xml"; '
        f'boundary="{boundary}"'
    )
    head = f'Content-Type: {XOP}; type="application/soap+xml"\r\nContent-ID: <root>\r\n\r\n'.encode()
    mark = f"--{boundary}".encode()
    parts = b"".join(mark + b"\r\n" + part + b"\r\n" for part in (head + root, *others))
    return content_type, parts + mark + b"--\r\n"


def a_part(content_id: str, content: bytes = b"x") -> bytes:
    return f"Content-ID: <{content_id}>\r\n\r\n".encode() + content


def good(name: str) -> tuple[str, bytes]:
    """A good message for a service: Content-Type and bytes."""
    transaction, make = TRANSACTIONS[name]
    if transaction.mtom:
        return package(transaction, make())
    return "application/soap+xml; charset=UTF-8", envelope(transaction, make())


def spoilt(name: str, change: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    """The same with a changed envelope."""
    transaction, make = TRANSACTIONS[name]
    octets = change(envelope(transaction, make()))
    return in_package(octets) if transaction.mtom else ("application/soap+xml; charset=UTF-8", octets)


# --- sending and reading -----------------------------------------------------------------------------


def head(path: str, content_type: str, length: int, *more: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
        *more,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


@asynccontextmanager
async def bounded(stage: Stage, name: str) -> AsyncIterator[RawClient]:
    async with asyncio.timeout(BOUND_SECONDS), connected(stage.ports[name]) as client:
        yield client


async def sent(stage: Stage, name: str, content_type: str, body: bytes, *more: str) -> Answer:
    async with bounded(stage, name) as client:
        await client.send(head(ENDPOINTS[name], content_type, len(body), *more) + body)
        return await client.answer()


def envelope_of(answer: Answer) -> etree._Element:
    body = answer.body
    if answer.headers["content-type"].startswith("multipart/related"):
        start = body.index(b"<", body.index(b"\r\n\r\n"))
        body = body[start : body.index(b"Envelope>", start + 100) + len(b"Envelope>")]
    return etree.fromstring(body)


@dataclass
class Fault:
    status: int
    code: str
    subcode: str
    reason: str


def fault_in(answer: Answer) -> Fault:
    fault = envelope_of(answer).find(f"{SOAP}Body/{SOAP}Fault")
    assert fault is not None, answer.body[:2000]
    values = [(value.text or "").rpartition(":")[2] for value in fault.iter(f"{SOAP}Value")]
    reason = fault.findtext(f"{SOAP}Reason/{SOAP}Text", "")
    return Fault(answer.status, values[0], values[1] if len(values) > 1 else "", reason)


def errors_in(answer: Answer) -> list[tuple[str, str, str]]:
    """Code, context and location of each error of an orderly response."""
    assert answer.status == 200, answer.body[:2000]
    return [
        (error.get("errorCode", ""), error.get("codeContext", ""), error.get("location", ""))
        for error in envelope_of(answer).iter(f"{RS}RegistryError")
    ]


# --- XML ---------------------------------------------------------------------------------------------

DOCTYPE = b'<!DOCTYPE s [<!ENTITY x "y">]>'
EXTERNAL = b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
BOMB = (
    b'<!DOCTYPE s [<!ENTITY a0 "boom">'
    + b"".join(b'<!ENTITY a%d "%s">' % (number, b"&a%d;" % (number - 1) * 10) for number in range(1, 10))
    + b"]>"
)


def _in_body(what: bytes) -> Callable[[bytes], bytes]:
    def change(octets: bytes) -> bytes:
        opened = re.search(rb"<[a-z]+:Body>", octets)
        assert opened
        return octets[: opened.end()] + what + octets[opened.end() :]

    return change


def _before(what: bytes) -> Callable[[bytes], bytes]:
    return lambda octets: what + re.sub(rb"^<\?xml[^>]*\?>", b"", octets)


XML = {
    "a DOCTYPE": (_before(DOCTYPE), "DOCTYPE"),
    "an external entity": (_before(EXTERNAL), "DOCTYPE"),
    "an entity bomb": (_before(BOMB), "DOCTYPE"),
    "a DOCTYPE in UTF-16": (lambda octets: (DOCTYPE + octets).decode().encode("utf-16"), "DOCTYPE"),
    "a DOCTYPE behind a long comment": (_before(b"<!--" + b"-x" * 200_000 + b"-->" + DOCTYPE), "DOCTYPE"),
    "nesting of ten thousand": (_in_body(b"<a>" * 10_000 + b"</a>" * 10_000), "deep|depth|nest"),
    "nesting of a million": (_in_body(b"<a>" * 1_000_000 + b"</a>" * 1_000_000), "deep|depth|nest|more than"),
    "a million attributes": (
        _in_body(b"<a " + b" ".join(b'a%d=""' % number for number in range(400_000)) + b"/>"),
        "attribute",
    ),
    "a thousand namespaces on one element": (
        _in_body(b"<a " + b" ".join(b'xmlns:n%d="u"' % n for n in range(30_000)) + b"/>"),
        "namespace",
    ),
    "more elements than a million": (_in_body(b"<a/>" * 1_100_000), "element|more than"),
    "two elements in the Body": (_in_body(b"<a/>"), "Body"),
    "no XML": (lambda octets: b"hello", "XML|well-formed|read"),
    "nothing": (lambda octets: b"", "XML|empty|read"),
    "XML that ends in its middle": (lambda octets: octets[: len(octets) // 2], "XML|well-formed|read"),
    "an undeclared prefix": (_in_body(b"<nobody:a/>"), "XML|prefix|Namespace|read"),
    "another root": (lambda octets: b"<hello/>", "Envelope"),
    "an encoding that nobody uses": (
        lambda octets: (
            b'<?xml version="1.0" encoding="EBCDIC-CP-US"?>' + re.sub(rb"^<\?xml[^>]*\?>", b"", octets)
        ),
        "encoding|UTF-8",
    ),
}


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("case", XML)
async def test_xml_that_does_harm_is_a_sender_fault(stage: Stage, name: str, case: str):
    change, reason = XML[case]

    answer = await sent(stage, name, *spoilt(name, change))

    fault = fault_in(answer)
    assert (fault.status, fault.code) == (400, "Sender"), fault
    assert re.search(reason, fault.reason), fault.reason
    assert b"root:" not in answer.body


# --- SOAP --------------------------------------------------------------------------------------------


def _without(pattern: bytes) -> Callable[[bytes], bytes]:
    def change(octets: bytes) -> bytes:
        changed, times = re.subn(pattern, b"", octets, flags=re.DOTALL)
        assert times, octets
        return changed

    return change


def _instead(pattern: bytes, by: bytes) -> Callable[[bytes], bytes]:
    def change(octets: bytes) -> bytes:
        changed, times = re.subn(pattern, by, octets, flags=re.DOTALL)
        assert times, octets
        return changed

    return change


def _with_header(header: bytes) -> Callable[[bytes], bytes]:
    return _instead(rb"(<[a-z]+:Header>)", rb"\1" + header)


ACTION = rb"(<wsa:Action[^>]*>)[^<]*"
SOAP_CASES = {
    "SOAP 1.1": (
        _instead(rb"http://www.w3.org/2003/05/soap-envelope", b"http://schemas.xmlsoap.org/soap/envelope/"),
        (500, "VersionMismatch", ""),
        "1.2",
    ),
    "an envelope of a version to come": (
        _instead(rb"http://www.w3.org/2003/05/soap-envelope", b"http://www.w3.org/2033/05/soap-envelope"),
        (500, "VersionMismatch", ""),
        "1.2",
    ),
    "no action": (
        _without(rb"<wsa:Action.*?</wsa:Action>"),
        (400, "Sender", "MessageAddressingHeaderRequired"),
        "Action",
    ),
    "another action": (
        _instead(ACTION, rb"\1urn:ihe:iti:2007:Nothing"),
        (400, "Sender", "ActionNotSupported"),
        "urn:ihe:(iti|rad):20",
    ),
    "two actions": (
        _instead(rb"(<wsa:Action.*?</wsa:Action>)", rb"\1\1"),
        (400, "Sender", "InvalidAddressingHeader"),
        "Action",
    ),
    "a reply to somewhere else": (
        _instead(rb"(<wsa:ReplyTo><wsa:Address>)[^<]*", rb"\1http://127.0.0.1:9/"),
        (400, "Sender", "InvalidAddressingHeader"),
        "anonymous",
    ),
    "a header that must be understood": (
        _with_header(
            b'<x:Secret xmlns:x="urn:x" xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
            b' s:mustUnderstand="true"/>'
        ),
        (500, "MustUnderstand", ""),
        "Secret",
    ),
    "an empty Body": (
        _instead(rb"(<[a-z]+:Body>).*(</[a-z]+:Body>)", rb"\1\2"),
        (400, "Sender", ""),
        "Body",
    ),
    "the body of another transaction": (
        _instead(rb"(<[a-z]+:Body>).*(</[a-z]+:Body>)", rb'\1<a xmlns="urn:a"/>\2'),
        (400, "Sender", ""),
        "Body",
    ),
}


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("case", SOAP_CASES)
async def test_a_message_that_breaks_soap_has_the_fault_of_its_rule(stage: Stage, name: str, case: str):
    change, expected, reason = SOAP_CASES[case]

    fault = fault_in(await sent(stage, name, *spoilt(name, change)))

    assert (fault.status, fault.code, fault.subcode) == expected, fault
    assert re.search(reason, fault.reason), fault.reason


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_an_action_of_the_media_type_must_be_the_action(stage: Stage, name: str):
    content_type, body = good(name)
    content_type = re.sub(r'; action="[^"]*"', "", content_type) + '; action="urn:another"'

    fault = fault_in(await sent(stage, name, content_type, body))

    assert (fault.status, fault.code, fault.subcode) == (400, "Sender", "InvalidAddressingHeader")
    assert "urn:another" in fault.reason


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_soap_1_1_as_it_really_comes(stage: Stage, name: str):
    """By text/xml with a SOAPAction, as old clients send it."""
    _, octets = spoilt(name, SOAP_CASES["SOAP 1.1"][0])
    if name != "registry":
        octets = octets[octets.index(b"<", octets.index(b"\r\n\r\n")) : octets.rindex(b"Envelope>") + 9]

    fault = fault_in(await sent(stage, name, "text/xml; charset=utf-8", octets, 'SOAPAction: ""'))

    assert (fault.status, fault.code) == (500, "VersionMismatch")


@pytest.mark.parametrize("name", ["repository", "source"])
async def test_simple_soap_to_an_mtom_transaction_says_what_to_send(stage: Stage, name: str):
    transaction, make = TRANSACTIONS[name]

    answer = await sent(stage, name, "application/soap+xml", envelope(transaction, make()))

    fault = fault_in(answer)
    assert (fault.status, fault.code) == (400, "Sender")
    assert transaction.number in fault.reason
    assert "multipart/related" in fault.reason
    assert answer.headers["content-type"].startswith("application/soap+xml")


async def test_mtom_to_a_simple_transaction_says_what_to_send(stage: Stage):
    answer = await sent(stage, "registry", *in_package(envelope(ITI18, a_query())))

    fault = fault_in(answer)
    assert (fault.status, fault.code) == (400, "Sender")
    assert "ITI-18" in fault.reason
    assert "application/soap+xml" in fault.reason


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "", "a/b; c", "multipart/form-data"]
)
async def test_another_media_type_says_what_to_send(stage: Stage, name: str, content_type: str):
    fault = fault_in(await sent(stage, name, content_type, good(name)[1]))

    assert (fault.status, fault.code) == (400, "Sender")
    assert re.search("application/soap\\+xml|multipart/related|Content-Type", fault.reason), fault.reason


# --- MTOM --------------------------------------------------------------------------------------------


def _root(name: str = "repository") -> bytes:
    transaction, make = TRANSACTIONS[name]
    return envelope(transaction, make())


MTOM_CASES: dict[str, tuple[Callable[[], tuple[str, bytes]], str]] = {
    "no boundary": (
        lambda: ('multipart/related; type="application/xop+xml"', in_package(_root())[1]),
        "boundary",
    ),
    "a boundary that never comes": (
        lambda: (in_package(_root(), boundary="z")[0], in_package(_root())[1]),
        ".",
    ),
    "a boundary of 71 characters": (lambda: in_package(_root(), boundary="b" * 71), "boundary"),
    "an end in its middle": (lambda: (in_package(_root())[0], in_package(_root())[1][:-200]), "."),
    "no end mark": (lambda: (in_package(_root())[0], in_package(_root())[1][:-7]), "."),
    "a start that is not there": (lambda: in_package(_root(), start="<other>"), "start|root"),
    "the same Content-ID twice": (
        lambda: in_package(_root(), a_part("a"), a_part("a")),
        "Content-ID",
    ),
    "three hundred parts": (
        lambda: in_package(_root(), *(a_part(f"p{number}") for number in range(300))),
        "parts",
    ),
    "a hundred header lines in a part": (
        lambda: in_package(_root(), b"".join(b"X-%d: y\r\n" % n for n in range(100)) + a_part("a")),
        "header",
    ),
    "a header line of 64 KB in a part": (
        lambda: in_package(_root(), b"X-A: " + b"y" * 65_536 + b"\r\n" + a_part("a")),
        "header",
    ),
    "a long preamble": (
        lambda: (in_package(_root())[0], b"p" * 1_000_000 + b"\r\n" + in_package(_root())[1]),
        "boundary|preamble|before",
    ),
}


@pytest.mark.parametrize("case", MTOM_CASES)
async def test_a_broken_package_is_a_sender_fault(stage: Stage, case: str):
    make, reason = MTOM_CASES[case]

    fault = fault_in(await sent(stage, "repository", *make()))

    assert (fault.status, fault.code) == (400, "Sender"), fault
    assert fault.reason
    assert re.search(reason, fault.reason, re.IGNORECASE), fault.reason


async def test_what_is_referred_to_by_another_scheme_than_cid_is_never_fetched(stage: Stage):
    """The server of the document does not exist, and nothing asks for it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as canary:
        canary.settimeout(0.3)
        href = f"http://127.0.0.1:{canary.getsockname()[1]}/document"
        _, octets = package(ITI41, a_provision())
        root = octets[octets.index(b"<", octets.index(b"\r\n\r\n")) : octets.index(b"Envelope>\r\n") + 9]
        root = re.sub(rb'href="cid:[^"]*"', f'href="{href}"'.encode(), root)

        answer = await sent(stage, "repository", *in_package(root))

        assert b"Success" not in answer.body
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(canary.accept)


# --- sizes and HTTP ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("length", [2 * 1024**3 + 1, 2**63, 10**30])
async def test_a_claim_beyond_2_gb_is_refused_before_a_byte_is_read(stage: Stage, name: str, length: int):
    content_type, body = good(name)
    async with bounded(stage, name) as client:
        await client.send(head(ENDPOINTS[name], content_type, length) + body[:100])
        answer = await client.answer()
    assert answer.status in (400, 413)
    if answer.status == 413:
        assert str(2 * 1024**3) in fault_in(answer).reason


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_a_claim_that_is_not_kept_harms_nobody(stage: Stage, name: str):
    content_type, body = good(name)
    async with bounded(stage, name) as client:
        await client.send(head(ENDPOINTS[name], content_type, 2 * 1024**3) + body)
    await serves(stage)


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_xml_beyond_8_mb_is_refused(stage: Stage, name: str):
    filler = b"<!--" + b"x" * 1024 + b"-->"
    answer = await sent(stage, name, *spoilt(name, _in_body(filler * (9 * 1024))))

    fault = fault_in(answer)
    assert fault.code == "Sender"
    assert fault.status in (400, 413)
    assert re.search(r"\d{6,}|larger|8 ?M", fault.reason), fault.reason


HTTP_CASES: dict[str, tuple[Callable[[str], bytes], int]] = {
    "two lengths": (lambda path: head(path, "text/xml", 1, "Content-Length: 2") + b"xx", 400),
    "a length and chunks": (
        lambda path: head(path, "text/xml", 5, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "a negative length": (lambda path: head(path, "text/xml", -1), 400),
    "a header of 64 KB": (lambda path: head(path, "text/xml", 0, f"X-A: {'y' * 65_536}"), 431),
    "two hundred header lines": (lambda path: head(path, "text/xml", 0, *(["X-A: y"] * 200)), 431),
    "a target of 16 KB": (lambda path: head(f"{path}?{'q' * 16_384}", "text/xml", 0), 414),
    "another method": (lambda path: b"DELETE %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode(), 405),
    "a GET that asks for no description": (
        lambda path: b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode(),
        405,
    ),
    "a path of nobody": (lambda path: b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "an old preface": (lambda path: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no HTTP": (lambda path: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
}


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("case", HTTP_CASES)
async def test_http_beyond_its_limits_has_its_status(stage: Stage, name: str, case: str):
    make, status = HTTP_CASES[case]
    async with bounded(stage, name) as client:
        await client.send(make(ENDPOINTS[name]))
        answer = await client.answer()

    assert answer.status == status
    assert b"root:" not in answer.body


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_a_content_encoding_is_not_accepted(stage: Stage, name: str):
    content_type, body = good(name)
    bomb = gzip.compress(body + b" " * 50_000_000)

    answer = await sent(stage, name, content_type, bomb, "Content-Encoding: gzip")

    assert answer.status == 415


# --- semantics ---------------------------------------------------------------------------------------


async def test_an_unknown_patient_is_named(stage: Stage):
    stranger = cx("NOBODY-77")

    ((code, context, _),) = errors_in(
        await sent(stage, "repository", *package(ITI41, a_provision(patient_id=stranger)))
    )

    assert code == "XDSUnknownPatientId"
    assert stranger in context


async def test_a_wrong_hash_is_named_with_the_right_one(stage: Stage):
    wrong = "0" * 40
    provision = a_provision(b"a document", hash=wrong)

    ((code, context, location),) = errors_in(await sent(stage, "repository", *package(ITI41, provision)))

    assert code == "XDSRepositoryMetadataError"
    assert wrong in context
    assert "9f48b80fc98b7ce0cdb2ebff0cfcd0d45c4b5ea8" in context or re.search(
        r"[0-9a-f]{40}.*[0-9a-f]{40}", context
    )
    assert location


async def test_a_wrong_size_is_named_with_the_right_one(stage: Stage):
    ((code, context, _),) = errors_in(
        await sent(stage, "repository", *package(ITI41, a_provision(b"a document", size=11)))
    )

    assert code == "XDSRepositoryMetadataError"
    assert "11" in context
    assert "10" in context


async def test_a_missing_document_is_named(stage: Stage):
    provision = a_provision(None)

    ((code, _, location),) = errors_in(await sent(stage, "repository", *package(ITI41, provision)))

    assert code == "XDSMissingDocument"
    submission = provision.decoded.submission
    assert submission is not None
    assert submission.document_entries[0].entry_uuid in location


async def test_an_include_without_its_part_is_a_missing_document(stage: Stage):
    content_type, octets = package(ITI41, a_provision())
    octets = octets.replace(b"Content-ID: <document1@xdsi>", b"Content-ID: <other@xdsi>")

    errors = errors_in(await sent(stage, "repository", content_type, octets))

    assert [code for code, _, _ in errors] == ["XDSMissingDocument"]


async def test_a_document_without_metadata_is_named(stage: Stage):
    provision = a_provision()
    extra = ProvidedDocument(id="urn:uuid:00000000-0000-4000-8000-00000000000f", content=b"extra")
    provision = replace(provision, documents=(*provision.documents, extra))

    ((code, context, location),) = errors_in(await sent(stage, "repository", *package(ITI41, provision)))

    assert code == "XDSMissingDocumentMetadata"
    assert extra.id in context + location


async def test_a_submission_set_is_registered_once(stage: Stage):
    content_type, octets = package(ITI41, a_provision(set_unique_id="2.25.9100"))
    assert errors_in(await sent(stage, "repository", content_type, octets)) == []

    ((code, context, _),) = errors_in(
        await sent(stage, "repository", *package(ITI41, a_provision(set_unique_id="2.25.9100")))
    )

    assert code == "XDSDuplicateUniqueIdInRegistry"
    assert "2.25.9100" in context
    # The very same message, though, is answered as before.
    assert errors_in(await sent(stage, "repository", content_type, octets)) == []


async def test_a_document_keeps_its_bytes_for_ever(stage: Stage):
    assert (
        errors_in(await sent(stage, "repository", *package(ITI41, a_provision(unique_id="2.25.9001")))) == []
    )

    ((code, context, _),) = errors_in(
        await sent(stage, "repository", *package(ITI41, a_provision(b"other bytes", unique_id="2.25.9001")))
    )

    assert code in ("XDSNonIdenticalHash", "XDSNonIdenticalSize")
    assert "2.25.9001" in context


async def test_all_errors_of_a_submission_come_together(stage: Stage):
    provision = a_provision(b"a document", hash="1" * 40, size=3)

    errors = errors_in(await sent(stage, "repository", *package(ITI41, provision)))

    assert [code for code, _, _ in errors] == ["XDSRepositoryMetadataError"] * 2


@pytest.mark.parametrize(
    ("name", "transaction", "request_of"),
    [
        ("repository", ITI43, lambda: a_retrieval("2.999.404", "2.25.77")),
        ("source", RAD69, lambda: an_imaging_request("2.999.404")),
    ],
)
async def test_an_unknown_repository_is_named_for_each_document(
    stage: Stage, name: str, transaction: Any, request_of: Callable[[], Any]
):
    ((code, context, location),) = errors_in(await sent(stage, name, *package(transaction, request_of())))

    assert code == "XDSUnknownRepositoryId"
    assert "2.999.404" in context
    assert location in ("2.25.77", "2.25.404")


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        (an_imaging_request, "XDSDocumentUniqueIdError"),
        (lambda: an_imaging_request(study="../../etc"), "XDSRepositoryError"),
        (lambda: an_imaging_request(study=""), "XDSRepositoryError"),
    ],
)
async def test_an_instance_that_cannot_be_has_its_code(
    stage: Stage, request_of: Callable[[], Any], code: str
):
    ((found, context, location),) = errors_in(await sent(stage, "source", *package(RAD69, request_of())))

    assert found == code
    assert context
    assert location == "2.25.404"


@pytest.mark.parametrize(
    ("query", "code", "context"),
    [
        (lambda: a_query("urn:uuid:00000000-0000-4000-8000-000000000000"), "XDSUnknownStoredQuery", "0000"),
        (
            lambda: a_query(**{"$XDSDocumentEntryStatus": (APPROVED,)}),
            "XDSStoredQueryMissingParam",
            r"\$XDSDocumentEntryPatientId",
        ),
        (
            lambda: replace(
                a_query(),
                parameters={
                    "$XDSDocumentEntryPatientId": (("'A^^^&1.2.3&ISO'", "'B^^^&1.2.3&ISO'"),),
                    "$XDSDocumentEntryStatus": ((f"('{APPROVED}')",),),
                },
            ),
            "XDSStoredQueryParamNumber",
            r"\$XDSDocumentEntryPatientId",
        ),
        (
            lambda: replace(
                a_query(),
                parameters={
                    "$XDSDocumentEntryPatientId": (("'; DROP TABLE document_entry; --",),),
                    "$XDSDocumentEntryStatus": ((f"('{APPROVED}')",),),
                },
            ),
            "XDSRegistryError",
            r"\$XDSDocumentEntryPatientId",
        ),
    ],
)
async def test_a_query_that_cannot_be_answered_has_its_code(
    stage: Stage, query: Callable[[], StoredQueryRequest], code: str, context: str
):
    content_type = "application/soap+xml; charset=UTF-8"

    errors = errors_in(await sent(stage, "registry", content_type, envelope(ITI18, query())))

    assert [found for found, _, _ in errors] == [code]
    assert re.search(context, errors[0][1])


# --- DICOM -------------------------------------------------------------------------------------------


def a_stow(*files: bytes) -> tuple[str, bytes]:
    parts = b"".join(part_head("b", [("Content-Type", "application/dicom")]) + file for file in files)
    return multipart_type("b"), parts + multipart_end("b")


def an_instance(**changes: Any) -> bytes:
    return part10(a_ct(**{"PatientID": PATIENT, "PatientName": PATIENT_NAME, **changes}))


async def stowed(stage: Stage, content_type: str, body: bytes, study: str = "") -> Answer:
    path = "/dicomweb/studies" + (f"/{study}" if study else "")
    async with bounded(stage, "source") as client:
        await client.send(head(path, content_type, len(body), "Accept: application/dicom+json") + body)
        return await client.answer()


def failures_in(answer: Answer) -> list[tuple[int, str]]:
    module = json.loads(answer.body)
    return [
        (item["00081197"]["Value"][0], reason_of(item))
        for tag in ("00081198", "0008119A")
        for item in module.get(tag, {}).get("Value", [])
    ]


@pytest.mark.parametrize(
    ("spoil", "statuses"),
    [
        (lambda octets: octets[:-7], {400, 409}),
        (lambda octets: octets[: len(octets) // 2], {400, 409}),
        (lambda octets: octets[:140], {400, 409}),
        (lambda octets: b"GIF89a" + octets[6:128] + b"NOPE" + octets[132:], {400, 409}),
        (lambda octets: b"", {400, 409}),
        (lambda octets: octets.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.9.9.9\0", 1), {400, 409}),
    ],
    ids=["7 bytes short", "half", "the header alone", "another magic word", "nothing", "an unknown syntax"],
)
async def test_dicom_that_is_broken_is_refused_with_its_reason(
    stage: Stage, spoil: Callable[[bytes], bytes], statuses: set[int]
):
    answer = await stowed(stage, *a_stow(spoil(an_instance(SOPInstanceUID="2.25.31"))))

    assert answer.status in statuses
    ((reason, comment),) = failures_in(answer)
    assert reason & 0xF000 in (0xC000, 0xA000) or reason in (0x0110, 0x0122)
    assert comment
    async with bounded(stage, "source") as client:
        absent = await client.get("/dicomweb/studies/2.25.11/series/2.25.12/instances/2.25.31", "Accept: */*")
    assert absent.status == 404


async def test_one_broken_part_leaves_the_others_whole(stage: Stage):
    whole, broken = (
        an_instance(SOPInstanceUID=uid, StudyInstanceUID="2.25.41") for uid in ("2.25.42", "2.25.43")
    )

    answer = await stowed(stage, *a_stow(whole, broken[:-9]))

    assert answer.status == 202
    stored = json.loads(answer.body)["00081199"]["Value"]
    assert [item["00081155"]["Value"] for item in stored] == [["2.25.42"]]
    assert len(failures_in(answer)) == 1


@pytest.mark.parametrize(
    ("content_type", "body", "study", "statuses"),
    [
        ("application/json", b"{}", "", {415}),
        ('multipart/related; type="text/plain"; boundary=b', b"--b--", "", {415}),
        (multipart_type("b").replace("; boundary=b", ""), b"", "", {400, 415}),
        (*a_stow(), "", {400}),
        (*a_stow(an_instance()), "2.25.999", {409}),
        (*a_stow(an_instance()), "not-a-uid", {400}),
        (multipart_type("b"), a_stow(an_instance())[1][:-40], "", {400, 409}),
    ],
    ids=[
        "no multipart",
        "parts of another type",
        "no boundary",
        "no part",
        "another study",
        "a path without UID",
        "an end in its middle",
    ],
)
async def test_a_store_request_that_is_broken_has_its_status(
    stage: Stage, content_type: str, body: bytes, study: str, statuses: set[int]
):
    answer = await stowed(stage, content_type, body, study)

    assert answer.status in statuses, answer.body[:500]


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/studies/..%2f..%2fetc", "*/*", 400),
        ("/studies/2.25.404", "*/*", 404),
        ("/studies/2.25.404/metadata", "application/dicom+json", 404),
        ("/studies/" + "1" * 65, "*/*", 400),
        ("/studies/2.25.404", "text/html", 406),
    ],
)
async def test_a_wado_request_that_is_broken_has_its_status(
    stage: Stage, path: str, accept: str, status: int
):
    async with bounded(stage, "source") as client:
        answer = await client.get(f"/dicomweb{path}", f"Accept: {accept}")

    assert answer.status in (status, 404) if "%2f" in path else answer.status == status


# --- our own JSON ------------------------------------------------------------------------------------

JSON_PATHS = {
    "/consent/set": "registry",
    "/consent/policies": "registry",
    "/consent/why": "registry",
    "/consent/break": "registry",
    "/consent/sign-off": "registry",
    "/api/publish": "source",
    "/api/publications": "source",
    "/api/search": "audit",
}


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"{", {400}),
        (b"[" * 50_000, {400}),
        (b'{"patient_id": 5, "study_instance_uid": {}, "limit": "x"}', {400}),
        (b'"' + b"x" * 200_000 + b'"', {400, 413}),
        (b"\xff\xfe\x00", {400}),
    ],
    ids=["broken", "deep", "other types", "large", "no text"],
)
async def test_json_that_is_broken_has_its_status(stage: Stage, path: str, body: bytes, statuses: set[int]):
    name = JSON_PATHS[path]
    async with bounded(stage, name) as client:
        await client.send(head(path, "application/json", len(body)) + body)
        answer = await client.answer()

    assert answer.status in statuses, answer.body[:500]


# --- garbage on every port ---------------------------------------------------------------------------

GARBAGE = {
    "zeros": b"\0" * 70_000,
    "random": bytes((number * 197 + number // 7) % 251 for number in range(70_000)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x5a" * 600,
    "text": b"hello, is anybody there?\r\n\r\n" * 2_000,
}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("port", ["registry", "repository", "source", "audit", "feed", "syslog", "dimse"])
async def test_garbage_ends_the_connection(stage: Stage, port: str, garbage: str):
    async with asyncio.timeout(20), connected(stage.ports[port]) as client:
        try:
            await client.send(GARBAGE[garbage])
            while await client.reader.read(65_536):
                pass
        except ConnectionError:
            pass
    await make_known(stage, PATIENT)


def hl7(*segments: str) -> bytes:
    return b"\x0b" + "".join(f"{segment}\r" for segment in segments).encode() + b"\x1c\x0d"


MSH = "MSH|^~\\&|A|B|C|D|20260101||{}|{}|P|2.3.1"


@pytest.mark.parametrize(
    ("frame", "codes", "text"),
    [
        (hl7(MSH.format("ADT^A04", "1")), {"AE", "AR"}, "PID"),
        (hl7(MSH.format("ORU^R01", "2"), "PID|||P"), {"AE", "AR"}, "."),
        (hl7(MSH.format("ADT^A04", "3"), "EVN|A04", "PID|||X^^^&1.2.3&ISO"), {"AE", "AR"}, "."),
        (
            hl7(MSH.format("ADT^A40", "4"), "EVN|A40", f"PID|||{cx(PATIENT)}", f"MRG|{cx(PATIENT)}"),
            {"AE", "AR"},
            ".",
        ),
        (hl7("PID|||no header"), {"AE", "AR"}, "MSH"),
    ],
    ids=["no PID", "another message", "another domain", "a merge into itself", "no MSH"],
)
async def test_a_feed_message_that_cannot_be_taken_is_told_why(
    stage: Stage, frame: bytes, codes: set[str], text: str
):
    async with asyncio.timeout(BOUND_SECONDS), connected(stage.ports["feed"]) as client:
        await client.send(frame)
        answer = (await client.reader.readuntil(b"\x1c\x0d")).decode()

    fields = next(segment for segment in answer.split("\r") if segment.startswith("MSA")).split("|")
    assert fields[1] in codes
    assert re.search(text, answer)


async def test_a_feed_frame_beyond_1_mb_is_refused_and_cut(stage: Stage):
    async with asyncio.timeout(BOUND_SECONDS), connected(stage.ports["feed"]) as client:
        with_end = b"\x0b" + b"x" * (1024 * 1024 + 10)
        try:
            await client.send(with_end)
            answer = await client.reader.read(65_536)
        except ConnectionError:
            answer = b"AR"
        assert b"AR" in answer or answer == b""
        assert await client.ended()


@pytest.mark.parametrize(
    "frame",
    [b"12345678 x", b"-1 x", b"0 ", b" 5 hello", b"1e3 x"],
    ids=["eight digits", "negative", "empty", "no length", "no number"],
)
async def test_a_syslog_frame_that_cannot_be_is_cut_and_told_of(stage: Stage, frame: bytes):
    wanted = {"source": "xdsi-audit-repository", "type": "110126"}
    before = len(await trail_until(stage, lambda records: True, **wanted))
    async with asyncio.timeout(BOUND_SECONDS), connected(stage.ports["syslog"]) as client:
        await client.send(frame)
        assert await client.ended()

    records = await trail_until(stage, lambda records: len(records) > before, **wanted)
    assert len(records) == before + 1


async def test_a_record_that_cannot_be_read_is_kept_and_never_dropped(stage: Stage):
    unreadable = f"nobody can read this {uuid4()}".encode()
    async with asyncio.timeout(BOUND_SECONDS), connected(stage.ports["syslog"]) as client:
        await client.send(b"%d %s" % (len(unreadable), unreadable))

        records = await trail_until(stage, lambda records: bool(records), unparsed=True)

    assert records
    with closing(database_of(stage, Service.AUDIT_REPOSITORY)) as database:
        kept = database.execute("SELECT raw FROM audit_record WHERE state = 'unparsed'").fetchall()
    assert unreadable in [raw for (raw,) in kept]


# --- slow senders ------------------------------------------------------------------------------------


async def _cut_after(stage: Stage, port: str, words: bytes, drip: bytes = b"") -> float:
    """Seconds after which a connection is ended that says `words` and then a `drip` in each second."""
    began = time.monotonic()
    async with asyncio.timeout(40), connected(stage.ports[port]) as client:
        try:
            await client.send(words)
            ended = asyncio.create_task(client.reader.read())
            while not ended.done():
                await asyncio.wait((ended,), timeout=1.0)
                if not ended.done() and drip:
                    await client.send(drip)
        except ConnectionError:
            pass
        finally:
            ended.cancel()
    return time.monotonic() - began


async def test_whoever_is_too_slow_is_cut_and_nobody_waits_for_it(stage: Stage):
    """Deadlines of 15 s for a header and 20 s without progress; those of other ports were set shorter."""
    slow = {
        **{
            f"{name}: a header in drips": (name, b"POST / HTTP/1.1\r\n", b"X: y\r\n", 15)
            for name in ENDPOINTS
        },
        **{
            f"{name}: a body that stalls": (name, head(path, "application/soap+xml", 1_000_000), b"", 20)
            for name, path in ENDPOINTS.items()
        },
        "repository: a package that stalls": (
            "repository",
            head(ENDPOINTS["repository"], in_package(b"")[0], 1_000_000) + in_package(_root())[1][:300],
            b"",
            20,
        ),
        "audit: silence": ("audit", b"", b"", 15),
        "feed: a frame in drips": ("feed", b"\x0bMSH|", b"x", 2),
        "syslog: a frame in drips": ("syslog", b"1000 <", b"x", 2),
        "syslog: silence": ("syslog", b"", b"", 4),
        "dimse: silence": ("dimse", b"", b"", 10),
        "dimse: a PDU in drips": ("dimse", b"\x01\x00\x00\x00\x01\x00", b"x", 10),
    }
    waiting = {
        case: asyncio.create_task(_cut_after(stage, port, words, drip))
        for case, (port, words, drip, _) in slow.items()
    }

    while not all(task.done() for task in waiting.values()):
        async with asyncio.timeout(5):
            await serves(stage)
            await make_known(stage, PATIENT)
        await asyncio.sleep(0.5)

    late = {
        case: seconds
        for case, task in waiting.items()
        if (seconds := task.result()) > slow[case][3] + BOUND_SECONDS
    }
    assert late == {}


# --- in the end --------------------------------------------------------------------------------------


def test_no_log_knows_a_patient_and_none_tells_of_a_mistake(stage: Stage):
    """The last test of this module, over everything that was logged in it."""
    for _, member in stage.members:
        log = member.log.read_text("utf-8", "replace")
        assert log
        for canary in (PATIENT, PATIENT_NAME, "Canary", "Carla"):
            assert canary not in log, f"{member.service} logs {canary}"
        assert "Traceback" not in log, f"{member.service}: {log[log.index('Traceback') - 500 :][:3000]}"


def test_no_file_of_a_refused_message_stays(stage: Stage):
    data = stage.folder / "north" / "data"

    assert [path for path in data.glob("*/incoming/*") if path.is_file()] == []
    assert [path for path in data.glob("*/spool/*") if path.is_file()] == []


def test_memory_is_not_kept(stage: Stage):
    """After all of this no service is large; the bound is far below what was claimed and sent."""
    for _, member in stage.members:
        status = Path(f"/proc/{member.pid}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]
        assert peak < 400 * 1024, f"{member.service} had {peak // 1024} MiB"

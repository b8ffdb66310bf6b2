"""A community that answers with anything but an answer: ours is told so in time, and the others are shown."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Actor
from shared.messages.registry import Status
from shared.soap.client import PeerUnclear
from tests.support.gateway import EAST, NORTH, World, a_fragment, at, octets, world

SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
QUERY = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
RS = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
XDS = "urn:ihe:iti:xds-b:2007"
SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
MIB = 1024 * 1024
# The limit of the settings below, and what a busy machine adds.
BOUND_SECONDS = 15

Made = Callable[[str], AsyncIterator[bytes]]


def http(
    body: bytes, content_type: str = "application/soap+xml", status: str = "200 OK", more: str = ""
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def envelope(
    message_id: str, body: str, *, action: str = "urn:ihe:iti:2007:CrossGatewayQueryResponse"
) -> bytes:
    return (
        f'<s:Envelope xmlns:s="{SOAP12}" xmlns:a="{WSA}"><s:Header><a:Action>{action}</a:Action>'
        f"<a:RelatesTo>{message_id}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def found(objects: str) -> str:
    return (
        f'<q:AdhocQueryResponse xmlns:q="{QUERY}" xmlns:rim="{RIM}" status="{SUCCESS}">'
        f"<rim:RegistryObjectList>{objects}</rim:RegistryObjectList></q:AdhocQueryResponse>"
    )


def once(make: Callable[[str], bytes]) -> Made:
    async def made(message_id: str) -> AsyncIterator[bytes]:
        yield make(message_id)

    return made


async def _drip(message_id: str) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: 100000\r\n\r\n"
    while True:
        yield b"<"
        await asyncio.sleep(0.05)


async def _endless(message_id: str) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield b"%x\r\n%s\r\n" % (MIB, b"<a>" + b" " * (MIB - 3))
    while True:
        yield b"%x\r\n%s\r\n" % (MIB, b" " * MIB)


async def _endless_header(message_id: str) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX: "
    while True:
        yield b"x" * 65536


ANSWERS: dict[str, Made] = {
    "a page": once(lambda _: http(b"<html>hello</html>", "text/html")),
    "an error page": once(lambda _: http(b"oops", "text/plain", "500 Internal Server Error")),
    "no HTTP": once(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a redirect": once(
        lambda _: http(b"", status="302 Found", more="Location: http://127.0.0.1:1/admin\r\n")
    ),
    "SOAP 1.1": once(
        lambda _: http(
            b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body/></e:Envelope>'
        )
    ),
    "a DOCTYPE": once(lambda mid: http(b'<!DOCTYPE a [<!ENTITY b "c">]>' + envelope(mid, found("")))),
    "an answer to something else": once(lambda _: http(envelope("urn:uuid:0", found("")))),
    "an answer of another action": once(
        lambda mid: http(envelope(mid, found(""), action="urn:ihe:iti:2007:RegistryStoredQueryResponseX"))
    ),
    "no status": once(lambda mid: http(envelope(mid, f'<q:AdhocQueryResponse xmlns:q="{QUERY}"/>'))),
    "deep nesting": once(lambda mid: http(envelope(mid, found("<a>" * 5_000 + "</a>" * 5_000)))),
    "half an answer": once(lambda mid: http(envelope(mid, found("")))[:-20]),
    "compressed": once(lambda mid: http(envelope(mid, found("")), more="Content-Encoding: gzip\r\n")),
    "a package without parts": once(
        lambda _: http(b"--b--", 'multipart/related; type="application/xop+xml"; boundary="b"; start="<r>"')
    ),
    "nothing": once(lambda _: b""),
    "one byte at a time": _drip,
    "without end": _endless,
    "a header without end": _endless_header,
}


class Community:
    """What stands where a Responding Gateway should."""

    def __init__(self) -> None:
        self.answer: Made = ANSWERS["nothing"]
        self.port = 0
        self.connections = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Community]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=4 * MIB)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])  # type: ignore[index]
            body = await reader.readexactly(length)
            message_id = re.search(rb"MessageID[^>]*>([^<]+)<", body)[1].decode()  # type: ignore[index]
            async for octets_ in self.answer(message_id):
                writer.write(octets_)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def hostile() -> AsyncIterator[Community]:
    async with Community().listening() as made:
        yield made


@pytest.fixture
async def ours(tmp_path: Path, hostile: Community) -> AsyncIterator[World]:
    """Our gateway, which asks the hostile community too."""
    north = {NORTH: f"http://127.0.0.1:{hostile.port}/xca/responding"}
    async with world(tmp_path, east={"communities": north, "answer_seconds": 2}) as made:
        made.east.fragments = [a_fragment("1.1")]
        made.east.documents["2.999.1.20", "1.1"] = b"ours"
        yield made


def codes(response: Any) -> list[tuple[str, str]]:
    return [(error.code_for(Actor.REPOSITORY), error.location) for error in response.errors]


def resident() -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_is_no_answer_is_an_unavailable_community(ours: World, hostile: Community, name: str):
    hostile.answer = ANSWERS[name]
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()

    async with asyncio.timeout(BOUND_SECONDS):
        query = await ours.query()
        retrieval = await ours.documents(at(EAST, "1.1"), at(NORTH, "3.1"))

    assert query.status is Status.PARTIAL_SUCCESS
    assert [entry.unique_id for entry in query.objects.document_entries] == ["1.1"]
    assert codes(query) == [("XDSUnavailableCommunity", NORTH)]
    assert octets(retrieval) == {"1.1": b"ours"}
    assert codes(retrieval) == [("XDSUnavailableCommunity", "3.1")]
    assert resident() - before < 64 * MIB
    assert "127.0.0.1" not in query.errors[0].context


RETRIEVED = "urn:ihe:iti:2007:CrossGatewayRetrieveResponse"


def delivered(message_id: str, *names: str, parts: bytes = b"", end: bytes = b"\r\n--b--\r\n") -> bytes:
    listed = "".join(
        f"<x:DocumentResponse><x:RepositoryUniqueId>9.9</x:RepositoryUniqueId><x:DocumentUniqueId>{name}"
        "</x:DocumentUniqueId><x:mimeType>text/plain</x:mimeType><x:Document><xop:Include "
        f'xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:{name}"/></x:Document>'
        "</x:DocumentResponse>"
        for name in names
    )
    root = envelope(
        message_id,
        f'<x:RetrieveDocumentSetResponse xmlns:x="{XDS}">'
        f'<r:RegistryResponse xmlns:r="{RS}" status="{SUCCESS}"/>'
        f"{listed}</x:RetrieveDocumentSetResponse>",
        action=RETRIEVED,
    )
    head = b"--b\r\nContent-Type: application/xop+xml\r\nContent-ID: <r>\r\n\r\n"
    kind = (
        'multipart/related; type="application/xop+xml"; boundary="b"; start="<r>";'
        ' start-info="application/soap+xml"'
    )
    return http(head + root + parts + end, kind)


def part(name: str, content: bytes = b"three") -> bytes:
    return f"\r\n--b\r\nContent-Type: text/plain\r\nContent-ID: <{name}>\r\n\r\n".encode() + content


async def test_what_was_not_asked_for_does_not_come_through(ours: World, hostile: Community):
    hostile.answer = once(
        lambda mid: delivered(mid, "1.1", "3.1", "3.9", parts=part("1.1") + part("3.9") + part("3.1"))
    )

    response = await ours.documents(at(NORTH, "3.1"))

    assert octets(response) == {"3.1": b"three"}
    # As it was asked for, whatever the community wrote.
    assert response.documents[0].repository_unique_id == "2.999.3.20"
    assert response.documents[0].home_community_id == NORTH


async def test_a_document_that_is_left_out_without_a_word_is_an_error(ours: World, hostile: Community):
    hostile.answer = once(lambda mid: delivered(mid, "3.1", parts=part("3.1")))

    response = await ours.documents(at(NORTH, "3.1"), at(NORTH, "3.2"))

    assert response.status is Status.PARTIAL_SUCCESS
    assert octets(response) == {"3.1": b"three"}
    assert codes(response) == [("XDSDocumentUniqueIdError", "3.2")]


@pytest.mark.parametrize(
    "parts",
    [b"", part("3.2"), part("3.1")[:20], b"\r\n--b\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\nthree"],
    ids=["no part", "another part", "half a header", "a header without end"],
)
async def test_a_part_that_was_announced_and_does_not_come_breaks_the_answer(
    ours: World, hostile: Community, parts: bytes
):
    hostile.answer = once(lambda mid: delivered(mid, "3.1", parts=parts))

    async with asyncio.timeout(BOUND_SECONDS):
        with pytest.raises(PeerUnclear):
            await ours.documents(at(NORTH, "3.1"))
        assert octets(await ours.documents(at(EAST, "1.1"))) == {"1.1": b"ours"}
    assert ("ITI-39", "C", 8) in ours.initiating.told()


async def test_the_same_part_twice_comes_once(ours: World, hostile: Community):
    hostile.answer = once(lambda mid: delivered(mid, "3.1", parts=part("3.1") + part("3.1", b"other")))

    assert octets(await ours.documents(at(NORTH, "3.1"))) == {"3.1": b"three"}

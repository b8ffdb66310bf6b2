"""The calling side: what it sends, what it accepts as an answer, and what it says when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from shared.errors import UnknownPatientId
from shared.faults import SOAP12, SecurityFault, SoapFault
from shared.http.client import http_client
from shared.http.raw_asgi import FileRange
from shared.settings import TlsSettings
from shared.soap.client import PeerUnclear, PeerUnreachable, SoapClient
from shared.soap.envelope import RelayedFault, encode_fault
from shared.soap.mtom import Received, include
from tests.support.soap_exchange import (
    ECHO,
    KEEP,
    MESSAGE_ID,
    MTOM,
    SOAP,
    XDS,
    Documents,
    Doorkeeper,
    Echo,
    a_house,
    a_package,
    a_part,
    a_root,
    an_envelope,
    refusing,
)

URL = "http://peer.example/xds/test"


class Peer(httpx2.AsyncBaseTransport):
    """Answers with what it is given, and remembers what it was asked."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.answer = answer
        self.asked: list[tuple[httpx2.Request, bytes]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request, b"".join([chunk async for chunk in request.stream])))
        return self.answer(request)


class Stream(httpx2.AsyncByteStream):
    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks = chunks
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            await asyncio.sleep(0)
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


def answering(body: bytes | Stream, content_type: str = SOAP, status: int = 200) -> Peer:
    def answer(request: httpx2.Request) -> httpx2.Response:
        stream = Stream(body) if isinstance(body, bytes) else body
        return httpx2.Response(status, headers={"content-type": content_type}, stream=stream)

    return Peer(answer)


def echoed(text: str = "hi", action: str = ECHO.response_action, relates_to: str = MESSAGE_ID) -> bytes:
    return an_envelope(
        f'<e:EchoResponse xmlns:e="urn:echo">{text}</e:EchoResponse>',
        action=action,
        message_id="",
        headers=f"<a:RelatesTo>{relates_to}</a:RelatesTo>",
    )


def kept(*documents: str) -> bytes:
    listed = "".join(f"<x:Document>{inside}</x:Document>" for inside in documents)
    return an_envelope(
        f'<x:KeepResponse xmlns:x="{XDS}">{listed}</x:KeepResponse>',
        action=KEEP.response_action,
        message_id="",
        headers=f"<a:RelatesTo>{MESSAGE_ID}</a:RelatesTo>",
    )


SOAP11_ANSWER = (
    b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><a/></s:Body></s:Envelope>'
)


@pytest.fixture
def client(tmp_path):
    """Makes clients of a peer."""
    folder = tmp_path / "received"
    folder.mkdir()

    def make(transport: httpx2.AsyncBaseTransport, **options: object) -> SoapClient:
        http = http_client(TlsSettings(), peers=[URL], transport=transport)
        return SoapClient(http, spool_folder=folder, **options)  # type: ignore[arg-type]

    make.folder = folder  # type: ignore[attr-defined]
    return make


def in_process(house) -> httpx2.ASGITransport:
    return httpx2.ASGITransport(app=house.service.asgi)


async def echo(client: SoapClient, text: str = "hi", **options: object) -> Echo:
    return await client.call(ECHO, URL, Echo(text), message_id=MESSAGE_ID, **options)  # type: ignore[arg-type]


# --- with our own service -----------------------------------------------------------------------------


async def test_what_is_asked_is_answered(tmp_path, client):
    house = a_house(tmp_path)

    assert await client(in_process(house)).call(ECHO, URL, Echo("a & b < ü")) == Echo("a & b < ü")


async def test_documents_go_and_come_back_to_the_byte(tmp_path, client):
    big = tmp_path / "big"
    big.write_bytes(b"\r\n--" * 300_000)
    held = Received(big, 5, "", "")
    request = Documents((b"\r\n\x00", FileRange(big, 2, 1_000_000), held, b""))

    answer = await client(in_process(a_house(tmp_path, handle_keep=_same))).call(KEEP, URL, request)

    contents = [document.path.read_bytes() for document in answer.documents]
    assert contents == [b"\r\n\x00", big.read_bytes()[2:1_000_002], big.read_bytes()[:5], b""]
    assert all(document.path.parent == client.folder for document in answer.documents)


async def _same(unit, request):
    return Documents(tuple(document.path.read_bytes() for document in request.documents))


@pytest.mark.parametrize("transaction", [ECHO, KEEP])
async def test_a_fault_is_relayed_with_its_codes(tmp_path, client, transaction):
    house = a_house(tmp_path, doorkeeper=Doorkeeper(SecurityFault("FailedCheck")))

    with pytest.raises(SoapFault, match="security token") as refused:
        await client(in_process(house)).call(
            transaction, URL, Echo("") if transaction is ECHO else Documents()
        )

    assert refused.value.fault_code == "Sender"
    assert refused.value.subcode[1] == "FailedCheck"
    assert refused.value.http_status == 400


async def test_an_orderly_failure_is_an_answer(tmp_path, client):
    house = a_house(tmp_path, handle_echo=refusing(UnknownPatientId("P1")))

    assert await client(in_process(house)).call(ECHO, URL, Echo("hi")) == Echo("P1")


async def test_the_assertion_goes_out_to_the_byte(client):
    peer = answering(echoed())
    assertion = b'<s:Assertion xmlns:s="urn:x"  ID = "_1"/>'

    await echo(client(peer, assertion=lambda: assertion))
    await echo(client(peer, assertion=lambda: None))

    assert assertion in peer.asked[0][1]
    assert b"Security" not in peer.asked[1][1]


async def test_headers_say_what_is_sent(client):
    simple, mtom = answering(echoed()), answering(a_package(a_root(kept())), MTOM)

    await echo(client(simple))
    await client(mtom).call(KEEP, URL, Documents((b"12",)), message_id=MESSAGE_ID)

    for peer, action in ((simple, ECHO.action), (mtom, KEEP.action)):
        request, body = peer.asked[0]
        assert f'action="{action}"' in request.headers["content-type"]
        assert int(request.headers["content-length"]) == len(body)
        assert "transfer-encoding" not in request.headers
        assert request.headers["accept-encoding"] == "identity"


# --- what is no answer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [httpx2.ConnectError("refused"), httpx2.ConnectTimeout("slow"), httpx2.PoolTimeout("full")],
)
async def test_without_connection_the_peer_is_unreachable(client, error):
    def refuse(request):
        raise error

    with pytest.raises(PeerUnreachable):
        await echo(client(Peer(refuse)))


async def test_a_peer_that_is_not_configured_is_not_asked(client):
    with pytest.raises(PeerUnreachable, match="not a configured peer"):
        await client(answering(echoed())).call(ECHO, "http://other.example/", Echo(""))


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ReadTimeout("slow"),
        httpx2.WriteError("reset"),
        httpx2.RemoteProtocolError("gone"),
        httpx2.ReadError(""),
    ],
)
async def test_after_sending_the_outcome_is_unclear(client, error):
    def fail(request):
        raise error

    with pytest.raises(PeerUnclear):
        await echo(client(Peer(fail)))
    broken = Stream(echoed()[:40], error)
    with pytest.raises(PeerUnclear):
        await echo(client(answering(broken)))
    assert broken.closed


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (echoed(relates_to="urn:uuid:other"), SOAP, 200, "RelatesTo"),
        (echoed(relates_to=""), SOAP, 200, "no wsa:RelatesTo"),
        (echoed(action="urn:echo:OtherResponse"), SOAP, 200, "wsa:Action"),
        (SOAP11_ANSWER, "text/xml", 200, "SOAP 1.1"),
        (echoed()[:-5], SOAP, 200, "well-formed"),
        (b"", SOAP, 200, "well-formed"),
        (b"<html/>", "text/html", 502, "HTTP 502"),
        (b"", "", 202, "HTTP 202"),
        (an_envelope("", action=ECHO.response_action), SOAP, 200, "empty"),
        (f'<s:Envelope xmlns:s="{SOAP12}"/>'.encode(), SOAP, 200, "Body"),
        (a_package(a_root(echoed()))[:-9], MTOM, 200, "truncated"),
        (a_package(a_part(b"", "Content-ID: <other>")), MTOM, 200, "root"),
    ],
)
async def test_what_is_not_the_answer_is_unclear(client, body, content_type, status, says):
    with pytest.raises(PeerUnclear, match=says):
        await echo(client(answering(body, content_type, status)))
    with pytest.raises(PeerUnclear, match=says):
        async with client(answering(body, content_type, status)).stream(
            ECHO, URL, Echo("hi"), message_id=MESSAGE_ID
        ):
            pass
    assert list(client.folder.iterdir()) == []


async def test_a_slow_answer_is_unclear(client):
    class Slow(Stream):
        async def __aiter__(self):
            await asyncio.sleep(60)
            yield b""

    with pytest.raises(PeerUnclear, match=r"within 0\.05 s"):
        await echo(client(answering(Slow())), timeout_seconds=0.05)


@pytest.mark.parametrize("content_type", ["text/xml; charset=utf-8", SOAP])
@pytest.mark.parametrize(
    ("code", "understood"),
    [
        ("s:Client", "Sender"),
        ("s:Server", "Receiver"),
        ("s:Client.Authentication", "Sender"),
        ("", "Receiver"),
    ],
)
async def test_the_reason_of_a_fault_of_soap_1_1_is_told(client, content_type, code, understood):
    fault = f"<s:Fault><faultcode>{code}</faultcode><faultstring>no such service</faultstring></s:Fault>"
    body = SOAP11_ANSWER.decode().replace("<a/>", fault)

    with pytest.raises(RelayedFault, match=r"no such service \(a fault of SOAP 1\.1\)") as told:
        await echo(client(answering(body.encode(), content_type, 500)))
    assert told.value.fault_code == understood


async def test_the_root_of_a_package_alone_is_an_answer(client):
    only_root = answering(kept(), 'application/xop+xml; charset=utf-8; type="application/soap+xml"')
    assert (await client(only_root).call(KEEP, URL, Documents(()), message_id=MESSAGE_ID)).documents == ()


@pytest.mark.parametrize("status", [200, 400, 500, 503])
async def test_a_fault_is_a_fault_under_any_status(client, status):
    body = encode_fault(SecurityFault("FailedCheck"), "")

    with pytest.raises(RelayedFault):
        await echo(client(answering(body, status=status)))


async def test_files_that_no_document_refers_to_are_removed(client):
    message = a_package(
        a_root(kept(include("a@x"), "AAEC")),
        a_part(b"1", "Content-ID: <a@x>"),
        a_part(b"2", "Content-ID: <b@x>"),
    )

    answer = await client(answering(message, MTOM)).call(KEEP, URL, Documents(), message_id=MESSAGE_ID)

    assert [document.path.read_bytes() for document in answer.documents] == [b"1", b"\x00\x01\x02"]
    assert len(list(client.folder.iterdir())) == 2


# --- streams ------------------------------------------------------------------------------------------


async def taken(stream) -> list[tuple[str, bytes]]:
    return [
        (content_id, b"".join([chunk async for chunk in chunks]))
        async for content_id, _, chunks in stream.parts
    ]


PARTS = (
    a_part(b"\r\n1", "Content-ID: <a@x>", "Content-Type: application/dicom"),
    a_part(b"2", "Content-ID: <b@x>"),
)


@pytest.mark.parametrize("root_at", [0, 1, 2])
async def test_documents_are_streamed_in_order_wherever_the_root_is(client, root_at):
    parts = [*PARTS]
    parts.insert(root_at, a_root(kept(include("a@x"), include("b@x"))))
    message = a_package(*parts)
    chunks = Stream(*(message[n : n + 7] for n in range(0, len(message), 7)))

    async with client(answering(chunks, MTOM)).stream(
        KEEP, URL, Documents(), message_id=MESSAGE_ID
    ) as stream:
        assert stream.head == Documents((None, None))
        assert await taken(stream) == [("a@x", b"\r\n1"), ("b@x", b"2")]

    assert chunks.closed
    assert list(client.folder.iterdir()) == []


async def test_inline_documents_of_a_stream_are_parts_too(client):
    for message, header in ((a_package(a_root(kept("AAEC"))), MTOM), (kept("AAEC"), SOAP)):
        async with client(answering(message, header)).stream(
            KEEP, URL, Documents(), message_id=MESSAGE_ID
        ) as stream:
            assert [content for _, content in await taken(stream)] == [b"\x00\x01\x02"]
    assert list(client.folder.iterdir()) == []


async def test_a_stream_that_breaks_off_says_so_where_it_is_read(client):
    message = a_package(a_root(kept(include("a@x"), include("b@x"))), *PARTS)
    for broken in (Stream(message[:-20], httpx2.ReadError("reset")), Stream(message[:-20])):
        async with client(answering(broken, MTOM)).stream(
            KEEP, URL, Documents(), message_id=MESSAGE_ID
        ) as stream:
            with pytest.raises(PeerUnclear):
                await taken(stream)
        assert broken.closed


async def test_a_stream_may_be_left_at_any_time(client):
    message = a_package(a_root(kept(include("a@x"), include("b@x"))), *PARTS)
    chunks = Stream(*(message[n : n + 50] for n in range(0, len(message), 50)))

    async with client(answering(chunks, MTOM)).stream(
        KEEP, URL, Documents(), message_id=MESSAGE_ID
    ) as stream:
        async for _, _, content in stream.parts:
            await anext(content)
            await content.aclose()
            break

    assert chunks.closed


async def test_the_readers_own_mistakes_are_not_the_peers(client):
    message = a_package(a_root(kept()))

    with pytest.raises(ZeroDivisionError):
        async with client(answering(message, MTOM)).stream(KEEP, URL, Documents(), message_id=MESSAGE_ID):
            raise ZeroDivisionError

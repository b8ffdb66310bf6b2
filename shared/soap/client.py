"""The calling side of SOAP transactions: requests of any size, answers as values or as a stream (ITI TF-2
V.3).

What goes out is read from its files while it is sent; what comes back goes to files while it arrives, or
straight to whoever reads the stream. Every answer is checked to be the answer to its request.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import unquote
from uuid import uuid4

import httpx2

from shared.faults import SoapFault
from shared.http.client import CONNECT_SECONDS, EgressRefused
from shared.http.links import received_body
from shared.http.media_type import MULTIPART, SOAP_XML, XOP_XML, MediaType, decode_media_type
from shared.http.multipart import Parts
from shared.http.pieces import FileRange, Piece, read_ahead, size
from shared.http.raw_asgi import BodyTooLarge
from shared.soap.envelope import (
    RelayedFault,
    encode_request,
    read_envelope,
    read_fault,
    read_fault_of_soap11,
    shown,
)
from shared.soap.folding import folded_references, own_reference, parse_folded
from shared.soap.inline import extract
from shared.soap.mtom import INCLUDE, Attachments, MtomBody, RelayedBody
from shared.soap.package import (
    Package,
    SoapLimits,
    is_root,
    read_package,
    read_root,
    spool_part,
    unbracketed,
    write_package,
)
from shared.soap.transaction import SoapTransaction
from shared.xml import Element, XmlError, parse

Request = TypeVar("Request")
Response = TypeVar("Response")

_ANSWER_LIMITS = SoapLimits(message_bytes=64 * 1024**3, document_bytes=8 * 1024**3, parts=20_000)
# Some peers give the root of a package alone when there is nothing to attach (XOP without multipart).
_XML_TYPES = frozenset({SOAP_XML, XOP_XML, "text/xml", "application/xml"})
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
    EgressRefused,
)
_CUT = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)


class PeerError(Exception):
    """A peer gave no answer that can be used; `url` is where it was asked."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class PeerUnreachable(PeerError):
    """No connection came about: the request was not sent, and nothing was done."""


class PeerUnclear(PeerError):
    """Something was sent and no proper answer came: whether the request was carried out is unknown."""


class PeerGone(PeerUnclear):
    """The connection ended before any answer, as a kept one does when the peer closes it at that moment: a
    request that changes nothing may be sent again."""


class StreamedPart(NamedTuple):
    """One document on its way; `chunks` must be taken before the next part is asked for."""

    content_id: str
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class StreamedAnswer(Generic[Response]):
    """An answer whose documents are still to come.

    `head` is the decoded message, its documents known by content id alone; `parts` brings each of them once,
    in the order of the message. Both may raise `PeerUnclear` while they are read. `rest` is where they all
    come from, when somebody else may read that in place of `parts`.
    """

    head: Response
    parts: AsyncIterator[StreamedPart]
    rest: RelayedBody | None = None


#: An assertion, or none.
Given = bytes | None


class SoapClient:
    """Calls transactions of peers.

    Parameters
    ----------
    http
        The client of `shared.http.client`, with its peers allowed and mutual TLS.
    assertion
        Gives the signed assertion to send with the next request, to the byte, or None for none (ITI-40); at
        once, or awaited where somebody has to be asked for it.
    spool_folder
        Where received documents are put; the system's temporary folder by default.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        assertion: Callable[[], Given | Awaitable[Given]] | None = None,
        spool_folder: Path | None = None,
    ) -> None:
        self._http = http
        self._assertion = assertion
        self._folder = spool_folder or Path(tempfile.gettempdir())

    async def call(
        self,
        transaction: SoapTransaction[Request, Response],
        url: str,
        request: Request,
        *,
        message_id: str | None = None,
        timeout_seconds: float = 30,
    ) -> Response:
        """Send `request` and return the answer; documents in it are files that belong to the caller.

        Parameters
        ----------
        message_id
            `wsa:MessageID`; the same for each attempt when a submission is sent again.
        timeout_seconds
            For the whole exchange of a SIMPLE transaction; for each step forward of an MTOM one, whose size
            is open.

        Raises
        ------
        SoapFault
            The peer answered with a fault, under whatever HTTP status.
        PeerUnreachable, PeerUnclear
            There is no answer.
        """
        own_id = message_id or f"urn:uuid:{uuid4()}"
        package = Package()
        try:
            async with (
                _within(None if transaction.mtom else timeout_seconds, url),
                self._asked(transaction, url, request, own_id, timeout_seconds) as answer,
            ):
                with _unclear(url):
                    media_type = _media_type(answer)
                    await read_package(
                        package, _chunks(answer), media_type, folder=self._folder, limits=_ANSWER_LIMITS
                    )
                    body = await self._body(transaction, package, own_id, answer.status_code)
                    response = await _decoded(transaction, body, package.attachments, heavy=package.guarded)
                    _discard_unreferenced(package, body)
                    return response
        except BaseException:
            package.discard()
            raise

    @asynccontextmanager
    async def stream(
        self,
        transaction: SoapTransaction[Request, Response],
        url: str,
        request: Request,
        *,
        message_id: str | None = None,
        timeout_seconds: float = 30,
    ) -> AsyncIterator[StreamedAnswer[Response]]:
        """Send `request` and yield the answer while its documents arrive, in constant memory.

        Documents that came before the message itself, or in it as base64, wait in files that are removed at
        the end. `timeout_seconds` is for each step forward. Raises as `call` does.
        """
        own_id = message_id or f"urn:uuid:{uuid4()}"
        package = Package()
        try:
            async with self._asked(transaction, url, request, own_id, timeout_seconds) as answer:
                with _unclear(url):
                    rest = await self._head(package, answer)
                    body = await self._body(transaction, package, own_id, answer.status_code)
                    head = await _decoded(transaction, body, {}, heavy=package.guarded)
                async with aclosing(_streamed(package, rest, url)) as parts:
                    yield StreamedAnswer(head, parts, _relayed_body(package, rest, answer))
        finally:
            package.discard()

    @asynccontextmanager
    async def _asked(
        self,
        transaction: SoapTransaction[Request, Any],
        url: str,
        request: Request,
        message_id: str,
        timeout_seconds: float,
    ) -> AsyncIterator[httpx2.Response]:
        body = transaction.encode_request(request)
        assertion = self._assertion() if self._assertion else None
        if isinstance(assertion, Awaitable):
            assertion = await assertion
        envelope = encode_request(transaction.action, message_id, url, body.xml, assertion)
        content_type, content, length = _content(transaction, envelope, body)
        timeout = httpx2.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        http_request = self._http.build_request(
            "POST",
            url,
            content=content,
            headers={
                "content-type": content_type,
                "content-length": str(length),
                # Compressed answers would have to be unpacked within limits; nobody needs them.
                "accept-encoding": "identity",
            },
            timeout=timeout,
        )
        try:
            answer = await self._http.send(http_request, stream=True)
        except _NOT_SENT as error:
            raise PeerUnreachable(url, _reason(error)) from error
        except _CUT as error:
            raise PeerGone(url, _reason(error)) from error
        except httpx2.HTTPError as error:
            raise PeerUnclear(url, _reason(error)) from error
        finally:
            if not isinstance(content, bytes):
                await content.aclose()
        try:
            yield answer
        finally:
            await answer.aclose()

    async def _head(self, package: Package, answer: httpx2.Response) -> Parts | None:
        """Read as far as the message itself, and return what follows."""
        media_type = _media_type(answer)
        if media_type.name != MULTIPART:
            await read_package(
                package, _chunks(answer), media_type, folder=self._folder, limits=_ANSWER_LIMITS
            )
            return None
        start = unbracketed(media_type.parameter("start"))
        parts = Parts(_chunks(answer), media_type.parameter("boundary"), max_parts=_ANSWER_LIMITS.parts + 1)
        async for part in parts:
            if is_root(part, start):
                await read_root(package, part, self._folder, _ANSWER_LIMITS)
                return parts
            package.attachments[part.content_id] = await spool_part(part, self._folder, _ANSWER_LIMITS)
        raise XmlError("the answer has no root part")

    async def _body(
        self, transaction: SoapTransaction[Any, Any], package: Package, message_id: str, status: int
    ) -> Element:
        """The element in the Body of the answer, after checking that it is the answer."""
        root = await asyncio.to_thread(parse, package.xml) if package.guarded else parse_folded(package.xml)
        if fault := read_fault_of_soap11(root, status):
            raise fault
        envelope = read_envelope(root)
        if envelope.body is None:
            raise XmlError("the Body of the answer is empty")
        if fault := read_fault(envelope.body, status):
            raise fault
        if not envelope.relates_to:
            raise XmlError(
                "the answer has no wsa:RelatesTo, so that nothing tells to which request it belongs"
            )
        if envelope.relates_to != message_id.strip():
            raise XmlError("the answer does not relate to this request (wsa:RelatesTo)")
        if envelope.action not in (transaction.response_action, f"{transaction.action}Response"):
            raise XmlError(f"the answer's wsa:Action is not {transaction.response_action}")
        if transaction.mtom:
            package.attachments.update(extract(envelope.body, self._folder))
        return envelope.body


# --- asking ------------------------------------------------------------------------------------------


def _content(
    transaction: SoapTransaction[Any, Any], envelope: bytes, body: MtomBody
) -> tuple[str, bytes | AsyncGenerator[bytes, None], int]:
    if not transaction.mtom:
        return f'{SOAP_XML}; charset=UTF-8; action="{transaction.action}"', envelope, len(envelope)
    content_type, pieces = write_package(envelope, body.attachments, action=transaction.action)
    if len(pieces) == 1 and isinstance(whole := pieces[0], bytes):
        return content_type, whole, len(whole)
    return content_type, _from_files(pieces), sum(map(size, pieces))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def _within(seconds: float | None, url: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise PeerUnclear(url, f"no answer within {seconds:g} s") from error


# --- answers -----------------------------------------------------------------------------------------


@contextmanager
def _unclear(url: str) -> Iterator[None]:
    """What is wrong with an answer says nothing about what became of the request."""
    try:
        yield
    except (RelayedFault, PeerError):
        raise
    except (SoapFault, XmlError, BodyTooLarge) as error:
        raise PeerUnclear(url, f"the answer cannot be used: {error}") from error
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise PeerUnclear(url, f"the answer broke off: {_reason(error)}") from error


def _media_type(answer: httpx2.Response) -> MediaType:
    header = answer.headers.get("content-type", "")
    media_type = decode_media_type(header) if header else MediaType("", {})
    if media_type.name not in _XML_TYPES and media_type.name != MULTIPART:
        form = f"as {shown(media_type.name)}" if media_type.name else "without a Content-Type"
        raise XmlError(f"HTTP {answer.status_code} came {form}, which is no SOAP message")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise XmlError("the answer is compressed, which was not asked for")
    return media_type


async def _chunks(answer: httpx2.Response) -> AsyncIterator[bytes]:
    async for chunk in received_body(answer) or answer.aiter_raw():
        yield chunk


def _relayed_body(package: Package, rest: Parts | None, answer: httpx2.Response) -> RelayedBody | None:
    """Where all the documents are to come from; None when some are here, or it cannot be handed over."""
    body = received_body(answer)
    if rest is None or package.attachments or body is None:
        return None
    return RelayedBody(body, rest.scanner)


async def _decoded(
    transaction: SoapTransaction[Any, Response], body: Element, attachments: Attachments, *, heavy: bool
) -> Response:
    if heavy:
        return await asyncio.to_thread(transaction.decode_response, body, attachments)
    return transaction.decode_response(body, attachments)


def _discard_unreferenced(package: Package, body: Element) -> None:
    hrefs = [include.get("href", "") for include in body.iter(INCLUDE)]
    referenced = {unquote(own_reference(href)[4:]) for href in hrefs}
    referenced |= {unquote(content_id) for href in hrefs for content_id in folded_references(href)[1]}
    Package(
        attachments={cid: received for cid, received in package.attachments.items() if cid not in referenced}
    ).discard()


async def _streamed(package: Package, rest: Parts | None, url: str) -> AsyncGenerator[StreamedPart, None]:
    for content_id, received in package.attachments.items():
        yield StreamedPart(content_id, {}, _from_files((FileRange(received.path, 0, received.size),)))
    while rest is not None:
        with _unclear(url):
            part = await anext(rest, None)
        if part is None:
            return
        if part.content_id:
            yield StreamedPart(part.content_id, part.headers, _guarded(part.chunks(), url))


async def _from_files(pieces: Sequence[Piece]) -> AsyncGenerator[bytes, None]:
    async with aclosing(read_ahead(pieces)) as chunks:
        async for chunk in chunks:
            yield bytes(chunk)


async def _guarded(chunks: AsyncIterator[bytes], url: str) -> AsyncIterator[bytes]:
    while True:
        with _unclear(url):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk

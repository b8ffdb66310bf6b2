"""Raw ASGI endpoints: bodies in, pieces out, and who is at the other end; for SOAP and for streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from shared.attempts import to_its_end
from shared.http.incoming import SourceBroken
from shared.http.passage import Passage
from shared.http.pieces import BodyBroken, FileRange, FileTruncated, Piece, Stream, read_ahead, total_size
from shared.security.caller import Node
from shared.security.peer_certificate import node_from_der

__all__ = [
    "BodyBroken",
    "BodyTooLarge",
    "ClientGone",
    "FileRange",
    "FileTruncated",
    "Piece",
    "ServerBusy",
    "Stream",
    "body_chunks",
    "node_of",
    "raw_first",
    "receive_body",
    "send_body",
    "send_passage",
    "send_pieces",
    "send_stream",
    "until_gone",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PIECES = "xdsi.pieces"
"""Extension of the scope: coroutine function that sends pieces as the whole body, after the start message."""

PASSAGE = "xdsi.passage"
"""Extension of the scope: coroutine function that sends a `Passage` as the whole body, after the start
message."""

PEER_CERTIFICATE = "xdsi.peer_certificate"
"""Extension of the scope: the client's certificate, DER; None without TLS."""

LEAVING = "xdsi.leaving"
"""Extension of the scope, present when the server is about to stop and should be sent nothing more."""

RELAYED = "xdsi.relayed"
"""Extension of the scope, present when the address of the client is that of a proxy which named no client."""


def raw_first(path: str, raw: App, application: App) -> App:
    """`raw` at `path`, with and without a slash at its end, for every method; `application` everywhere else.

    The path does not go through the application's own layers, which cost a tenth of a short request; nor is
    it answered with a redirect, which no SOAP client follows.
    """
    paths = frozenset((path, f"{path}/"))

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        await (raw if scope.get("path") in paths else application)(scope, receive, send)

    return asgi


class BodyTooLarge(Exception):
    """The request's body is longer than its limit; the answer is 413."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is longer than {limit} bytes, which is the most that is accepted here")
        self.limit = limit


class ClientGone(Exception):
    """The client closed the connection, or was cut for being too slow; there is nobody left to answer."""


class ServerBusy(Exception):
    """More is asked than this server takes at once; the answer is 503 with Retry-After."""


async def send_pieces(
    scope: Scope, send: Send, *, status: int, headers: Headers, pieces: Sequence[Piece]
) -> None:
    """Answer with `pieces` as the body; Content-Length is their sum and must not be among `headers`.

    On our own server a plain connection is served by sendfile and a TLS connection by reading ahead in a
    thread; any other server gets ordinary ASGI messages. Memory does not grow with the body.

    Raises
    ------
    ClientGone
        The client is gone or does not take what is sent; known on our own server alone.
    BodyBroken
        A file is shorter than its range, or a stream broke; the connection is closed, so that the client sees
        a broken body.
    """
    length = total_size(pieces)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", b"%d" % length), *headers],
        }
    )
    if scope["method"] == "HEAD" or length == 0:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    elif PIECES in scope.get("extensions", ()):
        await scope["extensions"][PIECES](pieces)
    else:
        await _send_chunks(send, pieces)


async def _send_chunks(send: Send, pieces: Sequence[Piece]) -> None:
    async with aclosing(read_ahead(pieces)) as chunks:
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def until_gone(departure: asyncio.Future[Any]) -> AsyncGenerator[None]:
    """What is done for a client is cut short at its `departure`, whatever is waited for.

    Raises
    ------
    ClientGone
        It left.
    """

    def cut(_: object) -> None:
        with suppress(RuntimeError):  # it was just done
            limit.reschedule(0)

    try:
        async with asyncio.timeout(None) as limit:
            departure.add_done_callback(cut)
            try:
                yield
            finally:
                departure.remove_done_callback(cut)
    except TimeoutError:
        if not limit.expired():
            raise
        raise ClientGone("the client stopped taking the response") from None


async def send_stream(
    receive: Receive, send: Send, *, status: int, headers: Headers, chunks: AsyncGenerator[bytes | bytearray]
) -> None:
    """Answer with a body that is made while it is sent, of a length that nobody knows (chunked).

    The request's body must have been received. Memory does not grow with the body.

    Raises
    ------
    ClientGone
        The client is gone, or was cut for not taking what is sent.
    BodyBroken
        What was promised does not come; raised through to the server, it ends the connection in the middle of
        the body, so that the client sees that.
    """
    gone = asyncio.create_task(_disconnected(receive))
    try:
        async with until_gone(gone), aclosing(chunks):
            await send({"type": "http.response.start", "status": status, "headers": list(headers)})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()


async def send_passage(scope: Scope, send: Send, *, status: int, headers: Headers, passage: Passage) -> None:
    """Answer with a body that passes from another socket, where the scope has the extension for it.

    Raises
    ------
    ClientGone
        The client is gone, or was cut for not taking what is sent.
    BodyBroken
        What was promised does not come; the connection is ended in the middle of the body.
    """
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    try:
        await scope["extensions"][PASSAGE](passage)
    except SourceBroken:
        await to_its_end(passage.on_broken())
        raise


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_body(send: Send, *, status: int, headers: Headers, body: bytes = b"") -> None:
    """Answer with a body that is at hand; Content-Length is added."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def body_chunks(receive: Receive) -> AsyncGenerator[bytes]:
    """Yield the request's body as it arrives; the client waits while the consumer does.

    Raises
    ------
    ClientGone
        The connection ended before the body did.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the connection ended before the request did")
        if body := message.get("body", b""):
            yield body
        more = message.get("more_body", False)


async def receive_body(receive: Receive, *, limit: int) -> bytes:
    """Receive a body of at most `limit` bytes into memory.

    Raises
    ------
    BodyTooLarge
        As soon as more than `limit` bytes have arrived.
    ClientGone
        The connection ended before the body did.
    """
    received = bytearray()
    async with aclosing(body_chunks(receive)) as chunks:
        async for chunk in chunks:
            received += chunk
            if len(received) > limit:
                raise BodyTooLarge(limit)
    return bytes(received)


def node_of(scope: Scope) -> Node:
    """The system at the other end of the connection (ITI-19): its address, and its certificate under TLS."""
    client, extensions = scope.get("client"), scope.get("extensions", {})
    return node_from_der(
        extensions.get(PEER_CERTIFICATE), client[0] if client else "", relayed=RELAYED in extensions
    )

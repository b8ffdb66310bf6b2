"""HTTP requests and their answers, kept as files while they pass (`XDSI_WIRE_FOLDER`)."""

from __future__ import annotations

from http.client import responses
from typing import Any

from shared.attempts import to_its_end
from shared.http.raw_asgi import PASSAGE, PIECES, App, Receive, Scope, Send
from shared.telemetry.trace import trace_id
from shared.telemetry.wire import Message, WireFolder


def kept_in(folder: WireFolder, app: App) -> App:
    """`app`, whose exchanges are kept in `folder`; what leaves goes by ordinary messages, to be seen."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        request, answer = Message(_request_head(scope)), Message()

        async def received() -> Any:
            message = await receive()
            request.add(message.get("body", b""))
            return message

        async def sent(message: Any) -> None:
            answer.add(_answer_head(message) if "status" in message else message.get("body", b""))
            await send(message)

        for extension in (PIECES, PASSAGE):
            scope["extensions"].pop(extension, None)
        try:
            await app(scope, received, sent)
        finally:
            await to_its_end(folder.keep(trace_id(), "http", request, answer))

    return asgi


def _request_head(scope: Scope) -> bytes:
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    target = scope.get("raw_path") or scope["path"].encode()
    line = b"%s %s%s HTTP/%s" % (scope["method"].encode(), target, query, scope["http_version"].encode())
    return _head(line, scope["headers"])


def _answer_head(message: Any) -> bytes:
    status = message["status"]
    return _head(f"HTTP/1.1 {status} {responses.get(status, '')}".encode(), message.get("headers", ()))


def _head(line: bytes, headers: Any) -> bytes:
    return b"\r\n".join((line, *(b"%s: %s" % (name, value) for name, value in headers), b"", b""))

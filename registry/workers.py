"""What a further worker of the registry answers itself, and what it hands over to the first one.

On SQLite the first worker alone writes. Whatever a further one cannot see to be a query of metadata goes to
the first, and so does every request with a OneTimeUse assertion: which of them were used is remembered there.
"""

from __future__ import annotations

import re
from contextlib import suppress

from registry.settings import RegistrySettings
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.http.raw_asgi import App, Message, Receive, Scope, Send, receive_body
from shared.messages.iti18 import ITI18
from shared.messages.iti51 import ITI51

#: Requests that only read, by their actions.
READS = frozenset({ITI18.action.encode(), ITI51.action.encode()})

MAX_BYTES = 256 * 1024

_ACTION = re.compile(rb';\s*action="([^"\\]*)"', re.IGNORECASE)
_SPOOL = re.compile(r"audit-([1-9][0-9]?)")


def by_workers(path: str, here: App, first: App, *, actions: frozenset[bytes] | None) -> App:
    """`here` for small SOAP messages at `path` whose media type names one of `actions` (any, when None);
    `first` for everything else."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if not _may_be_ours(scope, path, actions):
            await first(scope, receive, send)
            return
        body = await receive_body(receive, limit=MAX_BYTES)
        await (here if _is_plain(body) else first)(scope, _again(body, receive), send)

    return asgi


def _may_be_ours(scope: Scope, path: str, actions: frozenset[bytes] | None) -> bool:
    if scope["method"] != "POST" or scope["path"].removesuffix("/") != path:
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or int(length) > MAX_BYTES:
        return False
    found = _ACTION.search(headers.get(b"content-type", b""))
    return actions is None or (found is not None and found[1] in actions)


def _is_plain(body: bytes) -> bool:
    """Whether it can be seen that no assertion in it is for one use: the name of an element cannot be written
    in another way in an encoding like ASCII."""
    return (
        b"OneTimeUse" not in body and b"\x00" not in body and not body.startswith((b"\xfe\xff", b"\xff\xfe"))
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` for a body that was received already."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def left_behind(settings: RegistrySettings) -> tuple[AuditRecorder, ...]:
    """Spools of workers that are no more, whose events must still be sent."""
    found = []
    for folder in sorted(settings.folder.glob("audit-*")):
        numbered = _SPOOL.fullmatch(folder.name)
        if numbered and int(numbered[1]) >= settings.workers:
            # One that is still open is a worker about to end; the next start finds it.
            with suppress(AuditUnavailable):
                found.append(AuditRecorder(settings, settings.service, worker=int(numbered[1])))
    return tuple(found)

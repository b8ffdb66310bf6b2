"""Several processes of one registry: which of them answers what.

Worker 0 leads: it takes the feed, forgets what is old, sends what changes left in the outbox and, on SQLite,
owns the file. Another worker answers what it surely may and hands everything else over to the leader, whole,
at a Unix socket. On SQLite that is queries alone; on PostgreSQL any message. An assertion for one use goes to
the leader always: what was used is written.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from registry.settings import RegistrySettings
from shared.faults import SoapFault
from shared.http.gate import Gate
from shared.http.handover import Handover, PeerAway
from shared.http.health import NotReady
from shared.http.media_type import SOAP_XML, action_of, decode_media_type
from shared.http.raw_asgi import App, Message, Receive, Scope, Send, receive_body, send_body
from shared.messages.iti18 import ITI18
from shared.messages.iti51 import ITI51
from shared.soap.envelope import encode_fault
from shared.soap.exchange import ServiceUnavailable
from shared.soap.package import SoapLimits
from shared.store.opening import is_embedded
from shared.xml import PRESCAN_BYTES

READS = frozenset((ITI18.action, ITI51.action))
RETRY_AFTER = (b"retry-after", b"2")

_ONE_USE = b"OneTimeUse"
_MARK = b"\xef\xbb\xbf"
_DECLARATION = re.compile(rb"<\?xml[^>]*>")
_ENCODING = re.compile(rb"""encoding\s*=\s*["']([^"']*)["']""")
_PLAIN = frozenset((b"utf-8", b"us-ascii", b"ascii"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Which of the processes this is; the only one is number 0, too."""

    number: int = 0

    @property
    def leads(self) -> bool:
        """Whether it is the one that there is once."""
        return self.number == 0

    @property
    def spool(self) -> str:
        """The name of its audit spool's folder."""
        return "audit" if self.leads else f"audit-{self.number}"


def socket_of(settings: RegistrySettings) -> Path:
    """Where the leader listens for the others."""
    return settings.folder / "workers" / "0.sock"


def spools_left_behind(settings: RegistrySettings) -> list[str]:
    """Spools of workers that there are no more, whose events are still to be sent."""
    spools = {path.name: path.name.removeprefix("audit-") for path in settings.folder.glob("audit-*")}
    return sorted(
        name for name, number in spools.items() if number.isdecimal() and int(number) >= settings.workers
    )


def reads_alone(settings: RegistrySettings) -> bool:
    """Whether workers that do not lead can only read."""
    return is_embedded(settings.database_url)


async def leader_ready(leader: Handover) -> None:
    """Raise `NotReady` unless the leader is ready."""
    try:
        if await leader.check("/health/ready") == 200:
            return
    except PeerAway:
        raise NotReady("worker 0 is away") from None
    raise NotReady("worker 0 is not ready")


class Split:
    """What a worker that does not lead serves at the SOAP endpoint and everywhere else."""

    def __init__(self, path: str, here: App, leader: Handover, *, actions: Set[str] | None) -> None:
        """Answer SOAP at `path` by `here`, of `actions` alone unless None; hand the rest to `leader`."""
        self._paths = frozenset((path, f"{path}/"))
        self._here = here
        self._leader = leader
        self._actions = actions
        self._receiving = Gate(SoapLimits().receiving)

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, here or by the leader; without a leader with 503 at once."""
        try:
            if self._is_for_all(scope):
                await self._here(scope, receive, send)
            elif self._may_be_read(scope):
                await self._look(scope, receive, send)
            else:
                await self._leader.asgi(scope, receive, send)
        except PeerAway as away:
            await self._tell_away(scope, send, away)

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._receiving.entered(str((scope.get("client") or ("",))[0])):
            body = await receive_body(receive, limit=PRESCAN_BYTES)
        here = self._here if is_plain(body) and _ONE_USE not in body else self._leader.asgi
        await here(scope, _again(body, receive), send)

    def _is_for_all(self, scope: Scope) -> bool:
        if scope["method"] not in ("GET", "HEAD"):
            return False
        path = scope["path"]
        return path in self._paths or path == "/metrics" or path.startswith("/health/")

    def _may_be_read(self, scope: Scope) -> bool:
        if scope["method"] != "POST" or scope["path"] not in self._paths:
            return False
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if b"content-encoding" in headers or not length.isdigit() or int(length[:18]) > PRESCAN_BYTES:
            return False
        try:
            media_type = decode_media_type(headers.get(b"content-type", b"").decode("latin-1"))
            action = action_of(media_type)
        except SoapFault:
            return False
        return media_type.name == SOAP_XML and (self._actions is None or action in self._actions)

    async def _tell_away(self, scope: Scope, send: Send, away: PeerAway) -> None:
        text = (
            "the registry cannot do this for a moment; nothing was done, send it again"
            if away.certain
            else "the registry lost this while it worked on it; send it again with its MessageID"
        )
        if scope["method"] == "POST" and scope["path"] in self._paths:
            content_type, body = f"{SOAP_XML}; charset=UTF-8", encode_fault(ServiceUnavailable(text), "")
        else:
            content_type, body = "text/plain; charset=utf-8", text.encode()
        headers = [(b"content-type", content_type.encode()), RETRY_AFTER]
        await send_body(send, status=503, headers=headers, body=body)


def is_plain(body: bytes) -> bool:
    """Whether `body` is XML whose names stand in it as they are in ASCII."""
    text = body.removeprefix(_MARK)
    if not text.startswith(b"<") or b"\0" in text:
        return False
    declaration = _DECLARATION.match(text)
    if declaration is None:
        return not text.startswith(b"<?xml")
    encodings = _ENCODING.findall(declaration[0])
    return all(encoding.lower() in _PLAIN for encoding in encodings)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive`, with the body that was taken from it."""
    waiting = [body]

    async def received() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return received

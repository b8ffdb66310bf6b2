"""What one retrieval or query of the consumer works with, and what all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from consumer.settings import ConsumerSettings
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.http.client import http_client, ourselves
from shared.security.caller import Caller, Node, User
from shared.security.peer_certificate import own_node
from shared.soap.client import SoapClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The parts of a consumer; `assertion` gives the signed octets for the next request, or None."""

    settings: ConsumerSettings
    http: httpx2.AsyncClient
    soap: SoapClient
    recorder: AuditRecorder
    node: Node
    user: User | None
    assertion: Callable[[], bytes | None]
    spool_folder: Path
    moves: asyncio.Lock
    """C-MOVE by C-MOVE: they share one port."""

    def caller(self, endpoint: str) -> Caller:
        """Ourselves, as the server at `endpoint` sees us."""
        return Caller(node=ourselves(self.node, self.http, endpoint), endpoint=endpoint, user=self.user)

    async def record(self, *events: AuditEvent | Sequence[AuditEvent]) -> None:
        """Keep events durably; nothing is shown to the user before."""
        flat = [one for event in events for one in ((event,) if isinstance(event, AuditEvent) else event)]
        await self.recorder.record(flat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every unit of one consumer shares; `node` is ourselves, as peers see us."""

    settings: ConsumerSettings
    http: httpx2.AsyncClient
    recorder: AuditRecorder
    node: Node
    spool_folder: Path
    moves: asyncio.Lock

    @classmethod
    def of(cls, settings: ConsumerSettings, recorder: AuditRecorder) -> Parts:
        """Make the parts; `http` is to be closed at the end."""
        spool_folder = settings.folder / "incoming"
        spool_folder.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=settings,
            http=http_client(settings.tls, peers=settings.peers, relaying=True),
            recorder=recorder,
            node=own_node(recorder.source.hostname, settings.tls.certificate),
            spool_folder=spool_folder,
            moves=asyncio.Lock(),
        )

    def unit(self, user: User | None, assertion: Callable[[], bytes | None]) -> Unit:
        """The unit that works for `user`, who is proved to peers by `assertion`."""
        return Unit(
            settings=self.settings,
            http=self.http,
            soap=SoapClient(self.http, assertion=assertion, spool_folder=self.spool_folder),
            recorder=self.recorder,
            node=self.node,
            user=user,
            assertion=assertion,
            spool_folder=self.spool_folder,
            moves=self.moves,
        )

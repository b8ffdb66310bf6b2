"""What one retrieval or query of the consumer works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from consumer.settings import ConsumerSettings
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.security.caller import Caller, Node, User
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

    def caller(self, endpoint: str) -> Caller:
        """Ourselves, as the server at `endpoint` sees us."""
        return Caller(node=self.node, endpoint=endpoint, user=self.user)

    async def record(self, *events: AuditEvent | Sequence[AuditEvent]) -> None:
        """Keep events durably; nothing is shown to the user before."""
        flat = [one for event in events for one in ((event,) if isinstance(event, AuditEvent) else event)]
        await self.recorder.record(flat)

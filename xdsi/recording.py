"""Records of what a command does by itself, beside the services: durable first, and sent before it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder
from shared.settings import ServiceSettings

#: How long a command waits for a connection to the audit repository; what was not sent then is sent by the
#: next command of its kind.
CONNECT_SECONDS = 1.0
_LOOK_SECONDS = 0.02


@asynccontextmanager
async def recording(settings: ServiceSettings, service: str) -> AsyncIterator[AuditRecorder]:
    """A recorder with a spool of its own: that of a service belongs to its process."""
    own = settings.model_copy(update={"data": settings.folder / "tools"})
    recorder = AuditRecorder(own, service)
    forwarder = Forwarder(own, recorder)
    await forwarder.start()
    try:
        yield recorder
        if recorder.spool.waiting:
            await _connected(forwarder)
    finally:
        await forwarder.stop()
        await recorder.close()


async def _connected(forwarder: Forwarder) -> None:
    for _ in range(int(CONNECT_SECONDS / _LOOK_SECONDS)):
        if forwarder.connected:
            return
        await asyncio.sleep(_LOOK_SECONDS)

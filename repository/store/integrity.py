"""Damaged blobs: never served, told of in the trail, and repaired from the replica where there is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from repository.store import documents
from repository.store.blobs import Blobs
from shared.audit.events import Outcome
from shared.audit.node_events import object_damaged
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.errors import OutOfResources
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.soap.mtom import Content, Received
from shared.store.engine import Reader
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger("repository.integrity")

# The same damage is told of once in so many seconds, however often the document is asked for.
_AGAIN_SECONDS = 3600.0
_MAX_TOLD = 10_000


class Integrity:
    """What is done about damage, for one store; `recorder` is where it is told of."""

    def __init__(self, blobs: Blobs, replica: Blobs | None, recorder: AuditRecorder) -> None:
        self._blobs = blobs
        self._replica = replica
        self._recorder = recorder
        self._told: dict[str, float] = {}
        self._mending: set[asyncio.Task[None]] = set()

    def watch(self, index: Reader) -> None:
        """From now on mend what shows to be damaged only while it is being sent; to be called on the loop."""
        loop = asyncio.get_running_loop()

        def begin(sha256: str) -> None:
            task = asyncio.ensure_future(self._mend_shown(index, sha256))
            self._mending.add(task)
            task.add_done_callback(self._mending.discard)

        self._blobs.on_damage = _from_any_thread(loop, begin)

    async def close(self) -> None:
        """Finish what is being mended."""
        self._blobs.on_damage = lambda sha256: None
        await asyncio.gather(*self._mending, return_exceptions=True)

    async def content(self, sha256: str, size: int, *, hold_bytes: int = 0) -> Content:
        """The document from the store, repaired first when it is damaged.

        Raises
        ------
        DamagedBlob
            It is damaged and cannot be repaired.
        StoreUnavailable
            The store cannot be asked.
        """
        try:
            return await self._blobs.content(sha256, size, hold_bytes=hold_bytes)
        except DamagedBlob:
            if not await self.mend(sha256, size):
                raise
        return await self._blobs.content(sha256, size, hold_bytes=hold_bytes)

    async def mend(self, sha256: str, size: int) -> bool:
        """Repair a blob that is damaged, and tell of it; False when it stays damaged."""
        mended = await self._repaired(sha256, size)
        await self._tell(sha256, mended)
        return mended

    async def _repaired(self, sha256: str, size: int) -> bool:
        """Keep a whole copy anew; a store of objects may have one itself, beside a damaged one."""
        received = await self._whole(sha256, size)
        if received is None:
            return False
        try:
            received = await self._blobs.adopt(received)
            await self._blobs.keep(received)
            return True
        except (OutOfResources, OSError):
            return False
        finally:
            await asyncio.to_thread(partial(received.path.unlink, missing_ok=True))

    async def _whole(self, sha256: str, size: int) -> Received | None:
        for store in (self._blobs, self._replica):
            if store is None:
                continue
            try:
                return await store.fetch(sha256, size)
            except (DamagedBlob, StoreUnavailable, OSError):
                continue
        return None

    async def _tell(self, sha256: str, mended: bool) -> None:
        _log.error("document damaged", sha256=sha256, repaired=mended)
        now = time.monotonic()
        if not mended and now - self._told.get(sha256, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        while len(self._told) >= _MAX_TOLD:
            self._told.pop(next(iter(self._told)))
        self._told[sha256] = now
        outcome = Outcome.MINOR_FAILURE if mended else Outcome.SERIOUS_FAILURE
        done = "it was repaired from a whole copy" if mended else "it is not served"
        await self._recorder.record(
            (object_damaged(f"urn:sha256:{sha256}", outcome, f"a stored document is damaged; {done}"),)
        )

    async def _mend_shown(self, index: Reader, sha256: str) -> None:
        try:
            size = await documents.find_size(index, sha256)
            if size is not None:
                await self.mend(sha256, size)
        except (DatabaseError, AuditUnavailable) as error:
            # The next retrieval, or the next scrub, meets the same damage.
            _log.error("damage not mended", sha256=sha256, error=type(error).__name__)


def _from_any_thread(loop: asyncio.AbstractEventLoop, begin: Callable[[str], None]) -> Callable[[str], None]:
    def tell(sha256: str) -> None:
        loop.call_soon_threadsafe(begin, sha256)

    return tell

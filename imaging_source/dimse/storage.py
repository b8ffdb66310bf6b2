"""What associations store by: the parts of the service that their threads use, and the statuses they answer
with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from imaging_source.domain.intake import NOT_AUTHORIZED
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.instances import InstanceStore
from shared.audit.events import ihe
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.faults import NodeRefused
from shared.security.caller import Node
from shared.security.rights import Right, Rights
from shared.telemetry.result import Result

_log = logging.getLogger(__name__)

RAD18: Final = ihe("RAD-18", "Creator Images Stored")
WHO_MAY_STORE: Final = f"not authorized; {Right.STORE.setting} names nodes that may"
#: The longest Error Comment (0000,0902).
COMMENT_LENGTH: Final = 64
# Of warnings the first digit is this one.
_WARNINGS: Final = 0xB

Answer = TypeVar("Answer")


class StorageService:
    """The store, the recorder and the rights, for threads of associations; `loop` is the service's, once it
    is started."""

    def __init__(
        self, store: InstanceStore, recorder: AuditRecorder, settings: ImagingSourceSettings
    ) -> None:
        self.store = store
        self.recorder = recorder
        self.settings = settings
        self.rights = Rights(settings)
        self.loop: asyncio.AbstractEventLoop | None = None

    def on_loop(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run `work` on the event loop and wait for it."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def admits(self, node: Node) -> bool:
        """Whether `node` may store, whatever AE title it calls itself; else that is recorded."""
        try:
            self.rights.check(node, "C-STORE")
        except NodeRefused as fault:
            _log.warning("a node may not store here: %s", fault.detail)
            self.not_authenticated(node.address, fault.detail)
            return False
        return True

    def not_authenticated(self, address: str, reason: str) -> None:
        """Record, or count, that a node was refused."""
        try:
            self.on_loop(self.recorder.refusals.node(address, reason))
        except AuditUnavailable:
            _log.error("the refusal of a node could not be recorded")


def result_of(status: int) -> Result:
    """How a request ended that was answered with `status` (PS3.7 annex C)."""
    if status == NOT_AUTHORIZED:
        return Result.FAULT
    return Result.SUCCESS if status == 0x0000 or status >> 12 == _WARNINGS else Result.FAILURE

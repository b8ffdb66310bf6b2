"""What associations work with: the parts of the service that their threads use, and the statuses they answer
with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from imaging_source.archives.moves import Moves
from imaging_source.dimse.entities import DOOR_OF, ApplicationEntities
from imaging_source.domain.intake import NOT_AUTHORIZED
from imaging_source.settings import ENTITIES_SETTING, ImagingSourceSettings
from imaging_source.settings.entities import DimseService
from imaging_source.store.instances import InstanceStore
from imaging_source.unit import Unit
from shared.audit.events import ihe
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.faults import NodeRefused
from shared.security.caller import Caller, Node
from shared.security.rights import DOORS, Rights
from shared.telemetry.result import Result

_log = logging.getLogger(__name__)

RAD18: Final = ihe("RAD-18", "Creator Images Stored")
#: The longest Error Comment (0000,0902).
COMMENT_LENGTH: Final = 64
# Of warnings the first digit is this one.
_WARNINGS: Final = 0xB
# Statuses of the Query/Retrieve Service Class (PS3.4 tables C.4-1 to C.4-3), beside those of intake.
SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
IDENTIFIER_MISMATCH: Final = 0xA900
UNABLE_TO_PROCESS: Final = 0xC000

Answer = TypeVar("Answer")


def _nothing() -> None:
    """Nobody waits for it."""


class AssociationParts:
    """The store, the recorder, the rights and the units of work, for threads of associations, and the moves
    that we asked for; `loop` is the service's, once it is started."""

    def __init__(
        self,
        store: InstanceStore,
        recorder: AuditRecorder,
        settings: ImagingSourceSettings,
        unit: Callable[[Caller], Unit],
        moves: Moves,
    ) -> None:
        self.store = store
        self.recorder = recorder
        self.settings = settings
        self.unit = unit
        self.moves = moves
        self.rights = Rights(settings)
        self.entities = ApplicationEntities(settings, self.rights)
        self.on_commitment: Callable[[], None] = _nothing
        self.loop: asyncio.AbstractEventLoop | None = None

    def on_loop(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run `work` on the event loop and wait for it."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def admits(self, title: str, node: Node, service: DimseService) -> bool:
        """Whether `node` may ask for this under the AE title `title`; else that is recorded."""
        try:
            self.entities.check(title, node, service)
        except NodeRefused as fault:
            self.refused(node, fault)
            return False
        return True

    def refused(self, node: Node, fault: NodeRefused) -> None:
        """Log and record, or count, that a node was refused."""
        _log.warning("a node was refused: %s", fault.detail)
        self.not_authenticated(node.address, fault.detail)

    def not_authenticated(self, address: str, reason: str) -> None:
        """Record, or count, that a node was refused."""
        try:
            self.on_loop(self.recorder.refusals.node(address, reason))
        except AuditUnavailable:
            _log.error("the refusal of a node could not be recorded")


def who_may(service: DimseService) -> str:
    """The Error Comment for a node that may not: what names those that may."""
    right = DOORS[DOOR_OF[service]]
    return f"not authorized; see {right.setting}, {ENTITIES_SETTING.rpartition('__')[2]}"


def result_of(status: int) -> Result:
    """How a request ended that was answered with `status` (PS3.7 annex C)."""
    if status == NOT_AUTHORIZED:
        return Result.FAULT
    well = status in (SUCCESS, CANCELLED) or status >> 12 == _WARNINGS
    return Result.SUCCESS if well else Result.FAILURE

"""Contents without a row: what a power loss, or an index of an older day, left among those of instances."""

from __future__ import annotations

import asyncio
import time

from imaging_source.domain.intake import Refused
from imaging_source.domain.transfer import Sender
from imaging_source.store.instances import InstanceStore
from imaging_source.store.transfers import Record, Transfer
from shared.audit.events import DESTINATION_ROLE, Coded, Participant
from shared.http.pieces import BodyBroken
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger("imaging_source.adoption")

ADOPTED = Coded("instance-adopted", "xdsi", "Instance Found Without Its Entry")

# Between two folders everybody else has the disk and the database.
_PAUSE_SECONDS = 0.01


async def adopt(store: InstanceStore, record: Record, *, node: str) -> int:
    """Take in all contents without a row that are settled now, as if they had just arrived; count them.

    What is torn, or refused as it arrives, is removed. What was adopted stands in the trail as received by
    ourselves.

    Raises
    ------
    OSError, StoreUnavailable, DatabaseError
        The store or the index cannot be asked; what was adopted until then is.
    """
    participant = Participant(user_id=node, requestor=True, roles=(DESTINATION_ROLE,))
    sender = Sender(transaction=ADOPTED, participants=(participant,))
    came_by = Transfer(sender=sender, may_replace=False)
    before, adopted = time.time() - store.files.settled_seconds, 0
    for folder in await store.files.folders():
        for sha256 in await store.without_row(folder, before=before):
            adopted += await _adopted(store, sha256, came_by)
        await store.files.tidy(folder, before=before)
        await asyncio.sleep(_PAUSE_SECONDS)
    await store.conclude(came_by, record)
    return adopted


async def _adopted(store: InstanceStore, sha256: str, came_by: Transfer) -> bool:
    try:
        await store.take_back(sha256, came_by)
    except Refused as refused:
        _log.warning("a file without a row was removed", sha256=sha256, reason=refused.reason)
        return False
    except (OSError, BodyBroken, DatabaseError) as error:
        _log.error("a file without a row stays", sha256=sha256, error=type(error).__name__)
        return False
    _log.warning("a file without a row was adopted", sha256=sha256)
    return True

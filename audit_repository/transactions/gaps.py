"""What is not in the trail and should be, as JSON for our own command line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from audit_repository.domain.gaps import Gap, Mention, gaps, mention_of
from audit_repository.domain.record import instant
from audit_repository.store.events import StoredRecord
from audit_repository.store.selection import Position, Selection, selected
from audit_repository.transactions.log_use import ITI81, used
from audit_repository.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.http.problem import Unprocessable
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

MOST_RECORDS: Final = 200_000
_STEP: Final = 1_000


class GapsRequest(BaseModel):
    """Of which time gaps are looked for."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime = Field(description="EventDateTime from here on")
    until: AwareDatetime | None = Field(None, description="EventDateTime before this; absent: now")
    silence_hours: float = Field(24, gt=0, le=24 * 366, description="how long a source may say nothing")


async def handle(unit: Unit, request: GapsRequest) -> dict[str, Any]:
    """Find gaps: what one side alone tells, silent sources, holes, clocks that run off."""
    await unit.used(used(unit.caller))
    until = request.until or datetime.now(UTC)
    gaps_found = await gaps_between(unit, request.since, until, timedelta(hours=request.silence_hours))
    return {"gaps": list(map(_shown, gaps_found))}


async def gaps_between(unit: Unit, since: datetime, until: datetime, silence: timedelta) -> list[Gap]:
    """The gaps in the records of a time.

    Raises
    ------
    Unprocessable
        There are more records than are looked at once.
    """
    mentions: list[Mention] = []
    selection = Selection(
        since=instant(since),
        until=instant(until),
        newest_first=False,
        position=Position(upto=unit.parts.trail.sequence),
        limit=_STEP,
    )
    while True:
        records = await selected(unit.parts.trail.database, selection)
        mentions += await asyncio.to_thread(_mentions, records)
        if len(mentions) > MOST_RECORDS:
            raise Unprocessable(f"there are more than {MOST_RECORDS} records; look at a shorter time")
        if len(records) < selection.limit:
            return await asyncio.to_thread(gaps, mentions, until=until, silence=silence)
        last = records[-1]
        position = replace(selection.position, event_time=last.record.event_time, sequence=last.sequence)
        selection = replace(selection, position=position)


def _mentions(records: Sequence[StoredRecord]) -> list[Mention]:
    return [one for item in records if (one := mention_of(item.sequence, item.record)) is not None]


def _shown(gap: Gap) -> dict[str, Any]:
    return {
        "kind": gap.kind.name.lower(),
        "meaning": gap.kind.value,
        "source": gap.source,
        "time": gap.time.isoformat(),
        "record": gap.sequence,
        "text": gap.text,
    }


def audit(
    _: GapsRequest, __: dict[str, Any] | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a look that failed."""
    return (used(caller, outcome),)


SERVED: ServedRest[Any, Any] = ServedRest(
    name="Gaps in the trail",
    routes=("POST /api/gaps",),
    right=Right.TRAIL,
    decode=JsonBody(GapsRequest),
    handle=handle,
    audit=audit,
    event=ITI81,
    encode=json_response,
)

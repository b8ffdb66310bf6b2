"""What came, hour by hour."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, literal_column, select

from imaging_source.domain.load import HOUR_SECONDS, Arrivals
from imaging_source.store.tables import instance
from shared.store.engine import Reader

# Times are ISO 8601 in UTC: their first 13 characters are the hour. Literals, because PostgreSQL takes two
# parameters of one value for two things.
_HOUR: Final = func.substr(instance.c.received_at, literal_column("1"), literal_column("13"))
_ARRIVALS = (
    select(_HOUR, func.count(), func.sum(instance.c.size))
    .where(instance.c.received_at >= bindparam("since"))
    .group_by(_HOUR)
)


async def arrivals(index: Reader, since: datetime) -> dict[int, Arrivals]:
    """What came since a moment (aware), by hour."""
    rows = await index.fetch(_ARRIVALS, since=since.isoformat())
    counted = (
        Arrivals(
            hour=int(datetime.fromisoformat(f"{hour}:00+00:00").timestamp()) // HOUR_SECONDS,
            instances=number,
            bytes=int(size),
        )
        for hour, number, size in rows
    )
    return {one.hour: one for one in counted}

"""Legal holds, and which months retention gives up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What must stay: records of a patient, of a study, of a time, or of all that are given together.

    Times are as `instant` writes them, of the event, `since` included, `until` not; empty means any. It
    holds until `released` says when it did not any more.
    """

    hold_id: str
    patient: str = ""
    study: str = ""
    since: str = ""
    until: str = ""
    reason: str
    placed: str
    placed_by: str
    released: str = ""
    released_by: str = ""


def last_month_given_up(now: datetime, months: int) -> str:
    """The last month of receipt (`2030-05`) of which nothing is kept; empty when `months` is 0.

    A record is kept for at least so many whole months after the one in which it came.
    """
    if not months:
        return ""
    number = now.year * 12 + (now.month - 1) - months - 1
    return f"{number // 12:04}-{number % 12 + 1:02}" if number >= 0 else ""

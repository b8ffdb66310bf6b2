"""What is not in the trail and should be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from audit_repository.pages.page import PageUnit, days_of, page_served, since_days
from audit_repository.transactions.gaps import gaps_between
from shared.pages.browser import Browser
from shared.pages.page import Page
from shared.rest.message import HttpRequest

_SILENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapsLook:
    """Of which time."""

    browser: Browser
    days: int


async def decode(request: HttpRequest) -> GapsLook:
    """What the address says."""
    return GapsLook(browser=Browser.of(request), days=days_of(request))


async def gaps(unit: PageUnit, look: GapsLook) -> Page:
    """Show what is not in the trail and should be."""
    trail = await unit.audited_look(b"gaps")
    missing = await gaps_between(trail, since_days(look.days), datetime.now(UTC), _SILENCE)
    return await unit.page("gaps.html", look.browser, gaps=missing, look=look)


SERVED = page_served(name="Gaps", routes=("GET /gaps",), decode=decode, handle=gaps)

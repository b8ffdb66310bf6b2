"""The first page: what can be asked, and how much happened."""

from __future__ import annotations

from dataclasses import dataclass

from audit_repository.domain.questions import QUESTIONS
from audit_repository.domain.record import instant
from audit_repository.pages.page import DAYS, PageUnit, page_served, since_days
from audit_repository.store.selection import numbers_by_day
from audit_repository.transactions.log_use import is_auditor
from shared.pages.browser import Browser, decode_browser
from shared.pages.page import Page, see
from shared.rest.served import unrecorded
from shared.security.rights import Right

_WIDTH, _HEIGHT = 600, 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One day of the plot, in its coordinates."""

    day: str
    number: int
    x: float
    y: float
    width: float
    height: float


async def entrance(unit: PageUnit, browser: Browser) -> str:
    """Lead auditors to the trail, privacy officers to policies, and everybody else to their own data."""
    if is_auditor(unit.caller, unit.parts.service.settings.auditor_roles):
        return "/trail"
    return "/policies" if unit.is_privacy_officer else "/own"


async def home(unit: PageUnit, browser: Browser) -> Page:
    """Show what can be asked, and how many records each day has."""
    trail = await unit.audited_look()
    numbers = await numbers_by_day(trail.parts.trail.database, instant(since_days(DAYS)))
    return await unit.page(
        "home.html",
        browser,
        questions=QUESTIONS,
        bars=_bars(numbers),
        days=DAYS,
        officer=unit.is_privacy_officer,
    )


def _bars(numbers: list[tuple[str, int]]) -> list[Bar]:
    most = max((number for _, number in numbers), default=1)
    width = _WIDTH / max(len(numbers), 1)
    return [
        Bar(
            day=day,
            number=number,
            x=round(place * width + 1, 1),
            y=round(_HEIGHT - _HEIGHT * number / most, 1),
            width=round(max(width - 2, 1), 1),
            height=round(_HEIGHT * number / most, 1),
        )
        for place, (day, number) in enumerate(numbers)
    ]


SERVED = (
    page_served(
        name="Entrance",
        routes=("GET /",),
        right=Right.ASK,
        decode=decode_browser,
        handle=entrance,
        encode=see,
        audit=unrecorded,
    ),
    page_served(name="Questions", routes=("GET /trail",), decode=decode_browser, handle=home),
)

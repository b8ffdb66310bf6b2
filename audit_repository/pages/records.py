"""Records that answer a question, and one record as it came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlencode

from audit_repository.domain.accesses import in_words, reporter
from audit_repository.domain.questions import QUESTIONS
from audit_repository.domain.record import RecordState, instant, term
from audit_repository.pages.page import PageUnit, days_of, page_served, since_days
from audit_repository.store.events import StoredRecord
from audit_repository.store.selection import Narrowing, Position, Selection, selected
from audit_repository.transactions.trail import decode_sequence, show
from shared.audit.events import ALERT_DESCRIPTION
from shared.http.problem import NotFound
from shared.pages.browser import Browser
from shared.pages.page import Page
from shared.rest.message import HttpRequest

ON_A_PAGE = 100
_OUTCOMES = {0: "success", 4: "minor failure", 8: "serious failure", 12: "major failure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsLook:
    """Which question is asked, of whom and when; `after` is the last record of the page before."""

    browser: Browser
    question: str
    user: str
    days: int
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record as a line of a page."""

    sequence: int
    time: str
    what: str
    outcome: str
    who: str
    reported_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLook:
    """Which record is looked at."""

    browser: Browser
    sequence: int


async def decode_records(request: HttpRequest) -> RecordsLook:
    """What the address says."""
    query = request.query
    question = query.get("question", ["all"])[0]
    return RecordsLook(
        browser=Browser.of(request),
        question=question if question in QUESTIONS else "all",
        user=query.get("user", [""])[0][:500],
        days=days_of(request),
        after=query.get("after", [""])[0][:60],
    )


async def decode_record(request: HttpRequest) -> RecordLook:
    """Which record is asked for."""
    return RecordLook(browser=Browser.of(request), sequence=await decode_sequence(request))


async def records(unit: PageUnit, look: RecordsLook) -> Page:
    """Show the records that answer a question, the latest first."""
    question = QUESTIONS[look.question]
    trail = await unit.audited_look(
        urlencode({"question": look.question, "user": look.user, "days": look.days}).encode()
    )
    narrowings = [Narrowing(kinds=kinds, values=values) for kinds, values in question.terms]
    if look.user:
        narrowings.append(Narrowing(kinds=("user",), values=(term(look.user),)))
    selection = Selection(
        narrowings=tuple(narrowings),
        since=instant(since_days(look.days)),
        parsed=not question.unread,
        position=_position(look.after, trail.parts.trail.sequence),
        limit=ON_A_PAGE,
    )
    found_records = await selected(trail.parts.trail.database, selection)
    lines = await asyncio.to_thread(lambda: list(map(_line, found_records)))
    more = ""
    if len(found_records) == ON_A_PAGE:
        last = found_records[-1]
        time = last.record.received if question.unread else last.record.event_time
        more = f"{selection.position.upto}~{time}~{last.sequence}"
    return await unit.page("records.html", look.browser, question=question, look=look, lines=lines, more=more)


def _position(after: str, newest: int) -> Position:
    upto, time, sequence = [*after.split("~"), "", "", ""][:3]
    if not (upto.isdecimal() and sequence.isdecimal() and len(upto) < 19 and len(sequence) < 19):
        return Position(upto=newest)
    return Position(upto=int(upto), event_time=time, sequence=int(sequence))


def _line(item: StoredRecord) -> Line:
    shown = show(item)
    if item.record.state is RecordState.UNPARSED or "reason" in shown:
        return Line(
            sequence=item.sequence,
            time=item.record.received,
            what="could not be read",
            outcome=item.record.reason,
            who="",
            reported_by=item.record.subject or item.record.peer,
        )
    asking = [one for one in shown["participants"] if one["requestor"]] or shown["participants"]
    outcome = "refused" if shown["refused"] else _OUTCOMES[shown["outcome"]]
    alerts = (one["details"].get(ALERT_DESCRIPTION, "") for one in shown["objects"])
    words = shown["description"].removeprefix("refused ") or next(filter(None, alerts), "")
    return Line(
        sequence=item.sequence,
        time=shown["time"],
        what=", ".join(in_words(code) for code in shown["types"] or [shown["event"]]),
        outcome=": ".join(filter(None, (outcome, words))),
        who="; ".join(dict.fromkeys(one["name_id"] or one["user_name"] or one["user_id"] for one in asking)),
        reported_by=reporter(shown),
    )


async def record(unit: PageUnit, look: RecordLook) -> Page:
    """Show one record as it came, and what is known of who delivered it."""
    trail = await unit.audited_look(f"record={look.sequence}".encode())
    item = await trail.parts.trail.record(look.sequence)
    if item is None:
        raise NotFound(f"there is no record {look.sequence}")
    raw = item.record.raw.decode("utf-8", "backslashreplace")
    return await unit.page("record.html", look.browser, item=item, raw=raw, line=_line(item))


SERVED = (
    page_served(name="Records", routes=("GET /records",), decode=decode_records, handle=records),
    page_served(name="Record", routes=("GET /records/{sequence}",), decode=decode_record, handle=record),
)

"""Records by what a search of several alternatives asks for, in the order of their events; the pages of it do
not move while records come in.

A page goes on behind the last record of the one before, by time and number, and sees no record that came
after the first page was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
)

from audit_repository.domain.record import RecordState
from audit_repository.store.events import StoredRecord, stored
from audit_repository.store.tables import audit_record, audit_term
from shared.store.engine import Reader
from shared.store.statements import in_list, like_any

#: Few records have one of these, so that they are looked up first.
_RARE = frozenset({"patient", "object", "user"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """One condition: a term of one of these kinds is one of `values`, or matches one of `patterns`."""

    kinds: tuple[str, ...]
    values: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ends: `upto` is the last record that the search knows of, then the last one shown."""

    upto: int
    event_time: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What records are taken from; times as `instant` writes them, `since` included, `until` not."""

    narrowings: tuple[Narrowing, ...] = ()
    since: str = ""
    until: str = "9999"
    newest_first: bool = True
    parsed: bool = True
    position: Position
    limit: int = field(default=200)


async def selected(reader: Reader, selection: Selection) -> list[StoredRecord]:
    """The next records of a selection behind its position, at most `limit`."""
    shape = tuple((one.kinds, bool(one.values), bool(one.patterns)) for one in selection.narrowings)
    begun = bool(selection.position.sequence)
    statement = _statement(shape, begun, selection.newest_first, selection.parsed)
    parameters: dict[str, Any] = {
        "since": selection.since,
        "until": selection.until,
        "upto": selection.position.upto,
        "limit": selection.limit,
    }
    if begun:
        parameters |= {"time": selection.position.event_time, "sequence": selection.position.sequence}
    for number, one in enumerate(selection.narrowings):
        if one.values:
            parameters[f"values{number}"] = list(one.values)
        if one.patterns:
            parameters[f"patterns{number}"] = list(one.patterns)
    return [stored(row) for row in await reader.fetch(statement, **parameters)]


_DAY = func.substr(audit_record.c.event_time, 1, 10)
_NUMBERS = (
    select(_DAY, func.count())
    .where(audit_record.c.event_time >= bindparam("since"))
    .group_by(_DAY)
    .order_by(_DAY)
)


async def numbers_by_day(reader: Reader, since: str) -> list[tuple[str, int]]:
    """How many records each day has, from then on; those that could not be read have none."""
    return [(str(day), int(number)) for day, number in await reader.fetch(_NUMBERS, since=since)]


@lru_cache(maxsize=256)
def _statement(
    shape: Sequence[tuple[tuple[str, ...], bool, bool]], begun: bool, newest_first: bool, parsed: bool
) -> Select[Any]:
    record = audit_record.c
    time = record.event_time if parsed else record.received
    state = RecordState.PARSED if parsed else RecordState.UNPARSED
    statement = select(*record).where(
        record.state == literal(state.value),
        time >= bindparam("since"),
        time < bindparam("until"),
        record.sequence <= bindparam("upto"),
    )
    if not parsed:
        # In words of the index by the time of events, where these have none.
        statement = statement.where(record.event_time == literal(""))
    for number, (kinds, valued, patterned) in enumerate(shape):
        statement = statement.where(_narrowed(number, kinds, valued, patterned))
    if begun:
        at: BindParameter[str] = bindparam("time")
        last: BindParameter[int] = bindparam("sequence")
        if newest_first:
            behind = or_(time < at, and_(time == at, record.sequence < last))
        else:
            behind = or_(time > at, and_(time == at, record.sequence > last))
        statement = statement.where(behind)
    order = (time.desc(), record.sequence.desc()) if newest_first else (time, record.sequence)
    return statement.order_by(*order).limit(bindparam("limit"))


def _narrowed(number: int, kinds: tuple[str, ...], valued: bool, patterned: bool) -> Any:
    term = audit_term.alias(f"term{number}")
    of_kind = or_(*(term.c.kind == literal(kind) for kind in kinds))
    conditions: list[ColumnElement[bool]] = []
    if valued:
        conditions.append(in_list(term.c.value, f"values{number}"))
    if patterned:
        conditions.append(like_any(term.c.value, f"patterns{number}"))
    if _RARE.issuperset(kinds) and not patterned:
        return audit_record.c.sequence.in_(select(term.c.sequence).where(of_kind, or_(*conditions)))
    return exists().where(of_kind, or_(*conditions), term.c.sequence == audit_record.c.sequence)

"""What is not in the trail and should be: a transaction of which one side alone tells, a source that fell
silent or ended without a word, a hole in what a sender counts, a clock that runs off.

The chain tells whether a record that came was taken out again; this tells of records that never came.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from audit_repository.domain.record import Record, message_of, name_id, syslog_message
from shared.audit.events import (
    ANONYMOUS,
    APPLICATION_START,
    APPLICATION_STOP,
    AuditEvent,
    Outcome,
    Participant,
    ParticipantObject,
)

#: Both sides of an exchange record it, each at its own moment and by its own clock.
SAME_EXCHANGE = timedelta(seconds=120)
#: Beyond it the time of an event and its receipt are told apart.
CLOCK_LIMIT = timedelta(minutes=5)

_SEQUENCE_ID = re.compile(r'\[meta(?: [^\]]*)? sequenceId="([0-9]{1,10})"')
#: Of a sequence that begins anew nothing is missing.
_MOST_MISSING = 10_000


class GapKind(StrEnum):
    """What kind of gap it is, as an auditor reads it."""

    COUNTERPART = "the other side of a transaction did not tell"
    SILENCE = "a source fell silent"
    CRASH = "a source began anew without having said that it ended"
    HOLE = "records of a sender are missing in its count"
    AHEAD = "the clock of a source is ahead"
    LATE = "records of a source came late, or its clock is behind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One gap: of which `source`, when, told by which record; `text` says what exactly."""

    kind: GapKind
    source: str
    time: datetime
    sequence: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """What a record says that gaps are found by; `exchange` is empty where it is of no transaction."""

    sequence: int
    source: str
    time: datetime
    received: datetime
    types: tuple[str, ...]
    succeeded: bool
    exchange: tuple[object, ...] = ()
    own: str = ""
    peers: tuple[str, ...] = ()
    counted: tuple[str, int] | None = None


def mention_of(sequence: int, record: Record) -> Mention | None:
    """What a record says; nothing where it cannot be read."""
    message = message_of(record.raw)
    if message is None:
        return None
    event = message.event
    own = tuple(one for one in event.participants if one.alternative_user_id)
    return Mention(
        sequence=sequence,
        source=message.source.source_id,
        time=event.time,
        received=datetime.fromisoformat(record.received),
        types=tuple(code.code for code in event.event_types),
        succeeded=event.outcome is Outcome.SUCCESS,
        exchange=_exchange(event),
        own=own[0].user_id if len(own) == 1 else "",
        peers=tuple(one.user_id for one in event.participants if one not in own and not _is_human(one)),
        counted=_count_of(record),
    )


def _exchange(event: AuditEvent) -> tuple[object, ...]:
    """What both sides say of one exchange alike: the transaction, the user, and what it was about."""
    code = next((one.code for one in event.event_types if "IHE" in one.system), "")
    if not code:
        return ()
    humans = tuple(sorted(one.user_name or one.user_id for one in event.participants if _is_human(one)))
    objects = frozenset(_identity(one) for one in event.objects if (one.type_code, one.role) != (1, 1))
    return (code, humans, objects)


def _identity(item: ParticipantObject) -> tuple[str, bytes]:
    return item.object_id, item.query or b""


def _is_human(one: Participant) -> bool:
    return bool(name_id(one.user_name) or name_id(one.user_id))


def _count_of(record: Record) -> tuple[str, int] | None:
    """Who counted a message (RFC 5424 7.3.1), and how far."""
    message = syslog_message(record.raw)
    number = _SEQUENCE_ID.search(message.structured_data) if message is not None else None
    if message is None or number is None:
        return None
    sender = (record.subject or record.peer, message.hostname, message.app_name, message.procid)
    return "\0".join(sender), int(number[1])


def gaps(mentions: Iterable[Mention], *, until: datetime, silence: timedelta) -> list[Gap]:
    """The gaps in what records say, in the order of their times.

    Parameters
    ----------
    until
        The end of what is looked at, or now.
    silence
        How long a source may say nothing before that.
    """
    mentions = sorted(mentions, key=lambda one: (one.time, one.sequence))
    by_source: dict[str, list[Mention]] = defaultdict(list)
    for one in mentions:
        by_source[one.source].append(one)
    all_gaps = [*_without_counterpart(mentions), *_holes(mentions)]
    for of_source in by_source.values():
        all_gaps += _of_source(of_source, until, silence)
    return sorted(all_gaps, key=lambda gap: (gap.time, gap.sequence))


# --- both sides --------------------------------------------------------------------------------------


def _without_counterpart(mentions: Sequence[Mention]) -> Iterator[Gap]:
    """Successes that nobody else tells of, where the other side tells otherwise, or of itself at all."""
    exchanges: dict[tuple[object, ...], list[Mention]] = defaultdict(list)
    for one in mentions:
        if one.exchange:
            exchanges[one.exchange].append(one)
    partners: dict[tuple[str, object, tuple[str, ...]], str] = {}
    alone: list[Mention] = []
    for of_exchange in exchanges.values():
        alone += _unpaired(of_exchange, partners)
    sources = {one.own: one.source for one in mentions if one.own and one.own != ANONYMOUS}
    for one in alone:
        reporter = partners.get(_of_peer(one)) or next(
            (sources[peer] for peer in one.peers if sources.get(peer, one.source) != one.source), ""
        )
        if one.succeeded and reporter:
            text = f"{one.source} tells of {one.exchange[0]}, and {reporter} does not"
            yield Gap(
                kind=GapKind.COUNTERPART, source=reporter, time=one.time, sequence=one.sequence, text=text
            )


def _of_peer(one: Mention) -> tuple[str, object, tuple[str, ...]]:
    return one.source, one.exchange[0], one.peers


def _unpaired(
    mentions: Sequence[Mention], partners: dict[tuple[str, object, tuple[str, ...]], str]
) -> Iterator[Mention]:
    """What is left when each record, in their order, has taken the first of another source near to it."""
    waiting: list[Mention] = []
    for one in mentions:
        late = bisect_left(waiting, one.time - SAME_EXCHANGE, key=lambda other: other.time)
        yield from waiting[:late]
        del waiting[:late]
        twin = next((place for place, other in enumerate(waiting) if other.source != one.source), None)
        if twin is None:
            waiting.append(one)
            continue
        other = waiting.pop(twin)
        partners[_of_peer(one)], partners[_of_peer(other)] = other.source, one.source
    yield from waiting


# --- one source --------------------------------------------------------------------------------------


def _of_source(mentions: Sequence[Mention], until: datetime, silence: timedelta) -> Iterator[Gap]:
    last = mentions[-1]
    if until - last.time > silence and APPLICATION_STOP.code not in last.types:
        yield _gap(GapKind.SILENCE, last, f"nothing after {last.time:%Y-%m-%d %H:%M:%S} UTC")
    running = None
    for one in mentions:
        if APPLICATION_START.code in one.types:
            if running is not None:
                yield _gap(GapKind.CRASH, one, f"it began at {running.time:%Y-%m-%d %H:%M:%S} UTC and again")
            running = one
        elif APPLICATION_STOP.code in one.types:
            running = None
    ahead = [one for one in mentions if one.time - one.received > CLOCK_LIMIT]
    late = [one for one in mentions if one.received - one.time > CLOCK_LIMIT]
    for kind, several in ((GapKind.AHEAD, ahead), (GapKind.LATE, late)):
        if several:
            worst = max(several, key=lambda one: abs(one.time - one.received))
            apart = timedelta(seconds=round(abs(worst.time - worst.received).total_seconds()))
            yield _gap(kind, worst, f"{len(several)} records, by up to {apart} hours")


def _holes(mentions: Sequence[Mention]) -> Iterator[Gap]:
    counts: dict[str, list[tuple[int, Mention]]] = defaultdict(list)
    for one in mentions:
        if one.counted is not None:
            counts[one.counted[0]].append((one.counted[1], one))
    for of_sender in counts.values():
        of_sender.sort(key=lambda pair: pair[1].sequence)
        for (before, _), (after, one) in pairwise(of_sender):
            if 1 < after - before <= _MOST_MISSING:
                yield _gap(GapKind.HOLE, one, f"{after - before - 1} missing after number {before}")


def _gap(kind: GapKind, one: Mention, text: str) -> Gap:
    return Gap(kind=kind, source=one.source, time=one.time, sequence=one.sequence, text=text)

"""The outbox of RAD-68: publications wait here, are lent to a worker, and leave with an outcome.

A row is written in one transaction together with everything that identifies the message; nothing that is in
the outbox is lost, and every attempt is the same message, so that the repository carries it out once (limits,
decision 6). A lease ends by time: what a dead worker held is taken up by the next one. Manifests of one study
go one after the other.

Clocks may step. A moment that lies further ahead than any pause or lease is therefore taken as past.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, exists, func, insert, or_, select, update

from imaging_source.domain.reconciliation import UNKNOWN_PATIENT
from imaging_source.store.publications import (
    NewPublication,
    PublicationError,
    State,
    decode_errors,
    encode_errors,
    publication,
    row_of,
)
from shared.audit.events import AuditEvent
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.ebrim.identifiers import new_uuid
from shared.store.engine import Database, Transaction

LEASE_SECONDS: Final = 60.0
SHORTEST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 900.0
GIVE_UP_SECONDS: Final = 24 * 3600.0
# The pause grows with the time that was spent waiting, so that an outage of ten minutes costs half a minute
# more.
_GROWTH: Final = 0.05
_JITTER: Final = (0.75, 1.25)
_FURTHEST_MS: Final = int(max(LONGEST_PAUSE_SECONDS * _JITTER[1], LEASE_SECONDS) * 1000)

# What says nothing about how a study is published.
_OVER: Final = frozenset({State.REFUSED, State.SUPERSEDED, State.REPLACED, State.WITHDRAWN})
_OPEN = or_(publication.c.state == State.WAITING, publication.c.state == State.ABANDONED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """One publication to be sent now; `in_doubt` tells that an earlier attempt may have been carried out."""

    publication_id: str
    study_instance_uid: str
    message_id: str
    replacement_uuid: str
    submission_set_unique_id: str
    document: bytes
    submission: bytes
    document_unique_id: str
    patient_id: str
    replaces: str
    attempts: int
    in_doubt: bool
    created: int
    errors: tuple[PublicationError, ...] = ()
    # Whether the manifest before it is registered for another patient.
    elsewhere: bool = False


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


# --- in ----------------------------------------------------------------------------------------------

_LATEST = (
    select(
        publication.c.publication_id,
        publication.c.serial,
        publication.c.digest,
        publication.c.patient_id,
        publication.c.state,
        publication.c.attempts,
        publication.c.in_doubt,
        publication.c.lease_until,
    )
    .where(publication.c.study_instance_uid == bindparam("study_instance_uid"))
    .order_by(publication.c.serial.desc())
)
_INSERT = insert(publication).values({column.name: bindparam(column.name) for column in publication.c})
# It is certain that nothing was registered.
_UNREGISTERED = update(publication).where(
    publication.c.publication_id == bindparam("wanted"),
    publication.c.state == State.WAITING,
    or_(
        publication.c.attempts == 0,
        and_(publication.c.in_doubt == 0, publication.c.lease_until == 0),
    ),
)
_SUPERSEDE = _UNREGISTERED.values(state=State.SUPERSEDED, changed=bindparam("now"))
_CANCEL = _UNREGISTERED.values(state=State.WITHDRAWN, changed=bindparam("now"))
_REARM = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("wanted"),
        _OPEN,
    )
    .values(state=State.WAITING, due=bindparam("now"), created=bindparam("now"), changed=bindparam("now"))
)


async def enqueue(database: Database, made: NewPublication) -> str:
    """Put a manifest into the outbox and return the id of its publication; it is durable then.

    A study that is published, or about to be, just so for the same patient keeps that publication, whose id
    is returned; one that waits or was given up is tried again at once. A manifest that is certain not to be
    registered is overtaken by this one.
    """
    return await database.write(lambda transaction: _enqueued(transaction, made))


async def _enqueued(transaction: Transaction, made: NewPublication) -> str:
    now = now_ms()
    rows = await transaction.fetch(_LATEST, study_instance_uid=made.study_instance_uid)
    counting = [row for row in rows if row[4] not in _OVER]
    for publication_id, _, digest, patient_id, state, attempts, in_doubt, lease_until in counting[:1]:
        unchanged = (digest, patient_id) == (made.digest, made.patient_id)
        if state == State.ABANDONED or (unchanged and state == State.WAITING):
            await transaction.execute(_REARM, wanted=publication_id, now=now)
        if unchanged:
            return str(publication_id)
        if state == State.WAITING and (attempts == 0 or not (in_doubt or lease_until)):
            await transaction.execute(_SUPERSEDE, wanted=publication_id, now=now)
    serial = int(rows[0][1]) + 1 if rows else 1
    await transaction.execute(_INSERT, **row_of(made, serial=serial, now=now))
    return made.publication_id


async def rearm(database: Database, publication_id: str) -> bool:
    """Try a publication again at once that waits or was given up; whether there is such a one."""

    async def work(transaction: Transaction) -> bool:
        return bool(await transaction.execute(_REARM, wanted=publication_id, now=now_ms()))

    return await database.write(work)


# --- out ---------------------------------------------------------------------------------------------

_EARLIER = publication.alias("earlier")
_FREE = or_(publication.c.lease_until <= bindparam("now"), publication.c.lease_until > bindparam("far"))
_DUE = (
    select(
        publication.c.publication_id,
        publication.c.study_instance_uid,
        publication.c.message_id,
        publication.c.replacement_uuid,
        publication.c.submission_set_unique_id,
        publication.c.document,
        publication.c.submission,
        publication.c.replaces,
        publication.c.attempts,
        publication.c.in_doubt,
        publication.c.created,
        publication.c.serial,
        publication.c.lease_until,
        publication.c.document_unique_id,
        publication.c.patient_id,
        publication.c.errors,
    )
    .where(
        publication.c.state == State.WAITING,
        or_(publication.c.due <= bindparam("now"), publication.c.due > bindparam("far")),
        _FREE,
        ~exists().where(
            _EARLIER.c.study_instance_uid == publication.c.study_instance_uid,
            _EARLIER.c.serial < publication.c.serial,
            or_(_EARLIER.c.state == State.WAITING, _EARLIER.c.state == State.ABANDONED),
        ),
    )
    .order_by(publication.c.due)
    .limit(bindparam("most"))
)
_REGISTERED_BEFORE = (
    select(publication.c.entry_uuid, publication.c.patient_id)
    .where(
        publication.c.study_instance_uid == bindparam("study_instance_uid"),
        publication.c.serial < bindparam("serial"),
        publication.c.state == State.PUBLISHED,
    )
    .order_by(publication.c.serial.desc())
    .limit(1)
)
# The lease is compared, so that of two workers that saw the same row one gets it.
_LEASE = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("wanted"),
        publication.c.state == State.WAITING,
        publication.c.lease_until == bindparam("seen"),
    )
    .values(
        attempts=publication.c.attempts + 1,
        lease_until=bindparam("until"),
        replaces=bindparam("new_replaces"),
    )
)
_RELEASE_ALL = (
    update(publication)
    .where(publication.c.state == State.WAITING, publication.c.lease_until > 0)
    .values(lease_until=0, in_doubt=1)
)


async def lease(database: Database, *, most: int) -> list[Leased]:
    """Take up to `most` publications that are due; nobody else gets them before `LEASE_SECONDS` are over."""

    async def work(transaction: Transaction) -> list[Leased]:
        now = now_ms()
        taken = []
        for row in await transaction.fetch(_DUE, now=now, far=now + _FURTHEST_MS, most=most):
            entry_uuid, patient_id = await _registered_before(transaction, row[1], row[11])
            elsewhere = patient_id not in ("", row[14])
            replaces = row[7] if row[8] or elsewhere else entry_uuid
            if await transaction.execute(
                _LEASE,
                wanted=row[0],
                seen=row[12],
                until=now + int(LEASE_SECONDS * 1000),
                new_replaces=replaces,
            ):
                taken.append(_leased(row, replaces, elsewhere))
        return taken

    return await database.write(work)


async def _registered_before(
    transaction: Transaction, study_instance_uid: str, serial: int
) -> tuple[str, str]:
    """Entry and patient of the manifest before; empty without."""
    rows = await transaction.fetch(_REGISTERED_BEFORE, study_instance_uid=study_instance_uid, serial=serial)
    return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")


def _leased(row: Any, replaces: str, elsewhere: bool) -> Leased:
    return Leased(
        publication_id=row[0],
        study_instance_uid=row[1],
        message_id=row[2],
        replacement_uuid=row[3],
        submission_set_unique_id=row[4],
        document=bytes(row[5]),
        submission=bytes(row[6]),
        replaces=replaces,
        attempts=row[8] + 1,
        # An attempt that was begun and never concluded was cut off by a crash.
        in_doubt=bool(row[9]) or row[12] > 0,
        created=row[10],
        document_unique_id=row[13],
        patient_id=row[14],
        errors=decode_errors(row[15]),
        elsewhere=elsewhere,
    )


async def release_all(database: Database) -> None:
    """End all leases: for the start of a process that is alone with its database."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(_RELEASE_ALL)

    await database.write(work)


# --- what became of it -------------------------------------------------------------------------------

_CONCLUDE = (
    update(publication)
    .where(publication.c.publication_id == bindparam("wanted"), publication.c.state == State.WAITING)
    .values(
        state=bindparam("new_state"),
        in_doubt=bindparam("new_in_doubt"),
        due=bindparam("new_due"),
        lease_until=0,
        message_id=bindparam("new_message_id"),
        errors=bindparam("new_errors"),
        changed=bindparam("now"),
    )
)


async def conclude(
    database: Database,
    leased: Leased,
    state: State,
    *,
    errors: Sequence[PublicationError] = (),
    in_doubt: bool = False,
    certain: bool = False,
    events: Sequence[AuditEvent] = (),
    recorder: AuditRecorder,
) -> State:
    """Record what became of an attempt, with its audit events in the same transaction; return its new state.

    `State.WAITING` puts it back for another attempt after a pause, or gives it up when it has waited for a
    day; for a patient to become known it waits as long as that takes. One that is certain not to be
    registered is superseded when a later manifest of its study waits behind it. A manifest that is published
    takes the place of that which it replaces. With `certain` it is known that nothing is registered, whatever
    earlier attempts left open.
    """
    now = now_ms()
    awaits_patient = any(error.code == UNKNOWN_PATIENT for error in errors)
    if state is State.WAITING and not awaits_patient and now - leased.created >= GIVE_UP_SECONDS * 1000:
        state = State.ABANDONED
    in_doubt = in_doubt or (leased.in_doubt and not certain)

    async def work(transaction: Transaction) -> State:
        settled = state
        if state is State.WAITING and not in_doubt and await _is_overtaken(transaction, leased):
            settled = State.SUPERSEDED
        await transaction.execute(
            _CONCLUDE,
            wanted=leased.publication_id,
            new_state=settled,
            new_in_doubt=int(in_doubt),
            new_due=now + int(pause_seconds(now - leased.created) * 1000),
            # A message that was answered is answered so again.
            new_message_id=new_uuid() if certain else leased.message_id,
            new_errors=encode_errors(errors),
            now=now,
        )
        if settled is State.PUBLISHED and leased.replaces:
            await transaction.execute(
                _END,
                study=leased.study_instance_uid,
                entry=leased.replaces,
                new_state=State.REPLACED,
                now=now,
            )
        await insert_events(transaction, events, recorder)
        return settled

    return await database.write(work)


async def _is_overtaken(transaction: Transaction, leased: Leased) -> bool:
    rows = await transaction.fetch(_LATEST, study_instance_uid=leased.study_instance_uid)
    return bool(rows) and rows[0][0] != leased.publication_id and rows[0][4] == State.WAITING


async def redirect(database: Database, leased: Leased, replaces: str) -> None:
    """Send a publication again at once, in the place of another entry or of none; it is certain that it is
    not registered."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(
            _REDIRECT,
            wanted=leased.publication_id,
            new_replaces=replaces,
            new_message_id=new_uuid(),
            new_replacement_uuid=new_uuid(),
            now=now_ms(),
        )

    await database.write(work)


async def succeed(
    database: Database, leased: Leased, made: NewPublication, errors: Sequence[PublicationError]
) -> str:
    """Let another manifest go in the place of one that is certain not to be registered; its id."""

    async def work(transaction: Transaction) -> str:
        now = now_ms()
        await transaction.execute(
            _CONCLUDE,
            wanted=leased.publication_id,
            new_state=State.SUPERSEDED,
            new_in_doubt=0,
            new_due=now,
            new_message_id=leased.message_id,
            new_errors=encode_errors(errors),
            now=now,
        )
        return await _enqueued(transaction, made)

    return await database.write(work)


# --- what the registry says --------------------------------------------------------------------------

_END = (
    update(publication)
    .where(
        publication.c.study_instance_uid == bindparam("study"),
        publication.c.entry_uuid == bindparam("entry"),
        publication.c.state == State.PUBLISHED,
    )
    .values(state=bindparam("new_state"), changed=bindparam("now"))
)
_REDIRECT = (
    update(publication)
    .where(publication.c.publication_id == bindparam("wanted"), publication.c.state == State.WAITING)
    .values(
        replaces=bindparam("new_replaces"),
        message_id=bindparam("new_message_id"),
        replacement_uuid=bindparam("new_replacement_uuid"),
        in_doubt=0,
        lease_until=0,
        due=bindparam("now"),
        changed=bindparam("now"),
    )
)
_MOVE = (
    update(publication)
    .where(publication.c.publication_id == bindparam("wanted"), publication.c.state == State.PUBLISHED)
    .values(
        entry_uuid=bindparam("new_entry_uuid"),
        patient_id=bindparam("new_patient_id"),
        changed=bindparam("now"),
    )
)
_AWAITED = (
    select(publication.c.patient_id)
    .where(publication.c.state == State.WAITING, publication.c.errors.contains(UNKNOWN_PATIENT))
    .distinct()
    .limit(bindparam("most"))
)
_RELEASE = (
    update(publication)
    .where(
        publication.c.state == State.WAITING,
        publication.c.patient_id == bindparam("patient"),
        publication.c.errors.contains(UNKNOWN_PATIENT),
    )
    .values(due=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Move:
    """A manifest that was registered and is now under another entry, of another patient perhaps."""

    publication_id: str
    entry_uuid: str
    patient_id: str


async def note_registered(
    database: Database, study_instance_uid: str, *, moved: Sequence[Move], ended: Mapping[str, State]
) -> None:
    """Let publications be as the registry has them: `ended` are those by entryUUID that it has not."""

    async def work(transaction: Transaction) -> None:
        now = now_ms()
        for move in moved:
            await transaction.execute(
                _MOVE,
                wanted=move.publication_id,
                new_entry_uuid=move.entry_uuid,
                new_patient_id=move.patient_id,
                now=now,
            )
        for entry_uuid, state in ended.items():
            await transaction.execute(
                _END, study=study_instance_uid, entry=entry_uuid, new_state=state, now=now
            )

    if moved or ended:
        await database.write(work)


async def patients_awaited(database: Database, *, most: int) -> list[str]:
    """Patients for whom something waits until the registry knows them."""
    return [patient_id for (patient_id,) in await database.fetch(_AWAITED, most=most)]


async def release_patient(database: Database, patient_id: str) -> None:
    """Send what waits for this patient now."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(_RELEASE, patient=patient_id, now=now_ms())

    await database.write(work)


async def cancel(database: Database, study_instance_uid: str) -> bool:
    """Let nothing of a study be sent any more; False when something may have been sent already."""

    async def work(transaction: Transaction) -> bool:
        now, certain = now_ms(), True
        for row in await transaction.fetch(_LATEST, study_instance_uid=study_instance_uid):
            if row[4] in (State.WAITING, State.ABANDONED):
                certain &= bool(await transaction.execute(_CANCEL, wanted=row[0], now=now))
        return certain

    return await database.write(work)


def pause_seconds(waited_ms: int) -> float:
    """The pause before the next attempt of a publication that has waited for so long, spread by chance."""
    growing = max(waited_ms, 0) / 1000 * _GROWTH
    pause = min(max(growing, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    return pause * random.uniform(*_JITTER)  # noqa: S311  # no secret


_COUNT = select(publication.c.state, func.count()).group_by(publication.c.state)


async def count(database: Database) -> dict[State, int]:
    """The number of publications in each state."""
    return {State(state): int(number) for state, number in await database.fetch(_COUNT)}

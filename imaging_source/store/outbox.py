"""The outbox of RAD-68: publications wait here, are lent to a worker, and leave with an outcome.

A row is written in one transaction together with everything that identifies the message; nothing that is in
the outbox is lost, and every attempt is the same message, so that the repository carries it out once (limits,
decision 6). A lease ends by time: what a dead worker held is taken up by the next one. Manifests of one study
go one after the other.

Clocks may step. A moment that lies further ahead than any pause or lease is therefore taken as past.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import and_, bindparam, exists, insert, or_, select, update

from imaging_source.domain.reconciliation import UNKNOWN_PATIENT
from imaging_source.store import bundles
from imaging_source.store.imaging_reports import look_again
from imaging_source.store.publications import (
    NewPublication,
    PublicationError,
    PublicationState,
    decode_errors,
    encode_errors,
    end_publication,
    now_ms,
    publication,
    row_of,
)
from shared.audit.events import AuditEvent
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.ebrim.identifiers import new_uuid
from shared.store.engine import Database, Row, Transaction
from shared.store.statements import by_name

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
_OVER: Final = frozenset(
    {
        PublicationState.REFUSED,
        PublicationState.SUPERSEDED,
        PublicationState.REPLACED,
        PublicationState.WITHDRAWN,
    }
)
_OPEN = or_(
    publication.c.state == PublicationState.WAITING, publication.c.state == PublicationState.ABANDONED
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedPublication:
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


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The publication that stands for a manifest; `unchanged` when it is registered just so already."""

    publication_id: str
    unchanged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publication:
    """What decides on the next manifest of a study."""

    publication_id: str
    serial: int
    digest: str
    patient_id: str
    state: PublicationState
    attempts: int
    in_doubt: bool
    lease_until: int

    @property
    def is_certain(self) -> bool:
        """Whether it is certain that nothing of it was registered."""
        return self.attempts == 0 or not (self.in_doubt or self.lease_until)


# --- in ----------------------------------------------------------------------------------------------

_LATEST_COLUMNS: Final = (
    publication.c.publication_id,
    publication.c.serial,
    publication.c.digest,
    publication.c.patient_id,
    publication.c.state,
    publication.c.attempts,
    publication.c.in_doubt,
    publication.c.lease_until,
)
_LATEST = (
    select(*_LATEST_COLUMNS)
    .where(publication.c.study_instance_uid == bindparam("study_instance_uid"))
    .order_by(publication.c.serial.desc())
)
_INSERT = insert(publication).values({column.name: bindparam(column.name) for column in publication.c})
# It is certain that nothing was registered.
_UNREGISTERED = update(publication).where(
    publication.c.publication_id == bindparam("publication"),
    publication.c.state == PublicationState.WAITING,
    or_(
        publication.c.attempts == 0,
        and_(publication.c.in_doubt == 0, publication.c.lease_until == 0),
    ),
)
_SUPERSEDE = _UNREGISTERED.values(state=PublicationState.SUPERSEDED, changed=bindparam("now"))
_CANCEL = _UNREGISTERED.values(state=PublicationState.WITHDRAWN, changed=bindparam("now"))
_REARM = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("publication"),
        _OPEN,
    )
    .values(
        state=PublicationState.WAITING,
        due=bindparam("now"),
        created=bindparam("now"),
        changed=bindparam("now"),
    )
)


async def enqueue(database: Database, made: NewPublication) -> Enqueued:
    """Put a manifest into the outbox and return its publication; it is durable then.

    A study that is published, or about to be, just so for the same patient keeps that publication, which
    is returned; one that waits or was given up is tried again at once. A manifest that is certain not to be
    registered is overtaken by this one.
    """
    return await database.write(lambda transaction: _enqueued(transaction, made))


async def _enqueued(transaction: Transaction, made: NewPublication) -> Enqueued:
    now = now_ms()
    publications = await _of_study(transaction, made.study_instance_uid)
    for latest in [each for each in publications if each.state not in _OVER][:1]:
        unchanged = (latest.digest, latest.patient_id) == (made.digest, made.patient_id)
        if latest.state is PublicationState.ABANDONED or (
            unchanged and latest.state is PublicationState.WAITING
        ):
            await transaction.execute(_REARM, publication=latest.publication_id, now=now)
        if unchanged:
            return Enqueued(latest.publication_id, unchanged=latest.state is PublicationState.PUBLISHED)
        if latest.state is PublicationState.WAITING and latest.is_certain:
            await transaction.execute(_SUPERSEDE, publication=latest.publication_id, now=now)
    serial = publications[0].serial + 1 if publications else 1
    await transaction.execute(_INSERT, **row_of(made, serial=serial, now=now))
    if made.bundle is not None:
        await bundles.keep(transaction, made.publication_id, made.study_instance_uid, made.bundle)
    return Enqueued(made.publication_id, unchanged=False)


async def _of_study(transaction: Transaction, study_instance_uid: str) -> list[_Publication]:
    """The publications of a study, the latest first."""
    rows = await transaction.fetch(_LATEST, study_instance_uid=study_instance_uid)
    return [_publication(row) for row in rows]


def _publication(row: Row) -> _Publication:
    values = by_name(_LATEST_COLUMNS, row)
    return _Publication(
        **{**values, "state": PublicationState(values["state"]), "in_doubt": bool(values["in_doubt"])}
    )


async def rearm(database: Database, publication_id: str) -> bool:
    """Try a publication again at once that waits or was given up; whether there is such a one."""

    async def work(transaction: Transaction) -> bool:
        return bool(await transaction.execute(_REARM, publication=publication_id, now=now_ms()))

    return await database.write(work)


# --- out ---------------------------------------------------------------------------------------------

_EARLIER = publication.alias("earlier")
_FREE = or_(publication.c.lease_until <= bindparam("now"), publication.c.lease_until > bindparam("far"))
_DUE_COLUMNS: Final = (
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
_DUE = (
    select(*_DUE_COLUMNS)
    .where(
        publication.c.state == PublicationState.WAITING,
        or_(publication.c.due <= bindparam("now"), publication.c.due > bindparam("far")),
        _FREE,
        ~exists().where(
            _EARLIER.c.study_instance_uid == publication.c.study_instance_uid,
            _EARLIER.c.serial < publication.c.serial,
            or_(_EARLIER.c.state == PublicationState.WAITING, _EARLIER.c.state == PublicationState.ABANDONED),
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
        publication.c.state == PublicationState.PUBLISHED,
    )
    .order_by(publication.c.serial.desc())
    .limit(1)
)
# The lease is compared, so that of two workers that saw the same row one gets it.
_LEASE = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("publication"),
        publication.c.state == PublicationState.WAITING,
        publication.c.lease_until == bindparam("lease"),
    )
    .values(
        attempts=publication.c.attempts + 1,
        lease_until=bindparam("until"),
        replaces=bindparam("new_replaces"),
    )
)
_RELEASE_ALL = (
    update(publication)
    .where(publication.c.state == PublicationState.WAITING, publication.c.lease_until > 0)
    .values(lease_until=0, in_doubt=1)
)


async def lease(database: Database, *, most: int) -> list[LeasedPublication]:
    """Take up to `most` publications that are due; nobody else gets them before `LEASE_SECONDS` are over."""

    async def work(transaction: Transaction) -> list[LeasedPublication]:
        now = now_ms()
        publications = []
        for row in await transaction.fetch(_DUE, now=now, far=now + _FURTHEST_MS, most=most):
            due = by_name(_DUE_COLUMNS, row)
            entry_uuid, patient_id = await _registered_before(
                transaction, due["study_instance_uid"], due["serial"]
            )
            elsewhere = patient_id not in ("", due["patient_id"])
            replaces = due["replaces"] if due["attempts"] or elsewhere else entry_uuid
            if await transaction.execute(
                _LEASE,
                publication=due["publication_id"],
                lease=due["lease_until"],
                until=now + int(LEASE_SECONDS * 1000),
                new_replaces=replaces,
            ):
                publications.append(_leased(due, replaces, elsewhere))
        return publications

    return await database.write(work)


async def _registered_before(
    transaction: Transaction, study_instance_uid: str, serial: int
) -> tuple[str, str]:
    """Entry and patient of the manifest before; empty without."""
    rows = await transaction.fetch(_REGISTERED_BEFORE, study_instance_uid=study_instance_uid, serial=serial)
    return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")


def _leased(due: Mapping[str, Any], replaces: str, elsewhere: bool) -> LeasedPublication:
    return LeasedPublication(
        publication_id=due["publication_id"],
        study_instance_uid=due["study_instance_uid"],
        message_id=due["message_id"],
        replacement_uuid=due["replacement_uuid"],
        submission_set_unique_id=due["submission_set_unique_id"],
        document=bytes(due["document"]),
        submission=bytes(due["submission"]),
        replaces=replaces,
        attempts=due["attempts"] + 1,
        # An attempt that was begun and never concluded was cut off by a crash.
        in_doubt=bool(due["in_doubt"]) or due["lease_until"] > 0,
        created=due["created"],
        document_unique_id=due["document_unique_id"],
        patient_id=due["patient_id"],
        errors=decode_errors(due["errors"]),
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
    .where(
        publication.c.publication_id == bindparam("publication"),
        publication.c.state == PublicationState.WAITING,
    )
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

_REDIRECT = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("publication"),
        publication.c.state == PublicationState.WAITING,
    )
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


async def conclude(
    database: Database,
    leased: LeasedPublication,
    state: PublicationState,
    *,
    errors: Sequence[PublicationError] = (),
    in_doubt: bool = False,
    certain: bool = False,
    events: Sequence[AuditEvent] = (),
    recorder: AuditRecorder,
) -> PublicationState:
    """Record what became of an attempt, with its audit events in the same transaction; return its new state.

    `WAITING` puts it back for another attempt after a pause, or gives it up when it has waited for a day; for
    a patient to become known it waits as long as that takes. One that is certain not to be registered is
    superseded when a later manifest of its study waits behind it. A manifest that is published takes the
    place of that which it replaces. With `certain` it is known that nothing is registered, whatever earlier
    attempts left open.
    """
    now = now_ms()
    awaits_patient = any(error.code == UNKNOWN_PATIENT for error in errors)
    if (
        state is PublicationState.WAITING
        and not awaits_patient
        and now - leased.created >= GIVE_UP_SECONDS * 1000
    ):
        state = PublicationState.ABANDONED
    in_doubt = in_doubt or (leased.in_doubt and not certain)

    async def work(transaction: Transaction) -> PublicationState:
        settled = state
        if state is PublicationState.WAITING and not in_doubt and await _is_overtaken(transaction, leased):
            settled = PublicationState.SUPERSEDED
        await transaction.execute(
            _CONCLUDE,
            publication=leased.publication_id,
            new_state=settled,
            new_in_doubt=int(in_doubt),
            new_due=now + int(pause_seconds(now - leased.created) * 1000),
            # A message that was answered is answered so again.
            new_message_id=new_uuid() if certain else leased.message_id,
            new_errors=encode_errors(errors),
            now=now,
        )
        if settled is PublicationState.PUBLISHED and leased.replaces:
            await end_publication(
                transaction, leased.study_instance_uid, leased.replaces, PublicationState.REPLACED, now=now
            )
        if settled is PublicationState.PUBLISHED:
            await look_again(transaction, leased.study_instance_uid, now)
        await insert_events(transaction, events, recorder)
        return settled

    return await database.write(work)


async def _is_overtaken(transaction: Transaction, leased: LeasedPublication) -> bool:
    publications = await _of_study(transaction, leased.study_instance_uid)
    latest = publications[0] if publications else None
    return (
        latest is not None
        and latest.publication_id != leased.publication_id
        and latest.state is PublicationState.WAITING
    )


async def redirect(database: Database, leased: LeasedPublication, replaces: str) -> None:
    """Send a publication again at once, in the place of another entry or of none; it is certain that it is
    not registered."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute(
            _REDIRECT,
            publication=leased.publication_id,
            new_replaces=replaces,
            new_message_id=new_uuid(),
            new_replacement_uuid=new_uuid(),
            now=now_ms(),
        )

    await database.write(work)


async def succeed(
    database: Database, leased: LeasedPublication, made: NewPublication, errors: Sequence[PublicationError]
) -> Enqueued:
    """Let another manifest go in the place of one that is certain not to be registered."""

    async def work(transaction: Transaction) -> Enqueued:
        now = now_ms()
        await transaction.execute(
            _CONCLUDE,
            publication=leased.publication_id,
            new_state=PublicationState.SUPERSEDED,
            new_in_doubt=0,
            new_due=now,
            new_message_id=leased.message_id,
            new_errors=encode_errors(errors),
            now=now,
        )
        return await _enqueued(transaction, made)

    return await database.write(work)


async def cancel(database: Database, study_instance_uid: str) -> bool:
    """Let nothing of a study be sent any more; False when something may have been sent already."""

    async def work(transaction: Transaction) -> bool:
        now, certain = now_ms(), True
        for each in await _of_study(transaction, study_instance_uid):
            if each.state in (PublicationState.WAITING, PublicationState.ABANDONED):
                certain &= bool(await transaction.execute(_CANCEL, publication=each.publication_id, now=now))
        return certain

    return await database.write(work)


def pause_seconds(waited_ms: int) -> float:
    """The pause before the next attempt of a publication that has waited for so long, spread by chance."""
    growing = max(waited_ms, 0) / 1000 * _GROWTH
    pause = min(max(growing, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
    return pause * random.uniform(*_JITTER)  # noqa: S311  # no secret

"""What the drift watch found, the last of each study; and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import bindparam, delete, exists, func, insert, or_, select, update

from imaging_source.domain.drift import Drift
from imaging_source.store.publications import PublicationState, publication
from imaging_source.store.tables import drift
from shared.store.engine import Database, Transaction
from shared.store.statements import in_list

_NEXT = (
    select(publication.c.study_instance_uid)
    .where(
        publication.c.study_instance_uid > bindparam("after"),
        or_(
            publication.c.state == PublicationState.PUBLISHED,
            exists().where(
                drift.c.study_instance_uid == publication.c.study_instance_uid, drift.c.needs_person == 1
            ),
        ),
    )
    .order_by(publication.c.study_instance_uid)
    .limit(1)
)
_FORGET = delete(drift).where(drift.c.study_instance_uid == bindparam("which"))
_INSERT = insert(drift).values({column.name: bindparam(column.name) for column in drift.c})
_SETTLE = update(drift).where(drift.c.study_instance_uid == bindparam("which")).values(needs_person=0)
_OPEN = select(drift.c.study_instance_uid).where(drift.c.needs_person == 1).limit(bindparam("limit"))
_COUNT = select(func.count()).where(drift.c.needs_person == 1)
_OF_STUDIES = select(
    drift.c.study_instance_uid, drift.c.kinds, drift.c.noticed_at, drift.c.needs_person
).where(in_list(drift.c.study_instance_uid, "study_instance_uids"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """What was found of a study last, when (aware, in UTC), and whether a person has to decide still."""

    kinds: tuple[Drift, ...]
    noticed_at: datetime
    needs_person: bool


async def next_study(database: Database, after: str) -> str:
    """The study whose manifest is looked at after that of `after`; empty behind the last one."""
    rows = await database.fetch(_NEXT, after=after)
    return str(rows[0][0]) if rows else ""


async def note(database: Database, study_instance_uid: str, kinds: Sequence[Drift]) -> None:
    """Keep what was found; of a study that has no drift the last report stays, and nobody has to act."""

    async def work(transaction: Transaction) -> None:
        if not kinds:
            await transaction.execute(_SETTLE, which=study_instance_uid)
            return
        await transaction.execute(_FORGET, which=study_instance_uid)
        await transaction.execute(
            _INSERT,
            study_instance_uid=study_instance_uid,
            kinds=" ".join(kinds),
            noticed_at=datetime.now(UTC).isoformat(),
            needs_person=int(any(kind.needs_person for kind in kinds)),
        )

    await database.write(work)


async def find_reports(database: Database, study_instance_uids: Sequence[str]) -> Mapping[str, DriftReport]:
    """What was found of these studies, by UID."""
    return {
        study: DriftReport(
            kinds=tuple(map(Drift, kinds.split())),
            noticed_at=datetime.fromisoformat(noticed_at),
            needs_person=bool(needs_person),
        )
        for study, kinds, noticed_at, needs_person in await database.fetch(
            _OF_STUDIES, study_instance_uids=list(study_instance_uids)
        )
    }


async def find_open(database: Database, *, limit: int) -> list[str]:
    """Studies that wait for a person's decision."""
    return [study for (study,) in await database.fetch(_OPEN, limit=limit)]


async def count_open(database: Database) -> int:
    """The studies that wait for a person's decision."""
    [(number,)] = await database.fetch(_COUNT)
    return int(number)

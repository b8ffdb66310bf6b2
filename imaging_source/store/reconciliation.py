"""Publications as the registry has them, and patients for whom some wait until it knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from imaging_source.domain.reconciliation import UNKNOWN_PATIENT
from imaging_source.store.imaging_reports import look_again
from imaging_source.store.publications import PublicationState, end_publication, now_ms, publication
from shared.store.engine import Database, Transaction

_MOVE = (
    update(publication)
    .where(
        publication.c.publication_id == bindparam("publication"),
        publication.c.state == PublicationState.PUBLISHED,
    )
    .values(
        entry_uuid=bindparam("new_entry_uuid"),
        patient_id=bindparam("new_patient_id"),
        changed=bindparam("now"),
    )
)
_AWAITED = (
    select(publication.c.patient_id)
    .where(publication.c.state == PublicationState.WAITING, publication.c.errors.contains(UNKNOWN_PATIENT))
    .distinct()
    .limit(bindparam("most"))
)
_RELEASE = (
    update(publication)
    .where(
        publication.c.state == PublicationState.WAITING,
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
    database: Database,
    study_instance_uid: str,
    *,
    moved: Sequence[Move],
    ended: Mapping[str, PublicationState],
) -> None:
    """Let publications be as the registry has them: `ended` are those by entryUUID that it has not."""

    async def work(transaction: Transaction) -> None:
        now = now_ms()
        for move in moved:
            await transaction.execute(
                _MOVE,
                publication=move.publication_id,
                new_entry_uuid=move.entry_uuid,
                new_patient_id=move.patient_id,
                now=now,
            )
        if moved:
            await look_again(transaction, study_instance_uid, now)
        for entry_uuid, state in ended.items():
            await end_publication(transaction, study_instance_uid, entry_uuid, state, now=now)

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

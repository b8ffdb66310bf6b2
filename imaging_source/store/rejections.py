"""What is said about instances: Key Object Selection Documents, read once and kept for a while; and what is
set aside."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from sqlalchemy import literal, select, union_all

from imaging_source.domain.selection import KeyObject, hidden, key_object
from imaging_source.store.tables import instance, instance_metadata, set_aside
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging.instance import Instance, Issuer
from shared.store.engine import Database, Reader, Transaction
from shared.store.statements import in_list

_STUDY_OF = attrgetter("study_instance_uid")
_MAX_KEPT: Final = 1_000
# Of all that are kept: some 60 MB.
_MAX_REFERENCES_KEPT: Final = 500_000
# Of so many requests what is said about their studies; all of it goes when anything changes.
_MOST_STUDIES_KEPT: Final = 64
# A larger document is read in a thread.
_INLINE_BYTES: Final = 256 * 1024

# One statement, because each retrieval asks it.
_OF_STUDIES = union_all(
    select(
        instance.c.study_instance_uid,
        instance.c.sop_instance_uid,
        instance.c.patient_id,
        instance.c.issuer_local,
        instance.c.issuer_universal_id,
        literal(0).label("aside"),
    ).where(
        in_list(instance.c.study_instance_uid, "study_instance_uids"),
        instance.c.sop_class_uid == KEY_OBJECT_SELECTION,
    ),
    select(
        set_aside.c.study_instance_uid,
        set_aside.c.sop_instance_uid,
        literal(""),
        literal(""),
        literal(""),
        literal(1),
    ).where(in_list(set_aside.c.study_instance_uid, "study_instance_uids")),
)
_METADATA = select(instance_metadata.c.sop_instance_uid, instance_metadata.c.json).where(
    in_list(instance_metadata.c.sop_instance_uid, "sop_instance_uids")
)


@dataclass(frozen=True, slots=True)
class Remarks:
    """What speaks about the instances of some studies: their Key Object Selection Documents that count, and
    the SOP Instance UIDs of what is set aside."""

    notes: tuple[KeyObject, ...] = ()
    set_aside: frozenset[str] = frozenset()


class KeyObjects:
    """Key Object Selection Documents of studies; an instance never changes, so what was read stays true."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[str, KeyObject] = OrderedDict()
        self._references = 0
        self._version: int | None = None
        self._remarks: dict[tuple[str, ...], Remarks] = {}

    async def of_studies(self, study_instance_uids: Iterable[str]) -> Remarks:
        """What is said about the instances of these studies; not asked again while nothing has changed."""
        studies, version = tuple(study_instance_uids), self._database.version()
        if version is None:
            return await _remarks(self._database, studies, self._read)
        if version != self._version or len(self._remarks) >= _MOST_STUDIES_KEPT:
            self._version, self._remarks = version, {}
        # Whoever changes something meanwhile lets others begin anew, and this answer go with its version.
        remarks = self._remarks
        if studies not in remarks:
            remarks[studies] = await _remarks(self._database, studies, self._read)
        return remarks[studies]

    async def hidden(self, instances: Sequence[Instance]) -> frozenset[str]:
        """SOP Instance UIDs among `instances` that rejection notes, or conflicts, hide from everybody."""
        remarks = await self.of_studies(sorted(set(map(_STUDY_OF, instances))))
        return hidden(instances, remarks.notes) | remarks.set_aside

    async def _read(self, sop_instance_uids: list[str]) -> Mapping[str, KeyObject]:
        notes = {uid: self._kept[uid] for uid in sop_instance_uids if uid in self._kept}
        if unknown := [uid for uid in sop_instance_uids if uid not in notes]:
            for uid, octets in await self._database.fetch(_METADATA, sop_instance_uids=unknown):
                large = len(octets) > _INLINE_BYTES
                notes[uid] = await asyncio.to_thread(_read, octets) if large else _read(octets)
                self._keep(uid, notes[uid])
        return notes

    def _keep(self, uid: str, note: KeyObject) -> None:
        if uid in self._kept:
            return
        self._kept[uid] = note
        self._references += len(note.references)
        while len(self._kept) > _MAX_KEPT or self._references > _MAX_REFERENCES_KEPT:
            _, oldest = self._kept.popitem(last=False)
            self._references -= len(oldest.references)


async def hidden_of_study(
    transaction: Transaction, study_instance_uid: str, instances: Sequence[Instance]
) -> frozenset[str]:
    """As `KeyObjects.hidden`, for all `instances` of one study and within a transaction."""

    async def read(sop_instance_uids: list[str]) -> Mapping[str, KeyObject]:
        rows = await transaction.fetch(_METADATA, sop_instance_uids=sop_instance_uids)
        return {uid: _read(octets) for uid, octets in rows}

    remarks = await _remarks(transaction, [study_instance_uid], read)
    return hidden(instances, remarks.notes) | remarks.set_aside


async def _remarks(
    reader: Reader,
    study_instance_uids: Iterable[str],
    read: Callable[[list[str]], Awaitable[Mapping[str, KeyObject]]],
) -> Remarks:
    rows = await reader.fetch(_OF_STUDIES, study_instance_uids=list(study_instance_uids))
    aside = frozenset(row[1] for row in rows if row[5])
    counting = [row for row in rows if not row[5] and row[1] not in aside]
    notes = await read([row[1] for row in counting])
    return Remarks(
        tuple(
            replace(
                notes[sop],
                sop_instance_uid=sop,
                study_instance_uid=study,
                patient_id=patient_id,
                issuer_of_patient_id=Issuer(local, universal_id),
            )
            for study, sop, patient_id, local, universal_id, _ in counting
        ),
        aside,
    )


def _read(octets: bytes) -> KeyObject:
    return key_object(json.loads(octets))

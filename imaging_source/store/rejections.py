"""What Key Object Selection Documents say, read from their metadata once and kept for a while."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import select

from imaging_source.domain.selection import KeyObject, hidden, key_object
from imaging_source.store.tables import instance, instance_metadata
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.store.engine import Database
from shared.store.statements import in_list

_MAX_KEPT: Final = 1_000
_MAX_REFERENCES_KEPT: Final = 10_000

_OF_STUDIES = select(instance.c.study_instance_uid, instance.c.sop_instance_uid).where(
    in_list(instance.c.study_instance_uid, "study_instance_uids"),
    instance.c.sop_class_uid == KEY_OBJECT_SELECTION,
)
_METADATA = select(instance_metadata.c.sop_instance_uid, instance_metadata.c.json).where(
    in_list(instance_metadata.c.sop_instance_uid, "sop_instance_uids")
)


class KeyObjects:
    """Key Object Selection Documents of studies; an instance never changes, so what was read stays true."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[str, KeyObject] = OrderedDict()

    async def of_studies(self, study_instance_uids: Iterable[str]) -> Mapping[str, tuple[KeyObject, ...]]:
        """The documents of each of these studies that has any."""
        rows = await self._database.fetch(_OF_STUDIES, study_instance_uids=list(study_instance_uids))
        notes = await self._read([sop_instance_uid for _, sop_instance_uid in rows])
        found: dict[str, tuple[KeyObject, ...]] = {}
        for study, sop_instance_uid in rows:
            found[study] = (*found.get(study, ()), notes[sop_instance_uid])
        return found

    async def hidden(self, study_instance_uids: Iterable[str]) -> frozenset[str]:
        """SOP Instance UIDs in these studies that rejection notes hide from everybody."""
        found = await self.of_studies(study_instance_uids)
        return frozenset().union(*map(hidden, found.values()))

    async def _read(self, sop_instance_uids: list[str]) -> Mapping[str, KeyObject]:
        known = {uid: self._kept[uid] for uid in sop_instance_uids if uid in self._kept}
        if unknown := [uid for uid in sop_instance_uids if uid not in known]:
            for uid, octets in await self._database.fetch(_METADATA, sop_instance_uids=unknown):
                known[uid] = key_object(json.loads(octets))
                self._keep(known[uid])
        return known

    def _keep(self, note: KeyObject) -> None:
        if len(note.references) <= _MAX_REFERENCES_KEPT:
            self._kept[note.sop_instance_uid] = note
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)

"""The index of instances: which there are, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, func, select, union

from imaging_source.domain.header import study_header
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.retrieve_identifier import Level, RetrieveKeys
from imaging_source.store.contents import Contents
from imaging_source.store.instance_rows import INSTANCE_COLUMNS, PIXEL_COLUMNS, instance_of, pixels_of
from imaging_source.store.kept_rows import KeptRows
from imaging_source.store.tables import erased_instance, instance, instance_metadata, pixel_data
from shared.dicom.part10 import Limits, scan
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging.bulk_data import BulkValue, bulk_value
from shared.imaging.description import Claim, metadata_pieces
from shared.imaging.instance import Instance
from shared.imaging.pixels import PixelData
from shared.store.engine import Database, Row
from shared.store.statements import in_list

_BATCH: Final = 100
# Fewer of a series are found one by one.
_MANY: Final = 200

_IN_STUDY = instance.c.study_instance_uid == bindparam("study_instance_uid")

_OF_STUDIES = select(*INSTANCE_COLUMNS).where(in_list(instance.c.study_instance_uid, "study_instance_uids"))
_OF_SEVERAL_SERIES = select(*INSTANCE_COLUMNS).where(
    _IN_STUDY, in_list(instance.c.series_instance_uid, "series_instance_uids")
)
_OF_PATIENT = select(*INSTANCE_COLUMNS).where(instance.c.patient_id == bindparam("patient_id"))
_BY_UID = select(*INSTANCE_COLUMNS).where(in_list(instance.c.sop_instance_uid, "sop_instance_uids"))
_METADATA = select(instance_metadata.c.sop_instance_uid, instance_metadata.c.json).where(
    in_list(instance_metadata.c.sop_instance_uid, "sop_instance_uids")
)
_PIXELS = select(*PIXEL_COLUMNS).where(pixel_data.c.sop_instance_uid == bindparam("sop_instance_uid"))

_STUDIES_HERE = union(
    *(
        select(table.c.study_instance_uid).where(in_list(table.c.study_instance_uid, "study_instance_uids"))
        for table in (instance, erased_instance)
    )
)

_HEADERS = select(instance.c.sop_instance_uid, instance.c.header).where(
    in_list(instance.c.sop_instance_uid, "sop_instance_uids")
)


def _summary(*criteria: Any) -> Any:
    return (
        select(
            instance.c.study_instance_uid,
            func.min(instance.c.patient_id),
            func.count(instance.c.series_instance_uid.distinct()),
            func.count(),
            func.sum(instance.c.size),
            func.max(instance.c.received_at),
        )
        .where(*criteria)
        .group_by(instance.c.study_instance_uid)
        .order_by(instance.c.study_instance_uid)
        .limit(bindparam("limit"))
    )


_AFTER = instance.c.study_instance_uid > bindparam("after")
_STUDIES = _summary(_AFTER)
_STUDIES_OF_PATIENT = _summary(_AFTER, instance.c.patient_id == bindparam("patient_id"))


_LAST_RECEIVED = select(func.max(instance.c.received_at)).where(_IN_STUDY)
_STUDIES_SINCE = (
    select(instance.c.study_instance_uid, func.max(instance.c.received_at))
    .where(instance.c.received_at > bindparam("since"))
    .group_by(instance.c.study_instance_uid)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """One study at a glance; `size` in bytes, `last_received_at` aware and in UTC."""

    study_instance_uid: str
    patient_id: str
    number_of_series: int
    number_of_instances: int
    size: int
    last_received_at: datetime


_UID_OF = attrgetter("sop_instance_uid")


class InstanceIndex:
    """Instances that are kept: their rows in `database`, their contents in `files`.

    `limits` are what one file may ask of us, `character_set` the encodings of those that name none.
    """

    def __init__(
        self, database: Database, files: Contents, *, limits: Limits, character_set: Sequence[str]
    ) -> None:
        self.files = files
        self._database = database
        self.limits = limits
        self._character_set = character_set
        self._rows = KeptRows(database, self._instance, _order)

    async def find_study(self, study_instance_uid: str) -> list[Instance]:
        """The instances of a study, by series number, then instance number; empty when unknown."""
        return list(await self._rows.of_study(study_instance_uid))

    async def find_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Instance]:
        """The instances of a series of this study, by instance number; empty when unknown."""
        return list(await self._rows.of_series(study_instance_uid, series_instance_uid))

    async def find_of_series(
        self, sop_instance_uids: Mapping[tuple[str, str], Sequence[str]]
    ) -> dict[str, Instance]:
        """The known ones of these instances by SOP Instance UID, which are given for each study and series;
        one that is of another series may be among them."""
        single: list[str] = []
        instances: dict[str, Instance] = {}
        for (study, series), uids in sop_instance_uids.items():
            if len(uids) < _MANY:
                single += uids
            else:
                of_series = await self._rows.of_series(study, series)
                instances.update(zip(map(_UID_OF, of_series), of_series, strict=True))
        return instances | await self.find_instances(single) if single else instances

    async def find_retrieved(self, keys: RetrieveKeys) -> list[Instance]:
        """The instances that C-MOVE or C-GET asks for, study by study, each in the order of `find_study`."""
        fetch = self._database.fetch
        match keys.level:
            case Level.PATIENT:
                rows = await fetch(_OF_PATIENT, patient_id=keys.patient_id)
            case Level.STUDY:
                rows = await fetch(_OF_STUDIES, study_instance_uids=list(keys.study_instance_uids))
            case Level.SERIES:
                rows = await fetch(
                    _OF_SEVERAL_SERIES,
                    study_instance_uid=keys.study_instance_uids[0],
                    series_instance_uids=list(keys.series_instance_uids),
                )
            case Level.IMAGE:
                rows = await fetch(_BY_UID, sop_instance_uids=list(keys.sop_instance_uids))
        instances = [one for one in self._instances(rows) if _is_meant(one, keys)]
        return sorted(instances, key=attrgetter("study_instance_uid"))

    async def find_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> Instance | None:
        """The instance, or None when it is unknown or of another study or series."""
        instance = (await self.find_instances([sop_instance_uid])).get(sop_instance_uid)
        if instance is None or instance.study_instance_uid != study_instance_uid:
            return None
        return instance if instance.series_instance_uid == series_instance_uid else None

    async def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, Instance]:
        """The known ones of these instances, by SOP Instance UID."""
        rows = await self._database.fetch(_BY_UID, sop_instance_uids=list(sop_instance_uids))
        return {instance.sop_instance_uid: instance for instance in map(self._instance, rows)}

    async def find_studies(
        self, *, patient_id: str = "", after: str = "", limit: int = 1_000
    ) -> list[StudySummary]:
        """Studies by UID, those after `after`; of one department's Patient ID, or of all without it."""
        if patient_id:
            rows = await self._database.fetch(
                _STUDIES_OF_PATIENT, patient_id=patient_id, after=after, limit=limit
            )
        else:
            rows = await self._database.fetch(_STUDIES, after=after, limit=limit)
        return [
            StudySummary(
                study_instance_uid=study,
                patient_id=patient,
                number_of_series=series,
                number_of_instances=instances,
                size=int(size),
                last_received_at=datetime.fromisoformat(last),
            )
            for study, patient, series, instances, size, last in rows
        ]

    async def known_studies(self, study_instance_uids: Sequence[str]) -> set[str]:
        """Those of these studies that have an instance here, or had one that was erased."""
        rows = await self._database.fetch(_STUDIES_HERE, study_instance_uids=list(study_instance_uids))
        return {study for (study,) in rows}

    async def last_received(self, study_instance_uid: str) -> datetime | None:
        """When the last instance of a study came; None when it is unknown."""
        [(last,)] = await self._database.fetch(_LAST_RECEIVED, study_instance_uid=study_instance_uid)
        return None if last is None else datetime.fromisoformat(last)

    async def studies_since(self, moment: datetime) -> list[tuple[str, datetime]]:
        """Studies that had a new instance since `moment`, in UTC, each with when the last one came."""
        rows = await self._database.fetch(_STUDIES_SINCE, since=moment.isoformat())
        return [(study, datetime.fromisoformat(last)) for study, last in rows]

    async def header(self, instances: Sequence[Instance]) -> StudyHeader:
        """What the first of `instances` in each series tells of patient, study and requests; they are of one
        study, in the order of `find_study`, and one at least."""
        first = {one.series_instance_uid: one.sop_instance_uid for one in reversed(instances)}
        rows: dict[str, bytes] = dict(
            await self._database.fetch(_HEADERS, sop_instance_uids=list(first.values()))
        )
        ordered = [
            one.sop_instance_uid
            for one in instances
            if first[one.series_instance_uid] == one.sop_instance_uid
        ]
        notes = await self.metadata(
            [one.sop_instance_uid for one in instances if one.sop_class_uid == KEY_OBJECT_SELECTION]
        )
        return study_header(
            instances[0].study_instance_uid,
            [json.loads(rows[uid]) for uid in ordered],
            [json.loads(document) for document in notes.values() if document],
        )

    async def metadata(self, sop_instance_uids: Sequence[str]) -> dict[str, bytes]:
        """DICOM JSON of these instances, an object each; empty where it is too long to be kept.

        `shared.dicom.json.with_base` completes its URIs.
        """
        rows = await self._database.fetch(_METADATA, sop_instance_uids=list(sop_instance_uids))
        return dict(rows)

    async def metadata_array(self, instances: Sequence[Instance]) -> AsyncIterator[bytes]:
        """`metadata` of these instances as one JSON array, a piece at a time; no bulk data URI is cut.

        What is too long to be kept is made from the file.

        Raises
        ------
        OSError, DicomError
            A file cannot be read.
        """
        separator = b"["
        for start in range(0, len(instances), _BATCH):
            batch = instances[start : start + _BATCH]
            metadata = await self.metadata([instance.sop_instance_uid for instance in batch])
            for each in batch:
                if octets := metadata[each.sop_instance_uid]:
                    yield separator + octets
                else:
                    yield separator
                    async for piece in self._made_metadata(each):
                        yield piece
                separator = b","
        yield b"[]" if separator == b"[" else b"]"

    async def metadata_objects(self, instances: Sequence[Instance]) -> AsyncIterator[bytes]:
        """As `metadata_array`, but for each instance one whole object."""
        for each in instances:
            metadata = (await self.metadata([each.sop_instance_uid]))[each.sop_instance_uid]
            yield metadata or b"".join([piece async for piece in self._made_metadata(each)])

    async def _made_metadata(self, instance: Instance) -> AsyncIterator[bytes]:
        path = await self.files.local(instance)

        def begin() -> Iterator[bytes]:
            part10 = scan(path, self.limits)
            return metadata_pieces(part10, claim_of(instance), self._character_set)

        pieces = await asyncio.to_thread(begin)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    async def bulk_data(self, file: Path, path: Sequence[str]) -> BulkValue | None:
        """The value at `path` of a kept file, or of one made from it; raises as `bulk_value`."""
        return await asyncio.to_thread(bulk_value, file, path, self.limits)

    async def pixels(self, sop_instance_uid: str) -> PixelData | None:
        """Where the pixel data of an instance lie in its file; None without, or in a deflated file."""
        rows = await self._database.fetch(_PIXELS, sop_instance_uid=sop_instance_uid)
        return pixels_of(rows[0]) if rows else None

    def _instances(self, rows: Sequence[Row]) -> list[Instance]:
        return sorted(map(self._instance, rows), key=_order)

    def _instance(self, row: Row) -> Instance:
        return instance_of(row, self.files.name)


def _is_meant(one: Instance, keys: RetrieveKeys) -> bool:
    """Whether an instance has the keys above the level at which it was found."""
    return all(
        not values or value in values
        for value, values in (
            (one.patient_id, (keys.patient_id,) if keys.patient_id else ()),
            (one.study_instance_uid, keys.study_instance_uids),
            (one.series_instance_uid, keys.series_instance_uids),
        )
    )


def claim_of(instance: Instance) -> Claim:
    """What an instance says that it is."""
    return Claim(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
    )


def _order(instance: Instance) -> tuple[Any, ...]:
    return (
        *_number_order(instance.series_number),
        instance.series_instance_uid,
        *_number_order(instance.instance_number),
        instance.sop_instance_uid,
    )


def _number_order(number: int | None) -> tuple[bool, int]:
    return (number is None, number or 0)

"""The index of instances, and the way of a file into it: scanned, synced, linked, committed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, update

from imaging_source.domain.bulk_data import BulkValue, bulk_value
from imaging_source.domain.header import study_header
from imaging_source.domain.instance import Instance, Issuer, StudyHeader
from imaging_source.domain.intake import (
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    Claim,
    Described,
    Refused,
    Stored,
    describe,
    identify,
    metadata_pieces,
    refusal,
    right_meta,
    tolerances,
)
from imaging_source.domain.pixels import Fragments, PixelData
from imaging_source.domain.selection import key_object
from imaging_source.domain.transfer import Fate, cx
from imaging_source.store import set_aside, transfers
from imaging_source.store.files import ContentFiles, Spooled
from imaging_source.store.set_aside import NamedPatient
from imaging_source.store.tables import instance, instance_metadata, pixel_data
from imaging_source.store.transfers import Record, Transfer
from shared.dicom.character_sets import UNDECLARED
from shared.dicom.content import content_digest
from shared.dicom.data_set import warnings
from shared.dicom.part10 import LIMITS, DicomError, Limits, Part10, scan
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.store.engine import Database, Row, Transaction
from shared.store.failures import DatabaseError
from shared.store.statements import in_list, insert_or_ignore

_log = logging.getLogger(__name__)

_BATCH: Final = 100

# What an instance takes as it is stands first, in its order.
_PLAIN = tuple(instance.c[name] for name in Instance._fields[: Instance._fields.index("file")])
_CONVERTED = (
    instance.c.issuer_local,
    instance.c.issuer_universal_id,
    instance.c.issuer_universal_id_type,
    instance.c.has_pixels,
    instance.c.received_at,
)
_COLUMNS = _PLAIN + _CONVERTED
_SHA256 = _COLUMNS.index(instance.c.sha256)
_SHA256_BETWEEN = select(instance.c.sha256).where(
    instance.c.sha256 >= bindparam("first"), instance.c.sha256 <= bindparam("last")
)
_IN_STUDY = instance.c.study_instance_uid == bindparam("study_instance_uid")
_IN_SERIES = instance.c.series_instance_uid == bindparam("series_instance_uid")

_issuer = lru_cache(maxsize=256)(Issuer)
_OF_STUDY = select(*_COLUMNS).where(_IN_STUDY)
_OF_SERIES = select(*_COLUMNS).where(_IN_STUDY, _IN_SERIES)
_BY_UID = select(*_COLUMNS).where(in_list(instance.c.sop_instance_uid, "sop_instance_uids"))
_BY_SHA256 = select(instance.c.sop_instance_uid).where(instance.c.sha256 == bindparam("sha256")).limit(1)

_INSERT = insert_or_ignore(instance).values({column.name: bindparam(column.name) for column in instance.c})
_INSERT_METADATA = insert(instance_metadata).values(
    sop_instance_uid=bindparam("sop_instance_uid"), json=bindparam("json")
)
_INSERT_PIXELS = insert(pixel_data).values({column.name: bindparam(column.name) for column in pixel_data.c})
_MOVE = (
    update(instance)
    .where(instance.c.sop_instance_uid == bindparam("uid"))
    .values(sha256=bindparam("new_sha256"), size=bindparam("new_size"))
)
_FORGET_PIXELS = delete(pixel_data).where(pixel_data.c.sop_instance_uid == bindparam("uid"))
_METADATA = select(instance_metadata.c.sop_instance_uid, instance_metadata.c.json).where(
    in_list(instance_metadata.c.sop_instance_uid, "sop_instance_uids")
)
_PIXELS = select(pixel_data.c.offset, pixel_data.c.length, pixel_data.c.fragments).where(
    pixel_data.c.sop_instance_uid == bindparam("sop_instance_uid")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """One study at a glance; `size` in bytes, `last_received_at` aware and in UTC."""

    study_instance_uid: str
    patient_id: str
    number_of_series: int
    number_of_instances: int
    size: int
    last_received_at: datetime


class InstanceStore:
    """Instances of this source: `files` below `folder`, the index in `database`.

    `on_stored` holds what is called with the Study Instance UID after each instance that is new; it must be
    quick and must not raise; `on_repaired` likewise, with the SHA-256 of a file that was lost or damaged.
    `patient_id_issuer` is whose Patient IDs are that name no issuer, `limits` what one file may ask of us,
    `character_set` the encodings of those that name none.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        patient_id_issuer: Issuer = Issuer(),  # noqa: B008  # frozen
        limits: Limits = LIMITS,
        character_set: Sequence[str] = UNDECLARED,
        keep_preamble: bool = False,
    ) -> None:
        self.files = ContentFiles(folder, keep_preamble=keep_preamble)
        self._limits = limits
        self._character_set = character_set
        self.on_stored: list[Callable[[str], None]] = []
        self.on_repaired: list[Callable[[str], None]] = []
        self._database = database
        self._patient_id_issuer = patient_id_issuer

    # --- keeping -------------------------------------------------------------------------------------

    async def recover(self, record: Record) -> None:
        """Clean up after a process that died; before anything arrives.

        What was being received is removed, and what stands in no audit event yet is recorded. Other files
        without a row are left to `adopt`.
        """
        for spooled in await asyncio.to_thread(lambda: list(self.files.leftovers())):
            await self._release(spooled.sha256)
            spooled.path.unlink()
        await transfers.conclude_all(self._database, record)

    async def store_part10(
        self,
        spooled: Spooled,
        came_by: Transfer,
        claim: Claim = Claim(),  # noqa: B008  # frozen
    ) -> Stored:
        """Keep one Part 10 file; when this returns it is durable and visible.

        The same content again, in whatever encoding, is kept as it was first received; what is on the disk is
        looked at, and repaired when it is lost or damaged. `spooled` is gone afterwards in any case.

        Raises
        ------
        Refused
            Not DICOM that is accepted, not what was claimed, another data set under a known SOP Instance UID,
            or out of resources. The refusal is counted in the transfer.
        """
        # A sender that goes away meanwhile must leave nothing half done.
        task = asyncio.ensure_future(self._store(spooled, came_by, claim))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _store(self, spooled: Spooled, came_by: Transfer, claim: Claim) -> Stored:
        try:
            spooled, part10, described = await asyncio.to_thread(self._described, spooled, claim)
            stored = await self._keep(spooled, part10, described, came_by)
        except Refused as refused:
            spooled.path.unlink(missing_ok=True)
            await self.refuse(refused, came_by)
            raise
        except DatabaseError as error:
            # The final file may have no row: what stays in its place tells the next start.
            self.files.doubt(spooled)
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment", claim) from error
        self.files.release(spooled)
        if stored.new:
            for call in self.on_stored:
                call(stored.instance.study_instance_uid)
        return stored

    async def refuse(self, refused: Refused, came_by: Transfer) -> None:
        """Count a refusal in its transfer; while the index cannot be written it stands in the log alone."""

        async def work(transaction: Transaction) -> None:
            await transfers.note(
                transaction,
                came_by,
                study_instance_uid=refused.claim.study_instance_uid,
                patient_id="",
                sop_class_uid=refused.claim.sop_class_uid,
                fate=Fate.REFUSED,
            )

        try:
            await self._database.write(work)
        except DatabaseError:
            _log.exception("a refusal could not be counted: status %04X", refused.status)

    async def conclude(self, came_by: Transfer, record: Record) -> None:
        """Record the audit events of a transfer that has ended; durable when this returns."""
        await transfers.conclude(self._database, came_by.transfer_id, record)

    def _described(self, spooled: Spooled, claim: Claim) -> tuple[Spooled, Part10, Described]:
        """The file scanned and described; written anew where what stands before its data set is wrong."""
        try:
            part10 = scan(spooled.path, self._limits)
            identity = identify(part10, claim)
            tolerated = tolerances(part10, identity)
            if (meta := right_meta(part10, identity)) is not None:
                spooled = self.files.with_meta(spooled, meta, part10.data_set_offset)
                part10 = scan(spooled.path, self._limits)
        except DicomError as error:
            raise refusal(error, claim) from None
        described = describe(
            part10,
            identity,
            file=self.files.name(spooled.sha256),
            size=spooled.size,
            sha256=spooled.sha256,
            received_at=datetime.now(UTC),
            tolerated=tolerated,
            character_set=self._character_set,
        )
        return spooled, part10, described

    async def _keep(
        self, spooled: Spooled, part10: Part10, described: Described, came_by: Transfer
    ) -> Stored:
        told = warnings(described.tolerated)
        known = await self._known(described.instance)
        if known is None:
            await asyncio.to_thread(self.files.place, spooled)
            if await self._insert(described, came_by):
                return Stored(described.instance, new=True, warnings=told)
            # Somebody else was first; our file stays only if it is theirs as well.
            await self._release(spooled.sha256)
            known = await self._known(described.instance)
            assert known is not None
        if not await asyncio.to_thread(self.files.is_whole, known.sha256, known.size):
            repaired = await self._repaired(known, described, spooled, came_by)
            return Stored(repaired, new=False, warnings=told)
        if not await asyncio.to_thread(_same, known, described.instance, part10, self._limits):
            raise _other_data_set(known)
        await self._note(known, came_by, Fate.IDENTICAL)
        return Stored(known, new=False, warnings=told)

    async def _repaired(
        self, known: Instance, described: Described, spooled: Spooled, came_by: Transfer
    ) -> Instance:
        """Put what came in the place of a file that is lost or damaged.

        The bytes prove themselves when they are those that were kept; else everything that the index knows of
        the data set must be as it was.
        """
        if known.sha256 != described.instance.sha256 and not await self._alike(known, described):
            raise _other_data_set(known)
        await asyncio.to_thread(self.files.place, spooled)
        repaired = known._replace(
            file=described.instance.file, size=described.instance.size, sha256=described.instance.sha256
        )

        async def work(transaction: Transaction) -> None:
            uid = repaired.sop_instance_uid
            await transaction.execute(_MOVE, uid=uid, new_sha256=repaired.sha256, new_size=repaired.size)
            if described.pixels is not None:
                await transaction.execute(_FORGET_PIXELS, uid=uid)
                await transaction.execute(_INSERT_PIXELS, **_pixel_values(uid, described.pixels))
            await self._note_in(transaction, repaired, came_by, Fate.REPAIRED)

        await self._database.write(work)
        _log.warning("the file of an instance was repaired: sha256 %s", repaired.sha256)
        if known.sha256 != repaired.sha256:
            await self._release(known.sha256)
        for call in self.on_repaired:
            call(known.sha256)
        return repaired

    async def _alike(self, known: Instance, described: Described) -> bool:
        uid = known.sop_instance_uid
        metadata, pixels = await self.metadata([uid]), await self.pixels(uid)
        lengths = [None if place is None else place.length for place in (pixels, described.pixels)]
        # What is too long to be kept proves nothing.
        return (
            known.transfer_syntax_uid == described.instance.transfer_syntax_uid
            and bool(described.metadata)
            and metadata.get(uid) == described.metadata
            and lengths[0] == lengths[1]
        )

    async def _known(self, described: Instance) -> Instance | None:
        found = await self.find_instances([described.sop_instance_uid])
        return found.get(described.sop_instance_uid)

    async def _insert(self, described: Described, came_by: Transfer) -> bool:
        values = _values(described)
        rejects = (
            described.instance.sop_class_uid == KEY_OBJECT_SELECTION
            and key_object(json.loads(described.header)).rejects
        )

        async def work(transaction: Transaction) -> bool:
            if not await transaction.execute(_INSERT, **values):
                return False
            uid = described.instance.sop_instance_uid
            await transaction.execute(_INSERT_METADATA, sop_instance_uid=uid, json=described.metadata)
            if described.pixels is not None:
                await transaction.execute(_INSERT_PIXELS, **_pixel_values(uid, described.pixels))
            await set_aside.judge(
                transaction,
                described.instance.study_instance_uid,
                uid,
                self.named_patient(described.instance),
                self._patient_id_issuer,
                stranger_rejects=rejects and not came_by.may_reject,
            )
            await self._note_in(transaction, described.instance, came_by, Fate.CREATED)
            return True

        return await self._database.write(work)

    async def _note(self, kept: Instance, came_by: Transfer, fate: Fate) -> None:
        await self._database.write(lambda transaction: self._note_in(transaction, kept, came_by, fate))

    async def _note_in(self, transaction: Transaction, kept: Instance, came_by: Transfer, fate: Fate) -> None:
        issuer = kept.issuer_of_patient_id
        await transfers.note(
            transaction,
            came_by,
            study_instance_uid=kept.study_instance_uid,
            patient_id=cx(kept.patient_id, self._patient_id_issuer if issuer == Issuer() else issuer),
            sop_class_uid=kept.sop_class_uid,
            fate=fate,
        )

    async def settle(self, study_instance_uid: str) -> None:
        """Set aside what names another patient than the first instance of its study."""
        await self._database.write(
            lambda transaction: set_aside.settle(transaction, study_instance_uid, self._patient_id_issuer)
        )

    def named_patient(self, of: Instance) -> NamedPatient:
        """The patient whom an instance names."""
        return NamedPatient.of(of.patient_id, of.issuer_of_patient_id, self._patient_id_issuer)

    async def accept(self, sop_instance_uid: str) -> str:
        """Decide for an instance that is set aside (`set_aside.accept`); its study, or empty without one."""
        study = await self._database.write(
            lambda transaction: set_aside.accept(transaction, sop_instance_uid, self._patient_id_issuer)
        )
        for call in self.on_stored if study else ():
            call(study)
        return study

    async def _release(self, sha256: str) -> None:
        """Remove a file unless a row refers to it."""
        if not await self._database.fetch(_BY_SHA256, sha256=sha256):
            self.files.remove(sha256)

    async def without_row(self, prefix: int, *, before: float) -> list[str]:
        """Digests of the files in one of the 256 folders, written before `before` (seconds since 1970), to
        which no row refers."""
        digests = await asyncio.to_thread(self.files.digests, prefix, before=before)
        if not digests:
            return []
        rows = await self._database.fetch(_SHA256_BETWEEN, first=digests[0], last=digests[-1])
        known = {sha256 for (sha256,) in rows}
        return [sha256 for sha256 in digests if sha256 not in known]

    async def take_back(self, sha256: str, came_by: Transfer) -> None:
        """Give a file without a row what it lacks; one that is torn or refused is removed.

        Raises
        ------
        Refused, OSError, DatabaseError
            As `store_part10`; the file cannot be read.
        """
        spooled = await asyncio.to_thread(self.files.take_back, sha256)
        try:
            if spooled.sha256 != sha256:
                spooled.path.unlink()
                raise Refused(PROCESSING_FAILURE, "the file is torn")
            await self.store_part10(spooled, came_by)
        except Refused as refused:
            if refused.status != OUT_OF_RESOURCES:
                await self._release(sha256)
            raise

    # --- finding -------------------------------------------------------------------------------------

    async def find_study(self, study_instance_uid: str) -> list[Instance]:
        """The instances of a study, by series number, then instance number; empty when unknown."""
        return self._instances(await self._database.fetch(_OF_STUDY, study_instance_uid=study_instance_uid))

    async def find_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Instance]:
        """The instances of a series of this study, by instance number; empty when unknown."""
        rows = await self._database.fetch(
            _OF_SERIES, study_instance_uid=study_instance_uid, series_instance_uid=series_instance_uid
        )
        return self._instances(rows)

    async def find_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> Instance | None:
        """The instance, or None when it is unknown or of another study or series."""
        found = (await self.find_instances([sop_instance_uid])).get(sop_instance_uid)
        if found is None or found.study_instance_uid != study_instance_uid:
            return None
        return found if found.series_instance_uid == series_instance_uid else None

    async def find_instances(self, sop_instance_uids: Sequence[str]) -> dict[str, Instance]:
        """The known ones of these instances, by SOP Instance UID."""
        rows = await self._database.fetch(_BY_UID, sop_instance_uids=list(sop_instance_uids))
        return {found.sop_instance_uid: found for found in map(self._instance, rows)}

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
        return study_header(instances[0].study_instance_uid, [json.loads(rows[uid]) for uid in ordered])

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
            kept = await self.metadata([found.sop_instance_uid for found in batch])
            for found in batch:
                if octets := kept[found.sop_instance_uid]:
                    yield separator + octets
                else:
                    yield separator
                    async for piece in self._made_metadata(found):
                        yield piece
                separator = b","
        yield b"[]" if separator == b"[" else b"]"

    async def _made_metadata(self, instance: Instance) -> AsyncIterator[bytes]:
        def begin() -> Iterator[bytes]:
            part10 = scan(instance.path, self._limits)
            return metadata_pieces(part10, _claim(instance), self._character_set)

        pieces = await asyncio.to_thread(begin)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    async def bulk_data(self, file: Path, path: Sequence[str]) -> BulkValue | None:
        """The value at `path` of a kept file, or of one made from it; raises as `bulk_value`."""
        return await asyncio.to_thread(bulk_value, file, path, self._limits)

    async def pixels(self, sop_instance_uid: str) -> PixelData | None:
        """Where the pixel data of an instance lie in its file; None without, or in a deflated file."""
        rows = await self._database.fetch(_PIXELS, sop_instance_uid=sop_instance_uid)
        if not rows:
            return None
        offset, length, fragments = rows[0]
        return PixelData(offset, length, None if fragments is None else Fragments(fragments))

    async def check(self) -> None:
        """Raise when the next instance could not be kept, for readiness."""
        await self._database.check()
        await asyncio.to_thread(self.files.check)

    def _instances(self, rows: Sequence[Row]) -> list[Instance]:
        return sorted(map(self._instance, rows), key=_order)

    def _instance(self, row: Row) -> Instance:
        local, universal_id, universal_id_type, has_pixels, received_at = row[len(_PLAIN) :]
        converted = (
            self.files.name(row[_SHA256]),
            _issuer(local, universal_id, universal_id_type),
            bool(has_pixels),
            datetime.fromisoformat(received_at),
        )
        return Instance._make((*row[: len(_PLAIN)], *converted))


def _values(described: Described) -> dict[str, Any]:
    found = described.instance
    values = {column.name: getattr(found, column.name) for column in _COLUMNS if hasattr(found, column.name)}
    issuer = found.issuer_of_patient_id
    return {
        **values,
        "issuer_local": issuer.local,
        "issuer_universal_id": issuer.universal_id,
        "issuer_universal_id_type": issuer.universal_id_type,
        "has_pixels": int(found.has_pixels),
        "received_at": found.received_at.isoformat(),
        "header": described.header,
    }


def _pixel_values(sop_instance_uid: str, pixels: PixelData) -> dict[str, Any]:
    return {
        "sop_instance_uid": sop_instance_uid,
        "offset": pixels.offset,
        "length": pixels.length,
        "fragments": None if pixels.fragments is None else pixels.fragments.packed,
    }


def _other_data_set(known: Instance) -> Refused:
    return Refused(PROCESSING_FAILURE, "another data set has this SOP Instance UID; it stays", _claim(known))


def _claim(known: Instance) -> Claim:
    return Claim(
        sop_class_uid=known.sop_class_uid,
        sop_instance_uid=known.sop_instance_uid,
        study_instance_uid=known.study_instance_uid,
    )


def _same(known: Instance, other: Instance, part10: Part10, limits: Limits) -> bool:
    """Whether both files hold one content, in whatever encoding each came."""
    if known.sha256 == other.sha256:
        return True
    return content_digest(scan(known.path, limits)) == content_digest(part10)


def _order(found: Instance) -> tuple[Any, ...]:
    return (
        *_number_order(found.series_number),
        found.series_instance_uid,
        *_number_order(found.instance_number),
        found.sop_instance_uid,
    )


def _number_order(number: int | None) -> tuple[bool, int]:
    return (number is None, number or 0)

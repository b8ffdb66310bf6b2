"""Instances that are kept: compared with what comes again, set aside and accepted, erased."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import bindparam, select

from imaging_source.domain.intake import OUT_OF_RESOURCES, PROCESSING_FAILURE, Refused
from imaging_source.domain.transfer import Fate, cx
from imaging_source.store import archived, catalogue, erasure, instance_rows, set_aside, transfers
from imaging_source.store.contents import Contents
from imaging_source.store.incoming import SpooledFile
from imaging_source.store.index import InstanceIndex, claim_of
from imaging_source.store.kept_files import have_row, with_row
from imaging_source.store.set_aside import NamedPatient
from imaging_source.store.tables import instance
from imaging_source.store.transfers import Transfer
from shared.audit.events import AuditEvent
from shared.audit.outbox import insert_events
from shared.audit.recorder import AuditRecorder
from shared.dicom.content import content_digest
from shared.dicom.part10 import Limits, Part10, scan
from shared.http.checked import StoreUnavailable
from shared.imaging.description import InstanceDescription
from shared.imaging.instance import Instance, Issuer
from shared.imaging.sameness import may_be_one_image, pixels_are_equal
from shared.imaging.transcoder import Workers
from shared.store.engine import Database, Transaction

_log = logging.getLogger(__name__)

_BY_SHA256 = select(instance.c.sop_instance_uid).where(instance.c.sha256 == bindparam("sha256")).limit(1)


class KeptInstances(InstanceIndex):
    """What is done with instances after they came.

    `on_stored` holds what is called with the Study Instance UID after each instance that is new; it must be
    quick and must not raise; `on_repaired` likewise, with the SHA-256 of a file that was lost or damaged, and
    is mended. `patient_id_issuer` is whose Patient IDs are that name no issuer, `workers`
    decode what is compared.
    """

    def __init__(
        self,
        database: Database,
        files: Contents,
        *,
        limits: Limits,
        character_set: Sequence[str],
        patient_id_issuer: Issuer,
        workers: Workers,
    ) -> None:
        super().__init__(database, files, limits=limits, character_set=character_set)
        self.on_repaired: list[Callable[[str], None]] = []
        self.on_stored: list[Callable[[str], None]] = []
        self._patient_id_issuer = patient_id_issuer
        self._workers = workers

    async def erase(
        self,
        instances: Sequence[Instance],
        events: Sequence[AuditEvent],
        recorder: AuditRecorder,
    ) -> None:
        """Remove instances of one study with all their versions; it and `events` are one, and durable.

        Contents go afterwards: what a crash leaves of them is removed with what else has no row.

        Raises
        ------
        AuditUnavailable
            The events cannot be kept; nothing was removed.
        """
        study = instances[0].study_instance_uid

        async def work(transaction: Transaction) -> frozenset[str]:
            digests = await erasure.erase(transaction, instances)
            await catalogue.renew(transaction, study)
            await insert_events(transaction, events, recorder)
            return digests

        for sha256 in await self._database.write(work):
            await self._forget(sha256)

    async def _repaired(
        self, earlier: Instance, described: InstanceDescription, spooled: SpooledFile, came_by: Transfer
    ) -> Instance:
        """Put what came in the place of a file that is lost or damaged.

        The bytes prove themselves when they are those that were kept; else everything that the index knows of
        the data set must be as it was.
        """
        if earlier.sha256 != described.instance.sha256 and not await self._alike(earlier, described):
            raise other_data_set(earlier)
        await self.files.keep(spooled)
        repaired = earlier._replace(
            file=described.instance.file, size=described.instance.size, sha256=described.instance.sha256
        )

        async def work(transaction: Transaction) -> None:
            await instance_rows.change_file(transaction, repaired, described.pixels)
            await archived.forget(transaction, repaired.sop_instance_uid)
            await self._note_in(transaction, repaired, came_by, Fate.REPAIRED)

        await self._database.write(work)
        _log.warning("the file of an instance was repaired: sha256 %s", repaired.sha256)
        if earlier.sha256 != repaired.sha256:
            await self._forget(earlier.sha256)
        for call in self.on_repaired:
            call(earlier.sha256)
        return repaired

    async def _whole(self, instance: Instance) -> bool:
        try:
            return await self.files.whole(instance.sha256, instance.size)
        except StoreUnavailable as error:
            raise Refused(
                OUT_OF_RESOURCES, "instances cannot be kept at the moment", claim_of(instance)
            ) from error

    async def _same(self, earlier: Instance, other: Instance, part10: Part10, file: Path) -> bool:
        """Whether both hold one content, in whatever encoding each came: `part10` was scanned of `file`."""
        if earlier.sha256 == other.sha256:
            return True
        try:
            path = await self.files.local(earlier)
            before = await asyncio.to_thread(scan, path, self.limits)
            if await asyncio.to_thread(lambda: content_digest(before) == content_digest(part10)):
                return True
            return await asyncio.to_thread(may_be_one_image, before, part10) and await self._workers.run(
                pixels_are_equal, path, file, self.files.aside()
            )
        except OSError as error:
            raise Refused(
                OUT_OF_RESOURCES, "instances cannot be read at the moment", claim_of(earlier)
            ) from error
        except ValueError as error:
            # What nobody can decode is not known to be the same.
            _log.warning("two encodings under one UID cannot be compared: %s", error)
            return False

    async def _alike(self, earlier: Instance, described: InstanceDescription) -> bool:
        uid = earlier.sop_instance_uid
        metadata, pixels = await self.metadata([uid]), await self.pixels(uid)
        lengths = [None if place is None else place.length for place in (pixels, described.pixels)]
        # What is too long to be kept proves nothing.
        return (
            earlier.transfer_syntax_uid == described.instance.transfer_syntax_uid
            and bool(described.metadata)
            and metadata.get(uid) == described.metadata
            and lengths[0] == lengths[1]
        )

    async def _known(self, described: Instance) -> Instance | None:
        instances = await self.find_instances([described.sop_instance_uid])
        return instances.get(described.sop_instance_uid)

    async def _note(self, instance: Instance, came_by: Transfer, fate: Fate) -> None:
        await self._database.write(lambda transaction: self._note_in(transaction, instance, came_by, fate))

    async def _note_in(
        self, transaction: Transaction, instance: Instance, came_by: Transfer, fate: Fate
    ) -> None:
        issuer = instance.issuer_of_patient_id
        await transfers.note(
            transaction,
            came_by,
            study_instance_uid=instance.study_instance_uid,
            patient_id=cx(instance.patient_id, self._patient_id_issuer if issuer == Issuer() else issuer),
            sop_class_uid=instance.sop_class_uid,
            fate=fate,
        )

    async def settle(self, study_instance_uid: str) -> None:
        """Set aside what names another patient than the first instance of its study."""

        async def work(transaction: Transaction) -> None:
            await set_aside.settle(transaction, study_instance_uid, self._patient_id_issuer)
            await catalogue.renew(transaction, study_instance_uid)

        await self._database.write(work)

    def named_patient(self, of: Instance) -> NamedPatient:
        """The patient whom an instance names."""
        return NamedPatient.of(of.patient_id, of.issuer_of_patient_id, self._patient_id_issuer)

    async def accept(self, sop_instance_uid: str) -> str:
        """Decide for an instance that is set aside (`set_aside.accept`); its study, or empty without one."""

        async def work(transaction: Transaction) -> str:
            study = await set_aside.accept(transaction, sop_instance_uid, self._patient_id_issuer)
            if study:
                await catalogue.renew(transaction, study)
            return study

        study = await self._database.write(work)
        for call in self.on_stored if study else ():
            call(study)
        return study

    async def _release(self, spooled: SpooledFile) -> None:
        """Remove what was made of a file aside unless a row refers to it."""
        if not await have_row(self._database, spooled.sha256):
            await self.files.take_away(spooled)

    async def _forget(self, sha256: str) -> None:
        """Remove contents unless a row refers to them."""
        if not await have_row(self._database, sha256):
            await self.files.forget(sha256)

    async def without_row(self, folder: str, *, before: float) -> list[str]:
        """Digests of the contents in one of the 256 folders, written before `before` (seconds since 1970), to
        which no row refers."""
        digests = await self.files.digests(folder, before=before)
        if not digests:
            return []
        digests_here = await with_row(self._database, digests[0], digests[-1])
        return [sha256 for sha256 in digests if sha256 not in digests_here]

    async def of_contents(self, sha256: str) -> list[Instance]:
        """The instances that have these contents."""
        uids = [uid for (uid,) in await self._database.fetch(_BY_SHA256, sha256=sha256)]
        return list((await self.find_instances(uids)).values())


def other_data_set(earlier: Instance) -> Refused:
    """Why what came is not kept, where `earlier` is."""
    return Refused(
        PROCESSING_FAILURE, "another data set has this SOP Instance UID; it stays", claim_of(earlier)
    )

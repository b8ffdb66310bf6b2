"""Instances of archives beside those that are kept here: noted as they are retrieved, and not kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imaging_source.domain.intake import MISMATCH, Refused
from imaging_source.domain.listing import ListedInstance, contradiction
from imaging_source.store import archived, catalogue, instance_rows, set_aside
from imaging_source.store.archived import ArchiveCopy
from imaging_source.store.copies import FrontFiles
from imaging_source.store.files import pieces
from imaging_source.store.incoming import SpooledFile
from imaging_source.store.index import claim_of
from imaging_source.store.instances import InstanceStore
from imaging_source.store.transfers import Transfer
from shared.dicom.part10 import Part10
from shared.http.checked import DamagedBlob
from shared.imaging.description import Claim, InstanceDescription
from shared.imaging.instance import Instance
from shared.store.engine import Database, Transaction


class ArchivedInstances(InstanceStore):
    """Instances that are kept here, and those whose contents an archive keeps: of these there are copies.

    What is kept here counts more, and what an archive has changed takes its own place.
    """

    def __init__(self, database: Database, files: FrontFiles, **options: Any) -> None:
        super().__init__(database, files, **options)
        self.copies = files.copies

    async def take(
        self,
        spooled: SpooledFile,
        listed: Mapping[str, ListedInstance],
        archive: str,
        came_by: Transfer,
    ) -> Instance:
        """Note what an archive gave for one of the instances that it listed, by SOP Instance UID; it stays
        among the copies while there is room.

        `spooled` is gone afterwards in any case.

        Raises
        ------
        Refused
            It is not DICOM that is accepted, or not what was listed. That is counted in the transfer.
        DatabaseError
            Nothing is noted.
        """
        if spooled.path.parent != self.copies.incoming:
            # It came by our listener, whose folder may be on another disk.
            spooled = await asyncio.to_thread(self._aside, spooled)
        try:
            spooled, part10, described = await asyncio.to_thread(
                self._described, spooled, Claim(), self.copies
            )
            one = listed.get(described.instance.sop_instance_uid)
            problem = "it was not asked for" if one is None else contradiction(one, described.instance)
            if one is None or problem:
                raise Refused(MISMATCH, problem, claim_of(described.instance))
            copy = ArchiveCopy(archive, one.digest)
            instance, is_new = await self._noted(described, part10, spooled.path, came_by, copy)
            if instance.sha256 == spooled.sha256 and self.copies.admits(spooled.size):
                await self.copies.keep(spooled)
                self.copies.release(spooled)
        except Refused as refused:
            await self.refuse(refused, came_by)
            raise
        finally:
            spooled.path.unlink(missing_ok=True)
        for call in self.on_stored if is_new else ():
            call(instance.study_instance_uid)
        return instance

    def _aside(self, spooled: SpooledFile) -> SpooledFile:
        try:
            return self.copies.copy(pieces(spooled.path), max_bytes=spooled.size)
        finally:
            spooled.path.unlink(missing_ok=True)

    async def _noted(
        self,
        described: InstanceDescription,
        part10: Part10,
        file: Path,
        came_by: Transfer,
        copy: ArchiveCopy,
    ) -> tuple[Instance, bool]:
        """The instance as it is known from now on, and whether it was not before, or was another one.

        `part10` was scanned of `file`, where what came is.
        """
        uid = described.instance.sop_instance_uid
        earlier = await self._known(described.instance)
        if earlier is None and (newcomer := await self._insert(described, came_by, copy)):
            return newcomer, True
        if earlier is None:
            earlier = await self._known(described.instance)
            assert earlier is not None
        before = (await archived.of_instances(self._database, [uid])).get(uid)
        if before is None:
            return earlier, False
        if await self._same_as_copy(earlier, described.instance, part10, file):
            # What another archive gives in its place changes nothing of where it is.
            if before.archive == copy.archive and before != copy:
                await self._database.write(lambda transaction: archived.note(transaction, earlier, copy))
            return earlier, False
        if before.archive != copy.archive:
            problem = f"it is another data set than that of the archive {before.archive}"
            raise Refused(MISMATCH, problem, claim_of(described.instance))
        changed = await self._insert(described, came_by, copy, instead_of=earlier)
        if changed is None:
            # Somebody else was faster.
            return await self._noted(described, part10, file, came_by, copy)
        await self.copies.forget(earlier.sha256)
        return changed, True

    async def _same_as_copy(self, earlier: Instance, other: Instance, part10: Part10, file: Path) -> bool:
        """Whether what came is what was noted; in another encoding, where there still is a copy of that."""
        if earlier.sha256 == other.sha256:
            return True
        copy = await self.files.local(earlier)
        return copy.exists() and await self._same(earlier, other, part10, file)

    async def keep_for_good(self, one: Instance) -> bool:
        """Keep here, durably, what there is a copy of, and depend on its archive no more; whether every byte
        that is on the disk then is one that was noted. Otherwise nothing is changed.

        Raises
        ------
        Refused
            There is no room.
        """
        try:
            spooled = await asyncio.to_thread(
                lambda: self.files.copy(self.copies.read(one.sha256, one.size), max_bytes=one.size)
            )
        except (OSError, DamagedBlob):
            return False
        await self.files.keep(spooled)
        if not await self.files.proved(one.sha256, one.size):
            self.files.release(spooled)
            return False

        async def work(transaction: Transaction) -> bool:
            current = await self._known(one)
            if current is None or current.sha256 != one.sha256:
                return False
            await archived.forget(transaction, one.sop_instance_uid)
            return True

        is_kept = await self._database.write(work)
        self.files.release(spooled)
        if not is_kept:
            await self._forget(one.sha256)
        return is_kept

    async def forget_archived(self, instances: Sequence[Instance]) -> None:
        """Forget instances of one study that their archive has no more; they may come again."""
        study = instances[0].study_instance_uid

        async def work(transaction: Transaction) -> None:
            for one in instances:
                if await instance_rows.remove(transaction, one):
                    await archived.forget(transaction, one.sop_instance_uid)
                    await set_aside.forget(transaction, one.sop_instance_uid)
            await catalogue.renew(transaction, study)

        await self._database.write(work)
        for call in self.on_stored:
            call(study)

    async def archived(self, study_instance_uid: str) -> dict[str, ArchiveCopy]:
        """Which instances of a study an archive keeps, by SOP Instance UID."""
        return await archived.of_study(self._database, study_instance_uid)

    async def archives_of(self, instances: Sequence[Instance]) -> dict[str, ArchiveCopy]:
        """Which of `instances` an archive keeps, by SOP Instance UID."""
        return await archived.of_instances(self._database, [one.sop_instance_uid for one in instances])

    async def erased(self, sop_instance_uids: Sequence[str]) -> set[str]:
        """Those of these instances that were erased."""
        return await archived.erased(self._database, sop_instance_uids)

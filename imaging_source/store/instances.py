"""The way of a file into the index: scanned, synced, linked, committed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imaging_source.domain.corrections import KEPT_BESIDE, REPLACED, CorrectionPolicy, objection
from imaging_source.domain.intake import (
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    Refused,
    StoredInstance,
)
from imaging_source.domain.selection import key_object
from imaging_source.domain.transfer import Fate
from imaging_source.store import (
    archived,
    catalogue,
    instance_rows,
    set_aside,
    transfers,
    versions,
)
from imaging_source.store.archived import ArchiveCopy
from imaging_source.store.arrivals import Arrival, arrival_of
from imaging_source.store.contents import Contents
from imaging_source.store.incoming import Incoming, SpooledFile, durable
from imaging_source.store.index import claim_of
from imaging_source.store.kept_files import were_erased
from imaging_source.store.kept_instances import KeptInstances, other_data_set
from imaging_source.store.local_patients import COERCED, LocalPatients, source_of
from imaging_source.store.transfers import Record, Transfer
from shared.attempts import to_its_end
from shared.dicom.character_sets import UNDECLARED
from shared.dicom.data_set import warnings
from shared.dicom.part10 import LIMITS, Limits, Part10
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging.coerced_files import Uncoercible, write_coerced
from shared.imaging.description import Claim, InstanceDescription
from shared.imaging.instance import Instance, Issuer
from shared.imaging.local_identity import LocalIdentity
from shared.imaging.transcoder import Workers
from shared.store.engine import Database, Transaction
from shared.store.failures import DatabaseError

_log = logging.getLogger(__name__)


class InstanceStore(KeptInstances):
    """Instances of this source, and how further ones come to them; `files` are their contents.

    `limits` are what one file may ask of us, `character_set` the encodings of those that name none,
    `corrections` what becomes of another data set under a UID that is known, `patients` who foreign patients
    are here.
    """

    def __init__(
        self,
        database: Database,
        files: Contents,
        *,
        patient_id_issuer: Issuer = Issuer(),  # noqa: B008  # frozen
        limits: Limits = LIMITS,
        character_set: Sequence[str] = UNDECLARED,
        corrections: CorrectionPolicy = CorrectionPolicy.REFUSE,
        patients: LocalPatients | None = None,
        workers: Workers,
    ) -> None:
        super().__init__(
            database,
            files,
            limits=limits,
            character_set=character_set,
            patient_id_issuer=patient_id_issuer,
            workers=workers,
        )
        self._corrections = corrections
        self._patients = patients or LocalPatients()
        self._latest = datetime.min.replace(tzinfo=UTC)

    async def recover(self, record: Record) -> None:
        """Clean up after processes that died; before anything arrives here.

        What they were receiving is removed, and what stands in no audit event yet is recorded. Other contents
        without a row are left to `adopt`.
        """
        for folder in await asyncio.to_thread(self.files.abandoned):
            for spooled in await asyncio.to_thread(folder.files):
                await self._release(spooled)
                spooled.path.unlink()
            await asyncio.to_thread(folder.remove)
        await transfers.conclude_all(self._database, record)

    async def store_part10(
        self,
        spooled: SpooledFile,
        came_by: Transfer,
        claim: Claim = Claim(),  # noqa: B008  # frozen
    ) -> StoredInstance:
        """Keep one Part 10 file; when this returns it is durable and visible.

        The same content again, in whatever encoding and however compressed without loss, is kept as it was
        first received; what is on the disk is looked at, and repaired when it is lost or damaged.
        `spooled` is gone afterwards in any case.

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

    async def store_portion(
        self, arriving: Sequence[Incoming | Refused], came_by: Transfer, claim: Claim
    ) -> list[StoredInstance | Refused]:
        """Keep each of what came together as `store_part10` does, or tell why not; it is synced here.

        Newcomers are put in their places at once, and committed together.
        """
        task = asyncio.ensure_future(self._store_portion(arriving, came_by, claim))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _store(self, spooled: SpooledFile, came_by: Transfer, claim: Claim) -> StoredInstance:
        try:
            arrival = await asyncio.to_thread(self._described, spooled, claim, self.files)
        except Refused as refused:
            spooled.path.unlink(missing_ok=True)
            await self.refuse(refused, came_by)
            raise
        return await self._settle(arrival, came_by)

    async def _settle(
        self, arrival: Arrival, came_by: Transfer, *, is_placed: bool = False
    ) -> StoredInstance:
        """Keep what came or refuse it; `is_placed` tells that it has its place and is not known yet."""
        spooled, part10, described = arrival
        try:
            if (local := self._patients.identity_of(described.instance)) is None:
                stored = await self._keep(spooled, part10, described, came_by, is_placed=is_placed)
            else:
                stored = await self._keep_coerced(spooled, part10, described, came_by, local)
        except Refused as refused:
            spooled.path.unlink(missing_ok=True)
            await self.refuse(refused, came_by)
            raise
        except DatabaseError as error:
            # The final file may have no row: what stays in its place tells the next start.
            self.files.doubt(spooled)
            claim = claim_of(described.instance)
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment", claim) from error
        self.files.release(spooled)
        if stored.new:
            for call in self.on_stored:
                call(stored.instance.study_instance_uid)
        return stored

    async def _store_portion(
        self, arriving: Sequence[Incoming | Refused], came_by: Transfer, claim: Claim
    ) -> list[StoredInstance | Refused]:
        arrivals = await asyncio.to_thread(lambda: [self._arrival(one, claim) for one in arriving])
        places = await self._places_of_newcomers(arrivals)
        if places:
            arrivals = await self._placed(arrivals, places)

        async def outcome(at: int) -> StoredInstance | Refused:
            arrival = arrivals[at]
            if isinstance(arrival, Refused):
                await self.refuse(arrival, came_by)
                return arrival
            try:
                return await self._settle(arrival, came_by, is_placed=at in places)
            except Refused as refused:
                return refused

        # In one turn of the loop, so that one commit is of all; what is no newcomer may be one of them again.
        together = sorted(places)
        outcomes = dict(zip(together, await asyncio.gather(*map(outcome, together)), strict=True))
        return [outcomes[at] if at in outcomes else await outcome(at) for at in range(len(arrivals))]

    def _arrival(self, incoming: Incoming | Refused, claim: Claim) -> Arrival | Refused:
        """What came, synced and described; blocks."""
        if isinstance(incoming, Refused):
            return incoming
        try:
            return self._described(incoming.finish(), claim, self.files)
        except Refused as refused:
            incoming.discard()
            return refused

    async def _places_of_newcomers(self, arrivals: Sequence[Arrival | Refused]) -> frozenset[int]:
        """Where in a portion stands what nothing is known of, neither here nor of what stands before it."""
        by_uid: dict[str, int] = {}
        for at, one in enumerate(arrivals):
            if isinstance(one, Arrival) and self._patients.identity_of(one.described.instance) is None:
                by_uid.setdefault(one.described.instance.sop_instance_uid, at)
        earlier = await self.find_instances(list(by_uid)) if by_uid else {}
        return frozenset(at for uid, at in by_uid.items() if uid not in earlier)

    async def _placed(
        self, arrivals: Sequence[Arrival | Refused], places: frozenset[int]
    ) -> list[Arrival | Refused]:
        """Put those at `places` where they are kept, durably, or refuse all: a second sync proves nothing."""
        newcomers = {at: one for at, one in enumerate(arrivals) if at in places and isinstance(one, Arrival)}
        try:
            await self.files.keep(*[one.spooled for one in newcomers.values()])
        except Refused as refused:
            for one in newcomers.values():
                one.spooled.path.unlink(missing_ok=True)
            return [
                Refused(refused.status, refused.reason, claim_of(newcomers[at].described.instance))
                if at in newcomers
                else one
                for at, one in enumerate(arrivals)
            ]
        return list(arrivals)

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

    @asynccontextmanager
    async def concluding(self, came_by: Transfer, record: Record) -> AsyncIterator[None]:
        """Conclude a transfer at the end, however that comes: what came of it is kept, and stands in the
        trail, also when the sender has gone.
        """
        try:
            yield
        finally:
            await to_its_end(self.conclude(came_by, record))

    async def _keep_coerced(
        self,
        file: SpooledFile,
        part10: Part10,
        described: InstanceDescription,
        came_by: Transfer,
        local: LocalIdentity,
    ) -> StoredInstance:
        """Keep an instance under the identifiers of its patient here, and `file`, which came, beside it.

        What comes again is what was coerced before, whatever the patient is called by now.
        """
        original = described.instance
        earlier, at = await self._coerced_before(original, part10, file.path)
        if earlier is not None and await self._whole(earlier):
            await self._note(earlier, came_by, Fate.IDENTICAL)
            return StoredInstance(earlier, new=False, warnings=(COERCED,), coerced=True)
        claim = claim_of(original)
        coerced, part10, described = await asyncio.to_thread(self._coerced, file, original, local, at)
        try:
            await self.files.keep(file)
            stored = await self._keep(coerced, part10, described, came_by, coerced_from=(original, at))
        except Refused:
            coerced.path.unlink(missing_ok=True)
            await self._release(file)
            raise
        except DatabaseError as error:
            self.files.doubt(coerced)
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment", claim) from error
        self.files.release(coerced)
        await self._release(file)
        return replace(stored, warnings=(COERCED, *stored.warnings), coerced=True)

    async def _coerced_before(
        self, original: Instance, part10: Part10, file: Path
    ) -> tuple[Instance | None, datetime]:
        """The instance that was coerced of this very data set, and when; now, where there is none."""
        earlier = await self._known(original)
        if earlier is not None:
            for sha256, size, at in await versions.coerced_from(self._database, original.sop_instance_uid):
                version = earlier._replace(sha256=sha256, size=size, file=self.files.name(sha256))
                if await self._same(version, original, part10, file):
                    return earlier, at
        return None, datetime.now(UTC)

    def _described(self, spooled: SpooledFile, claim: Claim, files: Contents) -> Arrival:
        return arrival_of(spooled, claim, files, limits=self.limits, character_set=self._character_set)

    def _coerced(
        self, file: SpooledFile, original: Instance, local: LocalIdentity, at: datetime
    ) -> tuple[SpooledFile, Part10, InstanceDescription]:
        """What `file` holds under other identifiers, in a file of its own, described; blocks."""
        target = self.files.aside()
        claim = claim_of(original)
        try:
            with self.files.guarded():
                write_coerced(file.path, target, local, origin=source_of(original), at=at)
                coerced = durable(target)
        except Uncoercible as error:
            raise Refused(PROCESSING_FAILURE, str(error), claim) from None
        return self._described(coerced, claim, self.files)

    async def _keep(
        self,
        spooled: SpooledFile,
        part10: Part10,
        described: InstanceDescription,
        came_by: Transfer,
        *,
        coerced_from: tuple[Instance, datetime] | None = None,
        is_placed: bool = False,
    ) -> StoredInstance:
        tolerances = warnings(described.tolerated)
        earlier = None if is_placed else await self._known(described.instance)
        if earlier is None:
            if not is_placed:
                await self.files.keep(spooled)
            if newcomer := await self._insert(described, came_by, coerced_from=coerced_from):
                return StoredInstance(newcomer, new=True, warnings=tolerances)
            # Somebody else was first; our file stays only if it is theirs as well.
            await self._release(spooled)
            earlier = await self._known(described.instance)
            assert earlier is not None
        if not await self._whole(earlier):
            repaired = await self._repaired(earlier, described, spooled, came_by)
            return StoredInstance(repaired, new=False, warnings=tolerances)
        if not await self._same(earlier, described.instance, part10, spooled.path):
            return await self._corrected(earlier, spooled, part10, described, came_by)
        await self._note(earlier, came_by, Fate.IDENTICAL)
        return StoredInstance(earlier, new=False, warnings=tolerances)

    async def _corrected(
        self,
        earlier: Instance,
        spooled: SpooledFile,
        part10: Part10,
        described: InstanceDescription,
        came_by: Transfer,
    ) -> StoredInstance:
        """Do with another data set under a known UID what the settings say."""
        tolerances = warnings(described.tolerated)
        policy = self._corrections
        if policy is CorrectionPolicy.REPLACE and not came_by.may_replace:
            policy = CorrectionPolicy.KEEP_FIRST
        match policy:
            case CorrectionPolicy.REFUSE:
                raise other_data_set(earlier)
            case CorrectionPolicy.KEEP_FIRST:
                await self.files.keep(spooled)
                await self._keep_beside(described.instance, came_by)
                return StoredInstance(earlier, new=False, warnings=(KEPT_BESIDE, *tolerances))
            case CorrectionPolicy.REPLACE:
                if problem := objection(earlier, described.instance):
                    raise Refused(PROCESSING_FAILURE, problem, claim_of(earlier))
                await self.files.keep(spooled)
                if (newcomer := await self._replace(earlier, described, came_by)) is None:
                    # Somebody else was faster.
                    return await self._keep(spooled, part10, described, came_by)
                return StoredInstance(newcomer, warnings=(REPLACED, *tolerances))

    async def _keep_beside(self, other: Instance, came_by: Transfer) -> None:
        async def work(transaction: Transaction) -> None:
            await versions.note(transaction, other, Fate.KEPT_BESIDE)
            await self._note_in(transaction, other, came_by, Fate.KEPT_BESIDE)

        await self._database.write(work)

    async def _replace(
        self, earlier: Instance, described: InstanceDescription, came_by: Transfer
    ) -> Instance | None:
        """Let an instance be another data set from now on; None when it is no longer `earlier`."""

        async def work(transaction: Transaction) -> Instance | None:
            if not await instance_rows.remove(transaction, earlier):
                return None
            newcomer = described.instance._replace(received_at=self._now())
            await versions.note(transaction, earlier, Fate.REPLACED)
            await versions.forget(transaction, newcomer)
            await instance_rows.insert_instance(transaction, replace(described, instance=newcomer))
            await catalogue.renew(transaction, newcomer.study_instance_uid)
            await self._note_in(transaction, newcomer, came_by, Fate.REPLACED)
            return newcomer

        return await self._database.write(work)

    async def _insert(
        self,
        described: InstanceDescription,
        came_by: Transfer,
        copy: ArchiveCopy | None = None,
        *,
        instead_of: Instance | None = None,
        coerced_from: tuple[Instance, datetime] | None = None,
    ) -> Instance | None:
        """The instance as it has become visible; None when its UID is there, or `instead_of` is no more.

        `copy` tells which archive keeps it, `coerced_from` what came of it, and since when that is kept.
        """
        rejects = (
            described.instance.sop_class_uid == KEY_OBJECT_SELECTION
            and key_object(json.loads(described.header)).rejects
        )

        async def work(transaction: Transaction) -> Instance | None:
            newcomer = described.instance._replace(received_at=self._now())
            if instead_of is not None:
                if not await instance_rows.remove(transaction, instead_of):
                    return None
                await set_aside.forget(transaction, newcomer.sop_instance_uid)
            if not await instance_rows.insert_instance(transaction, replace(described, instance=newcomer)):
                return None
            if copy is not None:
                await archived.note(transaction, newcomer, copy)
            if coerced_from is not None:
                original, at = coerced_from
                await versions.note(transaction, original, Fate.COERCED, at=at)
            changed = await set_aside.judge(
                transaction,
                newcomer.study_instance_uid,
                newcomer.sop_instance_uid,
                self.named_patient(newcomer),
                self._patient_id_issuer,
                stranger_rejects=rejects and not came_by.may_reject,
            )
            if changed or rejects or instead_of is not None:
                await catalogue.renew(transaction, newcomer.study_instance_uid)
            else:
                await catalogue.enter(transaction, newcomer, described.header)
            fate = Fate.CREATED if instead_of is None else Fate.CHANGED
            if coerced_from is not None:
                fate = Fate.COERCED
            await self._note_in(transaction, newcomer, came_by, fate)
            return newcomer

        return await self._database.write(work)

    def _now(self) -> datetime:
        """Later than before: matches of a search come in this order, and newcomers behind them."""
        self._latest = max(datetime.now(UTC), self._latest + timedelta(microseconds=1))
        return self._latest

    async def take_back(self, sha256: str, came_by: Transfer) -> None:
        """Give a file without a row what it lacks; one that is torn, refused or was erased is removed.

        Raises
        ------
        Refused, OSError, BodyBroken, DatabaseError
            As `store_part10`; the contents cannot be read.
        """
        if await were_erased(self._database, sha256):
            await self._forget(sha256)
            raise Refused(PROCESSING_FAILURE, "the instance was erased")
        spooled = await self.files.take_back(sha256)
        try:
            if spooled.sha256 != sha256:
                spooled.path.unlink()
                raise Refused(PROCESSING_FAILURE, "the file is torn")
            await self.store_part10(spooled, came_by)
        except Refused as refused:
            if refused.status != OUT_OF_RESOURCES:
                await self._forget(sha256)
            raise

    async def check(self) -> None:
        """Raise when the next instance could not be kept, for readiness."""
        await self._database.check()
        await self.files.ready()

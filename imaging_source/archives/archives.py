"""Archives in their order: what they list of a study is made known here, and their contents are at hand when
they are given away.

The first archive that has a study tells what it is; what that cannot give, the next one is asked for. Nothing
that an archive says or sends is taken for more than it proves: an instance is the one that was listed, of the
same patient, whole, and with the bytes that were noted, or it is not given.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from imaging_source.archives.archive import Archive, ArchiveAway, ReceivedFile
from imaging_source.archives.moves import Moves
from imaging_source.domain.intake import Refused
from imaging_source.domain.listing import ListedInstance
from imaging_source.store.archived_instances import ArchivedInstances
from imaging_source.store.incoming import Incoming
from imaging_source.store.transfers import Record, Transfer
from shared.dicom.json import Attributes, text
from shared.dicom.uids import is_uid
from shared.imaging.instance import Instance
from shared.imaging.query.matching import match
from shared.imaging.query.query import Query
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger(__name__)

#: Studies of which it is remembered when they were compared last; each takes about 200 bytes.
_MOST_COMPARED: Final = 50_000
_RETRIEVALS_AT_ONCE: Final = 4

Admission = Callable[[Sequence[ListedInstance]], Awaitable[bool]]
"""Whether whoever asks may know of a study, by what an archive lists of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What came of comparing a study with the archives: `missing` instances are listed and could not be had,
    for the `reason`; without any, the reason says why nobody could be asked. `listed` are all that the
    archive lists and were not erased here, where it was asked."""

    missing: frozenset[str] = frozenset()
    reason: str = ""
    listed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFailure:
    """When an archive failed last since this process began (aware), and how."""

    at: datetime
    reason: str


class Archives:
    """The archives of the settings, in their order; none without `instances`.

    `check_seconds` pass before a study that is known is compared again, `record` writes the trail;
    `moves` are those C-MOVE requests whose instances come to our listener.
    """

    def __init__(
        self,
        archives: Sequence[Archive] = (),
        instances: ArchivedInstances | None = None,
        record: Record | None = None,
        *,
        check_seconds: float = 0.0,
        max_instance_bytes: int = 0,
        moves: Moves | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archives = tuple(archives)
        self._instances = instances
        self._record = record
        self._check_seconds = check_seconds
        self._max_instance_bytes = max_instance_bytes
        self.moves = moves or Moves()
        self._clock = clock
        self._compared: OrderedDict[str, float] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(_RETRIEVALS_AT_ONCE)
        self._failures: Mapping[str, Callable[[], None]] = {}
        self._retrieved: Mapping[str, Callable[[], None]] = {}
        self.last_failures: dict[str, LastFailure] = {}

    def __bool__(self) -> bool:
        return bool(self._archives)

    def measure(self, metrics: Metrics) -> None:
        """Count what they give and where they fail, and show how large their copies are."""
        instances = self._instances
        if instances is None:
            return
        names = [archive.name for archive in self._archives]
        self._failures = metrics.counters(
            "archive_failures",
            "Questions that an archive did not answer, and instances that were not what it lists",
            "archive",
            names,
        )
        self._retrieved = metrics.counters(
            "archive_instances", "Instances that an archive gave", "archive", names
        )
        metrics.gauge(
            "archive_copies_bytes",
            "Copies on this disk of instances that archives keep",
            lambda: float(instances.copies.bytes),
        )

    # --- what they have ----------------------------------------------------------------------------------

    async def compare(
        self, study_instance_uid: str, admits: Admission | None = None, *, anew: bool = False
    ) -> Comparison:
        """Make known here what the archives have of a study, when that was not done lately, or `anew`.

        What is new or has changed is retrieved, what is there no more is forgotten. Unless `admits`, nothing
        is; without it, all may know.

        Raises
        ------
        DatabaseError
            It cannot be noted.
        """
        if self._instances is None or not is_uid(study_instance_uid):
            return Comparison()
        if self._is_fresh(study_instance_uid) and not anew:
            return Comparison()
        async with self._alone(study_instance_uid):
            if self._is_fresh(study_instance_uid) and not anew:
                return Comparison()
            return await self._compare(self._instances, study_instance_uid, admits)

    def _is_fresh(self, study_instance_uid: str) -> bool:
        at = self._compared.get(study_instance_uid)
        return at is not None and self._clock() - at < self._check_seconds

    @asynccontextmanager
    async def _alone(self, study_instance_uid: str) -> AsyncIterator[None]:
        """Whoever asks for a study while it is retrieved waits for that."""
        lock = self._locks.setdefault(study_instance_uid, asyncio.Lock())
        async with lock:
            yield

    async def _compare(
        self, instances: ArchivedInstances, study_instance_uid: str, admits: Admission | None
    ) -> Comparison:
        reasons: list[str] = []
        owner, listed, silent = None, dict[str, ListedInstance](), set[str]()
        for archive in self._archives:
            try:
                of_archive = await archive.list_study(study_instance_uid)
            except ArchiveAway as error:
                self._failed(archive, str(error))
                reasons.append(str(error))
                silent.add(archive.name)
                continue
            if of_archive:
                owner, listed = archive, {one.sop_instance_uid: one for one in of_archive}
                break
        if listed and admits is not None and not await admits(list(listed.values())):
            return Comparison()
        for uid in await instances.erased(list(listed)):
            del listed[uid]
        here = {one.sop_instance_uid: one for one in await instances.find_study(study_instance_uid)}
        copies = await instances.archived(study_instance_uid)
        lost = [
            here[uid]
            for uid, copy in copies.items()
            if uid in here and uid not in listed and self._has_told(copy.archive, owner, silent)
        ]
        if lost:
            await instances.forget_archived(lost)
        if owner is None:
            # Of a study that was never seen nobody can say that it is not there.
            return Comparison(reason="; ".join(reasons))
        due = {
            uid: one
            for uid, one in listed.items()
            if uid not in here
            or (uid in copies and copies[uid].archive == owner.name and copies[uid].digest != one.digest)
        }
        missing = await self._retrieve_from(self._after(owner), due)
        if missing:
            return Comparison(
                missing=frozenset(missing),
                reason=f"the archive {owner.name} did not give all that it lists; ask again later",
                listed=frozenset(listed),
            )
        self._note(study_instance_uid)
        return Comparison(listed=frozenset(listed))

    def _has_told(self, name: str, owner: Archive | None, silent: Iterable[str]) -> bool:
        """Whether an archive was asked, or is none any more, and did not list what it had."""
        names = [archive.name for archive in self._archives]
        if name not in names:
            return owner is not None
        asked_last = names.index(owner.name) if owner is not None else len(names)
        return name not in silent and names.index(name) <= asked_last

    def _after(self, archive: Archive) -> Sequence[Archive]:
        """It, and all behind it."""
        return self._archives[self._archives.index(archive) :]

    def _note(self, study_instance_uid: str) -> None:
        self._compared[study_instance_uid] = self._clock()
        self._compared.move_to_end(study_instance_uid)
        while len(self._compared) > _MOST_COMPARED:
            self._compared.popitem(last=False)

    async def find_studies(self, query: Query, *, limit: int) -> tuple[list[Attributes], tuple[str, ...]]:
        """Studies that may match, each once and as the first archive that has it tells; and who is silent."""
        studies: dict[str, Attributes] = {}
        reasons: list[str] = []
        for archive in self._archives:
            try:
                for attributes in await archive.find_studies(query, limit=limit):
                    if is_uid(uid := text(attributes, 0x0020000D)):
                        studies.setdefault(uid, attributes)
            except ArchiveAway as error:
                self._failed(archive, str(error))
                reasons.append(str(error))
        return list(studies.values()), tuple(reasons)

    async def studies_of(self, name: str, query: Query, *, limit: int) -> list[str]:
        """The UIDs of studies of one archive, at most `limit`.

        Raises
        ------
        ArchiveAway
            It does not answer, or there is none of this name.
        """
        for archive in self._archives:
            if archive.name == name:
                studies = await archive.find_studies(query, limit=limit)
                uids = (text(one, 0x0020000D) for one in studies if match(one, query.keys))
                return list(dict.fromkeys(filter(is_uid, uids)))
        raise ArchiveAway(f"there is no archive of this name; there are {', '.join(self.names) or 'none'}")

    @property
    def names(self) -> list[str]:
        """Their names, in their order."""
        return [archive.name for archive in self._archives]

    async def keep_of(self, instances: Sequence[Instance]) -> set[str]:
        """Those of `instances` that an archive keeps and nobody here, by SOP Instance UID."""
        return set() if self._instances is None else set(await self._instances.archives_of(instances))

    async def keep(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        """Keep here, durably and for good, what an archive keeps of `instances`; why some are not, by SOP
        Instance UID."""
        store = self._instances
        if store is None:
            return {}
        reasons = dict(await self.bring(instances))
        copies = await store.archives_of(instances)
        for one in instances:
            uid = one.sop_instance_uid
            if uid in copies and uid not in reasons and not await store.keep_for_good(one):
                reasons[uid] = "what was kept of it is not what the archive gave; migrate it again"
        return reasons

    # --- what is given away ------------------------------------------------------------------------------

    async def bring(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        """Have the contents of `instances` at hand that an archive keeps: why they are not, by SOP Instance
        UID."""
        store = self._instances
        if store is None or not (elsewhere := await asyncio.to_thread(_elsewhere, instances)):
            return {}
        copies = await store.archives_of(elsewhere)
        absent = await store.copies.absent([one for one in elsewhere if one.sop_instance_uid in copies])
        reasons: dict[str, str] = {}
        by_study: dict[tuple[str, str], list[Instance]] = {}
        for one in absent:
            by_study.setdefault((one.study_instance_uid, copies[one.sop_instance_uid].archive), []).append(
                one
            )
        for (study, name), of_study in by_study.items():
            async with self._alone(study):
                # Whoever had the study before may have brought them.
                due = await store.copies.absent(of_study)
                listed = {
                    one.sop_instance_uid: ListedInstance(
                        study_instance_uid=study,
                        series_instance_uid=one.series_instance_uid,
                        sop_instance_uid=one.sop_instance_uid,
                        sop_class_uid=one.sop_class_uid,
                        patient_id=one.patient_id,
                        issuer_of_patient_id=one.issuer_of_patient_id,
                        digest=copies[one.sop_instance_uid].digest,
                    )
                    for one in due
                }
                missing = await self._retrieve_from(self._from(name), listed)
                reasons |= dict.fromkeys(missing, f"the archive {name} does not give it now; ask again later")
                for one in await store.copies.absent(due):
                    if one.sop_instance_uid not in reasons:
                        reasons[one.sop_instance_uid] = await self._without_copy(store, one)
        return reasons

    async def _without_copy(self, store: ArchivedInstances, one: Instance) -> str:
        current = (await store.find_instances([one.sop_instance_uid])).get(one.sop_instance_uid)
        if current is not None and current.sha256 != one.sha256:
            return "it has changed in the archive meanwhile; ask again"
        return "there is no room for a copy of what the archive keeps; ask for less at once"

    def _from(self, name: str) -> Sequence[Archive]:
        """The archive of this name, then all others in their order."""
        return sorted(self._archives, key=lambda archive: archive.name != name)

    # --- retrieval ---------------------------------------------------------------------------------------

    async def _retrieve_from(
        self, archives: Sequence[Archive], listed: Mapping[str, ListedInstance]
    ) -> set[str]:
        """Retrieve instances, from one archive after the other; those that none of them gave."""
        due = dict(listed)
        for archive in archives:
            if not due:
                break
            async with self._places:
                await self._retrieve(archive, due)
        return set(due)

    async def _retrieve(self, archive: Archive, due: dict[str, ListedInstance]) -> None:
        """Take out of `due` what the archive gives."""
        store = self._instances
        assert store is not None
        assert self._record is not None
        came_by = Transfer(sender=archive.sender(), may_reject=True)
        async with store.concluding(came_by, self._record):
            try:
                take = partial(self._take, store, archive, due, came_by)
                await archive.retrieve(list(due.values()), self._room, take)
            except ArchiveAway as error:
                self._failed(archive, str(error))
            except Refused as refused:
                # There is no room for the next one.
                self._failed(archive, refused.reason)

    async def _take(
        self,
        store: ArchivedInstances,
        archive: Archive,
        due: dict[str, ListedInstance],
        came_by: Transfer,
        file: ReceivedFile,
    ) -> None:
        try:
            spooled = await asyncio.to_thread(file.finish)
            instance = await store.take(spooled, due, archive.name, came_by)
        except Refused as refused:
            file.discard()
            if refused.claim.sop_instance_uid in due or not refused.claim.sop_instance_uid:
                self._failed(archive, f"the archive {archive.name} sent something else: {refused.reason}")
            return
        except DatabaseError:
            file.discard()
            raise
        due.pop(instance.sop_instance_uid, None)
        if count := self._retrieved.get(archive.name):
            count()

    def _room(self) -> Incoming:
        assert self._instances is not None
        return self._instances.copies.new(max_bytes=self._max_instance_bytes)

    def _failed(self, archive: Archive, reason: str) -> None:
        self.last_failures[archive.name] = LastFailure(at=datetime.now(UTC), reason=reason)
        _log.warning("an archive failed", archive=archive.name, reason=reason)
        if count := self._failures.get(archive.name):
            count()


def _elsewhere(instances: Sequence[Instance]) -> list[Instance]:
    """Those of which no file is here; blocks."""
    return [one for one in instances if not Path(one.file).exists()]

"""The publisher: sends what waits in the outbox, and makes manifests of studies that have stopped growing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from imaging_source.domain.coding import NotPublishable
from imaging_source.peers.registrations import RegistryAway
from imaging_source.store import outbox, reconciliation
from imaging_source.store.outbox import LeasedPublication
from imaging_source.store.publications import (
    PublicationState,
    count_last_publications,
    find_publications,
    oldest_waiting,
)
from imaging_source.transactions import rad68, unpublished
from imaging_source.transactions.archived import ArchiveSilent
from imaging_source.unit import Parts
from shared.attempts import awaited
from shared.background import BackgroundWork
from shared.perform import log_mistake
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger
from shared.telemetry.trace import one_trace

_log = logger(__name__)

_AT_ONCE: Final = 4
_POLL_SECONDS: Final = 0.5
_WATCH_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 5.0
_LONG_PAUSE_SECONDS: Final = 60.0
_PAGE: Final = 500
# How often, and for how many patients at a time, the registry is asked whether it knows them by now.
_PATIENTS_SECONDS: Final = 2.0
_PATIENTS: Final = 50
_COUNT_SECONDS: Final = 5.0
# How often, and how far back, it is looked for studies of hosts that are gone.
_TAKEOVER_SECONDS: Final = 120.0
_TAKEOVER_PAST: Final = timedelta(days=1)
#: States of the last publication of a study that somebody may have to look at.
COUNTED: Final = (PublicationState.WAITING, PublicationState.REFUSED, PublicationState.ABANDONED)


class Publisher:
    """Carries the outbox out, several studies at once; one for each process.

    Whatever happens to it, the outbox keeps what is not concluded: the next one takes it up.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.work = BackgroundWork("publisher", self._turn, rest_seconds=_POLL_SECONDS)
        self.patients = BackgroundWork("patients awaited", self._release, rest_seconds=_PATIENTS_SECONDS)
        self.census = BackgroundWork("count of publications", self.count, rest_seconds=_COUNT_SECONDS)
        self.counts: Mapping[PublicationState, int] = dict.fromkeys(COUNTED, 0)
        self._sending: set[asyncio.Task[None]] = set()
        self._oldest: int | None = None

    async def start(self) -> None:
        """Begin to send; what a dead process had in its hands is sent again at once, where it was alone."""
        if self._parts.database.dialect == "sqlite":
            await outbox.release_all(self._parts.database)
        self.work.start()
        self.patients.start()
        self.census.start()

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Stop; attempts under way have `grace_seconds` to end."""
        await self.census.stop()
        await self.patients.stop()
        await self.work.stop()
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=grace_seconds)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def wake(self) -> None:
        """Look at the outbox now: something was put into it."""
        self.work.wake()

    @property
    def oldest_seconds(self) -> float:
        """For how long the oldest publication has waited; 0 when none waits."""
        return 0.0 if self._oldest is None else max(0.0, time.time() - self._oldest / 1000)

    async def _turn(self) -> None:
        free = _AT_ONCE - len(self._sending)
        leased = await outbox.lease(self._parts.database, most=free) if free else []
        for each in leased:
            task = asyncio.create_task(self._provide(each), name="publication")
            self._sending.add(task)
            task.add_done_callback(self._ended)
        self._oldest = await oldest_waiting(self._parts.database)
        if leased:
            self.wake()

    async def count(self) -> None:
        """Count anew the studies in each of `COUNTED`."""
        self.counts = await count_last_publications(self._parts.database, states=COUNTED)

    async def _release(self) -> None:
        """Send what waits for a patient as soon as the registry knows it, or into whom it was merged."""
        for patient_id in await reconciliation.patients_awaited(self._parts.database, most=_PATIENTS):
            try:
                registrations = await self._parts.registry.find(patient_id, ())
            except RegistryAway:
                return
            if registrations.known or registrations.survivor != patient_id:
                await reconciliation.release_patient(self._parts.database, patient_id)
                self.wake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self.wake()

    async def _provide(self, leased: LeasedPublication) -> None:
        with one_trace():
            match await awaited(rad68.provide(self._parts, leased)):
                case DatabaseError() as error:
                    _log.error(
                        "an outcome cannot be kept; it will be learned anew", error=type(error).__name__
                    )
                case Exception() as error:
                    # The lease ends by time, and the attempt is made again.
                    log_mistake(error)


class StudyWatch:
    """Publishes studies that have had no new instance for `publish_delay_seconds`, at whichever host, and
    wait for nothing else.

    What arrived before a restart is found in the index: it is newer than the last publication of its study.
    So is, by one host after the other, what arrived at one that is gone. Two that publish the same study at
    once make one publication (`outbox.enqueue`).
    """

    def __init__(self, parts: Parts, publisher: Publisher) -> None:
        self._parts = parts
        self._publisher = publisher
        self._delay = parts.settings.publish_delay_seconds
        self._changed: dict[str, float] = {}
        self._completed: set[str] = set()
        self._remembered = False
        self.work = BackgroundWork("study watch", self._turn, rest_seconds=_WATCH_SECONDS)
        self.takeover = BackgroundWork(
            "studies of hosts that are gone",
            self._take_over,
            rest_seconds=_TAKEOVER_SECONDS,
            sole=parts.database.sole("study watch"),
        )
        self.works = [self.work, *([self.takeover] if parts.database.dialect != "sqlite" else [])]

    async def start(self) -> None:
        """Begin to watch."""
        self._parts.instances.on_stored.append(self.changed)
        for work in self.works:
            work.start()

    async def stop(self) -> None:
        """Stop; what is not published yet is found again at the next start."""
        await self.takeover.stop()
        if self.changed in self._parts.instances.on_stored:
            self._parts.instances.on_stored.remove(self.changed)
        await self.work.stop()

    def changed(self, study_instance_uid: str) -> None:
        """Note that an instance of this study has arrived."""
        self._changed[study_instance_uid] = time.monotonic()

    def completed(self, study_instance_uid: str) -> None:
        """Publish a study now whose order is completed, unless it is published as it is."""
        self._completed.add(study_instance_uid)
        self.work.wake()

    async def _turn(self) -> None:
        if not self._remembered:
            await self._remember()
            self._remembered = True
        await self._publish_completed()
        quiet_since = time.monotonic() - self._delay
        for study in [study for study, at in self._changed.items() if at <= quiet_since]:
            if not await self._grows(study) and not await self._waits(study):
                await self._publish(study)

    async def _publish_completed(self) -> None:
        for study in list(self._completed):
            last = await self._parts.instances.last_received(study)
            if last is not None and await self._is_newer(study, last.timestamp()):
                self._changed.setdefault(study, time.monotonic())
                await self._publish(study)
            self._completed.discard(study)

    async def _grows(self, study_instance_uid: str) -> bool:
        """Whether another host had a new instance lately, which is then waited for. A time that is to come is
        one of a clock that stepped."""
        last = await self._parts.instances.last_received(study_instance_uid)
        age = (datetime.now(UTC) - last).total_seconds() if last is not None else self._delay
        if not 0 <= age < self._delay:
            return False
        self._changed[study_instance_uid] = time.monotonic() - age
        return True

    async def _waits(self, study_instance_uid: str) -> bool:
        """Whether more than quiet is waited for, which is looked at again."""
        # What is withdrawn because nothing is left of it waits for nothing.
        with suppress(NotPublishable):
            if await unpublished.awaited_event(self._parts, study_instance_uid):
                self._changed[study_instance_uid] = time.monotonic() + _PAUSE_SECONDS - self._delay
                return True
        return False

    async def _take_over(self) -> None:
        """Watch what arrived lately and is not published, at whichever host."""
        since = datetime.now(UTC) - _TAKEOVER_PAST
        for study, last in await self._parts.instances.studies_since(since):
            if study not in self._changed and await self._is_newer(study, last.timestamp()):
                self._changed[study] = time.monotonic()

    async def _publish(self, study_instance_uid: str) -> None:
        at = self._changed.pop(study_instance_uid)
        match await awaited(self._published(study_instance_uid)):
            case NotPublishable() as error:
                # Its text may quote the study.
                _log.warning("a study is not published", exc_info=error)
            case unpublished.RulesUnreadable() as error:
                _log.error("nothing is published by itself now", reason=str(error))
                self._again(study_instance_uid, at, _LONG_PAUSE_SECONDS)
            case (DatabaseError() | RegistryAway() | ArchiveSilent() | rad68.NotWithdrawn()) as error:
                _log.error("a study cannot be published now", error=type(error).__name__)
                self._again(study_instance_uid, at, _PAUSE_SECONDS)
            case Exception() as error:
                # One study must not keep the others from being published, nor be forgotten.
                log_mistake(error)
                self._again(study_instance_uid, at, _LONG_PAUSE_SECONDS)
            case _:
                self._publisher.wake()

    async def _published(self, study_instance_uid: str) -> None:
        # What is withdrawn because nothing is left of it is withdrawn there.
        with suppress(NotPublishable):
            if why := await unpublished.objection(self._parts, study_instance_uid):
                _log.info("a study is not published by itself", reason=why)
                return
        await rad68.publish(self._parts, study_instance_uid)

    def _again(self, study_instance_uid: str, at: float, pause_seconds: float) -> None:
        self._changed.setdefault(study_instance_uid, max(at, time.monotonic() + pause_seconds - self._delay))

    async def _remember(self) -> None:
        after = ""
        while studies := await self._parts.instances.find_studies(after=after, limit=_PAGE):
            for study in studies:
                if await self._is_newer(study.study_instance_uid, study.last_received_at.timestamp()):
                    self._changed.setdefault(study.study_instance_uid, time.monotonic())
            after = studies[-1].study_instance_uid

    async def _is_newer(self, study_instance_uid: str, received: float) -> bool:
        last = await find_publications(
            self._parts.database,
            study_instance_uid=study_instance_uid,
            states=[state for state in PublicationState if state is not PublicationState.SUPERSEDED],
            limit=1,
        )
        return not last or last[0].created < received * 1000

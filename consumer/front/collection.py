"""The instances of one study on their way: each is fetched once, whoever waits for it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from uuid import uuid4

from consumer.domain.study import Delivery, RequestedInstance, requests
from consumer.front.problems import NOT_FOUND
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.settings import ConsumerSettings
from consumer.store.files import Endless, WrongInstance
from consumer.store.image_cache import CachedInstance, ImageCache
from shared.attempts import awaited
from shared.dicom.part10 import DicomError
from shared.faults import SoapFault
from shared.http.client import EgressRefused
from shared.http.gate import Gate
from shared.http.problem import BadGateway, HttpProblem, NotFound, Unavailable
from shared.soap.client import PeerError, PeerUnreachable
from shared.telemetry.log import logger

_log = logger(__name__)
# Codes are what a source says, and stand in headers.
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")

# A source that failed is asked again for the same instance after so long.
_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class MissingInstance:
    """An instance that did not come: what is told of it, and since when."""

    requested: RequestedInstance
    problem: HttpProblem
    since: float

    @property
    def reason(self) -> str:
        """Why, in words for whoever asked."""
        return self.problem.detail


class Collection:
    """Instances of one study for one visitor, fetched with the assertion of whoever asks first.

    `folder` is where instances arrive; `gate` bounds what all fetch at once, and what `holder` does.
    """

    def __init__(
        self,
        cache: ImageCache,
        settings: ConsumerSettings,
        folder: Path,
        gate: Gate,
        holder: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._settings = settings
        self._folder = folder
        self._gate = gate
        self._holder = holder
        self._clock = clock
        self._arrived: dict[str, CachedInstance] = {}
        self._missing: dict[str, MissingInstance] = {}
        self._awaited: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def arrived(self, uid: str) -> CachedInstance | None:
        """The instance, where it is at hand."""
        cached = self._arrived.get(uid)
        return None if cached is None or cached.is_gone else cached

    def missing(self, uid: str) -> MissingInstance | None:
        """Why it is not, where that is known."""
        missing = self._missing.get(uid)
        if missing is None or self._clock() - missing.since >= _AGAIN_SECONDS:
            return None
        return missing

    def begin(self, consumer: ImagingDocumentConsumer, instances: Iterable[RequestedInstance]) -> None:
        """Fetch what is neither at hand nor on its way; the first ones of each request come first."""
        due = [one for one in instances if self._is_due(one.sop_instance_uid)]
        loop = asyncio.get_running_loop()
        for one in due:
            self._missing.pop(one.sop_instance_uid, None)
            self._awaited[one.sop_instance_uid] = loop.create_future()
        share = ceil(len(due) / self._settings.parallel)
        for group in requests(due, largest=max(1, min(self._settings.instances_per_request, share))):
            task = asyncio.create_task(self._fetch(consumer, group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_due(self, uid: str) -> bool:
        return uid not in self._awaited and self.arrived(uid) is None and self.missing(uid) is None

    async def fetched(
        self, consumer: ImagingDocumentConsumer, instances: Sequence[RequestedInstance]
    ) -> tuple[list[CachedInstance], list[MissingInstance]]:
        """What of `instances` comes, in their order, and what does not; whatever comes is held on to by
        `ImageCache.use`."""
        cached: list[CachedInstance] = []
        missing: list[MissingInstance] = []
        self.begin(consumer, instances)
        for one in instances:
            if awaited := self._awaited.get(one.sop_instance_uid):
                await asyncio.shield(awaited)
            outcome = self._outcome(one)
            if isinstance(outcome, MissingInstance):
                missing.append(outcome)
            else:
                cached.append(outcome)
        return cached, missing

    async def arriving(
        self, consumer: ImagingDocumentConsumer, instances: Sequence[RequestedInstance]
    ) -> AsyncGenerator[CachedInstance | MissingInstance]:
        """What becomes of each of `instances`, as soon as it is known; whatever comes is held on to by
        `ImageCache.use`."""
        self.begin(consumer, instances)
        settled: asyncio.Queue[RequestedInstance] = asyncio.Queue()
        for one in instances:
            if (awaited := self._awaited.get(one.sop_instance_uid)) is None:
                settled.put_nowait(one)
            else:
                awaited.add_done_callback(partial(_tell, settled, one))
        for _ in instances:
            yield self._outcome(await settled.get())

    def _outcome(self, one: RequestedInstance) -> CachedInstance | MissingInstance:
        """What became of an instance that is awaited no more."""
        here = self.arrived(one.sop_instance_uid)
        if here is not None and self._cache.use(here):
            return here
        return self.missing(one.sop_instance_uid) or self._without_room(one)

    def _without_room(self, one: RequestedInstance) -> MissingInstance:
        reason = Unavailable("it had to make room for others; ask for fewer images at once")
        return MissingInstance(one, reason, self._clock())

    async def close(self) -> None:
        """End what is on its way, and forget what came."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.forget(list(self._arrived))

    def forget(self, uids: Iterable[str]) -> None:
        """Remove instances that nobody may have any more."""
        for uid in uids:
            if (cached := self._arrived.pop(uid, None)) is not None:
                self._cache.forget(cached)

    # --- one request -------------------------------------------------------------------------------------

    async def _fetch(self, consumer: ImagingDocumentConsumer, group: Sequence[RequestedInstance]) -> None:
        own = self._folder / str(uuid4())
        try:
            if (failure := await awaited(self._deliveries(consumer, group, own))) is not None:
                _log.error("a study could not be fetched", exc_info=failure)
        finally:
            for one in group:
                self._settle(one, BadGateway("it could not be fetched; try again later"))
            await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)

    async def _deliveries(
        self, consumer: ImagingDocumentConsumer, group: Sequence[RequestedInstance], folder: Path
    ) -> None:
        async with self._gate.waited_for(self._holder, seconds=self._settings.instance_seconds):
            folder.mkdir()
            async for delivery in consumer.deliveries(group, folder):
                await self._take(delivery, folder)

    async def _take(self, delivery: Delivery, folder: Path) -> None:
        one = delivery.instance
        if delivery.reason:
            self._settle(one, problem_of(delivery))
            return
        try:
            cached = await asyncio.to_thread(self._described, folder / one.file_name)
            self._cache.keep(cached)
        except DicomError as error:
            self._settle(one, BadGateway(f"the imaging source sent what cannot be read: {error}"))
            return
        except OSError as error:
            _log.error("no room for an instance", reason=error.strerror)
            self._settle(one, Unavailable("there is no room for it now; ask for fewer images at once"))
            return
        self._arrived[one.sop_instance_uid] = cached
        self._settle(one)

    def _described(self, path: Path) -> CachedInstance:
        """What stands in a file, which is empty afterwards; blocks, and raises as `ImageCache.described`.

        It is removed with its folder: where files come and go by turns, a file system looks long for a place.
        """
        try:
            return self._cache.described(path)
        finally:
            os.truncate(path, 0)

    def _settle(self, one: RequestedInstance, problem: HttpProblem | None = None) -> None:
        """It came, or did not; the first word counts."""
        awaited = self._awaited.pop(one.sop_instance_uid, None)
        if awaited is None:
            return
        if problem is not None:
            self._missing[one.sop_instance_uid] = MissingInstance(one, problem, self._clock())
        awaited.set_result(None)


def _tell(settled: asyncio.Queue[RequestedInstance], one: RequestedInstance, _: asyncio.Future[None]) -> None:
    settled.put_nowait(one)


def problem_of(delivery: Delivery) -> HttpProblem:
    """Why an instance did not come, without a word on where peers are."""
    match delivery.failure:
        case None if _CODE.fullmatch(delivery.code):
            return NotFound(f"the imaging source does not give it ({delivery.code})")
        case None:
            return NotFound(NOT_FOUND)
        case EgressRefused():
            return BadGateway("the manifest names a place that is not among the configured peers")
        case Endless() | WrongInstance():
            return BadGateway(f"the imaging source sent something else: {delivery.failure}")
        case PeerUnreachable():
            return Unavailable("the imaging source cannot be reached now; try again later")
        case PeerError():
            return BadGateway("the imaging source gave no answer that can be used; try again later")
        case SoapFault():
            return BadGateway("the imaging source refused the request")
        case _:
            return BadGateway(str(delivery.failure))

"""An open study as `shared.imaging` gives instances: what is asked for is fetched, and what did not come is
known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from consumer.domain.study import RequestedInstance
from consumer.front.collection import MissingInstance
from consumer.front.lease import Lease
from consumer.front.reading_room import OpenStudy, ReadingRoom
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.store.image_cache import CachedInstance
from consumer.store.sealed import SealedFile
from shared.consent.decision import Action, Decision
from shared.dicom.part10 import LIMITS, scan
from shared.http.pieces import Piece, Stream
from shared.imaging.bulk_data import BulkValue, bulk_value
from shared.imaging.description import Claim, metadata_pieces
from shared.imaging.frames import frame_ranges
from shared.imaging.holding import Access
from shared.imaging.instance import Instance
from shared.imaging.pixels import PixelData
from shared.imaging.retrieval import Unreadable, frames_of
from shared.imaging.transcoder import Transcoder
from shared.imaging.transfer_syntax import AsStored, Choice

# Of the cache, for what nobody has asked for yet.
_SHARE = 0.5
# Metadata of so many instances are read in one hop to a thread.
_READ_AT_ONCE = 16
_SHOWN = Decision(True, "the registry shows the study to this user, and its source gave the instance")


class Holding:
    """The instances of one study, for one request (`shared.imaging.holding.HoldingUnit`).

    `missing` are those that were asked for and did not come. With `ahead` a series is fetched once one of its
    instances was asked for.
    """

    limits = LIMITS

    def __init__(
        self, room: ReadingRoom, study: OpenStudy, consumer: ImagingDocumentConsumer, *, ahead: bool = True
    ) -> None:
        self._room = room
        self._ahead = ahead
        self._study = study
        self._consumer = consumer
        self._cached: dict[str, CachedInstance] = {}
        self.missing: list[MissingInstance] = []
        self.lease = Lease(room.cache, room.parts.spool_folder)
        self.transcoder = Transcoder(self.lease, room.workers, local=self.local)
        self.dicomweb_url = room.parts.settings.dicomweb_url

    @property
    def parts(self) -> Holding:
        """What the service is made of, as far as it gives instances."""
        return self

    instances = files = parts

    # --- which -------------------------------------------------------------------------------------------

    async def find_study(self, study_instance_uid: str) -> list[Instance]:
        """Every instance that comes, in the order of the manifests."""
        return await self._fetched(tuple(self._study.instances.values()))

    async def find_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Instance]:
        """Those of a series."""
        return await self._fetched(
            [one for one in self._study.instances.values() if one.series_instance_uid == series_instance_uid]
        )

    async def find_instance(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> Instance | None:
        """One; those of its series are fetched behind it, where they have room."""
        one = self._study.instances.get(sop_instance_uid)
        if one is None or one.series_instance_uid != series_instance_uid:
            return None
        instances = await self._fetched((one,))
        if instances and self._ahead:
            self._fetch_ahead(one, self._cached[sop_instance_uid].size)
        return instances[0] if instances else None

    def _fetch_ahead(self, one: RequestedInstance, size: int) -> None:
        """Begin to fetch the series of `one`, which took `size` bytes as the others will."""
        study = self._study
        beside = [
            other
            for other in study.instances.values()
            if other.series_instance_uid == one.series_instance_uid
        ]
        if len(beside) * size <= self._room.cache.max_bytes * _SHARE:
            study.collection.begin(self._consumer, beside)

    async def _fetched(self, requested: Sequence[RequestedInstance]) -> list[Instance]:
        here, missing = await self._study.collection.fetched(self._consumer, requested)
        for cached in here:
            self.hold(cached)
        self.missing += missing
        return [cached.instance for cached in here]

    def hold(self, cached: CachedInstance) -> None:
        """Take over what `ImageCache.use` held on to."""
        self.lease.hold(cached)
        self._cached[cached.instance.sop_instance_uid] = cached

    async def access(
        self, instances: Sequence[Instance], action: Action = Action.RETRIEVE
    ) -> Mapping[str, Access]:
        """All: registry, repository and source were asked, with the user's own assertion."""
        return {one.sop_instance_uid: Access(self._study.patient_id, _SHOWN) for one in instances}

    async def hidden(self, instances: Sequence[Instance]) -> frozenset[str]:
        """None: a source hides its own."""
        return frozenset()

    async def unreadable(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        """None: what cannot be read was not taken."""
        return {}

    # --- what of them ------------------------------------------------------------------------------------

    def content(self, of: Instance) -> Piece:
        """The whole file, opened while it is sent."""
        return self._cached[of.sop_instance_uid].content.piece

    async def local(self, of: Instance) -> Path:
        """A plain copy, as long as the answer takes."""
        return await self.lease.plain(self._cached[of.sop_instance_uid])

    async def frames(self, of: Instance, choice: Choice) -> Sequence[tuple[Piece, ...]] | Unreadable:
        """The pieces of every frame as it was chosen to be given: without a plain file where they lie in the
        sealed one as they are given."""
        cached = self._cached[of.sop_instance_uid]
        numbers = range(1, of.number_of_frames + 1)
        if isinstance(choice, AsStored) and cached.pixels is not None:
            ranges = frame_ranges(of, cached.pixels, numbers)
            if ranges is not None:
                return [tuple(_sealed(cached.content, *place) for place in places) for places in ranges]
        return await frames_of(self, of, choice, numbers)

    async def pixels(self, sop_instance_uid: str) -> PixelData | None:
        """Where its pixel data lie in its file."""
        return self._cached[sop_instance_uid].pixels

    async def bulk_data(self, file: Path, path: Sequence[str]) -> BulkValue | None:
        """The value at `path` of a plain copy."""
        return await asyncio.to_thread(bulk_value, file, path, self.limits)

    async def metadata_array(self, instances: Sequence[Instance]) -> AsyncIterator[bytes]:
        """DICOM JSON of `instances` as one array, an instance at a time."""
        separator = b"["
        async for octets in self.metadata_objects(instances):
            yield separator + octets
            separator = b","
        yield b"[]" if separator == b"[" else b"]"

    async def metadata_objects(self, instances: Sequence[Instance]) -> AsyncIterator[bytes]:
        """DICOM JSON of `instances`, one after the other."""
        for first in range(0, len(instances), _READ_AT_ONCE):
            some = instances[first : first + _READ_AT_ONCE]
            objects = await asyncio.to_thread(self._metadata, some)
            for each, octets in zip(some, objects, strict=True):
                yield octets or b"".join(await asyncio.to_thread(list, _made(await self.local(each), each)))

    def _metadata(self, instances: Sequence[Instance]) -> list[bytes]:
        """What is kept of their metadata; blocks."""
        return [self._cached[each.sop_instance_uid].metadata.octets() for each in instances]


def _sealed(file: SealedFile, offset: int, length: int) -> Stream:
    return Stream(length, partial(file.part, offset, length))


def _made(path: Path, instance: Instance) -> Iterator[bytes]:
    claim = Claim(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
    )
    return metadata_pieces(scan(path), claim)

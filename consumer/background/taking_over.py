"""A study is taken over: fetched, put under local identifiers, brought to its destination; again and again by
the same order until nothing is missing, whatever ended between.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumer.domain.destination import Destination, Kind
from consumer.domain.studies import institution_of
from consumer.domain.study import Delivery, RequestedInstance, requested_instances
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.store.files import WrongInstance
from consumer.store.media import write_media
from consumer.store.take_overs import TakeOver
from consumer.transactions import rad61, rad108
from consumer.transactions.rad61 import NotStored, StoredFile
from consumer.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import InstanceReference
from shared.ebrim.model import DocumentEntry
from shared.http.client import http_client
from shared.imaging.coerced_files import Uncoercible, write_coerced
from shared.security.caller import Caller

_SECONDS: Final = 300.0
#: A step by its name, how many instances it is done with, and of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """What became of an order: how many instances are at the destination, and by UID why others are not.

    `ended` says why it ended before all were tried, and is empty when they were.
    """

    total: int
    there: int
    missing: Mapping[str, str]
    ended: str = ""

    @property
    def complete(self) -> bool:
        """Whether every instance is there."""
        return self.there == self.total


async def take_over(
    consumer: ImagingDocumentConsumer, order: TakeOver, *, progress: Progress = lambda *_: None
) -> TakenOver:
    """Bring a study to its destination, as far as it is not there.

    Raises
    ------
    AtWork
        Somebody else works on this order.
    XdsError, Rejected, ManifestError, UnsafeManifest, SoapFault, PeerError
        The manifest cannot be had.
    """
    with order.locked():
        entry = await consumer.entry(order.order.manifest_id, home_community_id=order.order.home_community_id)
        manifest = await consumer.manifest(entry)
        instances = requested_instances(
            manifest, patient_id=entry.patient_id, home_community_id=entry.home_community_id
        )
        if order.total != len(instances):
            await asyncio.to_thread(order.note_total, len(instances))
        there = {uid for uid, reason in order.outcomes.items() if not reason}
        if Destination.of(order.order.destination).kind is Kind.ZIP and len(there) < len(instances):
            # A ZIP is written whole: what it held before goes into the next one too.
            there = set()
        due = [one for one in instances if one.sop_instance_uid not in there]
        ended = ""
        if due:
            fetched_count = 0

            def on_delivery(delivery: Delivery) -> None:
                nonlocal fetched_count
                fetched_count += not delivery.reason
                progress("fetched", fetched_count, len(due))

            retrieval = await consumer.retrieve(
                manifest,
                order.images,
                patient_id=entry.patient_id,
                home_community_id=entry.home_community_id,
                on_delivery=on_delivery,
            )
            for one in retrieval.missing:
                await asyncio.to_thread(order.note, one.instance.sop_instance_uid, one.reason)
            ended = await _Way(consumer.unit, order, entry, due, progress).go()
        outcomes = order.outcomes
        missing = {uid: reason for uid, reason in outcomes.items() if reason}
        taken_over = TakenOver(
            total=len(instances), there=len(outcomes) - len(missing), missing=missing, ended=ended
        )
        if taken_over.complete:
            await asyncio.to_thread(order.clear)
    return taken_over


class _Way:
    """The way of fetched images to the destination of their order, once."""

    def __init__(
        self,
        unit: Unit,
        order: TakeOver,
        entry: DocumentEntry,
        due: Sequence[RequestedInstance],
        progress: Progress,
    ) -> None:
        self._unit = unit
        self._order = order
        self._entry = entry
        self._there = Destination.of(order.order.destination)
        self._due = {one.sop_instance_uid: one for one in due if (order.images / one.file_name).is_file()}
        self._progress = progress
        self._work = order.folder / "local"
        self._done: dict[str, str] = {}

    async def go(self) -> str:
        """Bring what was fetched; why it ended too early, or nothing."""
        if not self._due:
            return ""
        await self._unit.record(self._event(Outcome.SUCCESS, list(self._due.values()), begin=True))
        self._work.mkdir(mode=0o700, exist_ok=True)
        try:
            match self._there.kind:
                case Kind.C_STORE:
                    await asyncio.to_thread(self._by_c_store)
                case Kind.STOW:
                    await self._by_stow()
                case Kind.FOLDER | Kind.ZIP:
                    await asyncio.to_thread(self._to_media)
        except NotStored as error:
            return str(error)
        except OSError as error:
            return f"it cannot be written: {error.strerror}"
        finally:
            await asyncio.to_thread(shutil.rmtree, self._work, ignore_errors=True)
            await self._unit.record(*self._events())
        return ""

    # --- to whom -----------------------------------------------------------------------------------------

    def _by_c_store(self) -> None:
        files = [StoredFile.of(self._path(one)) for one in self._due.values()]
        for one, reason in rad61.store(files, self._there, self._unit.settings.tls, self._ready_file):
            self._note(one.sop_instance_uid, reason)

    def _ready_file(self, one: StoredFile) -> Path:
        return self._ready(self._due[one.sop_instance_uid])

    async def _by_stow(self) -> None:
        peers = (self._there.url,)
        async with http_client(self._unit.settings.tls, peers=peers, timeout_seconds=_SECONDS) as http:
            for one in self._due.values():
                try:
                    path = await asyncio.to_thread(self._ready, one)
                    reason = await rad108.store(http, self._there.url, path)
                except WrongInstance as error:
                    reason = str(error)
                await asyncio.to_thread(self._note, one.sop_instance_uid, reason)

    def _to_media(self) -> None:
        files: list[tuple[str, Path]] = []
        for one in self._due.values():
            try:
                files.append((one.sop_instance_uid, self._ready(one, keep=True)))
            except WrongInstance as error:
                self._note(one.sop_instance_uid, str(error))
        for uid, reason in write_media(files, self._there.path).items():
            self._note(uid, reason)

    # --- what of -----------------------------------------------------------------------------------------

    def _path(self, one: RequestedInstance) -> Path:
        return self._order.images / one.file_name

    def _ready(self, one: RequestedInstance, *, keep: bool = False) -> Path:
        """The file that is brought: under local identifiers where there are some; the next takes its place
        unless it is kept."""
        local = self._order.order.local
        if local is None:
            return self._path(one)
        target = self._work / (f"{one.sop_instance_uid}.dcm" if keep else "next.dcm")
        origin = institution_of(self._entry) or self._entry.home_community_id
        # The moment of the order: what is brought again is the same bytes.
        try:
            write_coerced(self._path(one), target, local, origin=origin, at=self._order.order.ordered)
        except Uncoercible as error:
            raise WrongInstance(str(error)) from None
        return target

    def _note(self, uid: str, reason: str) -> None:
        self._order.note(uid, reason)
        self._done[uid] = reason
        self._progress("taken over", len(self._done), len(self._due))

    # --- the trail ---------------------------------------------------------------------------------------

    def _events(self) -> Iterator[AuditEvent]:
        for outcome, failed in ((Outcome.SUCCESS, False), (Outcome.SERIOUS_FAILURE, True)):
            of_outcome = [
                self._due[uid]
                for uid in self._due
                if (self._done.get(uid, "it did not come to it") != "") is failed
            ]
            if of_outcome:
                yield self._event(outcome, of_outcome)

    def _event(
        self, outcome: Outcome, instances: Sequence[RequestedInstance], *, begin: bool = False
    ) -> AuditEvent:
        there = self._there
        return patterns.instances_copied(
            rad61.EVENT_TYPE if there.kind is not Kind.STOW else rad108.EVENT_TYPE,
            Caller(
                node=self._unit.node,
                endpoint=there.text if there.is_archive else "",
                user=self._unit.user,
            ),
            outcome,
            [
                InstanceReference(
                    study_instance_uid=one.study_instance_uid,
                    sop_class_uid=one.sop_class_uid,
                    repository_unique_id=one.retrieve_location_uid,
                    home_community_id=one.home_community_id,
                )
                for one in instances
            ],
            imported=there.is_archive,
            begin=begin,
            patient_id=self._entry.patient_id,
        )

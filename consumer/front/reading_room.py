"""Studies that are open for visitors: by which manifests, and what of them is at hand.

Whether a visitor may see a study is asked of its registry with every request. Its manifests are fetched anew
after a while, by which the repository is asked too, and what the study has become is known.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from consumer.domain.studies import FoundStudy
from consumer.domain.study import RequestedInstance, UnsafeManifest, requested_instances
from consumer.front.collection import Collection
from consumer.front.problems import NOT_FOUND, asking
from consumer.front.shared_questions import SharedQuestions
from consumer.front.tokens import StudyGrant, StudyTokens
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.store.image_cache import ImageCache
from consumer.unit import Parts
from shared.background import BackgroundWork
from shared.dicom.kos import Manifest, ReferencedSeries
from shared.ebrim.identifiers import CX
from shared.ebrim.model import AvailabilityStatus, DocumentEntry
from shared.errors import Actor, XdsError
from shared.http.gate import Gate
from shared.http.problem import Forbidden, HttpProblem, NotFound, Unprocessable
from shared.imaging import legal
from shared.imaging.transcoder import Workers
from shared.pages.visitors import Visitor

_MANIFEST_SECONDS = 30.0
_MOST_OPEN = 64
_MOST_REFERENCES = 100_000
_MOST_NAMED = 10_000
_SWEEP_SECONDS = 15.0
REGISTRY = "the registry"
REPOSITORY = "the repository"


@dataclass(slots=True, kw_only=True)
class OpenStudy:
    """A study that is open for a visitor: entries and manifests by which it was found, each instance once.

    `opened` is when its manifests were fetched, by the clock of the room.
    """

    study_instance_uid: str
    patient_id: str
    entries: tuple[DocumentEntry, ...]
    manifests: tuple[Manifest, ...]
    instances: dict[str, RequestedInstance]
    collection: Collection
    opened: float
    used: float = 0.0
    faults: tuple[str, ...] = field(default=())

    @property
    def study(self) -> FoundStudy:
        """What its newest entry says."""
        return FoundStudy.of(self.entries[0])

    @property
    def began(self) -> tuple[str, str]:
        """Study Date and Study Time, empty where nobody says them.

        They are those of the source, by the manifest; else those of the entry, which are in UTC, where near
        midnight another day is.
        """
        times = (legal.time(one.study_time) for one in self._dated)
        return (self.date, next(times)) if self.date else self.study.began

    @property
    def date(self) -> str:
        """Study Date as the source keeps it; empty where no manifest says it."""
        return next((legal.date(one.study_date) for one in self._dated), "")

    @property
    def _dated(self) -> Iterator[Manifest]:
        """The manifests that say when this study was: those of a study of their own say that of their own."""
        for manifest in self.manifests:
            if manifest.study_instance_uid == self.study_instance_uid and legal.date(manifest.study_date):
                yield manifest

    @property
    def series(self) -> dict[str, ReferencedSeries]:
        """What the manifests say of each series, by UID."""
        return {
            series.series_instance_uid: series
            for manifest in self.manifests
            for study, series, _ in manifest.instances
            if study.study_instance_uid == self.study_instance_uid
        }


class ReadingRoom:
    """The studies that are open; one for the life of the process."""

    def __init__(
        self, parts: Parts, tokens: StudyTokens, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.parts = parts
        self.tokens = tokens
        settings = parts.settings
        self.workers = Workers(settings.service)
        self.cache = ImageCache(
            settings.folder / "images",
            max_bytes=settings.image_cache_bytes,
            max_seconds=settings.image_cache_seconds,
        )
        self.work = BackgroundWork("images", self._forget_old, rest_seconds=_SWEEP_SECONDS)
        self._gate = Gate(settings.fetches)
        self._clock = clock
        self._questions: SharedQuestions[OpenStudy] = SharedQuestions()
        self._open: dict[tuple[str, str], OpenStudy] = {}
        self._patients: dict[tuple[str, str], str] = {}
        self._begun: set[asyncio.Task[None]] = set()

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` beside the requests, until the room is closed."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def close(self) -> None:
        """End what is on its way."""
        for task in self._begun:
            task.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)
        for study in list(self._open.values()):
            await study.collection.close()
        await self.workers.close()

    # --- who asks for what -------------------------------------------------------------------------------

    def grant(self, token: str, study_instance_uid: str = "") -> StudyGrant | None:
        """What a token is for; None without one.

        Raises
        ------
        Forbidden
            It is for another study, or none of ours.
        """
        if not token:
            return None
        grant = self.tokens.read(token)
        if grant is None or study_instance_uid not in ("", grant.study_instance_uid):
            raise Forbidden("this token is for another study; open that study for one of its own")
        return grant

    def patient(self, text: str) -> str:
        """The CX of a patient whose id is written as `text`.

        Raises
        ------
        Unprocessable
            It is none.
        """
        try:
            return str(CX.written(text.strip(), self.parts.settings.affinity_domain))
        except ValueError:
            raise Unprocessable("PatientID is an id of the affinity domain, or ID^^^&OID&ISO") from None

    def consumer(self, visitor: Visitor) -> ImagingDocumentConsumer:
        """Who asks others for a visitor."""
        return ImagingDocumentConsumer(self.parts.unit(visitor.user, lambda: visitor.assertion))

    # --- find --------------------------------------------------------------------------------------------

    async def find(
        self, visitor: Visitor, patient_id: str
    ) -> tuple[dict[str, tuple[DocumentEntry, ...]], tuple[str, ...]]:
        """The entries of each study of a patient that names its UID, newest first, and who was asked beside
        and did not answer as it should."""
        errors: list[XdsError] = []
        async with asking(REGISTRY, self.parts.settings.answer_seconds):
            entries = await self.consumer(visitor).find(patient_id, on_error=errors.append)
        studies: dict[str, tuple[DocumentEntry, ...]] = {}
        for entry in entries:
            if uid := FoundStudy.of(entry).study_instance_uid:
                studies[uid] = (*studies.get(uid, ()), entry)
                self._remember(visitor, uid, entry.patient_id)
        return studies, tuple(f"{error.code_for(Actor.REGISTRY)}: {error.context}" for error in errors)

    def _remember(self, visitor: Visitor, study_instance_uid: str, patient_id: str) -> None:
        key = (visitor.holder, study_instance_uid)
        self._patients.pop(key, None)
        self._patients[key] = patient_id
        while len(self._patients) > _MOST_NAMED:
            del self._patients[next(iter(self._patients))]

    # --- open --------------------------------------------------------------------------------------------

    async def study(self, visitor: Visitor, study_instance_uid: str, token: str = "") -> OpenStudy:
        """A study for a visitor who may see it now.

        Raises
        ------
        HttpProblem
            There is none, or none for this visitor; whoever was asked gave no answer.
        """
        grant = self.grant(token, study_instance_uid)
        patient_id = grant.patient_id if grant else self.patient_of(visitor, study_instance_uid)
        return await self.study_of_patient(visitor, study_instance_uid, patient_id)

    def patient_of(self, visitor: Visitor, study_instance_uid: str) -> str:
        """Whose study it is, as far as this visitor was told.

        Raises
        ------
        NotFound
            They were told nothing of it.
        """
        patient_id = self._patients.get((visitor.holder, study_instance_uid))
        if patient_id is None and visitor.user is not None and visitor.user.resource_ids:
            return self.patient(visitor.user.resource_ids[0])
        if patient_id is None:
            raise NotFound(f"{NOT_FOUND}; search for the studies of its patient first (studies?PatientID=…)")
        return patient_id

    def at_hand(self, visitor: Visitor, study_instance_uid: str) -> OpenStudy | None:
        """A study as it was opened for this visitor before, if it was; it says nothing of what may be seen
        now."""
        return self._open.get((_voice(visitor), study_instance_uid))

    async def study_of(
        self, visitor: Visitor, study_instance_uid: str, entries: Sequence[DocumentEntry]
    ) -> OpenStudy:
        """A study whose `entries` its registry has just shown to the visitor; raises as `study`."""
        key = (_voice(visitor), study_instance_uid)
        sources = _sources(entries)
        study = self._open.get(key)
        now = self._clock()
        if study is not None and study.entries == sources and now - study.opened < _MANIFEST_SECONDS:
            study.used = now
            return study
        return await self._opened(visitor, key, sources)

    async def not_opened(
        self, visitor: Visitor, study_instance_uid: str, entries: Sequence[DocumentEntry]
    ) -> str:
        """Open a study as `study_of` does, for what its manifest says of it; why it cannot be, or nothing."""
        try:
            await self.study_of(visitor, study_instance_uid, entries)
        except HttpProblem as problem:
            return problem.detail
        return ""

    async def study_of_patient(self, visitor: Visitor, study_instance_uid: str, patient_id: str) -> OpenStudy:
        """A study of a patient, for a visitor who may see it now; raises as `study`."""
        voice = _voice(visitor)
        proof = sha256(visitor.assertion or b"").digest()
        return await self._questions.ask(
            (voice, proof, study_instance_uid),
            lambda: self._asked_again(visitor, voice, patient_id, study_instance_uid),
        )

    async def _asked_again(
        self, visitor: Visitor, voice: str, patient_id: str, study_instance_uid: str
    ) -> OpenStudy:
        key = (voice, study_instance_uid)
        study = self._open.get(key)
        now = self._clock()
        if study is not None and await self._is_current(visitor, study):
            if now - study.opened >= _MANIFEST_SECONDS:
                await self._open_anew(visitor, study, study.entries)
            study.used = now
            return study
        entries = (await self.find(visitor, patient_id))[0].get(study_instance_uid, ())
        if not entries:
            await self._shut(key)
            raise NotFound(NOT_FOUND)
        return await self._opened(visitor, key, _sources(entries))

    async def _opened(
        self, visitor: Visitor, key: tuple[str, str], sources: tuple[DocumentEntry, ...]
    ) -> OpenStudy:
        study = self._open.get(key) or self._new(visitor, key[1], sources)
        await self._open_anew(visitor, study, sources)
        study = self._open.setdefault(key, study)
        study.used = self._clock()
        await self._make_room(key)
        return study

    def _new(self, visitor: Visitor, uid: str, entries: Sequence[DocumentEntry]) -> OpenStudy:
        parts = self.parts
        collection = Collection(self.cache, parts.settings, parts.spool_folder, self._gate, visitor.holder)
        return OpenStudy(
            study_instance_uid=uid,
            patient_id=entries[0].patient_id,
            entries=tuple(entries),
            manifests=(),
            instances={},
            collection=collection,
            opened=0.0,
        )

    async def _is_current(self, visitor: Visitor, study: OpenStudy) -> bool:
        """Whether the registries still show the entries by which it was opened, as they were."""
        consumer = self.consumer(visitor)

        async def entry(one: DocumentEntry) -> bool:
            async with asking(REGISTRY, self.parts.settings.answer_seconds):
                entry = await consumer.entry(one.unique_id, home_community_id=one.home_community_id)
            return entry.availability_status is AvailabilityStatus.APPROVED

        answers = await asyncio.gather(*map(entry, study.entries), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, NotFound):
                raise answer
        return all(answer is True for answer in answers)

    async def _open_anew(self, visitor: Visitor, study: OpenStudy, entries: Sequence[DocumentEntry]) -> None:
        """Fetch the manifests, and forget what they name no more."""
        consumer = self.consumer(visitor)
        manifests = []
        for entry in entries:
            async with asking(REPOSITORY, self.parts.settings.answer_seconds):
                manifests.append(await consumer.manifest(entry, most=self.parts.settings.open_references))
        instances: dict[str, RequestedInstance] = {}
        for entry, manifest in zip(entries, manifests, strict=True):
            for one in await asyncio.to_thread(_instances, manifest, entry):
                if one.study_instance_uid == study.study_instance_uid:
                    instances.setdefault(one.sop_instance_uid, one)
        changed = [uid for uid, one in study.instances.items() if instances.get(uid) != one]
        study.collection.forget(changed)
        study.entries, study.manifests = tuple(entries), tuple(manifests)
        study.instances = instances
        study.faults = tuple(fault for manifest in manifests for fault in manifest.faults)
        study.opened = self._clock()

    # --- leave -------------------------------------------------------------------------------------------

    async def _shut(self, key: tuple[str, str]) -> None:
        if (study := self._open.pop(key, None)) is not None:
            await study.collection.close()

    async def _make_room(self, newest: tuple[str, str]) -> None:
        """Shut what was not used for longest, so that memory has a bound."""
        oldest = sorted((study.used, key) for key, study in self._open.items() if key != newest)
        references = sum(len(study.instances) for study in self._open.values())
        for _, key in oldest:
            if len(self._open) <= _MOST_OPEN and references <= _MOST_REFERENCES:
                return
            references -= len(self._open[key].instances)
            await self._shut(key)

    async def _forget_old(self) -> None:
        now = self._clock()
        for key, study in list(self._open.items()):
            if now - study.used >= self.parts.settings.image_cache_seconds:
                await self._shut(key)
        await self.cache.forget_old()


def _voice(visitor: Visitor) -> str:
    """For whom a study is open: this user, at this node, in this role and for this purpose."""
    user = visitor.user
    attributes = (
        [] if user is None else [*map(str, user.roles), *map(str, user.purposes), *user.organization_ids]
    )
    return json.dumps([visitor.holder, *attributes])


def _sources(entries: Iterable[DocumentEntry]) -> tuple[DocumentEntry, ...]:
    """The newest entry of each repository: others are what its study was."""
    sources: dict[tuple[str, str], DocumentEntry] = {}
    for entry in entries:
        sources.setdefault((entry.home_community_id, entry.repository_unique_id), entry)
    return tuple(sources.values())


def _instances(manifest: Manifest, entry: DocumentEntry) -> tuple[RequestedInstance, ...]:
    try:
        return requested_instances(
            manifest, patient_id=entry.patient_id, home_community_id=entry.home_community_id
        )
    except UnsafeManifest as error:
        raise Unprocessable(f"the document is not a manifest: {error}") from None

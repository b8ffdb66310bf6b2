"""What is done here for a visitor, behind the programs' interface and behind the pages alike: find studies,
open a manifest, fetch an instance.

Every step is a transaction of the consumer, for the user and with the user's own assertion; its event is kept
before anything of it is answered. Failures are raised as `HttpProblem`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from consumer.domain.reports import is_report
from consumer.domain.studies import Criteria, FoundStudy, date_of
from consumer.domain.study import (
    Delivery,
    NoRoad,
    RequestedInstance,
    UnsafeManifest,
    Via,
    requested_instances,
)
from consumer.front.problems import NOT_FOUND, asking, of_errors
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.pages.handle_kind import HandleKind
from consumer.pages.tickets import LaunchTickets
from consumer.settings import ConsumerSettings
from consumer.transactions import break_glass
from consumer.unit import Parts
from shared.dicom.kos import Manifest
from shared.ebrim.model import DocumentEntry
from shared.errors import Actor, RelayedError, Severity, XdsError
from shared.http.gate import Gate
from shared.http.pieces import FileRange
from shared.http.problem import HttpProblem, NotFound, Unavailable, Unprocessable
from shared.http.raw_asgi import ServerBusy
from shared.imaging import legal
from shared.pages.handles import Handles, UnknownHandle
from shared.pages.shelf import Shelf
from shared.pages.visitors import Visitor
from shared.telemetry.metrics import Metrics, Result

MOST_STUDIES = 1_000
_PATIENCE_SECONDS = 5.0

REGISTRY = "the registry"
REPOSITORY = "the repository"
IMAGING_SOURCE = "the imaging source"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundStudies:
    """Studies, newest first, each with the handle of its manifest; `complete` when none was left out.

    `unanswered` says who was asked beside, and did not answer as it should.
    """

    studies: tuple[tuple[FoundStudy, str], ...]
    complete: bool
    unanswered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedSearch:
    """What is searched, for which of the purposes that the visitor's sign-in names (its code, or empty), and
    from which of the studies on it is shown."""

    criteria: Criteria
    purpose: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedInstance:
    """One instance, and the handle by which it is fetched."""

    sop_instance_uid: str
    sop_class_uid: str
    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSeries:
    """Instances of one series; `modality`, `number` and `description` are empty where the manifest does not
    say."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    number: str
    description: str
    instances: tuple[OpenedInstance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStudy:
    """A manifest of a patient: its entry, what it says of its study, and what it references."""

    patient_id: str
    study: FoundStudy
    manifest: Manifest
    series: tuple[OpenedSeries, ...]

    @property
    def title(self) -> str:
        """What it is called."""
        return self.manifest.study_description or self.study.title or "Study"

    @property
    def date(self) -> str:
        """The day of the study where it was made; in UTC, as entries have it, where its manifest does not say
        it."""
        return date_of(legal.date(self.manifest.study_date)) or self.study.date

    @property
    def study_instance_uid(self) -> str:
        """The study: of several, the first."""
        return self.series[0].study_instance_uid if self.series else self.study.study_instance_uid

    @property
    def instances(self) -> int:
        """Number of instances."""
        return sum(len(series.instances) for series in self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedInstance:
    """An instance in a file of its own, which belongs to who fetched it."""

    sop_instance_uid: str
    file: FileRange


class Workplace:
    """The use of this service, for one visitor at a time."""

    def __init__(self, parts: Parts, shelf: Shelf, metrics: Metrics) -> None:
        self._parts = parts
        self._metrics = metrics
        self._handles = Handles(shelf.key("handles"))
        self.tickets = LaunchTickets(shelf)
        self._gate = Gate(parts.settings.fetches)

    @property
    def settings(self) -> ConsumerSettings:
        """Those of the service."""
        return self._parts.settings

    @property
    def affinity_domain(self) -> str:
        """The domain of the ids of patients."""
        return self._parts.settings.affinity_domain

    @property
    def base_url(self) -> str:
        """Where our pages are, as others reach them."""
        return self._parts.settings.dicomweb_url.removesuffix("/dicomweb")

    @property
    def home_community_id(self) -> str:
        """The community of this consumer."""
        return self._parts.settings.home_community_id

    # -- find

    async def find(self, visitor: Visitor, criteria: Criteria, *, limit: int = MOST_STUDIES) -> FoundStudies:
        """The published studies of a patient that the visitor may see (ITI-18), at most `limit`."""
        entries, unanswered = await self.entries(visitor, criteria)
        return FoundStudies(
            studies=tuple(
                (FoundStudy.of(entry), self.manifest_handle(visitor, entry)) for entry in entries[:limit]
            ),
            complete=len(entries) <= limit and not unanswered,
            unanswered=unanswered,
        )

    async def entries(
        self, visitor: Visitor, criteria: Criteria
    ) -> tuple[tuple[DocumentEntry, ...], tuple[str, ...]]:
        """The entries of the manifests of a patient that the visitor may see (ITI-18), newest first; and who
        was asked beside and did not answer as it should."""
        errors: list[XdsError] = []
        with self._counted("ITI-18"):
            async with asking(REGISTRY, self._parts.settings.answer_seconds):
                entries = await self._consumer(visitor).find(
                    criteria.patient_id,
                    modalities=criteria.codes,
                    service_start_from=criteria.since,
                    service_start_to=criteria.before,
                    on_error=errors.append,
                )
        reasons = (f"{error.code_for(Actor.REGISTRY)}: {error.context}" for error in errors)
        return entries, tuple(dict.fromkeys(reasons))

    def manifest_handle(self, visitor: Visitor, entry: DocumentEntry) -> str:
        """The handle of a manifest, by its entry."""
        return self._handles.seal(
            HandleKind.MANIFEST,
            visitor.holder,
            entry.unique_id,
            entry.repository_unique_id,
            entry.home_community_id,
            FoundStudy.of(entry).study_instance_uid,
            entry.patient_id,
        )

    # -- an emergency

    async def break_glass(self, visitor: Visitor, patient_id: str, reason: str) -> datetime:
        """See for a time what policies of a patient keep back; until when."""
        unit = self._parts.unit(visitor.user, lambda: visitor.assertion)
        async with asking(REGISTRY, self._parts.settings.answer_seconds):
            return await break_glass.declare(unit, patient_id, reason)

    # -- open

    async def open_handle(self, visitor: Visitor, handle: str) -> OpenedStudy:
        """The manifest behind a handle of `find`."""
        manifest_id, repository_unique_id, home, *_ = self.opened(HandleKind.MANIFEST, visitor, handle)
        return await self.open(visitor, manifest_id, repository_unique_id, home)

    # -- reports

    async def reports(
        self, visitor: Visitor, criteria: Criteria
    ) -> tuple[tuple[DocumentEntry, ...], tuple[str, ...]]:
        """The reports of a patient that the visitor may see and can read here (ITI-18), newest first, and why
        there may be others.

        They are looked for in the same time as studies, and whatever modality is named: few say theirs.
        """
        try:
            with self._counted("ITI-18"):
                async with asking(REGISTRY, self._parts.settings.answer_seconds):
                    entries = await self._consumer(visitor).documents(
                        criteria.patient_id,
                        format_codes=(),
                        service_start_from=criteria.since,
                        service_start_to=criteria.before,
                        on_error=lambda _: None,
                    )
        except HttpProblem as problem:
            return (), (f"reports could not be looked for: {problem.detail}",)
        return tuple(filter(is_report, entries)), ()

    def report_handle(self, visitor: Visitor, entry: DocumentEntry) -> str:
        """The handle of a report."""
        return self._handles.seal(HandleKind.REPORT, visitor.holder, entry.unique_id, entry.home_community_id)

    async def report(self, visitor: Visitor, handle: str) -> tuple[DocumentEntry, bytes]:
        """The report behind a handle (ITI-18, ITI-43)."""
        unique_id, home_community_id = self.opened(HandleKind.REPORT, visitor, handle)
        consumer = self._consumer(visitor)
        with self._counted("ITI-43"):
            async with self._place(visitor):
                async with asking(REGISTRY, self._parts.settings.answer_seconds):
                    entry = await consumer.entry(unique_id, home_community_id=home_community_id)
                async with asking(REPOSITORY, self._parts.settings.answer_seconds):
                    return entry, await consumer.document(entry)

    def study_behind(self, visitor: Visitor, handle: str) -> tuple[str, str]:
        """Which study of which patient a handle of `find` leads to; the UID is empty where no entry says
        it."""
        *_, study_instance_uid, patient_id = self.opened(HandleKind.MANIFEST, visitor, handle)
        return study_instance_uid, patient_id

    def manifest_behind(self, visitor: Visitor, handle: str) -> tuple[str, str]:
        """The uniqueId of the manifest that a handle of `find` leads to, and its community."""
        manifest_id, _, home_community_id, *_ = self.opened(HandleKind.MANIFEST, visitor, handle)
        return manifest_id, home_community_id

    async def shows(self, visitor: Visitor, manifest_id: str, home_community_id: str) -> None:
        """Ask the registry whether it shows a manifest to the visitor (ITI-18); a problem where it does
        not."""
        with self._counted("ITI-18"):
            async with asking(REGISTRY, self._parts.settings.answer_seconds):
                await self._consumer(visitor).entry(manifest_id, home_community_id=home_community_id)

    async def open(
        self, visitor: Visitor, manifest_id: str, repository_unique_id: str, home_community_id: str = ""
    ) -> OpenedStudy:
        """The manifest of a uniqueId in a repository (ITI-18, ITI-43), with a handle for each instance.

        Without `home_community_id` it is one of our own community.
        """
        with self._counted("ITI-43"):
            async with self._place(visitor):
                entry, manifest = await self._manifest(
                    visitor, manifest_id, repository_unique_id, home_community_id
                )
                instances = await asyncio.to_thread(_instances, manifest, entry)
                series = await asyncio.to_thread(lambda: tuple(self._series(visitor, manifest, instances)))
        return OpenedStudy(
            patient_id=entry.patient_id, study=FoundStudy.of(entry), manifest=manifest, series=series
        )

    async def _manifest(
        self, visitor: Visitor, manifest_id: str, repository_unique_id: str, home_community_id: str
    ) -> tuple[DocumentEntry, Manifest]:
        consumer = self._consumer(visitor)
        async with asking(REGISTRY, self._parts.settings.answer_seconds):
            entry = await consumer.entry(manifest_id, home_community_id=home_community_id)
        if entry.repository_unique_id != repository_unique_id:
            raise NotFound(NOT_FOUND)
        async with asking(REPOSITORY, self._parts.settings.answer_seconds):
            return entry, await consumer.manifest(entry, most=self._parts.settings.open_references)

    def _series(
        self, visitor: Visitor, manifest: Manifest, instances: tuple[RequestedInstance, ...]
    ) -> Iterator[OpenedSeries]:
        """Every series once, in the order of the manifest, which is also that of its instances."""
        series = {one.series_instance_uid: one for _, one, _ in manifest.instances}
        grouped: dict[tuple[str, str], list[RequestedInstance]] = {}
        for one in instances:
            grouped.setdefault((one.study_instance_uid, one.series_instance_uid), []).append(one)
        for (study, uid), of_series in grouped.items():
            yield OpenedSeries(
                study_instance_uid=study,
                series_instance_uid=uid,
                modality=series[uid].modality,
                number=series[uid].number,
                description=series[uid].description,
                instances=tuple(self._instance(visitor, one) for one in of_series),
            )

    def _instance(self, visitor: Visitor, one: RequestedInstance) -> OpenedInstance:
        handle = self._handles.seal(
            HandleKind.INSTANCE,
            visitor.holder,
            one.study_instance_uid,
            one.series_instance_uid,
            one.sop_instance_uid,
            one.sop_class_uid,
            one.patient_id,
            one.retrieve_location_uid,
            one.retrieve_url,
            one.retrieve_ae_title,
            one.home_community_id,
            one.source_patient_id,
            one.source_patient_name,
        )
        return OpenedInstance(
            sop_instance_uid=one.sop_instance_uid, sop_class_uid=one.sop_class_uid, handle=handle
        )

    # -- fetch

    async def fetch(self, visitor: Visitor, handle: str) -> FetchedInstance:
        """The instance behind a handle of `open`, whole and checked, in a file (RAD-69, else RAD-107)."""
        one = _wanted(self.opened(HandleKind.INSTANCE, visitor, handle))
        try:
            via = self._consumer(visitor).road(one)
        except NoRoad as error:
            raise Unprocessable(str(error)) from None
        with self._counted(via.number):
            async with self._place(visitor):
                file = await self._received(visitor, one, via)
        return FetchedInstance(sop_instance_uid=one.sop_instance_uid, file=file)

    async def _received(self, visitor: Visitor, one: RequestedInstance, via: Via) -> FileRange:
        folder = self._parts.spool_folder
        # Two may fetch the same instance at once: each has a folder of its own.
        own = folder / str(uuid4())
        own.mkdir()
        try:
            async with asking(IMAGING_SOURCE, self._parts.settings.instance_seconds):
                delivery = await self._consumer(visitor).instance(one, own, via=via)
            if delivery.reason:
                raise _not_delivered(delivery)
            path = (own / one.file_name).replace(folder / f"{uuid4()}.dcm")
        finally:
            await asyncio.to_thread(shutil.rmtree, own)
        return FileRange(path, 0, delivery.size)

    # -- with

    def search_handle(
        self, visitor: Visitor, criteria: Criteria, *, purpose: str = "", position: int = 0
    ) -> str:
        """A handle to a search, so that it has an address that names nobody."""
        since, before = str(criteria.since or ""), str(criteria.before or "")
        fields = (criteria.patient_id, since, before, purpose, str(position), *criteria.modalities)
        return self._handles.seal(HandleKind.SEARCH, visitor.holder, *fields)

    def search_behind(self, visitor: Visitor, handle: str) -> StatedSearch:
        """The search behind a handle."""
        patient_id, since, before, purpose, position, *modalities = self.opened(
            HandleKind.SEARCH, visitor, handle
        )
        criteria = Criteria.of(
            patient_id,
            affinity_domain=self._parts.settings.affinity_domain,
            modalities=modalities,
            since=since,
            before=before,
        )
        return StatedSearch(criteria=criteria, purpose=purpose, position=int(position))

    def invocation_handle(self, fields: Sequence[str]) -> str:
        """A handle to what an address asked for, before anybody has signed in: it opens nothing by itself."""
        return self._handles.seal(HandleKind.INVOCATION, "", *fields)

    def invocation_behind(self, handle: str) -> tuple[str, ...]:
        """What an address asked for."""
        try:
            return self._handles.open(HandleKind.INVOCATION, "", handle)
        except UnknownHandle:
            raise NotFound(NOT_FOUND) from None

    def keeps(self, invocation: str) -> bool:
        """Whether an invocation can be followed still."""
        try:
            self.invocation_behind(invocation)
        except NotFound:
            return False
        return True

    def sealed(self, kind: HandleKind, visitor: Visitor, *fields: str) -> str:
        """A handle of the visitor's to `fields`."""
        return self._handles.seal(kind, visitor.holder, *fields)

    def opened(self, kind: HandleKind, visitor: Visitor, handle: str) -> tuple[str, ...]:
        """What a handle of the visitor's leads to; raises NotFound."""
        try:
            return self._handles.open(kind, visitor.holder, handle)
        except UnknownHandle:
            raise NotFound(NOT_FOUND) from None

    def _consumer(self, visitor: Visitor) -> ImagingDocumentConsumer:
        return ImagingDocumentConsumer(self._parts.unit(visitor.user, lambda: visitor.assertion))

    @contextmanager
    def _counted(self, transaction: str) -> Iterator[None]:
        """Count a step under its last transaction, and how it ended."""
        with self._metrics.transaction(transaction).measure() as counted:
            try:
                yield
            except HttpProblem:
                counted(Result.FAILURE)
                raise
            counted(Result.SUCCESS)

    @asynccontextmanager
    async def _place(self, visitor: Visitor) -> AsyncIterator[None]:
        """A place among those who fetch at once, of which no visitor has them all."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(
                    self._gate.waited_for(visitor.holder, seconds=_PATIENCE_SECONDS)
                )
            except ServerBusy:
                raise Unavailable("too much is being fetched now; try again in a moment") from None
            yield


def _instances(manifest: Manifest, entry: DocumentEntry) -> tuple[RequestedInstance, ...]:
    try:
        return requested_instances(
            manifest, patient_id=entry.patient_id, home_community_id=entry.home_community_id
        )
    except UnsafeManifest as error:
        raise Unprocessable(f"the document is not a manifest: {error}") from None


def _wanted(fields: tuple[str, ...]) -> RequestedInstance:
    study, series, instance, sop_class, patient_id, location, url, ae_title, home, source_id, source_name = (
        fields
    )
    return RequestedInstance(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=sop_class,
        patient_id=patient_id,
        retrieve_location_uid=location,
        retrieve_url=url,
        retrieve_ae_title=ae_title,
        home_community_id=home,
        source_patient_id=source_id,
        source_patient_name=source_name,
    )


def _not_delivered(delivery: Delivery) -> HttpProblem:
    if not delivery.code:
        return NotFound(NOT_FOUND)
    error = RelayedError(delivery.code, delivery.reason, severity=Severity.ERROR)
    return of_errors(IMAGING_SOURCE, (error,))

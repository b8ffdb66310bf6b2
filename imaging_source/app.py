"""The imaging source as a service: its parts, put together, and its routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import httpx2

from imaging_source import pages
from imaging_source.archives.opening import open_archives
from imaging_source.background.commitments import Commitments
from imaging_source.background.cooling import Cooling
from imaging_source.background.department_messages import DepartmentMessages
from imaging_source.background.drift_watch import DriftWatch
from imaging_source.background.load_watch import LoadWatch
from imaging_source.background.publisher import COUNTED, Publisher, StudyWatch
from imaging_source.background.report_publisher import ReportPublisher
from imaging_source.background.retention import Retention
from imaging_source.dimse.archive import by_dimse
from imaging_source.dimse.listener import DimseListener
from imaging_source.domain.examination import Examine
from imaging_source.maintenance.scrub import scrub
from imaging_source.pages.examinations import Examinations
from imaging_source.pages.page import TEMPLATES, PageParts, PageUnit
from imaging_source.peers.registrations import RegistryClient
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.adoption import adopt
from imaging_source.store.catalogue import fill
from imaging_source.store.incoming import StoreUnusable
from imaging_source.store.instances import InstanceStore
from imaging_source.store.publications import PublicationState, audit_events
from imaging_source.store.rejections import KeyObjects
from imaging_source.store.stores import hold_contents, open_contents, open_instances
from imaging_source.store.tables import MIGRATIONS
from imaging_source.transactions import SERVED, SERVED_REST
from imaging_source.unit import Parts, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.background import BackgroundWork
from shared.consent.sources import open_consent
from shared.errors import Actor
from shared.http.application import application
from shared.http.client import http_client
from shared.http.health import Check, NotReady, health_routes
from shared.http.raw_asgi import App, raw_first
from shared.imaging.cache import FileCache
from shared.imaging.transcoder import Transcoder, Workers
from shared.pages.forms import Forms
from shared.pages.page import ErrorPage
from shared.pages.provider import provider_of
from shared.pages.session_cookie import SessionCookie
from shared.pages.session_end import SessionEnd
from shared.pages.sessions import Sessions
from shared.pages.shelf import Shelf
from shared.pages.site import Site
from shared.pages.visitors import Reception
from shared.rest.scheme import NodeAlone
from shared.rest.service import RestService
from shared.scrubbing import Scrubbing
from shared.security import own_registry
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller
from shared.security.once import open_once
from shared.security.peer_certificate import own_node
from shared.soap.client import SoapClient
from shared.soap.pipeline import SoapService
from shared.store.failures import DatabaseError
from shared.store.folders import FolderHold
from shared.store.opening import open_database
from shared.telemetry.log import logger
from shared.telemetry.metrics import Metrics

_log = logger("imaging_source.integrity")

SOAP_PATH: Final = "/xds/imaging-source"
#: How often it is looked for contents without a row.
ADOPTION_SECONDS: Final = 24 * 3600.0
#: How often it is looked for studies that another release took in, which does not enter them.
CATALOGUE_SECONDS: Final = 300.0


class ImagingSource:
    """A running imaging source: `asgi` is served by whoever made it, `start` and `stop` frame that."""

    def __init__(
        self,
        parts: Parts,
        transcoder: Transcoder,
        http: httpx2.AsyncClient,
        examine: Examine | None = None,
    ) -> None:
        self.parts = parts
        # The folders that are ours as long as we live.
        self.holds = ExitStack()
        self._telling: set[asyncio.Task[None]] = set()
        self._transcoder = transcoder
        self._http = http
        self._metrics = Metrics("imaging_source")
        self._forwarder = Forwarder(
            parts.settings, parts.recorder, DatabaseOutbox(parts.database, audit_events)
        )
        self.dimse = DimseListener(
            parts.instances, parts.recorder, parts.settings, self.unit, parts.archives.moves
        )
        self.publisher = Publisher(parts)
        self._watch = StudyWatch(parts, self.publisher)
        self.reports = ReportPublisher(parts, self._metrics)
        self._messages = DepartmentMessages(
            parts, self.publisher, self._watch, self.reports, self.node_refused
        )
        self._drift_watch = DriftWatch(parts, self.publisher, self._metrics)
        self._retention = Retention(parts)
        self._commitments = Commitments(parts)
        self.dimse.on_commitment(self._commitments.work.wake)
        self._metrics.gauge(
            "publication_oldest_seconds",
            "Age of the oldest manifest that waits to be registered",
            lambda: self.publisher.oldest_seconds,
        )
        self._metrics.gauges(
            "publications",
            "Studies whose last publication is in this state",
            "state",
            {state: partial(self._publications, state) for state in COUNTED},
        )
        self._metrics.gauge(
            "damaged_instances",
            "Instances whose files were found lost or damaged and are not served",
            lambda: float(len(parts.damages)),
        )
        parts.archives.measure(self._metrics)
        parts.instances.on_repaired.append(parts.damages.forget)
        self.scrubbing = Scrubbing(
            parts.settings,
            parts.database,
            self._metrics,
            partial(scrub, parts.database, parts.instances.files, parts.recorder),
        )
        self.cooling = Cooling(parts, self._metrics)
        self.adoption = BackgroundWork(
            "adoption",
            self._adopt,
            rest_seconds=ADOPTION_SECONDS,
            sole=parts.database.sole("adoption"),
        )
        self.catalogue = BackgroundWork(
            "catalogue",
            self._fill_catalogue,
            rest_seconds=CATALOGUE_SECONDS,
            sole=parts.database.sole("catalogue"),
        )
        self._shelf = Shelf(parts.settings.folder)
        self.sessions = Sessions(self._shelf)
        self._session_end = SessionEnd(self.sessions, parts.recorder.record)
        self._load_watch = LoadWatch(self._metrics)
        self._examinations = Examinations(examine)
        self.asgi = self._application()

    @property
    def hl7_port(self) -> int | None:
        """Where messages of HL7 are taken, once started; None where they are not."""
        return self._messages.port

    def _publications(self, state: PublicationState) -> float:
        return float(self.publisher.counts[state])

    def _application(self) -> App:
        parts = self.parts
        soap = SoapService(
            SERVED,
            unit=self.unit,
            authenticator=parts.authenticator,
            recorder=parts.recorder,
            settings=parts.settings,
            actor=Actor.REPOSITORY,
            spool_folder=parts.settings.folder / "spool",
            metrics=self._metrics,
        )
        checks: dict[str, Check] = {
            "instances": partial(_keeps, parts.instances),
            "audit": parts.recorder.check,
        }
        works = [self.publisher.work, self.publisher.patients, self.publisher.census]
        works += [*self.reports.works, self.adoption, self.catalogue]
        works += [self._commitments.work, *self._drift_watch.works]
        works += [*self._messages.works, self._session_end.work, self._load_watch.work]
        works += [*self._retention.works, *self.scrubbing.works, *self.cooling.works]
        if parts.settings.auto_publish:
            works += self._watch.works
        health = health_routes(
            checks,
            self._metrics,
            background=works,
            trail=self._forwarder,
            usage=lambda: parts.database.usage,
            tls=parts.settings.tls,
        )
        rest = RestService(
            unit=self.unit,
            authenticator=parts.authenticator,
            recorder=parts.recorder,
            settings=parts.settings,
            metrics=self._metrics,
        )
        error_page = ErrorPage(
            TEMPLATES, Forms(), self.sessions, provider_of(parts.settings.sign_in, parts.settings)
        )
        people = self._people(error_page, lambda: self._troubles(works))
        routes = [*health, *rest.routes(SERVED_REST), *people.routes(pages.SERVED_REST)]
        over_http = application(routes, page=error_page.unserved)
        return Site(
            raw_first(SOAP_PATH, soap.asgi, over_http),
            parts.settings.service,
            error_page.turned_away,
            machines=(SOAP_PATH, "/dicomweb/"),
        )

    def _people(self, error_page: ErrorPage, troubles: Callable[[], Sequence[str]]) -> RestService:
        """The wing for operators at browsers."""
        parts = self.parts
        reception = Reception(parts.authenticator, parts.recorder.refusals, parts.settings.endpoint)
        of_pages = PageParts(
            provider=error_page.provider,
            service=parts,
            reception=reception,
            sessions=self.sessions,
            forms=error_page.forms,
            templates=TEMPLATES,
            wake=self.publisher.wake,
            troubles=troubles,
            answers=self._load_watch.answers,
            examinations=self._examinations,
        )
        return RestService(
            unit=partial(PageUnit, of_pages),
            authenticator=reception,
            recorder=parts.recorder,
            settings=parts.settings,
            metrics=self._metrics,
            schemes=(SessionCookie(self.sessions), NodeAlone()),
            error_forms=(error_page,),
        )

    def _troubles(self, works: Sequence[BackgroundWork]) -> list[str]:
        """For what the service is not ready."""
        failures = [f"{work.name}: {trouble}" for work in works if (trouble := work.trouble())]
        return [*failures, *filter(None, [self._forwarder.trouble()])]

    def unit(self, caller: Caller) -> Unit:
        """The unit of work of one request."""
        return Unit(self.parts, caller, self.publisher.wake)

    async def start(self) -> None:
        """Begin the work beside the requests, and listen for DIMSE and for messages of HL7.

        Raises
        ------
        SettingsError
            A port cannot be used.
        """
        recorder = self.parts.recorder
        await self.parts.instances.recover(recorder.record)
        self.adoption.start()
        self._session_end.work.start()
        self._load_watch.work.start()
        self._commitments.work.start()
        self.catalogue.start()
        await self.scrubbing.start()
        with self.parts.settings.listening("dimse_port"):
            await self.dimse.start()
        await self._messages.start()
        self._watch_for_damage(asyncio.get_running_loop())
        await recorder.started()
        await self._forwarder.start()
        await self.publisher.start()
        self.reports.start()
        self._drift_watch.start()
        self._retention.start()
        self.cooling.start()
        if self.parts.settings.auto_publish:
            await self._watch.start()

    async def stop(self) -> None:
        """End it; what is not done waits on disk for the next start."""
        parts = self.parts
        await self._examinations.stop()
        await self._session_end.work.stop()
        await self._load_watch.work.stop()
        await self.scrubbing.stop()
        await self.cooling.stop()
        await self.catalogue.stop()
        await self.adoption.stop()
        await self._commitments.work.stop()
        await self.dimse.stop()
        await self._messages.stop()
        await self._watch.stop()
        await self._retention.stop()
        await self._drift_watch.stop()
        await self.reports.stop()
        await self.publisher.stop()
        parts.instances.files.on_damage = lambda sha256: None
        await asyncio.gather(*self._telling, return_exceptions=True)
        await parts.recorder.stopped()
        await self._forwarder.stop()
        await self._transcoder.close()
        await self._http.aclose()
        self._shelf.close()
        await parts.recorder.close()
        await parts.database.close()
        parts.instances.files.close()
        self.holds.close()

    def _watch_for_damage(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let what shows to be damaged only while it is sent be told of at once."""

        def tell(sha256: str) -> None:
            task = asyncio.ensure_future(self._tell_damage(sha256))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

        def tell_from_any_thread(sha256: str) -> None:
            loop.call_soon_threadsafe(tell, sha256)

        self.parts.instances.files.on_damage = tell_from_any_thread

    async def _tell_damage(self, sha256: str) -> None:
        parts = self.parts
        try:
            await parts.damages.tell(await parts.instances.of_contents(sha256), parts.recorder)
        except (DatabaseError, AuditUnavailable) as error:
            # The next retrieval, or the next scrub, meets the same damage.
            _log.error("damage is not told of yet", sha256=sha256, error=type(error).__name__)

    async def _adopt(self) -> None:
        parts = self.parts
        await adopt(parts.instances, parts.recorder.record, node=parts.settings.ae_title)

    async def _fill_catalogue(self) -> None:
        lately = datetime.now(UTC) - timedelta(seconds=2 * CATALOGUE_SECONDS)
        while not await fill(self.parts.database, lately.isoformat()):
            continue

    async def node_refused(self, address: str, reason: str) -> None:
        """Record, or count, that a node did not authenticate (ITI-19)."""
        await self.parts.recorder.refusals.node(address, reason)


async def _keeps(instances: InstanceStore) -> None:
    try:
        await instances.check()
    except StoreUnusable as error:
        raise NotReady(f"instances cannot be kept: {error}") from error


async def build(settings: ImagingSourceSettings, examine: Examine | None = None) -> ImagingSource:
    """Put the imaging source together; nothing listens yet. `examine` looks at this installation for
    operators.

    Raises
    ------
    FolderHeld
        Another process uses its folder.
    DatabaseUnavailable, SchemaError
        The database cannot be used.
    SettingsError
        The storage cannot be used.
    """
    with ExitStack() as holds:
        holds.enter_context(closing(await asyncio.to_thread(FolderHold, settings.folder)))
        for hold in hold_contents(settings):
            holds.enter_context(closing(hold))
        source = await _built(settings, examine)
        source.holds = holds.pop_all()
    return source


async def _built(settings: ImagingSourceSettings, examine: Examine | None) -> ImagingSource:
    archives = [archive.address for archive in settings.archives.values() if archive.url]
    peers = (*settings.registry_endpoints, settings.repository_url, settings.consent_url, *archives)
    http = http_client(settings.tls, peers=peers, known=own_registry.known(settings))
    contents = await asyncio.to_thread(open_contents, settings)
    workers = Workers("imaging-source")
    transcoder = Transcoder(
        FileCache(settings.folder / "transcoded", max_bytes=settings.transcode_cache_bytes),
        workers,
        local=contents.local,
    )
    database = await open_database(
        settings.database_url,
        folder=settings.folder,
        migrations=MIGRATIONS,
        wait_seconds=settings.database_wait_seconds,
    )
    recorder = AuditRecorder(settings, settings.service)
    instances = open_instances(settings, database, contents, workers)
    node = own_node(recorder.source.hostname, settings.tls.certificate)
    parts = Parts(
        settings=settings,
        database=database,
        instances=instances,
        key_objects=KeyObjects(database),
        transcoder=transcoder,
        consent=open_consent(settings, http),
        recorder=recorder,
        authenticator=Authenticator(settings, once=open_once(settings, http)),
        repository=SoapClient(http),
        registry=RegistryClient(http, settings.registry_endpoint("ITI-18")),
        node=node,
        http=http,
        archives=open_archives(
            settings,
            instances,
            http,
            node=node,
            record=recorder.record,
            by_dimse=partial(by_dimse, settings, node),
        ),
    )
    return ImagingSource(parts, transcoder, http, examine)

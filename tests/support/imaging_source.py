"""An imaging source in one process, on either database; repository and consent say what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pydicom
import pytest
from pydicom.dataset import Dataset

import imaging_source.store.publications
from imaging_source.app import ImagingSource
from imaging_source.archives.opening import open_archives
from imaging_source.dimse.archive import by_dimse
from imaging_source.domain.transfer import Sender
from imaging_source.peers.registrations import RegistryAway
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.rejections import KeyObjects
from imaging_source.store.stores import open_contents, open_instances
from imaging_source.store.tables import MIGRATIONS, metadata
from imaging_source.store.transfers import Transfer
from imaging_source.unit import Parts
from shared.audit.events import AuditEvent, ihe
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Decision, Resource
from shared.ebrim.identifiers import CX
from shared.imaging.cache import FileCache
from shared.imaging.instance import Instance
from shared.imaging.transcoder import Transcoder
from shared.messages.iti41 import ProvideAndRegisterRequest
from shared.messages.registrations import RegisteredDocument, Registrations
from shared.messages.registry import RegistryResponse, Status
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller, Node
from shared.settings import XuaMode
from tests.support.codecs import CODECS
from tests.support.databases import DatabasePlace, database_place, postgres_url
from tests.support.dicom import an_sr, part10

__all__ = ["database_place", "either_source", "postgres_url", "source"]

DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"
BASE = "http://127.0.0.1:8030"
LOCATION_UID = "1.3.6.1.4.1.21367.2026.10.30"
SUCCESS = RegistryResponse(status=Status.SUCCESS)

# The tables of publications belong to the schema that `metadata` describes.
assert imaging_source.store.publications.publication.metadata is metadata


def cx(patient_id: str) -> str:
    """The CX of a patient in the affinity domain."""
    return str(CX(patient_id, DOMAIN))


@dataclass
class ScriptedRepository:
    """Answers ITI-41 with what a test scripted; an exception is raised. The last answer is repeated."""

    answers: list[Any] = field(default_factory=lambda: [SUCCESS])
    heard: list[tuple[str, ProvideAndRegisterRequest]] = field(default_factory=list)

    async def call(
        self,
        transaction: Any,
        url: str,
        request: ProvideAndRegisterRequest,
        *,
        message_id: str | None = None,
        timeout_seconds: float = 30,
    ) -> RegistryResponse:
        self.heard.append((message_id or "", request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class ScriptedRegistry:
    """Knows every patient, and has the documents that a test says; tells of none by default."""

    survivors: dict[str, str] = field(default_factory=dict)
    documents: list[RegisteredDocument] | None = None
    known: bool = True
    away: bool = False
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def find(self, patient_id: str, unique_ids: Sequence[str]) -> Registrations:
        self.asked.append((patient_id, tuple(unique_ids)))
        if self.away:
            raise RegistryAway("the registry does not answer")
        return Registrations(
            survivor=self.survivors.get(patient_id, patient_id),
            known=self.known,
            documents=tuple(self.documents or ()),
            complete=self.documents is not None,
        )


@dataclass
class ScriptedConsent:
    """Refuses the patients of `refused` and what bears a code of `restricted`; permits everything else."""

    refused: frozenset[str] = frozenset()
    restricted: frozenset[str] = frozenset()
    asked: list[tuple[Action, Resource]] = field(default_factory=list)

    async def decide(
        self, caller: Caller, action: Action, resources: tuple[Resource, ...]
    ) -> tuple[Decision, ...]:
        self.asked += [(action, resource) for resource in resources]
        return tuple(map(self._decision, resources))

    def _decision(self, resource: Resource) -> Decision:
        if resource.patient_id in self.refused or resource.confidentiality & self.restricted:
            return Decision(False, "policy opt-out")
        return Decision(True, "default")


class EventRecorder(AuditRecorder):
    """Keeps the events beside what it does with them."""

    def __init__(self, settings: ImagingSourceSettings) -> None:
        super().__init__(settings, settings.service)
        self.events: list[AuditEvent] = []

    def messages(self, event: AuditEvent) -> tuple[bytes, ...]:
        self.events.append(event)
        return super().messages(event)

    def taken(self) -> list[AuditEvent]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events


@dataclass
class Source:
    """The service, and what stands around it."""

    service: ImagingSource
    repository: ScriptedRepository
    registry: ScriptedRegistry
    consent: ScriptedConsent
    recorder: EventRecorder
    folder: Path

    @property
    def parts(self) -> Parts:
        return self.service.parts

    def client(self) -> httpx2.AsyncClient:
        """A client that calls the application in this process, from this machine."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.service.asgi, client=("127.0.0.1", 50_000)),
            base_url=BASE,
        )

    async def keep(
        self, *files: Dataset | bytes | Path, syntax: str = "", sent_by: str = ""
    ) -> list[Instance]:
        """Store instances as if a modality had sent them."""
        came_by = Transfer(
            sender=Sender(transaction=ihe("RAD-18", "Creator Images Stored"), participants=()),
            sent_by=sent_by,
            may_reject=True,
        )
        return [await self._keep_one(octets_of(file, syntax), came_by) for file in files]

    async def _keep_one(self, octets: bytes, came_by: Transfer) -> Instance:
        incoming = self.parts.instances.files.new(max_bytes=10**9)
        incoming.write(octets)
        return (await self.parts.instances.store_part10(incoming.finish(), came_by)).instance


def octets_of(file: Dataset | bytes | Path, syntax: str = "") -> bytes:
    """The Part 10 file of whatever stands for one."""
    if isinstance(file, Dataset):
        return part10(file, syntax) if syntax else part10(file)
    return file.read_bytes() if isinstance(file, Path) else file


async def open_source(place: DatabasePlace, folder: Path, **settings: Any) -> Source:
    """Put a source together whose state is in `place` and `folder`; close it with `close_source`."""
    loaded = ImagingSourceSettings.load(
        environ={},
        **{
            "data": folder,
            "public_url": BASE,
            "dimse_port": 0,
            "audit": {"url": "tcp://127.0.0.1:1"},
            "xua": XuaMode.OPTIONAL,
            **settings,
        },
    )
    database = await place.open(MIGRATIONS)
    repository, consent, recorder = ScriptedRepository(), ScriptedConsent(), EventRecorder(loaded)
    registry = ScriptedRegistry()
    contents = open_contents(loaded)
    transcoder = Transcoder(
        FileCache(loaded.folder / "transcoded", max_bytes=loaded.transcode_cache_bytes),
        CODECS,
        local=contents.local,
    )
    instances = open_instances(loaded, database, contents, CODECS)
    node = Node(address="127.0.0.1", subject="CN=source.example")
    # Nobody else is asked: the authorities of the world need not be read.
    http = httpx2.AsyncClient(verify=False, trust_env=False)
    parts = Parts(
        settings=loaded,
        database=database,
        instances=instances,
        key_objects=KeyObjects(database),
        transcoder=transcoder,
        consent=consent,
        recorder=recorder,
        authenticator=Authenticator(loaded),
        repository=repository,  # type: ignore[arg-type]  # what is called of it is there
        registry=registry,
        node=node,
        archives=open_archives(
            loaded,
            instances,
            http,
            node=node,
            record=recorder.record,
            by_dimse=partial(by_dimse, loaded, node),
        ),
    )
    return Source(ImagingSource(parts, transcoder, http), repository, registry, consent, recorder, folder)


async def close_source(opened: Source) -> None:
    """Let go of files, processes and connections."""
    service = opened.service
    await service.publisher.stop()
    await service._transcoder.close()
    await service._http.aclose()
    await opened.recorder.close()
    await opened.parts.database.close()
    opened.parts.instances.files.close()


def a_rejection_note(title: str = "113001", rejected: Sequence[str] = ("2.25.13",), **changes: str):
    """A Key Object Selection Document that rejects CTs; the one of these tests without saying which."""
    note = an_sr(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59",
        SOPInstanceUID="2.25.40",
        SeriesInstanceUID="2.25.41",
        Modality="KO",
    )
    note.ConceptNameCodeSequence[0].CodeValue = title
    note.ConceptNameCodeSequence[0].CodingSchemeDesignator = "DCM"
    for keyword, value in changes.items():
        setattr(note, keyword, value)
    references = []
    for uid in rejected:
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        reference.ReferencedSOPInstanceUID = uid
        references.append(reference)
    series = pydicom.Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "2.25.12", references
    study = pydicom.Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = "2.25.11", [series]
    note.CurrentRequestedProcedureEvidenceSequence = [study]
    return note


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    """An imaging source on SQLite: for what does not depend on the database."""
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    opened = await open_source(place, tmp_path / "data")
    yield opened
    await close_source(opened)


@pytest.fixture
async def either_source(database_place: DatabasePlace, tmp_path: Path) -> AsyncIterator[Source]:
    """An imaging source on each database."""
    opened = await open_source(database_place, tmp_path / "data")
    yield opened
    await close_source(opened)

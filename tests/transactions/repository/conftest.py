"""A repository on either database, with a registry that says what a test wants."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from repository.domain.provision import ProvisionState
from repository.peers.provider import ProviderUnavailable
from repository.settings import RepositorySettings
from repository.store.files import FileBlobs
from repository.store.integrity import Integrity
from repository.store.tables import MIGRATIONS, provision
from repository.unit import Parts, Unit
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Decision, Resource
from shared.messages.iti41 import ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti42 import RegisterRequest
from shared.messages.on_demand import MadeManifest, ManifestRequest
from shared.messages.registry import RegistryResponse, Status
from shared.security.caller import Caller, Node
from shared.soap.mtom import Received
from tests.support.databases import DatabasePlace, database_place, postgres_url
from tests.support.registration_moves import ALLOWED, moves, note_moves

__all__ = ["database_place", "postgres_url"]

PROVIDER = Caller(
    node=Node(address="192.0.2.7", subject="CN=source"),
    endpoint="http://127.0.0.1:8020/xds/repository",
    message_id="urn:uuid:11111111-1111-4111-8111-111111111111",
)
SUCCESS = RegistryResponse(status=Status.SUCCESS)


@dataclass
class ScriptedRegistry:
    """Answers ITI-42 with what a test scripted; an exception is raised. The last answer is repeated."""

    answers: list[Any] = field(default_factory=lambda: [SUCCESS])
    heard: list[tuple[str, RegisterRequest]] = field(default_factory=list)

    async def call(
        self, transaction: Any, url: str, request: RegisterRequest, *, message_id: str, timeout_seconds: float
    ) -> RegistryResponse:
        self.heard.append((message_id, request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class NobodyMakes:
    """A provider that is away."""

    async def make(self, asked: ManifestRequest) -> MadeManifest:
        raise ProviderUnavailable("nobody is there")


@dataclass
class ScriptedConsent:
    """Refuses the patients of `refused`, and permits everything else."""

    refused: frozenset[str] = frozenset()

    async def decide(
        self, caller: Caller, action: Action, resources: tuple[Resource, ...]
    ) -> tuple[Decision, ...]:
        return tuple(
            Decision(resource.patient_id not in self.refused, "policy urn:uuid:9: deny")
            for resource in resources
        )


@dataclass
class House:
    """The repository as a test sees it."""

    parts: Parts
    registry: ScriptedRegistry
    consent: ScriptedConsent

    def unit(self, caller: Caller = PROVIDER) -> Unit:
        return Unit(self.parts, caller)

    def spooled(self, octets: bytes) -> Received:
        digest = hashlib.sha256(octets).hexdigest()
        path = self.parts.blobs.incoming / f"spooled-{digest[:12]}"
        path.write_bytes(octets)
        return Received(path, len(octets), hashlib.sha1(octets).hexdigest(), digest)

    def request(self, submission: Any, **octets: bytes | None) -> ProvideAndRegisterRequest:
        """The message that provides documents for the entries of `submission`, in order."""
        ids = [entry.entry_uuid for entry in submission.document_entries]
        contents = [None if one is None else self.spooled(one) for one in octets.values()]
        return ProvideAndRegisterRequest.of(
            submission,
            [
                ProvidedDocument(id=name, content=content)
                for name, content in zip(ids, contents, strict=False)
            ],
        )

    async def states(self) -> list[ProvisionState]:
        return [ProvisionState(row[0]) for row in await self.parts.database.fetch(select(provision.c.state))]


@pytest.fixture
async def house(database_place: Any, tmp_path: Any) -> AsyncIterator[House]:
    async with a_house(database_place, tmp_path) as made:
        yield made


@asynccontextmanager
async def a_house(database_place: DatabasePlace, folder: Path) -> AsyncIterator[House]:
    """A repository; at its end nothing has happened to its provisions but what the table of their state
    machine says."""
    settings = RepositorySettings.load(environ={}, data=folder, retry_seconds=0.05)
    registry, consent = ScriptedRegistry(), ScriptedConsent()
    database = await database_place.open(MIGRATIONS)
    await note_moves(database_place, database)
    recorder = AuditRecorder(settings, "repository")
    blobs = FileBlobs(settings.folder)
    parts = Parts(
        settings=settings,
        database=database,
        blobs=blobs,
        integrity=Integrity(blobs, None, recorder),
        consent=consent,
        registry=registry,  # type: ignore[arg-type]
        provider=NobodyMakes(),
        recorder=recorder,
        node=Node(address="127.0.0.1"),
    )
    try:
        yield House(parts, registry, consent)
        assert await moves(database) - ALLOWED == set()
    finally:
        await recorder.close()
        await database.close()

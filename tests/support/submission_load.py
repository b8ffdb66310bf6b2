"""Clients that register and provide documents again and again, each until it is acknowledged.

Whoever gets no answer, or one that says "not now", sends the same message again. Everything else is noted as
a violation.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import uuid4

from registry.domain.stored_queries import GET_DOCUMENTS
from shared.ebrim.model import Code
from shared.errors import Actor, Severity
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.settings import TlsSettings
from shared.soap.client import PeerError, SoapClient
from shared.soap.mtom import Received
from tests.support.metadata import a_document_entry, a_submission

PASSING = frozenset({"XDSRegistryBusy", "XDSRegistryNotAvailable", "XDSRepositoryBusy"})
NO_ANSWER = "no answer"
REPORT = Code("urn:ihe:rad:PDF", "1.3.6.1.4.1.19376.1.2.3", "PDF report")
_CALL_SECONDS = 20.0
_AGAIN_SECONDS = 0.3
_HURRIED_SECONDS = 0.5
_AT_A_TIME = 50


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """When the call was made that was acknowledged, and when that was read."""

    called: float
    returned: float


@dataclass
class SubmissionLoad:
    """The clients of one registry and one repository, at these URLs, and what they have seen.

    Each rests for `pause_seconds` between two submissions, but where it is `hurried`.
    """

    soap: SoapClient
    registry_url: str
    repository_url: str
    registered: list[str] = field(default_factory=list)
    provided: dict[str, bytes] = field(default_factory=dict)
    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    pause_seconds: float = 0.0
    _stopping: bool = False

    @classmethod
    @asynccontextmanager
    async def under_way(
        cls,
        tls: TlsSettings,
        registry: str,
        repository: str,
        *,
        clients: int = 2,
        pause_seconds: float = 0.0,
    ) -> AsyncIterator[SubmissionLoad]:
        """So many clients of each kind at work; at the end each ends what it has in hand."""
        async with http_client(tls, peers=(registry, repository), timeout_seconds=_CALL_SECONDS) as http:
            soap = SoapClient(http)
            load = cls(soap, f"{registry}/xds/registry", f"{repository}/xds/repository")
            load.pause_seconds = pause_seconds
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(load._again(load._register))
                    group.create_task(load._again(load._provide))
                try:
                    yield load
                finally:
                    load._stopping = True

    async def _again(self, work: Any) -> None:
        while not self._stopping:
            await work()
            await asyncio.sleep(self.pause_seconds)

    @asynccontextmanager
    async def hurried(self) -> AsyncIterator[None]:
        """Without pauses, so that something is under way in every moment of what is done here."""
        pause, self.pause_seconds = self.pause_seconds, 0.0
        await asyncio.sleep(_HURRIED_SECONDS)
        yield
        self.pause_seconds = pause

    async def _register(self) -> None:
        entry = a_document_entry(format_code=REPORT)
        await self._acknowledged(ITI42, self.registry_url, RegisterRequest.of(a_submission(entry)))
        self.registered.append(entry.unique_id)

    async def _provide(self) -> None:
        entry = a_document_entry(format_code=REPORT, hash="", size=None)
        content = os.urandom(3_000)
        document = ProvidedDocument(id=entry.entry_uuid, content=content)
        request = ProvideAndRegisterRequest.of(a_submission(entry), (document,))
        await self._acknowledged(ITI41, self.repository_url, request)
        self.provided[entry.unique_id] = content

    async def _acknowledged(self, transaction: Any, url: str, request: Any) -> None:
        """Send until there is Success, or a refusal, which is a violation."""
        message_id = f"urn:uuid:{uuid4()}"
        while True:
            called = time.monotonic()
            codes = await self._codes(transaction, url, request, message_id)
            self.answers.update(f"{transaction.number} {code}" for code in codes)
            if not codes:
                self.acknowledgements.append(Acknowledgement(called, time.monotonic()))
                return
            if not all(code in PASSING or code.startswith(NO_ANSWER) for code in codes):
                self.violations.append(f"{transaction.number} refused: {sorted(codes)}")
                return
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _codes(self, transaction: Any, url: str, request: Any, message_id: str) -> frozenset[str]:
        try:
            answer = await self.soap.call(
                transaction, url, request, message_id=message_id, timeout_seconds=_CALL_SECONDS
            )
        except PeerError as error:
            return frozenset({f"{NO_ANSWER} ({type(error).__name__})"})
        except SoapFault as fault:
            return frozenset({f"fault {fault.code}: {fault.reason}"})
        return frozenset(
            error.code_for(Actor.REGISTRY) for error in answer.errors if error.severity is Severity.ERROR
        )

    # --- what was seen -------------------------------------------------------------------------------

    async def acknowledged(self, number: int, *, of_calls_since: float) -> None:
        """Wait until so many calls were acknowledged that were made after a moment."""
        while sum(one.called >= of_calls_since for one in self.acknowledgements) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    def longest_silence(self, since: float) -> float:
        """Seconds of the longest time after a moment in which nothing was acknowledged."""
        moments = sorted(one.returned for one in self.acknowledgements if one.returned >= since)
        return max((after - before for before, after in pairwise([since, *moments])), default=0.0)


def _portions(unique_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(unique_ids), _AT_A_TIME):
        yield unique_ids[at : at + _AT_A_TIME]


async def shown_by(soap: SoapClient, registry: str, unique_ids: Sequence[str]) -> Counter[str]:
    """How many entries the registry at a base URL shows of each document."""
    seen: Counter[str] = Counter()
    for some in _portions(unique_ids):
        request = StoredQueryRequest(
            query_id=GET_DOCUMENTS.query_id,
            return_type=ReturnType.LEAF_CLASS,
            parameters=encode_parameters({"$XDSDocumentEntryUniqueId": some}),
        )
        answer = await soap.call(ITI18, f"{registry}/xds/registry", request)
        assert not answer.errors, answer.errors
        seen.update(entry.unique_id for entry in answer.objects.document_entries)
    return seen


async def kept_by(
    soap: SoapClient, repository: str, repository_id: str, unique_ids: Sequence[str]
) -> dict[str, bytes]:
    """The documents of a repository at a base URL, by their ids; what it does not deliver is missing."""
    came: dict[str, bytes] = {}
    for some in _portions(unique_ids):
        documents = tuple(
            DocumentRequest(repository_unique_id=repository_id, document_unique_id=uid) for uid in some
        )
        answer = await soap.call(
            ITI43, f"{repository}/xds/repository", RetrieveDocumentSetRequest(documents=documents)
        )
        for document in answer.documents:
            content = document.content
            assert isinstance(content, Received)
            came[document.document_unique_id] = content.path.read_bytes()
            content.path.unlink()
    return came

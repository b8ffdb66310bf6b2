"""Communities for tests of the gateways: real gateways on real sockets, in front of actors that answer what a
test scripted by the product's own SOAP service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.app import INITIATING_PATH, RESPONDING_PATH, Gateway
from gateway.settings import GatewaySettings
from gateway.unit import Parts
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.ebrim.codec import encode_document_entry
from shared.errors import Actor, DocumentUniqueIdError, UnknownRepositoryId, XdsError
from shared.http.client import http_client
from shared.http.server import start_server
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.iti18 import (
    ITI18,
    ReturnType,
    StoredQueryRequest,
    StoredQueryResponse,
    encode_parameters,
)
from shared.messages.iti38 import ITI38
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import (
    RAD69,
    RetrieveImagingDocumentSetRequest,
    SeriesRequest,
    StudyRequest,
)
from shared.settings import ServiceSettings, TlsSettings
from shared.soap.client import SoapClient
from shared.soap.mtom import Content
from shared.soap.pipeline import SoapService
from shared.soap.served import Served
from tests.support.http_server import serving
from tests.support.metadata import a_document_entry
from tests.support.soap_exchange import Doorkeeper, Recorder, a_unit

EAST, WEST, NORTH = (f"urn:oid:2.999.{number}" for number in (1, 2, 3))
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENT = "77^^^&2.999.77&ISO"


@dataclass
class Actors:
    """Registry, repository and imaging source of one community, at one address.

    `documents` are by repositoryUniqueId and uniqueId; what is asked for and not there is an error.
    """

    folder: Path
    fragments: list[bytes] = field(default_factory=list)
    query_errors: tuple[XdsError, ...] = ()
    documents: dict[tuple[str, str], Content] = field(default_factory=dict)
    raises: Exception | None = None
    asked: list[Any] = field(default_factory=list)
    url: str = ""

    def service(self) -> SoapService:
        return SoapService(
            (
                Served(ITI18, self._query, _nothing),
                # As a Responding Gateway that leaves out what makes one.
                Served(ITI38, self._query, _nothing),
                Served(ITI43, self._documents, _nothing),
                Served(RAD69, self._images, _nothing),
            ),
            unit=a_unit,
            authenticator=Doorkeeper(),
            recorder=Recorder(),
            settings=ServiceSettings(),
            actor=Actor.REPOSITORY,
            spool_folder=self.folder / "incoming",
        )

    async def _query(self, unit: object, request: StoredQueryRequest) -> StoredQueryResponse:
        self._heard(request)
        return StoredQueryResponse(fragments=self.fragments, errors=self.query_errors)

    async def _documents(
        self, unit: object, request: RetrieveDocumentSetRequest
    ) -> RetrieveDocumentSetResponse:
        self._heard(request)
        return self._retrieved(request.documents)

    async def _images(
        self, unit: object, request: RetrieveImagingDocumentSetRequest
    ) -> RetrieveDocumentSetResponse:
        self._heard(request)
        return self._retrieved(
            [one for study in request.studies for series in study.series for one in series.documents]
        )

    def _heard(self, request: Any) -> None:
        self.asked.append(request)
        if self.raises is not None:
            raise self.raises

    def _retrieved(self, asked: Sequence[DocumentRequest]) -> RetrieveDocumentSetResponse:
        here = {repository for repository, _ in self.documents}
        found, errors = [], []
        for one in asked:
            key = (one.repository_unique_id, one.document_unique_id)
            if key in self.documents:
                found.append(
                    RetrievedDocument(
                        repository_unique_id=one.repository_unique_id,
                        document_unique_id=one.document_unique_id,
                        home_community_id=one.home_community_id,
                        mime_type="application/dicom",
                        content=self.documents[key],
                    )
                )
            elif key[0] in here:
                errors.append(DocumentUniqueIdError(f"document {key[1]} is not available", location=key[1]))
            else:
                errors.append(UnknownRepositoryId(f"{key[0]} is not served here", location=key[1]))
        return RetrieveDocumentSetResponse(documents=tuple(found), errors=tuple(errors))


def _nothing(*arguments: Any) -> tuple[AuditEvent, ...]:
    return ()


class KeepingRecorder(AuditRecorder):
    """The real recorder, which also shows what it kept."""

    def __init__(self, settings: ServiceSettings) -> None:
        super().__init__(settings, settings.service)
        self.events: list[AuditEvent] = []

    async def record(self, events: Sequence[AuditEvent]) -> None:
        await super().record(events)
        self.events += events


@dataclass
class RunningGateway:
    """A gateway that listens; `home` is its community."""

    home: str
    url: str
    parts: Parts
    recorder: KeepingRecorder

    @property
    def initiating(self) -> str:
        return f"{self.url}{INITIATING_PATH}"

    @property
    def responding(self) -> str:
        return f"{self.url}{RESPONDING_PATH}"

    def told(self) -> list[tuple[str, str, int]]:
        """What it recorded of transactions: number, action and outcome."""
        return [
            (event.event_types[0].code, event.action, int(event.outcome))
            for event in self.recorder.events
            if event.event_types and event.event_types[0].system == "IHE Transactions"
        ]


@asynccontextmanager
async def actors(folder: Path, tls: TlsSettings | None = None) -> AsyncIterator[Actors]:
    """The actors of a community, listening."""
    made = Actors(folder)
    async with serving(made.service().asgi, tls=tls) as server:
        made.url = f"{_scheme(tls)}://127.0.0.1:{server.port}/actors"
        yield made


def _scheme(tls: TlsSettings | None) -> str:
    return "http" if tls is None else "https"


@asynccontextmanager
async def gateway(
    folder: Path, home: str, of: Actors, tls: TlsSettings | None = None, **changes: Any
) -> AsyncIterator[RunningGateway]:
    """The gateway of `home`, listening, in front of its actors; by TLS it takes nodes without a user."""
    if tls is not None:
        changes |= {"tls": tls.model_dump(), "xua": "optional", "consent": {"default": "permit"}}
    settings = GatewaySettings.load(
        environ={},
        data=folder,
        audit={"url": "tcp://127.0.0.1:9"},
        home_community_id=home,
        registry_url=of.url,
        repository_url=of.url,
        imaging_source_url=of.url,
        **changes,
    )
    recorder = KeepingRecorder(settings)
    service = Gateway(Parts.of(settings, recorder))
    await service.start()
    server = await start_server(service.asgi, settings.model_copy(update={"port": 0}))
    try:
        url = f"{_scheme(tls)}://127.0.0.1:{server.port}"
        yield RunningGateway(home, url, service._parts, recorder)
    finally:
        await server.stop(grace_seconds=1)
        await service.stop()


@dataclass
class World:
    """Our own community in the East, and one in the West that it asks."""

    east: Actors
    west: Actors
    initiating: RunningGateway
    responding: RunningGateway
    client: SoapClient

    async def query(self, query_id: str = FIND_DOCUMENTS, *, home: str = "", **parameters: Any) -> Any:
        """ITI-18 at the Initiating Gateway; FindDocuments of `PATIENT` when nothing else is said."""
        return await self.client.call(
            ITI18, self.initiating.initiating, a_query(query_id, home, **parameters)
        )

    async def documents(self, *asked: DocumentRequest) -> Any:
        """ITI-43 at the Initiating Gateway."""
        request = RetrieveDocumentSetRequest(documents=asked)
        return await self.client.call(ITI43, self.initiating.initiating, request)

    async def images(self, *asked: DocumentRequest, syntaxes: Sequence[str] = (EXPLICIT,)) -> Any:
        """RAD-69 at the Initiating Gateway."""
        request = an_imaging_request(*asked, syntaxes=syntaxes)
        return await self.client.call(RAD69, self.initiating.initiating, request)


def a_query(query_id: str = FIND_DOCUMENTS, home: str = "", **parameters: Any) -> StoredQueryRequest:
    """A stored query; names of parameters without their `$`."""
    given = {f"${name}": value for name, value in parameters.items()} or {
        "$XDSDocumentEntryPatientId": PATIENT,
        "$XDSDocumentEntryStatus": ("urn:oasis:names:tc:ebxml-regrep:StatusType:Approved",),
    }
    return StoredQueryRequest(
        query_id=query_id,
        return_type=ReturnType.LEAF_CLASS,
        parameters=encode_parameters(given),
        home=home,
    )


def an_imaging_request(
    *asked: DocumentRequest, syntaxes: Sequence[str] = (EXPLICIT,)
) -> RetrieveImagingDocumentSetRequest:
    """Each instance in a series of its own of one study."""
    return RetrieveImagingDocumentSetRequest(
        studies=(
            StudyRequest(
                study_instance_uid="2.25.500",
                series=tuple(
                    SeriesRequest(series_instance_uid=f"2.25.{600 + number}", documents=(one,))
                    for number, one in enumerate(asked)
                ),
            ),
        ),
        transfer_syntax_uids=tuple(syntaxes),
    )


def at(home: str, unique_id: str, repository: str = "") -> DocumentRequest:
    """A document of a community; its repository is named after the community."""
    return DocumentRequest(
        home_community_id=home,
        repository_unique_id=repository or f"{home.removeprefix('urn:oid:')}.20",
        document_unique_id=unique_id,
    )


def a_fragment(unique_id: str, **changes: Any) -> bytes:
    """The registered XML of a document entry."""
    return encode_document_entry(a_document_entry(unique_id=unique_id, **changes))


def octets(response: RetrieveDocumentSetResponse) -> dict[str, bytes]:
    """The documents of a response by uniqueId."""
    found = {}
    for document in response.documents:
        content = document.content
        found[document.document_unique_id] = (
            content if isinstance(content, bytes) else content.path.read_bytes()  # type: ignore[union-attr]
        )
    return found


@asynccontextmanager
async def world(
    folder: Path, *, east: Any = None, west: Any = None, tls: TlsSettings | None = None
) -> AsyncIterator[World]:
    """The two communities; `east` and `west` are further settings of their gateways."""
    async with AsyncExitStack() as stack:
        of_west = await stack.enter_async_context(actors(folder / "west", tls))
        responding = await stack.enter_async_context(
            gateway(folder / "west", WEST, of_west, tls, **(west or {}))
        )
        of_east = await stack.enter_async_context(actors(folder / "east", tls))
        settings = {"communities": {WEST: responding.responding}, **(east or {})}
        initiating = await stack.enter_async_context(gateway(folder / "east", EAST, of_east, tls, **settings))
        http = await stack.enter_async_context(
            http_client(tls or TlsSettings(), peers=(initiating.url, responding.url))
        )
        spool = folder / "received"
        spool.mkdir()
        yield World(of_east, of_west, initiating, responding, SoapClient(http, spool_folder=spool))

"""A whole community for tests: real services as processes on free ports, and what its people do with them.

With TLS every step has mutual certificates and signed assertions, as the demonstration has; without, plain
sockets on loopback. What is done here is done by the product's own commands and consumer library.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pydicom
from lxml import etree
from pynetdicom import AE, _config, build_context

from audit_repository.settings import AuditRepositorySettings
from consumer.domain.clinician import Clinician
from consumer.imaging_document_consumer import ImagingDocumentConsumer, open_consumer
from consumer.settings import ConsumerSettings
from imaging_source.settings import ImagingSourceSettings
from registry.settings import RegistrySettings
from repository.settings import RepositorySettings
from shared.audit import syslog
from shared.ebrim.identifiers import CX
from shared.ebrim.model import Code
from shared.http.client import http_client
from shared.security.issuer import AssertionContent, AssertionIssuer
from shared.security.tls import client_context
from shared.settings import ServiceSettings, TlsSettings
from shared.soap.client import SoapClient
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from shared.soap.transaction import SoapTransaction
from tests.support.metadata import DOMAIN
from xdsi.audit import collect
from xdsi.certificates import Community
from xdsi.consent import ask_registry
from xdsi.import_ import import_files
from xdsi.patient import message, send
from xdsi.publish import publish_studies
from xdsi.services import Service
from xdsi.stage import Stage

ROLES = "2.999.40.1"
SOUTH = "urn:oid:2.999.8"
RADIOLOGIST = Clinician(
    name_id="dr.south",
    roles=(Code("RAD-PHYS", ROLES, "Radiologist"),),
    organization="Hospital South",
    organization_ids=(SOUTH,),
)
CLERK = Clinician(
    name_id="clerk.south",
    roles=(Code("BILLING", ROLES, "Billing clerk"),),
    organization="Hospital South",
    organization_ids=(SOUTH,),
)

SERVICES: dict[Service, type[ServiceSettings]] = {
    Service.AUDIT_REPOSITORY: AuditRepositorySettings,
    Service.REGISTRY: RegistrySettings,
    Service.REPOSITORY: RepositorySettings,
    Service.IMAGING_SOURCE: ImagingSourceSettings,
}


@contextmanager
def running(folder: Path, *, tls: bool = True, **changes: Any) -> Iterator[Stage]:
    """A community that runs; at the end every service must stop in order, with exit status 0."""
    with started(Stage(folder, tls=tls, changes=changes)) as stage:
        yield stage


@contextmanager
def started(stage: Stage) -> Iterator[Stage]:
    """The same for a stage that was made before; its services are started as people start them."""
    try:
        for _ in stage.start():
            pass
        yield stage
    except BaseException:
        stage.stop()
        raise
    statuses = stage.stop()
    assert statuses == [0] * len(SERVICES), f"exit statuses {statuses}: {_last_words(stage)}"


def _last_words(stage: Stage) -> str:
    return "\n".join(f"{member.service}: {member.last_words()}" for _, member in stage.members)


def owner(stage: Stage, service: Service) -> Community:
    """To whom on the stage a service belongs."""
    ours = (Service.AUDIT_REPOSITORY, Service.REGISTRY)
    return stage.community if service in ours else stage.north


def settings_of(stage: Stage, service: Service) -> Any:
    """The settings by which a service runs."""
    return stage.load(SERVICES[service], owner(stage, service))


def cx(patient: str) -> str:
    """The id of a patient in the affinity domain."""
    return str(CX(patient, DOMAIN))


# --- studies -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyFiles:
    """One study on disk: its UID, its patient's id and its files by SOP Instance UID.

    `manifests` are those of its instances that are manifests themselves, which no manifest references.
    """

    uid: str
    patient: str
    files: dict[str, Path] = field(default_factory=dict)
    manifests: set[str] = field(default_factory=set)

    @property
    def shared(self) -> dict[str, Path]:
        """The files of the instances that a manifest of the study must reference."""
        return {uid: path for uid, path in self.files.items() if uid not in self.manifests}

    @property
    def patient_id(self) -> str:
        return cx(self.patient)


def studies_in(folder: Path) -> list[StudyFiles]:
    """The studies below `folder`."""
    found: dict[str, StudyFiles] = {}
    for path in sorted(folder.rglob("*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        of_study = found.setdefault(
            header.StudyInstanceUID, StudyFiles(header.StudyInstanceUID, header.PatientID)
        )
        of_study.files[header.SOPInstanceUID] = path
        if "ConceptNameCodeSequence" in header and header.ConceptNameCodeSequence[0].CodeValue == "113030":
            of_study.manifests.add(header.SOPInstanceUID)
    return list(found.values())


def different(folder: Path, studies: Sequence[StudyFiles]) -> list[str]:
    """Instances of `studies` that are not below `folder`, or not with the same bytes.

    The preamble is not part of an instance and not kept (PS3.10 7.1).
    """
    came = {path.stem: path for path in folder.rglob("*.dcm")}
    return [
        uid
        for study in studies
        for uid, path in study.shared.items()
        if uid not in came or came[uid].read_bytes()[128:] != path.read_bytes()[128:]
    ]


# --- what people do ----------------------------------------------------------------------------------


async def make_known(stage: Stage, *patients: str) -> None:
    """Feed the ids of patients to the registry (ITI-8)."""
    settings = settings_of(stage, Service.REGISTRY)
    for patient in patients:
        await send(settings, "", message("A04", patient=cx(patient)))


async def store(stage: Stage, studies: Sequence[StudyFiles]) -> None:
    """Send studies into the imaging source by STOW-RS."""
    paths = [path for study in studies for path in study.files.values()]
    imported = await import_files(settings_of(stage, Service.IMAGING_SOURCE), paths)
    assert imported.refused == {}
    assert imported.stored == {uid for study in studies for uid in study.files}


def c_store(stage: Stage, paths: Sequence[Path]) -> dict[str, int]:
    """Send instances as a modality does, data sets as they are in their files; the status of each, by UID.

    Those of which nothing was heard are left out.
    """
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in paths}
    entity = AE("CT1")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    entity.requested_contexts = [
        build_context(*pair)
        for pair in sorted(
            {(header.SOPClassUID, header.file_meta.TransferSyntaxUID) for header in headers.values()}
        )
    ]
    tls = TlsSettings(**stage.north.settings()["tls"]) if stage.tls else None
    context = (client_context(tls), None) if tls else None
    _config.STORE_SEND_CHUNKED_DATASET = True
    association = entity.associate("127.0.0.1", stage.ports["dimse"], ae_title="XDSI", tls_args=context)
    statuses: dict[str, int] = {}
    try:
        for path, header in headers.items():
            if not association.is_established:
                break
            if (answer := association.send_c_store(path)) and "Status" in answer:
                statuses[header.SOPInstanceUID] = answer.Status
    finally:
        if association.is_established:
            association.release()
    return statuses


async def publish(stage: Stage, *studies: str) -> None:
    """Publish studies, and wait until they are registered."""
    states = await publish_studies(settings_of(stage, Service.IMAGING_SOURCE), studies)
    assert states == dict.fromkeys(studies, "published")


async def permit(stage: Stage, *patients: str, clinician: Clinician = RADIOLOGIST, **more: Any) -> None:
    """Record for each patient that the roles of `clinician` may see everything, for treatment."""
    for patient in patients:
        policy = {
            "patient_id": cx(patient),
            "effect": "permit",
            "roles": [str(role) for role in clinician.roles],
            "purposes": ["TREAT"],
            **more,
        }
        await ask_registry(settings_of(stage, Service.REGISTRY), "set", policy)


@asynccontextmanager
async def consumer_for(
    stage: Stage, clinician: Clinician | None = RADIOLOGIST
) -> AsyncIterator[ImagingDocumentConsumer]:
    """A consumer of Hospital South, working for `clinician`."""
    async with open_consumer(stage.load(ConsumerSettings, stage.south), clinician) as consumer:
        yield consumer


@asynccontextmanager
async def http_of(stage: Stage, who: Community | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client with the certificate of `who` (of South, when not said) for every service."""
    settings = stage.load(ConsumerSettings, who or stage.south)
    peers = [*settings.peers, *(stage.url(name) for name in ("registry", "repository", "source", "audit"))]
    async with http_client(settings.tls, peers=peers) as http:
        yield http


async def call(
    stage: Stage,
    transaction: SoapTransaction[Any, Any],
    url: str,
    request: Any,
    *,
    assertion: bytes | None = None,
    who: Community | None = None,
    message_id: str | None = None,
) -> Any:
    """The answer of a service to one SOAP request of the node of `who`."""
    async with http_of(stage, who) as http:
        client = SoapClient(http, assertion=lambda: assertion, spool_folder=stage.folder)
        return await client.call(
            transaction, url, request, message_id=message_id or f"urn:uuid:{uuid4()}", timeout_seconds=30
        )


# --- the trail ---------------------------------------------------------------------------------------


async def trail(stage: Stage, **wanted: Any) -> list[dict[str, Any]]:
    """The records of the trail as the audit repository shows them, newest first."""
    return await collect(settings_of(stage, Service.AUDIT_REPOSITORY), "", wanted, 100_000)


async def trail_until(
    stage: Stage, holds: Callable[[list[dict[str, Any]]], bool], *, seconds: float = 20, **wanted: Any
) -> list[dict[str, Any]]:
    """The trail once `holds` is true of it; records travel after what they tell of."""
    until = time.monotonic() + seconds
    while True:
        records = await trail(stage, **wanted)
        if holds(records) or time.monotonic() > until:
            return records
        await asyncio.sleep(0.05)


def database_of(stage: Stage, service: Service) -> sqlite3.Connection:
    """The database of a service, to look at."""
    settings = settings_of(stage, service)
    path = settings.folder / f"{settings.folder.name.replace('-', '_')}.sqlite3"
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def audit_messages(stage: Stage) -> list[etree._Element]:
    """Every audit message of the trail, oldest first, as it was sent."""
    with closing(database_of(stage, Service.AUDIT_REPOSITORY)) as database:
        rows = database.execute("SELECT raw FROM audit_record ORDER BY sequence").fetchall()
    return [etree.fromstring(syslog.parse(raw).body) for (raw,) in rows]


# --- messages as they are ----------------------------------------------------------------------------


def assertion_of(
    stage: Stage, clinician: Clinician = RADIOLOGIST, *, provider: Community | None = None, **said: Any
) -> bytes:
    """A signed assertion about `clinician`, by South's provider unless another signs; `said` differs."""
    by = provider or stage.south
    issuer = AssertionIssuer.load(by.issuer, by.provider.key, by.provider.certificate)
    content = {
        "name_id": clinician.name_id,
        "audience": f"urn:oid:{DOMAIN}",
        "roles": clinician.roles,
        "purposes": clinician.purposes,
        "organization": clinician.organization,
        "organization_ids": clinician.organization_ids,
    }
    return issuer.sign(AssertionContent(**content | said))


async def post(
    http: httpx2.AsyncClient,
    transaction: SoapTransaction[Any, Any],
    url: str,
    request: Any,
    *,
    assertion: bytes | None = None,
    message_id: str = "",
) -> httpx2.Response:
    """The HTTP response to one SOAP request."""
    body = transaction.encode_request(request)
    envelope = encode_request(
        transaction.action, message_id or f"urn:uuid:{uuid4()}", url, body.xml, assertion
    )
    content_type, octets = "application/soap+xml; charset=UTF-8", envelope
    if transaction.mtom:
        content_type, pieces = write_package(envelope, body.attachments, action=transaction.action)
        assert all(isinstance(piece, bytes) for piece in pieces)
        octets = b"".join(pieces)  # type: ignore[arg-type]
    return await http.post(url, content=octets, headers={"content-type": content_type})


def envelope_in(response: httpx2.Response) -> etree._Element:
    """The SOAP envelope of a response, MTOM or not."""
    content_type = response.headers["content-type"]
    if not content_type.startswith("multipart/related"):
        return etree.fromstring(response.content)
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    root = next(message_from_bytes(head + response.content, policy=HTTP).iter_parts())
    return etree.fromstring(bytes(root.get_payload(decode=True)))

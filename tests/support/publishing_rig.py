"""Imaging source, repository and registry in one process, over sockets; and what others do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import imaging_source.app
import registry.app
import repository.app
from imaging_source.app import ImagingSource
from imaging_source.domain.examination import Examine
from imaging_source.domain.transfer import Sender
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store import outbox
from imaging_source.store.publications import PublicationState, find_publications, publication
from imaging_source.store.transfers import Transfer
from imaging_source.transactions import rad68
from registry.settings import RegistrySettings
from repository.settings import RepositorySettings
from shared.audit.events import ihe
from shared.dicom.kos import read_manifest
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import AvailabilityStatus, DocumentEntry
from shared.http.client import http_client
from shared.http.server import start_server
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.messages.registrations import PATH
from shared.messages.registry import Status
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from tests.support.dicom import a_ct, part10
from tests.support.imaging_source import cx
from tests.support.updates import a_status, a_version, an_update, new_version
from xdsi.patient import message, send
from xdsi.stage import free_ports

GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
GET_SUBMISSION_SETS = "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
APPROVED, DEPRECATED = str(AvailabilityStatus.APPROVED), str(AvailabilityStatus.DEPRECATED)


@dataclass
class PublishingRig:
    """The three services, and who is known to the registry."""

    source: ImagingSource
    registry_settings: RegistrySettings
    client: SoapClient
    registry_url: str
    repository_url: str
    source_url: str = ""
    patients: set[str] = field(default_factory=set)
    _numbers: int = 1000

    # --- what people do ------------------------------------------------------------------------------

    async def make_known(self, patient: str) -> None:
        """Feed a patient's id."""
        await send(self.registry_settings, "", message("A04", patient=cx(patient)))
        self.patients.add(patient)

    async def merge(self, prior: str, survivor: str) -> None:
        """Merge one patient into another."""
        await send(self.registry_settings, "", message("A40", patient=cx(survivor), prior=cx(prior)))

    async def image(self, study: str, patient: str, **changes: Any) -> str:
        """One more image of a study; its SOP Instance UID."""
        self._numbers += 1
        uid = f"2.25.{self._numbers}"
        await self.keep(a_ct(StudyInstanceUID=study, SOPInstanceUID=uid, PatientID=patient, **changes))
        return uid

    async def keep(self, data_set: Any) -> None:
        """Store an instance as if a modality had sent it."""
        store = self.source.parts.instances
        incoming = store.files.new(max_bytes=10**9)
        incoming.write(part10(data_set))
        came_by = Transfer(
            sender=Sender(transaction=ihe("RAD-18", "Creator Images Stored"), participants=()),
            may_reject=True,
        )
        await store.store_part10(incoming.finish(), came_by)

    async def publish(self, study: str, patient: str = "") -> None:
        """Ask for a study to be published, and send all that can be sent."""
        await rad68.publish(self.source.parts, study, cx(patient) if patient else "")
        await self.settle()

    async def settle(self) -> None:
        """Send what waits until nothing changes any more; pauses are over at once."""
        database = self.source.parts.database
        while True:
            before = await self._states()
            await database.write(
                lambda transaction: transaction.execute(
                    publication.update().where(publication.c.state == PublicationState.WAITING).values(due=0)
                )
            )
            for each in await outbox.lease(database, most=10):
                assert each.attempts < 20, "a publication is sent again and again"
                await rad68.provide(self.source.parts, each)
            after = await self._states()
            if before == after and not any(
                state is PublicationState.WAITING and not errors for _, state, errors in after
            ):
                return

    async def _states(self) -> list[tuple[str, PublicationState, tuple[Any, ...]]]:
        found = await find_publications(self.source.parts.database, limit=1000)
        return [(one.publication_id, one.state, one.errors) for one in found]

    # --- what others do ------------------------------------------------------------------------------

    async def deprecate(self, entry: DocumentEntry) -> None:
        """Deprecate an entry by ITI-57."""
        await self._update(a_status(entry.entry_uuid, APPROVED, DEPRECATED), patient_id=entry.patient_id)

    async def new_version(self, entry: DocumentEntry, **changes: Any) -> None:
        """A new version of an entry by ITI-57."""
        value = new_version(replace(entry, version=1), **changes)
        await self._update(a_version(value, previous=str(entry.version)))

    async def give_away(self, entry: DocumentEntry, patient: str) -> None:
        """A new version of an entry for another patient, which leaves behind what it was appended to."""
        value = new_version(replace(entry, version=1), patient_id=cx(patient))
        await self._update(a_version(value, previous=str(entry.version), propagation="no"))

    async def _update(self, *operations: Any, **changes: Any) -> None:
        request = UpdateRequest.of(an_update(*operations, **changes))
        response = await self.client.call(ITI57, self.registry_url, request, message_id=new_uuid())
        assert response.status is Status.SUCCESS, [error.context for error in response.errors]

    async def remove(self, entry: DocumentEntry) -> None:
        """Remove an entry, with its submission set and what joins them, by ITI-62."""
        ids = [entry.entry_uuid]
        for query_id in (GET_ASSOCIATIONS, GET_SUBMISSION_SETS):
            request = StoredQueryRequest(
                query_id=query_id,
                return_type=ReturnType.OBJECT_REF,
                parameters=encode_parameters({"$uuid": [entry.entry_uuid]}),
            )
            ids += (await self.client.call(ITI18, self.registry_url, request)).objects.object_refs
        request = RemoveMetadataRequest(ids=tuple(dict.fromkeys(ids)))
        removed = await self.client.call(ITI62, self.registry_url, request, message_id=new_uuid())
        assert removed.status is Status.SUCCESS, [error.context for error in removed.errors]

    # --- what is seen --------------------------------------------------------------------------------

    async def approved(self, patient: str, study: str) -> list[DocumentEntry]:
        """The Approved manifests of a study that a query for a patient finds."""
        return [one for one in await self.entries(patient, [APPROVED]) if study in str(one.reference_ids)]

    async def entries(self, patient: str, statuses: Sequence[str]) -> list[DocumentEntry]:
        response = await self.client.call(
            ITI18,
            self.registry_url,
            StoredQueryRequest(
                query_id=FIND_DOCUMENTS,
                return_type=ReturnType.LEAF_CLASS,
                parameters=encode_parameters(
                    {"$XDSDocumentEntryPatientId": cx(patient), "$XDSDocumentEntryStatus": list(statuses)}
                ),
            ),
        )
        assert not response.errors
        return list(response.objects.document_entries)

    async def images_of(self, entry: DocumentEntry) -> set[str]:
        """The SOP Instance UIDs in the manifest of an entry, as the repository gives it."""
        asked = DocumentRequest(
            repository_unique_id=entry.repository_unique_id, document_unique_id=entry.unique_id
        )
        request = RetrieveDocumentSetRequest(documents=(asked,))
        response = await self.client.call(ITI43, self.repository_url, request)
        [document] = response.documents
        octets = await asyncio.to_thread(document.content.path.read_bytes)
        return {instance.sop_instance_uid for _, _, instance in read_manifest(octets).instances}


@asynccontextmanager
async def a_publishing_rig(
    folder: Path,
    *,
    foreign: bool = False,
    storage: Mapping[str, Any] | None = None,
    examine: Examine | None = None,
    **changes: Any,
) -> AsyncIterator[PublishingRig]:
    """All three services, listening on loopback; the source sends when it is told to.

    A `foreign` registry tells publishers what the transactions of IHE tell, and no more. `storage` are
    settings of where repository and source keep their contents, files without; `examine` is what the
    source's page of the doctor has.
    """
    ports = free_ports(4)
    registry_url, repository_url, source_url = (
        f"http://127.0.0.1:{ports[at]}{path}"
        for at, path in enumerate(("/xds/registry", "/xds/repository", ""))
    )
    common = {
        "data": folder,
        "audit": {"url": "tcp://127.0.0.1:1"},
        "registry_url": registry_url,
        "repository_url": repository_url,
    }

    def loaded(kind: Any, port: int, **more: Any) -> Any:
        return kind.load(environ={}, **common, port=port, **more)

    registry_settings = loaded(RegistrySettings, ports[0], mllp_port=ports[3])
    settings = (
        registry_settings,
        loaded(RepositorySettings, ports[1], **(storage or {})),
        loaded(
            ImagingSourceSettings,
            ports[2],
            public_url=source_url,
            dimse_port=0,
            **(dict(storage or {}) | changes),
        ),
    )
    async with AsyncExitStack() as stack:
        services = [
            await registry.app.build(settings[0]),
            await repository.app.build(settings[1]),
            await imaging_source.app.build(settings[2], examine),
        ]
        for service, each in zip(services, settings, strict=True):
            is_foreign = foreign and each is registry_settings
            server = await start_server(without_ours(service.asgi) if is_foreign else service.asgi, each)
            stack.push_async_callback(server.stop, 1)
        for service in services[:2]:
            await service.start()
            stack.push_async_callback(service.stop)
        stack.push_async_callback(_let_go, services[2])
        http = await stack.enter_async_context(
            http_client(TlsSettings(), peers=(registry_url, repository_url, source_url))
        )
        soap = SoapClient(http)
        yield PublishingRig(services[2], registry_settings, soap, registry_url, repository_url, source_url)


def without_ours(asgi: Any) -> Any:
    """A registry as another vendor's: no interface of ours for publishers."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"nothing here"})
            return
        await asgi(scope, receive, send)

    return answer


async def _let_go(source: ImagingSource) -> None:
    await source.publisher.stop()
    await source._transcoder.close()
    await source._http.aclose()
    await source.parts.recorder.close()
    await source.parts.database.close()
    source.parts.instances.files.close()
    source.holds.close()

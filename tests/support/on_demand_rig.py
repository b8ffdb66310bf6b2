"""A repository that can be killed, with a registry and an imaging source, and a study that grows."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx2

from imaging_source.settings import ImagingSourceSettings
from repository.domain.assembly import AssemblyKind
from shared.dicom.kos import read_manifest
from shared.ebrim import schemes
from shared.ebrim.model import AvailabilityStatus, DocumentEntry
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.settings import TlsSettings
from shared.soap.client import PeerError
from shared.soap.mtom import Received
from tests.support.dicom import a_ct, part10
from tests.support.repository_rig import Rig, a_rig, ended, started
from xdsi.import_ import import_files
from xdsi.stage import free_ports

STUDY = "2.25.11"
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
STATUSES = [AvailabilityStatus.APPROVED, AvailabilityStatus.DEPRECATED]


@dataclass(frozen=True, slots=True)
class Answer:
    """A document that was given: under which uniqueId it is kept."""

    unique_id: str
    octets: bytes = field(repr=False)


@dataclass
class OnDemandRig:
    """The services, what was asked of them, and what they acknowledged."""

    rig: Rig
    source: ImagingSourceSettings
    folder: Path
    on_demand: str = ""
    delayed: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1000))

    # --- faults --------------------------------------------------------------------------------------

    @property
    def _control(self) -> Path:
        return self.folder / "fault"

    async def start(self) -> None:
        """Start the repository; nothing is armed."""
        self.disarm()
        assert await self.rig.start(faults={"control": str(self._control)})

    def arm(self, point: str, when: str) -> None:
        """Let the repository die at its next call of a function."""
        written = self._control.with_suffix(".new")
        written.write_text(json.dumps({"point": point, "when": when, "hit": 1}))
        written.rename(self._control)

    def disarm(self) -> None:
        """Let it live."""
        self._control.unlink(missing_ok=True)

    # --- what people do ------------------------------------------------------------------------------

    async def grow(self) -> None:
        """One more image in the study."""
        number = next(self._numbers)
        path = self.folder / f"{number}.dcm"
        path.write_bytes(part10(a_ct(SOPInstanceUID=f"2.25.{number}")))
        imported = await import_files(self.source, [path])
        assert not imported.refused

    async def enter(self, kind: AssemblyKind, patient: str = "P1") -> str:
        """Register an entry of the study for a patient; its uniqueId, or empty when there is no answer."""
        patient_id = f"{patient}^^^&{self.source.affinity_domain}&ISO"
        if patient_id not in self.patients:
            self.patients.append(patient_id)
        asked = {"study_instance_uid": STUDY, "kind": kind, "patient_id": patient_id}
        url = f"http://127.0.0.1:{self.rig.port}/api/entries"
        async with http_client(TlsSettings(), peers=(url,), timeout_seconds=30) as http:
            try:
                answer = await http.post(url, json=asked)
            except httpx2.HTTPError:
                return ""
        assert answer.status_code == httpx2.codes.CREATED, answer.text
        unique_id = str(answer.json()["document_unique_id"])
        if kind is AssemblyKind.DELAYED:
            self.delayed.append(unique_id)
        return unique_id

    async def ask(self, unique_id: str) -> Answer | None:
        """Retrieve a document; what comes is noted, None when the connection broke."""
        asked = DocumentRequest(
            repository_unique_id=self.rig.settings.repository_unique_id, document_unique_id=unique_id
        )
        try:
            response = await self.rig.client.call(
                ITI43, self.rig.url, RetrieveDocumentSetRequest(documents=(asked,))
            )
        except (SoapFault, PeerError):
            return None
        assert not response.errors, [error.context for error in response.errors]
        [document] = response.documents
        octets = document.content
        if isinstance(octets, Received):
            octets = await asyncio.to_thread(octets.path.read_bytes)
        assert isinstance(octets, bytes)
        answer = Answer(document.new_document_unique_id or unique_id, octets)
        self.answers.append(answer)
        return answer

    # --- what must hold ------------------------------------------------------------------------------

    async def entries(self, object_type: str = schemes.STABLE) -> list[DocumentEntry]:
        """All entries of all patients, old ones as well."""
        return [one for patient in self.patients for one in await self._entries_of(patient, object_type)]

    async def _entries_of(self, patient_id: str, object_type: str) -> list[DocumentEntry]:
        response = await self.rig.client.call(
            ITI18,
            f"http://127.0.0.1:{self.rig.between.target}/xds/registry",
            StoredQueryRequest(
                query_id=FIND_DOCUMENTS,
                return_type=ReturnType.LEAF_CLASS,
                parameters=encode_parameters(
                    {
                        "$XDSDocumentEntryPatientId": patient_id,
                        "$XDSDocumentEntryStatus": STATUSES,
                        "$XDSDocumentEntryType": [object_type],
                        "$MetadataLevel": 2,
                    }
                ),
            ),
        )
        assert not response.errors, response.errors
        return list(response.objects.document_entries)

    async def settled(self) -> None:
        """Wait until every registration and every update has an outcome."""
        await self.rig.settled()
        deadline = asyncio.get_running_loop().time() + 20
        while self.rig.rows("SELECT 1 FROM assembly WHERE update_message_id > ''"):
            assert asyncio.get_running_loop().time() < deadline, "an update has no outcome"
            await asyncio.sleep(0.05)

    async def check(self) -> None:
        """0 answers lost or altered, 0 entries without their document, no document twice, one current
        snapshot, and no bytes that nothing refers to."""
        entries = await self.entries()
        await self._check_retrievable(entries)
        approved = [one for one in entries if one.availability_status == AvailabilityStatus.APPROVED]
        delayed = self.delayed_entries(entries)
        current = Counter(one.patient_id for one in approved if one.unique_id not in delayed)
        assert set(current.values()) <= {1}, "two snapshots are current"
        assert len({one.unique_id for one in approved}) == len(approved), "a document is registered twice"
        shown = {one.unique_id for one in entries}
        assert {one.unique_id for one in self.answers} <= shown, "what was given is not registered"
        for answer in set(self.answers):
            again = await self.ask(answer.unique_id)
            assert again == answer, "what was given is lost or altered"
        assert self.rig.rows("PRAGMA integrity_check") == [("ok",)]

    def delayed_entries(self, entries: Sequence[DocumentEntry]) -> set[str]:
        """The uniqueIds of the delayed entries, those whose registration nobody heard of as well."""
        empty = hashlib.sha1(b"", usedforsecurity=False).hexdigest()
        return {one.unique_id for one in entries if one.hash == empty}

    async def _check_retrievable(self, entries: Sequence[DocumentEntry]) -> None:
        delayed = self.delayed_entries(entries)
        for entry in entries:
            if entry.unique_id in delayed:
                continue
            answer = await self.ask(entry.unique_id)
            assert answer is not None
            assert answer.unique_id == entry.unique_id
            assert hashlib.sha1(answer.octets, usedforsecurity=False).hexdigest() == entry.hash
        for unique_id in delayed:
            answer = await self.ask(unique_id)
            assert answer is not None
            assert read_manifest(answer.octets).sop_instance_uid == unique_id
        await self.settled()
        made = {one.unique_id: one for one in await self.entries() if one.version > 1}
        assert made.keys() == delayed, "the registry was not told what was made"
        for answer in self.answers:
            if answer.unique_id in made:
                known = made[answer.unique_id].hash
                assert hashlib.sha1(answer.octets, usedforsecurity=False).hexdigest() == known

    async def swept(self) -> None:
        """Wait until the janitor's round has left no bytes that nothing refers to."""
        assert await self.rig.start(XDSI_GRACE_SECONDS="0")
        deadline = asyncio.get_running_loop().time() + 10
        while self.rig.blobs() != self.rig.wanted():
            assert asyncio.get_running_loop().time() < deadline, "bytes are left that nothing refers to"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def an_on_demand_rig(folder: Path) -> AsyncIterator[OnDemandRig]:
    """The services, a study of one image, its On-Demand entry; the repository runs."""
    [port] = free_ports(1)
    own = {
        "XDSI_IMAGING_SOURCE_URL": f"http://127.0.0.1:{port}/xds/imaging-source",
        "XDSI_IMAGING_SOURCE__PORT": str(port),
        "XDSI_IMAGING_SOURCE__DIMSE_PORT": "0",
        "XDSI_GRACE_SECONDS": "86400",
    }
    async with a_rig(folder, **own) as rig:
        environment = rig.environment | {"XDSI_DATA": str(folder / "source-data")}
        source = await started(folder / "imaging-source.log", "imaging-source", environment=environment)
        try:
            settings = ImagingSourceSettings.load(environ=environment)
            work = OnDemandRig(rig, settings, folder)
            await work.grow()
            await work.start()
            work.on_demand = await work.enter(AssemblyKind.ON_DEMAND)
            yield work
        finally:
            await ended(source)

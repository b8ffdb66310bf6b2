"""People at work on a community: they provide, store, publish, feed, find and retrieve, whatever happens.

What was acknowledged is noted; and what must never be is noted as a violation the moment it is seen: a
visible document that cannot be retrieved, other bytes, a part of a submission, a refusal of what is in order.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import numpy as np
from pydicom.uid import generate_uid

from consumer.settings import ConsumerSettings
from shared.dicom.part10 import scan
from shared.ebrim.model import Code, DocumentEntry
from shared.errors import Actor, Severity, XdsError
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.messages.documents import DocumentRequest, RetrieveDocumentSetResponse
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.soap.client import PeerError, SoapClient
from shared.soap.mtom import Received
from tests.support.community import assertion_of, c_store, cx, settings_of
from tests.support.dicom import a_ct, part10, with_pixels
from tests.support.metadata import a_document_entry, a_folder, a_submission
from xdsi.failures import Failed
from xdsi.import_ import import_files
from xdsi.patient import message, send
from xdsi.services import Service
from xdsi.stage import Stage

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
GET_SUBMISSION_SET_AND_CONTENTS = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
REPORT = Code("urn:ihe:rad:PDF", "1.3.6.1.4.1.19376.1.2.3", "PDF report")
EXPLICIT_LE = "1.2.840.10008.1.2.1"
# "Not now": whoever gets one of these sends the same message again.
PASSING = frozenset({"XDSRegistryNotAvailable", "XDSRegistryBusy", "XDSRepositoryBusy"})
ATTEMPTS = 8


class Away(Exception):
    """The service gave no answer, or one that says "not now"."""


@dataclass
class Sent:
    """One submission that was sent: its documents by uniqueId, and how many objects it has in all."""

    set_unique_id: str
    patient_id: str
    documents: dict[str, bytes]
    objects: int
    acknowledged: bool = False


@dataclass
class SentStudy:
    """One study that was sent: data sets by SOP Instance UID, and what was acknowledged of it."""

    uid: str
    series: str
    patient_id: str
    files: dict[str, Path]
    by_c_store: bool
    stored: set[str] = field(default_factory=set)
    publication: str = ""


class Workload:
    """What people do, with a seeded choice of everything; one for one community."""

    def __init__(self, stage: Stage, http: httpx2.AsyncClient, seed: int) -> None:
        self.stage = stage
        self.choice = random.Random(seed)
        self.folder = stage.folder / "workload"
        self.patients: list[str] = []
        self.submissions: dict[str, Sent] = {}
        self.studies: dict[str, SentStudy] = {}
        self.read: set[str] = set()
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.down: set[Service] = set()
        self.kills: Counter[Service] = Counter()
        self._http = http
        self._soap = SoapClient(http, assertion=self._assertion, spool_folder=self._folder())
        self._signed = assertion_of(stage, lifetime_seconds=3_000) if stage.tls else None
        self._source = settings_of(stage, Service.IMAGING_SOURCE)
        self._registry = settings_of(stage, Service.REGISTRY)
        self._repository_id = settings_of(stage, Service.REPOSITORY).repository_unique_id
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    @asynccontextmanager
    async def on(cls, stage: Stage, seed: int) -> AsyncIterator[Workload]:
        """A workload with connections of its own."""
        settings = stage.load(ConsumerSettings, stage.north)
        async with http_client(settings.tls, peers=settings.peers, timeout_seconds=20) as http:
            yield cls(stage, http, seed)

    def _folder(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def _assertion(self) -> bytes | None:
        return self._signed

    # --- beginning and end ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Let everybody begin."""
        while len(self.patients) < 3:
            await self._feed()
        workers = (self._feeds, *(self._provides,) * 2, self._images, *(self._reads,) * 2)
        self._tasks = [asyncio.create_task(worker()) for worker in workers]

    async def stop(self) -> None:
        """Let everybody end what is in hand."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    def broken(self) -> list[str]:
        """Why the workload itself is of no more use."""
        return [repr(task.exception()) for task in self._tasks if task.done() and task.exception()]

    async def _again(self, work: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self._stopping.is_set():
            await work()
            await asyncio.sleep(pause * self.choice.random())

    # --- patients ------------------------------------------------------------------------------------

    async def _feeds(self) -> None:
        await self._again(self._feed, pause=1.0)

    async def _feed(self) -> None:
        patient = f"K-{uuid4().hex[:12]}"
        for _ in range(ATTEMPTS):
            try:
                await send(self._registry, "", message("A04", patient=cx(patient)))
            except Failed as failed:
                if "refused the message" in str(failed):
                    self.violations.append(f"feed: {failed}")
                self.counts["feed unclear"] += 1
                await asyncio.sleep(0.2)
                continue
            self.patients.append(patient)
            self.counts["fed"] += 1
            return

    # --- documents -----------------------------------------------------------------------------------

    async def _provides(self) -> None:
        await self._again(self._provide, pause=0.1)

    async def _provide(self) -> None:
        patient_id = cx(self.choice.choice(self.patients))
        entries = [
            a_document_entry(patient_id=patient_id, format_code=REPORT, hash="", size=None)
            for _ in range(self.choice.randint(1, 3))
        ]
        contents = [self.choice.randbytes(self._length()) for _ in entries]
        folders = [a_folder(patient_id=patient_id)] if self.choice.random() < 0.3 else []
        submission = a_submission(*entries, folders=folders)
        request = ProvideAndRegisterRequest.of(
            submission,
            tuple(
                ProvidedDocument(id=entry.entry_uuid, content=content)
                for entry, content in zip(entries, contents, strict=True)
            ),
        )
        sent = Sent(
            set_unique_id=submission.submission_set.unique_id,
            patient_id=patient_id,
            documents={entry.unique_id: content for entry, content in zip(entries, contents, strict=True)},
            objects=1 + len(entries) + len(folders) + len(submission.associations),
        )
        self.submissions[sent.set_unique_id] = sent
        await self._sent_until_answered(sent, request)

    def _length(self) -> int:
        return int(10 ** self.choice.uniform(1, 5.5))

    async def _sent_until_answered(self, sent: Sent, request: ProvideAndRegisterRequest) -> None:
        message_id = f"urn:uuid:{uuid4()}"
        # Some senders give up at the first silence; what they sent must be whole or not there.
        attempts = 1 if self.choice.random() < 0.2 else ATTEMPTS
        for _ in range(attempts):
            try:
                response = await self._answer(ITI41, self._repository_url, request, message_id=message_id)
            except Away:
                self.counts["provide unclear"] += 1
                await asyncio.sleep(0.3)
                continue
            if failed := _serious(response.errors):
                self.violations.append(f"ITI-41 of {sent.set_unique_id} refused: {failed}")
            else:
                sent.acknowledged = True
                self.counts["provided"] += 1
            return

    @property
    def _repository_url(self) -> str:
        return self.stage.url("repository", "/xds/repository")

    async def _answer(
        self, transaction: Any, url: str, request: Any, *, message_id: str | None = None
    ) -> Any:
        """The answer; `Away` when there is none, or when it says "not now"."""
        try:
            response = await self._soap.call(
                transaction, url, request, message_id=message_id, timeout_seconds=20
            )
        except PeerError as error:
            raise Away from error
        except SoapFault as fault:
            if fault.code == "Receiver" or getattr(fault, "fault_code", "") == "Receiver":
                raise Away from fault
            self.violations.append(f"{transaction.number}: fault {fault.reason}")
            raise Away from fault
        codes = {error.code_for(Actor.REPOSITORY) for error in _errors(response.errors)}
        if codes and codes <= PASSING:
            raise Away
        return response

    # --- images --------------------------------------------------------------------------------------

    async def _images(self) -> None:
        await self._again(self._image, pause=0.5)

    async def _image(self) -> None:
        study = await asyncio.to_thread(self._new_study)
        self.studies[study.uid] = study
        for _ in range(ATTEMPTS):
            await self._store(study)
            if study.stored == set(study.files):
                break
            self.counts["store unclear"] += 1
            await asyncio.sleep(0.3)
        else:
            return
        self.counts["stored by C-STORE" if study.by_c_store else "stored by STOW"] += 1
        for _ in range(ATTEMPTS):
            if await self._publish(study):
                self.counts["publication taken"] += 1
                return
            self.counts["publish unclear"] += 1
            await asyncio.sleep(0.3)

    def _new_study(self) -> SentStudy:
        uid, series = generate_uid(prefix=None), generate_uid(prefix=None)
        patient = self.choice.choice(self.patients)
        folder = self.folder / uid
        folder.mkdir()
        files = {}
        for number in range(1, self.choice.randint(2, 4)):
            instance = generate_uid(prefix=None)
            image = a_ct(
                SOPInstanceUID=instance,
                StudyInstanceUID=uid,
                SeriesInstanceUID=series,
                PatientID=patient,
                InstanceNumber=number,
            )
            size = self.choice.choice((16, 64, 256))
            pixels = np.frombuffer(self.choice.randbytes(2 * size * size), np.uint16)
            with_pixels(image, pixels.reshape(1, size, size))
            files[instance] = folder / f"{instance}.dcm"
            files[instance].write_bytes(part10(image))
        return SentStudy(uid, series, cx(patient), files, by_c_store=self.choice.random() < 0.3)

    async def _store(self, study: SentStudy) -> None:
        paths = [path for uid, path in study.files.items() if uid not in study.stored]
        if study.by_c_store:
            statuses = await asyncio.to_thread(c_store, self.stage, paths)
            for uid, status in statuses.items():
                if status == 0x0000:
                    study.stored.add(uid)
                elif status >> 8 != 0xA7:
                    self.violations.append(f"C-STORE of {uid} refused: {status:04X}")
            return
        try:
            imported = await import_files(self._source, paths)
        except (Failed, httpx2.HTTPError):
            return
        study.stored |= imported.stored
        for uid, reason in imported.refused.items():
            self.violations.append(f"STOW of {uid} refused: {reason}")

    async def _publish(self, study: SentStudy) -> bool:
        try:
            answer = await self._http.post(
                self.stage.url("source", "/api/publish"), json={"study_instance_uid": study.uid}
            )
        except httpx2.HTTPError:
            return False
        if answer.status_code == 202:
            study.publication = answer.json()["publication_id"]
            return True
        if answer.status_code != 503:
            self.violations.append(f"publishing {study.uid} refused: {answer.status_code} {answer.text}")
        return False

    # --- readers -------------------------------------------------------------------------------------

    async def _reads(self) -> None:
        await self._again(self._read, pause=0.2)

    async def _read(self) -> None:
        task = self.choice.choice(
            (self._read_acknowledged, self._read_patient, self._read_whole, self._read_study)
        )
        try:
            await task()
        except Away:
            self.counts["read unclear"] += 1
            await asyncio.sleep(0.2)

    async def _read_acknowledged(self) -> None:
        """What was acknowledged is found at once, and retrieved."""
        acknowledged = [sent for sent in self.submissions.values() if sent.acknowledged]
        if not acknowledged:
            return
        sent = self.choice.choice(acknowledged)
        found = await self.documents(sent.documents)
        if missing := set(sent.documents) - {entry.unique_id for entry in found}:
            self.violations.append(f"acknowledged and not found: {sorted(missing)}")
        await self.check_bytes(found)
        self.counts["read acknowledged"] += 1

    async def _read_patient(self) -> None:
        """Whatever is visible can be retrieved, acknowledged or not."""
        patient_id = cx(self.choice.choice(self.patients))
        found = await self.find(patient_id)
        await self.check_bytes(self.choice.sample(found, min(5, len(found))))
        self.counts["read patient"] += 1

    async def _read_whole(self) -> None:
        """A submission is there with all of its objects, or not at all."""
        if self.submissions:
            await self.check_whole(self.choice.choice(list(self.submissions.values())))
            self.counts["read whole"] += 1

    async def _read_study(self) -> None:
        """Every instance that was acknowledged is delivered, by RAD-69 as by WADO-RS."""
        stored = [study for study in self.studies.values() if study.stored]
        if stored:
            await self.check_study(self.choice.choice(stored))
            self.counts["read study"] += 1

    async def find(self, patient_id: str) -> list[DocumentEntry]:
        """Every Approved entry of a patient."""
        return await self._query(
            FIND_DOCUMENTS,
            {"$XDSDocumentEntryPatientId": patient_id, "$XDSDocumentEntryStatus": (APPROVED,)},
        )

    async def documents(self, unique_ids: Iterable[str]) -> list[DocumentEntry]:
        """The entries of documents."""
        return await self._query(GET_DOCUMENTS, {"$XDSDocumentEntryUniqueId": tuple(unique_ids)})

    async def _query(self, query_id: str, parameters: dict[str, Any]) -> list[DocumentEntry]:
        objects = await self._objects(query_id, parameters)
        return list(objects.document_entries)

    async def _objects(self, query_id: str, parameters: dict[str, Any]) -> Any:
        request = StoredQueryRequest(
            query_id=query_id, return_type=ReturnType.LEAF_CLASS, parameters=encode_parameters(parameters)
        )
        response = await self._answer(ITI18, self.stage.url("registry", "/xds/registry"), request)
        if failed := _serious(response.errors):
            self.violations.append(f"query {query_id} refused: {failed}")
        return response.objects

    def _with_policies(self) -> Callable[[], bool]:
        """Tells later whether the registry was there all the time: without policies the answer is no."""
        up, kills = Service.REGISTRY not in self.down, self.kills[Service.REGISTRY]
        return lambda: up and kills == self.kills[Service.REGISTRY]

    async def check_whole(self, sent: Sent) -> bool:
        """Whether a submission is registered; a part of it is a violation."""
        found = await self._objects(
            GET_SUBMISSION_SET_AND_CONTENTS, {"$XDSSubmissionSetUniqueId": sent.set_unique_id}
        )
        number = sum(
            map(len, (found.document_entries, found.submission_sets, found.folders, found.associations))
        )
        if number not in (0, sent.objects):
            self.violations.append(f"{number} of {sent.objects} objects of {sent.set_unique_id} are visible")
        return number > 0

    async def check_bytes(self, entries: Sequence[DocumentEntry]) -> None:
        """Each of `entries` is retrieved with the bytes that were sent and the hash that is registered."""
        if not entries:
            return
        asked = tuple(
            DocumentRequest(repository_unique_id=self._repository_id, document_unique_id=entry.unique_id)
            for entry in entries
        )
        decided = self._with_policies()
        response = await self._answer(
            ITI43, self._repository_url, RetrieveDocumentSetRequest(documents=asked)
        )
        came = await asyncio.to_thread(_taken, response)
        if not decided():
            raise Away
        sent = {uid: octets for one in self.submissions.values() for uid, octets in one.documents.items()}
        for error in _errors(response.errors):
            if error.code_for(Actor.REPOSITORY) not in PASSING:
                self.violations.append(f"visible and not retrieved: {error.location}: {error.context}")
        for entry in entries:
            octets = came.get(entry.unique_id)
            if octets is None:
                continue
            if hashlib.sha1(octets, usedforsecurity=False).hexdigest() != entry.hash:
                self.violations.append(f"{entry.unique_id} has another hash than is registered")
            if entry.unique_id in sent and octets != sent[entry.unique_id]:
                self.violations.append(f"{entry.unique_id} has other bytes than were sent")
            self.read.add(entry.unique_id)

    async def check_study(self, study: SentStudy) -> None:
        """Each instance that was acknowledged is delivered as it was sent."""
        stored = sorted(study.stored)
        decided = self._with_policies()
        retrieve = self.choice.choice((self._by_rad69, self._by_wado_rs))
        came = await retrieve(study, stored)
        if not decided():
            raise Away
        for uid in stored:
            if uid not in came:
                self.violations.append(f"instance {uid} was acknowledged and is not delivered")
            elif came[uid] != _data_set(study.files[uid]):
                self.violations.append(f"instance {uid} has another data set than was sent")

    async def _by_rad69(self, study: SentStudy, uids: Sequence[str]) -> dict[str, bytes]:
        location = self._source.retrieve_location_uid
        series = SeriesRequest(
            series_instance_uid=study.series,
            documents=tuple(
                DocumentRequest(repository_unique_id=location, document_unique_id=uid) for uid in uids
            ),
        )
        request = RetrieveImagingDocumentSetRequest(
            studies=(StudyRequest(study_instance_uid=study.uid, series=(series,)),),
            transfer_syntax_uids=(EXPLICIT_LE,),
        )
        url = self.stage.url("source", "/xds/imaging-source")
        response = await self._answer(RAD69, url, request)
        return {
            uid: await asyncio.to_thread(self._data_set_in, octets)
            for uid, octets in (await asyncio.to_thread(_taken, response)).items()
        }

    async def _by_wado_rs(self, study: SentStudy, uids: Sequence[str]) -> dict[str, bytes]:
        came = {}
        for uid in uids:
            path = f"/dicomweb/studies/{study.uid}/series/{study.series}/instances/{uid}"
            try:
                answer = await self._http.get(self.stage.url("source", path), headers=self._wado_headers())
            except httpx2.HTTPError as error:
                raise Away from error
            if answer.status_code == 503:
                raise Away
            if answer.status_code == 200:
                came[uid] = await asyncio.to_thread(self._data_set_in, answer.content)
        return came

    def _wado_headers(self) -> dict[str, str]:
        headers = {"accept": "application/dicom; transfer-syntax=*"}
        if self._signed:
            token = urlsafe_b64encode(self._signed).rstrip(b"=").decode()
            headers["authorization"] = f"Bearer {token}"
        return headers

    def _data_set_in(self, octets: bytes) -> bytes:
        path = self.folder / f"{uuid4()}.dcm"
        path.write_bytes(octets)
        try:
            return _data_set(path)
        finally:
            path.unlink()


def _data_set(path: Path) -> bytes:
    return path.read_bytes()[scan(path).data_set_offset :]


def _errors(errors: Iterable[XdsError]) -> list[XdsError]:
    return [error for error in errors if error.severity is Severity.ERROR]


def _serious(errors: Iterable[XdsError]) -> str:
    return "; ".join(f"{error.code_for(Actor.REPOSITORY)}: {error.context}" for error in _errors(errors))


def _taken(response: RetrieveDocumentSetResponse) -> dict[str, bytes]:
    """The bytes of each document of a response, whose files are then gone."""
    came = {}
    for document in response.documents:
        content = document.content
        if isinstance(content, Received):
            came[document.document_unique_id] = content.path.read_bytes()
            content.path.unlink()
        elif isinstance(content, bytes):
            came[document.document_unique_id] = content
    return came

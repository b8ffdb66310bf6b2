"""Memory does not grow with a document: each transaction that carries bytes, measured on the real process.

The peak of the resident memory is the kernel's own (VmHWM), above what the service held before.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2
import numpy as np
import pytest
from pydicom.uid import generate_uid

from shared.http.multipart import Parts
from shared.http.pieces import FileRange
from shared.messages.documents import DocumentRequest, PartReference
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.soap.client import SoapClient
from shared.soap.envelope import encode_request
from shared.soap.mtom import MtomBody
from shared.soap.package import write_package
from tests.support.community import (
    StudyFiles,
    assertion_of,
    cx,
    http_of,
    make_known,
    running,
    settings_of,
    store,
)
from tests.support.dicom import ENHANCED_CT, a_ct, part10, with_pixels
from tests.support.metadata import a_document_entry, a_submission
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

MEBIBYTE = 1024**2
ALLOWED = 64 * MEBIBYTE
SIZE, LONG_SIZE = 100 * MEBIBYTE, 1024 * MEBIBYTE
PATIENT = "MEMORY-1"
FRAME = 512 * 512 * 2
EXPLICIT_LE = "1.2.840.10008.1.2.1"


@dataclass
class Peak:
    """How far the resident memory of a process rose, in bytes."""

    risen: int = -1


@contextmanager
def peak_of(stage: Stage, service: Service) -> Iterator[Peak]:
    """Measure one service while something happens; reset first, so that only this counts."""
    pid = stage.process(service).pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = _status(pid, "VmRSS")
    peak = Peak()
    yield peak
    peak.risen = max(0, _status(pid, "VmHWM") - before)


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} in the status of {pid}")


@dataclass
class Large:
    """What is sent: a document in a file, and a study of four instances, together as large as it is."""

    size: int
    document: Path
    study: StudyFiles
    series: str
    peaks: dict[str, int] = field(default_factory=dict)
    equal: dict[str, bool] = field(default_factory=dict)


def _written(folder: Path, size: int) -> Large:
    document = folder / "document.bin"
    block = np.random.default_rng(1).bytes(MEBIBYTE)
    with document.open("wb") as file:
        for _ in range(size // MEBIBYTE):
            file.write(block)
    study, series, files = generate_uid(prefix=None), generate_uid(prefix=None), {}
    frames = size // 4 // FRAME
    for number in range(4):
        uid = generate_uid(prefix=None)
        image = a_ct(
            SOPClassUID=ENHANCED_CT,
            SOPInstanceUID=uid,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            PatientID=PATIENT,
            InstanceNumber=number,
            NumberOfFrames=frames,
        )
        with_pixels(image, np.full((frames, 512, 512), number, np.uint16))
        files[uid] = folder / f"{uid}.dcm"
        files[uid].write_bytes(part10(image))
    return Large(size, document, StudyFiles(study, PATIENT, files), series)


@pytest.fixture(scope="module", params=[True, False], ids=["mutual TLS", "plain"])
def measured(
    request: pytest.FixtureRequest, long: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Large]:
    folder = tmp_path_factory.mktemp("large")
    large = _written(folder, LONG_SIZE if long else SIZE)
    with running(
        tmp_path_factory.mktemp("community"), tls=request.param, consent={"default": "permit"}
    ) as stage:
        asyncio.run(_measured(stage, large))
        yield large
    for path in folder.iterdir():
        path.unlink()


async def _measured(stage: Stage, large: Large) -> None:
    """On services that have done nothing before: what they load and make for their first work counts too."""
    await make_known(stage, PATIENT)
    async with http_of(stage, stage.north) as http:
        await _Client(stage, http).everything(large)


class _Client:
    """Sends and takes everything in pieces, and notes how the service fared."""

    def __init__(self, stage: Stage, http: httpx2.AsyncClient) -> None:
        self.stage = stage
        self.http = http
        self.signed = assertion_of(stage) if stage.tls else None
        self.soap = SoapClient(http, assertion=lambda: self.signed, spool_folder=stage.folder)

    async def everything(self, what: Large) -> None:
        with peak_of(self.stage, Service.REPOSITORY) as peak:
            unique_id = await self.provide(what)
        what.peaks["ITI-41"] = peak.risen
        with peak_of(self.stage, Service.REPOSITORY) as peak:
            await self.provide_inline(what)
        what.peaks["ITI-41 inline"] = peak.risen
        with peak_of(self.stage, Service.REPOSITORY) as peak:
            what.equal["ITI-43"] = await self.retrieve(unique_id) == [_digest(what.document)]
        what.peaks["ITI-43"] = peak.risen
        with peak_of(self.stage, Service.IMAGING_SOURCE) as peak:
            await store(self.stage, [what.study])
        what.peaks["RAD-108"] = peak.risen
        expected = sorted(map(_digest, what.study.files.values()))
        with peak_of(self.stage, Service.IMAGING_SOURCE) as peak:
            what.equal["RAD-69"] = sorted(await self.by_rad69(what)) == expected
        what.peaks["RAD-69"] = peak.risen
        with peak_of(self.stage, Service.IMAGING_SOURCE) as peak:
            what.equal["RAD-107"] = sorted(await self.by_wado_rs(what)) == expected
        what.peaks["RAD-107"] = peak.risen

    async def provide(self, what: Large) -> str:
        entry = a_document_entry(patient_id=cx(PATIENT), hash="", size=None)
        content = FileRange(what.document, 0, what.document.stat().st_size)
        response = await self.soap.call(
            ITI41,
            self.stage.url("repository", "/xds/repository"),
            ProvideAndRegisterRequest.of(
                a_submission(entry), (ProvidedDocument(id=entry.entry_uuid, content=content),)
            ),
            timeout_seconds=120,
        )
        assert response.errors == ()
        return entry.unique_id

    async def provide_inline(self, what: Large) -> None:
        """The same in base64 within the message, as senders that optimise nothing write it."""
        entry = a_document_entry(patient_id=cx(PATIENT), hash="", size=None)
        document = ProvidedDocument(id=entry.entry_uuid, content=b"in its place")
        encoded = ITI41.encode_request(ProvideAndRegisterRequest.of(a_submission(entry), (document,)))
        assert isinstance(encoded, MtomBody)
        url = self.stage.url("repository", "/xds/repository")
        envelope = encode_request(ITI41.action, f"urn:uuid:{uuid4()}", url, encoded.xml)
        content_type, pieces = write_package(envelope, (), action=ITI41.action)
        before, after = re.split(rb"<xop:Include[^>]*/>", b"".join(map(bytes, pieces)))  # type: ignore[arg-type]
        length = len(before) + len(after) + (what.document.stat().st_size + 2) // 3 * 4

        async def body() -> AsyncIterator[bytes]:
            yield before
            with what.document.open("rb") as file:
                while octets := await asyncio.to_thread(file.read, 3 * 2**18):
                    yield b64encode(octets)
            yield after

        headers = {"content-type": content_type, "content-length": str(length)}
        answer = await self.http.post(url, content=body(), headers=headers, timeout=120)
        assert answer.status_code == 200
        assert b"ResponseStatusType:Success" in answer.content

    async def retrieve(self, unique_id: str) -> list[str]:
        repository = settings_of(self.stage, Service.REPOSITORY).repository_unique_id
        document = DocumentRequest(repository_unique_id=repository, document_unique_id=unique_id)
        return await self._streamed(
            ITI43,
            self.stage.url("repository", "/xds/repository"),
            RetrieveDocumentSetRequest(documents=(document,)),
        )

    async def by_rad69(self, what: Large) -> list[str]:
        location = settings_of(self.stage, Service.IMAGING_SOURCE).retrieve_location_uid
        series = SeriesRequest(
            series_instance_uid=what.series,
            documents=tuple(
                DocumentRequest(repository_unique_id=location, document_unique_id=uid)
                for uid in what.study.files
            ),
        )
        request = RetrieveImagingDocumentSetRequest(
            studies=(StudyRequest(study_instance_uid=what.study.uid, series=(series,)),),
            transfer_syntax_uids=(EXPLICIT_LE,),
        )
        return await self._streamed(RAD69, self.stage.url("source", "/xds/imaging-source"), request)

    async def _streamed(self, transaction, url: str, request) -> list[str]:
        async with self.soap.stream(transaction, url, request, timeout_seconds=120) as answer:
            assert answer.head.errors == ()
            assert all(isinstance(one.content, PartReference) for one in answer.head.documents)
            return [await _digest_of(part.chunks) async for part in answer.parts]

    async def by_wado_rs(self, what: Large) -> list[str]:
        headers = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        if self.signed:
            token = urlsafe_b64encode(self.signed).rstrip(b"=").decode()
            headers["authorization"] = f"Bearer {token}"
        url = self.stage.url("source", f"/dicomweb/studies/{what.study.uid}")
        async with self.http.stream("GET", url, headers=headers, timeout=120) as answer:
            assert answer.status_code == 200
            boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"')
            parts = Parts(answer.aiter_raw(), boundary)
            return [await _digest_of(part.chunks()) async for part in parts]


async def _digest_of(chunks: AsyncIterator[bytes]) -> str:
    digest = hashlib.sha256()
    async for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize("transaction", ["ITI-41", "ITI-41 inline", "ITI-43", "RAD-108", "RAD-69", "RAD-107"])
def test_the_memory_of_a_service_does_not_grow_with_what_it_carries(measured: Large, transaction: str):
    assert 0 <= measured.peaks[transaction] <= ALLOWED, {
        name: f"{peak / MEBIBYTE:.0f} MiB" for name, peak in measured.peaks.items()
    }


@pytest.mark.parametrize("transaction", ["ITI-43", "RAD-69", "RAD-107"])
def test_and_every_byte_arrives(measured: Large, transaction: str):
    assert measured.equal[transaction]

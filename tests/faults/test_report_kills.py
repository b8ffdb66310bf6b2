"""kill -9 of a source while reports come over MLLP and are registered: each that was acknowledged is there
once, as it was said last."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from shared.hl7v2.mllp import framed
from shared.messages.documents import DocumentRequest
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from tests.support.dicom import a_ct, part10
from tests.support.orders import encapsulated, oru
from tests.support.publishing_rig import APPROVED, PublishingRig, a_publishing_rig
from tests.support.reports import a_pdf
from tests.support.source_process import SourceProcess
from tests.support.waiting import until_true
from xdsi.stage import free_ports

pytestmark = pytest.mark.heavy

PATIENT, STUDY = "P1", "2.25.91"
SHORT_ROUNDS, LONG_ROUNDS = 2, 40


@dataclass
class Department:
    """Sends reports one after the other, each again until it is acknowledged."""

    port: int
    choice: random.Random
    #: What was acknowledged last of each report, by its order.
    said: dict[str, bytes] = field(default_factory=dict)
    numbers: int = 0

    async def report(self) -> None:
        """One more report, or the correction of one."""
        self.numbers += 1
        earlier = list(self.said)
        is_correction = bool(earlier) and self.choice.random() < 0.3
        filler = self.choice.choice(earlier) if is_correction else f"FO-{self.numbers}"
        pdf = a_pdf(f"{filler} as of {self.numbers}")
        octets = oru(
            "C" if is_correction else "F",
            study=STUDY,
            patient=f"{PATIENT}^^^NORTH",
            control_id=f"C{self.numbers}",
            filler=filler,
            observations=[encapsulated(pdf)],
        )
        await until_true(lambda: self._acknowledged(octets), 120)
        self.said[filler] = pdf

    async def _acknowledged(self, octets: bytes) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(framed(octets))
                answer = await reader.readuntil(b"\x1c\r")
            finally:
                writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            return False
        assert b"\rMSA|AA|" in answer, answer
        return True


async def documents(rig: PublishingRig) -> list[bytes]:
    """Every report that a query finds, as the repository gives it."""
    octets = []
    for entry in await rig.entries(PATIENT, [APPROVED]):
        if entry.mime_type == "application/dicom":
            continue
        asked = DocumentRequest(
            repository_unique_id=entry.repository_unique_id, document_unique_id=entry.unique_id
        )
        request = RetrieveDocumentSetRequest(documents=(asked,))
        [document] = (await rig.client.call(ITI43, rig.repository_url, request)).documents
        octets.append(await asyncio.to_thread(document.content.path.read_bytes))
    return octets


@pytest.mark.timeout(3600)
async def test_every_report_that_was_acknowledged_is_there_once(tmp_path: Path, long: bool):
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    choice = random.Random(seed)
    [port] = free_ports(1)
    async with (
        a_publishing_rig(tmp_path / "others") as rig,
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        await rig.make_known(PATIENT)
        source = SourceProcess(
            tmp_path / "source",
            registry_url=rig.registry_url,
            repository_url=rig.repository_url,
            hl7_port=port,
        )
        await asyncio.to_thread(source.start)
        try:
            image = part10(a_ct(StudyInstanceUID=STUDY, PatientID=PATIENT))
            assert await source.store(http, image)
            # The first reports wait for the manifest.
            department = Department(port, choice)
            await department.report()
            published = await http.post(f"{source.base}/api/publish", json={"study_instance_uid": STUDY})
            assert published.status_code == 202

            for _ in range(LONG_ROUNDS if long else SHORT_ROUNDS):
                reporting = asyncio.create_task(_reports(department, choice.randrange(3, 8)))
                await asyncio.sleep(choice.uniform(0.0, 0.3))
                source.process.kill()
                await asyncio.to_thread(source.start)
                await reporting

            async def nothing_waits() -> bool:
                states = {"states": ["waiting", "refused"]}
                told = (await http.post(f"{source.base}/api/reports", json=states)).json()
                return not told["reports"]

            await until_true(nothing_waits, 120)
            assert sorted(await documents(rig)) == sorted(department.said.values())
        finally:
            source.process.kill()


async def _reports(department: Department, number: int) -> None:
    for _ in range(number):
        await department.report()

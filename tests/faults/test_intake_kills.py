"""kill -9 while instances come in: what was acknowledged is there to the byte, and nothing is half there."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from shared.dicom.multipart import closing, content_type, part_head
from tests.support.dicom import a_ct, part10
from tests.support.intake import an_intake

KILLS = 6

# One imaging source's intake, without the services around it; prints its port when it listens.
SOURCE = """
import asyncio, sys
from pathlib import Path
from fastapi import FastAPI
from imaging_source.transactions.rad108 import StowService, router
from shared.audit.recorder import AuditRecorder
from shared.http.server import start_server
from shared.security.authenticator import Authenticator
from tests.support.intake import an_intake

async def main():
    async with an_intake(Path(sys.argv[1])) as intake:
        recorder = AuditRecorder(intake.settings, "imaging_source")
        await intake.store.recover(recorder.record)
        app = FastAPI()
        authenticator = Authenticator(intake.settings)
        app.include_router(router(StowService(
            store=intake.store, authenticator=authenticator, recorder=recorder, settings=intake.settings)))
        server = await start_server(app, intake.settings)
        print(server.port, flush=True)
        await server.wait()

asyncio.run(main())
"""


async def started(folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SOURCE, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, int(await process.stdout.readline())


async def sending(port: int, numbers: range, acknowledged: dict[str, bytes]) -> None:
    """Send one instance after the other, until the other side is gone; note what it acknowledged."""
    headers = {"content-type": content_type("xyz")}
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        for number in numbers:
            uid = f"2.25.{number}"
            octets = part10(a_ct(SOPInstanceUID=uid, PixelData=random.randbytes(20_000)))
            body = part_head("xyz", [("Content-Type", "application/dicom")]) + octets + closing("xyz")
            try:
                answer = await client.post(f"http://127.0.0.1:{port}/studies", content=body, headers=headers)
            except httpx2.TransportError:
                return
            if answer.status_code == 200:
                acknowledged[uid] = octets


@pytest.mark.heavy
async def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path):
    acknowledged: dict[str, bytes] = {}
    for kill in range(KILLS):
        process, port = await started(tmp_path)
        senders = [
            sending(port, range(first, first + 10_000), acknowledged)
            for first in range(1_000_000 + kill * 100_000, 1_040_000 + kill * 100_000, 10_000)
        ]
        running = asyncio.gather(*senders)
        await asyncio.sleep(random.uniform(0.1, 0.6))
        process.send_signal(signal.SIGKILL)
        await running
        await process.communicate()

    async with an_intake(tmp_path) as intake:
        await intake.store.recover(intake.trail.record)
        kept = await intake.store.find_study("2.25.11")

        assert len(acknowledged) > KILLS
        by_uid = {instance.sop_instance_uid: instance for instance in kept}
        assert {uid: by_uid[uid].path.read_bytes() for uid in acknowledged} == acknowledged
        assert intake.incoming == []
        assert {instance.path for instance in kept} == set(intake.kept)
        assert await intake.store.metadata(list(by_uid)) != {}

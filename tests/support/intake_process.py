"""An imaging source's intake as a process, and senders to it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from shared.dicom.multipart import closing, content_type, part_head
from tests.support.dicom import a_ct, part10

# One imaging source's intake, without the services around it; prints its port when it listens.
SOURCE = """
import asyncio, sys
from pathlib import Path
from shared.audit.recorder import AuditRecorder
from shared.http.server import start_server
from tests.support.intake import an_intake, stow_app

async def main():
    async with an_intake(Path(sys.argv[1])) as intake:
        recorder = AuditRecorder(intake.settings, "imaging_source")
        await intake.store.recover(recorder.record)
        server = await start_server(stow_app(intake, recorder), intake.settings)
        print(server.port, flush=True)
        await server.wait()

asyncio.run(main())
"""


async def started(
    folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[asyncio.subprocess.Process, int]:
    """The process and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SOURCE,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | dict(environment or {}),
    )
    assert process.stdout is not None
    return process, int(await process.stdout.readline())


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An instance, and when it was acknowledged; of `time.monotonic_ns`."""

    octets: bytes
    at: int


async def sending(port: int, numbers: range, acknowledged: dict[str, Acknowledged]) -> None:
    """Send one instance after the other, until the other side is gone; note by UID what it acknowledged."""
    url = f"http://127.0.0.1:{port}/dicomweb/studies"
    headers = {"content-type": content_type("xyz")}
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        for number in numbers:
            uid = f"2.25.{number}"
            octets = part10(a_ct(SOPInstanceUID=uid, PixelData=random.randbytes(20_000)))
            body = part_head("xyz", [("Content-Type", "application/dicom")]) + octets + closing("xyz")
            try:
                answer = await client.post(url, content=body, headers=headers)
            except httpx2.TransportError:
                return
            if answer.status_code == 200:
                acknowledged[uid] = Acknowledged(octets, time.monotonic_ns())

"""An imaging source's intake, without the services around it, as a process that prints its port when it
listens: `python -m tests.support.intake_process FOLDER`; and senders to it."""

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

from shared.audit.recorder import AuditRecorder
from shared.dicom.multipart import closing, content_type, part_head
from shared.http.server import start_server
from tests.support.dicom import a_ct, part10
from tests.support.forked import Program, program
from tests.support.intake import an_intake, stow_app


async def main(folder: Path) -> None:
    """Take in instances, until the end."""
    async with an_intake(folder) as intake:
        recorder = AuditRecorder(intake.settings, "imaging_source")
        await intake.store.recover(recorder.record)
        server = await start_server(stow_app(intake, recorder), intake.settings)
        print(server.port, flush=True)
        await server.wait()


async def started(folder: Path, environment: Mapping[str, str] | None = None) -> tuple[Program, int]:
    """The process and its port; what it logs is beside its folder."""
    process = program(
        "tests.support.intake_process",
        str(folder),
        env=os.environ | dict(environment or {}),
        log=folder.with_name("intake.log"),
    )
    assert process.stdout is not None
    return process, int(await asyncio.to_thread(process.stdout.readline))


async def killed(process: Program) -> None:
    """kill -9."""
    process.kill()
    await asyncio.to_thread(process.wait)
    assert process.stdout is not None
    process.stdout.close()


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


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

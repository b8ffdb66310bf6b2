"""Orthanc as a process of its own, with its DICOMweb plugin."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from xdsi.stage import free_ports

ORTHANC = Path("/usr/sbin/Orthanc")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@asynccontextmanager
async def orthanc(
    folder: Path,
    *,
    dimse_port: int = 1,
    dicomweb_url: str = "http://127.0.0.1:1/",
    ports: tuple[int, int] | None = None,
):
    """A running Orthanc that knows us, and a client of its REST API."""
    port, dicom_port = ports or free_ports(2)
    configuration = {
        "Name": "PEER",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": port,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(DICOMWEB)] if DICOMWEB.exists() else [],
        "DicomModalities": {"us": ["XDSI", "127.0.0.1", dimse_port]},
        "DicomWeb": {"Enable": True, "Servers": {"us": {"Url": dicomweb_url, "ChunkedTransfers": True}}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    process = await asyncio.create_subprocess_exec(
        str(ORTHANC),
        str(folder / "orthanc.json"),
        env={**os.environ, "TCP_NODELAY": "1"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False
        ) as client:
            await _ready(client)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _ready(client: httpx2.AsyncClient) -> None:
    for _ in range(200):
        try:
            if (await client.get("/system")).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("Orthanc did not start")

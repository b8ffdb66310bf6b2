"""Imaging sources as processes of their own, on sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from xdsi.community import Process
from xdsi.services import Service
from xdsi.stage import free_ports, write_toml


class SourceProcess:
    """`xdsi serve imaging-source` at a port of its own; `changes` are further settings."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        folder.mkdir(exist_ok=True)
        [port] = free_ports(1)
        settings = {
            "data": str(folder / "data"),
            "port": port,
            "dimse_port": 0,
            # Nobody listens there: the trail stays in its outbox and spool.
            "audit": {"url": "tcp://127.0.0.1:9"},
            "consent": {"source": "none"},
            **changes,
        }
        self.base = f"http://127.0.0.1:{port}"
        self.process = Process(
            Service.IMAGING_SOURCE,
            {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")},
            folder / "imaging-source.log",
            write_toml(folder / "imaging-source.toml", settings),
        )

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self.process.start()
        self.process.wait_ready()

    async def store(self, http: httpx2.AsyncClient, octets: bytes) -> bool:
        """Whether an instance that is sent by STOW-RS is acknowledged; not when nobody is there."""
        try:
            answer = await http.post(
                f"{self.base}/dicomweb/studies",
                content=octets,
                headers={"content-type": "application/dicom"},
            )
        except httpx2.TransportError:
            return False
        return answer.status_code == 200

    async def study(self, http: httpx2.AsyncClient, study: str) -> bytes:
        """Every instance of a study, as WADO-RS gives them; empty when there is none."""
        answer = await http.get(f"{self.base}/dicomweb/studies/{study}", headers={"accept": "*/*"})
        assert answer.status_code in (200, 404), answer.text
        return answer.content if answer.status_code == 200 else b""


@contextmanager
def running_sources(*sources: SourceProcess) -> Iterator[None]:
    """Imaging sources that run; at the end those that live must stop in order, with exit status 0."""
    try:
        for one in sources:
            one.start()
        yield
    except BaseException:
        for one in sources:
            one.process.kill()
        raise
    for one in sources:
        if one.process.running:
            one.process.terminate()
            assert one.process.wait_stopped() == 0, one.process.last_words()

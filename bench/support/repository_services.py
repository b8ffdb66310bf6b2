"""A repository as processes, with what stands around it; run as a program, a registry that does nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.support.peers import wait_for
from bench.support.registry_content import DOMAIN
from xdsi.certificates import Community
from xdsi.community import Process, start_all, stop_all
from xdsi.services import Service
from xdsi.stage import free_ports


@dataclass(frozen=True, slots=True)
class Services:
    """A repository and the registry behind it."""

    data: Path
    port: int
    registry_port: int
    process_id: int


@contextmanager
def services(
    folder: Path,
    *,
    registry_port: int | None = None,
    tls: Community | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Services]:
    """A repository, with a registry of its own unless one listens on `registry_port` already; `settings` are
    further variables."""
    registry, feed, port, audit, syslog = free_ports(5)
    scheme = "https" if tls else "http"
    told = {
        "XDSI_DATA": str(folder / "data"),
        "XDSI_AFFINITY_DOMAIN": DOMAIN,
        "XDSI_PATIENTS": "any",
        "XDSI_XUA": "optional",
        "XDSI_CONSENT__DEFAULT": "permit",
        "XDSI_REGISTRY__PORT": str(registry),
        "XDSI_REGISTRY__MLLP_PORT": str(feed),
        "XDSI_REGISTRY_URL": f"{scheme}://127.0.0.1:{registry_port or registry}/xds/registry",
        "XDSI_REPOSITORY__PORT": str(port),
        "XDSI_AUDIT_REPOSITORY__PORT": str(audit),
        "XDSI_AUDIT_REPOSITORY__SYSLOG_PORT": str(syslog),
        "XDSI_AUDIT__URL": f"{'tls' if tls else 'tcp'}://127.0.0.1:{syslog}",
        **(settings or {}),
    }
    if tls:
        told |= {
            "XDSI_TLS__CERTIFICATE": str(tls.node.certificate),
            "XDSI_TLS__KEY": str(tls.node.key),
            "XDSI_TLS__TRUST": str(tls.trust),
        }
    wanted = [Service.AUDIT_REPOSITORY, Service.REPOSITORY]
    if registry_port is None:
        wanted.insert(1, Service.REGISTRY)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    members = [Process(service, bare | told, folder / f"{service}.log") for service in wanted]
    try:
        list(start_all(members))
        yield Services(folder / "data", port, registry_port or registry, members[-1].pid)
    finally:
        stop_all(members)


@contextmanager
def willing_registry() -> Iterator[int]:
    """A process that answers every ITI-42 with Success and does nothing else; its port."""
    [port] = free_ports(1)
    process = subprocess.Popen([sys.executable, __file__, str(port)])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


class _Willing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = (
            int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0") if found else 0
        )
        if not found or len(body) < length:
            return
        self._received = body[length:]
        message_id = body.partition(b"urn:uuid:")[2][:36]
        answer = _SUCCESS % message_id
        self._transport.write(_SUCCESS_HEAD % len(answer) + answer)


_SUCCESS_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml; charset=UTF-8\r\nContent-Length: %d\r\n\r\n"
)
_SUCCESS = (
    b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    b'xmlns:a="http://www.w3.org/2005/08/addressing"><s:Header>'
    b'<a:Action s:mustUnderstand="1">urn:ihe:iti:2007:RegisterDocumentSet-bResponse</a:Action>'
    b"<a:RelatesTo>urn:uuid:%s</a:RelatesTo></s:Header><s:Body>"
    b'<r:RegistryResponse xmlns:r="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0" '
    b'status="urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"/></s:Body></s:Envelope>'
)


async def _be_willing(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Willing, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_be_willing(int(sys.argv[1])))

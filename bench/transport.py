"""A whole CT study from disk to a client: one multipart of 512 KB files by our server, one file by nginx.

Both send the same bytes over loopback in the same run, in turns; the client only reads. nginx uses sendfile;
with mutual TLS both encrypt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.support.peers import nginx
from bench.support.report import options, show
from shared.http.raw_asgi import FileRange, Receive, Scope, Send, send_pieces
from shared.http.server import run_service
from shared.security.tls import client_context
from shared.settings import ServiceSettings, TlsSettings
from xdsi.certificates import Community, create_community

PART_BYTES = 512 * 1024
PART_HEAD = b"\r\n--boundary\r\nContent-Type: application/dicom\r\nContent-ID: <%08d@xdsi>\r\n\r\n"
TAIL = b"\r\n--boundary--\r\n"


class Study:
    """The service that is measured: one response of many files."""

    def __init__(self, folder: Path, parts: int) -> None:
        self._pieces = pieces_of(folder, parts)

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it."""
        headers = [(b"content-type", b"multipart/related; boundary=boundary")]
        await send_pieces(scope, send, status=200, headers=headers, pieces=self._pieces)

    async def start(self) -> None:
        """Nothing runs beside requests."""

    async def stop(self) -> None:
        """Nothing runs beside requests."""


def pieces_of(folder: Path, parts: int) -> list[bytes | FileRange]:
    """The multipart that the whole study is."""
    pieces: list[bytes | FileRange] = []
    for number in range(parts):
        pieces += [PART_HEAD % number, FileRange(folder / f"{number}.dcm", 0, PART_BYTES)]
    return [*pieces, TAIL]


def prepare(folder: Path, parts: int) -> int:
    """Write the study, and the same bytes as one file; how many they are."""
    with (folder / "whole").open("wb") as whole:
        for number in range(parts):
            content = os.urandom(PART_BYTES)
            (folder / f"{number}.dcm").write_bytes(content)
            whole.write(PART_HEAD % number + content)
        whole.write(TAIL)
        return whole.tell()


def serve(folder: Path, parts: int, tls: TlsSettings) -> None:
    """Run our server; the port is the only thing printed."""

    async def build() -> Study:
        return Study(folder, parts)

    run_service(build, ServiceSettings(tls=tls), on_ready=lambda port: print(port, flush=True))


@contextmanager
def our_server(folder: Path, parts: int, tls: Community | None) -> Iterator[tuple[int, int]]:
    """Our server in a process of its own; its port and process id."""
    command = [sys.executable, __file__, "--serve", str(folder), "--parts", str(parts)]
    if tls is not None:
        command += ["--tls", str(tls.node.certificate), str(tls.node.key), str(tls.trust)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(10)


class Client:
    """Asks again and again on one connection, and throws away what it gets."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        if context is not None:
            self._socket = context.wrap_socket(self._socket)
        self._buffer = bytearray(256 * 1024)

    def seconds(self, path: str, expected_bytes: int) -> float:
        """Seconds from the request to the last byte of the answer."""
        began = time.perf_counter()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        view = memoryview(self._buffer)
        received = self._socket.recv_into(view)
        head, _, _ = bytes(view[:received]).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head[:80]
        left = len(head) + 4 + expected_bytes - received
        while left:
            received = self._socket.recv_into(view)
            assert received, "the connection ended early"
            left -= received
        return time.perf_counter() - began

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def peak_rss_mb(process_id: int) -> float:
    """Most memory that a process held so far."""
    status = Path(f"/proc/{process_id}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare(ours: Client, theirs: Client, size: int, rounds: int) -> tuple[float, float]:
    """Median bytes per second of both, measured in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 2):
        seconds[0].append(ours.seconds("/", size))
        seconds[1].append(theirs.seconds("/whole", size))
    # The first two rounds warm the page cache and the congestion window.
    mine, other = (statistics.median(each[2:]) for each in seconds)
    return size / mine, size / other


def measure(*, short: bool) -> dict[str, dict[str, object]]:
    """All measures by name."""
    parts, rounds = (500, 9) if short else (500, 25)
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        size = prepare(folder, parts)
        community = create_community(folder / "community", "Bench")
        trust = TlsSettings(
            certificate=community.node.certificate, key=community.node.key, trust=community.trust
        )
        context = client_context(trust)
        context.check_hostname = False
        result = {}
        with nginx(folder, community) as (plain_port, tls_port):
            for measure_name, their_port, tls in (
                ("whole study", plain_port, None),
                ("whole study over mutual TLS", tls_port, community),
            ):
                with our_server(folder, parts, tls) as (our_port, process_id):
                    ours = Client(our_port, context if tls else None)
                    theirs = Client(their_port, context if tls else None)
                    mine, other = compare(ours, theirs, size, rounds)
                    ours.close()
                    theirs.close()
                    result[measure_name] = {
                        "value": round(mine / 1e6),
                        "unit": "MB/s",
                        "against": f"nginx, one file of the same bytes: {other / 1e6:.0f} MB/s",
                        "ratio": round(mine / other, 2),
                        "peak_rss_mb": round(peak_rss_mb(process_id), 1),
                    }
        return result


def main() -> None:
    """Measure and print."""
    wanted = options(__doc__, short="fewer rounds")
    wanted.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    wanted.add_argument("--parts", type=int, default=0, help=argparse.SUPPRESS)
    wanted.add_argument("--tls", type=Path, nargs=3, help=argparse.SUPPRESS)
    given = wanted.parse_args()
    if given.serve:
        files = dict(zip(("certificate", "key", "trust"), given.tls or (), strict=False))
        serve(given.serve, given.parts, TlsSettings(**files))
        return
    if shutil.which("nginx") is None:
        raise SystemExit("nginx is not installed; apt install nginx")
    show(measure(short=given.short), as_json=given.json)


if __name__ == "__main__":
    main()

"""A capture of any length is judged in constant memory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conformance.corpus import broken_captures

pytestmark = [pytest.mark.heavy]

MEGABYTE = 1024**2
#: What the judge may take more for a long message than for a short one.
_MORE_KB = 24 * 1024
_PEAK = """
import sys
from pathlib import Path
from conformance.validation import validate
report = validate(Path(sys.argv[1]))
print(report.kind, sorted({one.id for one in report.findings if one.severity == "error"}))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def a_capture(path: Path, transaction: str, megabytes: int) -> None:
    """A transaction whose last document has so many more megabytes, in a part of MTOM."""
    octets = next(one.octets for one in broken_captures.examples() if one.name == transaction)
    # The last multipart message of the capture, which may be its answer.
    start = max(at.start() for at in re.finditer(rb"multipart/related", octets))
    start = max(octets.rfind(b"HTTP/1.1 200", 0, start), 0)
    head, _, body = octets[start:].partition(b"\r\n\r\n")
    boundary = re.search(rb'boundary="?([^";\r\n]+)', head)
    assert boundary is not None
    end = body.rindex(b"\r\n--" + boundary[1] + b"--")
    length = len(body) + megabytes * MEGABYTE
    head = octets[:start] + re.sub(rb"(?i)content-length: *\d+", b"Content-Length: %d" % length, head)
    with path.open("wb") as file:
        file.write(head + b"\r\n\r\n" + body[:end])
        for _ in range(megabytes):
            file.write(os.urandom(MEGABYTE))
        file.write(body[end:])


def judged(path: Path) -> tuple[str, int]:
    """What is told of a capture, and the peak of memory in KB."""
    ran = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, check=True)
    told, peak = ran.stdout.splitlines()
    return told, int(peak)


@pytest.mark.parametrize("transaction", ["ITI-41", "RAD-69"])
def test_a_long_part_takes_no_memory(tmp_path: Path, transaction: str, long: bool):
    short, large = tmp_path / "short.http", tmp_path / "large.http"
    a_capture(short, transaction, 0)
    a_capture(large, transaction, 100 if long else 32)

    (_, usual), (told, peak) = judged(short), judged(large)

    print(f"{large.stat().st_size} bytes: {peak} KB, {usual} KB without the part")
    assert told.startswith("http-capture")
    assert "FILE-002" not in told
    assert peak - usual < _MORE_KB


def _answering(listener: socket.socket, answer: bytes, request_length: int) -> None:
    """Be the system behind the proxy: take a request of this length, and answer."""
    connection, _ = listener.accept()
    with connection:
        while request_length:
            request_length -= len(connection.recv(min(MEGABYTE, request_length)))
        connection.sendall(answer)


def _as_sent(message: bytes) -> bytes:
    """With its length, as it is on a wire."""
    head, _, body = message.partition(b"\r\n\r\n")
    return b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def recorded(capture: Path, folder: Path) -> tuple[str, int]:
    """What `xdsi record` tells of an exchange that passes through it, and its peak of memory in KB."""
    octets = capture.read_bytes()
    at = octets.index(b"HTTP/1.1 200")
    request, answer = _as_sent(octets[:at]), _as_sent(octets[at:])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        system = threading.Thread(target=_answering, args=(listener, answer, len(request)))
        system.start()
        command = [sys.executable, "-m", "xdsi", "record", "--listen", "http://127.0.0.1:0", "--out", folder]
        command += ["--target", f"http://127.0.0.1:{listener.getsockname()[1]}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = re.search(r"port (\d+) leads to", process.stdout.readline())
            assert port is not None
            with socket.create_connection(("127.0.0.1", int(port[1]))) as connection:
                connection.sendall(request)
                while connection.recv(MEGABYTE):
                    pass
            title = process.stdout.readline()
            status = Path(f"/proc/{process.pid}/status").read_text("ascii")
            process.send_signal(signal.SIGINT)
            process.stdout.read()
        system.join()
    (path,) = folder.glob("*.http")
    assert path.stat().st_size >= len(octets)
    return title, int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


@pytest.mark.parametrize("transaction", ["ITI-41", "RAD-69"])
def test_a_long_part_that_passes_the_recording_proxy_takes_no_memory(
    tmp_path: Path, transaction: str, long: bool
):
    short, large = tmp_path / "short.http", tmp_path / "large.http"
    a_capture(short, transaction, 0)
    a_capture(large, transaction, 100 if long else 32)

    (_, usual), (title, peak) = recorded(short, tmp_path / "first"), recorded(large, tmp_path / "second")

    print(f"{large.stat().st_size} bytes: {peak} KB, {usual} KB without the part; {title}")
    assert transaction in title
    assert peak - usual < _MORE_KB

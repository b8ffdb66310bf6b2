"""A capture of any length is judged in constant memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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

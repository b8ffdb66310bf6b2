"""A whole CT study, 500 instances of 512 KB, by C-MOVE to another entity and by C-GET.

Side by side in one run, in turns, over loopback: a real imaging source (consent asked, audit events durable)
and Orthanc, each asked by DCMTK's movescu and getscu; what arrives is thrown away by DCMTK's storescp and by
getscu itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.retrieve import INSTANCES, services, write_study
from bench.support.peers import orthanc, peak_rss_mb, wait_for
from bench.support.report import options, show
from xdsi.community import start_all, stop_all
from xdsi.import_ import send_files
from xdsi.stage import free_ports

# Without it Debian's DCMTK waits 40 ms for an acknowledgement of every PDU.
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@contextmanager
def sink() -> Iterator[int]:
    """A storage SCP that throws away what it is given; its port."""
    [port] = free_ports(1)
    process = subprocess.Popen(
        ["storescp", "--ignore", "--fork", "-aet", "SINK", str(port)],
        env=_ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def seconds(program: str, called: str, port: int, study: str) -> float:
    """Seconds until DCMTK's `program` has had all of the study retrieved."""
    ways = {"movescu": ["-aem", "SINK"], "getscu": ["--ignore"]}
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    began = time.perf_counter()
    told = subprocess.run(
        [program, "-v", "-S", "-aet", "BENCH", "-aec", called, *ways[program], *keys, "127.0.0.1", str(port)],
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    elapsed = time.perf_counter() - began
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    return elapsed


def measure(*, rounds: int) -> dict[str, dict[str, object]]:
    """All measures by name."""
    if not all(map(shutil.which, ("movescu", "getscu", "storescp"))):
        raise SystemExit("DCMTK is not installed; apt install dcmtk")
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name, sink() as sink_port:
        folder = Path(name)
        (folder / "study").mkdir()
        study, _, _, paths = write_study(folder / "study")
        table = {
            "BENCH": {"services": ["move", "get"], "destinations": ["SINK"]},
            "SINK": {"host": "127.0.0.1", "port": sink_port},
        }
        settings, members = services(folder, {"XDSI_APPLICATION_ENTITIES": json.dumps(table)})
        [their_port] = free_ports(1)
        configuration = {
            "DicomPort": their_port,
            "DicomAet": "ORTHANC",
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {"sink": ["SINK", "127.0.0.1", sink_port]},
        }
        try:
            list(start_all(members))
            stored = asyncio.run(send_files(settings, paths))
            assert stored == INSTANCES, f"{stored} instances were stored"
            with orthanc(folder / "orthanc", paths, configuration):
                ports = {"XDSI": settings.dimse_port, "ORTHANC": their_port}
                size = sum(path.stat().st_size for path in paths)
                return _compare(ports, study, size, rounds, members[-1].pid)
        finally:
            stop_all(members)


def _compare(
    ports: dict[str, int], study: str, size: int, rounds: int, process_id: int
) -> dict[str, dict[str, object]]:
    measures: dict[str, dict[str, object]] = {}
    for program, service in (("movescu", "c_move"), ("getscu", "c_get")):
        seen: dict[str, list[float]] = {title: [] for title in ports}
        for number in range(rounds + 1):
            for title, port in ports.items():
                elapsed = seconds(program, title, port, study)
                if number:
                    seen[title].append(size / elapsed)
        ours, theirs = (statistics.median(seen[title]) for title in ports)
        measures[f"ct_{service}_vs_orthanc"] = {
            "value": round(ours / 1e6),
            "unit": "MB/s",
            "against": f"orthanc {theirs / 1e6:.0f} MB/s",
            "ratio": round(ours / theirs, 2),
            "peak_rss_mb": round(peak_rss_mb(process_id), 1),
        }
    return measures


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="fewer rounds").parse_args()
    show(measure(rounds=2 if given.short else 7), as_json=given.json)


if __name__ == "__main__":
    main()

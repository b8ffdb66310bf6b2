"""What consent and audit cost together: a stored query of the registry, and a CT study by WADO-RS.

The same request with consent decided and its event durable, and without either, in turns, to the same
process: answers by the clock, and the processor time of the service for each.

Studies are had by several at once, as queries are; and by one alone, who waits for the disk's sync of the
event before the first octet, next to how long such a sync takes on this disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.registry import CONNECTIONS, PATH, SMALL, Worker, worker
from bench.retrieve import INSTANCES, Client, get, write_study
from bench.support.imaging_source_worker import WITHOUT_TRUST as STUDY_WITHOUT_TRUST
from bench.support.load import Load
from bench.support.peers import processor_seconds
from bench.support.registry_worker import WITHOUT_TRUST
from bench.support.report import Measure, options, show
from imaging_source.settings import ImagingSourceSettings
from xdsi.community import Process, start_all, stop_all
from xdsi.import_ import send_files
from xdsi.services import Service
from xdsi.stage import free_ports

#: How much of the throughput may be lost.
QUERY_SHARE, STUDY_SHARE = 0.25, 0.02
#: Who have the study at the same time.
AT_ONCE = 4
#: An event as it stands in the spool.
_RECORD = b"x" * 2_500
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def _measure(trusted: list[tuple[float, float]], plain: list[tuple[float, float]], allowed: float) -> Measure:
    """Which share trust costs, of pairs of seconds by the clock and of the processor for one answer."""
    pairs = list(zip(trusted, plain, strict=True))
    by_clock, by_processor = (
        statistics.median(1 - other[at] / one[at] for one, other in pairs) for at in (0, 1)
    )
    return {
        "value": round(by_clock * 100, 1),
        "unit": "%",
        "against": f"at most {allowed:.0%}",
        "ratio": round(by_clock / allowed, 2),
        "of_processor_time": f"{by_processor:.1%}",
        "ms_with": round(statistics.median(one for one, _ in trusted) * 1e3, 3),
        "ms_without": round(statistics.median(one for one, _ in plain) * 1e3, 3),
    }


async def of_a_query(of: Worker, *, rounds: int, seconds: float) -> Measure:
    """The share of the throughput of FindDocuments."""
    loads = [await Load.open(of.port, CONNECTIONS, of.queries(path)) for path in (PATH, WITHOUT_TRUST)]
    seen: tuple[list[tuple[float, float]], ...] = ([], [])
    for turn in range(rounds + 1):
        for at in (0, 1) if turn % 2 else (1, 0):
            before = processor_seconds(of.process_id)
            burst = await loads[at].run(seconds)
            used = (processor_seconds(of.process_id) - before) / len(burst.latencies)
            if turn:
                seen[at].append((1 / burst.rate, used))
    for load in loads:
        load.close()
    return _measure(*seen, QUERY_SHARE)


def of_a_study(port: int, process_id: int, study: str, *, rounds: int, at_once: int) -> Measure:
    """The share of the throughput of a whole study, had by so many at the same time."""
    clients = [Client(port) for _ in range(at_once)]
    path = f"/dicomweb/studies/{study}"
    requests = [get(path, _DICOM), get(STUDY_WITHOUT_TRUST + path, _DICOM)]
    seen: tuple[list[tuple[float, float]], ...] = ([], [])
    with ThreadPoolExecutor(at_once) as threads:
        for turn in range(rounds + 1):
            for at in (0, 1) if turn % 2 else (1, 0):
                before, began = processor_seconds(process_id), time.perf_counter()
                list(threads.map(Client.seconds, clients, [requests[at]] * at_once))
                taken = time.perf_counter() - began
                if turn:
                    used = processor_seconds(process_id) - before
                    seen[at].append((taken / at_once, used / at_once))
    for client in clients:
        client.close()
    return _measure(*seen, STUDY_SHARE)


def sync_seconds(folder: Path, rounds: int) -> float:
    """How long this disk takes to make one event durable at the end of a file."""
    taken = []
    with (folder / "syncs").open("wb", buffering=0) as file:
        for _ in range(rounds):
            began = time.perf_counter()
            file.write(_RECORD)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


@contextmanager
def _imaging_source(folder: Path, paths: list[Path]) -> Iterator[tuple[int, int]]:
    """An imaging source with a study, and a registry that it asks for consent: its port and process."""
    registry, feed, audit = free_ports(3)
    url = f"http://127.0.0.1:{registry}/xds/registry"
    told: dict[str, Any] = {
        "data": str(folder / "data"),
        "registry_url": url,
        "dimse_port": free_ports(1)[0],
        "port": free_ports(1)[0],
        "audit": {"url": f"tcp://127.0.0.1:{audit}"},
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")} | {
        "XDSI_DATA": told["data"],
        "XDSI_REGISTRY__PORT": str(registry),
        "XDSI_REGISTRY__MLLP_PORT": str(feed),
        "XDSI_AUDIT__URL": told["audit"]["url"],
    }
    members = [Process(Service.REGISTRY, environment, folder / "registry.log")]
    program = str(Path(__file__).parent / "support" / "imaging_source_worker.py")
    try:
        list(start_all(members))
        with (folder / "source.log").open("wb") as log:
            source = subprocess.Popen(
                [sys.executable, program, json.dumps(told)], stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                assert source.stdout is not None
                if not source.stdout.readline().strip():
                    raise SystemExit((folder / "source.log").read_text()[-2000:])
                settings = ImagingSourceSettings.model_validate(told)
                stored = asyncio.run(send_files(settings, paths))
                assert stored == INSTANCES, f"{stored} instances were stored"
                yield told["port"], source.pid
            finally:
                source.terminate()
                source.wait(30)
    finally:
        stop_all(members)


def measured(*, rounds: int) -> dict[str, Measure]:
    """The shares."""
    found: dict[str, Measure] = {}
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        (folder / "q").mkdir()
        with worker(folder / "q", None, entries=SMALL) as of:
            found["consent and audit of a query"] = asyncio.run(of_a_query(of, rounds=rounds, seconds=1.0))
        (folder / "study").mkdir()
        study, _, _, paths = write_study(folder / "study")
        with _imaging_source(folder, paths) as (port, process_id):
            several, alone = (
                of_a_study(port, process_id, study, rounds=2 * rounds, at_once=at_once)
                for at_once in (AT_ONCE, 1)
            )
        sync_ms = round(sync_seconds(folder, 100) * 1e3, 3)
        found["consent and audit of a study"] = {**several, "at_once": AT_ONCE}
        found["consent and audit of a study alone"] = {**alone, "sync_ms": sync_ms}
    return found


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="5 rounds instead of 25").parse_args()
    show(measured(rounds=5 if given.short else 25), as_json=given.json)


if __name__ == "__main__":
    main()

"""What consent and audit cost together: a stored query of the registry, and a CT study by WADO-RS.

The same request with consent decided and its event made and durable, and without either, in turns, to the
same process: answers by the clock, and the processor time of the service for each. The median of the turns
is told, and between what the middle half of them lies.

Studies are had by several at once, as queries are; and by one alone, who waits for the disk's sync of the
event before the first octet, next to how long such a sync takes on this disk. The processor time of whole
answers is told in ticks of 10 ms, among the hundreds of megabytes that are sent; so what trust takes of it is
measured a second time where the same instances are asked for by who has them already (304), until the events
have gone to an audit repository: that is what it takes by itself, and not what it costs answers that are
given at once. What the repository takes for each, a service of its own, is told apart.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
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
#: How often each of them asks in one turn for what has not changed.
TIMES = 25
#: Within which what was recorded is sent: longer than the source rests between two looks.
_SENT_SECONDS = 0.4
#: An event as it stands in the spool.
_RECORD = b"x" * 2_500
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


#: Seconds for one answer: by the clock, and of the processor.
_Seen = tuple[float, float]


def _share(trusted: list[float], plain: list[float], allowed: float) -> Measure:
    """Which share trust costs by the clock, of seconds with it and without."""
    shares = [1 - other / one for one, other in zip(trusted, plain, strict=True)]
    share = statistics.median(shares)
    return {
        "value": round(share * 100, 1),
        "unit": "%",
        "against": f"at most {allowed:.0%}",
        "ratio": round(share / allowed, 2),
        "middle_half": _middle_half(shares),
        "ms_with": _ms(trusted),
        "ms_without": _ms(plain),
    }


def _median_share(trusted: list[float], plain: list[float]) -> str:
    return f"{statistics.median(1 - other / one for one, other in zip(trusted, plain, strict=True)):.1%}"


def _middle_half(shares: list[float]) -> str:
    first, _, third = statistics.quantiles(shares, n=4)
    return f"{first:.1%} to {third:.1%}"


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 3)


async def of_a_query(of: Worker, *, rounds: int, seconds: float) -> Measure:
    """The share of the throughput of FindDocuments."""
    loads = [await Load.open(of.port, CONNECTIONS, of.queries(path)) for path in (PATH, WITHOUT_TRUST)]
    seen: tuple[list[_Seen], ...] = ([], [])
    for turn in range(rounds + 1):
        for at in (0, 1) if turn % 2 else (1, 0):
            before = processor_seconds(of.process_id)
            burst = await loads[at].run(seconds)
            used = (processor_seconds(of.process_id) - before) / len(burst.latencies)
            if turn:
                seen[at].append((1 / burst.rate, used))
    for load in loads:
        load.close()
    (clock_with, used_with), (clock_without, used_without) = (
        ([one for one, _ in turns], [one for _, one in turns]) for turns in seen
    )
    return {
        **_share(clock_with, clock_without, QUERY_SHARE),
        "of_processor_time": _median_share(used_with, used_without),
    }


def of_a_study(source: _Source, study: str, *, rounds: int, at_once: int) -> Measure:
    """The share of the throughput of a whole study, had by so many at the same time."""
    clients = [Client(source.port) for _ in range(at_once)]
    requests = [get(_path(study, trusted=trusted), _DICOM) for trusted in (True, False)]
    seen: tuple[list[_Seen], ...] = ([], [])
    with ThreadPoolExecutor(at_once) as threads:
        for turn in range(rounds + 1):
            for at in (0, 1) if turn % 2 else (1, 0):
                before, began = processor_seconds(source.pid), time.perf_counter()
                list(threads.map(Client.seconds, clients, [requests[at]] * at_once))
                taken = time.perf_counter() - began
                if turn:
                    used = processor_seconds(source.pid) - before
                    seen[at].append((taken / at_once, used / at_once))
    for client in clients:
        client.close()
    clock_with, clock_without = ([one for one, _ in turns] for turns in seen)
    used_ms = _ms([used for _, used in seen[1]])
    more_ms, repository_ms = _more_for_trust(source, study, turns=max(rounds // 10, 3), at_once=at_once)
    return {
        **_share(clock_with, clock_without, STUDY_SHARE),
        "at_once": at_once,
        "of_processor_time": _median_share(*([used for _, used in turns] for turns in seen)),
        "of_processor_time_by_304": f"{more_ms / (used_ms + more_ms):.1%}",
        "processor_ms_without": used_ms,
        "processor_ms_of_trust": more_ms,
        "audit_repository_ms": repository_ms,
    }


def _path(study: str, *, trusted: bool) -> str:
    return f"{'' if trusted else STUDY_WITHOUT_TRUST}/dicomweb/studies/{study}"


def _more_for_trust(source: _Source, study: str, *, turns: int, at_once: int) -> tuple[float, float]:
    """What trust takes of the processor for one answer in ms, with the sending of its event: in the source,
    and in the audit repository.
    """
    seen: tuple[list[_Seen], ...] = ([], [])
    with ThreadPoolExecutor(at_once) as threads:
        for turn in range(turns + 1):
            for at in (0, 1) if turn % 2 else (1, 0):
                before = [processor_seconds(pid) for pid in (source.pid, source.audit_repository)]
                ask = partial(_ask_for_changes, source.port, _path(study, trusted=at == 0))
                list(threads.map(lambda ask: ask(), [ask] * at_once))
                time.sleep(_SENT_SECONDS)
                after = [processor_seconds(pid) for pid in (source.pid, source.audit_repository)]
                if turn:
                    used, kept = (other - one for one, other in zip(before, after, strict=True))
                    seen[at].append((used / at_once / TIMES, kept / at_once / TIMES))
    return tuple(
        _ms([trusted[of] - plain[of] for trusted, plain in zip(*seen, strict=True)]) for of in (0, 1)
    )


def _ask_for_changes(port: int, path: str) -> None:
    """Ask for a study that is here already, again and again."""
    connection, headers = (
        http.client.HTTPConnection("127.0.0.1", port),
        {"Accept": _DICOM, "If-None-Match": "*"},
    )
    with closing(connection):
        for _ in range(TIMES):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            assert answer.status == HTTPStatus.NOT_MODIFIED, f"the answer is {answer.status}"
            answer.read()


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


@dataclass(frozen=True, slots=True)
class _Source:
    """An imaging source that runs; its process, and that of the audit repository beside it."""

    port: int
    pid: int
    audit_repository: int


@contextmanager
def _imaging_source(folder: Path, paths: list[Path]) -> Iterator[_Source]:
    """An imaging source with a study, a registry that it asks for consent, and who keeps its records."""
    registry, feed, audit, pages = free_ports(4)
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
        "XDSI_AUDIT_REPOSITORY__PORT": str(pages),
        "XDSI_AUDIT_REPOSITORY__SYSLOG_PORT": str(audit),
    }
    members = [
        Process(service, environment, folder / f"{service}.log")
        for service in (Service.AUDIT_REPOSITORY, Service.REGISTRY)
    ]
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
                yield _Source(told["port"], source.pid, members[0].pid)
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
        with _imaging_source(folder, paths) as source:
            several, alone = (
                of_a_study(source, study, rounds=4 * rounds, at_once=at_once) for at_once in (AT_ONCE, 1)
            )
        sync_ms = round(sync_seconds(folder, 100) * 1e3, 3)
        found["consent and audit of a study"] = several
        found["consent and audit of a study alone"] = {**alone, "sync_ms": sync_ms}
    return found


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="10 rounds instead of 40").parse_args()
    show(measured(rounds=10 if given.short else 40), as_json=given.json)


if __name__ == "__main__":
    main()

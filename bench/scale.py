"""What a query and a retrieval take of processors, with 1, 2 and 4 processes, and what that means for hosts.

ITI-18: FindDocuments by 1, 2 and 4 registries on one PostgreSQL. RAD-69: a study by 1, 2 and 4 imaging
sources. Processor time of services, PostgreSQL and load is read from the system. With the times of one
process alone a queueing model predicts the rates of 2 and 4; the ratio is predicted to measured. What a query
takes depends on how many come at once, because one turn of a process answers all that have come, and on
whether processors are shared: one registry alone is asked over as many connections as it will have, on an
idle machine and beside programs that use all processors. Everything is on one machine, load included: rates
are those of its processors, the times per request are what counts.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop

from bench.registry import Worker, served
from bench.retrieve import Client, rad69_request, write_study
from bench.support.load import Load
from bench.support.peers import postgresql
from bench.support.queueing import Visit, simulate
from bench.support.registry_content import fill
from bench.support.report import Measure, options, show
from imaging_source.settings import ImagingSourceSettings
from xdsi.community import Process
from xdsi.import_ import send_files
from xdsi.services import Service
from xdsi.stage import free_ports

PROCESSES = (1, 2, 4)
CONNECTIONS = 24
READERS = 4
INSTANCES = 40
TICKS = os.sysconf("SC_CLK_TCK")
PROCESSORS = os.cpu_count() or 1
SIMULATED_ROUNDS = 30_000

# --- what is told of more hosts: assumptions, each stated in docs/scale.md ---------------------------------
CORES_OF_A_HOST = 8
CORES_OF_A_DATABASE = 16
SERVICE_SHARE, DATABASE_SHARE = 0.7, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One measurement: answers per second, and seconds of processors for each answer."""

    rate: float
    service: float
    database: float
    load: float
    others: float
    """Processors that were at work for somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one process was seen to take: with processors to itself, and where it had to share them."""

    alone: Seen
    crowded: Seen


# --- processor time -----------------------------------------------------------------------------------------


def family(process_id: int) -> Iterator[int]:
    """A process and all that it started."""
    yield process_id
    for task in Path(f"/proc/{process_id}/task").iterdir():
        for child in (task / "children").read_text("ascii").split():
            yield from family(int(child))


def processor_seconds(process_id: int) -> float:
    """What a process and its children used so far, also those that have ended."""
    used = 0
    for each in family(process_id):
        try:
            fields = Path(f"/proc/{each}/stat").read_text("ascii").rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        used += sum(map(int, fields[11:15]))
    return used / TICKS


def _machine_seconds() -> float:
    """What was used of all processors so far, by anybody."""
    fields = list(map(int, Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS


@dataclass(slots=True)
class Meter:
    """Reads what processes use, before and after."""

    services: Sequence[int]
    databases: Sequence[int]

    def read(self) -> tuple[float, float, float, float]:
        """Seconds of services, databases, this process, and everybody."""
        own = os.times()
        return (
            sum(map(processor_seconds, self.services)),
            sum(map(processor_seconds, self.databases)),
            own.user + own.system,
            _machine_seconds(),
        )

    def seen(self, before: tuple[float, ...], answers: int, seconds: float) -> Seen:
        """What was used since `before`."""
        service, database, load, machine = (b - a for a, b in zip(before, self.read(), strict=True))
        return Seen(
            rate=answers / seconds,
            service=service / answers,
            database=database / answers,
            load=load / answers,
            others=max(0.0, machine - service - database - load) / seconds,
        )


# --- ITI-18 -------------------------------------------------------------------------------------------------


async def queried(
    workers: Sequence[Worker], meter: Meter, seconds: float, connections: int = CONNECTIONS
) -> Seen:
    """FindDocuments over so many connections, dealt out evenly."""
    loads = [await Load.open(one.port, connections // len(workers), one.queries()) for one in workers]
    await asyncio.gather(*(load.run(seconds / 4) for load in loads))
    before, began = meter.read(), time.perf_counter()
    bursts = await asyncio.gather(*(load.run(seconds) for load in loads))
    seen = meter.seen(before, sum(len(burst.latencies) for burst in bursts), time.perf_counter() - began)
    for load in loads:
        load.close()
    return seen


_SPIN = "octets = bytearray(8 << 20)\nwhile True: octets[::64].count(1)"


@contextmanager
def crowd() -> Iterator[None]:
    """Programs that use every processor, and its caches."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(PROCESSORS)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


def middle(seen: Sequence[Seen]) -> Seen:
    """The one whose answers took the median of the service's time."""
    return sorted(seen, key=lambda one: one.service)[len(seen) // 2]


def calibrated(worker: Worker, meter: Meter, seconds: float, rounds: int) -> dict[int, Calibration]:
    """What one registry takes for a query, by how many there will be."""
    alone: dict[int, list[Seen]] = {number: [] for number in PROCESSES}
    crowded: dict[int, list[Seen]] = {number: [] for number in PROCESSES}
    for _ in range(rounds):
        for number in PROCESSES:
            share = CONNECTIONS // number
            alone[number].append(uvloop.run(queried([worker], meter, seconds, share)))
            with crowd():
                crowded[number].append(uvloop.run(queried([worker], meter, seconds, share)))
    return {
        number: Calibration(alone=middle(alone[number]), crowded=middle(crowded[number]))
        for number in PROCESSES
    }


def query_ways(seen: Calibration, processes: int) -> list[list[Visit]]:
    """The way of each connection: the load, its registry, a backend of PostgreSQL, the registry again."""
    alone, crowded = seen.alone, seen.crowded
    ways = []
    for number in range(CONNECTIONS):
        registry = f"registry{number % processes}"
        backends = tuple(f"backend{number % processes}.{one}" for one in range(16))
        ways.append(
            [
                Visit(("load",), alone.load, crowded.load),
                Visit((registry,), alone.service / 2, crowded.service / 2),
                Visit(backends, max(alone.database, 1e-6), max(crowded.database, 1e-6)),
                Visit((registry,), alone.service / 2, crowded.service / 2),
            ]
        )
    return ways


def measure_queries(
    folder: Path, entries: int, seconds: float, rounds: int
) -> tuple[dict[int, list[Seen]], dict[int, Calibration], float]:
    """What was seen with each number of registries, in turns; what one of them takes; and the bytes of an
    entry in PostgreSQL."""
    seen: dict[int, list[Seen]] = {number: [] for number in PROCESSES}
    with ExitStack() as stack:
        url = stack.enter_context(postgresql(folder / "cluster"))
        asyncio.run(fill(url, folder / "fill", entries=entries, crowd=False))
        size = float(asyncio.run(_size(url))) / entries
        workers = []
        for number in range(max(PROCESSES)):
            place = folder / f"registry{number}"
            place.mkdir()
            workers.append(stack.enter_context(served(place, url, 1, entries=entries)))
        postmaster = int((folder / "cluster" / "data" / "postmaster.pid").read_text().split()[0])
        for _ in range(rounds):
            for number in PROCESSES:
                some = workers[:number]
                meter = Meter([one.process_id for one in some], [postmaster])
                seen[number].append(uvloop.run(queried(some, meter, seconds)))
        one = calibrated(workers[0], Meter([workers[0].process_id], [postmaster]), seconds / 2, rounds)
    return seen, one, size


async def _size(url: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE")
        size: int = await connection.fetchval(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^(pg_|information_schema)' "
            "AND relkind = 'r'"
        )
        return size
    finally:
        await connection.close()


# --- RAD-69 -------------------------------------------------------------------------------------------------


@contextmanager
def sources(folder: Path, number: int) -> Iterator[tuple[list[ImagingSourceSettings], list[Process]]]:
    """A registry, for consent, and so many imaging sources; who runs is ended at the end."""
    registry, feed, unheard = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    common = {
        "XDSI_REGISTRY_URL": f"http://127.0.0.1:{registry}/xds/registry",
        "XDSI_AUDIT__URL": f"tcp://127.0.0.1:{unheard}",
    }
    own = {"XDSI_REGISTRY__PORT": str(registry), "XDSI_REGISTRY__MLLP_PORT": str(feed)}
    members = [
        Process(
            Service.REGISTRY,
            environment | common | own | {"XDSI_DATA": str(folder / "registry")},
            folder / "registry.log",
        )
    ]
    settings = []
    for at in range(number):
        port, dimse = free_ports(2)
        told = common | {
            "XDSI_DATA": str(folder / f"source{at}"),
            "XDSI_IMAGING_SOURCE__PORT": str(port),
            "XDSI_IMAGING_SOURCE__DIMSE_PORT": str(dimse),
        }
        settings.append(ImagingSourceSettings.load(None, told))
        members.append(Process(Service.IMAGING_SOURCE, environment | told, folder / f"source{at}.log"))
    try:
        for member in members:
            member.start()
            member.wait_ready()
        yield settings, members[1:]
    finally:
        for member in reversed(members):
            member.terminate()
            member.wait_stopped()


def retrieved(ports: Sequence[int], requests: Sequence[bytes], meter: Meter, seconds: float) -> Seen:
    """The study again and again by a few readers, dealt out evenly; an answer is a megabyte."""
    megabytes = [0.0] * READERS
    until = time.perf_counter() + seconds

    def read(reader: int) -> None:
        client = Client(ports[reader % len(ports)])
        while time.perf_counter() < until:
            megabytes[reader] += client.seconds(requests[reader % len(ports)])[1] / 1e6
        client.close()

    before, began = meter.read(), time.perf_counter()
    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for each in readers:
        each.start()
    for each in readers:
        each.join()
    return meter.seen(before, round(sum(megabytes)), time.perf_counter() - began)


def retrieval_ways(seen: Calibration, processes: int) -> list[list[Visit]]:
    """The way of each reader, for a megabyte: its own thread, and its imaging source."""
    return [
        [
            Visit((f"reader{number}",), seen.alone.load),
            Visit((f"source{number % processes}",), seen.alone.service),
        ]
        for number in range(READERS)
    ]


def measure_retrievals(folder: Path, seconds: float, rounds: int) -> dict[int, list[Seen]]:
    """What was seen with each number of imaging sources, in turns."""
    (folder / "study").mkdir()
    study, series, uids, paths = write_study(folder / "study")
    uids, paths = uids[:INSTANCES], paths[:INSTANCES]
    seen: dict[int, list[Seen]] = {number: [] for number in PROCESSES}
    with sources(folder, max(PROCESSES)) as (settings, members):
        for one in settings:
            asyncio.run(send_files(one, paths))
        requests = [
            rad69_request(one.port, study, series, uids, one.retrieve_location_uid) for one in settings
        ]
        ports = [one.port for one in settings]
        retrieved(ports, requests, Meter([], []), seconds / 2)
        for _ in range(rounds):
            for number in PROCESSES:
                meter = Meter([member.pid for member in members[:number]], [])
                seen[number].append(retrieved(ports[:number], requests[:number], meter, seconds))
    return seen


# --- what it means ------------------------------------------------------------------------------------------


def told(
    seen: dict[int, list[Seen]],
    of_one: dict[int, Calibration],
    ways: Callable[[Calibration, int], list[list[Visit]]],
    unit: str,
) -> dict[int, Measure]:
    """By number of processes, what was measured and what the times of one process had predicted."""
    shown: dict[int, Measure] = {}
    for number, of in seen.items():
        one = sorted(of, key=lambda each: each.rate)[len(of) // 2]
        free = PROCESSORS - statistics.median(each.others for each in of)
        predicted = simulate(ways(of_one[number], number), processors=free, rounds=SIMULATED_ROUNDS).rate
        shown[number] = {
            "value": round(one.rate),
            "unit": unit,
            "against": f"predicted {predicted:.0f}",
            "ratio": round(predicted / one.rate, 2),
            "service_ms": round(one.service * 1e3, 3),
            "database_ms": round(one.database * 1e3, 3),
            "load_ms": round(one.load * 1e3, 3),
            "one_alone_ms": round(of_one[number].alone.service * 1e3, 3),
            "one_crowded_ms": round(of_one[number].crowded.service * 1e3, 3),
            "others_processors": round(one.others, 2),
        }
    return shown


def more_hosts(one: Measure, bytes_of_an_entry: float) -> Iterator[str]:
    """What 1, 4 and 16 hosts carry by processors, and what so many entries take of the disk."""
    service, database = float(str(one["service_ms"])) / 1e3, float(str(one["database_ms"])) / 1e3
    most = CORES_OF_A_DATABASE * DATABASE_SHARE / database
    for hosts in (1, 4, 16):
        by_services = hosts * CORES_OF_A_HOST * SERVICE_SHARE / service
        limit = "services" if by_services < most else "PostgreSQL"
        rate = min(by_services, most)
        yield f"{hosts:2} hosts of {CORES_OF_A_HOST} cores: {rate:8.0f} ITI-18/s, limited by {limit}"
    for power in (6, 7, 8, 9):
        yield f"10^{power} entries: {bytes_of_an_entry * 10**power / 1e9:8.1f} GB in PostgreSQL"


def main() -> None:
    """Measure and print."""
    wanted = options(__doc__, short="shorter bursts, fewer rounds, 10,000 entries")
    wanted.add_argument("--entries", type=int, help="entries in the registry (100,000)")
    given = wanted.parse_args()
    entries = given.entries or (10_000 if given.short else 100_000)
    seconds, rounds = (2.0, 3) if given.short else (4.0, 5)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        for part in ("queries", "retrievals"):
            (folder / part).mkdir()
        queries, of_one, size = measure_queries(folder / "queries", entries, seconds, rounds)
        retrievals = measure_retrievals(folder / "retrievals", seconds, rounds)
    by_processes = told(queries, of_one, query_ways, "1/s")
    result = {f"iti18_{number}_registries": one for number, one in by_processes.items()}
    of_source = middle(retrievals[1])
    same = dict.fromkeys(PROCESSES, Calibration(alone=of_source, crowded=of_source))
    for number, one in told(retrievals, same, retrieval_ways, "MB/s").items():
        result[f"rad69_{number}_sources"] = one
    heading = (
        f"{entries} entries of {size:.0f} bytes, {CONNECTIONS} connections, {PROCESSORS} processors; "
        f"load average {os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s"
    )
    show(result, as_json=given.json, heading=heading)
    if not given.json:
        print("\n".join(more_hosts(by_processes[1], size)))


if __name__ == "__main__":
    main()

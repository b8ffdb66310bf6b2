"""The registry's hot path: FindDocuments and registrations on SQLite and PostgreSQL, as fractions of a floor.

The floor is the same request's bytes on the same listener in the same process: parsed, decoded and answered
empty. Bursts of the case stand between bursts of the floor, and the ratio is the median of those of all
rounds. One worker where nothing else is said, 16 connections over loopback; consent, durable audit and a
cached user assertion are on.
Queries go to a fixed hot set of patients and find two or three entries of each; registrations are of one new
entry each, for other patients, by the node of a repository.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvloop

from bench.support.load import Burst, Load
from bench.support.peers import peak_rss_mb, postgresql, processor_seconds
from bench.support.registry_content import (
    CROWD,
    DOMAIN,
    ENTRIES_OF_A_PATIENT,
    ENTRIES_OF_A_THICK_FILE,
    PATH,
    ROLE,
    THICK_FILE,
    fill,
    find_documents,
    patient_name,
    queries,
    registrations,
)
from bench.support.registry_worker import ELEMENT_BY_ELEMENT, FLOOR, QUERY_ONLY, WITHOUT_RIGHTS
from bench.support.report import Measure, options, show
from shared.messages.iti18 import ReturnType
from shared.security.issuer import AssertionContent, AssertionIssuer
from xdsi.certificates import create_community
from xdsi.stage import free_ports, write_toml

CONNECTIONS = 16
SMALL = 10_000
HOT_PATIENTS = 400
ASSERTION_SECONDS = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: entries in the database, rounds, and the seconds of each burst."""

    entries: int
    rounds: int
    burst_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A registry that runs: where it listens, its process, and what its queries carry."""

    port: int
    process_id: int
    assertion: bytes
    entries: int

    @property
    def asked(self) -> list[str]:
        """The hot patients of queries."""
        return self._spread(0)

    @property
    def registered(self) -> list[str]:
        """The hot patients of registrations: others, so that answers do not grow."""
        return self._spread(1)

    def _spread(self, offset: int) -> list[str]:
        patients = self.entries // ENTRIES_OF_A_PATIENT
        step = max(2, patients // HOT_PATIENTS)
        return [patient_name(at) for at in range(offset, patients, step)]

    def queries(self, path: str = PATH) -> Iterator[bytes]:
        """FindDocuments for the hot patients."""
        return queries(path, self.asked, self.assertion)

    def registrations(self, path: str = PATH) -> Iterator[bytes]:
        """Registrations for the other hot patients."""
        return registrations(path, self.registered)

    @property
    def peak_rss_mb(self) -> float:
        """Most memory that it held so far, with its workers'."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children").read_text().split()
        return round(sum(peak_rss_mb(each) for each in (self.process_id, *map(int, children))), 1)


# --- what is measured ---------------------------------------------------------------------------------


@contextmanager
def worker(folder: Path, url: str | None, *, entries: int, crowd: bool = False) -> Iterator[Worker]:
    """A registry with `entries` in its database, with what it is measured against beside it."""
    asyncio.run(fill(url, folder / "registry", entries=entries, crowd=crowd))
    settings, assertion = _settings(folder, url)
    program = str(Path(__file__).parent / "support" / "registry_worker.py")
    with _process(folder, [program, json.dumps(settings)]) as (process_id, said):
        yield Worker(port=int(said), process_id=process_id, assertion=assertion, entries=entries)


@contextmanager
def served(folder: Path, url: str, workers: int, *, entries: int) -> Iterator[Worker]:
    """A registry on a database that is filled, started as in production."""
    settings, assertion = _settings(folder, url)
    config = write_toml(folder / "xdsi.toml", {k: v for k, v in settings.items() if v is not None})
    command = ["-m", "xdsi", "serve", "registry", "--workers", str(workers), "--config", str(config)]
    with _process(folder, command) as (process_id, said):
        port = int(said.rsplit(":", 1)[1])
        yield Worker(port=port, process_id=process_id, assertion=assertion, entries=entries)


def _settings(folder: Path, url: str | None) -> tuple[dict[str, Any], bytes]:
    """Settings of a registry, and an assertion that it believes."""
    community = create_community(folder / "community", "Bench")
    [unheard] = free_ports(1)
    settings: dict[str, Any] = {
        "data": str(folder),
        "database_url": url,
        "port": 0,
        "mllp_port": 0,
        "affinity_domain": DOMAIN,
        "xua": "optional",
        "consent": {"default": "deny"},
        "assertion": {"issuers": {community.issuer: str(community.provider.certificate)}},
        # Nobody listens there: events wait in the spool and in the outbox.
        "audit": {"url": f"tcp://127.0.0.1:{unheard}"},
    }
    issuer = AssertionIssuer.load(community.issuer, community.provider.key, community.provider.certificate)
    assertion = issuer.sign(
        AssertionContent(
            name_id="bench",
            audience=f"urn:oid:{DOMAIN}",
            roles=[ROLE],
            organization="General Hospital",
            lifetime_seconds=ASSERTION_SECONDS,
        )
    )
    return settings, assertion


@contextmanager
def _process(folder: Path, arguments: Sequence[str]) -> Iterator[tuple[int, str]]:
    """A Python program that says one line when it is ready: its process id and the line."""
    log = (folder / "worker.log").open("wb")
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"the registry does not start: {(folder / 'worker.log').read_text()[-2000:]}")
        yield process.pid, line
    finally:
        process.terminate()
        process.wait(30)
        log.close()


async def in_turns(plan: Plan, case: Load, floor: Load) -> tuple[Burst, Burst, list[tuple[Burst, Burst]]]:
    """Bursts of the case between bursts of the floor; the median ones of each, and all pairs."""
    await case.run(plan.burst_seconds)
    await floor.run(plan.burst_seconds)
    pairs = [
        (await case.run(plan.burst_seconds), await floor.run(plan.burst_seconds)) for _ in range(plan.rounds)
    ]
    ordered = [sorted((pair[at] for pair in pairs), key=lambda burst: burst.rate) for at in (0, 1)]
    return ordered[0][len(pairs) // 2], ordered[1][len(pairs) // 2], pairs


async def against_floor(
    plan: Plan, of: Worker, case: Iterator[bytes], floor: Iterator[bytes], *, connections: int = CONNECTIONS
) -> Measure:
    """Answers per second of a case, and which fraction of the floor's they are."""
    loads = [await Load.open(of.port, connections, requests) for requests in (case, floor)]
    ours, theirs, pairs = await in_turns(plan, *loads)
    for load in loads:
        load.close()
    return {
        "value": round(ours.rate),
        "unit": "1/s",
        "against": f"parsed, decoded, answered empty: {theirs.rate:.0f}/s",
        "ratio": round(statistics.median(one.rate / other.rate for one, other in pairs), 3),
        "p50_ms": round(ours.quantile(0.5) * 1e3, 2),
        "p99_ms": round(ours.quantile(0.99) * 1e3, 2),
        "peak_rss_mb": of.peak_rss_mb,
    }


async def rights(plan: Plan, of: Worker) -> Measure:
    """Processor time of a query in microseconds, against the same query where no rights of the node are asked
    for; of one process and by many short bursts in turns, because the difference is less than two starts
    differ by.
    """
    loads = [await Load.open(of.port, CONNECTIONS, of.queries(path)) for path in (PATH, WITHOUT_RIGHTS)]
    pairs = []
    for turn in range(10 * plan.rounds + 1):
        pair = [0.0, 0.0]
        for at in (0, 1) if turn % 2 else (1, 0):
            before = processor_seconds(of.process_id)
            burst = await loads[at].run(plan.burst_seconds / 2)
            pair[at] = (processor_seconds(of.process_id) - before) / len(burst.latencies) * 1e6
        pairs.append(pair)
    for load in loads:
        load.close()
    ratios = [ours / theirs for ours, theirs in pairs[1:]]
    ours, theirs = (statistics.median(pair[at] for pair in pairs) for at in (0, 1))
    return {
        "value": round(ours, 1),
        "unit": "us",
        "against": f"no rights asked for: {theirs:.1f} us",
        "ratio": round(statistics.mean(ratios), 4),
        "standard_error": round(statistics.stdev(ratios) / len(ratios) ** 0.5, 4),
        "peak_rss_mb": of.peak_rss_mb,
    }


async def beside_registrations(plan: Plan, of: Worker) -> Measure:
    """p99 of queries beside 16 durable registrations, against 16 that are only parsed."""
    asking = await Load.open(of.port, CONNECTIONS, of.queries())
    durable = await Load.open(of.port, CONNECTIONS, of.registrations())
    parsed = await Load.open(of.port, CONNECTIONS, of.registrations(FLOOR))
    seen: list[tuple[float, float]] = []
    for _ in range(plan.rounds):
        p99 = []
        for beside in (durable, parsed):
            burst, _ = await asyncio.gather(
                asking.run(2 * plan.burst_seconds), beside.run(2 * plan.burst_seconds)
            )
            p99.append(burst.quantile(0.99))
        seen.append((p99[0], p99[1]))
    for load in (asking, durable, parsed):
        load.close()
    ours, theirs = (statistics.median(each) for each in zip(*seen, strict=True))
    return {
        "value": round(ours * 1e3, 2),
        "unit": "ms",
        "against": f"beside 16 that are parsed and answered empty: {theirs * 1e3:.2f} ms",
        "ratio": round(statistics.median(one / other for one, other in seen), 2),
        "peak_rss_mb": of.peak_rss_mb,
    }


async def at_another_size(plan: Plan, large: Worker, small: Worker) -> Measure:
    """p50 of a query in the large database, against the small one; one connection."""
    loads = [await Load.open(one.port, 1, one.queries()) for one in (large, small)]
    _, _, pairs = await in_turns(plan, *loads)
    for load in loads:
        load.close()
    seen = [(one.quantile(0.5), other.quantile(0.5)) for one, other in pairs]
    ours, theirs = (statistics.median(each) for each in zip(*seen, strict=True))
    return {
        "value": round(ours * 1e3, 3),
        "unit": "ms",
        "against": f"with {small.entries} entries: {theirs * 1e3:.3f} ms",
        "ratio": round(statistics.median(one / other for one, other in seen), 2),
        "peak_rss_mb": large.peak_rss_mb,
    }


async def thick_file(plan: Plan, of: Worker) -> Measure:
    """A thousand entries in one answer, against the same answer built element by element."""
    loads = [
        await Load.open(
            of.port, 1, iter(lambda each=path: find_documents(each, THICK_FILE, of.assertion), None)
        )
        for path in (PATH, ELEMENT_BY_ELEMENT)
    ]
    _, _, pairs = await in_turns(plan, *loads)
    for load in loads:
        load.close()
    seen = [(one.quantile(0.5), other.quantile(0.5)) for one, other in pairs]
    ours, theirs = (statistics.median(each) for each in zip(*seen, strict=True))
    return {
        "value": round(ours * 1e3, 1),
        "unit": "ms",
        "against": f"{ENTRIES_OF_A_THICK_FILE} entries built element by element: {theirs * 1e3:.1f} ms",
        "ratio": round(statistics.median(other / one for one, other in seen), 1),
        "peak_rss_mb": of.peak_rss_mb,
    }


async def too_many_results(plan: Plan, of: Worker, return_type: ReturnType) -> Measure:
    """Seconds until a query about far too much is told so; the ratio is to the 100 ms that it may take."""
    request = find_documents(PATH, CROWD, of.assertion, return_type=return_type)
    load = await Load.open(of.port, 1, iter(lambda: request, None), expected=b"XDSTooManyResults")
    bursts = [await load.run(plan.burst_seconds) for _ in range(plan.rounds)]
    load.close()
    p50 = statistics.median(burst.quantile(0.5) for burst in bursts)
    return {
        "value": round(p50 * 1e3, 1),
        "unit": "ms",
        "against": "100 ms",
        "ratio": round(p50 * 10, 2),
        "peak_rss_mb": of.peak_rss_mb,
    }


async def two_workers(plan: Plan, one: Worker, two: Worker) -> Measure:
    """FindDocuments by two workers, against one; connections are made anew in each round.

    The kernel deals the connections out, not always evenly; and the load takes its share of the processors,
    which two workers have to do without.
    """
    seen: list[tuple[Burst, Burst]] = []
    for at in range(plan.rounds + 1):
        bursts = []
        for of in (two, one):
            load = await Load.open(of.port, CONNECTIONS, of.queries())
            bursts.append(await load.run(plan.burst_seconds))
            load.close()
        if at > 0:
            seen.append((bursts[0], bursts[1]))
    ours, theirs = (
        sorted((pair[at] for pair in seen), key=lambda burst: burst.rate)[len(seen) // 2] for at in (0, 1)
    )
    return {
        "value": round(ours.rate),
        "unit": "1/s",
        "against": f"one worker: {theirs.rate:.0f}/s",
        "ratio": round(statistics.median(mine.rate / other.rate for mine, other in seen), 2),
        "p50_ms": round(ours.quantile(0.5) * 1e3, 2),
        "p99_ms": round(ours.quantile(0.99) * 1e3, 2),
        "peak_rss_mb": two.peak_rss_mb,
    }


def measure_workers(plan: Plan, folder: Path, url: str) -> Measure:
    """Two workers and one, on one database."""
    with ExitStack() as running:
        one, two = (
            running.enter_context(served(folder / f"{number}-workers", url, number, entries=plan.entries))
            for number in (1, 2)
        )
        return uvloop.run(two_workers(plan, one, two))


async def measures_of(plan: Plan, name: str, large: Worker, small: Worker) -> dict[str, Measure]:
    """Everything about one database; what needs peace first, registrations at the end."""
    result = {
        f"find_documents_{name}": await against_floor(plan, large, large.queries(), large.queries(FLOOR)),
        f"find_documents_query_only_{name}": await against_floor(
            plan, large, large.queries(QUERY_ONLY), large.queries(FLOOR)
        ),
        f"find_documents_rights_{name}": await rights(plan, large),
        f"find_documents_p50_large_vs_{SMALL}_{name}": await at_another_size(plan, large, small),
        # By the small one: what builds its answers by elements shall not be in the other's memory.
        f"thousand_entries_{name}": await thick_file(plan, small),
        f"too_many_results_{name}": await too_many_results(plan, large, ReturnType.LEAF_CLASS),
        f"too_many_references_{name}": await too_many_results(plan, large, ReturnType.OBJECT_REF),
        f"register_{name}": await against_floor(
            plan, large, large.registrations(), large.registrations(FLOOR)
        ),
    }
    result[f"query_p99_beside_registrations_{name}"] = await beside_registrations(plan, large)
    return result


def measure(plan: Plan, databases: Sequence[str]) -> dict[str, Measure]:
    """All measures by name."""
    result: dict[str, Measure] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xdsi-bench-")))
        for name in databases:
            with ExitStack() as running:
                workers: list[Worker] = []
                urls: list[str | None] = []
                for size, entries in (("large", plan.entries), ("small", SMALL)):
                    place = folder / f"{name}-{size}"
                    place.mkdir()
                    url = None
                    if name == "postgresql":
                        url = running.enter_context(postgresql(place / "cluster"))
                    workers.append(
                        running.enter_context(worker(place, url, entries=entries, crowd=size == "large"))
                    )
                    urls.append(url)
                if urls[0] is not None:
                    result["two_workers_postgresql"] = measure_workers(plan, folder, urls[0])
                result |= uvloop.run(measures_of(plan, name, *workers))
    return result


def main() -> None:
    """Measure and print."""
    wanted = options(__doc__, short="50,000 entries, and fewer rounds")
    wanted.add_argument("--entries", type=int, help="entries in the database (1,000,000; 10 a patient)")
    wanted.add_argument("--database", choices=("sqlite", "postgresql"), help="only this one")
    given = wanted.parse_args()
    entries = given.entries or (50_000 if given.short else 1_000_000)
    plan = Plan(
        entries=entries,
        rounds=5 if given.short else 11,
        burst_seconds=0.6 if given.short else 1.0,
    )
    began = time.monotonic()
    result = measure(plan, [given.database] if given.database else ["sqlite", "postgresql"])
    heading = (
        f"{entries} entries, {HOT_PATIENTS} hot patients, {CONNECTIONS} connections, one worker; "
        f"load average {os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s"
    )
    show(result, as_json=given.json, heading=heading)


if __name__ == "__main__":
    main()

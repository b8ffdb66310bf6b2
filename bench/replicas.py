"""What read replicas would bring to ITI-18, and what they would cost (docs/decisions/0037).

A query that begins after an acknowledgement has to find what was registered. So whoever asks a replica asks
the primary first how far its log is, and waits at the replica until that is replayed. Measured are a registry
that asks the primary, as it does: what a query takes of the registry and of PostgreSQL, and how many
statements it is. Then that question and that wait, over the same driver: what they take of primary, replica
and asker, and how long they last while registrations come in. Everything is on one machine; what counts are
processor times.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import uvloop

from bench.registry import Worker, served
from bench.scale import Meter, Seen, processor_seconds, queried
from bench.support.load import Burst, Load
from bench.support.peers import postgresql, standby
from bench.support.registry_content import fill
from bench.support.report import Measure, options, show

CONNECTIONS = 24
WRITERS = 4
#: How far the primary's log is on the disk, and on which timeline: what was acknowledged is not beyond it.
_WHERE = "SELECT pg_current_wal_flush_lsn(), pg_walfile_name(pg_current_wal_flush_lsn())"
_REPLAYED = "SELECT pg_last_wal_replay_lsn() >= $1, (SELECT received_tli FROM pg_stat_wal_receiver)"
_STATEMENTS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question for the primary's log and one wait for it, seconds of processors and of the clock."""

    primary: float
    replica: float
    asker: float
    burst: Burst


async def asked_and_awaited(
    primary: Any, replica: Any, seconds: float, processes: tuple[int, int], askers: int
) -> Asked:
    """So many ask and wait at once, each for itself, for so long."""
    burst = Burst()
    primaries = await asyncpg.create_pool(primary, min_size=askers, max_size=askers)
    replicas = await asyncpg.create_pool(replica, min_size=askers, max_size=askers)

    async def asking(until: float) -> None:
        while (began := time.perf_counter()) < until:
            async with primaries.acquire() as connection:
                position, _ = await connection.fetchrow(_WHERE)
            async with replicas.acquire() as connection:
                while not (await connection.fetchrow(_REPLAYED, position))[0]:  # noqa: ASYNC110
                    await asyncio.sleep(0.0005)
            burst.latencies.append(time.perf_counter() - began)

    before = [*map(processor_seconds, processes)]
    own, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(asking(began + seconds) for _ in range(askers)))
    burst.seconds = time.perf_counter() - began
    number = len(burst.latencies)
    used = [after - then for after, then in zip(map(processor_seconds, processes), before, strict=True)]
    asker = time.process_time() - own
    await asyncio.gather(primaries.close(), replicas.close())
    return Asked(primary=used[0] / number, replica=used[1] / number, asker=asker / number, burst=burst)


async def statements_of(url: str) -> int:
    """Transactions of a PostgreSQL so far; each statement of a query is one."""
    connection = await asyncpg.connect(url)
    try:
        # Counts are handed over once a second.
        await asyncio.sleep(1.5)
        return int(await connection.fetchval(_STATEMENTS))
    finally:
        await connection.close()


async def as_it_is(worker: Worker, meter: Meter, url: str, seconds: float) -> tuple[Seen, float]:
    """Queries of the primary, and how many statements each is."""
    await queried([worker], meter, seconds / 4, CONNECTIONS)
    before = await statements_of(url)
    load = await Load.open(worker.port, CONNECTIONS, worker.queries())
    began, used = time.perf_counter(), meter.read()
    burst = await load.run(seconds)
    seen = meter.seen(used, len(burst.latencies), time.perf_counter() - began)
    load.close()
    return seen, (await statements_of(url) - before) / len(burst.latencies)


async def while_registering(
    worker: Worker, urls: tuple[str, str], processes: tuple[int, int], seconds: float
) -> tuple[Asked, Burst]:
    """One who asks and waits while registrations come in."""
    load = await Load.open(worker.port, WRITERS, worker.registrations())
    burst, asked = await asyncio.gather(load.run(seconds), asked_and_awaited(*urls, seconds, processes, 1))
    load.close()
    return asked, burst


def measured(folder: Path, entries: int, seconds: float) -> dict[str, Measure]:
    """All of it, on a primary and a replica below `folder`."""
    with postgresql(folder / "primary") as url:
        asyncio.run(fill(url, folder / "fill", entries=entries, crowd=False))
        with (
            standby(folder / "replica", folder / "primary") as replica,
            served(_made(folder / "registry"), url, 1, entries=entries) as worker,
        ):
            processes = (_postmaster(folder / "primary"), _postmaster(folder / "replica"))
            meter = Meter([worker.process_id], processes[:1])
            seen, statements = uvloop.run(as_it_is(worker, meter, url, seconds))
            many = uvloop.run(asked_and_awaited(url, replica, seconds, processes, CONNECTIONS))
            lag, registered = uvloop.run(while_registering(worker, (url, replica), processes, seconds))
    return told(seen, statements, many, lag, registered)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text("ascii").split("\n", 1)[0])


def told(seen: Seen, statements: float, many: Asked, lag: Asked, registered: Burst) -> dict[str, Measure]:
    """What was seen, and what follows for a query that asks a replica."""
    extra = statements * many.asker
    return {
        "iti18_primary": {
            "value": round(seen.rate), "unit": "1/s", "against": "-", "ratio": None,
            "service_ms": _ms(seen.service), "database_ms": _ms(seen.database),
            "statements": round(statements, 2),
        },
        "question_and_wait": {
            "value": round(many.burst.rate), "unit": "1/s", "against": "a query's share of PostgreSQL",
            "ratio": round(statements * many.primary / seen.database, 2),
            "primary_ms": _ms(many.primary), "replica_ms": _ms(many.replica), "asker_ms": _ms(many.asker),
        },
        "iti18_replica": {
            "value": _ms(seen.service + extra), "unit": "ms", "against": "service_ms of the primary's",
            "ratio": round((seen.service + extra) / seen.service, 2),
            "database_ms": _ms(seen.database + statements * (many.primary + many.replica)),
        },
        "wait_while_registering": {
            "value": _ms(lag.burst.quantile(0.5)), "unit": "ms", "against": "-", "ratio": None,
            "p99_ms": _ms(lag.burst.quantile(0.99)), "most_ms": _ms(max(lag.burst.latencies)),
            "registrations": f"{registered.rate:.0f}/s",
        },
    }  # fmt: skip


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = options(__doc__, short="shorter bursts").parse_args(words)
    began = time.monotonic()
    # No feed has told of those who are registered here.
    os.environ["XDSI_PATIENTS"] = "any"
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        result = measured(Path(name), 10_000, 4.0 if given.short else 15.0)
    heading = f"load average {os.getloadavg()[0]:.1f}, {time.monotonic() - began:.0f} s"
    show(result, as_json=given.json, heading=heading)


if __name__ == "__main__":
    main()

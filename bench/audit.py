"""The audit repository's store: intake by syslog, verification, and a search by patient, on SQLite, or with
--postgresql on PostgreSQL.

Intake is of records that come over plain TCP on several connections, until all of them are durable; beside it
stand how often this disk syncs a block of the size of one batch, and how many records such blocks hold.
Verification recomputes chain, index and signatures of all that was taken in. Processor time is that of the
repository, and beside it that of the process which sends, on the same cores.

With --search a search by patient alone, on PostgreSQL, among records that the database made itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg

from audit_repository.app import AuditRepository, build
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search, Trail
from audit_repository.store.tables import MIGRATIONS
from audit_repository.store.verification import verify
from bench.support.peers import peak_rss_mb, postgresql
from bench.support.report import Measure, options, show
from shared.audit.dicom_xml import encode
from shared.audit.events import (
    QUERY,
    AuditEvent,
    AuditSource,
    Outcome,
    ihe,
    patient_object,
    push_participants,
    query_object,
)
from shared.audit.syslog import frame, message
from shared.http.server import collect_seldom
from shared.security.caller import Caller, Node
from shared.store.opening import open_database

CONNECTIONS = 8
#: Records that the sender makes before it sends them.
AT_ONCE = 50_000
SEARCHES = 200
EVENTS_PER_SECOND = 5_000
RECORDS_PER_MINUTE = 1_000_000 / 60
FIRST_PAGE_MS = 50.0
BLOCK = 256 * 1024
RECORDS_OF_A_PATIENT = 50
_SOURCE = AuditSource(source_id="xdsi-bench", hostname="bench")
_TRANSACTION = ihe("ITI-18", "Registry Stored Query")


def a_message(number: int) -> bytes:
    """The record of a stored query about one of many patients, of 1.6 KB."""
    caller = Caller(node=Node(address="192.0.2.17", subject="CN=bench"), endpoint="https://registry.example/")
    event = AuditEvent(
        event_id=QUERY,
        action="E",
        outcome=Outcome.SUCCESS,
        event_types=(_TRANSACTION,),
        participants=push_participants(caller, server=True),
        objects=(
            patient_object(f"P{number % 20_000}^^^&2.999.1&ISO"),
            query_object("urn:uuid:14d4debf", _TRANSACTION, b"<AdhocQueryRequest/>" * 10),
        ),
    )
    body = encode(event, _SOURCE)
    return message(body, severity=5, time=event.time, hostname="bench", app_name=f"bench-{number}")


@cache
def _frames(first: int, number: int) -> list[bytes]:
    """What each connection sends: messages in octet counting, one after the other."""
    frames = [frame(a_message(first + one)) for one in range(number)]
    return [b"".join(frames[place::CONNECTIONS]) for place in range(CONNECTIONS)]


def _prepared(first: int, number: int) -> None:
    """Keep the records in the sender's process."""
    _frames.cache_clear()
    _frames(first, number)


def _sent(first: int, number: int, port: int) -> float:
    """Send them on all connections at once: seconds of processor that it took."""

    def send(octets: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(octets)

    before = time.process_time()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(send, _frames(first, number)))
    return time.process_time() - before


async def intake(service: AuditRepository, sender: Executor, number: int) -> tuple[float, float, float]:
    """Seconds until so many records that came over the wire were durable, by the clock and of processor: the
    repository's, without the process that reads for it, and the sender's.
    """
    loop, before = asyncio.get_running_loop(), service.trail.sequence
    await loop.run_in_executor(sender, _prepared, before, number)
    began, worked = time.perf_counter(), time.process_time()
    sending = loop.run_in_executor(sender, _sent, before, number, service.syslog.port)
    while service.trail.sequence < before + number:  # noqa: ASYNC110  # the listener's doing
        await asyncio.sleep(0.005)
    return time.perf_counter() - began, time.process_time() - worked, await sending


def reading_seconds(service: AuditRepository) -> float:
    """Seconds of processor that the process took which reads records for the service."""
    if service.reader.pid is None:
        return 0.0
    fields = Path(f"/proc/{service.reader.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def syncs_per_second(folder: Path) -> float:
    """How often this disk makes a block durable, one after the other."""
    block, number = b"x" * BLOCK, 50
    with (folder / "syncs").open("wb") as file:
        began = time.perf_counter()
        for _ in range(number):
            file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
        return number / (time.perf_counter() - began)


async def search_seconds(trail: Trail, patients: int) -> list[float]:
    """How long the first page of a patient takes."""
    seconds = []
    for number in range(SEARCHES):
        patient = f"P{number * 9_973 % patients}^^^&2.999.1&ISO"
        began = time.perf_counter()
        found = await trail.search(Search(patient=patient, limit=100))
        seconds.append(time.perf_counter() - began)
        assert found, f"nothing is found of {patient}"
    return seconds


def first_page(seconds: list[float], records: int) -> Measure:
    """The measure of searches."""
    page = statistics.median(seconds) * 1000
    return {
        "value": round(page, 2),
        "unit": "ms",
        "ratio": round(page / FIRST_PAGE_MS, 3),
        "against": f"{FIRST_PAGE_MS:.0f} ms",
        "p99_ms": round(sorted(seconds)[int(SEARCHES * 0.99)] * 1000, 2),
        "records": records,
    }


async def measured(number: int, database_url: str | None = None) -> dict[str, Measure]:
    """All measures, of a trail with so many records; on SQLite without a URL."""
    with tempfile.TemporaryDirectory() as folder:
        disk = await asyncio.to_thread(syncs_per_second, Path(folder))
        service = await build(
            AuditRepositorySettings(data=Path(folder), database_url=database_url, port=0, syslog_port=0)
        )
        await service.start()
        # As the process of a service does.
        collect_seldom()
        sender = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            parts = [
                await intake(service, sender, min(number - done, AT_ONCE))
                for done in range(0, number, AT_ONCE)
            ]
            seconds, worked, sent = map(sum, zip(*parts, strict=True))
            read = reading_seconds(service)
            searches = await search_seconds(service.trail, min(20_000, number))
            began, before = time.perf_counter(), time.process_time()
            report = await verify(service.trail.database, service.trail.folder)
            verifying, verified_by = time.perf_counter() - began, time.process_time() - before
        finally:
            sender.shutdown()
            await service.stop()
    assert report.problems == []
    rate, verified = number / seconds, report.records / verifying
    rss = peak_rss_mb(os.getpid())
    return {
        "intake": {
            "value": round(rate),
            "unit": "/s",
            "ratio": round(rate / EVENTS_PER_SECOND, 2),
            "against": f"{EVENTS_PER_SECOND} records/s",
            "processor_us": round(worked / number * 1e6),
            "reader_processor_us": round(read / number * 1e6),
            "sender_processor_us": round(sent / number * 1e6),
            "syncs_of_256_KB_per_s": round(disk),
            "records_of_these_per_s": round(disk * BLOCK / len(a_message(0))),
            "peak_rss_mb": rss,
        },
        "verification": {
            "value": round(verified),
            "unit": "/s",
            "ratio": round(verified / RECORDS_PER_MINUTE, 2),
            "against": "1,000,000 records in 60 s",
            "seconds_for_1,000,000": round(1_000_000 / verified),
            "processor_us": round(verified_by / report.records * 1e6, 1),
        },
        "first page of a patient": first_page(searches, number),
    }


async def searched(url: str, folder: Path, number: int) -> dict[str, Measure]:
    """A search by patient among so many records on PostgreSQL."""
    database = await open_database(url, folder=folder, migrations=MIGRATIONS)
    trail = Trail(database, folder, checkpoint_records=1_000, checkpoint_seconds=60)
    patients = number // RECORDS_OF_A_PATIENT
    try:
        await filled(url, folder.name, number, patients)
        seconds = await search_seconds(trail, patients)
    finally:
        await database.close()
    return {"first page of a patient": first_page(seconds, number)}


async def filled(url: str, schema: str, number: int, patients: int) -> None:
    """Let the database make records in the tables of `schema`, however long it takes."""
    connection = await asyncpg.connect(url, server_settings={"search_path": schema})
    try:
        for statement in _made(number, patients):
            await connection.execute(statement, timeout=None)
    finally:
        await connection.close()


def _made(number: int, patients: int) -> Iterator[str]:
    """Statements by which the database makes records: those of a patient lie far apart, as they come.

    Without a log, and each index at once when the rows are there: reading finds the same, hours sooner.
    """
    tables = ("audit_record", "audit_term")
    for table in tables:
        yield f"ALTER TABLE {table} SET UNLOGGED"
        yield f"UPDATE pg_index SET indisready = false WHERE indrelid = '{table}'::regclass"
    numbers = f"generate_series(1, {number}) AS s"
    moment = "to_char(timestamp '2030-05-01' + s * interval '1 second', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    columns = (
        "sequence, partition, received, peer, subject, raw, digest, state, reason, event_time, event, "
        "outcome, terms, chain, fingerprint, standing"
    )
    yield (
        f"INSERT INTO audit_record ({columns}) SELECT s, '2030-05', {moment}, '192.0.2.17', 'CN=bench', "
        f"convert_to(repeat('x', 1600), 'UTF8'), md5(s::text), 'parsed', '', {moment}, '110112', 0, "
        f"'', md5(s::text), '', 'proved' FROM {numbers}"
    )
    for kind, value in (
        ("patient", f"'P' || (s % {patients}) || '^^^&2.999.1&ISO'"),
        ("user", "'u-' || (s % 500)"),
        ("type", "'ITI-18'"),
        ("source", "'xdsi-' || (s % 20)"),
    ):
        yield f"INSERT INTO audit_term (kind, value, sequence) SELECT '{kind}', {value}, s FROM {numbers}"
    yield "SET maintenance_work_mem = '512MB'"
    for table in tables:
        yield f"REINDEX TABLE {table}"
        yield f"VACUUM (ANALYZE) {table}"


def main() -> None:
    """Measure and print."""
    parser = options(__doc__, short="20,000 records instead of 1,000,000; 200,000 instead of 10,000,000")
    parser.add_argument("--postgresql", action="store_true", help="all of it on PostgreSQL")
    parser.add_argument("--search", action="store_true", help="a search on PostgreSQL alone")
    arguments = parser.parse_args()
    records = 20_000 if arguments.short else 1_000_000
    if not arguments.search and not arguments.postgresql:
        show(asyncio.run(measured(records)), as_json=arguments.json)
        return
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        (folder / "trail").mkdir()
        with postgresql(folder / "postgresql") as url:
            if arguments.search:
                number = 200_000 if arguments.short else 10_000_000
                measures = asyncio.run(searched(url, folder / "trail", number))
            else:
                measures = asyncio.run(measured(records, url))
            show(measures, as_json=arguments.json)


if __name__ == "__main__":
    main()

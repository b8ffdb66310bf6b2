"""The audit repository's store: intake by syslog, verification, and a search by patient, on SQLite.

Intake is of records that come over plain TCP on several connections, until all of them are durable; beside it
stands how often this disk syncs a block of the same size as one batch. Verification recomputes chain, index
and signatures of all that was taken in.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from audit_repository.app import AuditRepository, build
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search
from audit_repository.store.verification import verify
from bench.support.peers import peak_rss_mb
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

CONNECTIONS = 8
SEARCHES = 200
EVENTS_PER_SECOND = 5_000
RECORDS_PER_MINUTE = 1_000_000 / 60
FIRST_PAGE_MS = 50.0
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


async def intake(service: AuditRepository, number: int) -> float:
    """Seconds until so many records that came over the wire were durable."""
    frames = await asyncio.to_thread(lambda: [frame(a_message(one)) for one in range(number)])
    before = service.trail.sequence
    began = time.perf_counter()

    async def sent(part: list[bytes]) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", service.syslog.port)
        for at in range(0, len(part), 50):
            writer.write(b"".join(part[at : at + 50]))
            await writer.drain()
        writer.close()

    await asyncio.gather(*(sent(frames[place::CONNECTIONS]) for place in range(CONNECTIONS)))
    while service.trail.sequence < before + number:  # noqa: ASYNC110  # the listener's doing
        await asyncio.sleep(0.005)
    return time.perf_counter() - began


def syncs_per_second(folder: Path) -> float:
    """How often this disk makes 256 KB durable, one after the other."""
    block, number = b"x" * 256 * 1024, 50
    with (folder / "syncs").open("wb") as file:
        began = time.perf_counter()
        for _ in range(number):
            file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
        return number / (time.perf_counter() - began)


async def search_seconds(service: AuditRepository) -> list[float]:
    """How long the first page of a patient takes."""
    seconds = []
    for number in range(SEARCHES):
        began = time.perf_counter()
        await service.trail.search(Search(patient=f"P{number * 97 % 20_000}^^^&2.999.1&ISO", limit=100))
        seconds.append(time.perf_counter() - began)
    return seconds


async def measured(number: int) -> dict[str, Measure]:
    """All measures, of a trail with so many records."""
    with tempfile.TemporaryDirectory() as folder:
        disk = await asyncio.to_thread(syncs_per_second, Path(folder))
        service = await build(AuditRepositorySettings(data=Path(folder), port=0, syslog_port=0))
        await service.start()
        # As the process of a service does.
        collect_seldom()
        try:
            seconds, left = 0.0, number
            while left > 0:
                seconds += await intake(service, min(left, 50_000))
                left -= 50_000
            searches = await search_seconds(service)
            began = time.perf_counter()
            report = await verify(service.trail.database, service.trail.folder)
            verifying = time.perf_counter() - began
        finally:
            await service.stop()
    assert report.problems == []
    rate, verified = number / seconds, report.records / verifying
    page = statistics.median(searches) * 1000
    rss = peak_rss_mb(os.getpid())
    return {
        "intake": {
            "value": round(rate),
            "unit": "/s",
            "ratio": round(rate / EVENTS_PER_SECOND, 2),
            "against": f"{EVENTS_PER_SECOND} records/s",
            "syncs_of_256_KB_per_s": round(disk),
            "peak_rss_mb": rss,
        },
        "verification": {
            "value": round(verified),
            "unit": "/s",
            "ratio": round(verified / RECORDS_PER_MINUTE, 2),
            "against": "1,000,000 records in 60 s",
            "seconds_for_1,000,000": round(1_000_000 / verified),
        },
        "first page of a patient": {
            "value": round(page, 2),
            "unit": "ms",
            "ratio": round(page / FIRST_PAGE_MS, 3),
            "against": f"{FIRST_PAGE_MS:.0f} ms",
            "p99_ms": round(sorted(searches)[int(SEARCHES * 0.99)] * 1000, 2),
            "records": number,
        },
    }


def main() -> None:
    """Measure and print."""
    arguments = options(__doc__, short="20,000 records instead of 1,000,000").parse_args()
    show(asyncio.run(measured(20_000 if arguments.short else 1_000_000)), as_json=arguments.json)


if __name__ == "__main__":
    main()

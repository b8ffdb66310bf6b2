"""The repository's way of documents, side by side in one run with what bounds it.

One document of 1 GB in and out, against hashing and writing the same bytes locally with fsync, and against
nginx sending the same file by sendfile and by mutual TLS; the store alone against the same writes without
hash; documents of 50 KB end to end by 16 clients, against the sum of both parts measured alone; documents of
50 KB in an S3 store of which requests fail and are slow, against the same store healthy. Services are
processes of their own, over loopback, with consent asked and audit events durable.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.support.load import Burst, Load
from bench.support.object_store import object_stores
from bench.support.peers import nginx
from bench.support.registry_content import patient_name, registrations
from bench.support.report import Measure, options, show
from bench.support.repository_messages import provision, retrieval, small_provisions
from bench.support.repository_services import Services, services, willing_registry
from repository.store.files import FileBlobs
from shared.http.pieces import FileRange, Piece
from shared.security.tls import client_context
from shared.settings import TlsSettings
from shared.soap.spooling import Sink
from xdsi.certificates import Community, create_community

CLIENTS = 16
WRITER_BYTES = 500_000
WRITERS = 4
STORE_CLIENTS = 4

_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: bytes of the large document, rounds, seconds of a burst, writes of a writer."""

    large_bytes: int
    rounds: int
    seconds: float
    writes: int


def measure_of(value: float, unit: str, against: float, **more: object) -> Measure:
    """One measure, as every benchmark prints it."""
    ratio = round(value / against, 2) if against else None
    return {"value": round(value, 1), "unit": unit, "against": round(against, 1), "ratio": ratio, **more}


@contextmanager
def rss_growth(process_id: int) -> Iterator[Callable[[], float]]:
    """Gives a function that tells by how many MB the resident memory rose above what it was."""

    def status(name: str) -> int:
        lines = Path(f"/proc/{process_id}/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    Path(f"/proc/{process_id}/clear_refs").write_text("5", "ascii")
    before = status("VmRSS")
    yield lambda: round(max(0, status("VmHWM") - before) / 1024, 1)


class Wire:
    """One connection that sends pieces and throws away what it gets."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        if context is not None:
            self._socket = context.wrap_socket(self._socket)
        self._secure = context is not None
        self._buffer = memoryview(bytearray(1024 * 1024))

    def ask(self, pieces: Sequence[Piece]) -> tuple[float, float, int, bytes]:
        """Seconds to the first byte and to the last, bytes of the body, and how the answer begins."""
        began = time.perf_counter()
        for piece in pieces:
            self._send(piece)
        received = self._socket.recv_into(self._buffer)
        first = time.perf_counter() - began
        head, _, body = bytes(self._buffer[:received]).partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == b"200", bytes(self._buffer[:2000])
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        left, start = length - len(body), bytes(self._buffer[: min(received, 5000)])
        while left:
            received = self._socket.recv_into(self._buffer)
            assert received, "the connection ended early"
            if len(start) < 5000:
                start += bytes(self._buffer[: min(received, 5000)])
            left -= received
        return first, time.perf_counter() - began, length, start

    def _send(self, piece: Piece) -> None:
        if not isinstance(piece, FileRange):
            assert isinstance(piece, bytes)
            self._socket.sendall(piece)
            return
        with piece.path.open("rb") as file:
            if not self._secure:
                self._socket.sendfile(file)
                return
            while chunk := file.read(1024 * 1024):
                self._socket.sendall(chunk)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


# --- one large document ------------------------------------------------------------------------------


def hash_and_write(source: Path, target: Path) -> float:
    """Seconds to read `source`, hash it twice as the metadata and the store need, write it and sync it."""
    began = time.perf_counter()
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as written:
        while chunk := read.read(512 * 1024):
            sha1.update(chunk)
            sha256.update(chunk)
            written.write(chunk)
        os.fsync(written.fileno())
    return time.perf_counter() - began


def provide_large(plan: Plan, folder: Path, at: Services, source: Path) -> tuple[Measure, str]:
    """ITI-41 of the large document; the uniqueId of the last one."""
    wire, ours, floor = Wire(at.port), [], []
    unique_id = ""
    with rss_growth(at.process_id) as growth:
        for _ in range(plan.rounds + 1):
            unique_id = _renew(source)
            content = FileRange(source, 0, plan.large_bytes)
            pieces = provision(unique_id, f"{unique_id}9", uuid4().urn, content)
            _, seconds, _, start = wire.ask(pieces)
            assert b"ResponseStatusType:Success" in start, start
            ours.append(plan.large_bytes / seconds)
            floor.append(plan.large_bytes / hash_and_write(source, folder / "written"))
            (folder / "written").unlink()
        risen = growth()
    wire.close()
    value, against = (statistics.median(each[1:]) / 1e6 for each in (ours, floor))
    return measure_of(value, "MB/s", against, rss_growth_mb=risen), unique_id


def _renew(source: Path) -> str:
    """Make the document another one; its uniqueId."""
    with source.open("r+b") as file:
        file.write(os.urandom(64))
    return f"2.25.8{next(_NUMBERS):018}"


def write_source(path: Path, length: int) -> None:
    """A file of bytes that do not repeat."""
    block = os.urandom(16 * 1024 * 1024)
    with path.open("wb") as file:
        for _ in range(length // len(block)):
            file.write(block)
        file.write(block[: length % len(block)])


def retrieve_large(
    plan: Plan, at: Services, unique_id: str, theirs: Wire, context: ssl.SSLContext | None = None
) -> tuple[Measure, Measure, Measure]:
    """ITI-43 of the large document: again and again, its first byte, and once after its file was touched,
    so that it is compared with its digest."""
    wire, request = Wire(at.port, context), retrieval(unique_id)
    get = b"GET /whole HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ours, floor, firsts = [], [], []
    with rss_growth(at.process_id) as growth:
        for _ in range(plan.rounds + 3):
            first, seconds, length, _ = wire.ask([request])
            assert length > plan.large_bytes, "the document did not come"
            ours.append(length / seconds / 1e6)
            firsts.append(1e3 * first)
            _, seconds, length, _ = theirs.ask([get])
            floor.append(length / seconds / 1e6)
        risen = growth()
    for path in at.data.rglob("blobs/sha256/*/*/*"):
        os.utime(path)
    _, seconds, length, _ = wire.ask([request])
    wire.close()
    against = statistics.median(floor[3:])
    return (
        measure_of(statistics.median(ours[3:]), "MB/s", against, rss_growth_mb=risen),
        measure_of(statistics.median(firsts[3:]), "ms", 5.0, worst=round(max(firsts), 1)),
        measure_of(length / seconds / 1e6, "MB/s", against),
    )


# --- the store alone ---------------------------------------------------------------------------------


def four_writers(plan: Plan, folder: Path) -> Measure:
    """Four writers of documents of 0.5 MB: hashed into the store, and the same writes without hash."""
    content = [os.urandom(WRITER_BYTES) for _ in range(WRITERS)]
    ours, floor = [], []
    for number in range(plan.rounds + 1):
        blobs = FileBlobs(folder / f"store{number}")
        raw = folder / f"raw{number}"
        for name in range(256):
            (raw / f"{name:02x}").mkdir(parents=True)
        ours.append(_seconds(plan, lambda who, blobs=blobs: _keep(plan, blobs, content[who])))
        floor.append(_seconds(plan, lambda who, raw=raw: _write(plan, raw, content[who])))
    documents = WRITERS * plan.writes
    value, against = (documents / statistics.median(each[1:]) for each in (ours, floor))
    return measure_of(value, "documents/s", against)


def _seconds(plan: Plan, write: Callable[[int], None]) -> float:
    threads = [threading.Thread(target=write, args=(who,)) for who in range(WRITERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _keep(plan: Plan, blobs: FileBlobs, content: bytes) -> None:
    for _ in range(plan.writes):
        sink = Sink(blobs.incoming)
        sink.write(uuid4().bytes)
        sink.write(content)
        blobs.write(sink.finish())


def _write(plan: Plan, folder: Path, content: bytes) -> None:
    """What the store writes and syncs, in the same order and the same kind of folders."""
    for _ in range(plan.writes):
        name = uuid4().hex
        spooled, place = folder / name, folder / name[:2] / name[2:4]
        with spooled.open("wb", buffering=0) as file:
            file.write(uuid4().bytes)
            file.write(content)
        if not place.is_dir():
            place.mkdir(exist_ok=True)
            _sync(place.parent)
        _sync(spooled)
        spooled.rename(place / name)
        _sync(place)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


# --- small documents end to end ------------------------------------------------------------------------


async def rate(plan: Plan, port: int, requests: Iterator[bytes]) -> tuple[float, float]:
    """Requests per second by 16 clients, and their median latency in ms."""
    load = await Load.open(port, CLIENTS, requests)
    await load.run(plan.seconds / 3)
    bursts = [await load.run(plan.seconds) for _ in range(3)]
    load.close()
    middle = sorted(bursts, key=lambda one: one.rate)[1]
    return middle.rate, 1e3 * middle.quantile(0.5)


def end_to_end(plan: Plan, folder: Path, at: Services) -> Measure:
    """ITI-41 with its ITI-42, against ITI-41 with a registry that does nothing and ITI-42 alone, one after
    the other."""
    whole, latency = asyncio.run(rate(plan, at.port, small_provisions()))
    names = [patient_name(number) for number in range(50)]
    registered, _ = asyncio.run(rate(plan, at.registry_port, registrations("/xds/registry", names)))
    with willing_registry() as port, services(folder / "alone", registry_port=port) as alone:
        provided, _ = asyncio.run(rate(plan, alone.port, small_provisions()))
    parts = 1 / (1 / provided + 1 / registered)
    return measure_of(
        whole,
        "documents/s",
        parts,
        median_ms=round(latency, 1),
        iti41_alone=round(provided, 1),
        iti42_alone=round(registered, 1),
    )


# --- an object store ---------------------------------------------------------------------------------


async def side_by_side(plan: Plan, ports: Sequence[int], requests: Sequence[Iterator[bytes]]) -> list[Burst]:
    """What requests to several repositories come to, by turns; what fails is counted."""
    expected = b"ResponseStatusType:Success"
    loads = [
        await Load.open(port, STORE_CLIENTS, each, expected=expected, may_fail=True)
        for port, each in zip(ports, requests, strict=True)
    ]
    for load in loads:
        await load.run(plan.seconds / 3)
    found = [Burst() for _ in loads]
    for _ in range(2 * plan.rounds):
        for load, whole in zip(loads, found, strict=True):
            burst = await load.run(plan.seconds)
            whole.latencies += burst.latencies
            whole.failed += burst.failed
    for load in loads:
        load.close()
    return found


def compared(good: Burst, bad: Burst) -> Measure:
    """The p99 of a store that fails against that of the same store healthy, in ms."""
    (p50, p99), (good_p50, good_p99) = (
        [1e3 * burst.quantile(share) for share in (0.5, 0.99)] for burst in (bad, good)
    )
    return measure_of(
        p99,
        "ms",
        good_p99,
        p50_ms=round(p50, 1),
        healthy_p50_ms=round(good_p50, 1),
        requests=len(bad.latencies),
        failed=bad.failed,
        healthy_requests=len(good.latencies),
        healthy_failed=good.failed,
    )


def by_object_store(plan: Plan, folder: Path) -> dict[str, Measure]:
    """ITI-41 and ITI-43 of 50 KB with an S3 store, healthy, and where 5 % of its requests are refused with
    503 and 5 % slow by 200 ms."""
    with (
        object_stores() as (good, bad),
        services(folder / "good", settings=good) as healthy,
        services(folder / "bad", registry_port=healthy.registry_port, settings=bad) as failing,
    ):
        ports = healthy.port, failing.port
        names: tuple[list[str], list[str]] = [], []
        provided = asyncio.run(side_by_side(plan, ports, [small_provisions(each) for each in names]))
        # All of them were acknowledged, unless some failed.
        asked = [itertools.cycle([retrieval(name) for name in each[:500]]) for each in names]
        retrieved = asyncio.run(side_by_side(plan, ports, asked))
    return {
        "iti41_s3_p99_faulty_vs_healthy": compared(*provided),
        "iti43_s3_p99_faulty_vs_healthy": compared(*retrieved),
    }


# --- all of them -------------------------------------------------------------------------------------


def measure(plan: Plan) -> dict[str, Measure]:
    """All measures by name."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        community = create_community(folder / "community", "Bench")
        web = folder / "web"
        web.mkdir()
        source = web / "whole"
        write_source(source, plan.large_bytes)
        found = {"store_4_writers_vs_without_hash": four_writers(plan, folder)}
        found |= by_object_store(plan, folder / "objects")
        with services(folder / "plain") as at:
            found["iti41_50kb_vs_sum_of_parts"] = end_to_end(plan, folder, at)
        with services(folder / "large") as at, nginx(web, community) as (port, _):
            found["iti41_large_vs_hash_and_write"], unique_id = provide_large(plan, folder, at, source)
            theirs = Wire(port)
            again, first_byte, first = retrieve_large(plan, at, unique_id, theirs)
            theirs.close()
            found |= {
                "iti43_large_vs_nginx_sendfile": again,
                "iti43_first_byte_vs_5_ms": first_byte,
                "iti43_large_touched_file_vs_nginx_sendfile": first,
            }
        with services(folder / "tls", tls=community) as at, nginx(web, community) as (_, port):
            context = _context(community)
            unique_id = _renew(source)
            content = FileRange(source, 0, plan.large_bytes)
            wire = Wire(at.port, context)
            wire.ask(provision(unique_id, f"{unique_id}9", uuid4().urn, content))
            wire.close()
            theirs = Wire(port, context)
            found["iti43_large_tls_vs_nginx_tls"], _, _ = retrieve_large(plan, at, unique_id, theirs, context)
            theirs.close()
        return found


def _context(community: Community) -> ssl.SSLContext:
    tls = TlsSettings(certificate=community.node.certificate, key=community.node.key, trust=community.trust)
    context = client_context(tls)
    context.check_hostname = False
    return context


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="a smaller document and fewer rounds").parse_args()
    short = Plan(large_bytes=200_000_000, rounds=3, seconds=3, writes=50)
    long = Plan(large_bytes=1_000_000_000, rounds=5, seconds=8, writes=150)
    show(measure(short if given.short else long), as_json=given.json)


if __name__ == "__main__":
    main()

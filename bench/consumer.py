"""A CT study of 500 instances of 512 KB, found and fetched by the consumer, in a community of real services.

In turns over loopback: `find`, manifest and retrieval of the whole study to disk by the library, against curl
that writes the same bytes from one WADO-RS request to disk; and the consumer's DICOM web services, cold: the
first image after a click, and the whole study as curl takes it, with the most memory that the service held.
Then the same study by the library over a link with a round trip of 50 ms, by one stream and by several; and
what building a query and reading its answer take, beside zeep.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import xdsi
from bench.retrieve import INSTANCES, write_study
from bench.start import checkout, free_offset
from bench.support.far_away import far_away
from bench.support.peers import peak_rss_mb
from bench.support.report import Measure, options, show
from bench.support.stored_query import ENTRIES, milliseconds

ROOT = Path(__file__).resolve().parents[1]
XDSI = (sys.executable, "-m", "xdsi")
AS_STORED = 'accept: multipart/related; type="application/dicom"; transfer-syntax=*'
CONSUMER, SOURCE = 8040, 8030
ROUND_TRIP_SECONDS, WINDOW_BYTES = 0.05, 1024**2
STREAMS = 4
QUERIES = 100


@contextmanager
def community(folder: Path, offset: int) -> Iterator[subprocess.Popen[str]]:
    """`xdsi up`, ready, in `folder`."""
    command = (*XDSI, "up", "--data", str(folder / "var"), "--offset", str(offset))
    process = subprocess.Popen(
        command, cwd=folder, env=checkout(ROOT), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and line.strip() != "ready":
            pass
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def prepare(folder: Path, files: Path) -> None:
    """A study that is published, of a patient that is known."""
    for command in (
        ("patient", "add", "BENCH-1", "--name", "Bench^One"),
        ("import", str(files)),
        ("publish", str(files), "--patient", "BENCH-1"),
    ):
        subprocess.run(
            (*XDSI, *command), cwd=folder, env=checkout(ROOT), check=True, stdout=subprocess.DEVNULL
        )


async def library(folder: Path, to: Path, **settings: Any) -> float:
    """Seconds to find, open and retrieve the study to disk."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        async with xdsi.connect(data=folder / "client", **settings) as client:
            began = time.perf_counter()
            (study,) = await client.find("BENCH-1")
            images = await client.fetch(study, to)
            seconds = time.perf_counter() - began
        assert images.instances == INSTANCES, images
        return seconds
    finally:
        os.chdir(before)


def curl(url: str, to: Path) -> float:
    """Seconds of one request to disk."""
    began = time.perf_counter()
    subprocess.run(("curl", "-sf", "-H", AS_STORED, "-o", str(to), url), check=True)
    return time.perf_counter() - began


def first_image(base: str, study: str) -> float:
    """Seconds from the search to the first frame, for who has nothing yet."""
    began = time.perf_counter()
    _get(f"{base}/studies?PatientID=BENCH-1")
    (one, *_) = json.loads(_get(f"{base}/studies/{study}/instances?limit=1"))
    series, instance = one["0020000E"]["Value"][0], one["00080018"]["Value"][0]
    _get(
        f"{base}/studies/{study}/series/{series}/instances/{instance}/frames/1",
        "application/octet-stream; transfer-syntax=*",
    )
    return time.perf_counter() - began


def _get(url: str, accept: str = "application/dicom+json") -> bytes:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        octets: bytes = answer.read()
        return octets


def measure(*, rounds: int) -> dict[str, Measure]:
    """All of it, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        study, *_ = write_study(folder / "files")
        offset = free_offset()
        with community(folder, offset):
            prepare(folder, folder / "files")
            source = f"http://127.0.0.1:{SOURCE + offset}/dicomweb"
            front = f"http://127.0.0.1:{CONSUMER + offset}/dicomweb"
            first = first_image(front, study)
            behind = curl(f"{front}/studies/{study}", folder / "front")
            by_library, by_curl = [], []
            for _ in range(rounds):
                by_curl.append(curl(f"{source}/studies/{study}", folder / "curl"))
                by_library.append(asyncio.run(library(folder, folder / "to")))
                shutil.rmtree(folder / "to")
            memory = max(peak_rss_mb(process) for process in _listening(CONSUMER + offset))
            one_stream, streams = over_a_link(folder, SOURCE + offset)
    seconds, against = statistics.median(by_library), statistics.median(by_curl)
    return {
        "find, manifest, retrieve to disk": {
            "value": round(seconds, 2),
            "unit": "s",
            "against": f"curl to disk, one request, {against:.2f} s",
            "ratio": round(against / seconds, 2),
        },
        "first image of the front": {
            "value": round(first, 2),
            "unit": "s",
            "against": "1.5 s",
            "ratio": round(1.5 / first, 2),
            "whole study behind it, s": round(behind, 2),
        },
        "consumer's memory": {
            "value": round(memory),
            "unit": "MB",
            "against": "200 MB",
            "ratio": round(200 / memory, 2),
        },
        "50 ms away, parallel": {
            "value": round(streams, 2),
            "unit": "s",
            "against": f"one stream {one_stream:.2f} s",
            "ratio": round(one_stream / streams, 2),
            "streams": STREAMS,
            "window, bytes": WINDOW_BYTES,
        },
        **{
            name: {
                "value": round(ours, 3),
                "unit": "ms",
                "against": f"zeep {theirs:.2f} ms",
                "ratio": round(theirs / ours, 1),
                "entries": ENTRIES,
            }
            for name, (ours, theirs) in milliseconds(rounds=QUERIES).items()
        },
    }


def over_a_link(folder: Path, source: int) -> tuple[float, float]:
    """Seconds of the library over a long link, by one stream and by several."""
    with far_away(source, round_trip_seconds=ROUND_TRIP_SECONDS, window_bytes=WINDOW_BYTES) as port:
        taken = []
        for streams in (1, STREAMS):
            there = f"http://127.0.0.1:{port}/xds/imaging-source"
            taken.append(
                asyncio.run(library(folder, folder / "to", imaging_source_url=there, parallel=streams))
            )
            shutil.rmtree(folder / "to")
    return taken[0], taken[1]


def _listening(port: int) -> list[int]:
    told = subprocess.run(("ss", "-Hltnp", f"sport = :{port}"), capture_output=True, text=True, check=True)
    return [int(part.partition(",")[0]) for part in told.stdout.split("pid=")[1:]]


def main() -> None:
    """Measure and show."""
    parser = options(__doc__, short="one round instead of five")
    arguments = parser.parse_args()
    show(measure(rounds=1 if arguments.short else 5), as_json=arguments.json)


if __name__ == "__main__":
    main()

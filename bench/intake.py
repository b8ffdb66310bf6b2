"""Studies that come in: CT, 100 instances of 512 KB; MR, 250 of 35 KB; by STOW-RS and by C-STORE.

Side by side in one run, in turns, over loopback: a real imaging source, which answers when an instance is
durable (synced) and in its index, and Orthanc as it is installed. Each round brings a study that nobody has
yet; C-STORE is by DCMTK's storescu over one association.
"""

from __future__ import annotations

import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydicom import dcmread
from pydicom.uid import generate_uid

from bench.retrieve import services, write_study
from bench.support.peers import orthanc, orthanc_process, peak_rss_mb, processor_seconds
from bench.support.report import options, show
from shared.dicom.multipart import closing, content_type, part_head
from xdsi.community import start_all, stop_all
from xdsi.stage import free_ports

#: Instances of a round, by kind.
_NUMBERS = {"ct": 100, "mr": 250}
_BOUNDARY = "bench-intake"
_HEAD = part_head(_BOUNDARY, [("Content-Type", "application/dicom")])
# Without it Debian's DCMTK waits 40 ms for an acknowledgement of every PDU.
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


Bring = Callable[[Sequence[Path]], float]
"""Brings files to somebody; seconds until all are answered for."""


class Studies:
    """Copies of one study, each under UIDs of its own."""

    def __init__(self, folder: Path, kind: str) -> None:
        folder.mkdir()
        _, _, _, paths = write_study(folder, kind)
        self._folder = folder
        self._images = [dcmread(path) for path in paths[: _NUMBERS[kind]]]
        self._number = 0

    def another(self) -> list[Path]:
        """The files of a study that nobody has."""
        self._number += 1
        made = self._folder / f"round-{self._number}"
        made.mkdir()
        study, series = generate_uid(prefix=None), generate_uid(prefix=None)
        paths = []
        for at, image in enumerate(self._images):
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
            paths.append(made / f"{at:04}.dcm")
            image.save_as(paths[-1], enforce_file_format=True)
        return paths


def stow(port: int, path: str, files: Sequence[Path]) -> float:
    """Seconds until all of `files` are answered for, in one request."""
    # Without the line end before the first delimiter, which not everybody takes.
    body = b"".join(_HEAD + file.read_bytes() for file in files)[2:] + closing(_BOUNDARY)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    began = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": content_type(_BOUNDARY)})
    answer = connection.getresponse()
    told = answer.read()
    elapsed = time.perf_counter() - began
    assert answer.status == http.client.OK, told[:500]
    connection.close()
    return elapsed


def c_store(port: int, title: str, files: Sequence[Path]) -> float:
    """Seconds until all of `files` are answered for, over one association."""
    command = ["storescu", "-aet", "BENCH", "-aec", title, "127.0.0.1", str(port), *map(str, files)]
    began = time.perf_counter()
    told = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - began
    assert told.returncode == 0, told.stdout[-1000:] + told.stderr[-1000:]
    return elapsed


def measure(*, rounds: int) -> dict[str, dict[str, object]]:
    """All measures by name."""
    if not shutil.which("storescu"):
        raise SystemExit("DCMTK is not installed; apt install dcmtk")
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        settings, members = services(folder)
        [their_port] = free_ports(1)
        configuration = {"DicomPort": their_port, "DicomAet": "ORTHANC"}
        try:
            list(start_all(members))
            with orthanc(folder / "orthanc", (), configuration) as their_http:
                ways: dict[str, tuple[Bring, Bring]] = {
                    "stow": (
                        lambda files: stow(settings.port, "/dicomweb/studies", files),
                        lambda files: stow(their_http, "/dicom-web/studies", files),
                    ),
                    "c_store": (
                        lambda files: c_store(settings.dimse_port, settings.ae_title, files),
                        lambda files: c_store(their_port, "ORTHANC", files),
                    ),
                }
                processes = (members[-1].pid, orthanc_process(folder / "orthanc"))
                measures: dict[str, dict[str, object]] = {}
                for kind in _NUMBERS:
                    studies = Studies(folder / kind, kind)
                    for way, sides in ways.items():
                        contenders = tuple(zip(sides, processes, strict=True))
                        measures[f"{kind}_{way}_vs_orthanc"] = _compared(contenders, studies, rounds)
                peak = round(peak_rss_mb(members[-1].pid), 1)
                return {name: one | {"peak_rss_mb": peak} for name, one in measures.items()}
        finally:
            stop_all(members)


def _compared(contenders: Sequence[tuple[Bring, int]], studies: Studies, rounds: int) -> dict[str, object]:
    """Bytes per second of ours, and of theirs; also how long the process of each ran for a GB."""
    speeds: list[list[float]] = [[] for _ in contenders]
    ran: list[list[float]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        files = studies.another()
        size = sum(file.stat().st_size for file in files)
        for at, (bring, process) in enumerate(contenders):
            before = processor_seconds(process)
            elapsed = bring(files)
            if number:
                speeds[at].append(size / elapsed)
                ran[at].append((processor_seconds(process) - before) / size * 1e9)
        shutil.rmtree(files[0].parent)
    ours, theirs = map(statistics.median, speeds)
    our_processor, their_processor = map(statistics.median, ran)
    return {
        "value": round(ours / 1e6),
        "unit": "MB/s",
        "against": f"orthanc {theirs / 1e6:.0f} MB/s",
        "ratio": round(ours / theirs, 2),
        "processor_s_per_gb": round(our_processor, 2),
        "processor_ratio": round(their_processor / our_processor, 2),
    }


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="fewer rounds").parse_args()
    show(measure(rounds=2 if given.short else 9), as_json=given.json)


if __name__ == "__main__":
    main()

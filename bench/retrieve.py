"""Whole studies from the imaging source to a client that only reads.

CT, 500 instances of 512 KB, and MR, 2000 of 35 KB. Side by side in one run, in turns, over loopback, by one
client and by four at once: RAD-69 and WADO-RS of a real imaging source (consent asked, audit event durable,
both on), nginx sending one file of the same bytes by sendfile, Orthanc's WADO-RS of the same study. Of the CT
also: the time until the first byte, metadata and QIDO-RS instances beside Orthanc's, and every frame, asked
for one after the other, beside files of the same bytes by nginx; and the frames of a series that is one
instance of as many bytes, asked for at once. The long form adds the memory that a study of 2 GB takes beside
one of 263 MB. Mutual TLS is measured by `bench/transport.py`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bench.support.peers import nginx, orthanc, peak_rss_mb
from bench.support.report import options, show
from imaging_source.settings import ImagingSourceSettings
from shared.messages.documents import DocumentRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from xdsi.community import Process, start_all, stop_all
from xdsi.import_ import send_files
from xdsi.services import Service
from xdsi.stage import free_ports

INSTANCES = 500
ROWS = 512
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
JSON = "application/dicom+json"
#: Modality, SOP class, instances, rows and frames of each, of what is retrieved.
STUDIES = {
    "ct": ("CT", CT, INSTANCES, ROWS, 1),
    "mr": ("MR", MR, 2000, 132, 1),
    "large": ("CT", CT, 4000, ROWS, 1),
    "frames": ("CT", ENHANCED_CT, 1, ROWS, INSTANCES),
}
CLIENTS = 4
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'application/octet-stream; transfer-syntax="*"'
OCTETS_IN_PARTS = 'multipart/related; type="application/octet-stream"'


def write_study(folder: Path, kind: str = "ct") -> tuple[str, str, list[str], list[Path]]:
    """Write the study: its UID, its series UID, the instances' UIDs and their files."""
    modality, sop_class, instances, rows, frames = STUDIES[kind]
    study, series = generate_uid(prefix=None), generate_uid(prefix=None)
    pixels = np.random.default_rng(1).integers(0, 4096, (rows, rows), dtype=np.uint16)
    uids, paths = [], []
    for number in range(instances):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = sop_class, generate_uid(prefix=None)
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.PatientID, image.PatientName, image.Modality = "BENCH-1", "Bench^One", modality
        image.StudyDate, image.StudyTime, image.AccessionNumber = "20260101", "120000", "B1"
        image.InstanceNumber, image.SeriesNumber = number + 1, 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows = image.Columns = rows
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
        image.NumberOfFrames = frames
        image.PixelData = b"".join(np.roll(pixels, number + frame).tobytes() for frame in range(frames))
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = sop_class
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        path = folder / f"{number:04}.dcm"
        image.save_as(path, enforce_file_format=True)
        uids.append(image.SOPInstanceUID)
        paths.append(path)
    return study, series, uids, paths


class Client:
    """Asks again and again on one connection, and throws away what it gets."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._buffer = memoryview(bytearray(1024 * 1024))

    def first_byte(self, request: bytes) -> float:
        """Seconds from the request to the first byte of the answer; the rest is left with its connection."""
        began = time.perf_counter()
        self._socket.sendall(request)
        assert self._socket.recv_into(self._buffer), "nothing came"
        elapsed = time.perf_counter() - began
        self._socket.close()
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        return elapsed

    def seconds(self, request: bytes) -> tuple[float, int]:
        """Seconds from the request to the last byte of the body, and the bytes of the body."""
        began = time.perf_counter()
        received = self._begun(request)
        if not received:
            # It was idle for longer than the server waits.
            self._socket.close()
            self._socket = socket.create_connection(("127.0.0.1", self._port))
            began = time.perf_counter()
            received = self._begun(request)
        head, _, body = bytes(self._buffer[:received]).partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == b"200", head[:300]
        headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        size = int(headers[b"content-length"]) if b"content-length" in headers else None
        if size is None:
            return self._until_closed(began, len(body))
        left = size - len(body)
        while left:
            received = self._socket.recv_into(self._buffer)
            assert received, "the connection ended early"
            left -= received
        return time.perf_counter() - began, size

    def _begun(self, request: bytes) -> int:
        """How many bytes of the answer came first; 0 when the connection had been closed."""
        try:
            self._socket.sendall(request)
            return self._socket.recv_into(self._buffer)
        except ConnectionError:
            return 0

    def _until_closed(self, began: float, total: int) -> tuple[float, int]:
        """Read to the end of the connection; the next request has one of its own."""
        while received := self._socket.recv_into(self._buffer):
            total += received
        seconds = time.perf_counter() - began
        self._socket.close()
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        return seconds, total

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Group:
    """Clients that ask for the same at once."""

    def __init__(self, port: int, size: int) -> None:
        self._clients = [Client(port) for _ in range(size)]
        self._threads = ThreadPoolExecutor(size)

    def seconds(self, request: bytes) -> tuple[float, int]:
        """Seconds until the last of them has its last byte, and the bytes of all bodies."""
        began = time.perf_counter()
        answers = list(self._threads.map(lambda client: client.seconds(request), self._clients))
        return time.perf_counter() - began, sum(size for _, size in answers)

    def close(self) -> None:
        """Close their connections."""
        self._threads.shutdown()
        for client in self._clients:
            client.close()


def rad69_request(port: int, study: str, series: str, uids: list[str], location: str) -> bytes:
    """The whole HTTP request that asks for every instance."""
    request = RetrieveImagingDocumentSetRequest(
        studies=(
            StudyRequest(
                study_instance_uid=study,
                series=(
                    SeriesRequest(
                        series_instance_uid=series,
                        documents=tuple(
                            DocumentRequest(repository_unique_id=location, document_unique_id=uid)
                            for uid in uids
                        ),
                    ),
                ),
            ),
        ),
        transfer_syntax_uids=(EXPLICIT_LE,),
    )
    url = f"http://127.0.0.1:{port}/xds/imaging-source"
    envelope = encode_request(RAD69.action, "urn:uuid:0", url, RAD69.encode_request(request).xml, None)
    content_type, pieces = write_package(envelope, (), action=RAD69.action)
    body = b"".join(bytes(piece) for piece in pieces if isinstance(piece, bytes))
    head = (
        f"POST /xds/imaging-source HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, accept: str = "*/*", more: str = "") -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n{more}\r\n".encode()


def services(
    folder: Path, more: Mapping[str, str] | None = None
) -> tuple[ImagingSourceSettings, list[Process]]:
    """A registry, for consent, and an imaging source; `more` are further settings."""
    registry, feed, source, dimse, audit, syslog = free_ports(6)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    told = {
        "XDSI_DATA": str(folder / "data"),
        "XDSI_REGISTRY__PORT": str(registry),
        "XDSI_REGISTRY__MLLP_PORT": str(feed),
        "XDSI_REGISTRY_URL": f"http://127.0.0.1:{registry}/xds/registry",
        "XDSI_IMAGING_SOURCE__PORT": str(source),
        "XDSI_IMAGING_SOURCE__DIMSE_PORT": str(dimse),
        "XDSI_AUDIT_REPOSITORY__PORT": str(audit),
        "XDSI_AUDIT_REPOSITORY__SYSLOG_PORT": str(syslog),
        "XDSI_AUDIT__URL": f"tcp://127.0.0.1:{syslog}",
    } | dict(more or {})
    wanted = (Service.AUDIT_REPOSITORY, Service.REGISTRY, Service.IMAGING_SOURCE)
    members = [Process(service, environment | told, folder / f"{service}.log") for service in wanted]
    return ImagingSourceSettings.load(None, told), members


class Stored(NamedTuple):
    """A study in a running source: its UID, those of its series and instances, and its files."""

    settings: ImagingSourceSettings
    process_id: int
    study: str
    series: str
    uids: list[str]
    paths: list[Path]

    @property
    def rad69(self) -> bytes:
        """The request for all of it by RAD-69."""
        location = self.settings.retrieve_location_uid
        return rad69_request(self.settings.port, self.study, self.series, self.uids, location)

    @property
    def wado(self) -> bytes:
        """The request for all of it by WADO-RS."""
        return get(f"/dicomweb/studies/{self.study}", DICOM)


@contextmanager
def stored(folder: Path, kind: str) -> Iterator[Stored]:
    """A running source that has taken in a study of this kind."""
    (folder / "study").mkdir()
    study, series, uids, paths = write_study(folder / "study", kind)
    settings, members = services(folder)
    try:
        list(start_all(members))
        taken = asyncio.run(send_files(settings, paths))
        assert taken == len(paths), f"{taken} instances were stored"
        yield Stored(settings, members[-1].pid, study, series, uids, paths)
    finally:
        stop_all(members)


def measure(*, rounds: int, kind: str) -> dict[str, dict[str, object]]:
    """All measures of a kind of study by name."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name, stored(Path(name), kind) as there:
        return _compare(Path(name), there, rounds, kind)


def memory() -> dict[str, dict[str, object]]:
    """Most memory of the source after a study of 2 GB was stored and retrieved, beside one of 263 MB."""
    peaks = []
    for kind in ("ct", "large"):
        with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name, stored(Path(name), kind) as there:
            client = Client(there.settings.port)
            for request in (there.rad69, there.wado):
                client.seconds(request)
            client.close()
            peaks.append(peak_rss_mb(there.process_id))
    small, large = peaks
    return {
        "peak_memory_of_2_gb": {
            "value": round(large),
            "unit": "MB",
            "against": f"263 MB of images: {small:.0f} MB",
            "ratio": round(large / small, 2),
        }
    }


def _compare(folder: Path, there: Stored, rounds: int, kind: str) -> dict[str, dict[str, object]]:
    web = folder / "web"
    web.mkdir()
    with (web / "whole").open("wb") as whole:
        for path in there.paths:
            whole.write(path.read_bytes())
    port = there.settings.port
    with nginx(web) as (nginx_port, _), orthanc(folder / "orthanc", there.paths) as orthanc_port:
        asked = {
            "rad69": (port, there.rad69),
            "wado_rs": (port, there.wado),
            "nginx": (nginx_port, get("/whole")),
            "orthanc": (
                orthanc_port,
                get(f"/dicom-web/studies/{there.study}", DICOM, "Connection: close\r\n"),
            ),
        }
        measures = {}
        for clients, suffix in ((1, ""), (CLIENTS, f"_{CLIENTS}_clients")):
            groups = {name: (Group(at, clients), request) for name, (at, request) in asked.items()}
            speeds = speeds_of(
                {name: lambda one=one: one[0].seconds(one[1]) for name, one in groups.items()}, rounds
            )
            for group, _ in groups.values():
                group.close()
            measures |= {
                f"{kind}_{ours}_vs_{theirs}{suffix}": {
                    "value": round(speeds[ours] / 1e6),
                    "unit": "MB/s",
                    "against": f"{theirs} {speeds[theirs] / 1e6:.0f} MB/s",
                    "ratio": round(speeds[ours] / speeds[theirs], 2),
                    "peak_rss_mb": round(peak_rss_mb(there.process_id), 1),
                }
                for ours in ("rad69", "wado_rs")
                for theirs in ("nginx", "orthanc")
            }
        return measures | (_details(web, asked, there, rounds) if kind == "ct" else {})


def _details(
    web: Path, asked: Mapping[str, tuple[int, bytes]], there: Stored, rounds: int
) -> dict[str, dict[str, object]]:
    study, series, uids, paths = there.study, there.series, there.uids, there.paths
    source, theirs = (Client(asked[name][0]) for name in ("wado_rs", "orthanc"))
    measures = {}
    first = {
        "ours": lambda: (source.first_byte(asked["wado_rs"][1]), 1),
        "theirs": lambda: (theirs.first_byte(asked["orthanc"][1]), 1),
    }
    ours, other = (1 / speed for speed in speeds_of(first, rounds).values())
    measures["first_byte_vs_orthanc"] = _times(ours, other, "orthanc")
    for name, resource in (("metadata", "metadata"), ("qido_instances", f"instances?limit={len(uids)}")):
        paths_of = f"/studies/{study}/{resource}"
        ask = {
            "ours": lambda path=paths_of: (
                source.seconds(get(f"/dicomweb{path}", JSON, "Connection: close\r\n"))[0],
                1,
            ),
            "theirs": lambda path=paths_of: (
                theirs.seconds(get(f"/dicom-web{path}", JSON, "Connection: close\r\n"))[0],
                1,
            ),
        }
        ours, other = (1 / speed for speed in speeds_of(ask, max(3, rounds // 3)).values())
        measures[f"{name}_vs_orthanc"] = _times(ours, other, "orthanc", faster=True)
    for uid, path in zip(uids, paths, strict=True):
        (web / uid).write_bytes(path.read_bytes()[-2 * ROWS * ROWS :])
    place = f"/dicomweb/studies/{study}/series/{series}/instances"
    # It waits for no client that has long been silent.
    nginx_client = Client(asked["nginx"][0])
    ask = {
        "ours": lambda: _all(source, [get(f"{place}/{uid}/frames/1", OCTETS) for uid in uids]),
        "nginx": lambda: _all(nginx_client, [get(f"/{uid}") for uid in uids]),
    }
    measures["frames_vs_nginx"] = _beside_nginx(speeds_of(ask, max(3, rounds // 3)))
    for client in (source, nginx_client, theirs):
        client.close()
    return measures


def frames_at_once(rounds: int) -> dict[str, dict[str, object]]:
    """All frames of a series that is one instance, by one request, beside one file of the same bytes."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name, stored(Path(name), "frames") as there:
        web = Path(name) / "web"
        web.mkdir()
        (web / "pixels").write_bytes(there.paths[0].read_bytes()[-2 * ROWS * ROWS * INSTANCES :])
        numbers = ",".join(map(str, range(1, INSTANCES + 1)))
        place = f"/dicomweb/studies/{there.study}/series/{there.series}/instances/{there.uids[0]}"
        with nginx(web) as (nginx_port, _):
            source, other = Client(there.settings.port), Client(nginx_port)
            ask = {
                "ours": lambda: source.seconds(get(f"{place}/frames/{numbers}", OCTETS_IN_PARTS)),
                "nginx": lambda: other.seconds(get("/pixels")),
            }
            speeds = speeds_of(ask, rounds)
            source.close()
            other.close()
    return {"frames_at_once_vs_nginx": _beside_nginx(speeds)}


def _beside_nginx(speeds: Mapping[str, float]) -> dict[str, object]:
    return {
        "value": round(speeds["ours"] / 1e6),
        "unit": "MB/s",
        "against": f"nginx {speeds['nginx'] / 1e6:.0f} MB/s",
        "ratio": round(speeds["ours"] / speeds["nginx"], 2),
    }


def _all(client: Client, requests: list[bytes]) -> tuple[float, int]:
    answers = [client.seconds(request) for request in requests]
    return sum(seconds for seconds, _ in answers), sum(size for _, size in answers)


def _times(ours: float, theirs: float, name: str, *, faster: bool = False) -> dict[str, object]:
    """Two times; the ratio is of the times, or with `faster` how many times faster ours is."""
    return {
        "value": round(ours * 1000, 2),
        "unit": "ms",
        "against": f"{name} {theirs * 1000:.1f} ms",
        "ratio": round(theirs / ours if faster else ours / theirs, 2),
    }


def speeds_of(contenders: dict[str, Callable[[], tuple[float, int]]], rounds: int) -> dict[str, float]:
    """Median bytes per second of each, measured in turns; two rounds warm the page cache first."""
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 2):
        for name, ask in contenders.items():
            seconds, size = ask()
            if number >= 2:
                seen[name].append(size / seconds)
    return {name: statistics.median(values) for name, values in seen.items()}


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="fewer rounds, and no memory of 2 GB").parse_args()
    rounds = 5 if given.short else 15
    measures = measure(rounds=rounds, kind="ct") | measure(rounds=rounds, kind="mr") | frames_at_once(rounds)
    show(measures if given.short else measures | memory(), as_json=given.json)


if __name__ == "__main__":
    main()

"""A whole CT study, 500 instances of 512 KB, from the imaging source to a client that only reads.

Side by side in one run, in turns, over loopback: RAD-69 and WADO-RS of a real imaging source (consent asked,
audit event durable, both on), nginx sending one file of the same bytes by sendfile, Orthanc's WADO-RS of the
same study.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

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
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
#: Modality, SOP class, instances and rows of what is written.
STUDIES = {"ct": ("CT", CT, INSTANCES, ROWS), "mr": ("MR", MR, 2000, 132)}


def write_study(folder: Path, kind: str = "ct") -> tuple[str, str, list[str], list[Path]]:
    """Write the study: its UID, its series UID, the instances' UIDs and their files."""
    modality, sop_class, instances, rows = STUDIES[kind]
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
        image.PixelData = np.roll(pixels, number).tobytes()
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

    def seconds(self, request: bytes) -> tuple[float, int]:
        """Seconds from the request to the last byte of the body, and the bytes of the body."""
        began = time.perf_counter()
        self._socket.sendall(request)
        received = self._socket.recv_into(self._buffer)
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


def measure(*, rounds: int) -> dict[str, dict[str, object]]:
    """All measures by name."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        (folder / "study").mkdir()
        study, series, uids, paths = write_study(folder / "study")
        settings, members = services(folder)
        try:
            list(start_all(members))
            stored = asyncio.run(send_files(settings, paths))
            assert stored == INSTANCES, f"{stored} instances were stored"
            return _compare(folder, settings, members[-1].pid, (study, series, uids, paths), rounds)
        finally:
            stop_all(members)


def _compare(
    folder: Path,
    settings: ImagingSourceSettings,
    process_id: int,
    content: tuple[str, str, list[str], list[Path]],
    rounds: int,
) -> dict[str, dict[str, object]]:
    study, series, uids, paths = content
    dicom = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    rad69 = rad69_request(settings.port, study, series, uids, settings.retrieve_location_uid)
    wado = get(f"/dicomweb/studies/{study}", dicom)
    web = folder / "web"
    web.mkdir()
    with (web / "whole").open("wb") as whole:
        for path in paths:
            whole.write(path.read_bytes())
    with nginx(web) as (nginx_port, _), orthanc(folder / "orthanc", paths) as orthanc_port:
        contenders: dict[str, tuple[Client, bytes]] = {
            "rad69": (Client(settings.port), rad69),
            "wado_rs": (Client(settings.port), wado),
            "nginx": (Client(nginx_port), get("/whole")),
            "orthanc": (
                Client(orthanc_port),
                get(f"/dicom-web/studies/{study}", dicom, "Connection: close\r\n"),
            ),
        }
        speeds = speeds_of(
            {name: lambda one=one: one[0].seconds(one[1]) for name, one in contenders.items()}, rounds
        )
        for client, _ in contenders.values():
            client.close()
    peak = round(peak_rss_mb(process_id), 1)
    return {
        f"ct_{ours}_vs_{theirs}": {
            "value": round(speeds[ours] / 1e6),
            "unit": "MB/s",
            "against": f"{theirs} {speeds[theirs] / 1e6:.0f} MB/s",
            "ratio": round(speeds[ours] / speeds[theirs], 2),
            "peak_rss_mb": peak,
        }
        for ours in ("rad69", "wado_rs")
        for theirs in ("nginx", "orthanc")
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
    given = options(__doc__, short="fewer rounds").parse_args()
    show(measure(rounds=5 if given.short else 15), as_json=given.json)


if __name__ == "__main__":
    main()

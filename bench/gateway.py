"""A CT study of another community, through gateways, beside the same study through nginx and asked for
directly.

In one run, in turns, over loopback, by the same client, which only reads: RAD-69 at an imaging source; the
same request through nginx before it (`proxy_pass`); RAD-75 at the Responding Gateway before it; and RAD-69 at
an Initiating Gateway of another community that asks there. Speeds are against nginx, first bytes against the
source; the processor's time is that of whoever stands between, gateways or nginx, for each GB, and for a
retrieval of 20 instances; memory is the peak of the gateways, and how far it rose from 20 instances to 500.
Then FindDocuments at the registry and through both gateways. Consent is asked, and every audit event is
durable, on the whole way. With --tls all of them speak TLS 1.3 with certificates of both sides.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.retrieve import EXPLICIT_LE, write_study
from bench.support.peers import nginx_before, nginx_worker, peak_rss_mb, processor_seconds
from bench.support.report import options, show
from consumer.transactions.iti18 import FIND_DOCUMENTS
from imaging_source.settings import ImagingSourceSettings
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.messages.rad75 import RAD75
from shared.security.tls import client_context
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from shared.soap.transaction import SoapTransaction
from xdsi.certificates import Community, create_community
from xdsi.community import Process, start_all, stop_all
from xdsi.import_ import send_files
from xdsi.services import Service
from xdsi.stage import free_ports

EAST, WEST = "urn:oid:2.999.71", "urn:oid:2.999.72"
PATIENT = "BENCH-1^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
#: A first byte is one moment: fewer give a median that another run does not give again.
ROUNDS = 20
QUERIES = 500
#: Instances of the small retrieval.
FEW = 20


class Stage:
    """The West with its actors and a gateway, and the East with a gateway and a registry."""

    def __init__(self, folder: Path, community: Community | None) -> None:
        self._scheme = "http" if community is None else "https"
        names = ("registry", "feed", "source", "dimse", "west", "east_registry", "east_feed", "east")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        own = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
        west = own | {
            **_secured(community),
            "XDSI_DATA": str(folder / "west"),
            "XDSI_HOME_COMMUNITY_ID": WEST,
            "XDSI_AUDIT__URL": f"{'tcp' if community is None else 'tls'}://127.0.0.1:9",
            "XDSI_REGISTRY__PORT": str(self.ports["registry"]),
            "XDSI_REGISTRY__MLLP_PORT": str(self.ports["feed"]),
            "XDSI_REGISTRY_URL": self.url("registry", "/xds/registry"),
            "XDSI_IMAGING_SOURCE__PORT": str(self.ports["source"]),
            "XDSI_IMAGING_SOURCE__DIMSE_PORT": str(self.ports["dimse"]),
            "XDSI_IMAGING_SOURCE_URL": self.url("source", "/xds/imaging-source"),
            "XDSI_GATEWAY__PORT": str(self.ports["west"]),
        }
        east = west | {
            "XDSI_DATA": str(folder / "east"),
            "XDSI_HOME_COMMUNITY_ID": EAST,
            "XDSI_REGISTRY__PORT": str(self.ports["east_registry"]),
            "XDSI_REGISTRY__MLLP_PORT": str(self.ports["east_feed"]),
            "XDSI_REGISTRY_URL": self.url("east_registry", "/xds/registry"),
            "XDSI_GATEWAY__PORT": str(self.ports["east"]),
            "XDSI_COMMUNITIES": json.dumps({WEST: self.url("west", "/xca/responding")}),
        }
        self.source = ImagingSourceSettings.load(None, west)
        self.members = [
            *(
                Process(service, west, folder / f"west-{service}.log")
                for service in (Service.REGISTRY, Service.IMAGING_SOURCE, Service.GATEWAY)
            ),
            *(
                Process(service, east, folder / f"east-{service}.log")
                for service in (Service.REGISTRY, Service.GATEWAY)
            ),
        ]

    def url(self, name: str, path: str) -> str:
        """An address on the stage."""
        return f"{self._scheme}://127.0.0.1:{self.ports[name]}{path}"


def _secured(community: Community | None) -> dict[str, str]:
    """The settings of nodes of one community that prove each other; whoever has none asks openly."""
    if community is None:
        return {}
    return {
        "XDSI_TLS__CERTIFICATE": str(community.node.certificate),
        "XDSI_TLS__KEY": str(community.node.key),
        "XDSI_TLS__TRUST": str(community.trust),
        "XDSI_XUA": "optional",
        "XDSI_CONSENT__DEFAULT": "permit",
    }


def message(transaction: SoapTransaction[Any, Any], url: str, request: Any) -> tuple[bytes, str]:
    """The body of a request, and its Content-Type."""
    body = transaction.encode_request(request)
    envelope = encode_request(transaction.action, "urn:uuid:0", url, body.xml, None)
    if not transaction.mtom:
        return envelope, "application/soap+xml; charset=UTF-8"
    content_type, pieces = write_package(envelope, (), action=transaction.action)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes)), content_type


def images(study: str, series: str, uids: list[str], location: str) -> RetrieveImagingDocumentSetRequest:
    """Every instance of the study."""
    documents = tuple(
        DocumentRequest(home_community_id=WEST, repository_unique_id=location, document_unique_id=uid)
        for uid in uids
    )
    of_series = SeriesRequest(series_instance_uid=series, documents=documents)
    return RetrieveImagingDocumentSetRequest(
        studies=(StudyRequest(study_instance_uid=study, series=(of_series,)),),
        transfer_syntax_uids=(EXPLICIT_LE,),
    )


QUERY = StoredQueryRequest(
    query_id=FIND_DOCUMENTS,
    return_type=ReturnType.LEAF_CLASS,
    parameters=encode_parameters(
        {
            "$XDSDocumentEntryPatientId": PATIENT,
            "$XDSDocumentEntryStatus": ("urn:oasis:names:tc:ebxml-regrep:StatusType:Approved",),
        }
    ),
    home=WEST,
)


class Client:
    """Asks again and again on one connection, and throws away what it gets."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._buffer = bytearray(1024 * 1024)

    def exchanged(self, request: bytes) -> tuple[float, float, int]:
        """Seconds to the first byte and to the last one, and the bytes of the body."""
        began = time.perf_counter()
        self._socket.sendall(request)
        received = self._received()
        first = time.perf_counter() - began
        head, _, body = bytes(self._buffer[:received]).partition(b"\r\n\r\n")
        assert head.split(b" ", 2)[1] == b"200", head[:300]
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"content-length" in headers:
            size = int(headers[b"content-length"])
            self._passed(size - len(body))
        else:
            size = self._chunks(body)
        return first, time.perf_counter() - began, size

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _received(self) -> int:
        received = self._socket.recv_into(self._buffer)
        assert received, "the connection ended early"
        return received

    def _passed(self, count: int) -> None:
        while count > 0:
            count -= self._socket.recv_into(self._buffer, min(count, len(self._buffer)))

    def _chunks(self, octets: bytes) -> int:
        """Let the chunks of a body pass; their bytes."""
        total = 0
        while True:
            while b"\r\n" not in octets:
                # Little at a time, so that what is measured is not the copying of what is thrown away.
                octets += self._socket.recv(64)
            line, _, octets = octets.partition(b"\r\n")
            size = int(line, 16)
            whole = size + 2
            self._passed(whole - len(octets))
            octets = octets[whole:]
            if not size:
                return total
            total += size


def http_request(url: str, transaction: SoapTransaction[Any, Any], request: Any) -> bytes:
    """A whole HTTP request; the same for whoever stands before what is asked."""
    body, content_type = message(transaction, url, request)
    head = (
        f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Way(NamedTuple):
    """Where something is asked for, and the processes between it and who has it."""

    port: int
    request: bytes
    between: tuple[int, ...] = ()


class Exchange(NamedTuple):
    """Seconds to the first byte and to the last, bytes, and seconds of the processor between."""

    first: float
    last: float
    size: int
    processor: float


Taken = dict[str, list[Exchange]]


def in_turns(ways: dict[str, Way], rounds: int, context: ssl.SSLContext | None) -> Taken:
    """What each way took, after two rounds that warm everything."""
    clients = {name: Client(way.port, context) for name, way in ways.items()}
    taken: Taken = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            before = sum(map(processor_seconds, way.between))
            exchanged = clients[name].exchanged(way.request)
            if number >= 2:
                spent = sum(map(processor_seconds, way.between)) - before
                taken[name].append(Exchange(*exchanged, spent))
    for client in clients.values():
        client.close()
    return taken


def compared(
    stage: Stage,
    content: tuple[str, str, list[str]],
    proxy: tuple[int, int],
    rounds: int,
    context: ssl.SSLContext | None,
) -> dict[str, Any]:
    """All measures by name."""
    study, series, uids = content
    location = stage.source.retrieve_location_uid
    gateways = tuple(stage.members[place].pid for place in (2, 4))

    def ways(uids: list[str]) -> dict[str, Way]:
        asked = images(study, series, uids, location)
        source = http_request(stage.url("source", "/xds/imaging-source"), RAD69, asked)
        return {
            "direct": Way(stage.ports["source"], source),
            "nginx": Way(proxy[0], source, proxy[1:]),
            "one_gateway": Way(
                stage.ports["west"],
                http_request(stage.url("west", "/xca/responding"), RAD75, asked),
                gateways[:1],
            ),
            "two_gateways": Way(
                stage.ports["east"],
                http_request(stage.url("east", "/xca/initiating"), RAD69, asked),
                gateways,
            ),
        }

    few = in_turns(ways(uids[:FEW]), rounds, context)
    peak_of_few = [peak_rss_mb(pid) for pid in gateways]
    retrieved = in_turns(ways(uids), rounds, context)
    growth = max(peak_rss_mb(pid) - few for pid, few in zip(gateways, peak_of_few, strict=True))
    queries = in_turns(
        {
            "direct": Way(
                stage.ports["registry"],
                http_request(stage.url("registry", "/xds/registry"), ITI18, QUERY),
            ),
            "two_gateways": Way(
                stage.ports["east"],
                http_request(stage.url("east", "/xca/initiating"), ITI18, QUERY),
            ),
        },
        QUERIES,
        context,
    )
    speeds = {
        name: statistics.median(one.size / one.last for one in taken) / 1e6
        for name, taken in retrieved.items()
    }
    firsts = {name: _median(taken, 0) for name, taken in retrieved.items()}
    asked_for = {name: _median(taken, 1) for name, taken in queries.items()}
    costs = {
        name: statistics.median(one.processor / one.size for one in taken) * 1e12
        for name, taken in retrieved.items()
    }
    costs_of_few = {name: _median(taken, 3) for name, taken in few.items()}
    peak = max(map(peak_rss_mb, gateways))
    return {
        **{
            f"rad69_{name}": measure_of(
                speeds[name],
                "MB/s",
                f"nginx proxy_pass {speeds['nginx']:.0f}, directly {speeds['direct']:.0f} MB/s",
                ratio=speeds[name] / speeds["nginx"],
                processor_ms_a_gb=costs[name],
                processor_ms_a_gb_nginx=costs["nginx"],
                processor_ms_of_few=costs_of_few[name],
                peak_rss_mb=peak,
                growth_from_few_mb=growth,
            )
            for name in ("one_gateway", "two_gateways")
        },
        **{
            f"first_byte_{name}": measure_of(
                firsts[name],
                "ms",
                f"directly {firsts['direct']:.1f}, nginx {firsts['nginx']:.1f} ms",
                ratio=firsts[name] / firsts["direct"],
            )
            for name in ("one_gateway", "two_gateways")
        },
        "find_documents_two_gateways": measure_of(
            asked_for["two_gateways"],
            "ms",
            f"directly {asked_for['direct']:.1f} ms",
            ratio=asked_for["two_gateways"] / asked_for["direct"],
        ),
    }


def _median(taken: list[Exchange], place: int) -> float:
    """In milliseconds."""
    return statistics.median(one[place] for one in taken) * 1e3


def measure_of(value: float, unit: str, against: str, **more: float) -> dict[str, Any]:
    """One line of the report."""
    return {
        "value": round(value, 1),
        "unit": unit,
        "against": against,
        **{name: round(number, 2) for name, number in more.items()},
    }


def measure(*, rounds: int, tls: bool) -> dict[str, Any]:
    """Set the stage and measure."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        (folder / "study").mkdir()
        study, series, uids, paths = write_study(folder / "study")
        community = create_community(folder / "certificates", "Bench") if tls else None
        stage = Stage(folder, community)
        try:
            list(start_all(stage.members))
            stored = asyncio.run(send_files(stage.source, paths))
            assert stored == len(paths), f"{stored} instances were stored"
            (folder / "nginx").mkdir()
            context = client_context(stage.source.tls) if tls else None
            with nginx_before(folder / "nginx", stage.ports["source"], community) as port:
                proxy = port, nginx_worker(folder / "nginx")
                return compared(stage, (study, series, uids), proxy, rounds, context)
        finally:
            stop_all(stage.members)


def main() -> None:
    """Measure and print."""
    asked = options(__doc__, short="fewer rounds")
    asked.add_argument("--tls", action="store_true", help="speak TLS with certificates everywhere")
    given = asked.parse_args()
    show(measure(rounds=ROUNDS if given.short else 2 * ROUNDS, tls=given.tls), as_json=given.json)


if __name__ == "__main__":
    main()

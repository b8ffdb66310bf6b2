"""A CT study of another community, through both gateways, beside the same study asked for directly.

In one run, in turns, over loopback, by the same client, which only reads: RAD-69 at an imaging source, RAD-75
at the Responding Gateway before it, and RAD-69 at an Initiating Gateway of another community that asks there;
then FindDocuments at the registry and through both gateways. Consent is asked, and every audit event is
durable, on the whole way.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx2

from bench.retrieve import EXPLICIT_LE, write_study
from bench.support.peers import peak_rss_mb
from bench.support.report import options, show
from consumer.transactions.iti18 import FIND_DOCUMENTS
from imaging_source.settings import ImagingSourceSettings
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.messages.rad75 import RAD75
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from shared.soap.transaction import SoapTransaction
from xdsi.community import Process, start_all, stop_all
from xdsi.import_ import send_files
from xdsi.services import Service
from xdsi.stage import free_ports

EAST, WEST = "urn:oid:2.999.71", "urn:oid:2.999.72"
PATIENT = "BENCH-1^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"
QUERIES = 50


class Stage:
    """The West with its actors and a gateway, and the East with a gateway and a registry."""

    def __init__(self, folder: Path) -> None:
        names = ("registry", "feed", "source", "dimse", "west", "east_registry", "east_feed", "east")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        own = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
        west = own | {
            "XDSI_DATA": str(folder / "west"),
            "XDSI_HOME_COMMUNITY_ID": WEST,
            "XDSI_AUDIT__URL": "tcp://127.0.0.1:9",
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
        return f"http://127.0.0.1:{self.ports[name]}{path}"


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


async def exchanged(
    http: httpx2.AsyncClient, transaction: SoapTransaction[Any, Any], url: str, request: Any
) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last one, and the bytes of the body."""
    body, content_type = message(transaction, url, request)
    began = time.perf_counter()
    size, first = 0, 0.0
    async with http.stream("POST", url, content=body, headers={"content-type": content_type}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for chunk in answer.aiter_raw():
            first = first or time.perf_counter() - began
            size += len(chunk)
    return first, time.perf_counter() - began, size


Asked = Callable[[], Awaitable[tuple[float, float, int]]]


async def in_turns(contenders: dict[str, Asked], rounds: int) -> dict[str, list[tuple[float, float, int]]]:
    """What each took, after two rounds that warm everything."""
    seen: dict[str, list[tuple[float, float, int]]] = {name: [] for name in contenders}
    for number in range(rounds + 2):
        for name, ask in contenders.items():
            taken = await ask()
            if number >= 2:
                seen[name].append(taken)
    return seen


async def compared(stage: Stage, content: tuple[str, str, list[str]], rounds: int) -> dict[str, Any]:
    """All measures by name."""
    asked = images(*content, stage.source.retrieve_location_uid)
    ways: dict[str, tuple[SoapTransaction[Any, Any], str]] = {
        "direct": (RAD69, stage.url("source", "/xds/imaging-source")),
        "one_gateway": (RAD75, stage.url("west", "/xca/responding")),
        "two_gateways": (RAD69, stage.url("east", "/xca/initiating")),
    }
    async with httpx2.AsyncClient(timeout=120, trust_env=False) as http:
        retrieved = await in_turns(
            {name: lambda way=way: exchanged(http, *way, asked) for name, way in ways.items()}, rounds
        )
        found = await in_turns(
            {
                "direct": lambda: exchanged(http, ITI18, stage.url("registry", "/xds/registry"), QUERY),
                "two_gateways": lambda: exchanged(http, ITI18, stage.url("east", "/xca/initiating"), QUERY),
            },
            rounds * QUERIES,
        )
    size = min(taken[0][2] for taken in retrieved.values())
    speeds = {
        name: size / statistics.median(last for _, last, _ in taken) for name, taken in retrieved.items()
    }
    firsts = {name: statistics.median(first for first, _, _ in taken) for name, taken in retrieved.items()}
    queries = {name: statistics.median(last for _, last, _ in taken) for name, taken in found.items()}
    peak = max(peak_rss_mb(stage.members[place].pid) for place in (2, 4))
    return {
        **{
            f"rad69_{name}": _measure(
                speeds[name] / 1e6, "MB/s", f"directly {speeds['direct'] / 1e6:.0f} MB/s", speeds, name, peak
            )
            for name in ("one_gateway", "two_gateways")
        },
        "first_byte_two_gateways": _measure(
            firsts["two_gateways"] * 1e3,
            "ms",
            f"directly {firsts['direct'] * 1e3:.1f} ms",
            firsts,
            "two_gateways",
            peak,
        ),
        "find_documents_two_gateways": _measure(
            queries["two_gateways"] * 1e3,
            "ms",
            f"directly {queries['direct'] * 1e3:.1f} ms",
            queries,
            "two_gateways",
            peak,
        ),
    }


def _measure(
    value: float, unit: str, against: str, all_of: dict[str, float], name: str, peak: float
) -> dict[str, Any]:
    return {
        "value": round(value, 1),
        "unit": unit,
        "against": against,
        "ratio": round(all_of[name] / all_of["direct"], 2),
        "peak_rss_mb": round(peak, 1),
    }


def measure(*, rounds: int) -> dict[str, Any]:
    """Set the stage and measure."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder = Path(name)
        (folder / "study").mkdir()
        study, series, uids, paths = write_study(folder / "study")
        stage = Stage(folder)
        try:
            list(start_all(stage.members))
            stored = asyncio.run(send_files(stage.source, paths))
            assert stored == len(paths), f"{stored} instances were stored"
            return asyncio.run(compared(stage, (study, series, uids), rounds))
        finally:
            stop_all(stage.members)


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="fewer rounds").parse_args()
    show(measure(rounds=3 if given.short else 10), as_json=given.json)


if __name__ == "__main__":
    main()

"""The consumer retrieves from a real imaging source in this process (RAD TF-3 4.69, 4.107)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from consumer.domain.study import Delivery, Via, requested_instances
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.settings import ConsumerSettings
from consumer.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.dicom.kos import Manifest, ReferencedInstance, ReferencedSeries, ReferencedStudy
from shared.http.client import http_client
from shared.security.caller import Node
from shared.settings import TlsSettings
from shared.soap.client import PeerError, SoapClient
from tests.support.dicom import CT, a_ct, part10, with_pixels
from tests.support.http_server import serving
from tests.support.imaging_source import (
    LOCATION_UID,
    Source,
    database_place,
    either_source,
    postgres_url,
    source,
)

__all__ = ["database_place", "either_source", "postgres_url", "source"]

BASE = "http://127.0.0.1:8030"
AE_TITLE = "ARCHIVE"
NUMBER = 7


class Remembered:
    """A recorder that a test can ask."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def record(self, events) -> None:
        self.events += events


class Cut(httpx2.AsyncBaseTransport):
    """Lets the first `times` answers break off after `size` bytes of their body."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, times: int, size: int) -> None:
        self._inner, self._times, self._size = inner, times, size

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        if self._times == 0:
            return answer
        self._times -= 1
        octets = await answer.aread()
        return httpx2.Response(
            answer.status_code, headers=answer.headers, stream=_Broken(octets[: self._size])
        )


class _Broken(httpx2.AsyncByteStream):
    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._octets
        raise httpx2.ReadError("the connection broke")


@pytest.fixture
def files() -> dict[str, bytes]:
    return {
        f"2.25.9{number}": part10(a_ct(SOPInstanceUID=f"2.25.9{number}", InstanceNumber=number))
        for number in range(NUMBER)
    }


@pytest.fixture
def recorder() -> Remembered:
    return Remembered()


def a_consumer(
    folder: Path,
    recorder: Remembered,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    assertion: Callable[[], bytes | None] = lambda: None,
    peers: tuple[str, ...] = (BASE,),
    **changes: Any,
) -> ImagingDocumentConsumer:
    settings = ConsumerSettings.load(
        environ={},
        data=folder,
        instances_per_request=3,
        parallel=2,
        imaging_source_url=f"{BASE}/xds/imaging-source",
        wado_uris={AE_TITLE: f"{BASE}/wado"},
        **changes,
    )
    http = http_client(TlsSettings(), peers=peers, transport=transport)
    spool = folder / "incoming"
    spool.mkdir(exist_ok=True)
    return ImagingDocumentConsumer(
        Unit(
            settings=settings,
            http=http,
            soap=SoapClient(http, spool_folder=spool),
            recorder=recorder,  # type: ignore[arg-type]
            node=Node(address="127.0.0.1"),
            user=None,
            proof=assertion,
            spool_folder=spool,
            moves=asyncio.Lock(),
        )
    )


@pytest.fixture
def consumer_of(
    tmp_path: Path, recorder: Remembered, source: Source
) -> Callable[..., ImagingDocumentConsumer]:
    def make(**cut: int) -> ImagingDocumentConsumer:
        transport: httpx2.AsyncBaseTransport = httpx2.ASGITransport(
            app=source.service.asgi, client=("127.0.0.1", 50_000)
        )
        if cut:
            transport = Cut(transport, **cut)
        return a_consumer(tmp_path, recorder, transport=transport)

    return make


def a_manifest(
    *sop_instance_uids: str,
    location_uid: str = LOCATION_UID,
    url: str = f"{BASE}/dicomweb",
    ae_title: str = AE_TITLE,
) -> Manifest:
    references = tuple(
        ReferencedInstance(sop_class_uid=CT, sop_instance_uid=uid) for uid in sop_instance_uids
    )
    series = ReferencedSeries(
        series_instance_uid="2.25.12",
        retrieve_location_uid=location_uid,
        retrieve_url=url,
        retrieve_ae_title=ae_title,
        instances=references,
    )
    return Manifest(
        sop_instance_uid="2.25.1",
        study_instance_uid="2.25.11",
        studies=(ReferencedStudy(study_instance_uid="2.25.11", series=(series,)),),
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.rglob("*.dcm")}


#: By what a manifest says where images lie, for each transaction.
PLACES = {Via.RAD69: "location_uid", Via.WADO_RS: "url", Via.WADO_URI: "ae_title"}


@pytest.mark.parametrize("via", list(PLACES))
async def test_every_instance_comes_as_it_was_stored(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    told: list[Delivery] = []

    result = await consumer_of().retrieve(
        a_manifest(*files), tmp_path / "to", via=via, on_delivery=told.append
    )

    assert content(tmp_path / "to") == files
    assert (result.instances, result.complete) == (NUMBER, True)
    assert sorted(one.instance.sop_instance_uid for one in told) == sorted(files)
    assert not list((tmp_path / "to").rglob("*.part"))


@pytest.mark.parametrize("via", list(PLACES))
async def test_one_instance_is_retrieved_by_itself_or_told_to_be_missing(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    there, missing = requested_instances(a_manifest("2.25.93", "2.25.404"))

    delivery = await consumer_of().instance(there, tmp_path, via=via)
    nothing = await consumer_of().instance(missing, tmp_path, via=via)

    assert (tmp_path / there.file_name).read_bytes() == files["2.25.93"]
    assert (delivery.size, delivery.reason) == (len(files["2.25.93"]), "")
    assert nothing.reason
    assert nothing.code == ("XDSDocumentUniqueIdError" if via is Via.RAD69 else "")


async def test_one_instance_whose_answer_breaks_off_is_an_error_and_no_delivery(
    source: Source, consumer_of, files, tmp_path: Path
):
    await source.keep(*files.values())
    (one,) = requested_instances(a_manifest("2.25.90"))
    (tmp_path / "to").mkdir()

    with pytest.raises(PeerError):
        await consumer_of(times=1, size=2_000).instance(one, tmp_path / "to")

    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("via", list(PLACES))
async def test_what_the_source_does_not_have_is_named(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())

    result = await consumer_of().retrieve(a_manifest(*files, "2.25.404"), tmp_path / "to", via=via)

    assert [one.instance.sop_instance_uid for one in result.missing] == ["2.25.404"]
    assert content(tmp_path / "to") == files


@pytest.mark.parametrize("via", list(PLACES))
async def test_an_interrupted_retrieval_is_resumed_where_it_broke(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    only_road = {name: "" for of, name in PLACES.items() if of is not via}
    manifest = a_manifest(*files, **only_road)
    broken = await consumer_of(times=1, size=2_000).retrieve(manifest, tmp_path / "to", via=via)
    whole_before = content(tmp_path / "to")

    resumed = await consumer_of().retrieve(manifest, tmp_path / "to", via=via)

    assert not broken.complete
    assert whole_before.items() < files.items()
    assert resumed.complete
    assert resumed.already_there == len(whole_before)
    assert content(tmp_path / "to") == files


@pytest.mark.parametrize("via", list(PLACES))
async def test_what_one_road_does_not_bring_comes_by_the_other_and_a_note_says_so(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())

    result = await consumer_of(times=1, size=2_000).retrieve(a_manifest(*files), tmp_path / "to", via=via)

    other = "RAD-69" if via is not Via.RAD69 else "WADO-RS"
    assert result.complete
    assert content(tmp_path / "to") == files
    assert any(f"came by {other}" in note for note in result.notes)


async def test_one_series_can_be_chosen(source: Source, consumer_of, files, tmp_path: Path):
    await source.keep(*files.values())

    nothing = await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", series=["2.25.999"])
    everything = await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", series=["2.25.12"])

    assert (nothing.instances, everything.instances) == (0, NUMBER)


async def test_what_came_is_read_by_pydicom_and_numpy(source: Source, consumer_of, tmp_path: Path):
    image = a_ct(SOPInstanceUID="2.25.91")
    with_pixels(image, np.arange(16, dtype=np.uint16).reshape(1, 4, 4))
    image.RescaleSlope, image.RescaleIntercept = 2, -1000
    await source.keep(part10(image))

    result = await consumer_of().retrieve(a_manifest("2.25.91", "2.25.404"), tmp_path / "to")

    assert [one.SOPInstanceUID for one in result.datasets()] == ["2.25.91"]
    (array,) = result.arrays()
    assert array.tolist() == (np.arange(16).reshape(4, 4) * 2 - 1000).tolist()


@pytest.mark.parametrize("via", list(PLACES))
async def test_the_trail_splits_what_came_from_what_did_not(
    source: Source, consumer_of, recorder: Remembered, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())

    await consumer_of().retrieve(
        a_manifest(*files, "2.25.404"), tmp_path / "to", via=via, patient_id="P1^^^&1.2.3&ISO"
    )

    outcomes = {event.outcome for event in recorder.events}
    assert outcomes == {Outcome.SUCCESS, Outcome.SERIOUS_FAILURE}
    assert {event.event_id.code for event in recorder.events} == {"110103"}
    assert all(event.objects[0].object_id == "P1^^^&1.2.3&ISO" for event in recorder.events)
    delivered = [event for event in recorder.events if event.outcome is Outcome.SUCCESS]
    assert sum(count for event in delivered for _, count in event.objects[1].sop_classes) == NUMBER


@pytest.mark.parametrize("via", list(PLACES))
async def test_a_refused_patient_leaves_nothing_behind(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    source.consent.refused = frozenset({"P1^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"})

    result = await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", via=via)

    assert result.instances == 0
    assert len(result.missing) == NUMBER
    assert content(tmp_path / "to") == {}


HOSTILE_URLS = (
    "http://203.0.113.9/dicomweb",
    "https://127.0.0.1:8030/dicomweb",
    "http://127.0.0.1:8031/dicomweb",
    "http://127.0.0.1/dicomweb",
    "http://127.0.0.1:99999/dicomweb",
    "http://127.0.0.1:-1/dicomweb",
    "http://127.0.0.1:8030@203.0.113.9/dicomweb",
    "http://user:secret@127.0.0.1:8030/dicomweb",
    "http://127.0.0.1:8030/dicomweb?x=",
    "http://127.0.0.1:8030/dicomweb#x",
    "http://127.0.0.1.example:8030/dicomweb",
    "http://\u0131\u217b7.0.0.1:8030/dicomweb",
    "http://xn--\ud800/dicomweb",
    "http://[::1/dicomweb",
    "http:///dicomweb",
    "http://",
    "//127.0.0.1:8030/dicomweb",
    "dicomweb",
    "ftp://127.0.0.1:8030/dicomweb",
    "file:///etc/passwd",
    "gopher://127.0.0.1:8030/_x",
    "javascript:alert(1)",
    "http://127.0.0.1:8030/\r\nX-Role: admin",
    "http://127.0.0.1:8030\0.example/dicomweb",
    "h" * 70_000,
    "http://" + "a" * 70_000,
)


@pytest.mark.parametrize("url", HOSTILE_URLS, ids=range(len(HOSTILE_URLS)))
async def test_a_retrieve_url_that_is_no_peer_is_told_in_a_sentence_and_nobody_is_asked(
    tmp_path: Path, recorder: Remembered, url: str
):
    class Nobody(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            pytest.fail("somebody was asked")

    consumer = a_consumer(tmp_path, recorder, transport=Nobody(), assertion=lambda: pytest.fail("signed"))

    result = await consumer.retrieve(
        a_manifest("2.25.90", location_uid="", url=url, ae_title=""), tmp_path / "to", via=Via.WADO_RS
    )

    [missing] = result.missing
    assert missing.reason.startswith("the Retrieve URL of the manifest is not of http://127.0.0.1:8030")
    assert len(missing.reason) < 300


# --- sources without an end ----------------------------------------------------------------------------

PART = b"--b\r\ncontent-type: application/dicom\r\n\r\n"


def source_that(write: Callable[[Any], Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        content_type = b'multipart/related; type="application/dicom"; boundary=b'
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]}
        )

        async def body(octets: bytes) -> None:
            await send({"type": "http.response.body", "body": octets, "more_body": True})

        await write(body)

    return app


async def pours(body: Any) -> None:
    await body(PART)
    while True:
        await body(bytes(64 * 1024))
        await asyncio.sleep(0)


async def drips(body: Any) -> None:
    await body(PART)
    while True:
        await body(b"x")
        await asyncio.sleep(0.02)


async def drips_a_header(body: Any) -> None:
    await body(b"--b\r\nX-A: ")
    while True:
        await body(b"x")
        await asyncio.sleep(0.02)


async def is_silent(body: Any) -> None:
    await body(PART)
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (pours, "longer than 1048576 bytes"),
        (drips, "did not arrive within 0.4 s"),
        (drips_a_header, "no further instance began within 0.4 s"),
        (is_silent, "did not arrive within 0.4 s"),
    ],
)
@pytest.mark.parametrize("instances", [1, 2])
async def test_an_instance_without_end_is_given_up_and_nothing_of_it_is_left(
    tmp_path: Path, recorder: Remembered, write: Any, told: str, instances: int
):
    uids = [f"2.25.9{number}" for number in range(instances)]
    async with serving(source_that(write)) as server, asyncio.timeout(20):
        url = f"http://127.0.0.1:{server.port}"
        consumer = a_consumer(
            tmp_path,
            recorder,
            peers=(url,),
            dicomweb_peers=(url,),
            max_instance_bytes=1024**2,
            instance_seconds=20 if write is pours else 0.4,
        )
        result = await consumer.retrieve(
            a_manifest(*uids, location_uid="", url=url, ae_title=""), tmp_path / "to", via=Via.WADO_RS
        )

    assert [told in missing.reason for missing in result.missing] == [True] * instances
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert [event.outcome for event in recorder.events] == [Outcome.SERIOUS_FAILURE]


@pytest.mark.parametrize(
    ("via", "place"), [(via, place) for via in PLACES for place in PLACES if place is not via]
)
async def test_what_has_one_place_alone_comes_by_its_transaction_and_is_told(
    source: Source, consumer_of, files, tmp_path: Path, via: Via, place: Via
):
    await source.keep(*files.values())
    only = {name: "" for of, name in PLACES.items() if of is not place}
    consumer = consumer_of()

    result = await consumer.retrieve(a_manifest(*files, **only), tmp_path / "to", via=via)
    (one,) = requested_instances(a_manifest("2.25.93", **only))
    delivery = await consumer.instance(one, tmp_path, via=via)

    assert content(tmp_path / "to") == files
    assert result.notes == (
        f"{NUMBER} instances were asked for by {place.text}: their manifest names no {via.needs}",
    )
    assert delivery.reason == ""


@pytest.mark.parametrize("via", list(PLACES))
async def test_what_has_both_places_comes_as_it_was_asked_for(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())

    assert (await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", via=via)).notes == ()


@pytest.mark.parametrize("via", list(PLACES))
async def test_what_has_no_place_is_told_and_nobody_is_asked(consumer_of, files, tmp_path: Path, via: Via):
    result = await consumer_of().retrieve(
        a_manifest(*files, location_uid="", url="", ae_title="ELSEWHERE"), tmp_path / "to", via=via
    )

    assert {one.reason for one in result.missing} == {
        "the manifest names neither a Retrieve Location UID nor a Retrieve URL to ask at, and no Retrieve AE "
        "Title of XDSI_CONSUMER__WADO_URIS or XDSI_CONSUMER__MOVE_ARCHIVES"
    }
    assert result.notes == ()

"""The consumer retrieves from a real imaging source in this process (RAD TF-3 4.69, 4.107)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from consumer.domain.study import Delivery, Via, wanted
from consumer.imaging_document_consumer import ImagingDocumentConsumer
from consumer.settings import ConsumerSettings
from consumer.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.dicom.kos import Manifest, ReferencedInstance, ReferencedSeries, ReferencedStudy
from shared.http.client import http_client
from shared.security.caller import Node
from shared.settings import TlsSettings
from shared.soap.client import PeerError, SoapClient
from tests.support.dicom import CT, a_ct, part10
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


@pytest.fixture
def consumer_of(
    tmp_path: Path, recorder: Remembered, source: Source
) -> Callable[..., ImagingDocumentConsumer]:
    def make(**cut: int) -> ImagingDocumentConsumer:
        settings = ConsumerSettings.load(
            environ={},
            data=tmp_path,
            instances_per_request=3,
            parallel=2,
            imaging_source_url=f"{BASE}/xds/imaging-source",
        )
        transport: httpx2.AsyncBaseTransport = httpx2.ASGITransport(
            app=source.service.asgi, client=("127.0.0.1", 50_000)
        )
        if cut:
            transport = Cut(transport, **cut)
        http = http_client(TlsSettings(), peers=(BASE,), transport=transport)
        spool = tmp_path / "incoming"
        spool.mkdir(exist_ok=True)
        return ImagingDocumentConsumer(
            Unit(
                settings=settings,
                http=http,
                soap=SoapClient(http, spool_folder=spool),
                recorder=recorder,  # type: ignore[arg-type]
                node=Node(address="127.0.0.1"),
                user=None,
                assertion=lambda: None,
                spool_folder=spool,
            )
        )

    return make


def a_manifest(
    *sop_instance_uids: str, location_uid: str = LOCATION_UID, url: str = f"{BASE}/dicomweb"
) -> Manifest:
    references = tuple(
        ReferencedInstance(sop_class_uid=CT, sop_instance_uid=uid) for uid in sop_instance_uids
    )
    series = ReferencedSeries(
        series_instance_uid="2.25.12",
        retrieve_location_uid=location_uid,
        retrieve_url=url,
        instances=references,
    )
    return Manifest(
        sop_instance_uid="2.25.1",
        study_instance_uid="2.25.11",
        studies=(ReferencedStudy(study_instance_uid="2.25.11", series=(series,)),),
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.rglob("*.dcm")}


@pytest.mark.parametrize("via", list(Via))
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


@pytest.mark.parametrize("via", list(Via))
async def test_one_instance_is_retrieved_by_itself_or_told_to_be_missing(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    there, missing = wanted(a_manifest("2.25.93", "2.25.404"))

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
    (one,) = wanted(a_manifest("2.25.90"))
    (tmp_path / "to").mkdir()

    with pytest.raises(PeerError):
        await consumer_of(times=1, size=2_000).instance(one, tmp_path / "to")

    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("via", list(Via))
async def test_what_the_source_does_not_have_is_named(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())

    result = await consumer_of().retrieve(a_manifest(*files, "2.25.404"), tmp_path / "to", via=via)

    assert [one.instance.sop_instance_uid for one in result.missing] == ["2.25.404"]
    assert content(tmp_path / "to") == files


@pytest.mark.parametrize("via", list(Via))
async def test_an_interrupted_retrieval_is_resumed_where_it_broke(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    broken = await consumer_of(times=1, size=2_000).retrieve(a_manifest(*files), tmp_path / "to", via=via)
    whole_before = content(tmp_path / "to")

    resumed = await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", via=via)

    assert not broken.complete
    assert whole_before.items() < files.items()
    assert resumed.complete
    assert resumed.already_there == len(whole_before)
    assert content(tmp_path / "to") == files


@pytest.mark.parametrize("via", list(Via))
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


@pytest.mark.parametrize("via", list(Via))
async def test_a_refused_patient_leaves_nothing_behind(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    source.consent.refused = frozenset({"P1^^^&1.3.6.1.4.1.21367.2005.13.20.1000&ISO"})

    result = await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", via=via)

    assert result.instances == 0
    assert len(result.missing) == NUMBER
    assert content(tmp_path / "to") == {}


async def test_a_retrieve_url_that_is_no_peer_opens_no_connection(consumer_of, tmp_path: Path):
    manifest = a_manifest("2.25.90")
    [study] = manifest.studies
    [series] = study.series
    foreign = ReferencedSeries(
        series_instance_uid=series.series_instance_uid,
        retrieve_url="http://203.0.113.9/dicomweb",
        instances=series.instances,
    )
    manifest = Manifest(
        sop_instance_uid="2.25.1",
        study_instance_uid="2.25.11",
        studies=(ReferencedStudy(study_instance_uid="2.25.11", series=(foreign,)),),
    )

    result = await consumer_of().retrieve(manifest, tmp_path / "to", via=Via.WADO_RS)

    assert "not a configured peer" in result.missing[0].reason


ONE_PLACE = {
    Via.RAD69: ({"location_uid": ""}, "WADO-RS: their manifest names no Retrieve Location UID"),
    Via.WADO_RS: ({"url": ""}, "RAD-69: their manifest names no Retrieve URL"),
}


@pytest.mark.parametrize("via", list(Via))
async def test_what_has_one_place_alone_comes_by_its_transaction_and_is_told(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())
    place, note = ONE_PLACE[via]
    consumer = consumer_of()

    result = await consumer.retrieve(a_manifest(*files, **place), tmp_path / "to", via=via)
    (one,) = wanted(a_manifest("2.25.93", **place))
    delivery = await consumer.instance(one, tmp_path, via=via)

    assert content(tmp_path / "to") == files
    assert result.notes == (f"{NUMBER} instances were asked for by {note}",)
    assert delivery.reason == ""


@pytest.mark.parametrize("via", list(Via))
async def test_what_has_both_places_comes_as_it_was_asked_for(
    source: Source, consumer_of, files, tmp_path: Path, via: Via
):
    await source.keep(*files.values())

    assert (await consumer_of().retrieve(a_manifest(*files), tmp_path / "to", via=via)).notes == ()


@pytest.mark.parametrize("via", list(Via))
async def test_what_has_no_place_is_told_and_nobody_is_asked(consumer_of, files, tmp_path: Path, via: Via):
    result = await consumer_of().retrieve(
        a_manifest(*files, location_uid="", url=""), tmp_path / "to", via=via
    )

    assert {one.reason for one in result.missing} == {
        "the manifest names neither a Retrieve Location UID nor a Retrieve URL to ask at"
    }
    assert result.notes == ()

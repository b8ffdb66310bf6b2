"""ITI-43 and RAD-69 at the Initiating, ITI-39 and RAD-75 at the Responding Gateway (ITI TF-2 3.39.4.1.3;
RAD TF-3 4.75.4.1.3)."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Generator
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gateway.transactions.relay import Relay
from shared.audit.recorder import AuditUnavailable
from shared.errors import Actor, RegistryNotAvailable
from shared.faults import SecurityFault
from shared.http.raw_asgi import FileRange, Stream
from shared.messages.documents import DocumentRequest
from shared.messages.iti39 import ITI39
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest
from shared.messages.rad75 import RAD75
from shared.messages.registry import Status
from shared.soap.client import PeerUnclear
from tests.support.gateway import (
    EAST,
    NORTH,
    WEST,
    World,
    actors,
    an_imaging_request,
    at,
    octets,
    world,
)
from tests.support.waiting import until

MIB = 1024 * 1024
BOTH = pytest.mark.parametrize("way", ["documents", "images"])
BY_TLS_TOO = pytest.mark.parametrize("two", ["plain", "TLS"], indirect=True)


async def ask(two: World, way: str, *asked: DocumentRequest) -> Any:
    return await getattr(two, way)(*asked)


def keep(two: World, *, east: dict[str, bytes], west: dict[str, bytes]) -> None:
    for actors_of, home, documents in ((two.east, EAST, east), (two.west, WEST, west)):
        for uid, content in documents.items():
            one = at(home, uid)
            actors_of.documents[one.repository_unique_id, uid] = content


def errors_of(response) -> list[tuple[str, str]]:
    return [(error.code_for(Actor.REPOSITORY), error.location) for error in response.errors]


@BOTH
async def test_documents_come_from_wherever_they_are_as_one_answer(two: World, way: str):
    keep(two, east={"1.1": b"one", "1.2": b"\r\n--two"}, west={"2.1": os.urandom(300_000), "2.2": b""})
    asked = [at(EAST, "1.1"), at(WEST, "2.1"), at(EAST, "1.2"), at(WEST, "2.2"), at(WEST, "2.1")]

    response = await ask(two, way, *asked)

    assert response.status is Status.SUCCESS
    assert octets(response) == {
        uid: content for (_, uid), content in (two.east.documents | two.west.documents).items()
    }
    assert {
        (one.home_community_id, one.repository_unique_id, one.document_unique_id, one.mime_type)
        for one in response.documents
    } == {
        (one.home_community_id, one.repository_unique_id, one.document_unique_id, "application/dicom")
        for one in asked
    }
    assert len(response.documents) == 4


async def test_study_series_and_transfer_syntaxes_go_on_as_they_came(two: World):
    keep(two, east={"1.1": b"one"}, west={"2.1": b"two"})
    syntaxes = ("1.2.3.4.5", "1.2.840.10008.1.2.1")

    await two.images(at(EAST, "1.1"), at(WEST, "2.1"), at(WEST, "2.2"), syntaxes=syntaxes)

    whole = an_imaging_request(at(EAST, "1.1"), at(WEST, "2.1"), at(WEST, "2.2"), syntaxes=syntaxes)
    (study,) = whole.studies
    ((of_east,), (of_west,)) = two.east.asked[0].studies, two.west.asked[0].studies
    assert of_east.study_instance_uid == of_west.study_instance_uid == study.study_instance_uid
    assert (of_east.series, of_west.series) == (study.series[:1], study.series[1:])
    assert two.east.asked[0].transfer_syntax_uids == two.west.asked[0].transfer_syntax_uids == syntaxes


@BOTH
async def test_what_cannot_be_had_is_an_error_beside_what_can(two: World, way: str):
    keep(two, east={"1.1": b"one"}, west={"2.1": b"two"})

    response = await ask(
        two,
        way,
        at(EAST, "1.1"),
        at(EAST, "1.9"),
        at(WEST, "2.1"),
        at(WEST, "2.9"),
        at(WEST, "2.1", repository="2.999.66"),
        at(NORTH, "3.1"),
        DocumentRequest(repository_unique_id="2.999.1.20", document_unique_id="4.1"),
    )

    assert response.status is Status.PARTIAL_SUCCESS
    assert octets(response) == {"1.1": b"one", "2.1": b"two"}
    assert sorted(errors_of(response)) == [
        ("XDSDocumentUniqueIdError", "1.9"),
        ("XDSDocumentUniqueIdError", WEST),
        ("XDSMissingHomeCommunityId", "4.1"),
        ("XDSUnknownCommunity", "3.1"),
        ("XDSUnknownRepositoryId", WEST),
    ]
    (far,) = [error for error in response.errors if error.context.startswith("document 2.9")]
    assert far.location == WEST


@BOTH
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (at(NORTH, "3.1"), "XDSUnknownCommunity"),
        (at(WEST, "2.9"), "XDSDocumentUniqueIdError"),
        (at(WEST, "2.1", repository="2.999.66"), "XDSUnknownRepositoryId"),
    ],
)
async def test_nothing_at_all_is_a_failure(two: World, way: str, asked: DocumentRequest, code: str):
    keep(two, east={}, west={"2.1": b"two"})

    response = await ask(two, way, asked)

    assert response.status is Status.FAILURE
    assert response.documents == ()
    assert [found for found, _ in errors_of(response)] == [code]


@BOTH
async def test_two_actors_of_one_community_are_asked_for_their_own(tmp_path: Path, way: str):
    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(actors(tmp_path / "second"))
        places = {"2.999.2.21": second.url}
        changes = {"repositories": places, "imaging_sources": places}
        two = await stack.enter_async_context(world(tmp_path / "world", west=changes))
        two.west.documents = {("2.999.2.20", "2.1"): b"first"}
        second.documents = {("2.999.2.21", "2.2"): b"second"}

        response = await ask(
            two, way, at(WEST, "2.1"), at(WEST, "2.2", "2.999.2.21"), at(WEST, "2.3", "2.999.2.21")
        )

    assert octets(response) == {"2.1": b"first", "2.2": b"second"}
    assert errors_of(response) == [("XDSDocumentUniqueIdError", WEST)]
    assert "2.3" in response.errors[0].context
    assert len(two.west.asked) == len(second.asked) == 1


@BOTH
async def test_an_actor_or_a_community_that_is_down_leaves_the_others(tmp_path: Path, way: str):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{silent.getsockname()[1]}/nowhere"
        async with world(tmp_path / "far") as far:
            keep(far, east={}, west={"2.1": b"two"})
            east = {
                "communities": {NORTH: nowhere, WEST: far.responding.responding},
                "repositories": {"2.999.1.66": nowhere},
                "imaging_sources": {"2.999.1.66": nowhere},
            }
            async with world(tmp_path / "near", east=east) as two:
                keep(two, east={"1.1": b"one"}, west={})
                response = await ask(
                    two,
                    way,
                    at(EAST, "1.1"),
                    at(EAST, "1.2", "2.999.1.66"),
                    at(WEST, "2.1"),
                    at(NORTH, "3.1"),
                )

    assert octets(response) == {"1.1": b"one", "2.1": b"two"}
    assert sorted(errors_of(response)) == [
        ("XDSRepositoryError", "1.2"),
        ("XDSUnavailableCommunity", "3.1"),
    ]


@BOTH
async def test_a_refusal_of_the_far_side_is_an_error_for_each_document(two: World, way: str):
    keep(two, east={"1.1": b"one"}, west={"2.1": b"two"})
    two.west.raises = SecurityFault("FailedAuthentication", "not you")

    response = await ask(two, way, at(EAST, "1.1"), at(WEST, "2.1"))

    assert octets(response) == {"1.1": b"one"}
    assert errors_of(response) == [("XDSRepositoryError", WEST)]
    two.west.raises = RegistryNotAvailable("not now")
    response = await ask(two, way, at(WEST, "2.1"))
    assert errors_of(response) == [("XDSRegistryNotAvailable", WEST)]


@pytest.mark.parametrize(("transaction", "imaging"), [(ITI39, False), (RAD75, True)])
async def test_a_responding_gateway_serves_its_own_home_alone(two: World, transaction: Any, imaging: bool):
    keep(two, east={}, west={"2.1": b"two"})
    asked = (
        at(WEST, "2.1"),
        at(EAST, "1.1"),
        DocumentRequest(repository_unique_id="2.999.2.20", document_unique_id="2.2"),
    )
    request = an_imaging_request(*asked) if imaging else RetrieveDocumentSetRequest(documents=asked)

    response = await two.client.call(transaction, two.responding.responding, request)

    assert octets(response) == {"2.1": b"two"}
    assert response.documents[0].home_community_id == WEST
    assert errors_of(response) == [("XDSUnknownCommunity", WEST), ("XDSMissingHomeCommunityId", WEST)]
    for error, uid in zip(response.errors, ("1.1", "2.2"), strict=True):
        assert uid in error.context


@BOTH
async def test_more_than_the_limit_is_refused_before_anybody_is_asked(two: World, way: str):
    most = 1_000 if way == "documents" else 5_000

    response = await ask(two, way, *(at(WEST, f"2.{number}") for number in range(most + 1)))

    assert errors_of(response) == [("XDSRepositoryError", "")]
    assert two.west.asked == []


# --- what flows --------------------------------------------------------------------------------------


def peak_kilobytes() -> int:
    """The peak of this process's resident memory, since it was reset."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def a_large_file(folder: Path, size: int) -> FileRange:
    path = folder / f"large-{size}"
    with path.open("wb") as large:
        block = os.urandom(1024 * 1024)
        for _ in range(size // len(block)):
            large.write(block)
    return FileRange(path, 0, size)


@BY_TLS_TOO
async def test_a_large_answer_flows_and_is_never_held(two: World, tmp_path: Path):
    size = 192 * 1024 * 1024
    large = a_large_file(tmp_path, size)
    two.west.documents["2.999.2.20", "2.1"] = large
    request = RetrieveDocumentSetRequest(documents=(at(WEST, "2.1"),))
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_kilobytes()

    came = 0
    async with two.client.stream(ITI43, two.initiating.initiating, request) as answer:
        async for part in answer.parts:
            async for chunk in part.chunks:
                came += len(chunk)

    # Four servers and the client are in this process.
    assert peak_kilobytes() - before < 64 * 1024
    assert came == size
    for one in (two.initiating, two.responding):
        assert list(one.parts.spool_folder.iterdir()) == []


@BY_TLS_TOO
async def test_an_answer_begins_before_it_is_whole(two: World, tmp_path: Path):
    # Nobody reads on: more than all buffers on the way hold is still at the source.
    large = a_large_file(tmp_path, 64 * 1024 * 1024)
    two.west.documents["2.999.2.20", "2.1"] = large
    request = an_imaging_request(at(WEST, "2.1"))

    async with asyncio.timeout(20), two.client.stream(RAD69, two.initiating.initiating, request) as answer:
        part = await anext(answer.parts)
        assert len(await anext(part.chunks)) > 0
        assert two.initiating.parts.relays.taken == 1


@BY_TLS_TOO
async def test_an_answer_that_breaks_off_at_its_source_breaks_off_and_is_recorded(two: World, tmp_path: Path):
    large = a_large_file(tmp_path, 8 * 1024 * 1024)
    two.west.documents["2.999.2.20", "2.1"] = FileRange(large.path, 0, large.length + 1)

    with pytest.raises(PeerUnclear, match="broke off"):
        await two.documents(at(WEST, "2.1"))

    await until(lambda: ("ITI-43", "R", 8) in two.initiating.told())
    assert ("ITI-39", "C", 8) in two.initiating.told()
    assert ("ITI-39", "R", 8) in two.responding.told()
    # The next good request is served.
    two.west.documents["2.999.2.20", "2.1"] = b"good"
    assert octets(await two.documents(at(WEST, "2.1"))) == {"2.1": b"good"}


async def test_a_client_that_goes_away_frees_what_its_answer_held(tmp_path: Path):
    async with world(tmp_path, east={"relays": 1}) as two:
        two.west.documents["2.999.2.20", "2.1"] = a_large_file(tmp_path, 64 * 1024 * 1024)
        request = RetrieveDocumentSetRequest(documents=(at(WEST, "2.1"),))
        async with two.client.stream(ITI43, two.initiating.initiating, request) as answer:
            await anext(answer.parts)
            refused = await two.documents(at(WEST, "2.1"))
            assert errors_of(refused) == [("XDSRepositoryBusy", "")]

        await until(lambda: not two.initiating.parts.relays.taken and not two.responding.parts.relays.taken)
        two.west.documents["2.999.2.20", "2.1"] = b"small"
        assert octets(await two.documents(at(WEST, "2.1"))) == {"2.1": b"small"}
        assert ("ITI-43", "R", 8) in two.initiating.told()


@BY_TLS_TOO
@pytest.mark.parametrize("homes", [(WEST,), (WEST, EAST)], ids=["one place", "two places"])
async def test_a_client_that_goes_away_is_noticed_while_its_source_is_silent(
    two: World, homes: tuple[str, ...]
):
    with closing(Silent()) as silent:
        for actors_of, home in ((two.west, WEST), (two.east, EAST)):
            one = at(home, "2.1")
            actors_of.documents[one.repository_unique_id, "2.1"] = (Stream(4 * MIB, silent.begins),)
        request = RetrieveDocumentSetRequest(documents=tuple(at(home, "2.1") for home in homes))
        async with two.client.stream(ITI43, two.initiating.initiating, request) as answer:
            await anext((await anext(answer.parts)).chunks)
            assert two.initiating.parts.relays.taken == 1

        await until(lambda: not two.initiating.parts.relays.taken and not two.responding.parts.relays.taken)
        await until(lambda: ("ITI-43", "R", 8) in two.initiating.told())


class Silent:
    """Begins documents, and says no more until it is closed."""

    def __init__(self) -> None:
        self._over = Event()

    def begins(self) -> Generator[bytes]:
        yield bytes(MIB)
        self._over.wait()

    def close(self) -> None:
        self._over.set()


async def test_nothing_leaves_when_nothing_can_be_recorded_and_nothing_stays_open(two: World, monkeypatch):
    keep(two, east={}, west={"2.1": b"two"})

    async def full(events: Any) -> None:
        raise AuditUnavailable("full")

    monkeypatch.setattr(two.initiating.recorder, "record", full)
    response = await two.documents(at(WEST, "2.1"))

    assert response.documents == ()
    assert errors_of(response) == [("XDSRepositoryOutOfResources", "")]
    assert two.initiating.parts.relays.taken == 0


async def test_what_was_asked_and_what_is_answered_is_recorded_by_one_write(two: World, monkeypatch):
    """Each of them waits for a disk."""
    keep(two, east={"1.1": b"one"}, west={"2.1": b"two"})
    real, writes = two.initiating.recorder.record, []

    async def counted(events: Any) -> None:
        writes.append([event.event_types[0].code for event in events])
        await real(events)

    monkeypatch.setattr(two.initiating.recorder, "record", counted)
    await two.documents(at(EAST, "1.1"), at(WEST, "2.1"))

    assert [sorted(codes) for codes in writes] == [["ITI-39", "ITI-43", "ITI-43"]]


@BOTH
async def test_both_sides_of_every_gateway_record_what_they_did(two: World, way: str):
    keep(two, east={"1.1": b"one"}, west={"2.1": b"two"})

    await ask(two, way, at(EAST, "1.1"), at(WEST, "2.1"), at(WEST, "2.9"))

    inside, across, client = ("ITI-43", "ITI-39", "C") if way == "documents" else ("RAD-69", "RAD-75", "R")
    assert sorted(two.initiating.told()) == sorted(
        [
            (inside, "R", 0),
            (inside, "R", 8),
            (inside, client, 0),
            (across, client, 0),
            (across, client, 8),
        ]
    )
    assert sorted(two.responding.told()) == sorted(
        [(across, "R", 0), (across, "R", 8), (inside, client, 0), (inside, client, 8)]
    )
    failed = next(
        event
        for event in two.initiating.recorder.events
        if event.event_types and event.event_types[0].code == across and event.outcome
    )
    assert failed.outcome_description == "XDSDocumentUniqueIdError"
    assert any(
        b"2.9" in value or one.object_id == "2.9" for one in failed.objects for _, value in one.details
    )


class Hasty:
    """Between a gateway and its peer: answers one request of each connection, and closes at the next one."""

    def __init__(self, target: str) -> None:
        self._target = int(target.rpartition(":")[2].partition("/")[0])
        self.exchanges = 0
        self.closed = 0

    async def __aenter__(self) -> Hasty:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, onward = await asyncio.open_connection("127.0.0.1", self._target)
        back = asyncio.create_task(self._back(behind, writer))
        try:
            requests = 0
            while octets := await reader.read(65536):
                requests += octets.count(b"POST /")
                if requests > 1:
                    self.closed += 1
                    return
                onward.write(octets)
        finally:
            self.exchanges += 1
            back.cancel()
            onward.close()
            writer.close()

    async def _back(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await behind.read(65536):
            writer.write(octets)
            await writer.drain()


async def test_a_peer_that_closes_a_kept_connection_is_asked_again(tmp_path: Path):
    async with world(tmp_path / "far") as far, Hasty(far.responding.url) as hasty:
        keep(far, east={}, west={"2.1": b"two"})
        communities = {WEST: f"http://127.0.0.1:{hasty.port}/xca/responding"}
        async with world(tmp_path / "near", east={"communities": communities}) as two:
            for _ in range(4):
                assert octets(await two.documents(at(WEST, "2.1"))) == {"2.1": b"two"}
                assert (await two.query(home=WEST)).status is Status.SUCCESS

    assert hasty.closed > 2


async def test_a_record_of_what_failed_names_a_bounded_number_of_instances(two: World):
    asked = [at(WEST, f"2.{number}") for number in range(300)]
    request = RetrieveImagingDocumentSetRequest(
        studies=tuple(
            replace(an_imaging_request(one).studies[0], study_instance_uid=f"2.25.{number}")
            for number, one in enumerate(asked)
        ),
        transfer_syntax_uids=("1.2.840.10008.1.2.1",),
    )

    await two.client.call(RAD69, two.initiating.initiating, request)

    records = [one for one in two.initiating.recorder.events if one.outcome]
    assert len(records) == 2
    for record in records:
        named = [
            value for one in record.objects for kind, value in one.details if kind == "ihe:DocumentUniqueId"
        ]
        assert len(named) == 200
        assert len(record.objects) == 300


def roads_of(monkeypatch: pytest.MonkeyPatch, *, read: bool) -> list[bool]:
    """Whether each answer of a gateway passed on; none does when all are `read`."""
    passed: list[bool] = []
    one_source = Relay.one_source.fget

    def recorded(relay: Relay) -> Any:
        source = None if read else one_source(relay)  # type: ignore[misc]
        passed.append(source is not None)
        return source

    monkeypatch.setattr(Relay, "one_source", property(recorded))
    return passed


@BY_TLS_TOO
@BOTH
async def test_an_answer_of_one_place_passes_as_if_it_had_been_read(
    two: World, way: str, monkeypatch: pytest.MonkeyPatch
):
    contents = {"2.1": os.urandom(900_000), "2.2": b"", "2.3": b"\r\n--b\r\n", "2.4": os.urandom(70_001)}
    keep(two, east={}, west=contents)
    asked = [at(WEST, uid) for uid in (*contents, "2.9")]

    answers = []
    for read in (False, True):
        with monkeypatch.context() as patched:
            roads = roads_of(patched, read=read)
            answers.append(await ask(two, way, *asked))
        assert roads == [not read] * 2
    passed, read_again = answers

    assert octets(passed) == octets(read_again) == contents
    assert [one._replace(content=b"") for one in passed.documents] == [
        one._replace(content=b"") for one in read_again.documents
    ]
    assert errors_of(passed) == errors_of(read_again)


async def test_an_answer_of_two_places_is_put_together(two: World, monkeypatch: pytest.MonkeyPatch):
    keep(two, east={"1.1": b"one"}, west={"2.1": b"two"})
    roads = roads_of(monkeypatch, read=False)

    assert octets(await two.images(at(EAST, "1.1"), at(WEST, "2.1"))) == {"1.1": b"one", "2.1": b"two"}
    assert roads == [True, False]

"""Storage commitment [RAD-10]: what is answered, what is reported, to whom, and across restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from sqlalchemy import update

from imaging_source.domain.commitment import KEPT, pause
from imaging_source.store.tables import commitment
from tests.support.databases import DatabasePlace
from tests.support.dicom import CT, a_ct
from tests.support.imaging_source import Source, a_rejection_note, close_source, open_source
from tests.support.waiting import until

COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Modality:
    """An SCU of storage commitment that listens for results."""

    title: str = "MODALITY"
    status: int = 0x0000
    results: list[tuple[int, Dataset]] = field(default_factory=list)
    port: int = 0

    def take(self, event: Any) -> tuple[int, None]:
        self.results.append((event.request.EventTypeID, event.event_information))
        return self.status, None

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[Modality]:
        entity = AE(self.title)
        entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
        server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)]
        )
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            await asyncio.to_thread(server.shutdown)

    async def ask(
        self, port: int, action: Dataset, *, title: str = "", kind: int = 1, waits: bool = False
    ) -> int:
        """The status that an N-ACTION is answered with; `waits` for a result before the release."""

        def asked() -> int:
            entity = AE(title or self.title)
            entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
            entity.add_requested_context(COMMITMENT)
            association = entity.associate(
                "127.0.0.1", port, ae_title="XDSI", evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.take)]
            )
            assert association.is_established
            status, _ = association.send_n_action(action, kind, COMMITMENT, WELL_KNOWN)
            deadline = time.monotonic() + 10
            while waits and not self.results and time.monotonic() < deadline:
                time.sleep(0.01)
            association.release()
            return status.Status

        return await asyncio.to_thread(asked)


def an_action(*instances: tuple[str, str], uid: str = "2.25.555") -> Dataset:
    action = Dataset()
    if uid:
        action.TransactionUID = uid
    action.ReferencedSOPSequence = []
    for sop_class, sop_instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        action.ReferencedSOPSequence.append(item)
    return action


@asynccontextmanager
async def serving(tmp_path: Path, modality: Modality, **changes: Any) -> AsyncIterator[tuple[Source, int]]:
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    entity = {"host": "127.0.0.1", "port": modality.port or 1, "services": ["commit"]}
    table = {"MODALITY": entity | changes.pop("entity", {}), "VIEWER": {"services": ["find"]}}
    source = await open_source(
        place,
        tmp_path / "data",
        **{"application_entities": table, "commitment_grace_seconds": 0, **changes},
    )
    await source.service.dimse.start()
    try:
        yield source, source.service.dimse.port
    finally:
        await source.service.dimse.stop()
        await close_source(source)


def uids(data_set: Dataset, keyword: str) -> list[str]:
    return [item.ReferencedSOPInstanceUID for item in data_set.get(keyword, ())]


def reasons(data_set: Dataset) -> dict[str, int]:
    return {item.ReferencedSOPInstanceUID: item.FailureReason for item in data_set.FailedSOPSequence}


async def test_what_is_stored_is_committed_by_an_association_of_ours(tmp_path):
    async with Modality().listening() as modality, serving(tmp_path, modality) as (source, port):
        await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131"))
        work = source.service._commitments.work
        work.start()
        await until(lambda: work.last_success > 0)
        assert await modality.ask(port, an_action((CT, "2.25.13"), (CT, "2.25.131"))) == 0
        await until(lambda: bool(modality.results))
        await work.stop()
        assert work.failures == 0

    [(event_type, result)] = modality.results
    assert (event_type, result.TransactionUID, result.RetrieveAETitle) == (1, "2.25.555", "XDSI")
    assert uids(result, "ReferencedSOPSequence") == ["2.25.13", "2.25.131"]
    assert "FailedSOPSequence" not in result


async def test_what_is_not_kept_fails_with_its_reason(tmp_path):
    async with Modality().listening() as modality, serving(tmp_path, modality) as (source, port):
        _, damaged = await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.132"))
        await source.keep(a_rejection_note("113037"))
        await source.keep(a_ct(SOPInstanceUID="2.25.131"))
        damaged.path.chmod(0o600)
        damaged.path.write_bytes(damaged.path.read_bytes()[:-1] + b"\xff")
        action = an_action(
            (CT, "2.25.13"), (CT, "2.25.999"), (MR, "2.25.131"), (CT, "2.25.132"), (CT, "2.25.131")
        )
        await modality.ask(port, action)
        await source.service._commitments.turn()

    [(event_type, result)] = modality.results
    assert event_type == 2
    assert uids(result, "ReferencedSOPSequence") == ["2.25.131"]
    assert reasons(result) == {"2.25.13": 0x0112, "2.25.999": 0x0112, "2.25.131": 0x0119, "2.25.132": 0x0110}


async def test_instances_that_are_on_their_way_are_waited_for(tmp_path):
    async with (
        Modality().listening() as modality,
        serving(tmp_path, modality, commitment_grace_seconds=600) as (source, port),
    ):
        await modality.ask(port, an_action((CT, "2.25.13")))
        await source.service._commitments.turn()
        assert modality.results == []
        await source.keep(a_ct())
        await _make_due(source)
        await source.service._commitments.turn()

    assert [event_type for event_type, _ in modality.results] == [1]


async def _make_due(source: Source) -> None:
    """As if the time until the next attempt had passed."""

    async def change(transaction) -> None:
        past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        await transaction.execute(
            update(commitment).where(commitment.c.due_at.is_not(None)).values(due_at=past)
        )

    await source.parts.database.write(change)


async def test_a_result_that_is_not_taken_is_reported_again_after_a_restart_and_says_the_same(tmp_path):
    modality = Modality()
    async with modality.listening():
        pass
    async with serving(tmp_path, modality) as (source, port):
        await source.keep(a_ct())
        assert await modality.ask(port, an_action((CT, "2.25.13"), (CT, "2.25.14"))) == 0
        await source.service._commitments.turn()
        assert modality.results == []
        await source.keep(a_ct(SOPInstanceUID="2.25.14"))

    modality.status = 0x0110
    async with modality.listening(modality.port), serving(tmp_path, modality) as (source, port):
        await _make_due(source)
        await source.service._commitments.turn()
        assert len(modality.results) == 1
        modality.status = 0
        await _make_due(source)
        await source.service._commitments.turn()
        assert len(modality.results) == 2
        await _make_due(source)
        await source.service._commitments.turn()

    assert [event_type for event_type, _ in modality.results] == [2, 2]
    assert modality.results[0][1] == modality.results[1][1]
    assert reasons(modality.results[1][1]) == {"2.25.14": 0x0112}


async def test_a_request_that_comes_again_is_reported_again_and_another_of_its_uid_fails(tmp_path):
    async with Modality().listening() as modality, serving(tmp_path, modality) as (source, port):
        await source.keep(a_ct())
        for _ in range(2):
            await modality.ask(port, an_action((CT, "2.25.13")))
            await source.service._commitments.turn()
        await modality.ask(port, an_action((CT, "2.25.13"), (CT, "2.25.99")))
        await source.service._commitments.turn()

    assert modality.results[0] == modality.results[1]
    assert set(reasons(modality.results[2][1]).values()) == {0x0131}


async def test_the_result_comes_by_the_same_association_where_the_table_says_so(tmp_path):
    modality = Modality()
    async with serving(tmp_path, modality, entity={"same_association": True}) as (source, port):
        await source.keep(a_ct())
        assert await modality.ask(port, an_action((CT, "2.25.13")), waits=True) == 0
        await source.service._commitments.turn()

    assert [event_type for event_type, _ in modality.results] == [1]


async def test_who_releases_before_the_result_hears_it_by_another_association(tmp_path):
    async with (
        Modality().listening() as modality,
        serving(tmp_path, modality, entity={"same_association": True}) as (source, port),
    ):
        await source.keep(a_ct())
        assert await modality.ask(port, an_action((CT, "2.25.13"))) == 0
        await until(lambda: source.service.dimse.open_associations == 0)
        await source.service._commitments.turn()

    assert {event_type for event_type, _ in modality.results} == {1}


async def test_what_is_no_request_is_refused_with_its_status(tmp_path):
    good = (CT, "2.25.13")
    async with serving(tmp_path, modality := Modality()) as (source, port):
        statuses = [
            await modality.ask(port, an_action(good), title="VIEWER"),
            await modality.ask(port, an_action(good), kind=2),
            await modality.ask(port, an_action(good, uid="")),
            await modality.ask(port, an_action()),
            await modality.ask(port, an_action((CT, ""))),
        ]
        await source.service._commitments.turn()

    assert statuses == [0x0124, 0x0123, 0x0120, 0x0120, 0x0120]
    assert modality.results == []


async def test_an_entity_without_address_is_told_that_no_result_could_reach_it(tmp_path):
    modality = Modality()
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    source = await open_source(place, tmp_path / "data")
    await source.service.dimse.start()
    try:
        status = await modality.ask(source.service.dimse.port, an_action((CT, "2.25.13")))
    finally:
        await source.service.dimse.stop()
        await close_source(source)

    assert status == 0x0110


def test_reports_that_fail_are_repeated_ever_less_often_and_given_up_after_a_week():
    assert [pause(number).total_seconds() / 60 for number in (1, 2, 3, 4, 5, 50)] == [1, 5, 15, 60, 60, 60]
    assert timedelta(days=7) == KEPT

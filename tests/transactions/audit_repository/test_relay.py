"""The trail goes on to a second repository or a SIEM, in order, however that does."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import pytest

from audit_repository.app import build
from audit_repository.background import relay
from audit_repository.domain.record import record_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.retention import Retention
from shared.audit import delivery
from shared.audit.dicom_xml import ParsedAuditMessage
from shared.audit.events import document_object
from shared.audit.limits import MAX_RECORD
from shared.audit.recorder import message
from shared.audit.resource import resource_of
from shared.security.caller import Node
from shared.settings import SettingsError
from tests.support.audit import SOURCE, SOURCES, an_event
from xdsi.stage import free_ports

NODE = Node(address="192.0.2.17", subject="CN=n", fingerprint="ab" * 32)


def a_record(raw=b"", number=0, at=None):
    raw = raw or message(an_event(outcome_description=f"number {number}"), SOURCE)
    return record_of(raw, node=NODE, received=at or datetime.now(UTC), sources=SOURCES)


@asynccontextmanager
async def running(folder, port=0, **changes):
    service = await build(AuditRepositorySettings(data=folder, port=0, syslog_port=port, **changes))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def of_others(service):
    rows = [await service.trail.record(number) for number in range(1, service.trail.sequence + 1)]
    return [row.record.raw for row in rows if row and b"number " in row.record.raw]


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # another task's doing
            await asyncio.sleep(0.02)


async def arrived(service, count):
    await until(lambda: has(service, count))
    return await of_others(service)


async def has(service, count):
    return len(await of_others(service)) >= count


async def test_a_second_repository_has_every_record_as_it_came_and_in_order(tmp_path):
    records = [a_record(number=number) for number in range(450)]
    async with (
        running(tmp_path / "second") as second,
        running(tmp_path / "first", relay=[f"tcp://127.0.0.1:{second.syslog.port}"]) as first,
    ):
        for at in range(0, 450, 90):
            await first.trail.append(records[at : at + 90])

        assert await arrived(second, 450) == [record.raw for record in records]


async def test_a_receiver_that_is_away_holds_up_nobody_and_gets_all_of_it_later(tmp_path, monkeypatch):
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 0.1)
    [port] = free_ports(1)
    records = [a_record(number=number) for number in range(60)]
    to = [f"tcp://127.0.0.1:{port}"]
    async with running(tmp_path / "first", relay=to) as first:
        await first.trail.append(records[:20])
        assert await has(first, 20)
    async with running(tmp_path / "first", relay=to) as first:
        await first.trail.append(records[20:40])
        async with running(tmp_path / "second", port) as second:
            await arrived(second, 40)
        await first.trail.append(records[40:])
        async with running(tmp_path / "second", port) as second:
            assert await arrived(second, 60) == [record.raw for record in records]


async def test_who_is_named_anew_has_what_comes_from_then_on(tmp_path):
    async with running(tmp_path / "first") as first:
        await first.trail.append([a_record(number=1)])
    async with (
        running(tmp_path / "second") as second,
        running(tmp_path / "first", relay=[f"tcp://127.0.0.1:{second.syslog.port}"]) as first,
    ):
        new = a_record(number=2)
        await first.trail.append([new])

        assert await arrived(second, 1) == [new.raw]


async def test_a_resource_of_the_feed_goes_on_as_the_message_that_it_means(tmp_path):
    event = an_event(outcome_description="number 7")
    resource = json.dumps(resource_of(ParsedAuditMessage(event=event, source=SOURCE))).encode()
    async with (
        running(tmp_path / "second") as second,
        running(tmp_path / "first", relay=[f"tcp://127.0.0.1:{second.syslog.port}"]) as first,
    ):
        await first.trail.append([a_record(resource)])
        (raw,) = await arrived(second, 1)

    assert raw.startswith(b"<85>1 ")


def test_a_large_resource_goes_on_as_several_messages_and_is_had_with_the_last():
    objects = tuple(document_object(f"1.2.{number}", repository_unique_id="1.2.3") for number in range(3_000))
    event = an_event(objects=objects)
    resource = json.dumps(resource_of(ParsedAuditMessage(event=event, source=SOURCE))).encode()

    messages = list(relay.numbered(7, relay.relayed(resource)))

    assert len(messages) > 1
    assert [sequence for sequence, _ in messages] == [6] * (len(messages) - 1) + [7]
    assert all(len(octets) <= MAX_RECORD for _, octets in messages)


async def test_a_receiver_by_udp_has_a_datagram_for_each_record(tmp_path):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        to = [f"udp://127.0.0.1:{receiver.getsockname()[1]}"]
        records = [a_record(number=number) for number in range(3)]
        async with running(tmp_path, relay=to) as service:
            await service.trail.append(records)
            loop = asyncio.get_running_loop()
            datagrams = []
            async with asyncio.timeout(20):
                while len(datagrams) < 3:
                    datagram = await loop.sock_recv(receiver, 65_536)
                    datagrams += [datagram] if b">number " in datagram else []

    assert datagrams == [record.raw for record in records]


async def test_what_waits_for_a_receiver_is_measured_and_keeps_its_month(tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "MEASURE_SECONDS", 0.05)
    [port] = free_ports(1)
    async with running(tmp_path, relay=[f"tcp://127.0.0.1:{port}"]) as service:
        await service.trail.append([a_record(number=1, at=datetime(2020, 1, 1, tzinfo=UTC))])
        gauge = service.relay._shown[f"127.0.0.1:{port}"]
        await until(lambda: asyncio.sleep(0, gauge._value.get() > 3600))
        retention = Retention(service.trail, service.record, months=1)
        await service.trail.append([a_record(number=2)])
        await retention.turn(datetime(2031, 1, 1, tzinfo=UTC))

        assert len(await of_others(service)) == 2


@pytest.mark.parametrize("url", ["udp://siem", "tcp://siem.example:514", "https://siem.example", "siem"])
def test_what_is_no_receiver_is_refused_with_what_would_be_right(url):
    with pytest.raises(ValueError, match="tls://host:6514, udp://host:514"):
        AuditRepositorySettings(relay=[url])


async def test_tls_that_is_not_set_up_is_told_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match="XDSI_TLS__CERTIFICATE"):
        await build(AuditRepositorySettings(data=tmp_path, relay=["tls://siem.example:6514"]))

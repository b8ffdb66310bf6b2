"""Record Audit Event [ITI-20]: what arrives is kept, whatever it is, and durable before more is read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from hashlib import sha256
from types import SimpleNamespace

import httpx2
import pytest
from pydantic import ValidationError
from sqlalchemy import Column, MetaData, Table, Text, bindparam, func, null, select

from audit_repository.app import build
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search
from audit_repository.store.verification import verify
from shared.audit import delivery as delivery_module
from shared.audit import forwarder as forwarder_module
from shared.audit import syslog
from shared.audit.events import AuditEvent, AuditSource, query_object
from shared.audit.forwarder import Forwarder
from shared.audit.outbox import DatabaseOutbox, audit_outbox, insert_events
from shared.audit.recorder import AuditRecorder, message
from shared.audit.spool import AuditUnavailable
from shared.audit.syslog import frame
from shared.security.peer_certificate import fingerprint_of, own_node
from shared.security.tls import client_context
from shared.settings import AuditSettings, OnFull, SettingsError, TlsSettings
from shared.store.failures import DatabaseUnavailable
from tests.support.audit import ITI18, SOURCE, TestingSettings, an_event
from tests.support.certificates import communities, stranger
from tests.support.databases import THINGS
from xdsi.stage import free_ports


def tls_of(community) -> TlsSettings:
    node = community.node
    return TlsSettings(certificate=node.certificate, key=node.key, trust=community.trust)


def node_of(certificate):
    return own_node("", certificate)


def settings_for(folder, **changes) -> AuditRepositorySettings:
    return AuditRepositorySettings(**{"data": folder, "port": 0, "syslog_port": 0} | changes)


@asynccontextmanager
async def running(folder, **changes):
    service = await build(settings_for(folder, **changes))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def kept(service, **wanted):
    """Raw records, oldest first, without those of the repository itself."""
    found = await service.trail.search(Search(**{"limit": 10_000} | wanted))
    return [item.record.raw for item in reversed(found) if item.record.peer]


async def own(service, event_type):
    return [item for item in await service.trail.search(Search(type=event_type)) if not item.record.peer]


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # another process' or task's doing
            await asyncio.sleep(0.02)


async def closed(reader) -> bool:
    """Whether the other side ended the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


def a_message(**changes) -> bytes:
    return message(an_event(**changes), SOURCE)


async def connected(service, **tls):
    return await asyncio.open_connection("127.0.0.1", service.syslog.port, **tls)


async def test_a_message_is_kept_byte_for_byte(tmp_path):
    octets = a_message()
    async with running(tmp_path) as service:
        _, writer = await connected(service)
        writer.write(frame(octets))
        await until(lambda: has(service, 1))
        assert await kept(service) == [octets]
        (item,) = [item for item in await service.trail.search(Search(type="ITI-18")) if item.record.peer]
        assert item.record.peer == "127.0.0.1"
        assert item.record.state == "parsed"
        writer.close()


async def has(service, count):
    return len(await kept(service)) >= count


async def test_frames_cut_anywhere_and_frames_together_are_kept_in_order(tmp_path):
    messages = [a_message() for _ in range(20)]
    stream = b"".join(map(frame, messages))
    async with running(tmp_path) as service:
        _, writer = await connected(service)
        for at in range(0, len(stream), 777):
            writer.write(stream[at : at + 777])
            await writer.drain()
            await asyncio.sleep(0)
        await until(lambda: has(service, 20))
        assert await kept(service) == messages
        writer.close()


@pytest.mark.parametrize(
    "body",
    [
        b"<85>1 - - - - - - " + syslog.BOM + b"<AuditMessage>\xc3",
        b"<85>1 - - - - - - {}",
        b"<85>Oct 11 old style",
        b"\x00\xff not even text",
        b"<85>1 - - - - - - <!DOCTYPE a><AuditMessage/>",
    ],
)
async def test_what_cannot_be_read_is_kept_unparsed_and_the_connection_stays(tmp_path, body):
    async with running(tmp_path) as service:
        _, writer = await connected(service)
        writer.write(frame(body) + frame(a_message()))
        await until(lambda: has(service, 2))
        assert await kept(service, unparsed=True) == [body]
        writer.close()


async def test_a_byte_order_mark_is_no_reason_not_to_read(tmp_path):
    octets = a_message().replace(b" - <Audit", b" - " + syslog.BOM + b"<Audit")
    async with running(tmp_path) as service:
        _, writer = await connected(service)
        writer.write(frame(octets))
        await until(lambda: has(service, 1))
        assert await kept(service, type="ITI-18") == [octets]
        writer.close()


@pytest.mark.parametrize("wrong", [b"<85>1 - - - - - - no count", b"0 x", b"12345678 x", b"07 seven b"])
async def test_a_wrong_length_closes_the_connection_and_is_recorded(tmp_path, wrong):
    good = a_message()
    async with running(tmp_path) as service:
        reader, writer = await connected(service)
        writer.write(frame(good) + wrong)
        assert await closed(reader)
        writer.close()

        assert await kept(service) == [good]
        (alert,) = await own(service, "110126")
        assert ("object", "127.0.0.1") in alert.record.terms
        # and the next sender is served
        _, writer = await connected(service)
        writer.write(frame(a_message()))
        await until(lambda: has(service, 2))
        writer.close()


async def test_records_that_come_as_lines_are_kept_as_well(tmp_path):
    messages = [a_message() for _ in range(3)]
    async with running(tmp_path) as service:
        _, writer = await connected(service)
        writer.write(b"\n".join(messages))
        writer.close()
        await until(lambda: has(service, 3))

        assert await kept(service, type="ITI-18") == messages


LONGEST = 256 * 1024


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1, 9_999_999])
async def test_of_a_record_that_is_too_long_the_beginning_and_the_digest_are_kept_and_the_others_go_on(
    tmp_path, length
):
    long = b"<85>1 - - - - - - ".ljust(length, b"x")
    before, after = a_message(), a_message()
    async with running(tmp_path) as service:
        _, writer = await connected(service)
        writer.write(frame(before) + frame(long) + frame(after))
        await until(lambda: has(service, 3))
        first, kept_of_it, last = await kept(service)
        assert (first, last) == (before, after)
        if length <= LONGEST:
            assert kept_of_it == long
        else:
            told = f"of {length} octets, SHA-256 {sha256(long).hexdigest()}, the first 8192 are kept"
            assert kept_of_it.startswith(long[:8192])
            assert len(kept_of_it) < 8192 + 300
            assert told.encode() in kept_of_it
            (item,) = await service.trail.search(Search(unparsed=True))
            assert told in item.record.reason
        # sent again, as after a broken connection, it is known
        writer.write(frame(long) + frame(a_message()))
        await until(lambda: has(service, 4))
        assert len(await kept(service)) == 4
        assert (await verify(service.trail.database, service.trail.folder)).problems == []
        writer.close()


async def test_a_peer_that_stalls_inside_a_record_is_cut_off(tmp_path):
    async with running(tmp_path, syslog_frame_seconds=0.3) as service:
        reader, writer = await connected(service)
        writer.write(b"100 half")
        for _ in range(4):
            await asyncio.sleep(0.1)
            writer.write(b".")
        assert await closed(reader)
        writer.close()


async def test_a_silent_peer_is_cut_off(tmp_path):
    async with running(tmp_path, syslog_idle_seconds=0.2) as service:
        reader, writer = await connected(service)
        assert await closed(reader)
        writer.close()


async def test_too_many_connections_are_refused_and_those_open_go_on(tmp_path):
    async with running(tmp_path, syslog_connections=1) as service:
        _, first = await connected(service)
        first.write(frame(a_message()))
        await until(lambda: has(service, 1))
        reader, second = await connected(service)
        assert await closed(reader)
        first.write(frame(a_message()))
        await until(lambda: has(service, 2))
        first.close()
        second.close()


async def test_a_record_that_cannot_be_kept_closes_the_connection_so_that_it_comes_again(tmp_path):
    octets = a_message()
    async with running(tmp_path) as service:
        genuine = service.trail.database.write

        async def failing(work):
            raise DatabaseUnavailable("gone")

        service.trail.database.write = failing
        reader, writer = await connected(service)
        writer.write(frame(octets))
        assert await closed(reader)
        writer.close()
        service.trail.database.write = genuine

        _, writer = await connected(service)
        writer.write(frame(octets))
        await until(lambda: has(service, 1))
        assert await kept(service) == [octets]
        writer.close()


def sent_by(community):
    return {"record": (fingerprint_of(community.node.certificate),)}


async def test_a_trusted_node_that_may_not_send_records_is_cut_and_recorded(tmp_path):
    north, south = communities()
    async with running(tmp_path, tls=tls_of(north)) as service:
        context = client_context(tls_of(south))
        context.check_hostname = False
        reader, writer = await connected(service, ssl=context)
        writer.write(frame(a_message()))
        assert await reader.read() == b""
        writer.close()

        async def told() -> bool:
            return bool(await service.trail.search(Search(type="110126")))

        await until(told)
        assert await kept(service) == []


async def test_mutual_tls_names_the_sender(tmp_path):
    north, south = communities()
    async with running(tmp_path, tls=tls_of(north), rights=sent_by(south)) as service:
        context = client_context(tls_of(south))
        context.check_hostname = False
        _, writer = await connected(service, ssl=context)
        writer.write(frame(a_message()))
        await until(lambda: has(service, 1))
        (item,) = [item for item in await service.trail.search(Search(type="ITI-18")) if item.record.peer]
        assert "CN=" in item.record.subject
        writer.close()


def without_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def of_a_stranger() -> ssl.SSLContext:
    context = without_certificate()
    node = stranger().node
    context.load_cert_chain(node.certificate, node.key)
    return context


def of_old_tls() -> ssl.SSLContext:
    context = client_context(tls_of(communities()[1]))
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options |= ssl.OP_NO_TLSv1_3 | ssl.OP_NO_TLSv1_2
    return context


async def sent_over_tls(service, community, source_id: str, expected: int) -> None:
    _, writer = await connected(service, ssl=client_context(tls_of(community)))
    writer.write(frame(message(an_event(), AuditSource(source_id=source_id))))
    await until(lambda: has(service, expected))
    writer.close()


def of_source(source_id: str) -> Search:
    return Search(source=source_id, type="ITI-18")


@pytest.mark.parametrize(
    ("source_id", "from_north", "from_south"),
    [
        ("xdsi-registry", "proved", "mismatched"),
        ("trail-of-north", "proved", "mismatched"),
        ("viewer-of-south", "mismatched", "proved"),
        ("somebody", "proved", "claimed"),
    ],
)
async def test_what_a_node_sends_under_the_id_of_another_is_kept_and_stands_as_such(
    tmp_path, source_id, from_north, from_south
):
    north, south = communities()
    subject = node_of(south.node.certificate).subject
    settings = {
        "tls": tls_of(north),
        "rights": sent_by(south),
        "audit": AuditSettings(source_id="trail-of-north"),
        "sources": {"viewer-of-south": (subject,)},
    }
    async with running(tmp_path, **settings) as service:
        await sent_over_tls(service, north, source_id, 1)
        await sent_over_tls(service, south, source_id, 2)

        found = {
            item.record.subject: item.record for item in await service.trail.search(of_source(source_id))
        }
        for community, standing in ((north, from_north), (south, from_south)):
            node = node_of(community.node.certificate)
            record = found[node.subject]
            assert (record.standing, record.fingerprint) == (standing, node.fingerprint)
            assert record.peer == "127.0.0.1"
        assert (await verify(service.trail.database, service.trail.folder)).problems == []


async def test_a_source_that_is_not_its_node_raises_an_alarm_and_a_flood_of_them_does_not_drown_it(
    tmp_path, caplog
):
    north, south = communities()
    async with running(tmp_path, tls=tls_of(north), rights=sent_by(south)) as service:
        _, writer = await connected(service, ssl=client_context(tls_of(south)))
        false = AuditSource(source_id="xdsi-registry")
        writer.write(b"".join(frame(message(an_event(), false)) for _ in range(50)))
        await until(lambda: has(service, 50))
        await until(lambda: alerted(service))
        writer.close()

        alarms = [line for line in caplog.messages if "not their node" in line]
        assert 0 < len(alarms) <= 10
        assert node_of(south.node.certificate).fingerprint in alarms[0]
        transport = httpx2.ASGITransport(app=service.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://audit") as http:
            assert "xdsi_audit_records_mismatched_total 50.0" in (await http.get("/metrics")).text
        (alert,) = await own(service, "110126")
        assert alert.record.outcome == 8
        assert b"sent records under the AuditSourceID of another node" in alert.record.raw


async def test_a_datagram_proves_no_node(tmp_path):
    async with running(tmp_path, tls=tls_of(communities()[0]), udp=True, udp_port=0) as service:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for source_id in ("xdsi-registry", "somebody"):
                octets = message(an_event(), AuditSource(source_id=source_id))
                sender.sendto(octets, ("127.0.0.1", service.datagrams.port))
        await until(lambda: has(service, 2))

        stands = {
            source_id: [item.record.standing for item in await service.trail.search(of_source(source_id))]
            for source_id in ("xdsi-registry", "somebody")
        }
        assert stands == {"xdsi-registry": ["mismatched"], "somebody": ["claimed"]}


async def test_the_records_of_the_repository_itself_are_its_own(tmp_path):
    for folder, tls in (("tls", tls_of(communities()[0])), ("plain", TlsSettings())):
        async with running(tmp_path / folder, tls=tls) as service:
            (start,) = await own(service, "110120")
            assert start.record.standing == "proved"


def test_a_node_of_a_source_that_is_no_node_is_refused_at_the_start(tmp_path):
    settings = settings_for(tmp_path, sources={"pacs": ("not a node",)})
    with pytest.raises(SettingsError, match=r"SOURCES \(pacs\)"):
        asyncio.run(build(settings))


@pytest.mark.parametrize("context", [without_certificate, of_a_stranger, of_old_tls])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:ssl.OP_NO_:DeprecationWarning")
async def test_a_node_that_does_not_authenticate_is_refused_and_recorded(tmp_path, context):
    async with running(tmp_path, tls=tls_of(communities()[0])) as service:
        try:
            reader, writer = await connected(service, ssl=context())
        except OSError:
            pass
        else:
            writer.write(frame(a_message()))
            assert await closed(reader)
            writer.close()
        await until(lambda: alerted(service))
        assert await kept(service) == []
        (alert,) = await own(service, "110126")
        assert ("object", "127.0.0.1") in alert.record.terms


async def alerted(service):
    return bool(await own(service, "110126"))


async def test_plain_text_to_a_tls_port_is_refused_and_recorded(tmp_path):
    async with running(tmp_path, tls=tls_of(communities()[0])) as service:
        reader, writer = await connected(service)
        writer.write(frame(a_message()))
        while not await closed(reader):
            pass
        writer.close()
        await until(lambda: alerted(service))


async def test_of_a_flood_of_refusals_the_first_is_recorded_and_the_rest_as_one_with_their_number(tmp_path):
    async with running(tmp_path) as service:
        for _ in range(300):
            reader, writer = await connected(service)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await closed(reader)
            writer.close()
        assert len(await own(service, "110126")) == 1
    async with running(tmp_path) as service:
        newest, oldest = await own(service, "110126")
        assert b"299 more refusals since" in newest.record.raw
        assert b"more refusals" not in oldest.record.raw


async def test_udp_is_off_unless_asked_for_and_then_keeps_datagrams(tmp_path):
    async with running(tmp_path / "without") as service:
        assert service.datagrams is None
    octets = a_message()
    async with running(tmp_path / "with", udp=True, udp_port=0) as service:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(octets, ("127.0.0.1", service.datagrams.port))
            sender.sendto(octets[:300], ("127.0.0.1", service.datagrams.port))
        await until(lambda: has(service, 2))
        assert await kept(service) == [octets, octets[:300]]
        assert await kept(service, unparsed=True) == [octets[:300]]


async def test_start_and_stop_of_the_repository_are_in_its_trail(tmp_path):
    async with running(tmp_path):
        pass
    async with running(tmp_path) as service:
        assert len(await own(service, "110120")) == 2
        assert len(await own(service, "110121")) == 1
        assert (await verify(service.trail.database, service.trail.folder)).problems == []


# --- the forwarder -----------------------------------------------------------------------------------


def sending(folder, port, **changes) -> TestingSettings:
    scheme = "tls" if "tls" in changes else "tcp"
    return TestingSettings(data=folder, audit=AuditSettings(url=f"{scheme}://127.0.0.1:{port}"), **changes)


def numbered(count) -> list[AuditEvent]:
    return [an_event(outcome_description=f"number {number}") for number in range(count)]


def numbers(records) -> list[int]:
    return [int(raw.partition(b"<EventOutcomeDescription>number ")[2].partition(b"<")[0]) for raw in records]


@asynccontextmanager
async def forwarding(settings, *more):
    recorder = AuditRecorder(settings, "testing")
    forwarder = Forwarder(settings, recorder, *more)
    await forwarder.start()
    try:
        yield recorder
    finally:
        await forwarder.stop()
        await recorder.close()


async def test_what_is_recorded_while_the_repository_is_down_arrives_later_in_order_and_once(tmp_path):
    north, south = communities()
    [port] = free_ports(1)
    async with forwarding(sending(tmp_path, port, tls=tls_of(south))) as recorder:
        for event in numbered(2_000):
            await recorder.record([event])
        settings = {"tls": tls_of(north), "rights": sent_by(south)}
        async with running(tmp_path, syslog_port=port, **settings) as service:
            await until(lambda: has(service, 2_000), seconds=60)
            assert numbers(await kept(service)) == list(range(2_000))


async def test_after_a_broken_connection_nothing_is_missing_and_nothing_is_there_twice(tmp_path):
    [port] = free_ports(1)
    async with forwarding(sending(tmp_path, port)) as recorder:
        for round_number in range(3):
            async with running(tmp_path, syslog_port=port) as service:
                await recorder.record(numbered(300)[round_number * 100 : round_number * 100 + 100])
                await until(lambda: has(service, 1))
                # stopped in the middle of whatever is under way
        async with running(tmp_path, syslog_port=port) as service:
            await until(lambda: has(service, 300))
            assert numbers(await kept(service)) == list(range(300))


async def test_what_was_not_sent_when_the_sender_stopped_is_sent_by_the_next_one(tmp_path):
    [port] = free_ports(1)
    async with forwarding(sending(tmp_path, port)) as recorder:
        await recorder.record(numbered(5))
    async with (
        forwarding(sending(tmp_path, port)) as recorder,
        running(tmp_path, syslog_port=port) as service,
    ):
        await recorder.record(numbered(6)[5:])
        await until(lambda: has(service, 6))
        assert numbers(await kept(service)) == list(range(6))


async def test_events_of_a_change_are_sent_from_its_outbox_table(database_place, tmp_path):
    metadata = MetaData()
    table = audit_outbox(metadata)
    database = await database_place.open(THINGS)
    try:
        async with running(tmp_path) as service:
            settings = sending(tmp_path, service.syslog.port)
            outbox = DatabaseOutbox(database, table)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(delivery_module, "KEPT_SECONDS", 0.0)
                async with forwarding(settings, outbox) as recorder:

                    async def work(transaction):
                        await insert_events(transaction, numbered(40), recorder)

                    await database.write(work)
                    await until(lambda: has(service, 40))
                    assert numbers(await kept(service)) == list(range(40))

                    async def empty():
                        return await database.fetch(select(func.count()).select_from(table)) == [(0,)]

                    await until(empty)
    finally:
        await database.close()


@asynccontextmanager
async def with_outbox(database_place, folder, **audit):
    """A service that writes a row and its event in one transaction, and may let a megabyte wait."""
    metadata = MetaData()
    table, rows = audit_outbox(metadata), Table("part", metadata, Column("thing", Text))
    database = await database_place.open(THINGS)
    [port] = free_ports(1)
    limits = AuditSettings(url=f"tcp://127.0.0.1:{port}", spool_max_bytes=1024**2, **audit)
    settings = TestingSettings(data=folder, audit=limits)
    recorder = AuditRecorder(settings, "testing")
    forwarder = Forwarder(settings, recorder, DatabaseOutbox(database, table))
    insert = rows.insert().values(thing=null())

    async def change(event):
        async def work(transaction):
            await transaction.execute(insert)
            await insert_events(transaction, [event], recorder)

        await database.write(work)

    async def count(of):
        return (await database.fetch(select(func.count()).select_from(of)))[0][0]

    try:
        parts = {"recorder": recorder, "forwarder": forwarder, "rows": rows, "outbox": table}
        yield SimpleNamespace(**parts, change=change, count=count, port=port)
    finally:
        await forwarder.stop(0)
        await recorder.close()
        await database.close()


def long_event(number):
    query = query_object("q", ITI18, b"?" * 8_000)
    return an_event(objects=(query,), outcome_description=f"number {number}")


async def test_what_waits_in_an_outbox_table_counts_to_the_bound_of_the_spool(database_place, tmp_path):
    async with with_outbox(database_place, tmp_path / "of") as service:
        for number in range(30):
            await service.recorder.record([long_event(number)])
        await until_refused(service.change)
        waiting = await service.count(service.outbox)
        assert 30 < waiting < 90
        # what could not be recorded was not done, and neither table nor files give way to the other
        assert await service.count(service.rows) == waiting
        await until_refused(lambda event: service.recorder.record([event]))
        # a service that starts anew counts what is there
        service.recorder.spool.count_elsewhere(0)
        await service.forwarder.start()
        await until(lambda: refuses(service))
        async with running(tmp_path / "arr", syslog_port=service.port) as repository:
            await until(lambda: has(repository, 30 + waiting), seconds=60)


async def until_refused(work):
    # To the end of each: what is still under way would be counted once and not again.
    ends = await asyncio.gather(*(work(long_event(number)) for number in range(200)), return_exceptions=True)
    assert AuditUnavailable in set(map(type, ends)) <= {AuditUnavailable, type(None)}


async def refuses(service):
    return service.recorder.spool.fill > 0.9


async def test_an_outbox_table_that_is_full_loses_the_oldest_and_says_so_where_that_is_wanted(
    database_place, tmp_path, monkeypatch
):
    monkeypatch.setattr(forwarder_module, "MEASURE_SECONDS", 0.05)
    async with with_outbox(database_place, tmp_path / "of", on_full=OnFull.DROP) as service:
        await service.forwarder.start()
        for number in range(200):
            await service.change(long_event(number))
        await until(lambda: fits(service))
        async with running(tmp_path / "arr", syslog_port=service.port) as repository:
            await until(lambda: all_are_told_of(repository, 200), seconds=60)
            arrived = [raw for raw in await kept(repository) if b">number " in raw]
            assert numbers(arrived)[-1] == 199
            assert len(arrived) < 200


async def fits(service):
    return service.recorder.spool.fill <= 1


async def all_are_told_of(service, count):
    records = await kept(service)
    lost = [raw for raw in records if b"audit records were lost" in raw]
    told = [int(raw.partition(b"Description>")[2].split()[0]) for raw in lost]
    return len(records) - len(lost) + sum(told) == count


async def test_a_row_that_was_committed_late_with_a_low_number_is_sent_too(database_place):
    metadata = MetaData()
    table = audit_outbox(metadata)
    database = await database_place.open(THINGS)
    try:
        (outbox,) = DatabaseOutbox(database, table).readers(["test"])
        insert = table.insert().values({name: bindparam(name) for name in ("id", "octets", "created")})

        async def add(row_id):
            async def work(transaction):
                await transaction.execute(insert, id=row_id, octets=b"%d" % row_id, created="now")

            await database.write(work)

        await add(5)
        assert await outbox.next(10) == [(5, b"5")]
        await add(4)
        await add(6)
        assert await outbox.next(10) == [(4, b"4"), (6, b"6")]
        await outbox.done([4, 5])
        outbox.rewind()
        assert await outbox.next(10) == [(6, b"6")]
    finally:
        await database.close()


@pytest.mark.parametrize(
    "url", ["tcp://192.0.2.1:6514", "udp://127.0.0.1:514", "tls://", "tls://h:x", "nonsense"]
)
def test_an_address_that_cannot_be_used_is_refused_with_its_remedy(url):
    with pytest.raises(ValidationError, match=r"(?s)url.*tls://host"):
        AuditSettings(url=url)

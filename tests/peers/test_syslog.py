"""Audit records with programs that are not ours: rsyslog on either side over TLS, a sender by the crate
`ihe-atna`, and `logger`."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit_repository.app import build
from audit_repository.domain.record import record_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search
from shared.audit import bounds
from shared.audit.dicom_xml import encode
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder, message
from shared.audit.syslog import frame
from shared.security.caller import Node
from shared.security.peer_certificate import fingerprint_of
from shared.settings import AuditSettings, TlsSettings
from tests.support.audit import SOURCE, SOURCES, TestingSettings, an_event
from tests.support.certificates import communities
from tests.support.foreign_sender import built_sender
from xdsi.stage import free_ports

pytestmark = pytest.mark.peer


@pytest.fixture
def ihe_atna_sender(request) -> Path:
    if (program := built_sender(may_build=request.config.getoption("--long"))) is None:
        pytest.skip("no sender by ihe-atna was built: --long builds it, where cargo is")
    return program


@pytest.fixture
def rsyslogd() -> str:
    found = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if found is None or not any(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        pytest.skip("rsyslog with its GnuTLS driver is not installed")
    return found


def tls_of(community) -> TlsSettings:
    node = community.node
    return TlsSettings(certificate=node.certificate, key=node.key, trust=community.trust)


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # another process' doing
            await asyncio.sleep(0.05)


async def listens(port) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def rsyslog(program, folder, community, rules):
    tls = tls_of(community)
    (folder / "rsyslog.conf").write_text(
        f"""
        global(workDirectory="{folder}" maxMessageSize="256k" defaultNetstreamDriver="gtls"
               defaultNetstreamDriverCAFile="{tls.trust}" defaultNetstreamDriverCertFile="{tls.certificate}"
               defaultNetstreamDriverKeyFile="{tls.key}" parser.escapeControlCharactersOnReceive="off")
        template(name="raw" type="string" string="%rawmsg%")
        template(name="line" type="string" string="%rawmsg%\\n")
        {rules}
        """
    )
    process = await asyncio.create_subprocess_exec(
        *(program, "-n", "-i", folder / "pid", "-f", folder / "rsyslog.conf"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


@asynccontextmanager
async def repository(folder, **changes):
    service = await build(AuditRepositorySettings(data=folder, port=0, syslog_port=0, **changes))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def kept(service, **wanted):
    found = await service.trail.search(Search(limit=1000, **wanted))
    return [item.record for item in reversed(found) if item.record.peer]


async def test_rsyslog_takes_what_our_forwarder_sends_over_mutual_tls(rsyslogd, tmp_path):
    north, south = communities()
    [port], taken = free_ports(1), tmp_path / "taken.log"
    rules = f"""
        module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1"
               streamDriver.authMode="x509/certvalid")
        input(type="imtcp" port="{port}" ruleset="all")
        ruleset(name="all") {{ action(type="omfile" file="{taken}" template="line") }}
    """
    settings = TestingSettings(
        data=tmp_path, tls=tls_of(south), audit=AuditSettings(url=f"tls://127.0.0.1:{port}")
    )
    events = [an_event(outcome_description=f"number {n} é " + "x" * n * 100) for n in range(100)]
    async with rsyslog(rsyslogd, tmp_path, north, rules):
        await until(lambda: listens(port))
        recorder = AuditRecorder(settings, "testing")
        forwarder = Forwarder(settings, recorder)
        await forwarder.start()
        await recorder.record(events)

        async def whole() -> bool:
            return taken.exists() and taken.read_bytes().count(b"\n") >= len(events)

        await until(whole)
        await forwarder.stop()
        await recorder.close()

    lines = taken.read_bytes().splitlines()
    assert len(lines) == len(events)
    for line, event in zip(lines, events, strict=True):
        [part] = bounds.parts(event)
        assert line.endswith(b" IHE+RFC-3881 - " + encode(part, recorder.source))


async def test_rsyslog_takes_what_our_repository_relays_over_mutual_tls(rsyslogd, tmp_path):
    north, south = communities()
    [port], taken = free_ports(1), tmp_path / "taken.log"
    rules = f"""
        module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1"
               streamDriver.authMode="x509/certvalid")
        input(type="imtcp" port="{port}" ruleset="all")
        ruleset(name="all") {{ action(type="omfile" file="{taken}" template="line") }}
    """
    messages = [message(an_event(outcome_description=f"number {n}"), SOURCE) for n in range(50)]
    async with (
        rsyslog(rsyslogd, tmp_path, north, rules),
        repository(tmp_path, tls=tls_of(south), relay=[f"tls://127.0.0.1:{port}"]) as service,
    ):
        node, now = Node(address="192.0.2.17"), datetime.now(UTC)
        await service.trail.append(
            [record_of(one, node=node, received=now, sources=SOURCES) for one in messages]
        )

        async def whole() -> bool:
            return taken.exists() and taken.read_bytes().count(b">number ") >= len(messages)

        await until(whole)

    lines = [line for line in taken.read_bytes().splitlines() if b">number " in line]
    assert lines == messages


@pytest.mark.parametrize("framing", ["octet-counted", "traditional"])
async def test_rsyslog_relays_records_unchanged_over_mutual_tls(rsyslogd, tmp_path, framing):
    north, south = communities()
    [port] = free_ports(1)
    rights = {"record": (fingerprint_of(south.node.certificate),)}
    async with repository(tmp_path, tls=tls_of(north), rights=rights) as service:
        rules = f"""
            module(load="imtcp" streamDriver.name="ptcp" streamDriver.mode="0")
            input(type="imtcp" port="{port}" ruleset="all")
            ruleset(name="all") {{
                action(type="omfwd" target="127.0.0.1" port="{service.syslog.port}" protocol="tcp"
                       TCP_Framing="{framing}" template="raw" streamDriver="gtls" streamDriverMode="1"
                       streamDriverAuthMode="x509/certvalid")
            }}
        """
        messages = [message(an_event(outcome_description="y" * n * 50), SOURCE) for n in range(20)]
        async with rsyslog(rsyslogd, tmp_path, south, rules):
            await until(lambda: listens(port))
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"".join(map(frame, messages)))
            await writer.drain()

            async def all_there() -> bool:
                return len(await kept(service)) >= len(messages)

            await until(all_there)
            writer.close()

        records = await kept(service, type="ITI-18")
        assert [record.raw for record in records] == messages
        assert {record.subject for record in records} != {""}


async def test_a_sender_by_another_library_is_understood_over_mutual_tls(ihe_atna_sender, tmp_path):
    north, south = communities()
    tls = tls_of(south)
    identity = tmp_path / "identity.pem"
    identity.write_bytes(tls.certificate.read_bytes() + tls.key.read_bytes())
    rights = {"record": (fingerprint_of(south.node.certificate),)}
    async with repository(tmp_path / "trail", tls=tls_of(north), rights=rights) as service:
        sender = await asyncio.create_subprocess_exec(
            ihe_atna_sender,
            f"tls://127.0.0.1:{service.syslog.port}",
            *(tls.trust, identity, tmp_path / "spool", "50"),
        )
        async with asyncio.timeout(60):
            assert await sender.wait() == 0

        async def all_there() -> bool:
            return len(await kept(service, source="ferro@hospital.example")) >= 50

        await until(all_there)
        records = await kept(service, source="ferro@hospital.example")
        assert {record.state for record in records} == {"parsed"}
        for place, record in enumerate(records):
            assert f">number {place} &lt;&amp;&gt; é<".encode() in record.raw
        [of_one] = await kept(service, patient="P-17^^^&2.999.1&ISO", type="ITI-18")
        assert of_one == records[17]


async def test_logger_with_structured_data_is_understood(tmp_path):
    logger = shutil.which("logger")
    if logger is None:
        pytest.skip("logger is not installed")
    body = encode(an_event(), SOURCE).decode()
    async with repository(tmp_path) as service:
        where = ["--server", "127.0.0.1", "--port", str(service.syslog.port), "--tcp", "--octet-count"]
        how = ["--rfc5424", "--msgid", "IHE+RFC-3881", "--size", "64KiB", "-p", "authpriv.notice"]
        data = ["--sd-id", "origin@32473", "--sd-param", 'ip="192.0.2.1"']
        process = await asyncio.create_subprocess_exec(logger, *where, *how, *data, "--", body)
        assert await process.wait() == 0

        async def there() -> bool:
            return bool(await kept(service))

        await until(there)
        (record,) = await kept(service, type="ITI-18")
        assert b"[origin@32473" in record.raw
        assert record.state == "parsed"

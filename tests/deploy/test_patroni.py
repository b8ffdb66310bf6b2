"""Two hosts with services, three with PostgreSQL, as `deploy/ha` sets them up: what befalls them costs
nothing that was acknowledged, and writes go on by themselves.

The hosts are networks of their own on this machine; HAProxy, Patroni, etcd and PostgreSQL are the real ones.
With --long there are twenty rounds, and the figures of docs/high-availability.md are printed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import ssl
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from registry.settings import RegistrySettings
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.security.tls import client_context
from shared.settings import TlsSettings
from shared.soap.client import PeerUnreachable, SoapClient
from tests.support import hosts as hosts_module
from tests.support.hosts import Daemon, Host, hosts
from tests.support.metadata import PATIENT, a_submission
from tests.support.object_stores import moto
from tests.support.patroni import (
    NODES,
    DatabaseNode,
    PatroniCluster,
    missing,
    patroni_cluster,
    prepared,
    wait_until,
)
from tests.support.submission_load import NO_ANSWER, SubmissionLoad, kept_by, shown_by
from xdsi.certificates import Community, create_community, trust_each_other
from xdsi.patient import message, send
from xdsi.services import Service

pytestmark = [pytest.mark.heavy, pytest.mark.peer, pytest.mark.timeout(3600)]

SERVICE_HOSTS = ("a", "b")
SERVED = (
    *((name, service) for name in SERVICE_HOSTS for service in (Service.REGISTRY, Service.REPOSITORY)),
    *((name, Service.AUDIT_REPOSITORY) for name in SERVICE_HOSTS),
    # One of two, so that not everything is there twice on one machine.
    ("a", Service.IMAGING_SOURCE),
)
REPOSITORY = "1.3.6.1.4.1.21367.2026.10.20"
ROUNDS = 4
# Between what befalls them, services are not to take the processors from each other.
PAUSE_SECONDS = 0.5
CALM_SECONDS = 5.0
RECOVERY_SECONDS = 90.0
# By then HAProxy has seen that a service is back: it looks each second, and waits three for an answer.
CHECKED_SECONDS = 5.0


@dataclass
class Lab:
    """All that runs; `url` is where clients find the services, whichever host answers."""

    cluster: PatroniCluster
    hosts: dict[str, Host]
    address: str
    services: dict[tuple[str, Service], Daemon]
    community: Community
    neighbour: Community

    @property
    def tls(self) -> TlsSettings:
        """The certificates of a node of the community."""
        return tls_of(self.community)

    def url(self, port: int, host: str = "") -> str:
        """Where a port is, of one host or of whichever answers."""
        return f"https://{self.hosts[host].address if host else self.address}:{port}"

    def load(self, clients: int = 2) -> AbstractContextManager:
        """Clients at work, through HAProxy."""
        return SubmissionLoad.under_way(
            self.tls, self.url(8010), self.url(8020), clients=clients, pause_seconds=PAUSE_SECONDS
        )

    async def check(self, load: SubmissionLoad) -> None:
        """Each acknowledged submission is there once, at both hosts, with its bytes."""
        assert load.violations == []
        ids = [*load.registered, *load.provided]
        peers = [self.url(port, host) for port in (8010, 8020) for host in SERVICE_HOSTS]
        async with http_client(self.tls, peers=peers) as http:
            soap = SoapClient(http)
            for host in SERVICE_HOSTS:
                seen = await shown_by(soap, self.url(8010, host), ids)
                assert {uid: seen[uid] for uid in ids if seen[uid] != 1} == {}
                kept = await kept_by(soap, self.url(8020, host), REPOSITORY, list(load.provided))
                assert kept == load.provided


def tls_of(community: Community) -> TlsSettings:
    """The certificates of a node."""
    return TlsSettings(**community.settings()["tls"], check_host_names=True)


def ready(daemon: Daemon, times: int = 1) -> None:
    """Wait until a service has said so many times that it is ready."""
    wait_until(
        lambda: daemon.log.read_text("utf-8").count(" ready ") >= times,
        120,
        lambda: f"{daemon.words}: {daemon.log.read_text('utf-8')[-2000:]}",
    )


def service_at(host: Host, service: Service, folder: Path, environment: dict[str, str]) -> Daemon:
    """A service with the settings of its host."""
    given = {
        "XDSI_DATA": str(folder / "data"),
        # What is asked here is about the database, not about people.
        "XDSI_PATIENTS": "any",
        "XDSI_XUA": "optional",
        "XDSI_CONSENT__DEFAULT": "permit",
    }
    if service is not Service.AUDIT_REPOSITORY:
        given["XDSI_DATABASE_URL__FILE"] = str(folder / "DATABASE_URL")
    words = (sys.executable, "-m", "xdsi", "serve", service.value, "--config", folder / "xdsi.toml")
    return Daemon(host, words, folder / f"{service}.log", environment=given | environment)


@contextmanager
def balancers(members: dict[str, Host], folder: Path) -> Iterator[None]:
    daemons = [
        Daemon(
            members[name],
            ("haproxy", "-db", "-f", folder / name / "haproxy.cfg"),
            folder / f"{name}.haproxy.log",
        )
        for name in SERVICE_HOSTS
    ]
    try:
        for daemon in daemons:
            daemon.start()
        yield
    finally:
        for daemon in daemons:
            daemon.kill()


def certificates(folder: Path, names: list[str]) -> tuple[Community, Community]:
    """Those of the community, where services and HAProxy look for them; and of a neighbour that it trusts."""
    community = create_community(folder / "certificates", "Community", hosts=names)
    neighbour = create_community(folder / "neighbour", "Neighbour")
    trust_each_other(community, neighbour)
    (folder / "keys").mkdir()
    shutil.copy(community.node.certificate, folder / "node.pem")
    shutil.copy(community.node.key, folder / "keys" / "node.key")
    shutil.copy(community.trust, folder / "trust.pem")
    pair = community.node.certificate.read_bytes() + community.node.key.read_bytes()
    (folder / "haproxy.pem").write_bytes(pair)
    return community, neighbour


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Everything, once: it takes its time to start."""
    if absent := missing():
        pytest.skip(f"not installed: {', '.join(absent)}")
    if reason := hosts_module.impossible():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="xdsi-ha-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        members = stack.enter_context(hosts(*NODES, *SERVICE_HOSTS))
        address = f"{members['a'].net}.200"
        members["a"].take(address)
        addresses = {name: host.address for name, host in members.items()} | {"services": address}
        made = prepared(folder, addresses)
        (folder / "xdsi").mkdir()
        community, neighbour = certificates(folder / "xdsi", [*addresses.values()])
        cluster = stack.enter_context(patroni_cluster(members, made))
        password = (made / "services.password").read_text("utf-8")
        cluster.administer(f"CREATE ROLE xdsi LOGIN PASSWORD '{password}'")
        cluster.administer("CREATE DATABASE xdsi OWNER xdsi")
        stack.enter_context(balancers(members, made))
        store = stack.enter_context(moto(f"{members['a'].net}.254"))
        environment = {
            "XDSI_REPOSITORY__STORAGE_URL": f"s3://{store.bucket}/documents",
            "XDSI_IMAGING_SOURCE__STORAGE_URL": f"s3://{store.bucket}/instances",
            "XDSI_S3__ENDPOINT": str(store.settings.endpoint),
            "XDSI_S3__ACCESS_KEY": "id",
            "XDSI_S3__SECRET_KEY": "secret",
            "XDSI_S3__ALLOW_HTTP": "true",
        }
        services = {}
        for name, service in SERVED:
            daemon = service_at(members[name], service, made / name, environment)
            services[name, service] = daemon
            stack.callback(daemon.kill)
            daemon.start()
        for daemon in services.values():
            ready(daemon)
        yield Lab(cluster, members, address, services, community, neighbour)


# --- what may befall the database -------------------------------------------------------------------


@contextmanager
def primary_killed(_: PatroniCluster, primary: DatabaseNode) -> Iterator[None]:
    """PostgreSQL and Patroni of the primary end at once, as when its host does; the host comes back later."""
    primary.patroni.kill()
    primary.signal(signal.SIGKILL, primary.postmaster)
    yield
    primary.patroni.start()


@contextmanager
def postmaster_killed(_: PatroniCluster, primary: DatabaseNode) -> Iterator[None]:
    """PostgreSQL of the primary ends at once."""
    primary.signal(signal.SIGKILL, primary.postmaster)
    yield


@contextmanager
def primary_frozen(_: PatroniCluster, primary: DatabaseNode) -> Iterator[None]:
    """The primary and its Patroni stand still, and wake up when another one has taken over."""
    processes = primary.processes()
    primary.signal(signal.SIGSTOP, *processes)
    yield
    primary.signal(signal.SIGCONT, *processes)


@contextmanager
def primary_cut_off(_: PatroniCluster, primary: DatabaseNode) -> Iterator[None]:
    """The cable of the primary is pulled: it lives, and nobody hears it."""
    primary.host.cut_off()
    yield
    primary.host.connect()


@contextmanager
def etcd_killed(cluster: PatroniCluster, _: DatabaseNode) -> Iterator[None]:
    """The etcd that leads ends, for longer than a lease of Patroni lasts."""
    leader = cluster.etcd_leader()
    leader.etcd.kill()
    yield
    leader.etcd.start()


Harm = Callable[[PatroniCluster, DatabaseNode], AbstractContextManager[None]]
MOVING: tuple[Harm, ...] = (primary_killed, postmaster_killed, primary_frozen, primary_cut_off)
STAYING: tuple[Harm, ...] = (etcd_killed,)
LEASE_SECONDS = 25.0


async def moved(cluster: PatroniCluster, primary: DatabaseNode) -> None:
    """Wait until another node is the primary."""
    while (now := await asyncio.to_thread(lambda: cluster.primary)) is None or now is primary:  # noqa: ASYNC110
        await asyncio.sleep(0.2)


async def befallen(lab: Lab, load: SubmissionLoad, harm: Harm) -> float:
    """The seconds without an acknowledgement, when this befalls a cluster that is whole."""
    primary = await asyncio.to_thread(lab.cluster.wait_whole)
    await asyncio.sleep(CALM_SECONDS)
    began = time.monotonic()
    with ExitStack() as harmed:
        async with load.hurried():
            harmed.enter_context(harm(lab.cluster, primary))
        async with asyncio.timeout(RECOVERY_SECONDS):
            if harm in MOVING:
                await moved(lab.cluster, primary)
            else:
                await asyncio.sleep(LEASE_SECONDS)
            await load.acknowledged(20, of_calls_since=time.monotonic())
    return load.longest_silence(began)


async def test_what_befalls_the_database_costs_nothing_acknowledged(lab: Lab, long: bool):
    harms = [*MOVING, *STAYING] * ROUNDS if long else [primary_killed]
    seconds: dict[str, list[float]] = defaultdict(list)
    async with lab.load() as load:
        for harm in harms:
            seconds[harm.__name__].append(await befallen(lab, load, harm))
            print(harm.__name__, round(seconds[harm.__name__][-1], 1), flush=True)
    await lab.check(load)
    told = {name: [round(f(of), 1) for f in (min, statistics.median, max)] for name, of in seconds.items()}
    print(json.dumps({"acknowledged": len(load.acknowledgements), "seconds": told, "answers": load.answers}))


async def test_both_hosts_are_restarted_one_after_the_other_and_every_request_is_answered(lab: Lab):
    await asyncio.to_thread(lab.cluster.wait_whole)
    async with lab.load() as load:
        for host in SERVICE_HOSTS:
            for service in (Service.REGISTRY, Service.REPOSITORY):
                daemon = lab.services[host, service]
                began = daemon.log.read_text("utf-8").count(" ready ")
                async with load.hurried():
                    await asyncio.to_thread(daemon.stop)
                daemon.start()
                await asyncio.to_thread(ready, daemon, began + 1)
                await asyncio.sleep(CHECKED_SECONDS)
            async with load.hurried():
                await load.acknowledged(100, of_calls_since=time.monotonic())
    await lab.check(load)
    # Who is not let in has said nothing, and knocks again; whoever said something is answered.
    not_sent = f"({PeerUnreachable.__name__})"
    unanswered = {answer for answer in load.answers if NO_ANSWER in answer and not_sent not in answer}
    assert unanswered == set()
    print(dict(load.answers))


async def test_a_second_failure_before_a_standby_is_in_step_waits_for_the_node_that_has_everything(
    lab: Lab, long: bool
):
    """One standby is frozen, the primary dies, the other standby takes over and dies: the frozen one lacks
    what was acknowledged, and does not take over when it wakes."""
    if not long:
        pytest.skip("it takes two minutes: --long")
    cluster = lab.cluster
    first = await asyncio.to_thread(cluster.wait_whole)
    async with lab.load() as load:
        roles = {name: member["role"] for name, member in cluster.members().items()}
        [second] = [cluster.nodes[name] for name, role in roles.items() if role == "sync_standby"]
        [late] = [node for node in cluster.nodes.values() if node not in (first, second)]
        frozen = late.processes()
        late.signal(signal.SIGSTOP, *frozen)
        await load.acknowledged(50, of_calls_since=time.monotonic())
        with primary_killed(cluster, first):
            async with asyncio.timeout(RECOVERY_SECONDS):
                await moved(cluster, first)
            second.patroni.kill()
            second.signal(signal.SIGKILL, second.postmaster)
            late.signal(signal.SIGCONT, *frozen)
            began = time.monotonic()
            while time.monotonic() < began + 2 * LEASE_SECONDS:
                assert await asyncio.to_thread(lambda: cluster.primary) is None
                await asyncio.sleep(0.5)
            second.patroni.start()
            async with asyncio.timeout(RECOVERY_SECONDS):
                await moved(cluster, late)
                assert cluster.primary is second
        await asyncio.to_thread(cluster.wait_whole)
        await load.acknowledged(50, of_calls_since=time.monotonic())
    await lab.check(load)


# --- the balancer -------------------------------------------------------------------------------------


async def test_who_comes_through_the_balancer_is_known_by_the_certificate_he_shows(lab: Lab):
    request = RegisterRequest.of(a_submission())
    url = f"{lab.url(8010)}/xds/registry"
    async with http_client(lab.tls, peers=(lab.url(8010),)) as http:
        answer = await SoapClient(http).call(ITI42, url, request)
    assert not answer.errors
    async with http_client(tls_of(lab.neighbour), peers=(lab.url(8010),)) as http:
        with pytest.raises(SoapFault, match="XDSI_RIGHTS__SUBMIT"):
            await SoapClient(http).call(ITI42, url, request)


async def test_the_feed_comes_through_the_balancer(lab: Lab):
    settings = RegistrySettings.load(None, {}, tls=lab.tls.model_dump())
    await send(settings, f"{lab.address}:2576", message("A04", patient=PATIENT))


async def test_dicom_comes_through_the_balancer_with_the_certificate_of_the_sender(lab: Lab, tmp_path: Path):
    entity = AE("CT1")
    entity.add_requested_context(Verification)
    association = await asyncio.to_thread(
        entity.associate, lab.address, 11112, ae_title="XDSI", tls_args=(client_context(lab.tls), lab.address)
    )
    assert association.is_established
    assert association.send_c_echo().Status == 0x0000
    association.release()

    stranger = create_community(tmp_path, "Stranger")
    stranger.trust.write_bytes(lab.community.trust.read_bytes())
    reader, writer = await asyncio.open_connection(lab.address, 11112, ssl=client_context(tls_of(stranger)))
    # With TLS 1.3 a client learns that it is refused when it reads.
    with pytest.raises(ssl.SSLError):
        await reader.read()
    writer.close()


async def test_each_audit_repository_hears_of_clients_by_their_own_address(lab: Lab):
    """And not by that of the balancer, through which they came."""
    request = RegisterRequest.of(a_submission())
    async with http_client(lab.tls, peers=(lab.url(8010),)) as http:
        assert not (await SoapClient(http).call(ITI42, f"{lab.url(8010)}/xds/registry", request)).errors
    unique_id = request.decoded.submission.submission_set.unique_id
    for name in SERVICE_HOSTS:
        trail = lab.services[name, Service.AUDIT_REPOSITORY].log.parent / "data" / "audit-repository"
        await asyncio.to_thread(
            wait_until, lambda path=trail: records_of(path, unique_id), 90, lambda: "nothing was recorded"
        )
        for record in records_of(trail, unique_id):
            assert f'"{lab.hosts["a"].net}.254"' in record
            assert f'"{lab.address}"' not in record.replace(f"https://{lab.address}", "")


def records_of(trail: Path, unique_id: str) -> list[str]:
    """The records of a trail that name a submission set."""
    path = trail / "audit_repository.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT raw FROM audit_record").fetchall()
    return [raw.decode() for (raw,) in rows if unique_id.encode() in raw]

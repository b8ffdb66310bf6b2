"""One community in containers, `deploy/compose/compose.yaml` as it is: processes are killed at random, time
and again, while documents are registered, provided and retrieved, and start again by themselves; nothing that
was acknowledged is lost, and whatever comes is right."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.ebrim.model import Code
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.security.issuer import AssertionContent, AssertionIssuer
from shared.settings import TlsSettings
from shared.soap.client import PeerError, SoapClient
from tests.support.metadata import DOMAIN
from tests.support.submission_load import SubmissionLoad, kept_by, shown_by

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"
PODMAN_COMPOSE = shutil.which("podman-compose")
IMAGE = os.environ.get("IMAGE_NAME", "xdsi:0.1.0")
#: Under the contract of the official one, which needs a registry of images.
POSTGRES = os.environ.get("POSTGRES_IMAGE", "localhost/xdsi-test-postgres:latest")
PROJECT = f"xdsi-kills-{os.getpid()}"
KILLED = ("registry", "repository", "imaging-source", "audit-repository", "database")
KILLS, LONG_KILLS = 20, 200
SECONDS = 600
#: An address of loopback on which nobody else listens.
BIND = f"127.77.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
REGISTRY, REPOSITORY = f"https://{BIND}:8010", f"https://{BIND}:8020"
REPOSITORY_ID = "1.3.6.1.4.1.21367.2026.10.20"
ROLE = Code("RAD-PHYS", "2.999.40.1")


def podman(*words: str) -> str:
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=True).stdout.strip()


def has_images() -> bool:
    if PODMAN_COMPOSE is None or shutil.which("podman") is None or os.geteuid() != 0:
        return False
    return all(
        subprocess.run(["podman", "image", "exists", image], capture_output=True, check=False).returncode == 0
        for image in (IMAGE, POSTGRES)
    )


pytestmark = [
    pytest.mark.heavy,
    pytest.mark.peer,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not has_images(),
        reason=f"no podman-compose as root with {IMAGE} (deploy/release.sh) "
        f"and {POSTGRES} (tests/deploy/postgres)",
    ),
]


@dataclass(frozen=True)
class Containers:
    """The community that runs; its certificates are on volumes."""

    folder: Path

    def compose(self, *words: str, check: bool = True) -> str:
        assert PODMAN_COMPOSE is not None
        done = subprocess.run(
            [PODMAN_COMPOSE, "-p", PROJECT, "-f", str(self.folder / "compose.yaml"), *words],
            capture_output=True, text=True, check=False,
            env=os.environ | {"IMAGE_NAME": IMAGE, "POSTGRES_IMAGE": POSTGRES, "BIND": BIND},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tool(self, *words: str) -> str:
        """What a command of `xdsi` says, in the container for commands."""
        return self.compose("--profile", "tools", "run", "--rm", "tools", *words)

    def volume(self, name: str) -> Path:
        return Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", f"{PROJECT}_{name}"))

    @property
    def tls(self) -> TlsSettings:
        pki = self.volume("pki")
        return TlsSettings(
            certificate=pki / "node.pem", key=pki / "node.key", trust=pki / "trust.pem", check_host_names=True
        )

    def assertion(self) -> bytes:
        """A clinician, as the community's provider says."""
        authority = self.volume("authority")
        issuer = AssertionIssuer.load(
            "urn:xdsi:assertion-provider:community", authority / "idp.key", authority / "idp.pem"
        )
        content = AssertionContent(
            name_id="dr.roe",
            audience=f"urn:oid:{DOMAIN}",
            roles=[ROLE],
            organization="Hospital",
            lifetime_seconds=3_000,
        )
        return issuer.sign(content)

    def process_id(self, service: str) -> int:
        """The first process of a container; 0 while it does not run."""
        shown = json.loads(podman("inspect", f"{PROJECT}_{service}_1"))
        return int(shown[0]["State"]["Pid"])

    def is_ready(self, service: str) -> bool:
        """What a service says of itself; of the database, whether it lets anybody in."""
        asked = "exec /usr/lib/postgresql/*/bin/pg_isready -q -h /tmp"
        if service != "database":
            asked = "exec python3 /opt/xdsi/health.py ready"
        done = subprocess.run(
            ["podman", "exec", f"{PROJECT}_{service}_1", "sh", "-c", asked], capture_output=True, check=False
        )
        return done.returncode == 0


@contextmanager
def community(folder: Path) -> Iterator[Containers]:
    shutil.copytree(COMPOSE, folder, dirs_exist_ok=True)
    subprocess.run([folder / "prepare.sh"], check=True)
    containers = Containers(folder)
    try:
        containers.compose("up", "--detach")
        yield containers
    finally:
        containers.compose("down", "--volumes", "--timeout", "45", check=False)


async def until_done(containers: Containers, *words: str) -> str:
    """What a command says, once it is carried out: services start side by side, and are killed."""
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(AssertionError):
                return await asyncio.to_thread(containers.tool, *words)
            await asyncio.sleep(1)


async def killed(containers: Containers, service: str) -> None:
    """End a container's process as a crash does, and wait until it runs again."""
    before = await asyncio.to_thread(containers.process_id, service)
    assert before
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(containers.process_id, service) in (0, before):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def until_ready(containers: Containers, service: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not await asyncio.to_thread(containers.is_ready, service):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


@asynccontextmanager
async def reader(soap: SoapClient, load: SubmissionLoad) -> AsyncIterator[Counter[str]]:
    """Somebody retrieves what was acknowledged, again and again: how often it came, and how often nothing did
    because a service was away."""
    came: Counter[str] = Counter()

    async def retrieving() -> None:
        while True:
            await asyncio.sleep(0.05)
            if load.provided:
                uid = random.choice(list(load.provided))
                with suppress(PeerError, SoapFault):
                    documents = await kept_by(soap, REPOSITORY, REPOSITORY_ID, [uid])
                    came["right" if documents == {uid: load.provided[uid]} else "away"] += 1
                    assert documents in ({}, {uid: load.provided[uid]})

    reading = asyncio.create_task(retrieving())
    try:
        yield came
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def test_containers_that_are_killed_at_random_start_again_and_have_lost_nothing(
    tmp_path: Path, long: bool
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choice = random.Random(seed)
    with community(tmp_path / "compose") as containers:
        await until_done(containers, "patient", "add", "P-1001", "--to", "registry:2576")
        await until_done(containers, "consent", "set", "P-1001", "permit", "--role", str(ROLE))
        tls, assertion = containers.tls, containers.assertion()
        async with http_client(tls, peers=(REGISTRY, REPOSITORY)) as http:
            soap = SoapClient(http, assertion=lambda: assertion)
            async with (
                SubmissionLoad.under_way(tls, REGISTRY, REPOSITORY) as load,
                reader(soap, load) as came,
            ):
                for number in range(LONG_KILLS if long else KILLS):
                    victim, at_work = choice.choice(KILLED), number % 4 != 0
                    # Three of four meet a service at work, the others one that may just have been started.
                    if at_work:
                        await until_ready(containers, victim)
                    await asyncio.sleep(choice.uniform(0.0, 1.0))
                    await killed(containers, victim)
                    told = "at work" if at_work else "as it was"
                    print(number + 1, victim, told, len(load.acknowledgements), flush=True)
                async with asyncio.timeout(SECONDS):
                    await load.acknowledged(40, of_calls_since=time.monotonic())
                    while not came["right"]:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
            print(len(load.acknowledgements), "acknowledged;", dict(load.answers), "retrieved:", dict(came))
            assert load.violations == []

            ids = [*load.registered, *load.provided]
            seen = await shown_by(soap, REGISTRY, ids)
            assert {uid: seen[uid] for uid in ids if seen[uid] != 1} == {}
            assert await kept_by(soap, REPOSITORY, REPOSITORY_ID, list(load.provided)) == load.provided
        assert "whole" in await until_done(containers, "audit", "verify")

"""S3-compatible stores for tests: real servers on loopback, each with a bucket `test`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from shared.settings import S3Settings
from tests.support.seaweedfs import BUCKET, KEY, SECRET, SeaweedFS, running_seaweedfs, wait_for
from xdsi.stage import free_ports

CEPH = Path(__file__).parents[2] / "../shared/tools/ceph-mini.sh"


@dataclass(frozen=True)
class ObjectStore:
    """A server; `folder` is where its own tool keeps it, for failures of its parts."""

    settings: S3Settings
    bucket: str = "test"
    folder: Path | None = None
    cluster: SeaweedFS | None = None


def _free_ports_from(port: int) -> int:
    """A port such that nobody listens there; a cluster takes the hundred from it on."""
    while True:
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            port += 100


def _settings(port: int, access_key: str, secret_key: str, address: str = "127.0.0.1") -> S3Settings:
    return S3Settings(
        endpoint=f"http://{address}:{port}",
        access_key=access_key,
        secret_key=secret_key,
        allow_http=True,
    )


@contextmanager
def moto(address: str = "127.0.0.1") -> Iterator[ObjectStore]:
    """moto's server in a thread."""
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        urlopen(Request(f"http://{address}:{port}/test", method="PUT")).close()
        yield ObjectStore(_settings(port, "id", "secret", address))
    finally:
        server.stop()


def reset(store: ObjectStore) -> None:
    """Let moto's server lose everything."""
    urlopen(Request(f"{store.settings.endpoint}/moto-api/reset", method="POST")).close()


@contextmanager
def s3rver() -> Iterator[ObjectStore]:
    """s3rver, a program for node."""
    program = shutil.which("s3rver")
    if program is None:
        pytest.skip("s3rver is not installed; npm install -g s3rver")
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="s3rver-") as folder:
        process = subprocess.Popen(
            [program, "-a", "127.0.0.1", "-p", str(port), "-d", folder, "--configure-bucket", "test"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            yield ObjectStore(_settings(port, "S3RVER", "S3RVER"))
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def ceph() -> Iterator[ObjectStore]:
    """A Ceph cluster of three OSDs with its S3 gateway."""
    if not CEPH.exists():
        pytest.skip(
            "the tool that starts a Ceph cluster is not at hand; moto's server is a store of the same kind"
        )
    if shutil.which("radosgw", path=os.environ["PATH"] + ":/usr/sbin:/usr/bin") is None:
        pytest.skip("Ceph is not installed; apt install ceph-mon ceph-osd ceph-common radosgw")
    with tempfile.TemporaryDirectory(prefix="ceph-") as folder:
        port = _free_ports_from(17_480)
        environment = os.environ | {"OSD_GB": "3"}
        try:
            subprocess.run(
                [CEPH, "up", folder, str(port)], check=True, capture_output=True, timeout=120, env=environment
            )
            given = _variables(Path(folder) / "env")
            yield ObjectStore(
                _settings(port, given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"]),
                given.get("BUCKET", "test"),
                Path(folder),
            )
        finally:
            subprocess.run([CEPH, "down", folder], check=True, capture_output=True, timeout=60)


@contextmanager
def seaweedfs() -> Iterator[ObjectStore]:
    """SeaweedFS with three volume servers."""
    with tempfile.TemporaryDirectory(prefix="weed-") as folder, running_seaweedfs(Path(folder)) as cluster:
        yield ObjectStore(_settings(cluster.s3_port, KEY, SECRET), BUCKET, Path(folder), cluster)


def kill_and_start(store: ObjectStore, number: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """What ends one of the servers that keep the bytes, and what starts it again."""
    if (cluster := store.cluster) is not None:
        return partial(cluster.kill_volume, number), partial(cluster.start_volume, number)
    return partial(ceph_osd, store, "kill-osd", number), partial(ceph_osd, store, "start-osd", number)


def ceph_osd(store: ObjectStore, action: str, number: int) -> None:
    """`kill-osd` or `start-osd` of one of the three."""
    assert store.folder is not None
    subprocess.run(
        [CEPH, action, str(store.folder), str(number)], check=True, capture_output=True, timeout=60
    )


def _variables(path: Path) -> dict[str, str]:
    lines = path.read_text("utf-8").splitlines()
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line)
    return {name: value.strip("'\"") for name, _, value in pairs}


SERVERS = {"moto": moto, "s3rver": s3rver, "seaweedfs": seaweedfs, "ceph": ceph}

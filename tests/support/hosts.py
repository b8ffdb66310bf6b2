"""Hosts on one machine: network namespaces on a bridge, each with an address, whose cable can be pulled.

A program of a host has the network to itself: every port is free, and 127.0.0.1 is its own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("ip", "nsenter", "unshare", "setpriv")
_SECONDS = 10.0


def impossible() -> str:
    """Why there can be no hosts here; empty when there can."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    if os.geteuid() != 0:
        return "networks of their own need root"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "no network namespace may be made here"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True)
class Host:
    """One of them; `process_id` keeps its network, `cable` is the end of its cable at the bridge."""

    name: str
    address: str
    process_id: int
    cable: str

    @property
    def net(self) -> str:
        """What the addresses of all of them begin with."""
        return self.address.rpartition(".")[0]

    def command(self, *words: str | Path, user: str = "") -> list[str]:
        """The words of a command that runs at this host, as `user`."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return ["nsenter", f"--net=/proc/{self.process_id}/ns/net", "--", *become, *map(str, words)]

    def cut_off(self) -> None:
        """Pull the cable: what is sent from now on is lost, and nobody is told."""
        _ip("link", "set", self.cable, "down")

    def connect(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self.cable, "up")

    def take(self, address: str) -> None:
        """Have this address, too."""
        words = self.command("ip", "address", "add", f"{address}/24", "dev", "eth0")
        subprocess.run(words, check=True, capture_output=True)


@contextmanager
def hosts(*names: str) -> Iterator[dict[str, Host]]:
    """Hosts by name; this process reaches all of them."""
    label = f"xl{os.getpid() % 100_000}"
    net = f"10.{random.randint(128, 254)}.{random.randint(0, 254)}"
    bridge = f"{label}br"
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{net}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield {
            name: stack.enter_context(_host(name, f"{net}.{number}", f"{label}-{number}", bridge))
            for number, name in enumerate(names, 1)
        }


@contextmanager
def _host(name: str, address: str, cable: str, bridge: str) -> Iterator[Host]:
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as keeper:
        try:
            _wait_for_network_of(keeper.pid)
            host = Host(name, address, keeper.pid, cable)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid))
            _ip("link", "set", cable, "master", bridge, "up")
            for words in (
                ("address", "add", f"{address}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                subprocess.run(host.command("ip", *words), check=True, capture_output=True)
            yield host
        finally:
            keeper.kill()


def _wait_for_network_of(process_id: int) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    until = time.monotonic() + _SECONDS
    while Path(f"/proc/{process_id}/ns/net").readlink() == ours:
        assert time.monotonic() < until, "no network namespace was made"
        time.sleep(0.01)


@dataclass
class Daemon:
    """A program at a host that goes on: started by a supervisor, one may say, which can start it again."""

    host: Host
    words: Sequence[str | Path]
    log: Path
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, if it does not run."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.host.command(*self.words, user=self.user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environment},
                cwd="/",
            )

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

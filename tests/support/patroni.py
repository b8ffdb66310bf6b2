"""Three hosts with PostgreSQL, Patroni and etcd, as `deploy/ha` sets them up, and what may befall them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.hosts import Daemon, Host

DEPLOY = Path(__file__).parents[2] / "deploy" / "ha"
#: Not Debian 12's: docs/high-availability.md says what that loses.
PROGRAM = "/opt/patroni/bin/patroni"
NODES = ("n1", "n2", "n3")
_USER = "postgres"
_ASK_SECONDS = 2.0


def missing() -> list[str]:
    """The packages that are not installed."""
    programs = {"etcd": "etcd-server", PROGRAM: "Patroni 4 in /opt/patroni", "haproxy": "haproxy"}
    absent = [package for program, package in programs.items() if shutil.which(program) is None]
    return absent if _programs_of_postgresql() else [*absent, "postgresql"]


def _programs_of_postgresql() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def prepared(folder: Path, addresses: dict[str, str]) -> Path:
    """The files that `prepare.sh` writes for these addresses."""
    programs = _programs_of_postgresql()
    assert programs is not None
    settings = {
        "PG_BIN": str(programs),
        "PG_DATA": f"{folder}/hosts/@NAME@/data",
        "PG_RUN": f"{folder}/hosts/@NAME@",
        "PATRONI": f"{folder}/hosts/@NAME@",
        "XDSI": str(folder / "xdsi"),
    }
    words = [f"{name}={address}" for name, address in addresses.items()]
    subprocess.run([DEPLOY / "prepare.sh", *words], cwd=folder, env=os.environ | settings, check=True)
    made = folder / "hosts"
    # PostgreSQL runs as a user of its own, and passes through.
    made.chmod(0o755)
    return made


@dataclass
class DatabaseNode:
    """One of the three: its etcd, and its Patroni, which starts PostgreSQL."""

    host: Host
    folder: Path
    etcd: Daemon
    patroni: Daemon

    @classmethod
    def of(cls, host: Host, folder: Path) -> DatabaseNode:
        """A node whose files are in `folder`."""
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, _USER, _USER)
        lines = (folder / "etcd").read_text("utf-8").splitlines()
        told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        told["ETCD_DATA_DIR"] = str(folder / "etcd-data")
        return cls(
            host,
            folder,
            Daemon(host, ("etcd",), folder / "etcd.log", _USER, told),
            Daemon(host, (PROGRAM, folder / "config.yml"), folder / "patroni.log", _USER),
        )

    @property
    def postmaster(self) -> int:
        """The process id of PostgreSQL."""
        return int((self.folder / "data" / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])

    def processes(self) -> list[int]:
        """Patroni, PostgreSQL and all of its processes."""
        return [*_with_children(self.patroni.pid), *_with_children(self.postmaster)]

    def signal(self, number: signal.Signals, *processes: int) -> None:
        """Send a signal to processes, of which some may be gone by now."""
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def end(self) -> None:
        """End everything at once."""
        with suppress(OSError, ValueError):
            self.signal(signal.SIGKILL, self.postmaster)
        for daemon in (self.patroni, self.etcd):
            daemon.kill()


def _with_children(process: int) -> Iterator[int]:
    yield process
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text("ascii").split():
                yield from _with_children(int(child))


class PatroniCluster:
    """The three nodes by name."""

    def __init__(self, nodes: dict[str, DatabaseNode], password: str) -> None:
        self.nodes = nodes
        self._password = password

    def members(self) -> dict[str, dict[str, Any]]:
        """What Patroni tells of every member, by any node that answers."""
        for node in self.nodes.values():
            with suppress(URLError, OSError, ValueError):
                url = f"http://{node.host.address}:8008/cluster"
                with urlopen(url, timeout=_ASK_SECONDS) as answer:
                    return {member["name"]: member for member in json.load(answer)["members"]}
        return {}

    @property
    def primary(self) -> DatabaseNode | None:
        """The node that takes writes, as it says itself; none while there is none."""
        for node in self.nodes.values():
            with suppress(URLError, OSError):
                with urlopen(f"http://{node.host.address}:8008/primary", timeout=_ASK_SECONDS) as answer:
                    answer.read()
                return node
        return None

    def is_whole(self) -> bool:
        """Whether there is a primary, a standby that has whatever is acknowledged, and another one."""
        members = self.members()
        roles = sorted(member["role"] for member in members.values())
        states = {member["state"] for member in members.values()}
        if roles != ["leader", "replica", "sync_standby"] or not states <= {"running", "streaming"}:
            return False
        primary = self.primary
        return primary is not None and self._ask(primary, _STREAMING).stdout.strip() == "2"

    def wait_whole(self, seconds: float = 180.0) -> DatabaseNode:
        """Wait until it is; the primary."""
        wait_until(self.is_whole, seconds, lambda: f"the cluster is not whole: {self.members()}")
        primary = self.primary
        assert primary is not None
        return primary

    def etcd_leader(self) -> DatabaseNode:
        """The node whose etcd leads the others."""
        for node in self.nodes.values():
            url = f"http://{node.host.address}:2379/v3/maintenance/status"
            with suppress(URLError, OSError), urlopen(url, b"{}", timeout=_ASK_SECONDS) as answer:
                status = json.load(answer)
                if status["leader"] == status["header"]["member_id"]:
                    return node
        raise AssertionError("no etcd leads")

    def administer(self, statement: str, database: str = "postgres") -> str:
        """What a statement says that the administrator carries out at the primary."""
        primary = self.primary
        assert primary is not None
        done = self._ask(primary, statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _ask(
        self, node: DatabaseNode, statement: str, database: str = "postgres"
    ) -> subprocess.CompletedProcess[str]:
        command = node.host.command(
            "psql", "--host", node.host.address, "--username", "postgres", "--dbname", database,
            "--tuples-only", "--no-align", "--quiet", "--command", statement,
        )  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": self._password, "PGCONNECT_TIMEOUT": "2"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Wait until `condition` holds; when it does not in time, `otherwise` says what was wrong."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, otherwise()
        time.sleep(0.2)


@contextmanager
def patroni_cluster(hosts: dict[str, Host], folder: Path) -> Iterator[PatroniCluster]:
    """The cluster, whole; its files were `prepared` below `folder`."""
    nodes = {name: DatabaseNode.of(hosts[name], folder / name) for name in NODES}
    cluster = PatroniCluster(nodes, (folder / "superuser.password").read_text("utf-8"))
    with ExitStack() as stack:
        for node in nodes.values():
            stack.callback(node.end)
            node.etcd.start()
        for node in nodes.values():
            node.patroni.start()
        cluster.wait_whole()
        yield cluster

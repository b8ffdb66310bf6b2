"""A community of services as processes: their settings, their start in the right order, their end."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from xdsi.forked import Forked
from xdsi.services import Service

# In the order in which they start: who is written to comes before who writes.
ORDER = (
    Service.AUDIT_REPOSITORY,
    Service.REGISTRY,
    Service.REPOSITORY,
    Service.IMAGING_SOURCE,
    Service.GATEWAY,
    Service.CONSUMER,
)

#: Services that start with them where a setting asks for it.
ASKED_FOR: Mapping[Service, tuple[str, ...]] = {
    Service.IDENTITY: ("XDSI_IDENTITY__PROVIDERS", "XDSI_IDENTITY__CLIENTS")
}

PORTS: Mapping[str, int] = {
    "XDSI_REGISTRY__PORT": 8010,
    "XDSI_REGISTRY__MLLP_PORT": 2575,
    "XDSI_REPOSITORY__PORT": 8020,
    "XDSI_IMAGING_SOURCE__PORT": 8030,
    "XDSI_IMAGING_SOURCE__DIMSE_PORT": 11112,
    "XDSI_IMAGING_SOURCE__HL7_PORT": 2577,
    "XDSI_CONSUMER__PORT": 8040,
    "XDSI_CONSUMER__MOVE_PORT": 11113,
    "XDSI_AUDIT_REPOSITORY__PORT": 8050,
    "XDSI_GATEWAY__PORT": 8060,
    "XDSI_IDENTITY__PORT": 8100,
    "XDSI_AUDIT_REPOSITORY__SYSLOG_PORT": 6514,
    "XDSI_AUDIT_REPOSITORY__UDP_PORT": 5514,
}
# A process that ended is told at once; one that lives may be on a machine with other work.
READY_SECONDS = 180.0
STOP_SECONDS = 45.0
_SILENT = "it said nothing"


class NotReady(Exception):
    """A service did not become ready; the text holds what it said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the services of one community are."""

    host: str = "127.0.0.1"
    offset: int = 0
    tls: bool = False

    def port(self, name: str) -> int:
        """The port behind a name of `PORTS`."""
        tls_feed = 1 if self.tls and name == "XDSI_REGISTRY__MLLP_PORT" else 0
        return PORTS[name] + tls_feed + self.offset

    def url(self, service: Service, path: str = "") -> str:
        """The URL of a service."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{self.host}:{self.port(f'XDSI_{service.package.upper()}__PORT')}{path}"

    @property
    def registry(self) -> str:
        """The SOAP endpoint of the registry."""
        return self.url(Service.REGISTRY, "/xds/registry")

    @property
    def repository(self) -> str:
        """The SOAP endpoint of the repository."""
        return self.url(Service.REPOSITORY, "/xds/repository")

    @property
    def imaging_source(self) -> str:
        """The SOAP endpoint of the imaging source."""
        return self.url(Service.IMAGING_SOURCE, "/xds/imaging-source")

    @property
    def audit(self) -> str:
        """Where audit events go."""
        scheme = "tls" if self.tls else "tcp"
        return f"{scheme}://{self.host}:{self.port('XDSI_AUDIT_REPOSITORY__SYSLOG_PORT')}"


def services_of(variables: Mapping[str, str]) -> tuple[Service, ...]:
    """The services that start under these variables, in order."""
    return *ORDER, *(service for service, settings in ASKED_FOR.items() if any(map(variables.get, settings)))


def environment(addresses: Addresses, data: Path) -> dict[str, str]:
    """The settings by which the services of one community find each other; by name."""
    made = {name: str(addresses.port(name)) for name in PORTS}
    made |= {
        "XDSI_HOST": addresses.host,
        "XDSI_DATA": str(data),
        "XDSI_REGISTRY_URL": addresses.registry,
        "XDSI_REPOSITORY_URL": addresses.repository,
        "XDSI_IMAGING_SOURCE_URL": addresses.imaging_source,
        "XDSI_DICOMWEB_PEERS": json.dumps([addresses.url(Service.IMAGING_SOURCE)]),
        "XDSI_AUDIT__URL": addresses.audit,
    }
    return made


@dataclass(slots=True)
class Process:
    """One service as a process of its own."""

    service: Service
    environment: Mapping[str, str]
    log: Path
    config: Path | None = None
    url: str = ""
    _begun: int = 0
    _process: Forked | None = None
    _lines: SimpleQueue[str] = field(default_factory=SimpleQueue)

    def start(self) -> None:
        """Start without waiting; what the service logs goes to `log`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._begun = log.tell()
        self._process = Forked(self.arguments, self.environment, self.log)
        self._lines = SimpleQueue()
        threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True).start()

    @property
    def arguments(self) -> list[str]:
        """The words after `xdsi`."""
        config = ["--config", str(self.config)] if self.config else []
        return ["serve", self.service.value, *config]

    @staticmethod
    def _read(process: Forked, lines: SimpleQueue[str]) -> None:
        with process.stdout as stdout:
            for line in stdout:
                lines.put(line)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the service says that it is ready.

        Raises
        ------
        NotReady
            It ended, or said nothing in time.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                line = self._lines.get(timeout=0.05)
            except Empty:
                if not self.running:
                    break
                continue
            if line.startswith(f"{self.service} ready "):
                self.url = line.split()[2]
                return
        raise NotReady(f"{self.service} is not ready: {self.last_words()}")

    def last_words(self) -> str:
        """What the service said of its end; without that, the end of its log since the last start."""
        if not self.log.is_file():
            return _SILENT
        with self.log.open("rb") as log:
            log.seek(self._begun)
            lines = log.read().decode("utf-8", "replace").splitlines()
        own_lines = [line.removeprefix("xdsi: ") for line in lines if line.startswith("xdsi: ")]
        return "\n".join(own_lines or lines[-5:]) or _SILENT

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise NotReady(f"{self.service} was not started")
        return self._process.pid

    def terminate(self) -> None:
        """Ask for an orderly stop, without waiting."""
        if self.running and self._process:
            self._process.terminate()

    def kill(self) -> None:
        """End at once, as a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def wait_stopped(self, seconds: float = STOP_SECONDS) -> int | None:
        """Wait for the end and return the exit status; a process that does not end in time is killed."""
        if self._process is None:
            return None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode


def processes(
    services: tuple[Service, ...], env: Mapping[str, str], logs: Path, *, config: Path | None = None
) -> Iterator[Process]:
    """A process for each service, not started."""
    for service in services:
        yield Process(service, env, logs / f"{service}.log", config)


def start_all(members: list[Process]) -> Iterator[Process]:
    """Start all at once, and yield each when it is ready."""
    for member in members:
        member.start()
    for member in members:
        member.wait_ready()
        yield member


def stop_all(members: list[Process]) -> list[int | None]:
    """Stop all, who is written to last, so that audit events still find their way; their statuses."""
    statuses = []
    for member in reversed(members):
        member.terminate()
        statuses.append(member.wait_stopped())
    return statuses

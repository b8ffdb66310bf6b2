"""A stage: a community and two hospitals on loopback, with their certificates, settings and processes.

The community runs registry and audit repository, Hospital North repository and imaging source; Hospital
South has clinicians. For the demonstration, and for whoever wants to try everything together.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

from shared.settings import ServiceSettings
from xdsi.certificates import Community, create_community, trust_each_other
from xdsi.community import NotReady, Process, processes, start_all, stop_all
from xdsi.services import Service

AnySettings = TypeVar("AnySettings", bound=ServiceSettings)

_PORTS = ("registry", "feed", "audit", "syslog", "repository", "source", "dimse")
# Below the range from which the system takes the ports of outgoing connections: a service that is started
# again finds its port free.
_PORT_RANGE = range(15_000, 32_000)


def in_random_order(ports: range) -> Iterator[int]:
    """These ports again and again: none comes a second time before all others came."""
    return cycle(random.sample(ports, len(ports)))


_offered = in_random_order(_PORT_RANGE)


def offer_ports(ports: range) -> None:
    """From now on the free ports of this process are among these, and those of others are not."""
    global _offered
    _offered = in_random_order(ports)


class Stage:
    """The communities, their certificates and processes.

    Parameters
    ----------
    folder
        Certificates, settings, data and logs lie below it.
    tls
        Mutual TLS and signed assertions on every step; without it plain sockets and no need of users.
    changes
        Further settings; a table that is named after a service is for that service alone.
    """

    def __init__(self, folder: Path, *, tls: bool = True, changes: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.tls = tls
        self._changes = changes or {}
        self.community, self.north, self.south = (
            create_community(folder / name.lower() / "certificates", name)
            for name in ("Community", "North", "South")
        )
        trust_each_other(self.community, self.north, self.south)
        self.members: list[tuple[str, Process]] = []
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))

    def url(self, name: str, path: str = "") -> str:
        """An address on the stage."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.ports[name]}{path}"

    def settings(self, who: Community) -> dict[str, Any]:
        """The settings of everything that belongs to `who`."""
        ports = self.ports
        consumers = self._nodes(self.community, self.north, self.south)
        made = {
            **(self._trust(who) if self.tls else {}),
            "data": str(self.folder / who.name.lower() / "data"),
            "registry_url": self.url("registry", "/xds/registry"),
            "repository_url": self.url("repository", "/xds/repository"),
            "imaging_source_url": self.url("source", "/xds/imaging-source"),
            "dicomweb_peers": [self.url("source")],
            "audit": {"url": f"{'tls' if self.tls else 'tcp'}://127.0.0.1:{ports['syslog']}"},
            "registry": {"port": ports["registry"], "mllp_port": ports["feed"]},
            "audit_repository": {
                "port": ports["audit"],
                "syslog_port": ports["syslog"],
                # Hospital South is no node of the community, and runs consumers that report to it.
                "sources": {"xdsi-consumer": consumers},
            },
            "repository": {"port": ports["repository"]},
            "imaging_source": {"port": ports["source"], "dimse_port": ports["dimse"]},
        }
        return _merged(made, self._changes)

    def _trust(self, who: Community) -> dict[str, Any]:
        community, north, south = self._nodes(self.community, self.north, self.south)
        believed = [one for one in (self.community, self.north, self.south) if one is not who]
        return {
            **who.settings(*believed),
            "community_nodes": [community, north],
            # South's clinicians ask, and what they do there is recorded; it writes nothing else.
            "rights": {"ask": [south], "record": [south]},
        }

    def _nodes(self, *of: Community) -> list[str]:
        from shared.security.peer_certificate import fingerprint_of

        return [fingerprint_of(one.node.certificate) for one in of]

    def load(self, settings_class: type[AnySettings], who: Community) -> AnySettings:
        """The settings of one part of `who`; the environment of this process has no say on the stage."""
        settings = self.settings(who)
        return settings_class.load(None, {}, **_merged(settings, settings.get(settings_class.service, {})))

    def start(self) -> Iterator[Process]:
        """Start every service, and yield each when it is ready."""
        plan = (
            (self.community, (Service.AUDIT_REPOSITORY, Service.REGISTRY)),
            (self.north, (Service.REPOSITORY, Service.IMAGING_SOURCE)),
        )
        # What is set for another installation has no say on the stage.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
        for who, services in plan:
            config = write_toml(self.folder / f"{who.name.lower()}.toml", self.settings(who))
            logs = self.folder / who.name.lower() / "log"
            for member in processes(services, environment, logs, config=config):
                self.members.append((who.name, member))
        write_toml(self.folder / "south.toml", self.settings(self.south))
        return start_all([member for _, member in self.members])

    def process(self, service: Service) -> Process:
        """The process of a service, once started."""
        for _, member in self.members:
            if member.service is service:
                return member
        raise NotReady(f"{service} was not started")

    def stop(self) -> list[int | None]:
        """End every service; the exit status of each, the last started first."""
        return stop_all([member for _, member in self.members])


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nothing listens on now, and that were not given by this process lately."""
    return list(islice(filter(_is_free, islice(_offered, len(_PORT_RANGE))), number))


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for name, value in over.items():
        before = made.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        made[name] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return made


def write_toml(path: Path, settings: Mapping[str, Any]) -> Path:
    """Write settings as the TOML file that every command takes as `--config`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    for name, group in settings.items():
        if isinstance(group, Mapping):
            lines += [
                "",
                f"[{name}]",
                *(f"{json.dumps(key)} = {_toml(value)}" for key, value in group.items()),
            ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)

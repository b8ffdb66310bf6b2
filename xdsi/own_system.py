"""Our own services, started to be judged: a community on loopback with its gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from conformance.plans.assertions import Provider
from conformance.plans.stand import Target
from conformance.simulators.documents import SimulatedImagingSource, SimulatedRepository
from conformance.simulators.registry import SimulatedRegistry
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.entities import DimseService
from repository.settings import RepositorySettings
from xdsi.certificates import Community, create_community
from xdsi.community import processes, start_all, stop_all
from xdsi.services import Service
from xdsi.stage import Stage, free_ports, write_toml

HOME = "urn:oid:2.999.71"
#: What our services do not claim (docs/conformance-statement.md).
WITHOUT = frozenset({"User Required"})

#: The application entity that the probes are, and what it may do.
_ENTITY: Final = "PROBE"
_MAY: Final = {
    "services": [str(one) for one in DimseService],
    "destinations": [_ENTITY],
}


@contextmanager
def own_system(folder: Path) -> Iterator[Target]:
    """The services, running until the end of the context."""
    port, consumer, peers, syslog, entity, department = free_ports(6)
    users = create_community(folder / "users", "Users")
    changes = {
        "home_community_id": HOME,
        "gateway": {"port": port},
        "assertion": {"issuers": {users.issuer: str(users.provider.certificate)}},
        "imaging_source": {
            "application_entities": {_ENTITY: {**_MAY, "host": "127.0.0.1", "port": entity}},
            "commitment_grace_seconds": 0,
            "hl7_port": department,
            "publishing": {"form": "mado"},
        },
    }
    stage = Stage(folder, tls=False, changes=changes)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    config = write_toml(folder / "gateway.toml", stage.settings(stage.community))
    others = list(processes((Service.GATEWAY,), environment, folder / "gateway", config=config))
    of_peers = write_toml(folder / "consumer.toml", _consumer(folder, changes, consumer, peers, syslog))
    others += processes((Service.CONSUMER,), environment, folder / "consumer", config=of_peers)
    try:
        for _ in stage.start():
            pass
        for _ in start_all(others):
            pass
        target = _target(stage, f"http://127.0.0.1:{port}", users)
        yield replace(
            target,
            endpoints={
                **target.endpoints,
                "department": f"127.0.0.1:{department}",
                "consumer": f"http://127.0.0.1:{consumer}",
                "front": f"http://127.0.0.1:{consumer}/dicomweb",
                "pages": f"http://127.0.0.1:{consumer}",
            },
            peers=f"127.0.0.1:{peers}",
            peers_syslog=str(syslog),
            entity=f"{_ENTITY}@127.0.0.1:{entity}",
            # What is ours does it in a second on a calm machine; a run says nothing of how busy this one is.
            patience_seconds=120.0,
        )
    finally:
        stop_all(others)
        stage.stop()


def _consumer(folder: Path, changes: Mapping[str, Any], port: int, peers: int, syslog: int) -> dict[str, Any]:
    """The settings of a consumer whose peers are played."""
    base = f"http://127.0.0.1:{peers}"
    return {
        "data": str(folder / "consumer" / "data"),
        "assertion": changes["assertion"],
        "registry_url": f"{base}{SimulatedRegistry.path}",
        "repository_url": f"{base}{SimulatedRepository.path}",
        "imaging_source_url": f"{base}{SimulatedImagingSource.path}",
        "dicomweb_peers": [base],
        "audit": {"url": f"tcp://127.0.0.1:{syslog}"},
        "consumer": {"port": port},
    }


def _target(stage: Stage, gateway: str, users: Community) -> Target:
    source = stage.load(ImagingSourceSettings, stage.north)
    return Target(
        endpoints={
            "registry": stage.url("registry", "/xds/registry"),
            "repository": stage.url("repository", "/xds/repository"),
            "source": stage.url("source", "/xds/imaging-source"),
            "dicomweb": stage.url("source", "/dicomweb"),
            "wado": stage.url("source", "/wado"),
            "publisher": stage.url("source"),
            "dimse": f"{source.ae_title}@127.0.0.1:{stage.ports['dimse']}",
            "feed": f"127.0.0.1:{stage.ports['feed']}",
            "audit": f"127.0.0.1:{stage.ports['syslog']}",
            "trail": stage.url("audit"),
            "initiating": f"{gateway}/xca/initiating",
            "responding": f"{gateway}/xca/responding",
        },
        domain=source.affinity_domain,
        home=HOME,
        repository_unique_id=stage.load(RepositorySettings, stage.north).repository_unique_id,
        retrieve_location_uid=source.retrieve_location_uid,
        provider=Provider.load(users.issuer, source.audience, users.provider.key, users.provider.certificate),
        without=WITHOUT,
    )

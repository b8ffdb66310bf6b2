"""Certificates and settings of a community and two hospitals, each in a folder of its own.

Runs as root, because the volumes are root's where the engine makes them so, and gives all away.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from shared.security.peer_certificate import fingerprint_of
from xdsi.certificates import Community, create_community, trust_each_other
from xdsi.stage import write_toml

PARTIES = {
    "community": ("registry", "audit-repository"),
    "north": ("repository", "imaging-source"),
    "south": ("south",),
}
#: Of the image.
USER = 10001
PLACE = Path("/parties")
#: Where a container finds the folder of its party.
SEEN = Path("/party")


def prepare() -> None:
    """Write what is not there yet."""
    parties = {name: create_community(PLACE / name, name.title(), hosts) for name, hosts in PARTIES.items()}
    trust_each_other(*parties.values())
    for party in parties:
        for name, other in parties.items():
            shutil.copyfile(other.provider.certificate, PLACE / party / f"provider-of-{name}.pem")
        write_toml(PLACE / party / "xdsi.toml", settings(parties, party))
        for path in (PLACE / party, *(PLACE / party).iterdir()):
            os.chown(path, USER, USER)


def settings(parties: dict[str, Community], party: str) -> dict[str, object]:
    """The settings of everything that belongs to a party."""
    nodes = {name: fingerprint_of(one.node.certificate) for name, one in parties.items()}
    return {
        "host": "0.0.0.0",  # noqa: S104  # within a container
        "registry_url": "https://registry:8010/xds/registry",
        "repository_url": "https://repository:8020/xds/repository",
        "imaging_source_url": "https://imaging-source:8030/xds/imaging-source",
        "dicomweb_peers": ["https://imaging-source:8030"],
        "community_nodes": [nodes["community"], nodes["north"]],
        # South's clinicians ask, and what they do there is recorded; it writes nothing else.
        "rights": {"ask": [nodes["south"]], "record": [nodes["south"]]},
        "audit": {"url": "tls://audit-repository:6514"},
        "registry": {"public_url": "https://registry:8010"},
        "repository": {"public_url": "https://repository:8020"},
        "imaging_source": {"public_url": "https://imaging-source:8030"},
        "audit_repository": {
            "public_url": "https://audit-repository:8050",
            "sources": {"xdsi-consumer": list(nodes.values())},
        },
        "tls": {
            "certificate": str(SEEN / "node.pem"),
            "key": str(SEEN / "node.key"),
            "trust": str(SEEN / "trust.pem"),
            "check_host_names": True,
        },
        "assertion": {
            "issuers": {one.issuer: str(SEEN / f"provider-of-{name}.pem") for name, one in parties.items()},
            "issuer": parties[party].issuer,
            "key": str(SEEN / "idp.key"),
            "certificate": str(SEEN / "idp.pem"),
        },
    }


if __name__ == "__main__":
    prepare()

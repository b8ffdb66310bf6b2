"""Certificates of nodes (ITI-19)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from shared.settings.group import Group


class TlsSettings(Group):
    """Mutual TLS on every socket when set; without it a service binds to loopback only."""

    certificate: Path | None = Field(
        None,
        examples=["/etc/xdsi/node.pem"],
        description="PEM file with the certificate (chain) of this node",
    )
    key: Path | None = Field(
        None, examples=["/etc/xdsi/node.key"], description="PEM file with its private key"
    )
    trust: Path | None = Field(
        None,
        examples=["/etc/xdsi/trust.pem"],
        description="PEM file with the certificates of the community's authorities",
    )
    check_host_names: bool = Field(
        False,
        description="whether a server's certificate must also name its host (the FQDN option of ATNA)",
    )

    @property
    def enabled(self) -> bool:
        """Whether sockets speak TLS."""
        return self.certificate is not None

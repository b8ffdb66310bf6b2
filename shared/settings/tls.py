"""Certificates of nodes (ITI-19)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from shared.settings.group import Group


class Revocation(StrEnum):
    """What is done about certificates that their authorities took back."""

    OFF = "off"
    SOFT = "soft"
    HARD = "hard"


class TlsSettings(Group):
    """Mutual TLS on every socket when set; without it a service binds to loopback only. Files that change are
    read again while a service runs, for connections that begin then."""

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
    revocation: Revocation = Field(
        Revocation.OFF,
        description="whether certificates of peers are looked up in revocation_lists, on every socket: off, "
        "soft (a revoked one is refused; one of which nothing is known is let in, and the log says so) or "
        "hard (that one is refused too)",
    )
    revocation_lists: Path | None = Field(
        None,
        examples=["/etc/xdsi/crl.pem"],
        description="PEM file with the revocation lists (CRL) of the trusted authorities",
    )
    check_host_names: bool = Field(
        False,
        description="whether a server's certificate must also name its host (the FQDN option of ATNA)",
    )

    @property
    def enabled(self) -> bool:
        """Whether sockets speak TLS."""
        return self.certificate is not None

"""Certificates of nodes (ITI-19)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from shared.settings.group import Group
from shared.settings.kinds import HttpUrl


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
        description="whether certificates of peers are looked up in revocation_lists, and by ocsp, on every "
        "socket: off, soft (a revoked one is refused; one of which nothing is known is let in, and the log "
        "says so) or hard (that one is refused too)",
    )
    ocsp: bool = Field(
        False,
        description="whether the OCSP responder that a peer's certificate names is asked about it, beside "
        "revocation_lists, unless the server's own answer comes along (stapled); what was said five minutes "
        "ago is asked for anew",
    )
    ocsp_url: HttpUrl | None = Field(
        None,
        examples=["http://ocsp.hospital.example"],
        description="responder that is asked about certificates that name none",
    )
    ocsp_staple: bool = Field(
        False,
        description="whether what our own certificate's responder says goes along to clients that ask for "
        "it (stapled)",
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

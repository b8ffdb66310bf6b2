"""The settings of the audit repository."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class AuditRepositorySettings(ServiceSettings):
    """Read once at start; the audit repository refuses to start on one it cannot read."""

    service: ClassVar[str] = "audit_repository"

    port: int = Field(8050, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    syslog_port: int = Field(
        6514,
        ge=0,
        le=65535,
        description="port for syslog over TLS; plain TCP, on loopback, without TLS",
    )
    udp: bool = Field(False, description="whether to take syslog over UDP too, which may lose records")
    udp_port: int = Field(5514, ge=0, le=65535, description="port for syslog over UDP")
    syslog_max_bytes: int = Field(
        256 * 1024,
        ge=8 * 1024,
        le=9_999_999,
        description="longest record; of a longer one, up to 9,999,999 octets, the first 8 KB and its SHA-256 "
        "are kept, as unparsed",
    )
    syslog_idle_seconds: float = Field(300, gt=0, description="silence after which a connection is closed")
    syslog_frame_seconds: float = Field(
        10, gt=0, description="longest time for one record to arrive, for each 256 KB of it"
    )
    syslog_connections: int = Field(512, ge=1, description="most connections at a time")
    sources: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="AuditSourceID to the nodes that alone may write under it, by subject DN or SHA-256 of "
        "the certificate; of others, xdsi-* and our own are for nodes of the community",
    )
    syslog_connections_per_peer: int = Field(
        16, ge=1, description="most connections of one address at a time, counted from their accept"
    )
    checkpoint_records: int = Field(1_000, ge=1, description="records after which a checkpoint is signed")
    checkpoint_seconds: float = Field(60, gt=0, description="time after which one is signed for fewer")


SETTINGS = AuditRepositorySettings

"""The settings of the audit repository."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings, SignInSettings
from shared.settings.kinds import Bytes, CodeWithScheme, Port, RelayUrl, Seconds


class AuditRepositorySettings(ServiceSettings):
    """Read once at start; the audit repository refuses to start on one it cannot read."""

    service: ClassVar[str] = "audit_repository"

    port: Port = Field(8050, description="port to listen on; 0 takes a free one")
    sign_in: SignInSettings = SignInSettings()
    syslog_port: Port = Field(
        6514,
        description="port for syslog over TLS; plain TCP, on loopback, without TLS",
    )
    udp: bool = Field(False, description="whether to take syslog over UDP too, which may lose records")
    udp_port: Port = Field(5514, description="port for syslog over UDP")
    syslog_max_bytes: Bytes = Field(
        256 * 1024,
        ge=8 * 1024,
        le=9_999_999,
        description="longest record; of a longer one, up to 9,999,999 octets, the first 8 KB and its SHA-256 "
        "are kept, as unparsed",
    )
    syslog_idle_seconds: Seconds = Field(300, gt=0, description="silence after which a connection is closed")
    syslog_frame_seconds: Seconds = Field(
        10, gt=0, description="longest time for one record to arrive, for each 256 KB of it"
    )
    syslog_connections: int = Field(512, ge=1, description="most connections at a time")
    sources: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        examples=[{"hospital-north": ["CN=pacs,O=Hospital North"]}],
        description="AuditSourceID to the nodes that alone may write under it, by subject DN or SHA-256 of "
        "the certificate; of others, xdsi-* and our own are for nodes of the community",
    )
    syslog_connections_per_peer: int = Field(
        16, ge=1, description="most connections of one address at a time, counted from their accept"
    )
    auditor_roles: tuple[CodeWithScheme, ...] = Field(
        (),
        examples=[["AUDITOR^^2.999.40.1"]],
        description="roles (code^^scheme) whose users may see the trail, beside nodes of the community that "
        "come without a user",
    )
    patient_roles: tuple[CodeWithScheme, ...] = Field(
        ("PAT^^2.16.756.5.30.1.127.3.10.6",),
        description="roles (code^^scheme) of users who are the patient that the resource-id of their "
        "assertion names: they may see who used their own data",
    )
    privacy_officer_roles: tuple[CodeWithScheme, ...] = Field(
        (),
        examples=[["PRIVACY^^2.999.40.1"]],
        description="roles (code^^scheme) whose users may see and change the consent policies of patients in "
        "the pages, beside nodes of the community that come without a user",
    )
    relay: tuple[RelayUrl, ...] = Field(
        (),
        examples=[["tls://siem.example:6514"]],
        description="further receivers of the trail, a second repository or a SIEM, by TLS or UDP: "
        "each has every record that comes after it was named, in order; tcp:// on loopback alone",
    )
    retention_months: int = Field(
        0,
        ge=0,
        le=1_200,
        description="whole months for which records are kept after the one in which they came; months that "
        "are over are given up whole, unless a legal hold names something of them; 0 keeps all",
    )
    checkpoint_records: int = Field(1_000, ge=1, description="records after which a checkpoint is signed")
    checkpoint_seconds: Seconds = Field(60, gt=0, description="time after which one is signed for fewer")


SETTINGS = AuditRepositorySettings

"""The settings of the registry."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.settings import PatientPolicy, ServiceSettings


class RegistrySettings(ServiceSettings):
    """Read once at start; the registry refuses to start on one it cannot read."""

    service: ClassVar[str] = "registry"

    port: int = Field(8010, ge=0, le=65535, description="port of the SOAP endpoint; 0 takes a free one")
    mllp_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port of the patient identity feed; 0 takes a free one (2575, with TLS 2576)",
    )
    feed_namespace: str = Field(
        "", description="namespace id of the affinity domain in feeds that name no OID; empty: OIDs only"
    )
    mllp_connections: int = Field(64, ge=1, description="feed connections at once")
    mllp_connections_per_peer: int = Field(8, ge=1, description="feed connections of one address at once")
    mllp_frame_bytes: int = Field(1024 * 1024, ge=1024, description="longest feed message, then AR and close")
    mllp_frame_seconds: float = Field(30.0, gt=0, description="time for one feed message, and between two")
    patients: PatientPolicy = Field(
        PatientPolicy.KNOWN, description="accept submissions for known patients only, or for any"
    )
    query_limit: int = Field(
        1_000, ge=1, description="LeafClass objects in one answer, then XDSTooManyResults"
    )
    reference_limit: int = Field(20_000, ge=1, description="ObjectRefs in one answer, then XDSTooManyResults")

    @property
    def feed_port(self) -> int:
        """`mllp_port`, or its default: 2575 without TLS, 2576 with it."""
        if self.mllp_port is not None:
            return self.mllp_port
        return 2576 if self.tls.enabled else 2575


SETTINGS = RegistrySettings

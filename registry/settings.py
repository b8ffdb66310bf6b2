"""The settings of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from registry.domain.restricted_update import ATTRIBUTES
from registry.domain.value_sets import ValueSetError, read_value_sets
from shared.consent.documents.bppc import read_meanings
from shared.consent.policy import PolicyError
from shared.hl7v2.message import CHARSETS, DEFAULT_CHARSET, encoding_of
from shared.messages.iti61 import RESPONSE_ACTION
from shared.settings import PatientPolicy, ServiceSettings
from shared.settings.group import derived
from shared.settings.kinds import Bytes, CodeWithScheme, Days, Port, Seconds, Uri


class RegistrySettings(ServiceSettings):
    """Read once at start; the registry refuses to start on one it cannot read."""

    service: ClassVar[str] = "registry"

    port: Port = Field(8010, description="port of the SOAP endpoint; 0 takes a free one")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that answer, on PostgreSQL; each keeps up to audit.spool_max_bytes of its own",
    )
    mllp_port: Port | None = derived(
        "port of the patient identity feed; 0 takes a free one",
        otherwise="`2575`, with TLS `2576`",
        examples=[2575],
    )
    feed_namespace: str = Field(
        "",
        examples=["HOSPITAL"],
        description="namespace id of the affinity domain in feeds that name no OID; empty: OIDs only",
    )
    feed_charset: str = Field(
        DEFAULT_CHARSET,
        description="character set of feed messages that name none in MSH-18 and are not UTF-8, as MSH-18 "
        "spells it",
    )
    mllp_connections: int = Field(64, ge=1, description="feed connections at once")
    mllp_connections_per_peer: int = Field(8, ge=1, description="feed connections of one address at once")
    mllp_frame_bytes: Bytes = Field(
        1024 * 1024, ge=1024, description="longest feed message, then AR and close"
    )
    mllp_frame_seconds: Seconds = Field(30.0, gt=0, description="time for one feed message, and between two")
    patients: PatientPolicy = Field(
        PatientPolicy.KNOWN, description="accept submissions for known patients only, or for any"
    )
    metadata_update: bool = Field(
        True, description="serve ITI-57 and ITI-92, and the parameters of Metadata Update in queries"
    )
    administrator_roles: tuple[CodeWithScheme, ...] = Field(
        (),
        examples=[["106289002^^2.16.840.1.113883.6.96"]],
        description="roles (code^^scheme) whose users may change or remove metadata, beside nodes of the "
        "community",
    )
    break_glass_roles: tuple[CodeWithScheme, ...] = Field(
        (),
        examples=[["106289002^^2.16.840.1.113883.6.96"]],
        description="roles (code^^scheme) whose users may break the glass in an emergency; empty: nobody",
    )
    break_glass_purposes: tuple[CodeWithScheme, ...] = Field(
        ("BTG^^2.16.840.1.113883.5.8",),
        description="purposes of use (code^^scheme), of which an assertion must name one to break the glass, "
        "and to see what that opens",
    )
    break_glass_seconds: Seconds = Field(
        3600.0, gt=0, le=12 * 3600, description="how long a break holds; then the user has to declare another"
    )
    fixed_attributes: tuple[str, ...] = Field(
        (),
        examples=[["hash", "size"]],
        description="attributes of document entries, such as hash, that ITI-92 may not change here",
    )
    value_sets: Path | None = Field(
        None,
        examples=["/etc/xdsi/value-sets.toml"],
        description="file (TOML, or JSON when its name ends so) with the codes and media types that "
        "submissions may use: attribute to list of code^^scheme; absent: any",
    )
    acknowledged_policies: Path | None = Field(
        None,
        examples=["/etc/xdsi/acknowledged-policies.json"],
        description="JSON file with what the policies mean that patients acknowledge in consent documents "
        "(BPPC): policy OID to list of policies as of `/consent/set`; absent: none is known",
    )
    on_demand_response_action: Uri = Field(
        RESPONSE_ACTION, description="wsa:Action of the answer to ITI-61, for peers that want another"
    )
    query_limit: int = Field(
        1_000, ge=1, description="LeafClass objects in one answer, then XDSTooManyResults"
    )
    replay_days: Days = Field(
        7.0,
        gt=0,
        description="days for which a message that comes again is answered as before; later it is a new one",
    )
    reference_limit: int = Field(20_000, ge=1, description="ObjectRefs in one answer, then XDSTooManyResults")

    @field_validator("fixed_attributes")
    @classmethod
    def _known_attributes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - ATTRIBUTES.keys():
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ATTRIBUTES)}")
        return names

    @field_validator("feed_charset")
    @classmethod
    def _known_charset(cls, name: str) -> str:
        if encoding_of(name) is None:
            raise ValueError(f"not read here; known: {', '.join(CHARSETS)}")
        return name

    def problems(self) -> list[str]:
        """Contradictions between settings, and what of the files they name cannot be used."""
        problems = super().problems()
        if self.workers > 1 and (self.database_url or "sqlite").startswith("sqlite"):
            problems.append(
                f"XDSI_WORKERS: {self.workers} workers need PostgreSQL, named in XDSI_DATABASE_URL; an "
                "embedded file is for one process"
            )
        if self.value_sets is not None:
            try:
                read_value_sets(self.value_sets)
            except ValueSetError as error:
                problems.append(f"XDSI_VALUE_SETS: {error}")
        if self.acknowledged_policies is not None:
            try:
                read_meanings(self.acknowledged_policies)
            except PolicyError as error:
                problems.append(f"XDSI_ACKNOWLEDGED_POLICIES: {error}; correct it")
        return problems

    def derived_values(self) -> dict[tuple[str, ...], Any]:
        """What the settings that follow from others come to, where they are not given."""
        return {**super().derived_values(), ("mllp_port",): self.feed_port}

    @property
    def feed_port(self) -> int:
        """`mllp_port`, or its default: 2575 without TLS, 2576 with it."""
        if self.mllp_port is not None:
            return self.mllp_port
        return 2576 if self.tls.enabled else 2575


SETTINGS = RegistrySettings

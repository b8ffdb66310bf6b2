"""The trail: where it goes, and how much may wait (ITI-20)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from shared.settings.group import Group, derived
from shared.settings.kinds import Bytes, Seconds, SyslogUrls


class OnFull(StrEnum):
    """What happens when audit events can no longer be kept."""

    BLOCK = "block"
    DROP = "drop-oldest-with-record"


class AuditSettings(Group):
    """The trail: where it goes, and how much may wait."""

    url: SyslogUrls | None = derived(
        "the audit repository: tls://host:port, or tcp://127.0.0.1:port on one machine; several, separated "
        "by commas: each gets every record",
        otherwise="`tls://127.0.0.1:6514`, without TLS `tcp://…`",
    )
    source_id: str | None = derived(
        "AuditSourceID", otherwise="`xdsi-` and the service", examples=["hospital-north"]
    )
    enterprise_site_id: str = Field("", examples=["hospital-north"], description="AuditEnterpriseSiteID")
    spool_max_bytes: Bytes = Field(
        5 * 1024**3,
        ge=1024**2,
        description="most that may wait to be sent, in the spool on disk and in the outbox table together",
    )
    on_full: OnFull = Field(OnFull.BLOCK, description="block work, or drop the oldest and record that")
    refusals_seconds: Seconds = Field(
        60, gt=0, le=3600, description="time over which further refusals of one address are one record"
    )
    unsent_seconds: Seconds = Field(
        3600, gt=0, description="age of the oldest unsent record above which the service is not ready"
    )
    set_aside_max: int = Field(
        100,
        ge=0,
        description="records set aside, because the audit repository does not take them, above which the "
        "service is not ready",
    )

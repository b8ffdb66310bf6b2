"""Settings of the conformance service; `docs/settings.md` is printed from them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings
from shared.settings.kinds import AeTitle, Bytes, Host, Port, Seconds


class ConformanceSettings(ServiceSettings):
    """What files may be judged, how long and how many at once; which systems may be tested."""

    service: ClassVar[str] = "conformance"

    port: Port = Field(8090, description="port to listen on; 0 takes a free one")
    max_file_bytes: Bytes = Field(64 * 1024**2, ge=1024, description="longest file that is judged")
    judgements: int = Field(
        4, ge=1, le=64, description="files that are judged at once, each in a process of its own"
    )
    judgement_seconds: Seconds = Field(
        60.0, gt=0, le=3600, description="longest that one file is judged; then the report says so"
    )
    max_reports: int = Field(
        1_000, ge=1, le=100_000, description="reports that are kept; the oldest make room for new ones"
    )
    may_test: tuple[Host, ...] = Field(
        (),
        examples=[["registry.test.example", "192.0.2.10"]],
        description="hosts that may be tested from the pages, to which this service then opens connections; "
        "this machine may be while the service listens on loopback alone",
    )
    trials: int = Field(
        2, ge=1, le=16, description="systems that are tested at once, each by a process of its own"
    )
    trial_seconds: Seconds = Field(
        3_600.0, gt=0, le=86_400, description="longest that one system is tested; then the test is ended"
    )
    max_trials: int = Field(
        50, ge=1, le=10_000, description="tests that are kept with their reports; the oldest make room"
    )
    peers_port: Port = Field(
        8200,
        description="port at which a consumer that is tested asks the peers that are played",
    )
    peers_syslog_port: Port = Field(
        8201, description="port at which it reports to the audit repository that is played"
    )
    ae_title: AeTitle = Field(
        "XDSI-TEST", description="AE title by which an archive that is tested knows this service (DIMSE)"
    )
    peers_dimse_port: Port = Field(
        8202, description="port at which it sends images (C-MOVE) and results of storage commitment"
    )


SETTINGS = ConformanceSettings

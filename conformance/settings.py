"""Settings of the conformance service; `docs/settings.md` is printed from them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings
from shared.settings.kinds import Bytes, Port, Seconds


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


SETTINGS = ConformanceSettings

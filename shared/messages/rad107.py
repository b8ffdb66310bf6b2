"""WADO-RS Retrieve [RAD-107]: how the trail names it, on both sides of the wire (RAD TF-2 4.107)."""

from __future__ import annotations

from typing import Final

from shared.audit.events import ihe

EVENT_TYPE: Final = ihe("RAD-107", "WADO-RS Retrieve")

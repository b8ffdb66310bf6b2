"""What the audit repository serves: ITI-20 by the FHIR feed, ITI-81, ITI-82, and what is of our own."""

from __future__ import annotations

from typing import Any

from audit_repository.transactions import export, gaps, holds, iti20_feed, iti81, iti82, trail
from shared.rest.served import ServedRest

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *trail.SERVED,
    *iti20_feed.SERVED,
    *iti81.SERVED,
    iti82.SERVED,
    gaps.SERVED,
    export.SERVED,
    *holds.SERVED,
)

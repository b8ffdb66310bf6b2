"""The pages of the conformance service, made by the server: one script shows steps as they come, and what it
does can be done without it."""

from __future__ import annotations

from typing import Any

from conformance.pages import guides, script, trial, validation
from shared.pages import style
from shared.rest.served import ServedRest

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *validation.SERVED,
    *guides.SERVED,
    *trial.SERVED,
    script.SERVED,
    style.SERVED,
)

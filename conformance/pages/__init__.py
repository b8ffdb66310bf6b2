"""The pages of the conformance service: made by the server, without scripts."""

from __future__ import annotations

from typing import Any

from conformance.pages import validation
from shared.pages import style
from shared.rest.served import ServedRest

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (*validation.SERVED, style.SERVED)

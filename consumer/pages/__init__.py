"""The pages for clinicians: made by the server, without scripts."""

from __future__ import annotations

from typing import Any

from consumer.pages import search, sign_in, study, style
from shared.rest.served import ServedRest

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *search.SERVED,
    *study.SERVED,
    *sign_in.SERVED,
    style.SERVED,
)

"""The pages for operators: made by the server; one script shows how far an examination is."""

from __future__ import annotations

from typing import Any

from imaging_source.pages import (
    certificates,
    connections,
    doctor,
    load,
    overview,
    publications,
    reports,
    studies,
)
from shared.pages import following, sign_in, style
from shared.rest.served import ServedRest
from shared.security.rights import Right

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *overview.SERVED,
    *publications.SERVED,
    *reports.SERVED,
    *studies.SERVED,
    *connections.SERVED,
    *certificates.SERVED,
    *load.SERVED,
    *doctor.SERVED,
    *sign_in.served(Right.ASK),
    style.SERVED,
    following.SERVED,
)

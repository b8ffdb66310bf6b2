"""The pages for auditors and privacy officers, and one for patients: made by the server, without scripts."""

from __future__ import annotations

from typing import Any

from audit_repository.pages import (
    emergencies,
    gaps,
    home,
    own,
    patient,
    policies,
    policy_changes,
    records,
)
from shared.pages import sign_in, style
from shared.rest.served import ServedRest
from shared.security.rights import Right

__all__ = ["SERVED_REST"]

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *home.SERVED,
    *patient.SERVED,
    *records.SERVED,
    *emergencies.SERVED,
    gaps.SERVED,
    *policies.SERVED,
    *policy_changes.SERVED,
    own.SERVED,
    *sign_in.served(Right.ASK),
    style.SERVED,
)

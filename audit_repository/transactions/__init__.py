"""What the audit repository serves: ITI-20, and a search in the manner of ITI-81."""

from __future__ import annotations

from typing import Any

from audit_repository.transactions import iti81
from shared.rest.served import ServedRest

SERVED_REST: tuple[ServedRest[Any, Any], ...] = iti81.SERVED

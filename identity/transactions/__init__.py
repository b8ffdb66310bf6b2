"""What the identity service serves."""

from __future__ import annotations

from typing import Any

from identity.transactions import iti71, iti102, iti103, people
from shared.rest.served import ServedRest

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (iti71.SERVED, iti102.SERVED, *iti103.SERVED, *people.SERVED)

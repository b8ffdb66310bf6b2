"""What the identity service serves."""

from __future__ import annotations

from typing import Any

from identity.transactions import iti71, iti102, iti103, people, rst_issue
from shared.rest.served import ServedRest
from shared.soap.served import Served

SERVED: tuple[Served[Any, Any], ...] = (rst_issue.SERVED,)

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (iti71.SERVED, iti102.SERVED, *iti103.SERVED, *people.SERVED)

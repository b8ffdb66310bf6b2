"""What the repository serves, one module for each transaction."""

from __future__ import annotations

from typing import Any

from repository.transactions import entries, iti41, iti43, iti86
from shared.rest.served import ServedRest
from shared.soap.served import Served

SERVED: tuple[Served[Any, Any], ...] = (iti41.SERVED, iti43.SERVED, iti86.SERVED)
SERVED_REST: tuple[ServedRest[Any, Any], ...] = (entries.SERVED,)

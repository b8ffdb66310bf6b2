"""What the gateways serve, one module for each transaction: to consumers of our community, and to the
gateways of others."""

from __future__ import annotations

from typing import Any

from gateway.transactions import iti18, iti38, iti39, iti43, rad69, rad75
from shared.soap.served import Served

INITIATING: tuple[Served[Any, Any], ...] = (iti18.SERVED, iti43.SERVED, rad69.SERVED)
RESPONDING: tuple[Served[Any, Any], ...] = (iti38.SERVED, iti39.SERVED, rad75.SERVED)
SERVED = INITIATING + RESPONDING

"""The transactions of the imaging source, one file each; `SERVED` are those of SOAP."""

from __future__ import annotations

from typing import Any

from imaging_source.transactions import (
    commitment_requests,
    erasure,
    migration,
    publications,
    rad10,
    rad14,
    rad16,
    rad55,
    rad69,
    rad107,
    rad108,
    rad129,
    report_requests,
)
from imaging_source.transactions.served import ServedDimse
from shared.rest.served import ServedRest

SERVED = (rad69.SERVED,)
SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *rad107.SERVED,
    rad55.SERVED,
    rad108.SERVED,
    rad129.SERVED,
    *publications.SERVED,
    *report_requests.SERVED,
    erasure.SERVED,
    *migration.SERVED,
    *commitment_requests.SERVED,
)
SERVED_DIMSE: tuple[ServedDimse[Any, Any], ...] = (rad10.SERVED, rad14.SERVED, rad16.SERVED)

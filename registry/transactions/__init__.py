"""What the registry serves, one file for each transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from registry.settings import RegistrySettings
from registry.transactions import (
    assertions,
    break_glass,
    consent,
    consent_documents,
    iti18,
    iti42,
    iti44,
    iti51,
    iti57,
    iti61,
    iti62,
    iti92,
    registrations,
)
from registry.unit import Unit, after_merges
from shared.rest.served import ServedRest
from shared.soap.served import Served

AnyServed = TypeVar("AnyServed", Served[Any, Any], ServedRest[Any, Any])

#: Served unless the setting `metadata_update` is off.
METADATA_UPDATE = (iti57.SERVED, iti92.SERVED)

SERVED: tuple[Served[Any, Any], ...] = (
    iti18.SERVED,
    iti42.SERVED,
    *METADATA_UPDATE,
    iti51.SERVED,
    iti61.SERVED,
    iti62.SERVED,
    *iti44.SERVED,
)

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    *consent.SERVED,
    *consent_documents.SERVED,
    *break_glass.SERVED,
    registrations.SERVED,
    assertions.SERVED,
)


def served_by(settings: RegistrySettings) -> list[Served[Any, Any]]:
    """What a registry of these settings serves."""
    without = () if settings.metadata_update else METADATA_UPDATE
    on_demand = iti61.answering_with(settings.on_demand_response_action)
    return [waiting(on_demand if one is iti61.SERVED else one) for one in SERVED if one not in without]


def waiting(served: AnyServed) -> AnyServed:
    """`served`, for which merges that it meets are finished first."""
    return replace(served, handle=partial(_after_merges, served.handle))


async def _after_merges(handle: Callable[..., Awaitable[Any]], unit: Unit, *request: Any) -> Any:
    return await after_merges(unit, lambda: handle(unit, *request))

"""A service that, for single requests, asks nobody for consent and records nothing: what trust costs is
measured against it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import shared.perform
from shared.consent.decision import Decision

#: Whether the request that is answered now is one of those.
untrusting: ContextVar[bool] = ContextVar("untrusting", default=False)
PERMITTED = Decision(True, "")


def may_be_untrusting(unit: Any) -> None:
    """Let the units of this kind look at `untrusting` before they decide, and whoever records before a record
    is made of what was done."""
    decide, record = unit.decide, shared.perform._recorded

    async def decided(self: Any, resources: Sequence[Any], *given: Any) -> Sequence[Decision]:
        if untrusting.get():
            return [PERMITTED] * len(resources)
        answered: Sequence[Decision] = await decide(self, resources, *given)
        return answered

    async def recorded(*given: Any) -> None:
        if not untrusting.get():
            await record(*given)

    unit.decide = decided
    shared.perform._recorded = recorded

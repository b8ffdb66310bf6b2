"""Register On-Demand Document Entry [ITI-61]: expected actions (ITI TF-2 3.61.4.1.3)."""

from __future__ import annotations

from dataclasses import replace

from registry.domain.on_demand import ON_DEMAND_RULES
from registry.transactions.iti42 import register, registration_event
from registry.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti61 import ITI61
from shared.messages.registry import RegistryResponse
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.soap.served import Served


async def handle(unit: Unit, request: RegisterRequest) -> RegistryResponse:
    """Register a submission of On-Demand entries whole, or say everything that is wrong with it.

    A message that comes again with its MessageID and content is answered as before.

    Raises
    ------
    Rejected
        Nothing was stored.
    """
    events = audit(request, None, unit.caller, Outcome.SUCCESS)
    return await register(unit, request, events, ON_DEMAND_RULES)


def audit(
    request: RegisterRequest, response: RegistryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the registration (ITI TF-2 3.61.5)."""
    return (registration_event(ITI61, request, caller, outcome),)


SERVED = Served(ITI61, handle, audit, Speaker.NODE)


def answering_with(response_action: str) -> Served[RegisterRequest, RegistryResponse]:
    """The transaction with another response action, for peers that expect `Entry` in it."""
    return replace(SERVED, transaction=replace(ITI61, response_action=response_action))

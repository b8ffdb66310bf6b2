"""Cross Gateway Query [ITI-38] at the Responding Gateway: expected actions (ITI TF-2 3.38.4.1.3)."""

from __future__ import annotations

from gateway.domain.communities import names_patient
from gateway.transactions.admission import admit_gateway
from gateway.transactions.queries import ask_registry, check_return_type, merged, received, under_home
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.errors import Rejected, XdsError
from shared.messages.iti18 import StoredQueryRequest, StoredQueryResponse
from shared.messages.iti38 import ITI38, RelayedAnswer
from shared.security.caller import Caller
from shared.soap.served import Served


async def handle(unit: Unit, request: StoredQueryRequest) -> StoredQueryResponse:
    """Ask the registry of our community, and answer with our homeCommunityId on every object and error.

    Raises
    ------
    Rejected
        The home is absent where it is needed, or not ours; the return type is none; the registry does not
        answer.
    SoapFault
        The registry answered with one.
    """
    admit_gateway(unit)
    try:
        check_return_type(request)
        if request.home or not names_patient(request.parameters):
            unit.parts.communities.check_own(request.home)
        answer = await ask_registry(unit, request)
    except XdsError as error:
        raise Rejected(under_home(error, unit.own_home)) from error
    errors = tuple(under_home(error, unit.own_home) for error in answer.errors)
    return merged((RelayedAnswer(objects=answer.objects, errors=errors),))


def audit(
    request: StoredQueryRequest, response: StoredQueryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query as a registry does."""
    return received(ITI38, request, caller, outcome)


SERVED = Served(ITI38, handle, audit)

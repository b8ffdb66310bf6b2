"""Registry Stored Query [ITI-18] at the Initiating Gateway: expected actions (ITI TF-2 3.18.4.1.3)."""

from __future__ import annotations

from gateway.domain.communities import names_patient
from gateway.transactions.admission import admit_consumer
from gateway.transactions.queries import ask_everybody, check_return_type, received
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.messages.iti18 import ITI18, StoredQueryRequest, StoredQueryResponse
from shared.security.caller import Caller
from shared.soap.served import Served


async def handle(unit: Unit, request: StoredQueryRequest) -> StoredQueryResponse:
    """Ask the community that `home` names; without it, and about a patient, ask our own and every other.

    Raises
    ------
    MissingHomeCommunityId, UnknownCommunity
        The query names no patient and no home, or a home that is not known here.
    QueryError
        The query cannot be read as far as a gateway has to.
    """
    admit_consumer(unit)
    check_return_type(request)
    communities = unit.parts.communities
    if request.home or not names_patient(request.parameters):
        return await ask_everybody(unit, (communities.find(request.home),), request)
    return await ask_everybody(unit, tuple(communities.by_home.values()), request)


def audit(
    request: StoredQueryRequest, response: StoredQueryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query as a registry does."""
    return received(ITI18, request, caller, outcome)


SERVED = Served(ITI18, handle, audit)

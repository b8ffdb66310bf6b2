"""Retrieve Document Set [ITI-43] at the Initiating Gateway: expected actions (ITI TF-2 3.43.4.1.3)."""

from __future__ import annotations

from gateway import retrievals
from gateway.transactions.documents import DOCUMENTS, named
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.messages.documents import RetrieveDocumentSetResponse
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served


async def handle(
    unit: Unit, request: RetrieveDocumentSetRequest, caller: Caller
) -> RetrieveDocumentSetResponse:
    """Ask for each document where its homeCommunityId leads: at our own actors, or across gateways.

    What cannot be had is an error beside what can; its location is the document (RAD TF-3 4.75.4.1.3).

    Raises
    ------
    OutOfResources, Busy
        Too much is asked for, in one request or at once.
    """
    return await retrievals.from_everybody(unit, DOCUMENTS, request)


def audit(
    request: RetrieveDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the transfer as the source of the documents does."""
    return retrievals.received(ITI43, named(request), response, caller, outcome)


SERVED = Served(ITI43, handle, audit)

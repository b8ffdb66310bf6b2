"""Cross Gateway Retrieve [ITI-39] at the Responding Gateway: expected actions (ITI TF-2 3.39.4.1.3)."""

from __future__ import annotations

from gateway import retrievals
from gateway.transactions.documents import DOCUMENTS, named
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.messages.documents import RetrieveDocumentSetResponse
from shared.messages.iti39 import ITI39
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served


async def handle(
    unit: Unit, request: RetrieveDocumentSetRequest, caller: Caller
) -> RetrieveDocumentSetResponse:
    """Ask the actors of our community for their documents, and put their answers together.

    Errors have our homeCommunityId as location, and name the document in their text.

    Raises
    ------
    Rejected
        Too much is asked for, in one request or at once.
    """
    return await retrievals.from_our_own(unit, DOCUMENTS, request)


def audit(
    request: RetrieveDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the transfer as the source of the documents does."""
    return retrievals.received(ITI39, named(request), response, caller, outcome)


SERVED = Served(ITI39, handle, audit)

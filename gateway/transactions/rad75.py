"""Cross Gateway Retrieve Imaging Document Set [RAD-75] at the Responding Gateway: expected actions (RAD
TF-3 4.75.4.1.3)."""

from __future__ import annotations

from gateway import retrievals
from gateway.transactions.images import IMAGES, named
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.messages.documents import RetrieveDocumentSetResponse
from shared.messages.rad69 import RetrieveImagingDocumentSetRequest
from shared.messages.rad75 import RAD75
from shared.security.caller import Caller
from shared.soap.served import Served


async def handle(
    unit: Unit, request: RetrieveImagingDocumentSetRequest, caller: Caller
) -> RetrieveDocumentSetResponse:
    """Ask the actors of our community for their documents, and put their answers together.

    Errors have our homeCommunityId as location, and name the document in their text.

    Raises
    ------
    Rejected
        Too much is asked for, in one request or at once.
    """
    return await retrievals.from_our_own(unit, IMAGES, request)


def audit(
    request: RetrieveImagingDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the transfer as the source of the documents does."""
    return retrievals.received(RAD75, named(request), response, caller, outcome)


SERVED = Served(RAD75, handle, audit)

"""Retrieve Imaging Document Set [RAD-69] at the Initiating Gateway: expected actions (RAD TF-3 4.69,
4.75)."""

from __future__ import annotations

from gateway import retrievals
from gateway.transactions.images import IMAGES, named
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.messages.documents import RetrieveDocumentSetResponse
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served


async def handle(
    unit: Unit, request: RetrieveImagingDocumentSetRequest, caller: Caller
) -> RetrieveDocumentSetResponse:
    """Ask for each document where its homeCommunityId leads: at our own actors, or across gateways.

    What cannot be had is an error beside what can; its location is the document (RAD TF-3 4.75.4.1.3).

    Raises
    ------
    OutOfResources, Busy
        Too much is asked for, in one request or at once.
    """
    return await retrievals.from_everybody(unit, IMAGES, request)


def audit(
    request: RetrieveImagingDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the transfer as the source of the documents does."""
    return retrievals.received(RAD69, named(request), response, caller, outcome)


SERVED = Served(RAD69, handle, audit)

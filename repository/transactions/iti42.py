"""Register Document Set-b [ITI-42], initiating side: one attempt, and what its answer says (ITI TF-2 3.42).

What an attempt makes of a provision: `registration`.
"""

from __future__ import annotations

from repository.domain.provision import Provision
from repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim.model import Submission
from shared.ebrim.schemes import ON_DEMAND
from shared.errors import Actor, RegistryNotAvailable, Severity
from shared.faults import ReceiverFault
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.iti61 import ITI61
from shared.messages.registry import RegistryResponse, Status
from shared.soap.client import PeerUnclear
from shared.soap.envelope import RelayedFault
from shared.soap.transaction import SoapTransaction

# Codes that say "not now": the next attempt may well succeed, so such an answer is never kept as the outcome.
_PASSING = frozenset(
    {"XDSRegistryBusy", "XDSRegistryNotAvailable", "XDSRegistryOutOfResources", "XDSRegistryError"}
)
# Of those, the codes that deny that anything was done; after the others it may have been.
_NOTHING_DONE = frozenset({"XDSRegistryBusy", "XDSRegistryOutOfResources"})


async def attempt(unit: Unit, provision: Provision, submission: Submission) -> RegistryResponse:
    """What the registry answers to one attempt for `provision`, under the MessageID of all of them.

    Raises
    ------
    PeerUnreachable
        The registry has not heard of this attempt.
    PeerUnclear
        It may have.
    """
    settings = unit.parts.settings
    transaction = transaction_of(submission)
    url = settings.registry_endpoint(transaction.number)
    try:
        return await unit.parts.registry.call(
            transaction,
            url,
            RegisterRequest.of(submission),
            message_id=provision.registration_message_id,
            timeout_seconds=settings.registration_timeout_seconds,
        )
    except RelayedFault as fault:
        if fault.fault_code == ReceiverFault.code:
            # Its own failure, at a moment that we do not know.
            raise PeerUnclear(url, fault.reason) from None
        return refused_by_fault(fault)


def is_passing(response: RegistryResponse) -> bool:
    """Whether the answer says "not now"."""
    errors = [error for error in response.errors if error.severity is Severity.ERROR]
    return any(error.code_for(Actor.REGISTRY) in _PASSING for error in errors)


def says_nothing_was_done(response: RegistryResponse) -> bool:
    """Whether the answer denies that anything was done."""
    errors = [error for error in response.errors if error.severity is Severity.ERROR]
    return all(error.code_for(Actor.REGISTRY) in _NOTHING_DONE for error in errors)


def refused_by_fault(fault: RelayedFault) -> RegistryResponse:
    """The answer that a fault of ours amounts to."""
    error = RegistryNotAvailable(f"the registry refused the message: {fault.reason}")
    return RegistryResponse(status=Status.FAILURE, errors=(error,))


def transaction_of(submission: Submission) -> SoapTransaction[RegisterRequest, RegistryResponse]:
    """By which transaction a submission is registered: On-Demand entries, which ITI-41 refuses, by ITI-61."""
    on_demand = any(entry.object_type == ON_DEMAND for entry in submission.document_entries)
    return ITI61 if on_demand else ITI42


def audit(unit: Unit, submission: Submission, outcome: Outcome) -> AuditEvent:
    """Describe the registration from the repository's side (ITI TF-2 3.42.5.1.1, 3.61.5)."""
    transaction = transaction_of(submission)
    client = unit.as_client(transaction.number)
    return patterns.submission(transaction.event_type, Side.CLIENT, client, outcome, submission)

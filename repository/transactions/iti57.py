"""Update Document Set [ITI-57], initiating side: hash and size of a delayed document that was made (ITI TF-2
3.43.4.1.3).

The update was committed together with the document; every attempt carries the same wsa:MessageID.
"""

from __future__ import annotations

from repository.store import assemblies
from repository.store.assemblies import OpenUpdate
from repository.transactions import iti42
from repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim.codec import decode_submission, parse_fragment
from shared.ebrim.model import Submission
from shared.faults import ReceiverFault
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.registry import RegistryResponse, Status
from shared.soap.client import PeerUnclear, PeerUnreachable
from shared.soap.envelope import RelayedFault
from shared.store.engine import Transaction
from shared.telemetry.log import logger

_log = logger("repository.iti57")


async def resolve(unit: Unit) -> int:
    """Send every update that was not answered yet, and count those that are answered now; ends early when the
    registry is away."""
    answered = 0
    for update in await assemblies.open_updates(unit.parts.database):
        if not await _sent(unit, update):
            break
        answered += 1
    return answered


async def _sent(unit: Unit, update: OpenUpdate) -> bool:
    """Send one update and record a definite answer; False when there is none."""
    submission = _submission_of(update)
    settings = unit.parts.settings
    try:
        response = await unit.parts.registry.call(
            ITI57,
            settings.registry_endpoint(ITI57.number),
            UpdateRequest.of(submission),
            message_id=update.message_id,
            timeout_seconds=settings.registration_timeout_seconds,
        )
    except (PeerUnreachable, PeerUnclear):
        return False
    except RelayedFault as fault:
        if fault.fault_code == ReceiverFault.code:
            return False
        response = iti42.refused_by_fault(fault)
    if response.status is not Status.SUCCESS and iti42.is_passing(response):
        return False
    await _conclude(unit, update, submission, response)
    return True


async def _conclude(
    unit: Unit, update: OpenUpdate, submission: Submission, response: RegistryResponse
) -> None:
    succeeded = response.status is Status.SUCCESS
    event = audit(unit, submission, Outcome.SUCCESS if succeeded else Outcome.SERIOUS_FAILURE)

    async def conclude(transaction: Transaction) -> None:
        await assemblies.forget_assembly(transaction, update.unique_id)
        await unit.insert_events(transaction, (event,))

    await unit.write(conclude)
    if not succeeded:
        # The document is whole and served; its entry goes on showing the hash of no bytes.
        _log.error("update refused", document=update.unique_id, reason=_reason(response))


def _reason(response: RegistryResponse) -> str:
    return " ".join(type(error).__name__ for error in response.errors)


def _submission_of(update: OpenUpdate) -> Submission:
    decoded = decode_submission(parse_fragment(update.submission))
    if decoded.submission is None:
        raise ValueError(f"the update of {update.unique_id} holds no readable submission")
    return decoded.submission


def audit(unit: Unit, submission: Submission, outcome: Outcome) -> AuditEvent:
    """Describe the update from the repository's side: an export with action U."""
    client = unit.as_client(ITI57.number)
    return patterns.submission(ITI57.event_type, Side.CLIENT, client, outcome, submission, update=True)

"""Registration of a provision: from pending to its outcome, by ITI-42 or ITI-61 (ITI TF-2 3.42, 3.61); what
may become of it is `repository.domain.registration`.

Every attempt for one provision carries the same wsa:MessageID, so that the registry answers a repetition as
it answered before. That is how the repository learns what became of a submission whose answer was lost, at
once and after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from repository.domain.provision import Provision, ProvisionState
from repository.domain.registration import RegistrationEvent, may_happen
from repository.store import documents
from repository.transactions import iti42
from repository.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.ebrim.codec import decode_submission, parse_fragment
from shared.ebrim.model import Submission
from shared.errors import Actor, RegistryNotAvailable
from shared.messages.registry import (
    RegistryResponse,
    Status,
    decode_registry_response,
    encode_registry_response,
)
from shared.soap.client import PeerUnclear, PeerUnreachable
from shared.store.engine import Transaction
from shared.store.failures import DatabaseError, OutcomeUnknown
from shared.xml import parse

_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class RegistrationOutcome:
    """What became of a provision: the answer for the provider, and whether it is final."""

    response: RegistryResponse
    final: bool


def stored_answer(provision: Provision) -> RegistryResponse:
    """The answer that was given to this message before."""
    return decode_registry_response(parse(provision.answer))


async def register(
    unit: Unit,
    provision: Provision,
    *,
    submission: Submission | None = None,
    first: bool = False,
    events: Sequence[AuditEvent] = (),
) -> RegistrationOutcome:
    """Register a provision and record the outcome; `events` are committed together with a success.

    `submission` is what the provision holds encoded, when it is at hand.

    `first` says that the registry cannot have heard of it before. Whoever finds the provision and makes
    another attempt puts it in doubt beforehand, so that the first attempt alone does not decide. An answer
    that is lost, or that says nothing definite of an earlier attempt, leaves it in doubt with its documents
    kept.

    Raises
    ------
    OutcomeUnknown
        What became of it cannot be recorded now; the janitor asks the registry again.
    """
    try:
        return await _registered(unit, provision, submission, first, events)
    except DatabaseError as error:
        raise OutcomeUnknown("the outcome of a registration cannot be recorded") from error


async def _registered(
    unit: Unit,
    provision: Provision,
    submission: Submission | None,
    first: bool,
    events: Sequence[AuditEvent],
) -> RegistrationOutcome:
    if not first and not await _doubted(unit, provision):
        return _never_heard()
    submission = submission or _submission_of(provision)
    try:
        response, alone = await _ask(unit, provision, submission)
    except PeerUnreachable:
        if first and await _forgotten(unit, provision):
            return _never_heard()
        return await _in_doubt(unit, provision)
    except PeerUnclear:
        return await _in_doubt(unit, provision)
    alone = alone and first
    if iti42.is_passing(response) and not (alone and iti42.says_nothing_was_done(response)):
        return await _in_doubt(unit, provision)
    await _record(unit, provision, submission, response, alone, events)
    return RegistrationOutcome(response, final=True)


async def _ask(unit: Unit, provision: Provision, submission: Submission) -> tuple[RegistryResponse, bool]:
    """The registry's answer, and whether it is the answer to the only attempt of this call."""
    try:
        return await iti42.attempt(unit, provision, submission), True
    except PeerUnclear:
        await asyncio.sleep(_PAUSE)
    try:
        return await iti42.attempt(unit, provision, submission), False
    except PeerUnreachable as error:
        # The first attempt may have been carried out before the registry went away.
        raise PeerUnclear(error.url, error.reason) from None


async def _forgotten(unit: Unit, provision: Provision) -> bool:
    """Forget a provision that the registry never heard of; False when it may hear of it by somebody else."""

    async def forget(transaction: Transaction) -> bool:
        state = await documents.hold_state(transaction, provision.provision_id)
        if state is None:
            return True
        if not may_happen(RegistrationEvent.NEVER_HEARD, state):
            return False
        await documents.forget_provision(transaction, provision.provision_id)
        return True

    return await unit.write(forget)


async def _doubted(unit: Unit, provision: Provision) -> bool:
    """Whether the provision is still there; whoever makes the first attempt forgets it no more."""

    async def doubt(transaction: Transaction) -> bool:
        return await documents.doubt(transaction, provision.provision_id) is not None

    return await unit.write(doubt)


def _never_heard() -> RegistrationOutcome:
    error = RegistryNotAvailable(
        "the registry cannot be reached; nothing was registered, send the submission again later"
    )
    return RegistrationOutcome(RegistryResponse(status=Status.FAILURE, errors=(error,)), final=True)


async def _in_doubt(unit: Unit, provision: Provision) -> RegistrationOutcome:
    await _doubted(unit, provision)
    error = RegistryNotAvailable(
        "the registry gave no answer, so the outcome is not known yet; the repository goes on asking. "
        "Send the same message (same MessageID) again to learn the outcome"
    )
    return RegistrationOutcome(RegistryResponse(status=Status.FAILURE, errors=(error,)), final=False)


async def _record(
    unit: Unit,
    provision: Provision,
    submission: Submission,
    response: RegistryResponse,
    alone: bool,
    events: Sequence[AuditEvent],
) -> None:
    succeeded = response.status is Status.SUCCESS
    outcome = Outcome.SUCCESS if succeeded else Outcome.SERIOUS_FAILURE
    own = iti42.audit(unit, submission, outcome)
    answer = encode_registry_response(response, Actor.REPOSITORY)

    async def conclude(transaction: Transaction) -> bool:
        state = await documents.hold_state(transaction, provision.provision_id)
        provision_id = provision.provision_id
        if succeeded:
            await documents.set_state(transaction, provision_id, RegistrationEvent.REGISTERED, answer)
        elif iti42.is_passing(response):
            if may_happen(RegistrationEvent.NEVER_HEARD, state):
                await documents.forget_provision(transaction, provision_id)
        # Not where another attempt may have been carried out: a registry that does not remember MessageIDs
        # refuses the repetition of what it has, and the documents are visible.
        elif (
            await documents.set_state(transaction, provision_id, RegistrationEvent.REFUSED, answer)
            and alone
            and state is ProvisionState.PENDING
        ):
            await documents.release_documents(transaction, provision_id)
        await unit.insert_events(transaction, (own, *events) if succeeded else (own,))
        return True

    async def concluded(transaction: Transaction) -> bool | None:
        now = await documents.provision_of(transaction, provision.provision_id)
        if now is None or (
            now.state in (ProvisionState.REGISTERED, ProvisionState.REFUSED) and now.answer == answer
        ):
            return True
        return None

    await unit.write(conclude, done=concluded)
    unit.audited = succeeded and bool(events)


def _submission_of(provision: Provision) -> Submission:
    decoded = decode_submission(parse_fragment(provision.registration))
    if decoded.submission is None:
        raise ValueError(f"provision {provision.provision_id} holds no readable submission")
    return decoded.submission

"""Register Document Set-b [ITI-42]: expected actions (ITI TF-2 3.42.4.1.3)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypedDict

from registry.domain import lifecycle, patients
from registry.domain.registration import RegistryState, errors_against, is_self_contained
from registry.domain.submission import MESSAGE_RULES, Rule, SubmissionIndex, errors_in_message, identified
from registry.store import consents, identifiers, objects, submissions
from registry.store import patients as patient_store
from registry.transactions import registered_consents
from registry.transactions.registered_consents import Consents, Domain
from registry.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.documents.forms import may_submit
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import is_symbolic, nfc
from shared.ebrim.model import Association, Folder, RegistryObject, Submission, Timestamp
from shared.errors import Actor, Rejected, XdsError
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.registry import (
    RegistryResponse,
    Status,
    decode_registry_response,
    encode_registry_response,
)
from shared.security.caller import Caller
from shared.security.nodes import check_bound
from shared.security.speaker import Speaker
from shared.settings import PatientPolicy
from shared.soap.served import Served
from shared.soap.transaction import SoapTransaction
from shared.store.engine import Transaction
from shared.xml import parse

#: Objects of a submission that is made ready on the event loop; on SQLite others are in the writer's thread.
AT_ONCE = 100


async def handle(unit: Unit, request: RegisterRequest) -> RegistryResponse:
    """Register a submission whole, or say everything that is wrong with it.

    A message that comes again with its MessageID and content is answered as before.

    Raises
    ------
    Rejected
        Nothing was stored.
    """
    events = audit(request, None, unit.caller, Outcome.SUCCESS)
    return await register(unit, request, events, MESSAGE_RULES)


async def register(
    unit: Unit,
    request: RegisterRequest,
    events: Sequence[AuditEvent],
    rules: Sequence[Rule],
) -> RegistryResponse:
    """Register by the rules of a transaction.

    Raises
    ------
    Rejected
        Nothing was stored.
    NodeRefused
        The node registers for a repository for which it is not registered itself.
    """
    decoded = request.decoded
    if decoded.submission is not None:
        repositories = (entry.repository_unique_id for entry in decoded.submission.document_entries)
        check_bound(unit.caller.repositories, filter(None, repositories), "registers for the repository")
    errors = list(decoded.errors)
    if decoded.submission is not None:
        message = SubmissionIndex(decoded.submission)
        errors.extend(errors_in_message(message, rules))
        errors.extend(unit.parts.value_sets.errors(message))
    if errors or decoded.submission is None:
        raise Rejected(*errors)
    consents_given = await _consents(unit, decoded.submission)
    warnings = (*decoded.warnings, *consents_given.warnings)
    submission = registered_consents.bare(decoded.submission)
    registration = _Registration(unit, submission, unit.caller.message_id, warnings, consents_given)
    if await registration.at_once(events):
        return registration.response
    before = await unit.write(registration.work, events=events, done=registration.done)
    return registration.response if before is None else decode_registry_response(parse(before))


async def _consents(unit: Unit, submission: Submission) -> Consents:
    """What consent documents among the entries say; raises `Rejected`."""
    entries = submission.document_entries
    if not registered_consents.has_consents(entries):
        return Consents({})
    return await asyncio.to_thread(
        registered_consents.read, entries, Domain.of(unit.parts), may_submit=may_submit(unit.caller)
    )


class _Answer(TypedDict):
    message_id: str
    digest: str
    response: bytes
    created: str


class _Registration:
    """One submission on its way into the registry.

    Most submissions are new and name only their own objects: of those the database is told `at_once`.
    Whatever is in the way then, `work` finds out; it may run several times and keeps nothing between.
    """

    def __init__(
        self,
        unit: Unit,
        submission: Submission,
        message_id: str,
        warnings: Sequence[XdsError],
        consents_given: Consents,
    ) -> None:
        self._unit = unit
        self._submission = submission
        self._policy = unit.parts.settings.patients
        self._domain = unit.parts.settings.affinity_domain
        self._consents = consents_given.policies
        self._message_id = message_id
        self._digest = hashlib.sha256(encode_submission(submission)).hexdigest()
        self._now: datetime = unit.parts.now()
        self.response = RegistryResponse(status=Status.SUCCESS, errors=tuple(warnings))

    async def at_once(self, events: Sequence[AuditEvent]) -> bool:
        """Register a submission for which nothing need be looked up; whether it was registered.

        It was not if the patient is not active, or if the message or one of its ids is not new.
        """
        message = SubmissionIndex(self._submission)
        patient_id = patients.canonical(message.submission_set.patient_id, self._domain)
        if patient_id is None or len(in_order(self._submission)) > AT_ONCE or not is_self_contained(message):
            return False
        if self._consents:
            return False
        new = in_order(_as_registered(lifecycle.assigned(self._submission), (), self._now))
        return await self._unit.insert(
            (
                submissions.answer_batch(**self._answer()),
                identifiers.claims(patient_id, new),
                *objects.object_batches(patient_id, new),
            ),
            when=patient_store.HELD_ACTIVE,
            patient=patient_id,
            events=events,
        )

    async def work(self, transaction: Transaction) -> bytes | None:
        """Register and return None; or return the response that this message was given before."""
        before = await self._answered(transaction)
        if before is not None:
            return before
        message = SubmissionIndex(self._submission)
        submission = lifecycle.assigned(self._submission)
        # Locks are taken in one order: patient, what is registered, what is new.
        active = await self._patient_is_active(transaction, submission.submission_set.patient_id)
        registered = await objects.lock_registered(transaction, message.references())
        claimed = await identifiers.claim(
            transaction, objects.spelled(submission.submission_set.patient_id), in_order(submission)
        )
        state = RegistryState(
            patient_is_active=active,
            registered=registered,
            taken=frozenset(chosen_ids(in_order(self._submission))) - claimed,
            used=await identifiers.find_used(transaction, _unclaimed(message, claimed)),
        )
        if errors := list(errors_against(message, state)):
            raise Rejected(*errors)
        await _register(transaction, submission, self._now, claimed)
        for entry in submission.document_entries:
            if entry.unique_id in self._consents:
                await consents.keep_consent(transaction, entry, self._consents[entry.unique_id])
        return None

    async def done(self, transaction: Transaction) -> bytes | None:
        """The response that is kept when this submission was registered."""
        return await submissions.find_answer(transaction, message_id=self._message_id, digest=self._digest)

    async def _answered(self, transaction: Transaction) -> bytes | None:
        return await submissions.find_or_keep_answer(transaction, **self._answer())

    def _answer(self) -> _Answer:
        return {
            "message_id": self._message_id,
            "digest": self._digest,
            "response": encode_registry_response(self.response, Actor.REGISTRY),
            "created": self._now.isoformat(),
        }

    async def _patient_is_active(self, transaction: Transaction, patient_id: str) -> bool:
        canonical_id = patients.canonical(patient_id, self._domain)
        if canonical_id is None:
            return False
        if self._policy is PatientPolicy.ANY:
            await patient_store.add_patient(transaction, canonical_id)
        patient = await patient_store.hold_patient(transaction, canonical_id)
        return patient is not None and patient.active


def chosen_ids(things: Iterable[RegistryObject]) -> list[str]:
    """The entryUUIDs that the sender chose."""
    return [thing.entry_uuid for thing in things if not is_symbolic(thing.entry_uuid)]


def _unclaimed(message: SubmissionIndex, claimed: Collection[str]) -> list[str]:
    unique_ids = (thing.unique_id for thing in identified(message))
    return [unique_id for unique_id in unique_ids if nfc(unique_id) not in claimed]


async def _register(
    transaction: Transaction, submission: Submission, now: datetime, claimed: frozenset[str]
) -> None:
    registered = SubmissionIndex(submission)
    replaced = registered.replaced()
    memberships = await submissions.find_memberships(transaction, replaced)
    carried = tuple(lifecycle.carried_over(registered, memberships))
    touched = lifecycle.touched_folders(registered, carried)
    new = _as_registered(submission, carried, now)
    await _change(transaction, replaced, touched - registered.folders.keys(), Timestamp.of(now))
    patient_id = objects.spelled(submission.submission_set.patient_id)
    if carried:
        claimed |= await identifiers.claim(transaction, patient_id, carried)
    await objects.insert_objects(transaction, patient_id, in_order(new), claimed=claimed)


def _as_registered(submission: Submission, carried: tuple[Association, ...], now: datetime) -> Submission:
    return replace(
        submission,
        folders=tuple(lifecycle.updated(folder, Timestamp.of(now)) for folder in submission.folders),
        associations=(*submission.associations, *carried),
    )


async def _change(
    transaction: Transaction, replaced: Sequence[str], folders: set[str], now: Timestamp
) -> None:
    if not replaced and not folders:
        return
    leaving = {*replaced, *await submissions.find_descendants(transaction, replaced)}
    await objects.lock_registered(transaction, sorted(leaving | folders))
    values = await objects.find_values(transaction, leaving | folders)
    await consents.end_consents(transaction, leaving)
    await objects.replace_objects(
        transaction,
        [
            lifecycle.updated(value, now) if isinstance(value, Folder) else objects.deprecated(value)
            for value in values
        ],
    )


def in_order(submission: Submission) -> tuple[RegistryObject, ...]:
    """Every object of a submission: the set first, and what is joined before what joins it."""
    associations: tuple[Association, ...] = submission.associations
    return (
        submission.submission_set,
        *submission.document_entries,
        *submission.folders,
        *associations,
    )


def audit(
    request: RegisterRequest, response: RegistryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the registration (ITI TF-2 3.42.5.1): who registered which submission set for whom."""
    return (registration_event(ITI42, request, caller, outcome),)


def registration_event(
    transaction: SoapTransaction[RegisterRequest, RegistryResponse],
    request: RegisterRequest,
    caller: Caller,
    outcome: Outcome,
) -> AuditEvent:
    """The event of a transaction that registers."""
    return patterns.submission(
        transaction.event_type, Side.SERVER, caller, outcome, request.decoded.submission
    )


SERVED = Served(ITI42, handle, audit, Speaker.NODE)

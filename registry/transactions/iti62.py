"""Remove Metadata [ITI-62]: expected actions (supplement Remove Metadata and Documents, 3.62.4.1.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from registry.domain import lifecycle
from registry.domain.administration import may_administer
from registry.domain.removal import Removal, errors_of
from registry.store import identifiers, objects, patients, removals, submissions
from registry.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.outbox import insert_events
from shared.audit.patterns import Side
from shared.ebrim.model import Folder, Timestamp
from shared.errors import Actor, InvalidRemoval, Rejected
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.messages.registry import (
    RegistryResponse,
    Status,
    decode_registry_response,
    encode_registry_response,
)
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.soap.served import Served
from shared.store.engine import Transaction
from shared.xml import parse

_SUCCESS = RegistryResponse(status=Status.SUCCESS)


async def handle(unit: Unit, request: RemoveMetadataRequest) -> RegistryResponse:
    """Remove all objects that are listed, or say everything that keeps them from going.

    A node of the community may remove, and a user in a role of `administrator_roles`; consent has no say. A
    message that comes again with its MessageID is answered as before.

    Raises
    ------
    Rejected
        Nothing was removed.
    """
    if not may_administer(unit.caller, unit.parts.settings.administrator_roles):
        raise Rejected(
            InvalidRemoval("this caller may not remove; a node of the community or an administrator may")
        )
    if request.errors:
        raise Rejected(*request.errors)
    removing = _Removing(unit, request)
    before = await unit.write(removing.work, events=(), done=removing.done)
    return _SUCCESS if before is None else decode_registry_response(parse(before))


@dataclass(frozen=True, slots=True)
class _Removing:
    """One removal; `work` may run several times and keeps nothing between."""

    unit: Unit
    request: RemoveMetadataRequest

    async def work(self, transaction: Transaction) -> bytes | None:
        """Remove and return None; or return the response that this message was given before."""
        now = self.unit.parts.now()
        before = await submissions.find_or_keep_answer(
            transaction,
            message_id=self.unit.caller.message_id,
            digest=_digest(self.request),
            response=encode_registry_response(_SUCCESS, Actor.REGISTRY),
            created=now.isoformat(),
        )
        if before is not None:
            await self._record(transaction, audit(self.request, None, self.unit.caller, Outcome.SUCCESS))
            return before
        await _lock(transaction, self.request.ids)
        removal = await removals.find_removal(transaction, self.request.ids)
        if errors := errors_of(removal):
            raise Rejected(*errors)
        await _remove(transaction, removal, Timestamp.of(now))
        await self._record(transaction, tuple(_events(self.unit.caller, removal)))
        return None

    async def done(self, transaction: Transaction) -> bytes | None:
        """The response that is kept when this removal was carried out."""
        return await submissions.find_answer(
            transaction, message_id=self.unit.caller.message_id, digest=_digest(self.request)
        )

    async def _record(self, transaction: Transaction, events: Sequence[AuditEvent]) -> None:
        await insert_events(transaction, events, self.unit.parts.recorder)


def _digest(request: RemoveMetadataRequest) -> str:
    return hashlib.sha256("\n".join((ITI62.number, *request.ids)).encode()).hexdigest()


async def _lock(transaction: Transaction, ids: Sequence[str]) -> None:
    """Hold the patients against merges, then what goes and what it joins against submissions.

    Ends of associations never change, and an object that goes meanwhile is not found afterwards; one that
    moves meanwhile is, because what was locked is looked at again.
    """
    patients_held: set[str] = set()
    while fresh := await _patients(transaction, ids) - patients_held:
        for patient_id in sorted(fresh):
            await patients.hold_patient(transaction, patient_id)
        patients_held |= fresh
    locked: set[str] = set()
    while not (ids_now := await _named(transaction, ids)) <= locked:
        await identifiers.lock(transaction, ids_now)
        locked |= ids_now


async def _named(transaction: Transaction, ids: Sequence[str]) -> set[str]:
    items = await removals.find_items(transaction, ids)
    return {*ids, *chain.from_iterable(map(removals.named_by, items.values()))}


async def _patients(transaction: Transaction, ids: Sequence[str]) -> set[str]:
    items = await removals.find_items(transaction, ids)
    return {item.patient_id for item in items.values()}


async def _remove(transaction: Transaction, removal: Removal, now: Timestamp) -> None:
    await removals.remove_objects(transaction, removal.going)
    shrinking = await objects.find_values(transaction, removal.shrinking)
    await objects.replace_objects(
        transaction, [lifecycle.updated(folder, now) for folder in shrinking if isinstance(folder, Folder)]
    )


# --- the trail ----------------------------------------------------------------------------------------


def audit(
    request: RemoveMetadataRequest, response: RegistryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a removal by what was asked; what was done is recorded together with it."""
    return (_event(caller, outcome, "", request.ids),)


def _events(caller: Caller, removal: Removal) -> Iterator[AuditEvent]:
    """One event for each patient."""
    by_patient: dict[str, list[str]] = {}
    for item in removal.going:
        by_patient.setdefault(item.patient_id, []).append(item.entry_uuid)
    for patient_id, ids in by_patient.items():
        yield _event(caller, Outcome.SUCCESS, patient_id, ids)


def _event(caller: Caller, outcome: Outcome, patient_id: str, ids: Sequence[str]) -> AuditEvent:
    return patterns.removal_of_objects(
        ITI62.event_type, Side.SERVER, caller, outcome, ids, patient_id=patient_id
    )


SERVED = Served(ITI62, handle, audit, Speaker.NODE)

"""Update Document Set [ITI-57]: expected actions (supplement XDS Metadata Update, 3.57.4.1.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from registry.domain import patients
from registry.domain.administration import may_administer
from registry.domain.metadata_update import UPDATE, Update, Versioned, errors_in_update
from registry.domain.registration import RegisteredObject
from registry.domain.submission import ObjectClass, SubmissionIndex
from registry.domain.update_rules import errors_against
from registry.domain.versions import Change, UpdateState, change_of
from registry.store import consents, identifiers, objects, submissions, versions
from registry.store import patients as patient_store
from registry.transactions import registered_consents
from registry.transactions.iti42 import chosen_ids, in_order
from registry.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.patterns import Side
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Association, DocumentEntry, RegistryObject, Submission, Timestamp
from shared.errors import (
    Actor,
    MetadataUpdateError,
    NoSubmissionSet,
    Rejected,
    SubmissionError,
    XdsError,
)
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.registry import (
    RegistryResponse,
    Status,
    decode_registry_response,
    encode_registry_response,
)
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.settings import PatientPolicy
from shared.soap.served import Served
from shared.store.engine import Transaction
from shared.xml import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a transaction judges an update: by the message, and by what the registry knows."""

    number: str
    in_message: Callable[[Update], Iterable[XdsError]]
    against: Callable[[Update, UpdateState], Iterable[XdsError]]
    restricted: bool = False


RULES = Rules(
    number=ITI57.number,
    in_message=errors_in_update,
    against=lambda update, state: errors_against(update, state, UPDATE),
)


async def handle(unit: Unit, request: UpdateRequest) -> RegistryResponse:
    """Carry out all operations of a message, or say everything that is wrong with them.

    A node of the community may update, and a user in a role of `administrator_roles`. A message that comes
    again with its MessageID and content is answered as before.

    Raises
    ------
    Rejected
        Nothing was changed.
    """
    if not may_administer(unit.caller, unit.parts.settings.administrator_roles):
        raise Rejected(
            SubmissionError("this caller may not update; a node of the community or an administrator may")
        )
    events = audit(request, None, unit.caller, Outcome.SUCCESS)
    return await update_metadata(unit, request, events, RULES)


async def update_metadata(
    unit: Unit, request: UpdateRequest, events: Sequence[AuditEvent], rules: Rules
) -> RegistryResponse:
    """Update by the rules of a transaction; raises `Rejected`."""
    decoded = request.decoded
    errors = list(decoded.errors)
    if decoded.submission is not None:
        message = SubmissionIndex(decoded.submission)
        errors.extend(rules.in_message(Update(message)))
        errors.extend(unit.parts.value_sets.errors(message))
    if errors or decoded.submission is None:
        raise Rejected(*map(_told, errors))
    updating = _Updating(unit, decoded.submission, unit.caller.message_id, decoded.warnings, rules)
    before = await unit.write(updating.work, events=events, done=updating.done)
    return updating.response if before is None else decode_registry_response(parse(before))


def _told(error: XdsError) -> XdsError:
    """`error` as Metadata Update tells it: codeContext names the object, whoever found what is wrong."""
    kind = MetadataUpdateError if isinstance(error, NoSubmissionSet) else type(error)
    entry_uuid = error.location.partition("/")[0]
    context = error.context if entry_uuid in error.context else f"{entry_uuid}: {error.context}"
    return kind(context, location=error.location)


class _Updating:
    """One update on its way into the registry; `work` may run several times and keeps nothing between."""

    def __init__(
        self,
        unit: Unit,
        submission: Submission,
        message_id: str,
        warnings: Sequence[XdsError],
        rules: Rules,
    ) -> None:
        self._submission = submission
        self._rules = rules
        self._policy = unit.parts.settings.patients
        self._consents = registered_consents.Domain.of(unit.parts)
        self._domain = unit.parts.settings.affinity_domain
        self._message_id = message_id
        self._digest = hashlib.sha256(rules.number.encode() + encode_submission(submission)).hexdigest()
        self._now: datetime = unit.parts.now()
        self.response = RegistryResponse(status=Status.SUCCESS, errors=tuple(warnings))

    async def work(self, transaction: Transaction) -> bytes | None:
        """Update and return None; or return the response that this message was given before."""
        before = await submissions.find_or_keep_answer(
            transaction,
            message_id=self._message_id,
            digest=self._digest,
            response=encode_registry_response(self.response, Actor.REGISTRY),
            created=self._now.isoformat(),
        )
        if before is not None:
            return before
        update = Update(SubmissionIndex(await _with_lineages(transaction, self._submission)))
        state = await self._known(transaction, update)
        if errors := list(map(_told, self._rules.against(update, state))):
            raise Rejected(*errors)
        now = Timestamp.of(self._now)
        change = change_of(update, state, now, keeps_status=self._rules.restricted)
        patient_id = objects.spelled(self._submission.submission_set.patient_id)
        await _write(transaction, patient_id, change, self._consents)
        return None

    async def done(self, transaction: Transaction) -> bytes | None:
        """The response that is kept when this update was made."""
        return await submissions.find_answer(transaction, message_id=self._message_id, digest=self._digest)

    async def _known(self, transaction: Transaction, update: Update) -> UpdateState:
        # Locks are taken in one order: patients, what is registered, what is new.
        held: set[str] = set()
        active = await self._hold_patients(transaction, update, held)
        registered = await _lock_named(transaction, update)
        # What was committed before the lock may have moved a lineage to another patient.
        active = await self._hold_patients(transaction, update, held) or active
        latest = await versions.find_latest_values(transaction, update.logical_ids)
        claimed = await identifiers.claim(
            transaction, objects.spelled(update.submission_set.patient_id), _kept(update)
        )
        changing = {change.target for change in update.status_updates} & registered.keys()
        changing |= {
            item.entry_uuid for item in registered.values() if item.object_class is ObjectClass.FOLDER
        }
        values = {value.entry_uuid: value for value in await objects.find_values(transaction, changing)}
        joining = [
            *(new.association for new in update.new_associations),
            *(value for value in values.values() if isinstance(value, Association)),
        ]
        return UpdateState(
            patient_is_active=active,
            taken=frozenset(chosen_ids(_kept(update))) - claimed | await _taken_triggers(transaction, update),
            set_is_registered=nfc(update.submission_set.unique_id) not in claimed,
            ambiguous=await _ambiguous(transaction, update),
            latest=latest,
            values=values,
            registered=registered,
            superseded=await versions.find_superseded(transaction, registered),
            attached=await versions.find_attached(transaction, _ids(latest)),
            joined=await versions.find_joined(transaction, (item.source_object for item in joining)),
        )

    async def _hold_patients(self, transaction: Transaction, update: Update, held: set[str]) -> bool:
        """Keep the patients of the set and of the lineages from being merged, those in `held` aside; tell
        whether that of the set was found active.
        """
        latest = await versions.find_latest_values(transaction, update.logical_ids)
        canonical_id = patients.canonical(update.submission_set.patient_id, self._domain)
        if canonical_id is not None and self._policy is PatientPolicy.ANY:
            await patient_store.add_patient(transaction, canonical_id)
        patient_ids = {objects.spelled(value.patient_id) for value in latest.values()} | {canonical_id or ""}
        active = False
        for patient_id in sorted(patient_ids - held - {""}):
            patient = await patient_store.hold_patient(transaction, patient_id)
            held.add(patient_id)
            active = active or (patient_id == canonical_id and patient is not None and patient.active)
        return active


async def _lock_named(transaction: Transaction, update: Update) -> dict[str, RegisteredObject]:
    """Lock what the update names, and what is joined with it, until nothing more comes up."""
    ids: set[str] = set()
    registered: dict[str, RegisteredObject] = {}
    while not (ids_now := await _named(transaction, update)) <= ids:
        ids |= ids_now
        registered = await objects.lock_registered(transaction, sorted(ids))
    return registered


async def _named(transaction: Transaction, update: Update) -> set[str]:
    references = update.message.references()
    latest = await versions.find_latest_values(transaction, update.logical_ids)
    targets = [change.target for change in update.status_updates]
    associations = [
        *await versions.find_attached(transaction, _ids(latest)),
        *(item for item in await objects.find_values(transaction, targets) if isinstance(item, Association)),
    ]
    return {
        *references,
        *update.logical_ids,
        *await versions.find_version_ids(transaction, update.logical_ids),
        *chain.from_iterable(
            (item.entry_uuid, item.source_object, item.target_object) for item in associations
        ),
    }


def _ids(latest: Mapping[str, Versioned]) -> list[str]:
    return [value.entry_uuid for value in latest.values()]


async def _with_lineages(transaction: Transaction, submission: Submission) -> Submission:
    """`submission` with the logicalIDs that its entries leave to their uniqueIds, where that is clear."""
    entries = []
    for entry in submission.document_entries:
        lineages = [] if entry.logical_id else await versions.find_lineages(transaction, entry.unique_id)
        entries.append(replace(entry, logical_id=lineages[0]) if len(lineages) == 1 else entry)
    return replace(submission, document_entries=tuple(entries))


async def _ambiguous(transaction: Transaction, update: Update) -> frozenset[str]:
    return frozenset(
        [
            entry.entry_uuid
            for entry in update.message.entries.values()
            if not entry.logical_id and await versions.find_lineages(transaction, entry.unique_id)
        ]
    )


def _kept(update: Update) -> list[RegistryObject]:
    """The objects of the message that are registered; triggers are carried out and not kept."""
    triggers = {item.entry_uuid for item in _triggers(update)}
    return [thing for thing in in_order(update.message.submission) if thing.entry_uuid not in triggers]


def _triggers(update: Update) -> list[Association]:
    return [*update.submits, *(change.trigger for change in update.status_updates)]


async def _taken_triggers(transaction: Transaction, update: Update) -> frozenset[str]:
    places = await identifiers.find_owners(transaction, chosen_ids(_triggers(update)))
    return frozenset(chain.from_iterable(places.values()))


async def _write(
    transaction: Transaction, patient_id: str, change: Change, domain: registered_consents.Domain
) -> None:
    # What the sender chose was claimed before; what is new here cannot be in use.
    claimed = await identifiers.claim(transaction, patient_id, change.new)
    # The old version first: of each lineage one version is Approved at any moment.
    await objects.replace_objects(transaction, change.changed)
    await objects.insert_objects(transaction, patient_id, change.new, claimed=claimed)
    await objects.hide_superseded(transaction, change.superseded)
    await identifiers.replace_contents(transaction, change.contents)
    for entry in (*change.changed, *change.new):
        if isinstance(entry, DocumentEntry) and registered_consents.is_consent(entry):
            policies = registered_consents.updated(entry, patient_id, domain)
            await consents.keep_consent(transaction, entry, policies)


def audit(
    request: UpdateRequest, response: RegistryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the update (supplement XDS Metadata Update, 3.57.5.1): who updated by which submission set."""
    return (described(ITI57.event_type, request, caller, outcome),)


def described(
    transaction: Coded, request: UpdateRequest, caller: Caller, outcome: Outcome, home: str = ""
) -> AuditEvent:
    """The event of an update; `home` is the community that the submission set names."""
    return patterns.submission(
        transaction, Side.SERVER, caller, outcome, request.decoded.submission, update=True, home=home
    )


SERVED = Served(ITI57, handle, audit, Speaker.NODE)

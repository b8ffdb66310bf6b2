"""Patient Identity Feed HL7 V3 [ITI-44]: expected actions of the Document Registry (ITI TF-2 3.44.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from registry.domain.patients import PatientRefused
from registry.store import feed
from registry.transactions import patient_feed
from registry.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome, ihe, purposes, push_participants
from shared.ebrim.identifiers import CX, nfc
from shared.errors import SubmissionError, UnavailableError, UnknownPatientId
from shared.messages.iti44 import (
    ITI44_ADD,
    ITI44_MERGE,
    ITI44_REVISE,
    Acknowledgement,
    Ids,
    Interaction,
    PatientFeedRequest,
    decode_response,
    encode_response,
)
from shared.security.caller import Caller
from shared.security.nodes import check_bound
from shared.security.speaker import Speaker
from shared.soap.served import Served
from shared.store.engine import Transaction
from shared.xml import parse

_EVENT_TYPE = ihe(ITI44_ADD.number, "Patient Identity Feed")
_ACTIONS: Mapping[Interaction, str] = {Interaction.ADD: "C", Interaction.REVISE: "U", Interaction.MERGE: "U"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedContent:
    """What a message says: the patient and, in a merge, the prior one, as the registry spells them."""

    interaction: Interaction
    patient_id: str
    prior_patient_id: str = ""


async def handle(unit: Unit, request: PatientFeedRequest) -> Acknowledgement:
    """Do what a message says; what it changed is durable before its CA.

    The same message again, by its id and content, is acknowledged as before. Whatever goes wrong becomes CE
    with its reason, and changes nothing.
    """
    domain = unit.parts.settings.affinity_domain
    check_bound(unit.caller.domains, (domain,), "feeds the domain")
    try:
        content = _read(request, domain)
        return await _taken(unit, request, content)
    except PatientRefused as refused:
        return Acknowledgement.to(request, SubmissionError(str(refused)))
    except (SubmissionError, UnavailableError) as error:
        return Acknowledgement.to(request, error)


async def _taken(unit: Unit, request: PatientFeedRequest, content: FeedContent) -> Acknowledgement:
    acknowledgement = Acknowledgement.to(request)
    message_id, digest = str(request.message_id), hashlib.sha256(request.octets).hexdigest()

    async def done(transaction: Transaction) -> bytes | None:
        return await feed.find_acknowledgement(transaction, message_id, digest)

    async def work(transaction: Transaction) -> bytes | None:
        before = await done(transaction)
        if before is not None:
            return before
        await feed.keep_acknowledgement(
            transaction,
            control_id=message_id,
            digest=digest,
            acknowledgement=encode_response(acknowledgement).xml,
            created=unit.parts.now().isoformat(),
        )
        await _change(transaction, content)
        return None

    events = _events(request, (content.prior_patient_id, content.patient_id), unit.caller, Outcome.SUCCESS)
    before = await unit.write(work, events=events, done=done)
    if content.interaction is Interaction.MERGE:
        await patient_feed.finish(unit, content.patient_id)
    return acknowledgement if before is None else decode_response(parse(before), {})


async def _change(transaction: Transaction, content: FeedContent) -> None:
    match content.interaction:
        case Interaction.ADD:
            await patient_feed.add(transaction, content.patient_id)
        case Interaction.MERGE:
            await patient_feed.merge(transaction, content.prior_patient_id, content.patient_id)
        case Interaction.REVISE:
            """It tells demographics, of which the registry keeps none."""


# --- reading ------------------------------------------------------------------------------------------


def _read(request: PatientFeedRequest, domain: str) -> FeedContent:
    merges = request.interaction is Interaction.MERGE
    return FeedContent(
        interaction=request.interaction,
        patient_id=_only(request.patients, domain, "the registration event"),
        prior_patient_id=_only(request.priors, domain, "the replaced registration") if merges else "",
    )


def _only(each: tuple[Ids, ...], domain: str, place: str) -> str:
    """The one patient that is told of, by its id of the affinity domain."""
    if len(each) != 1:
        raise SubmissionError(f"{place} must be there once; it is there {len(each)} times")
    ids = _of_domain(each[0], domain)
    if len(ids) != 1:
        which = "no id" if not ids else "several ids"
        raise UnknownPatientId(f"{place} has {which} of the affinity domain {domain}; give one")
    return ids.pop()


def _of_domain(ids: Ids, domain: str) -> set[str]:
    texts = (nfc(one.extension) for one in ids if one.root == domain)
    # What cannot be shown cannot be recorded or answered either.
    return {str(CX(text, domain)) for text in texts if text and text.isprintable()}


# --- the trail ----------------------------------------------------------------------------------------


def audit(
    request: PatientFeedRequest, response: Acknowledgement | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a message that was not taken; one that was is recorded together with its change."""
    patients = (_told(request.priors), _told(request.patients))
    description = "; ".join(error.context for error in response.errors) if response else ""
    return _events(request, patients, caller, outcome, description=description)


def _told(each: tuple[Ids, ...]) -> str:
    ids = each[0] if each else ()
    return next((str(CX(one.extension, one.root)) for one in ids if one.extension and one.root), "")


def _events(
    request: PatientFeedRequest,
    patients: tuple[str, str],
    caller: Caller,
    outcome: Outcome,
    *,
    description: str = "",
) -> tuple[AuditEvent, ...]:
    """A merge is a deletion of the prior id and, at the same time, an update of the surviving one (ITI TF-2
    3.44.5).
    """
    prior, patient_id = patients
    described = [(_ACTIONS[request.interaction], patient_id)]
    if request.interaction is Interaction.MERGE:
        described.insert(0, ("D", prior))
    return patterns.patient_feed(
        _EVENT_TYPE,
        push_participants(caller, server=True),
        outcome,
        described,
        message=("II", str(request.message_id)),
        description=description,
        purposes_of_use=purposes(caller.user),
    )


SERVED = tuple(
    Served(transaction, handle, audit, Speaker.NODE) for transaction in (ITI44_ADD, ITI44_REVISE, ITI44_MERGE)
)

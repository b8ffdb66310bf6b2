"""Registry Stored Query [ITI-18]: expected actions (ITI TF-2 3.18.4.1.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from registry.domain import stored_queries as queries
from registry.domain.stored_queries import PATIENT_PARAMETERS, Criteria, criteria_of
from registry.domain.visibility import Candidate, decided_on, resource, resource_of, visible_of
from registry.store.consents import Given, find_given
from registry.store.document_entries import (
    Documents,
    are_more_than,
    find_codes,
    find_documents,
    find_entries,
)
from registry.store.fragments import find_fragments
from registry.store.selections import select_objects
from registry.unit import Unit
from shared.audit import patterns
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.decision import Decision, Resource
from shared.ebrim.codec import encode_object_ref
from shared.ebrim.query_values import ValueKind, parse_clause
from shared.errors import QueryError, ResultNotSinglePatient, TooManyResults
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, StoredQueryResponse
from shared.security.caller import Caller
from shared.soap.served import Served
from shared.soap.transaction import SoapTransaction
from shared.store.engine import Transaction

#: Entries that FindDocuments reads whole before anything was permitted.
UNDECIDED = 10
#: Objects of one patient that a query looks at before consent is asked, as a multiple of what it may answer:
#: refused entries shall not count, and memory shall stay bounded.
LOOKED_AT = 5
#: The same as a number, unless more may be answered: a query that finds too much is told so within 100 ms.
MOST_LOOKED_AT = 25_000

Refusals = dict[str, set[str]]
"""For each patient the reasons for which consent refused something, while a query is answered."""

_DOCUMENT_QUERIES = (queries.FIND_DOCUMENTS, queries.FIND_DOCUMENTS_BY_REFERENCE_ID)
_PATIENT_ID = "$XDSDocumentEntryPatientId"


async def handle(unit: Unit, request: StoredQueryRequest) -> StoredQueryResponse:
    """Answer one stored query with the objects that consent lets the caller see.

    Raises
    ------
    UnknownStoredQuery
        The registry does not know the query id.
    Rejected
        Parameters are absent, repeated or malformed; every mistake at once.
    ResultNotSinglePatient
        Whole objects of several patients were asked for.
    TooManyResults
        The answer would exceed its limit.
    """
    leaf = is_leaf(request.return_type)
    criteria = criteria_of(
        request.query_id,
        request.parameters,
        metadata_update=unit.parts.settings.metadata_update,
    )
    # Old versions are decided on with their latest, so that level 2 needs more than one statement.
    if criteria.query in _DOCUMENT_QUERIES and criteria.level == 1:
        result, fragments = await _documents(unit, criteria, leaf)
    else:
        result, fragments = await select(unit, criteria, leaf)
    if leaf:
        _check_single_patient(result.visible)
    return await answer(unit, result, fragments, leaf)


def is_leaf(return_type: ReturnType) -> bool:
    """Whether whole objects are asked for, and not their ids; raises `QueryError` for anything else."""
    if return_type not in (ReturnType.LEAF_CLASS, ReturnType.OBJECT_REF):
        raise QueryError("returnType must be LeafClass or ObjectRef")
    return return_type is ReturnType.LEAF_CLASS


def _limit(unit: Unit, leaf: bool) -> int:
    settings = unit.parts.settings
    return settings.query_limit if leaf else settings.reference_limit


@dataclass(frozen=True, slots=True)
class Withholding:
    """Of one patient something is left out that was asked for; `in_part` when something else is shown."""

    patient_id: str
    reason: str
    in_part: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(StoredQueryResponse):
    """The response, and for the trail what consent kept back."""

    withheld: tuple[Withholding, ...] = ()


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query selects, and what of it consent lets the caller see.

    `refusals` are, for every patient of whom something was refused, asked for or not, the reasons. Of a
    patient who is `closed` to the caller nothing is selected.
    """

    candidates: Sequence[Candidate]
    visible: Sequence[Candidate]
    refusals: Mapping[str, Collection[str]]
    closed: str = ""

    def withheld(self) -> tuple[Withholding, ...]:
        """By patient what is left out."""
        if len(self.visible) == len(self.candidates) and not self.closed:
            return ()
        shown = {item.entry_uuid for item in self.visible}
        patients = {item.patient_id for item in self.candidates if item.entry_uuid not in shown} | {
            self.closed
        }
        visible_patients = {item.patient_id for item in self.visible}
        return tuple(
            Withholding(
                patient_id,
                "; ".join(sorted(self.refusals[patient_id])),
                in_part=patient_id in visible_patients,
            )
            for patient_id in sorted(patients & self.refusals.keys())
        )


async def _documents(unit: Unit, criteria: Criteria, leaf: bool) -> tuple[QueryResult, Mapping[str, bytes]]:
    """FindDocuments: one statement reads entries, fragments and policies, unless there are many."""
    limit = _limit(unit, leaf)
    at_once = min(limit, _limit(unit, leaf=True))
    few = min(UNDECIDED, at_once)
    patient_id = criteria.value(_PATIENT_ID)
    find = partial(find_documents, unit, criteria, patient_id=patient_id)
    refusals: Refusals = {}
    documents = await find(most=few + 1, leaf=leaf)
    result = await _decided(unit, documents, refusals)
    if len(documents.candidates) <= few:
        return result, documents.fragments
    if not result.visible and await _is_closed(unit, patient_id, refusals):
        return QueryResult((), (), refusals, closed=patient_id), {}
    looked_at = _looked_at(limit)
    # Counted before anything more is read: who asks for too much is told so at the price of an index.
    if await are_more_than(unit, criteria, patient_id=patient_id, number=looked_at):
        raise _too_many(limit)
    if result.visible:
        documents = await find(most=at_once + 1, leaf=leaf)
        if len(documents.candidates) <= at_once:
            return await _decided(unit, documents, refusals), documents.fragments
    result = await _decided(unit, await find(most=looked_at + 1, leaf=False), refusals)
    number = len(result.candidates)
    _check_number(number if number > looked_at else len(result.visible), limit)
    return await _whole(unit, result) if leaf else (result, {})


async def _is_closed(unit: Unit, patient_id: str, refusals: Refusals) -> bool:
    """Whether nothing of a patient may be seen, told by what its entries have: how much there is takes no
    time, so that a closed patient answers as one who has nothing.
    """

    policies = unit.parts.decisions

    async def read(transaction: Transaction) -> tuple[Mapping[str, Given], list[Resource]]:
        consents = await find_given(transaction, [patient_id])
        if policies.look_at_particulars(*consents[patient_id]):
            return consents, list(map(resource_of, await find_entries(transaction, patient_id)))
        alike = not policies.look_at_documents(*consents[patient_id])
        codes = await find_codes(transaction, patient_id, one=alike)
        return consents, [resource(patient_id, *each) for each in codes]

    given, of_entries = await unit.read(read)
    decisions = await unit.decide([*of_entries, resource(patient_id, None)], given)
    if any(decision.permitted for decision in decisions):
        return False
    _note(refusals, zip(of_entries, decisions, strict=False))
    return True


async def _decided(unit: Unit, documents: Documents, refusals: Refusals) -> QueryResult:
    candidates = documents.candidates
    of_patient = {item.patient_id: documents.given for item in candidates[:1]}
    resources = await unit.computed(len(candidates), lambda: list(map(resource_of, candidates)))
    decisions = await unit.decide(resources, of_patient)
    _note(refusals, zip(resources, decisions, strict=True))
    visible = [item for item, decision in zip(candidates, decisions, strict=True) if decision.permitted]
    return QueryResult(candidates, visible, refusals)


def _note(refusals: Refusals, decided: Iterable[tuple[Resource, Decision]]) -> None:
    for what, decision in decided:
        if not decision.permitted:
            refusals.setdefault(what.patient_id, set()).add(decision.reason)


async def answer(unit: Unit, result: QueryResult, fragments: Mapping[str, bytes], leaf: bool) -> Answer:
    """The response with what is seen of `result`, in whole or as ids."""

    def made() -> Answer:
        sent = (
            [fragments[item.entry_uuid] for item in result.visible]
            if leaf
            else [encode_object_ref(item.entry_uuid) for item in result.visible]
        )
        return Answer(fragments=sent, withheld=result.withheld())

    return await unit.computed(len(result.candidates), made)


async def select(unit: Unit, criteria: Criteria, leaf: bool) -> tuple[QueryResult, Mapping[str, bytes]]:
    """What a query selects and consent lets the caller see, with fragments when whole objects are asked for.

    Where nothing may be seen no fragment is read, and nothing of a patient of whom nothing may be seen.

    Raises
    ------
    TooManyResults
        The answer would exceed its limit, or more would have to be looked at than `LOOKED_AT` allows.
    """
    patients = {patient_id for name in PATIENT_PARAMETERS for patient_id in criteria.values(name)}
    refusals: Refusals = {}
    if len(patients) == 1 and await _is_closed(unit, min(patients), refusals):
        return QueryResult((), (), refusals, closed=patients.pop()), {}
    limit = _limit(unit, leaf)
    result, _ = await _select(unit, criteria, limit, refusals)
    _check_number(len(result.visible), limit)
    if not leaf or not result.visible:
        return result, {}
    # Once more, on one snapshot with the fragments: an object may change between two, and what is answered
    # must have been there together.
    result, fragments = await _select(unit, criteria, limit, refusals, fragments_up_to=limit)
    _check_number(len(result.visible), limit)
    return await _whole(unit, result) if fragments is None else (result, fragments)


async def _select(
    unit: Unit,
    criteria: Criteria,
    limit: int,
    refusals: Refusals,
    *,
    fragments_up_to: int = 0,
) -> tuple[QueryResult, Mapping[str, bytes] | None]:
    """What is selected and what of it the caller may see, with all fragments if they are so few."""
    most = _looked_at(limit) + 1
    selection = await unit.read(
        lambda transaction: select_objects(transaction, criteria, most=most, fragments_up_to=fragments_up_to)
    )
    around = selection.surroundings
    number = len(around.objects)
    objects = decided_on(around)
    resources = await unit.computed(number, lambda: list(map(resource_of, objects)))
    decisions = await unit.decide(resources, selection.given)

    def decide() -> list[Candidate]:
        # A set or folder that has members is refused because of them.
        _note(
            refusals,
            (
                (resource, decision)
                for item, resource, decision in zip(objects, resources, decisions, strict=True)
                if not around.members.get(item.entry_uuid)
            ),
        )
        permitted = {
            item.entry_uuid for item, decision in zip(objects, decisions, strict=True) if decision.permitted
        }
        return visible_of(selection.choice, around, permitted)

    visible = await unit.computed(number, decide)
    return QueryResult(selection.choice.result, visible, refusals), selection.fragments


async def _whole(unit: Unit, result: QueryResult) -> tuple[QueryResult, Mapping[str, bytes]]:
    """Objects with their fragments, without those that went between two statements."""

    async def read(transaction: Transaction) -> Mapping[str, bytes]:
        # What a merge moves meanwhile is missed in part.
        patients = {item.patient_id for item in result.visible if not item.is_association}
        await find_given(transaction, patients)
        return await find_fragments(transaction, result.visible)

    fragments = await unit.read(read)
    visible = [item for item in result.visible if item.entry_uuid in fragments]
    return replace(result, visible=visible), fragments


def _looked_at(limit: int) -> int:
    return min(limit * LOOKED_AT, max(limit, MOST_LOOKED_AT))


def _check_number(number: int, limit: int) -> None:
    if number > limit:
        raise _too_many(limit)


def _too_many(limit: int) -> TooManyResults:
    return TooManyResults(f"more than {limit} objects; narrow the query, or ask for ObjectRef first")


def _check_single_patient(result: Sequence[Candidate]) -> None:
    if len({item.patient_id for item in result if not item.is_association}) > 1:
        raise ResultNotSinglePatient(
            "the result is about several patients; ask for ObjectRef, then for each patient's objects"
        )


def audit(
    request: StoredQueryRequest, response: StoredQueryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query (ITI TF-2 3.18.5.1): its parameters as they came, and the patient that it names."""
    patients = patients_of(request)
    patient_id = patients[0] if len(patients) == 1 else ""
    return query_events(ITI18, request, response, caller, outcome, (patient_id,))


def query_events(
    served: SoapTransaction[StoredQueryRequest, StoredQueryResponse],
    request: StoredQueryRequest,
    response: StoredQueryResponse | None,
    caller: Caller,
    outcome: Outcome,
    patients: Sequence[str],
) -> tuple[AuditEvent, ...]:
    """The events of a query: one for each of `patients`, of whom an empty one is none, and one for each
    patient of whom consent kept something back.

    The wire says Success and shows nothing of a refusal; the trail tells it as one, with the policies. Where
    all was kept back, nothing else is told of that patient.
    """
    withheld = {one.patient_id: one for one in response.withheld} if isinstance(response, Answer) else {}

    def event(patient_id: str, outcome: Outcome, description: str = "") -> AuditEvent:
        return _query_event(served, request, caller, outcome, patient_id, description)

    nothing = withheld and not (response and response.fragments)
    answered = [
        event(patient_id, outcome)
        for patient_id in patients
        if (withheld[patient_id].in_part if patient_id in withheld else patient_id or not nothing)
    ]
    refused = [
        event(one.patient_id, Outcome.SERIOUS_FAILURE, f"{REFUSED_BY_CONSENT}{one.reason}")
        for one in withheld.values()
    ]
    return (*answered, *refused)


def _query_event(
    served: SoapTransaction[StoredQueryRequest, StoredQueryResponse],
    request: StoredQueryRequest,
    caller: Caller,
    outcome: Outcome,
    patient_id: str,
    description: str,
) -> AuditEvent:
    return patterns.query(
        served.event_type,
        Side.SERVER,
        caller,
        outcome,
        query_id=request.query_id,
        octets=request.octets or ITI18.encode_request(request).xml,
        home=request.home,
        patient_id=patient_id,
        description=description,
    )


def patients_of(request: StoredQueryRequest) -> list[str]:
    """The patients that a query names, once each."""
    patients: dict[str, None] = {}
    for name in PATIENT_PARAMETERS:
        for clause in request.parameters.get(name, ()):
            try:
                patients.update(dict.fromkeys(parse_clause(clause, ValueKind.CX)))
            except QueryError:
                continue  # what names no patient is told by the query itself
    return list(patients)


SERVED = Served(ITI18, handle, audit)

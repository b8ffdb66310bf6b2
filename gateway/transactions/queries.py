"""Stored queries on their way: to the registry of our community, to other communities, and back as one
answer (ITI TF-2 3.18.4.1.3, 3.38.4.1.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gateway.domain.communities import PATIENT_PARAMETERS, Community
from gateway.domain.links import Links
from gateway.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim.query_values import ValueKind, encode_value, parse_clause
from shared.errors import (
    Actor,
    MissingHomeCommunityId,
    QueryError,
    RegistryNotAvailable,
    RelayedError,
    UnavailableCommunity,
    XdsError,
)
from shared.faults import WSSE, SecurityFault, SoapFault
from shared.http.client import EgressRefused
from shared.messages.iti18 import (
    ITI18,
    Clauses,
    ReturnType,
    StoredQueryRequest,
    StoredQueryResponse,
    encode_request,
)
from shared.messages.iti38 import ITI38, RelayedAnswer, RelayedObject, relayed
from shared.messages.registry import has_error
from shared.security.caller import Caller
from shared.soap.client import PeerError, PeerGone
from shared.soap.transaction import SoapTransaction

_WITH_HOME = frozenset({"ExtrinsicObject", "RegistryPackage", "Association", "ObjectRef"})
_MAX_REASON = 300


def check_return_type(request: StoredQueryRequest) -> None:
    """Raise `QueryError` for a kind of answer that XDS does not have."""
    if request.return_type not in (ReturnType.LEAF_CLASS, ReturnType.OBJECT_REF):
        raise QueryError("returnType must be LeafClass or ObjectRef")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a query goes: the transaction, its endpoint, and what is asked there."""

    transaction: SoapTransaction[StoredQueryRequest, StoredQueryResponse]
    url: str
    home: str
    request: StoredQueryRequest
    stamped: bool = False


async def ask_everybody(
    unit: Unit, communities: Sequence[Community], request: StoredQueryRequest
) -> StoredQueryResponse:
    """Ask `communities` at once, and put their answers together in this order.

    Who does not answer is an error beside the answers of the others.
    """
    links = await unit.parts.links.current()
    async with asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(_answer(unit, one, request, links)) for one in communities]
    return merged([task.result() for task in answers])


def merged(answers: Sequence[RelayedAnswer]) -> StoredQueryResponse:
    """One answer with all objects and all errors, in the order of `answers`."""
    return StoredQueryResponse(
        fragments=[each.octets for answer in answers for each in answer.objects],
        errors=tuple(error for answer in answers for error in answer.errors),
    )


async def _answer(
    unit: Unit, community: Community, request: StoredQueryRequest, links: Links
) -> RelayedAnswer:
    home = community.home_community_id
    try:
        if community.is_own:
            return await ask_registry(unit, request)
        answer = await _ask(unit, _across(community, request, links))
    except SoapFault as fault:
        return _failed(XdsError(f"{home} answered with a fault: {shown_fault(fault)}", location=home))
    except XdsError as error:
        return _failed(error)
    return _checked(answer, home)


def _failed(error: XdsError) -> RelayedAnswer:
    return RelayedAnswer(errors=(error,))


async def ask_registry(unit: Unit, request: StoredQueryRequest) -> RelayedAnswer:
    """Ask the registry of our community; every object of the answer gets our homeCommunityId.

    Raises
    ------
    RegistryNotAvailable
        It does not answer, or with nothing that can be used.
    SecurityFault
        It refused the user's assertion, such as one for one use that was used.
    SoapFault
        It answered with another fault.
    """
    place = _Place(
        transaction=ITI18,
        url=unit.parts.settings.registry_endpoint(ITI18.number),
        home=unit.own_home,
        # A plain registry knows no homes.
        request=replace(request, home="", octets=b""),
        stamped=True,
    )
    try:
        return await _ask(unit, place)
    except SoapFault as fault:
        if fault.subcode == (WSSE, "InvalidSecurityToken"):
            # The assertion is the caller's, whom we passed on: it is theirs to hear.
            raise SecurityFault("InvalidSecurityToken", "our registry refused the assertion") from fault
        raise


def _across(community: Community, request: StoredQueryRequest, links: Links) -> _Place:
    home = community.home_community_id
    parameters = _translated(request.parameters, links, home)
    return _Place(
        transaction=ITI38,
        url=community.gateway_url(ITI38.number),
        home=home,
        request=replace(request, home=home, parameters=parameters, octets=b""),
    )


def _translated(parameters: Mapping[str, Clauses], links: Links, home: str) -> Mapping[str, Clauses]:
    """The same parameters with the patient as `home` knows him or her."""
    changed = {
        name: tuple(_clause(values, links, home) for values in parameters[name])
        for name in PATIENT_PARAMETERS
        if name in parameters and links.by_patient
    }
    return {**parameters, **changed}


def _clause(values: Sequence[str], links: Links, home: str) -> tuple[str, ...]:
    patients = [links.of(patient_id, home) for patient_id in parse_clause(values, ValueKind.CX)]
    return encode_value(patients[0] if len(patients) == 1 else patients)


async def _ask(unit: Unit, place: _Place) -> RelayedAnswer:
    transaction = relayed(place.transaction, home=place.home if place.stamped else "")
    seconds = unit.parts.settings.answer_seconds
    outcome, description = Outcome.SERIOUS_FAILURE, ""
    try:
        client = unit.client(unit.parts.queries)
        ask = partial(client.call, transaction, place.url, place.request, timeout_seconds=seconds)
        try:
            answer = await ask()
        except PeerGone:
            answer = await ask()
        outcome = Outcome.SERIOUS_FAILURE if has_error(answer.errors) else Outcome.SUCCESS
        return answer
    except (PeerError, EgressRefused) as error:
        refusal = _not_available(place)
        description = str(error)
        raise refusal from error
    finally:
        unit.events.append(_event(unit, place, outcome, description))


def _not_available(place: _Place) -> XdsError:
    if place.transaction is ITI18:
        return RegistryNotAvailable(
            f"the registry of {place.home} does not answer; try again later", location=place.home
        )
    return UnavailableCommunity(f"{place.home} does not answer; try again later", location=place.home)


def _checked(answer: RelayedAnswer, home: str) -> RelayedAnswer:
    """The answer of a community without objects that lead nowhere, its errors named after it."""
    lost = [each for each in answer.objects if each.name in _WITH_HOME and not each.home]
    return RelayedAnswer(
        objects=tuple(each for each in answer.objects if each not in lost) if lost else answer.objects,
        errors=(*(_located(error, home) for error in answer.errors), *_homeless(lost, home)),
    )


def _homeless(lost: Sequence[RelayedObject], home: str) -> Iterator[XdsError]:
    if lost:
        first = lost[0]
        yield MissingHomeCommunityId(
            f"the gateway of {home} answered {len(lost)} objects without home, the first of them "
            f"{first.name} {first.object_id[:100]}; they are left out",
            location=home,
        )


def _located(error: XdsError, home: str) -> XdsError:
    if error.location:
        return error
    return RelayedError(error.code_for(Actor.REGISTRY), error.context, severity=error.severity, location=home)


def under_home(error: XdsError, home: str, actor: Actor = Actor.REGISTRY) -> XdsError:
    """An error as a Responding Gateway reports it: its location is `home` (3.38.4.1.3), and what it was
    stands in its text."""
    inside = "" if error.location in ("", home) or error.location in error.context else error.location
    return RelayedError(
        error.code_for(actor),
        f"{error.context} (at {inside})" if inside else error.context,
        severity=error.severity,
        location=home,
    )


def shown_fault(fault: SoapFault) -> str:
    """What a fault says, as far as it is shown in an error."""
    return str(fault)[:_MAX_REASON]


# --- the trail ---------------------------------------------------------------------------------------


def patient_of(request: StoredQueryRequest) -> str:
    """The one patient of a query, for the trail; empty when none is named, or not legibly."""
    patients: set[str] = set()
    for name in PATIENT_PARAMETERS:
        for values in request.parameters.get(name, ()):
            try:
                patients.update(parse_clause(values, ValueKind.CX))
            except QueryError:
                return ""
    return patients.pop() if len(patients) == 1 else ""


def _event(unit: Unit, place: _Place, outcome: Outcome, description: str) -> AuditEvent:
    return patterns.query(
        place.transaction.event_type,
        Side.CLIENT,
        unit.sender(place.url),
        outcome,
        query_id=place.request.query_id,
        octets=encode_request(place.request).xml,
        home="" if place.transaction is ITI18 else place.home,
        patient_id=patient_of(place.request),
        description=description,
    )


def received(
    transaction: SoapTransaction[StoredQueryRequest, StoredQueryResponse],
    request: StoredQueryRequest,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """What a gateway records of a query that it was asked."""
    event = patterns.query(
        transaction.event_type,
        Side.SERVER,
        caller,
        outcome,
        query_id=request.query_id,
        octets=request.octets,
        home=request.home,
        patient_id=patient_of(request),
    )
    return (event,)

"""Retrievals on their way: split by the place that has a document, asked for at once, and relayed as one
answer (ITI TF-2 3.43.4.1.3, 3.39.4.1.3; RAD TF-3 4.69, 4.75)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, Generic, TypeVar

from gateway.domain.communities import Community
from gateway.settings import GatewaySettings
from gateway.transactions.admission import admit_consumer, admit_gateway
from gateway.transactions.queries import shown_fault, under_home
from gateway.transactions.references import RequestedDocuments, by_place, documents_of, each_once
from gateway.transactions.relay import Relay, Source
from gateway.transactions.trail import retrieval_event
from gateway.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.errors import (
    Actor,
    Busy,
    DocumentUniqueIdError,
    Rejected,
    RelayedError,
    UnavailableCommunity,
    XdsError,
)
from shared.faults import SoapFault
from shared.http.client import EgressRefused
from shared.http.raw_asgi import ServerBusy
from shared.messages.documents import (
    DocumentRequest,
    PartReference,
    RetrievedDocument,
    RetrieveDocumentSetResponse,
    part_name,
)
from shared.messages.registry import has_error
from shared.security.caller import Caller
from shared.soap.client import PeerError, PeerGone, StreamedAnswer
from shared.soap.mtom import Destination, Expected
from shared.soap.served import Served
from shared.soap.transaction import SoapTransaction

Request = TypeVar("Request")

_Transaction = SoapTransaction[Any, RetrieveDocumentSetResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval(Generic[Request]):
    """What goes the same way: documents by ITI-43 and ITI-39, instances by RAD-69 and RAD-75.

    `named` are the documents of a request, in order; `only` is the request with some of them alone, each of
    which is given once; `endpoint` is who has a repositoryUniqueId in our community.
    """

    inside: SoapTransaction[Request, RetrieveDocumentSetResponse]
    across: SoapTransaction[Request, RetrieveDocumentSetResponse]
    named: Callable[[Request], Iterable[RequestedDocuments]]
    only: Callable[[Request, Collection[DocumentRequest]], Request]
    endpoint: Callable[[GatewaySettings, str], str]

    def wanted(self, request: Request) -> tuple[RequestedDocuments, ...]:
        """The documents of `request`, each once."""
        return each_once(self.named(request))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where documents are asked for: an actor of our community, or the gateway of another."""

    transaction: _Transaction
    url: str
    home: str
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What one place answered; `streamed` is None when nothing will come from it. `is_whole` where all that
    was asked for comes, in order and by its names."""

    place: Place
    asked: tuple[RequestedDocuments, ...]
    streamed: StreamedAnswer[RetrieveDocumentSetResponse] | None = None
    documents: tuple[RetrievedDocument, ...] = ()
    errors: tuple[XdsError, ...] = ()
    is_whole: bool = False


Places = dict[Place, list[RequestedDocuments]]


def place_inside(unit: Unit, retrieval: Retrieval[Any], document: DocumentRequest) -> Place:
    """Where in our own community a document is."""
    return Place(
        transaction=retrieval.inside,
        url=retrieval.endpoint(unit.parts.settings, document.repository_unique_id),
        home=unit.own_home,
        is_own=True,
    )


def place_among(
    unit: Unit, retrieval: Retrieval[Any], community: Community, document: DocumentRequest
) -> Place:
    """Where a document of `community` is."""
    if community.is_own:
        return place_inside(unit, retrieval, document)
    return Place(
        transaction=retrieval.across,
        url=community.gateway_url(retrieval.across.number),
        home=community.home_community_id,
        is_own=False,
    )


def sorted_by_place(
    requests: Iterable[RequestedDocuments], place: Callable[[DocumentRequest], Place]
) -> tuple[Places, list[XdsError]]:
    """The documents by the place that has them; and an error for each that has none."""
    places: Places = {}
    errors: list[XdsError] = []
    # A request has hundreds of documents and few places: each is looked for once.
    by_name: dict[tuple[str, str], list[RequestedDocuments]] = {}
    for one in requests:
        for name, documents in by_place(one.documents):
            if (there := by_name.get(name)) is None:
                try:
                    there = by_name[name] = places.setdefault(place(documents[0]), [])
                except XdsError:
                    errors += _without_place(documents, place)
                    continue
            there.append(one._replace(documents=documents))
    return places, errors


def _without_place(
    documents: Iterable[DocumentRequest], place: Callable[[DocumentRequest], Place]
) -> Iterator[XdsError]:
    for document in documents:
        try:
            place(document)
        except XdsError as error:
            yield error


async def from_everybody(
    unit: Unit, retrieval: Retrieval[Request], request: Request
) -> RetrieveDocumentSetResponse:
    """What an Initiating Gateway answers: each document from the community that its home names.

    Raises
    ------
    Busy
        Too much is asked for at once.
    """
    admit_consumer(unit)
    communities = unit.parts.communities

    def place(document: DocumentRequest) -> Place:
        community = communities.find(document.home_community_id, location=document.document_unique_id)
        return place_among(unit, retrieval, community, document)

    places, errors = sorted_by_place(retrieval.wanted(request), place)
    return await relayed(unit, retrieval, request, places, errors)


async def from_our_own(
    unit: Unit, retrieval: Retrieval[Request], request: Request
) -> RetrieveDocumentSetResponse:
    """What a Responding Gateway answers: documents of our community, and errors under its name.

    Raises
    ------
    Rejected
        Too much is asked for at once.
    """
    admit_gateway(unit)
    home = unit.own_home

    def place(document: DocumentRequest) -> Place:
        unit.parts.communities.check_own(document.home_community_id, location=document.document_unique_id)
        return place_inside(unit, retrieval, document)

    try:
        places, errors = sorted_by_place(retrieval.wanted(request), place)
        response = await relayed(unit, retrieval, request, places, errors)
    except XdsError as error:
        raise Rejected(under_home(error, home, Actor.REPOSITORY)) from error
    return replace(
        response, errors=tuple(under_home(error, home, Actor.REPOSITORY) for error in response.errors)
    )


async def relayed(
    unit: Unit,
    retrieval: Retrieval[Request],
    request: Request,
    places: Places,
    errors: Sequence[XdsError],
) -> RetrieveDocumentSetResponse:
    """Ask every place at once, and answer with what they will send, while they send it.

    Every document that does not come has its error, beside `errors`.

    Raises
    ------
    Busy
        As many retrievals as the settings allow are under way.
    """
    async with AsyncExitStack() as opened:
        try:
            opened.enter_context(unit.parts.relays.entered(unit.caller.node.peer))
        except ServerBusy:
            raise Busy("the gateway relays no more retrievals at once; try again in a moment") from None
        async with asyncio.TaskGroup() as tasks:
            tasks_of_places = [
                tasks.create_task(_asked(unit, retrieval, request, place, tuple(documents_there), opened))
                for place, documents_there in places.items()
            ]
        answers = [task.result() for task in tasks_of_places]
        unit.events += [event for answer in answers for event in _events(unit, answer)]
        documents = tuple(document for answer in answers for document in answer.documents)
        return RetrieveDocumentSetResponse(
            documents=documents,
            errors=(*errors, *(error for answer in answers for error in answer.errors)),
            relay=_relay(unit, answers, documents, opened.pop_all()) if documents else None,
        )


async def _asked(
    unit: Unit,
    retrieval: Retrieval[Request],
    request: Request,
    place: Place,
    requests: tuple[RequestedDocuments, ...],
    opened: AsyncExitStack,
) -> _Answer:
    seconds = unit.parts.settings.answer_seconds
    documents_of_place = tuple(documents_of(requests))
    ask = partial(
        unit.client(unit.parts.retrievals).stream,
        place.transaction,
        place.url,
        retrieval.only(request, documents_of_place),
        timeout_seconds=seconds,
    )
    try:
        # For the beginning of the answer; after it, the same for each step forward.
        async with asyncio.timeout(seconds):
            try:
                streamed = await opened.enter_async_context(ask())
            except PeerGone:
                streamed = await opened.enter_async_context(ask())
    except SoapFault as fault:
        return _refused(place, requests, f"{_who(place)} answered with a fault: {shown_fault(fault)}")
    except (PeerError, EgressRefused, TimeoutError):
        return _silent(place, requests)
    head = streamed.head
    is_whole = _as_asked(place, documents_of_place, head)
    documents = head.documents if is_whole else tuple(_sorted_out(place, documents_of_place, head))
    return _Answer(
        place=place,
        asked=requests,
        streamed=streamed,
        documents=documents,
        errors=tuple(_errors(place, documents_of_place, documents, head)),
        is_whole=is_whole,
    )


def _who(place: Place) -> str:
    return f"an actor of {place.home}" if place.is_own else place.home


def _refused(place: Place, requests: tuple[RequestedDocuments, ...], text: str) -> _Answer:
    errors = tuple(XdsError(text, location=one.document_unique_id) for one in documents_of(requests))
    return _Answer(place=place, asked=requests, errors=errors)


def _silent(place: Place, requests: tuple[RequestedDocuments, ...]) -> _Answer:
    text = f"{_who(place)} does not answer; try again later"
    if place.is_own:
        return _refused(place, requests, text)
    errors = tuple(
        UnavailableCommunity(text, location=one.document_unique_id) for one in documents_of(requests)
    )
    return _Answer(place=place, asked=requests, errors=errors)


def _as_asked(place: Place, requests: Sequence[DocumentRequest], head: RetrieveDocumentSetResponse) -> bool:
    """Whether each of them came, in its place and by its name: so a place mostly answers."""
    unique_ids = [one.document_unique_id for one in requests]
    return (
        len(set(unique_ids)) == len(unique_ids)
        and [one.document_unique_id for one in head.documents] == unique_ids
        and [one.repository_unique_id for one in head.documents]
        == [one.repository_unique_id for one in requests]
        and {one.home_community_id for one in head.documents} == {place.home}
    )


def _sorted_out(
    place: Place, requests: Sequence[DocumentRequest], head: RetrieveDocumentSetResponse
) -> Iterator[RetrievedDocument]:
    """What was asked for and comes, once, with the ids under which it was asked for (RAD TF-3 4.75)."""
    by_id = {one.document_unique_id: one for one in requests}
    for document in head.documents:
        request = by_id.pop(document.document_unique_id, None)
        if request is None:
            continue
        repository = request.repository_unique_id
        if document.home_community_id != place.home or document.repository_unique_id != repository:
            document = document._replace(home_community_id=place.home, repository_unique_id=repository)
        yield document


def _errors(
    place: Place,
    requests: Sequence[DocumentRequest],
    documents: Sequence[RetrievedDocument],
    head: RetrieveDocumentSetResponse,
) -> Iterator[XdsError]:
    for error in head.errors:
        yield error if place.is_own or error.location else _located(error, place.home)
    if has_error(head.errors) or len(documents) == len(requests):
        return
    come = {document.document_unique_id for document in documents}
    for one in requests:
        uid = one.document_unique_id
        if uid not in come:
            yield DocumentUniqueIdError(
                f"document {uid} is not in the answer of {_who(place)}, and no error says why", location=uid
            )


def _located(error: XdsError, home: str) -> XdsError:
    return RelayedError(
        error.code_for(Actor.REPOSITORY), error.context, severity=error.severity, location=home
    )


# --- the parts ---------------------------------------------------------------------------------------


def _relay(
    unit: Unit,
    answers: Sequence[_Answer],
    documents: Sequence[RetrievedDocument],
    opened: AsyncExitStack,
) -> Relay:
    """What brings `documents`, those of all `answers` in order."""

    def destination(number: int) -> Destination:
        return Destination(part_name(number), documents[number - 1].mime_type)

    sources: list[Source] = []
    ready: list[tuple[Destination, bytes]] = []
    numbers = count(1)
    for answer in answers:
        to_come: dict[str, int] = {}
        for document, number in zip(answer.documents, numbers, strict=False):
            content = document.content
            if isinstance(content, PartReference):
                to_come[content.content_id] = number
            elif isinstance(content, bytes):
                ready.append((destination(number), content))
        expected = Expected(to_come, destination)
        if answer.streamed is not None and expected:
            sources.append(
                Source(
                    parts=answer.streamed.parts,
                    rest=answer.streamed.rest,
                    expected=expected,
                    stall_seconds=unit.parts.settings.answer_seconds,
                    on_broken=partial(_broken, unit, answer),
                )
            )
    return Relay(sources, opened, ready)


# --- the trail ---------------------------------------------------------------------------------------


async def _broken(unit: Unit, answer: _Answer) -> None:
    """Record that what one place began to send did not all come."""
    await unit.record((_event(unit, answer, Outcome.SERIOUS_FAILURE, answer.asked),))


def _events(unit: Unit, answer: _Answer) -> Iterator[AuditEvent]:
    """What was asked of one place, as its client records it."""
    if answer.is_whole:
        yield _event(unit, answer, Outcome.SUCCESS, answer.asked)
        return
    for outcome, requests in _by_outcome(answer.asked, answer.documents):
        description = "" if outcome is Outcome.SUCCESS else _reasons(answer.errors)
        yield _event(unit, answer, outcome, requests, description)


def _event(
    unit: Unit,
    answer: _Answer,
    outcome: Outcome,
    requests: Sequence[RequestedDocuments],
    description: str = "",
) -> AuditEvent:
    place = answer.place
    return retrieval_event(
        place.transaction, Side.CLIENT, unit.sender(place.url), outcome, requests, description
    )


def _reasons(errors: Sequence[XdsError]) -> str:
    return ", ".join(dict.fromkeys(error.code_for(Actor.REPOSITORY) for error in errors))


def _by_outcome(
    requests: Sequence[RequestedDocuments], documents: Sequence[RetrievedDocument]
) -> Iterator[tuple[Outcome, Sequence[RequestedDocuments]]]:
    named = [one.document_unique_id for one in documents_of(requests)]
    if [one.document_unique_id for one in documents] == named:
        # Each of them comes once, and in its place: a place mostly answers so.
        yield Outcome.SUCCESS, requests
        return
    come = {document.document_unique_id for document in documents}
    for outcome in (Outcome.SUCCESS, Outcome.SERIOUS_FAILURE):
        if having_come := tuple(_those(requests, come, come_is=outcome is Outcome.SUCCESS)):
            yield outcome, having_come


def _those(
    requests: Iterable[RequestedDocuments], come: Collection[str], *, come_is: bool
) -> Iterator[RequestedDocuments]:
    """Those documents that have come, or those that have not."""
    for one in requests:
        documents = tuple(
            document for document in one.documents if (document.document_unique_id in come) is come_is
        )
        if documents:
            yield one._replace(documents=documents)


def served(
    transaction: SoapTransaction[Request, RetrieveDocumentSetResponse],
    retrieval: Retrieval[Request],
    answer: Callable[[Unit, Retrieval[Request], Request], Awaitable[RetrieveDocumentSetResponse]],
) -> Served[Request, RetrieveDocumentSetResponse]:
    """`transaction` as a gateway serves it, with the record that a source of documents writes."""

    async def handle(unit: Unit, request: Request) -> RetrieveDocumentSetResponse:
        return await answer(unit, retrieval, request)

    def audit(
        request: Request, response: RetrieveDocumentSetResponse | None, caller: Caller, outcome: Outcome
    ) -> tuple[AuditEvent, ...]:
        return _received(transaction, retrieval.wanted(request), response, caller, outcome)

    return Served(transaction, handle, audit)


def _received(
    transaction: _Transaction,
    requests: Sequence[RequestedDocuments],
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """What a gateway records of a retrieval that it was asked; without a response all of it failed."""
    if response is None:
        return (retrieval_event(transaction, Side.SERVER, caller, outcome, requests),)
    reasons = _reasons(response.errors)
    return tuple(
        retrieval_event(
            transaction,
            Side.SERVER,
            caller,
            of_these,
            these,
            "" if of_these is Outcome.SUCCESS else reasons,
        )
        for of_these, these in _by_outcome(requests, response.documents)
    )

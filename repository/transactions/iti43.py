"""Retrieve Document Set [ITI-43]: expected actions (ITI TF-2 3.43.4.1.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from repository.domain.assembly import Assembly
from repository.store import assemblies, documents
from repository.store.documents import StoredDocument
from repository.transactions import assembling
from repository.transactions.assembling import Withheld
from repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.decision import Decision, Resource
from shared.errors import DocumentUniqueIdError, UnknownRepositoryId, XdsError
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served

_Copy = StoredDocument | Assembly
_Decided = dict[str, tuple[_Copy, Decision]]

# So much of what is no file may be held in memory for one response.
_HELD_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentResult:
    """What became of one document that was asked for; `failure` is empty for what is delivered, `patient_id`
    where the patient is not known or is not told of."""

    request: DocumentRequest
    patient_id: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSet(RetrieveDocumentSetResponse):
    """The response, and for the trail what became of each document that was asked for."""

    results: tuple[DocumentResult, ...] = ()


async def handle(unit: Unit, request: RetrieveDocumentSetRequest) -> RetrieveDocumentSetResponse:
    """Answer with the documents that are here and that consent lets the caller have; one error for each of
    the others.

    A document that is refused is answered as one that does not exist. What is asked for twice comes once.
    """
    document_requests = tuple(dict.fromkeys(request.documents))
    ours = unit.parts.settings.repository_unique_id
    here = [each.document_unique_id for each in document_requests if each.repository_unique_id == ours]
    copies = await _known(unit, here) if here else {}
    decided = await _decided(unit, copies)

    delivered: list[RetrievedDocument] = []
    errors: list[XdsError] = []
    results: list[DocumentResult] = []
    left = _HELD_BYTES
    for each in document_requests:
        try:
            document = await _document(unit, each, decided, left)
        except XdsError as error:
            errors.append(error)
            results.append(_failed(each, error, decided))
            continue
        delivered.append(document)
        results.append(DocumentResult(request=each, patient_id=_patient_of(each, decided)))
        left -= len(document.content) if isinstance(document.content, bytes) else 0
    return DocumentSet(documents=tuple(delivered), errors=tuple(errors), results=tuple(results))


async def _known(unit: Unit, unique_ids: Sequence[str]) -> dict[str, list[_Copy]]:
    """What is stored under these ids, and what is to be made."""
    stored = await documents.find_documents(unit.parts.database, unique_ids)
    copies_by_id: dict[str, list[_Copy]] = {unique_id: [*copies] for unique_id, copies in stored.items()}
    if missing := [unique_id for unique_id in unique_ids if unique_id not in copies_by_id]:
        unmade = await assemblies.find_assemblies(unit.parts.database, missing)
        copies_by_id.update((unique_id, [assembly]) for unique_id, assembly in unmade.items())
    return copies_by_id


async def _decided(unit: Unit, copies_by_id: dict[str, list[_Copy]]) -> _Decided:
    """For each document the submission by which the caller may have it, or one by which not."""
    copies = [copy for of_one in copies_by_id.values() for copy in of_one]
    if not copies:
        return {}
    decisions = await unit.decide(tuple(map(_resource, copies)))
    decided_documents: _Decided = {}
    for copy, decision in zip(copies, decisions, strict=True):
        if decision.permitted or copy.unique_id not in decided_documents:
            decided_documents[copy.unique_id] = (copy, decision)
    return decided_documents


def _resource(copy: _Copy) -> Resource:
    return Resource(
        patient_id=copy.patient_id,
        document_unique_id=copy.unique_id,
        confidentiality=copy.confidentiality,
        class_code=copy.class_code,
        type_code=copy.type_code,
    )


async def _document(
    unit: Unit,
    request: DocumentRequest,
    decided: _Decided,
    hold_bytes: int,
) -> RetrievedDocument:
    unique_id = request.document_unique_id
    if request.repository_unique_id != unit.parts.settings.repository_unique_id:
        raise UnknownRepositoryId(
            f"repositoryUniqueId {request.repository_unique_id} is not served here", location=unique_id
        )
    if unique_id not in decided:
        raise DocumentUniqueIdError(f"document {unique_id} is not available", location=unique_id)
    document, decision = decided[unique_id]
    if not decision.permitted:
        raise Withheld(unique_id, decision)
    if isinstance(document, Assembly):
        return await assembling.assembled(unit, request, document, hold_bytes=hold_bytes)
    try:
        content = await unit.parts.integrity.content(document.sha256, document.size, hold_bytes=hold_bytes)
    except (DamagedBlob, StoreUnavailable):
        raise XdsError(f"document {unique_id} cannot be read", location=unique_id) from None
    return RetrievedDocument(
        repository_unique_id=request.repository_unique_id,
        document_unique_id=unique_id,
        mime_type=document.mime_type,
        content=content,
        home_community_id=request.home_community_id,
    )


def _patient_of(request: DocumentRequest, decided: _Decided) -> str:
    return decided[request.document_unique_id][0].patient_id


def _failed(request: DocumentRequest, error: XdsError, decided: _Decided) -> DocumentResult:
    if isinstance(error, Withheld):
        failure = f"{REFUSED_BY_CONSENT}{error.decision.reason}"
        return DocumentResult(request=request, patient_id=_patient_of(request, decided), failure=failure)
    return DocumentResult(request=request, failure=error.context)


def audit(
    request: RetrieveDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the export as ITI TF-2 3.43.5.1 asks: one event for each patient and each outcome."""
    if not isinstance(response, DocumentSet):
        return (_event(caller, outcome, "", request.documents, ""),)
    return tuple(_events(caller, response.results))


def _events(caller: Caller, results: Sequence[DocumentResult]) -> Iterator[AuditEvent]:
    """What was delivered before what was not."""
    groups: dict[tuple[str, str], list[DocumentRequest]] = {}
    for result in sorted(results, key=lambda one: bool(one.failure)):
        groups.setdefault((result.patient_id, result.failure), []).append(result.request)
    for (patient_id, failure), requests in groups.items():
        outcome = Outcome.SERIOUS_FAILURE if failure else Outcome.SUCCESS
        yield _event(caller, outcome, patient_id, requests, failure)


def _event(
    caller: Caller, outcome: Outcome, patient_id: str, requests: Sequence[DocumentRequest], reason: str
) -> AuditEvent:
    return patterns.documents(
        ITI43.event_type,
        Side.SERVER,
        caller,
        outcome,
        requests,
        patient_id=patient_id,
        description=reason,
    )


SERVED = Served(ITI43, handle, audit)

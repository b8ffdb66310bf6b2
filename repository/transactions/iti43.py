"""Retrieve Document Set [ITI-43]: expected actions (ITI TF-2 3.43.4.1.3)."""

from __future__ import annotations

from collections.abc import Sequence

from repository.domain.assembly import Assembly
from repository.store import assemblies, documents
from repository.store.blobs import DamagedBlob, StoreUnavailable
from repository.store.documents import StoredDocument
from repository.transactions import assembling
from repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.consent.decision import Action, Decision, Resource
from shared.errors import DocumentUniqueIdError, UnknownRepositoryId, Withheld, XdsError
from shared.messages.documents import DocumentRequest, RetrievedDocument, RetrieveDocumentSetResponse
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.served import Served

_Found = StoredDocument | Assembly

# So much of what is no file may be held in memory for one response.
_HELD_BYTES = 4 * 1024 * 1024


async def handle(
    unit: Unit, request: RetrieveDocumentSetRequest, caller: Caller
) -> RetrieveDocumentSetResponse:
    """Answer with the documents that are here and that consent lets `caller` have; one error for each of the
    others.

    A document that is refused is answered as one that does not exist. What is asked for twice comes once.
    """
    wanted = tuple(dict.fromkeys(request.documents))
    ours = unit.parts.settings.repository_unique_id
    here = [asked.document_unique_id for asked in wanted if asked.repository_unique_id == ours]
    known = await _known(unit, here) if here else {}
    decided = await _decided(unit, known, caller)

    delivered: list[RetrievedDocument] = []
    errors: list[XdsError] = []
    left = _HELD_BYTES
    for asked in wanted:
        try:
            document = await _document(unit, asked, decided, caller, left)
        except XdsError as error:
            errors.append(error)
            continue
        delivered.append(document)
        left -= len(document.content) if isinstance(document.content, bytes) else 0
    return RetrieveDocumentSetResponse(documents=tuple(delivered), errors=tuple(errors))


async def _known(unit: Unit, unique_ids: Sequence[str]) -> dict[str, list[_Found]]:
    """What is stored under these ids, and what is to be made."""
    stored = await documents.find_documents(unit.parts.database, unique_ids)
    known: dict[str, list[_Found]] = {unique_id: [*copies] for unique_id, copies in stored.items()}
    if missing := [unique_id for unique_id in unique_ids if unique_id not in known]:
        unmade = await assemblies.find_assemblies(unit.parts.database, missing)
        known.update((unique_id, [assembly]) for unique_id, assembly in unmade.items())
    return known


async def _decided(
    unit: Unit, known: dict[str, list[_Found]], caller: Caller
) -> dict[str, tuple[_Found, Decision]]:
    """For each document the submission by which the caller may have it, or one by which not."""
    copies = [copy for of_one in known.values() for copy in of_one]
    if not copies:
        return {}
    resources = tuple(map(_resource, copies))
    decisions = await unit.parts.consent.decide(caller, Action.RETRIEVE, resources)
    found: dict[str, tuple[_Found, Decision]] = {}
    for copy, decision in zip(copies, decisions, strict=True):
        if decision.permitted or copy.unique_id not in found:
            found[copy.unique_id] = (copy, decision)
    return found


def _resource(copy: _Found) -> Resource:
    return Resource(
        patient_id=copy.patient_id,
        document_unique_id=copy.unique_id,
        confidentiality=copy.confidentiality,
        class_code=copy.class_code,
        type_code=copy.type_code,
    )


async def _document(
    unit: Unit,
    asked: DocumentRequest,
    decided: dict[str, tuple[_Found, Decision]],
    caller: Caller,
    hold_bytes: int,
) -> RetrievedDocument:
    unique_id = asked.document_unique_id
    if asked.repository_unique_id != unit.parts.settings.repository_unique_id:
        raise UnknownRepositoryId(
            f"repositoryUniqueId {asked.repository_unique_id} is not served here", location=unique_id
        )
    not_available = f"document {unique_id} is not available"
    if unique_id not in decided:
        raise DocumentUniqueIdError(not_available, location=unique_id)
    found, decision = decided[unique_id]
    if not decision.permitted:
        raise Withheld(not_available, location=unique_id, patient_id=found.patient_id, reason=decision.reason)
    if isinstance(found, Assembly):
        return await assembling.assembled(unit, asked, found, caller, hold_bytes=hold_bytes)
    try:
        content = await unit.parts.integrity.content(found.sha256, found.size, hold_bytes=hold_bytes)
    except (DamagedBlob, StoreUnavailable):
        raise XdsError(f"document {unique_id} cannot be read", location=unique_id) from None
    return RetrievedDocument(
        repository_unique_id=asked.repository_unique_id,
        document_unique_id=unique_id,
        mime_type=found.mime_type,
        content=content,
        home_community_id=asked.home_community_id,
        patient_id=found.patient_id,
    )


def audit(
    request: RetrieveDocumentSetRequest,
    response: RetrieveDocumentSetResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the export as ITI TF-2 3.43.5.1 asks: one event for each patient and each outcome."""
    if response is None:
        return (_event(caller, outcome, "", request.documents, ""),)
    homes = {asked.document_unique_id: asked for asked in request.documents}
    delivered: dict[str, list[DocumentRequest]] = {}
    for document in response.documents:
        delivered.setdefault(document.patient_id, []).append(homes[document.document_unique_id])
    failed: dict[tuple[str, str], list[DocumentRequest]] = {}
    for error in response.errors:
        if error.location in homes:
            patient_id, reason = (
                (error.patient_id, f"{REFUSED_BY_CONSENT}{error.reason}")
                if isinstance(error, Withheld)
                else ("", error.context)
            )
            failed.setdefault((patient_id, reason), []).append(homes[error.location])
    return (
        *(_event(caller, Outcome.SUCCESS, patient, asked, "") for patient, asked in delivered.items()),
        *(
            _event(caller, Outcome.SERIOUS_FAILURE, patient, asked, reason)
            for (patient, reason), asked in failed.items()
        ),
    )


def _event(
    caller: Caller, outcome: Outcome, patient_id: str, asked: Sequence[DocumentRequest], reason: str
) -> AuditEvent:
    return patterns.documents(
        ITI43.event_type,
        Side.SERVER,
        caller,
        outcome,
        asked,
        patient_id=patient_id,
        description=reason,
    )


SERVED = Served(ITI43, handle, audit)

"""Remove Documents [ITI-86]: expected actions (supplement Remove Metadata and Documents, 3.86.4).

What is removed is served no more, at once. Its bytes stay for the grace time, or for as long as another
document has the same; its uniqueId stays bound to them, because the registry may still know the entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from repository.domain.provision import ProvisionState
from repository.store import documents
from repository.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.errors import (
    DocumentUniqueIdError,
    RemoveDocumentsError,
    UnknownRepositoryId,
    XdsError,
)
from shared.messages.documents import DocumentRequest
from shared.messages.iti86 import ITI86, RemoveDocumentsRequest
from shared.messages.registry import RegistryResponse, Status
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.soap.served import Served
from shared.store.engine import Transaction

Provided = Mapping[str, list[tuple[str, ProvisionState]]]


async def handle(unit: Unit, request: RemoveDocumentsRequest) -> RegistryResponse:
    """Remove the documents that are here, with one error for each of the others.

    A node of the community may remove, and a user in a role of `administrator_roles`; consent has no say.
    The removal and its events are one transaction.
    """
    requests = tuple(dict.fromkeys(request.documents))
    if not _may_remove(unit):
        return _response(tuple(map(_not_by_this_caller, requests)), removed=0)
    ours = unit.parts.settings.repository_unique_id

    attempted: list[tuple[list[str], tuple[XdsError, ...]]] = []

    async def removed_before(transaction: Transaction) -> tuple[XdsError, ...] | None:
        unique_ids, errors = attempted[-1]
        gone = unique_ids and not await documents.find_provided(transaction, unique_ids)
        return errors if gone else None

    async def remove(transaction: Transaction) -> tuple[XdsError, ...]:
        provided_documents = await documents.find_provided(
            transaction, [each.document_unique_id for each in requests if each.repository_unique_id == ours]
        )
        errors = {
            each: error
            for each in requests
            if (error := _obstacle(each, provided_documents, ours)) is not None
        }
        removed = [each for each in requests if each not in errors]
        for unique_id in dict.fromkeys(each.document_unique_id for each in removed):
            await documents.remove_document(transaction, unique_id)
        await unit.insert_events(
            transaction, _events(unit.caller, provided_documents, removed, tuple(errors))
        )
        attempted.append(([each.document_unique_id for each in removed], tuple(errors.values())))
        return tuple(errors.values())

    errors = await unit.write(remove, done=removed_before)
    unit.audited = True
    return _response(errors, removed=len(requests) - len(errors))


def _may_remove(unit: Unit) -> bool:
    caller = unit.caller
    if caller.community_node:
        return True
    roles = caller.user.roles if caller.user else ()
    return any(str(role) in unit.parts.settings.administrator_roles for role in roles)


def _not_by_this_caller(document: DocumentRequest) -> XdsError:
    unique_id = document.document_unique_id
    return RemoveDocumentsError(
        f"document {unique_id} cannot be removed by this caller; a node of the community or an "
        "administrator can",
        location=unique_id,
    )


def _obstacle(document: DocumentRequest, provided_documents: Provided, ours: str) -> XdsError | None:
    unique_id = document.document_unique_id
    if document.repository_unique_id != ours:
        return UnknownRepositoryId(
            f"repositoryUniqueId {document.repository_unique_id} is not served here", location=unique_id
        )
    if unique_id not in provided_documents:
        return DocumentUniqueIdError(f"document {unique_id} is not available", location=unique_id)
    if any(
        state in (ProvisionState.PENDING, ProvisionState.IN_DOUBT)
        for _, state in provided_documents[unique_id]
    ):
        return RemoveDocumentsError(
            f"a submission of document {unique_id} has no outcome yet; try again in a moment",
            location=unique_id,
        )
    return None


def _response(errors: tuple[XdsError, ...], *, removed: int) -> RegistryResponse:
    if not errors:
        return RegistryResponse(status=Status.SUCCESS)
    status = Status.PARTIAL_SUCCESS if removed else Status.FAILURE
    return RegistryResponse(status=status, errors=errors)


def audit(
    request: RemoveDocumentsRequest, response: RegistryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a removal of which nothing was done; what was done is recorded together with it."""
    return (_event(caller, outcome, "", request.documents),)


def _events(
    caller: Caller,
    provided_documents: Provided,
    removed: Sequence[DocumentRequest],
    failed: Sequence[DocumentRequest],
) -> tuple[AuditEvent, ...]:
    """One event for each patient and each outcome (ITI TF-2 3.86.5)."""
    return tuple(
        _event(caller, outcome, patient_id, documents_of)
        for outcome, requests in ((Outcome.SUCCESS, removed), (Outcome.SERIOUS_FAILURE, failed))
        for patient_id, documents_of in _by_patient(provided_documents, requests).items()
    )


def _by_patient(
    provided_documents: Provided, documents: Sequence[DocumentRequest]
) -> dict[str, list[DocumentRequest]]:
    by_patient: dict[str, list[DocumentRequest]] = {}
    for one in documents:
        for patient_id in dict.fromkeys(
            patient for patient, _ in provided_documents.get(one.document_unique_id, [("", 0)])
        ):
            by_patient.setdefault(patient_id, []).append(one)
    return by_patient


def _event(
    caller: Caller, outcome: Outcome, patient_id: str, documents: Sequence[DocumentRequest]
) -> AuditEvent:
    return patterns.removal_of_documents(
        ITI86.event_type, Side.SERVER, caller, outcome, documents, patient_id=patient_id
    )


SERVED = Served(ITI86, handle, audit, Speaker.NODE)

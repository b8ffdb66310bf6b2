"""What a gateway records: what it was asked, and for each place what it asked there itself (ITI TF-2 3.38.5,
3.39.5; RAD TF-3 5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.transactions.references import RequestedDocuments, by_place, documents_of
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import InstanceReference, Side
from shared.ebrim.identifiers import is_cx
from shared.messages.rad69 import RAD69
from shared.messages.rad75 import RAD75
from shared.security.caller import Caller
from shared.soap.transaction import SoapTransaction

_IMAGING = frozenset({RAD69.number, RAD75.number})


def retrieval_event(
    transaction: SoapTransaction[Any, Any],
    side: Side,
    caller: Caller,
    outcome: Outcome,
    requests: Sequence[RequestedDocuments],
    description: str = "",
) -> AuditEvent:
    """A retrieval that was answered or asked, for what had this outcome.

    The patient is the one that the assertion names: a gateway does not look into documents.
    """
    patient_id = _patient_of(caller)
    if transaction.number in _IMAGING:
        return patterns.instances(
            transaction.event_type,
            side,
            caller,
            outcome,
            list(_told(requests, outcome)),
            patient_id=patient_id,
            description=description,
        )
    return patterns.documents(
        transaction.event_type,
        side,
        caller,
        outcome,
        documents_of(requests),
        patient_id=patient_id,
        description=description,
    )


def _patient_of(caller: Caller) -> str:
    patient_ids = [one for one in caller.user.resource_ids if is_cx(one)] if caller.user is not None else []
    return patient_ids[0] if len(patient_ids) == 1 else ""


def _told(requests: Sequence[RequestedDocuments], outcome: Outcome) -> Iterator[InstanceReference]:
    """Each that did not come; of those that came one for each study and place, which is all that is told.

    Where it should be is told of an instance, and its name without its series.
    """
    if outcome is Outcome.SUCCESS:
        requests = tuple(_one_of_each(requests))
    for together in requests:
        for one in together.documents:
            yield InstanceReference(
                study_instance_uid=together.study_instance_uid,
                sop_instance_uid=one.document_unique_id,
                repository_unique_id=one.repository_unique_id,
                home_community_id=one.home_community_id,
            )


def _one_of_each(requests: Sequence[RequestedDocuments]) -> Iterator[RequestedDocuments]:
    """The first document of each study at each place."""
    places: set[tuple[str, str, str]] = set()
    for together in requests:
        for of_place, documents in by_place(together.documents):
            if (place := (together.study_instance_uid, *of_place)) not in places:
                places.add(place)
                yield together._replace(documents=documents[:1])

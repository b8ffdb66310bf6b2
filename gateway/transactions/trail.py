"""What a gateway records: what it was asked, and for each place what it asked there itself (ITI TF-2 3.38.5,
3.39.5; RAD TF-3 5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import InstanceReference, Side
from shared.ebrim.identifiers import is_cx
from shared.messages.documents import DocumentRequest
from shared.messages.rad69 import RAD69
from shared.messages.rad75 import RAD75
from shared.security.caller import Caller
from shared.soap.transaction import SoapTransaction

_IMAGING = frozenset({RAD69.number, RAD75.number})


class RequestedDocument(NamedTuple):
    """A document or an instance as it was asked for; study and series are empty for a document."""

    document: DocumentRequest
    study_instance_uid: str = ""
    series_instance_uid: str = ""


def retrieval_event(
    transaction: SoapTransaction[Any, Any],
    side: Side,
    caller: Caller,
    outcome: Outcome,
    requests: Sequence[RequestedDocument],
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
            [_instance(one) for one in _told(requests, outcome)],
            patient_id=patient_id,
            description=description,
        )
    return patterns.documents(
        transaction.event_type,
        side,
        caller,
        outcome,
        [one.document for one in requests],
        patient_id=patient_id,
        description=description,
    )


def _patient_of(caller: Caller) -> str:
    patient_ids = [one for one in caller.user.resource_ids if is_cx(one)] if caller.user is not None else []
    return patient_ids[0] if len(patient_ids) == 1 else ""


def _told(requests: Sequence[RequestedDocument], outcome: Outcome) -> Iterable[RequestedDocument]:
    """Each that did not come; of those that came one for each study and place, which is all that is told."""
    if outcome is not Outcome.SUCCESS:
        return requests
    by_place: dict[tuple[str, str, str], RequestedDocument] = {}
    for place, together in groupby(requests, key=_place_of):
        by_place.setdefault(place, next(together))
    return by_place.values()


_place_of = attrgetter("study_instance_uid", "document.repository_unique_id", "document.home_community_id")


def _instance(one: RequestedDocument) -> InstanceReference:
    """What is told of an instance: where it should be, and its name without its series."""
    return InstanceReference(
        study_instance_uid=one.study_instance_uid,
        sop_instance_uid=one.document.document_unique_id,
        repository_unique_id=one.document.repository_unique_id,
        home_community_id=one.document.home_community_id,
    )

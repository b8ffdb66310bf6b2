"""What transactions record, one function for each kind (ITI TF-2 3.20; RAD TF-3 5.1; DICOM PS3.15 A.5.3), for
both sides of the wire: which event, who took part, and what it was about.

A transaction says what became of a request, and puts no event together itself: a record is known here and
nowhere else. `transaction` is the EventTypeCode (`SoapTransaction.event_type`); one event is about one
patient and one outcome; an empty `patient_id` is of nobody, or of nobody known.
"""

from __future__ import annotations

from shared.audit.patterns.alerts import (
    break_glass,
    consent_changed,
    hold_changed,
    service_operated,
    system_tested,
    user_changed,
)
from shared.audit.patterns.document import (
    DocumentReference,
    documents,
    manifest,
    removal_of_documents,
    removal_of_objects,
    submission,
)
from shared.audit.patterns.instance import (
    InstanceReference,
    InstanceTold,
    instances,
    instances_copied,
    instances_deleted,
    instances_received,
    instances_sent,
)
from shared.audit.patterns.patients import patient_feed, procedure_record
from shared.audit.patterns.queries import SEARCH, log_used, query, query_by_dimse, search
from shared.audit.patterns.record import Side

__all__ = [
    "SEARCH",
    "DocumentReference",
    "InstanceReference",
    "InstanceTold",
    "Side",
    "break_glass",
    "consent_changed",
    "documents",
    "hold_changed",
    "instances",
    "instances_copied",
    "instances_deleted",
    "instances_received",
    "instances_sent",
    "log_used",
    "manifest",
    "patient_feed",
    "procedure_record",
    "query",
    "query_by_dimse",
    "removal_of_documents",
    "removal_of_objects",
    "search",
    "service_operated",
    "submission",
    "system_tested",
    "user_changed",
]

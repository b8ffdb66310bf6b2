"""Find submission sets by their attributes (ITI TF-2 3.18.4.1.2.3.7.2)."""

from __future__ import annotations

from collections.abc import Mapping

from registry.domain.submission import ObjectClass
from registry.store import objects
from registry.store.filters import Condition, ObjectsOfPatient, before, equals, has_like, not_before
from registry.store.tables import registry_object

_object = registry_object.c
_SS = "$XDSSubmissionSet"

FILTERS: Mapping[str, Condition] = {
    f"{_SS}SourceId": equals(_object.source_id),
    f"{_SS}SubmissionTimeFrom": not_before(_object.submission_time),
    f"{_SS}SubmissionTimeTo": before(_object.submission_time),
    f"{_SS}AuthorPerson": has_like(objects.AUTHOR_PERSON),
    f"{_SS}ContentType": equals(_object.content_type_code),
    f"{_SS}Status": equals(_object.status),
}

SUBMISSION_SETS = ObjectsOfPatient(ObjectClass.SUBMISSION_SET, FILTERS)

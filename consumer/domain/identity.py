"""Whether an instance is the one that its manifest means, and of the same patient."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from consumer.domain.study import RequestedInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceIdentity:
    """What an instance says that it is, and of whom."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    patient_id: str
    patient_name: str


def contradictions(requested: RequestedInstance, identity: InstanceIdentity) -> Iterator[str]:
    """What is wrong with an instance that came for `requested`; no value of a patient is told.

    A patient is the same when the Patient ID is; where one side has none, names must have something in
    common. What a manifest does not say contradicts nothing.
    """
    if identity.sop_instance_uid != requested.sop_instance_uid:
        yield f"instance {identity.sop_instance_uid} came instead of {requested.sop_instance_uid}"
        return
    if identity.study_instance_uid != requested.study_instance_uid:
        yield "it names another study than its manifest"
    if identity.series_instance_uid != requested.series_instance_uid:
        yield "it names another series than its manifest"
    if requested.sop_class_uid and identity.sop_class_uid != requested.sop_class_uid:
        yield "it is of another SOP class than its manifest says"
    if _is_another_patient(requested, identity):
        yield "it names another patient than its manifest"


def _is_another_patient(requested: RequestedInstance, identity: InstanceIdentity) -> bool:
    ids = requested.source_patient_id.strip(), identity.patient_id.strip()
    if all(ids):
        return ids[0] != ids[1]
    return are_strangers(requested.source_patient_name, identity.patient_name)


def are_strangers(name: str, other: str) -> bool:
    """Whether two names have no word in common; one that is not known is nobody's."""
    names = _words(name), _words(other)
    return all(names) and names[0].isdisjoint(names[1])


def _words(name: str) -> frozenset[str]:
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = "".join(one if one.isalnum() else " " for one in plain if not unicodedata.combining(one))
    return frozenset(letters.split())

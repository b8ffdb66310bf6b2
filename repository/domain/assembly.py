"""Documents that are made when they are asked for: On-Demand entries, and delayed document assembly (ITI TF-2
3.43.4.1.3, 3.61.4.1).

The document of an On-Demand entry is made each time, and has then a uniqueId of its own: a snapshot. That of
a delayed entry is made once, at the first retrieval, and is from then on a document like any other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

from repository.domain.provision import ContentDigest, ProvisionState
from shared.ebrim import schemes
from shared.ebrim.identifiers import new_oid, new_uuid
from shared.ebrim.model import Association, AssociationType, Slot, Submission, Timestamp

EMPTY_SHA1 = hashlib.sha1(b"", usedforsecurity=False).hexdigest()


class AssemblyKind(StrEnum):
    """When the document is made: each time, or once."""

    ON_DEMAND = "on_demand"
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """A registered document that has no bytes yet; codes are spelled `value^^scheme`.

    `study_instance_uid` tells the provider what to make, `entry_uuid` is the registered entry,
    `source_patient_id` whose study it was when it was registered.
    """

    unique_id: str
    provision_id: str
    kind: AssemblyKind
    study_instance_uid: str
    entry_uuid: str
    patient_id: str
    source_patient_id: str
    confidentiality: frozenset[str]
    class_code: str
    type_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What an On-Demand entry gave, as a Stable document: the `number`th, `entry_uuid` in the registry.

    `state` is that of its provision; `kept` is False once the document was removed (ITI-86).
    """

    provision_id: str
    number: int
    unique_id: str
    entry_uuid: str
    state: ProvisionState = ProvisionState.PENDING
    kept: bool = True

    @property
    def undecided(self) -> bool:
        """Whether it is not known if the registry has it."""
        return self.state in (ProvisionState.PENDING, ProvisionState.IN_DOUBT)


def assembly_of(
    submission: Submission, kind: AssemblyKind, provision_id: str, study_instance_uid: str
) -> Assembly:
    """What is kept of the one entry of `submission`, to make its document later."""
    [entry] = submission.document_entries
    return Assembly(
        unique_id=entry.unique_id,
        provision_id=provision_id,
        kind=kind,
        study_instance_uid=study_instance_uid,
        entry_uuid=entry.entry_uuid,
        patient_id=entry.patient_id,
        source_patient_id=entry.source_patient_id,
        confidentiality=frozenset(map(str, entry.confidentiality_codes)),
        class_code=str(entry.class_code),
        type_code=str(entry.type_code),
    )


def entry_submission(
    described: Submission, kind: AssemblyKind, unique_id: str, *, repository_unique_id: str
) -> Submission:
    """The submission that registers an entry without bytes, from the description of what would be made now.

    An On-Demand entry has no creationTime, hash and size; a delayed one has those of no bytes, which is how
    it is known (ITI TF-3 4.2.3.2.10).
    """
    [entry] = described.document_entries
    if kind is AssemblyKind.ON_DEMAND:
        empty = replace(
            entry, object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None, unique_id=unique_id
        )
    else:
        empty = replace(entry, hash=EMPTY_SHA1, size=0, unique_id=unique_id)
    return replace(described, document_entries=(replace(empty, repository_unique_id=repository_unique_id),))


def is_of(assembly: Assembly, submission: Submission) -> bool:
    """Whether what was made is of the patient for whom the entry is registered."""
    [entry] = submission.document_entries
    return (entry.patient_id, entry.source_patient_id) == (assembly.patient_id, assembly.source_patient_id)


def snapshot(
    submission: Submission,
    digest: ContentDigest,
    assembly: Assembly,
    *,
    repository_unique_id: str,
    replaces: str = "",
) -> Submission:
    """The submission that registers a made document as a snapshot of its On-Demand entry (IsSnapshotOf), in
    the place of the registered entry `replaces` (RPLC), if there is one.
    """
    [entry] = submission.document_entries
    stable = replace(entry, hash=digest.sha1, size=digest.size, repository_unique_id=repository_unique_id)
    targets = {AssociationType.IS_SNAPSHOT_OF: assembly.entry_uuid, AssociationType.RPLC: replaces}
    relationships = tuple(
        Association(
            entry_uuid=new_uuid(),
            association_type=kind,
            source_object=entry.entry_uuid,
            target_object=target,
        )
        for kind, target in targets.items()
        if target
    )
    return replace(
        submission, document_entries=(stable,), associations=(*submission.associations, *relationships)
    )


def filled_in(registered: Submission, digest: ContentDigest, created: Timestamp | None) -> Submission:
    """The update (ITI-57) that gives a delayed entry hash, size and creationTime of its document."""
    [entry] = registered.document_entries
    version = replace(
        entry,
        entry_uuid=new_uuid(),
        logical_id=entry.entry_uuid,
        hash=digest.sha1,
        size=digest.size,
        creation_time=created or entry.creation_time,
    )
    of = replace(registered.submission_set, entry_uuid=new_uuid(), unique_id=new_oid())
    member = Association(
        entry_uuid=new_uuid(),
        association_type=AssociationType.HAS_MEMBER,
        source_object=of.entry_uuid,
        target_object=version.entry_uuid,
        submission_set_status=schemes.ORIGINAL,
        extra_slots=(Slot(schemes.PREVIOUS_VERSION, ("1",)),),
    )
    return Submission(submission_set=of, document_entries=(version,), associations=(member,))

"""What registering does to a submission, and what replacing does (ITI TF-3 4.1.2 and 4.2.2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from registry.domain.submission import REPLACING, SubmissionIndex
from shared.ebrim.identifiers import is_symbolic, new_uuid
from shared.ebrim.model import (
    Association,
    AssociationType,
    AvailabilityStatus,
    DocumentEntry,
    Folder,
    Submission,
    Timestamp,
)

#: An entry that leaves takes with it what was made of it and what was added to it.
CASCADING = frozenset({AssociationType.XFRM, AssociationType.APND})


def assigned(submission: Submission, new_id: Callable[[], str] = new_uuid) -> Submission:
    """`submission` as it is registered: permanent ids, Approved, in their first version.

    Each symbolic id becomes one new entryUUID, wherever it stands; ids that the sender chose are kept.
    """
    ids: dict[str, str] = {}

    def permanent(object_id: str) -> str:
        if not is_symbolic(object_id):
            return object_id
        return ids.setdefault(object_id, new_id())

    def entry_of(entry: DocumentEntry) -> DocumentEntry:
        entry_uuid = permanent(entry.entry_uuid)
        return replace(
            entry,
            entry_uuid=entry_uuid,
            logical_id=entry_uuid,
            version=1,
            home_community_id="",
            availability_status=AvailabilityStatus.APPROVED,
        )

    def folder_of(folder: Folder) -> Folder:
        entry_uuid = permanent(folder.entry_uuid)
        return replace(
            folder,
            entry_uuid=entry_uuid,
            logical_id=entry_uuid,
            version=1,
            home_community_id="",
            availability_status=AvailabilityStatus.APPROVED,
        )

    def association_of(item: Association) -> Association:
        return replace(
            item,
            entry_uuid=permanent(item.entry_uuid),
            source_object=permanent(item.source_object),
            target_object=permanent(item.target_object),
            home_community_id="",
            logical_id="",
            availability_status=AvailabilityStatus.APPROVED,
        )

    submission_set = submission.submission_set
    return Submission(
        submission_set=replace(
            submission_set,
            entry_uuid=permanent(submission_set.entry_uuid),
            home_community_id="",
            logical_id="",
            availability_status=AvailabilityStatus.APPROVED,
        ),
        document_entries=tuple(map(entry_of, submission.document_entries)),
        folders=tuple(map(folder_of, submission.folders)),
        associations=tuple(map(association_of, submission.associations)),
    )


@dataclass(frozen=True, slots=True)
class Membership:
    """A document that is in a folder."""

    folder: str
    document: str


def carried_over(
    message: SubmissionIndex, held: Iterable[Membership], new_id: Callable[[], str] = new_uuid
) -> Iterator[Association]:
    """The memberships that replacements take over, each with its place in the submission set.

    `held` are the Approved memberships of replaced entries in Approved folders. A membership that the
    submission itself makes is not made twice. The old entry stays where it is.
    """
    memberships = {(item.source_object, item.target_object) for item in message.memberships}
    replacements = [item for item in message.relationships if item.association_type in REPLACING]
    for membership in held:
        for replacement in replacements:
            if replacement.target_object != membership.document:
                continue
            if (membership.folder, replacement.source_object) in memberships:
                continue
            memberships.add((membership.folder, replacement.source_object))
            carried = _has_member(new_id(), membership.folder, replacement.source_object)
            yield carried
            yield _has_member(new_id(), message.submission_set.entry_uuid, carried.entry_uuid)


def _has_member(entry_uuid: str, source: str, target: str) -> Association:
    return Association(
        entry_uuid=entry_uuid,
        association_type=AssociationType.HAS_MEMBER,
        source_object=source,
        target_object=target,
    )


def touched_folders(message: SubmissionIndex, carried: Iterable[Association]) -> set[str]:
    """The folders that gain a member, new ones or old ones."""
    memberships = (*message.memberships, *carried)
    return {item.source_object for item in memberships} - {message.submission_set.entry_uuid}


def updated(folder: Folder, now: Timestamp) -> Folder:
    """`folder` after it was made, or after it gained a member, at `now`."""
    return replace(folder, last_update_time=now)

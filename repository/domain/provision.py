"""Provide and Register: what a submission must hold, and what the repository adds to it (ITI TF-2
3.41.4.1.3).

Order of work: check, keep the bytes, commit the provision as pending, register, commit the outcome, answer.
Bytes and row exist before the registry hears of them, so that a visible entry can always be retrieved.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID, uuid5

from shared.ebrim.model import DocumentEntry, Submission
from shared.ebrim.schemes import STABLE
from shared.errors import (
    DuplicateUniqueIdInMessage,
    MetadataError,
    MissingDocument,
    MissingDocumentMetadata,
    Rejected,
    XdsError,
)

_REGISTRATIONS = UUID("b5b17a3e-3f52-4e0e-9d0b-7f3c1d6a52c1")


class ProvisionState(StrEnum):
    """What is known of a provision.

    `pending` and `in_doubt` both mean that the registry may have committed; only its own answer ends either.
    `settled` is one with an outcome that is too long ago for a retry: message and answer are forgotten.
    """

    PENDING = "pending"
    IN_DOUBT = "in_doubt"
    REGISTERED = "registered"
    REFUSED = "refused"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentDigest:
    """Identity of a document's bytes: hexadecimal digests and the size in bytes."""

    sha1: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """One submission on its way to the registry.

    `message_id` is the sender's, `registration_message_id` ours towards the registry: every attempt repeats
    it, so that the registry can tell a repetition from a second submission. `registration` is the
    RegistryObjectList that is sent.
    """

    provision_id: str
    message_id: str
    digest: str
    registration_message_id: str
    registration: bytes
    state: ProvisionState = ProvisionState.PENDING
    answer: bytes = b""


def registration_message_id(repository_unique_id: str, message_id: str, digest: str) -> str:
    """The wsa:MessageID by which a provider's message is registered, always the same for the same message.

    A provision that was forgotten and comes again repeats itself at the registry, which answers as before.
    """
    return uuid5(_REGISTRATIONS, f"{repository_unique_id}\n{message_id}\n{digest}").urn


def check(
    submission: Submission, provided: Mapping[str, ContentDigest | None], *, times: Mapping[str, int]
) -> None:
    """Raise `Rejected` with every error of every rule, or return.

    `provided` maps Document/@id to the bytes that came, None for a part that is missing from the message;
    `times` says how often each id came.
    """
    errors = [
        *_stable(submission),
        *_unique_ids(submission),
        *_documents_of_entries(submission, provided, times),
        *_entries_of_documents(submission, provided),
        *_hash_and_size(submission, provided),
    ]
    if errors:
        raise Rejected(*errors)


def _stable(submission: Submission) -> Iterator[XdsError]:
    """On-Demand entries have no bytes and are registered by ITI-61."""
    for entry in submission.document_entries:
        if entry.object_type != STABLE:
            yield MetadataError(
                "only Stable entries are provided with their document; register On-Demand entries by ITI-61",
                location=f"{entry.entry_uuid}/objectType",
            )


def _unique_ids(submission: Submission) -> Iterator[XdsError]:
    """Within one submission every uniqueId appears once."""
    used = Counter(entry.unique_id for entry in submission.document_entries)
    used.update(folder.unique_id for folder in submission.folders)
    used[submission.submission_set.unique_id] += 1
    for unique_id, times in used.items():
        if times > 1:
            yield DuplicateUniqueIdInMessage(
                f"uniqueId {unique_id} names {times} objects", location=unique_id
            )


def _documents_of_entries(
    submission: Submission, provided: Mapping[str, ContentDigest | None], times: Mapping[str, int]
) -> Iterator[XdsError]:
    """Every entry has exactly one document."""
    for entry in submission.document_entries:
        if provided.get(entry.entry_uuid) is None:
            yield MissingDocument(
                f"no Document with id {entry.entry_uuid}, or its part is not in the message",
                location=entry.entry_uuid,
            )
        elif times.get(entry.entry_uuid, 0) > 1:
            yield MetadataError(
                f"{times[entry.entry_uuid]} Documents with id {entry.entry_uuid}; send one",
                location=entry.entry_uuid,
            )


def _entries_of_documents(
    submission: Submission, provided: Mapping[str, ContentDigest | None]
) -> Iterator[XdsError]:
    """Every document has an entry."""
    described = {entry.entry_uuid for entry in submission.document_entries}
    for document_id in provided:
        if document_id not in described:
            yield MissingDocumentMetadata(f"no ExtrinsicObject with id {document_id}", location=document_id)


def _hash_and_size(
    submission: Submission, provided: Mapping[str, ContentDigest | None]
) -> Iterator[XdsError]:
    """A hash or size that the sender gives is that of the bytes."""
    for entry in submission.document_entries:
        digest = provided.get(entry.entry_uuid)
        if digest is None:
            continue
        if entry.hash and entry.hash.lower() != digest.sha1:
            yield MetadataError(
                f"hash {entry.hash} was given; the document that came has {digest.sha1}",
                location=f"{entry.entry_uuid}/hash",
            )
        if entry.size is not None and entry.size != digest.size:
            yield MetadataError(
                f"size {entry.size} was given; {digest.size} bytes came",
                location=f"{entry.entry_uuid}/size",
            )


def completed(
    submission: Submission, provided: Mapping[str, ContentDigest], *, repository_unique_id: str
) -> Submission:
    """`submission` as it is registered: our repositoryUniqueId, hash and size on every entry."""
    return replace(
        submission,
        document_entries=tuple(
            _completed(entry, provided[entry.entry_uuid], repository_unique_id)
            for entry in submission.document_entries
        ),
    )


def _completed(entry: DocumentEntry, digest: ContentDigest, repository_unique_id: str) -> DocumentEntry:
    return replace(entry, hash=digest.sha1, size=digest.size, repository_unique_id=repository_unique_id)


def digest_of(registration: bytes, provided: Mapping[str, ContentDigest]) -> str:
    """What makes two messages the same: the metadata as registered, and the bytes of every document."""
    digest = hashlib.sha256(registration)
    for document_id in sorted(provided):
        digest.update(f"\n{document_id} {provided[document_id].sha256}".encode())
    return digest.hexdigest()

"""What the plans of a registry register, and how it is looked at afterwards."""

from __future__ import annotations

from typing import Any

from conformance.plans.message import Reply
from conformance.plans.metadata import (
    GET_DOCUMENTS,
    HAS_MEMBER,
    Entry,
    Folder,
    Link,
    Patients,
    SubmissionMessage,
    a_submission,
    an_entry,
    entry_of,
    query,
    registered,
    several,
)
from conformance.plans.stand import Stand

METADATA = ("XDSRegistryMetadataError",)


def by_unique_id(stand: Stand, unique_id: str) -> Reply:
    """The answer to a query for one entry by its uniqueId."""
    return query(stand, GET_DOCUMENTS, {"XDSDocumentEntryUniqueId": several(unique_id)}).expect_success()


def original(stand: Stand, **changes: Any) -> Entry:
    """An entry that is registered, with a UUID of its own."""
    entry = an_entry(stand, Patients(stand).usual, id=stand.uuid(), **changes)
    registered(stand, a_submission(stand, entry))
    return entry


def related(stand: Stand, kind: str, target: str, **changes: Any) -> tuple[Entry, SubmissionMessage]:
    """A new entry that stands in the relationship `kind` to a registered one, and its submission."""
    entry = an_entry(stand, Patients(stand).usual, id=stand.uuid(), **changes)
    link = Link(id=stand.uuid(), type=kind, source=entry.id, target=target)
    return entry, a_submission(stand, entry, links=[link])


def status_of(stand: Stand, entry: Entry) -> str:
    """The availabilityStatus of an entry, as it is found."""
    return str(entry_of(stand, entry.unique_id).get("status"))


def filed(stand: Stand, entry: Entry, folder: Folder) -> SubmissionMessage:
    """A submission of an entry in a folder, both new."""
    link = Link(id=stand.uuid(), type=HAS_MEMBER, source=folder.id, target=entry.id)
    of_set = Link(id=stand.uuid(), type=HAS_MEMBER, source="set", target=link.id)
    return a_submission(stand, entry, folders=[folder], links=[link, of_set])

"""Versions of registered objects: what an update follows, takes along and changes (supplement XDS Metadata
Update, 3.57.4.1.3).

Of the versions of an object, which share a logicalID, the latest alone is worked with. An update makes the
next one and deprecates it; its associations are repeated for the new version, and none of them is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from registry.domain import lifecycle
from registry.domain.metadata_update import NewVersion, Update, Versioned
from registry.domain.registration import RegisteredObject
from registry.domain.submission import HAS_MEMBER
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import (
    Association,
    AvailabilityStatus,
    DocumentEntry,
    Folder,
    RegistryObject,
    Timestamp,
)

Joined = tuple[str, str, str]

_APPROVED, _DEPRECATED = AvailabilityStatus.APPROVED, AvailabilityStatus.DEPRECATED


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateState:
    """What the registry knows of the things that an update names.

    `latest` holds the latest version of each lineage of the message by its logicalID, and `values` whatever
    else may change, by entryUUID: targets of changes of status, and folders. `registered` tells of every
    object that is named, or joined with a latest version; those in `superseded` have a newer version. Entries
    of the message in `ambiguous` name no logicalID, and a uniqueId that several lineages have.
    `attached` are the Approved memberships of folders and relationships of the latest versions, `joined` the
    type, source and target of every Approved association from where one is submitted or approved again.
    """

    patient_is_active: bool
    taken: frozenset[str] = frozenset()
    set_is_registered: bool = False
    ambiguous: frozenset[str] = frozenset()
    latest: Mapping[str, Versioned] = field(default_factory=dict)
    values: Mapping[str, RegistryObject] = field(default_factory=dict)
    registered: Mapping[str, RegisteredObject] = field(default_factory=dict)
    superseded: frozenset[str] = frozenset()
    attached: tuple[Association, ...] = ()
    joined: frozenset[Joined] = frozenset()


def previous_of(new: NewVersion, state: UpdateState) -> Versioned | None:
    """The latest version, which `new` follows; None when there is none of its class."""
    latest = state.latest.get(new.value.logical_id)
    return latest if type(latest) is type(new.value) else None


def followed(update: Update, state: UpdateState) -> Iterator[tuple[NewVersion, Versioned]]:
    """The new versions, each with the one that it follows."""
    for new in update.new_versions:
        latest = previous_of(new, state)
        if latest is not None:
            yield new, latest


# --- what comes along -----------------------------------------------------------------------------------


def ends_of(item: Association) -> tuple[str, str]:
    """Source and target."""
    return item.source_object, item.target_object


def joined_of(item: Association) -> Joined:
    """What an association joins, and how."""
    return item.association_type, item.source_object, item.target_object


def following_of(update: Update, state: UpdateState) -> dict[str, str]:
    """The new version of each latest one that gets one, by their ids."""
    return {latest.entry_uuid: new.value.entry_uuid for new, latest in followed(update, state)}


def carried(update: Update, state: UpdateState) -> Iterator[tuple[Association, tuple[str, str]]]:
    """The associations that come along, each with its new ends.

    One between two objects that both get new versions joins those; it stays behind when either says so, or
    when it leads to an old version, or was ended by the same message.
    """
    following = following_of(update, state)
    staying = {
        latest.entry_uuid for new, latest in followed(update, state) if not new.propagates
    } | state.superseded
    ended = {change.target for change in update.status_updates if change.new_status == _DEPRECATED}
    joins: set[Joined] = set()
    for item in state.attached:
        if item.entry_uuid in ended or not staying.isdisjoint(ends_of(item)):
            continue
        if item.association_type == HAS_MEMBER and _is_deprecated_folder(state, item.source_object):
            continue
        source, target = (following.get(end, end) for end in ends_of(item))
        joined = (item.association_type, source, target)
        if joined not in joins and (source, target) != ends_of(item):
            joins.add(joined)
            yield item, (source, target)


def _is_deprecated_folder(state: UpdateState, entry_uuid: str) -> bool:
    registration = state.registered.get(entry_uuid)
    return registration is not None and registration.status is _DEPRECATED


# --- what changes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an update writes: `changed` objects first, then `new` ones; `superseded` are no longer latest."""

    changed: tuple[RegistryObject, ...]
    new: tuple[RegistryObject, ...]
    superseded: tuple[str, ...]
    contents: tuple[DocumentEntry, ...]


def change_of(
    update: Update,
    state: UpdateState,
    now: Timestamp,
    *,
    keeps_status: bool = False,
    new_id: Callable[[], str] = new_uuid,
) -> Change:
    """What an update without errors writes.

    Triggers are carried out and not kept; the memberships of the new versions are, with their Slots.

    Parameters
    ----------
    keeps_status
        A new version has the status of the one that it follows (ITI-92), and is not Approved.
    """
    written = _Written(update, state, new_id)
    versions = written.versions(keeps_status=keeps_status)
    associations = written.associations()
    return Change(
        changed=written.changed(associations, now),
        new=(
            written.submission_set,
            *(lifecycle.updated(item, now) if isinstance(item, Folder) else item for item in versions),
            *associations,
        ),
        superseded=tuple(latest.entry_uuid for latest in written.previous.values()),
        contents=tuple(
            new
            for new, latest in zip(versions, written.previous.values(), strict=True)
            if isinstance(new, DocumentEntry) and isinstance(latest, DocumentEntry) and _differ(new, latest)
        ),
    )


class _Written:
    """The objects of an update as they are registered; keys are the ids of the message."""

    def __init__(self, update: Update, state: UpdateState, new_id: Callable[[], str]) -> None:
        self._update = update
        self._known = state
        self._new_id = new_id
        self._statuses = _new_statuses(update, state)
        submission = update.message.submission
        registered = lifecycle.assigned(submission, new_id)
        self.submission_set = registered.submission_set
        self.previous = {new.value.entry_uuid: latest for new, latest in followed(update, state)}
        sent: tuple[Versioned, ...] = (*submission.document_entries, *submission.folders)
        got: tuple[Versioned, ...] = (*registered.document_entries, *registered.folders)
        self._values = {one.entry_uuid: other for one, other in zip(sent, got, strict=True)}
        self._associations = dict(
            zip((item.entry_uuid for item in submission.associations), registered.associations, strict=True)
        )

    def versions(self, *, keeps_status: bool) -> list[Versioned]:
        """The new versions, in the order of `previous`."""
        return [
            self._version(entry_uuid, latest, latest.availability_status if keeps_status else _APPROVED)
            for entry_uuid, latest in self.previous.items()
        ]

    def _version(self, entry_uuid: str, latest: Versioned, status: AvailabilityStatus) -> Versioned:
        return replace(
            self._values[entry_uuid],
            logical_id=latest.logical_id or latest.entry_uuid,
            version=latest.version + 1,
            availability_status=self._statuses.get(entry_uuid, status),
        )

    def associations(self) -> list[Association]:
        """The memberships of the new versions, what was submitted, and what comes along."""
        memberships = [self._associations[new.membership.entry_uuid] for new in self._update.new_versions]
        submitted = [
            replace(
                self._associations[new.association.entry_uuid],
                availability_status=self._statuses.get(new.association.entry_uuid, _APPROVED),
            )
            for new in self._update.new_associations
        ]
        along = [
            replace(
                item,
                entry_uuid=self._new_id(),
                source_object=self._registered_id(source),
                target_object=self._registered_id(target),
            )
            for item, (source, target) in carried(self._update, self._known)
        ]
        return [*memberships, *submitted, *along]

    def _registered_id(self, end: str) -> str:
        return self._values[end].entry_uuid if end in self._values else end

    def changed(self, associations: Iterable[Association], now: Timestamp) -> tuple[RegistryObject, ...]:
        """The registered objects as they are from now on: deprecated, of another status, of another time."""
        previous = {latest.entry_uuid for latest in self.previous.values()}
        changed: dict[str, RegistryObject] = {
            latest.entry_uuid: replace(latest, availability_status=_DEPRECATED)
            for latest in self.previous.values()
        }
        for entry_uuid, status in self._statuses.items():
            if entry_uuid in self._known.values:
                changed[entry_uuid] = replace(self._known.values[entry_uuid], availability_status=status)
        for folder_id in _gaining((*associations, *changed.values())) - previous:
            folder = changed.get(folder_id) or self._known.values.get(folder_id)
            if isinstance(folder, Folder):
                changed[folder_id] = lifecycle.updated(folder, now)
        return tuple(changed.values())


def _new_statuses(update: Update, state: UpdateState) -> dict[str, AvailabilityStatus]:
    """The statuses that the message sets; that of a latest version goes to the one that follows it."""
    following = following_of(update, state)
    return {
        following.get(change.target, change.target): AvailabilityStatus(change.new_status)
        for change in update.status_updates
    }


def _gaining(written: Iterable[RegistryObject]) -> set[str]:
    """The holders that gain a member by what is written."""
    return {
        item.source_object
        for item in written
        if isinstance(item, Association)
        and item.association_type == HAS_MEMBER
        and item.availability_status is _APPROVED
    }


def _differ(new: DocumentEntry, latest: DocumentEntry) -> bool:
    return (new.hash.lower(), new.size) != (latest.hash.lower(), latest.size)

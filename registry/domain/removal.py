"""The rules of a removal, judged on what would be left (supplement Remove Metadata and Documents,
3.62.4.1.3).

Nothing that stays may point at what goes, and nothing that stays may be left without the associations that
it had. The order inside a request means nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from registry.domain.submission import HAS_MEMBER, ObjectClass
from shared.errors import ReferencesExist, UnreferencedObject, UnresolvedReference, XdsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What rules want to know of a registered object; only an association has a type and two ends, and its
    patient is that of its submission set.
    """

    entry_uuid: str
    object_class: ObjectClass
    patient_id: str = ""
    logical_id: str = ""
    unique_id: str = ""
    association_type: str = ""
    source_object: str = ""
    target_object: str = ""

    @property
    def ends(self) -> tuple[str, ...]:
        """The ids that an association joins; none for any other object."""
        return (self.source_object, self.target_object) if self.association_type else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An association that stays, and an object that goes, at which it points."""

    association: str
    points_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What is to go, and what would be left.

    `ids` are those of the request, `items` what of them and of the ends of their associations is registered.
    Of the ends that stay, `touched` are those that an association still joins, `collected` those that are
    still a member of a submission set. `references` are the first that would point nowhere.
    """

    ids: Sequence[str]
    items: Mapping[str, Item]
    references: Sequence[Reference] = ()
    touched: Collection[str] = field(default_factory=frozenset)
    collected: Collection[str] = field(default_factory=frozenset)

    @property
    def going(self) -> list[Item]:
        """The objects that go."""
        return [self.items[entry_uuid] for entry_uuid in self.ids if entry_uuid in self.items]

    @property
    def staying(self) -> list[str]:
        """The ends of going associations that stay, in order."""
        ends = chain.from_iterable(item.ends for item in self.going)
        return sorted(set(ends) - set(self.ids))

    @property
    def shrinking(self) -> set[str]:
        """The folders that stay and lose a member."""
        return {
            item.source_object
            for item in self._memberships(ObjectClass.FOLDER)
            if item.source_object not in set(self.ids)
        }

    def _memberships(self, holder: ObjectClass) -> Iterator[Item]:
        for item in self.going:
            source = self.items.get(item.source_object)
            if item.association_type == HAS_MEMBER and source is not None and source.object_class is holder:
                yield item

    def leaving_sets(self) -> set[str]:
        """The documents and folders that stay and leave a submission set."""
        return {
            item.target_object
            for item in self._memberships(ObjectClass.SUBMISSION_SET)
            if item.target_object not in set(self.ids)
            and self.items[item.target_object].object_class is not ObjectClass.ASSOCIATION
        }


def unresolved(removal: Removal) -> Iterator[XdsError]:
    """What is listed is registered."""
    for entry_uuid in removal.ids:
        if entry_uuid not in removal.items:
            yield UnresolvedReference(f"{entry_uuid} is not registered", location=entry_uuid)


def references(removal: Removal) -> Iterator[XdsError]:
    """No association that stays starts or ends at what goes."""
    for reference in removal.references:
        yield ReferencesExist(
            f"the association {reference.association} points at {reference.points_at}; list it too",
            location=reference.points_at,
        )


def unreferenced(removal: Removal) -> Iterator[XdsError]:
    """What an association joined has another one, or goes too; documents and folders stay in a set."""
    for entry_uuid in removal.staying:
        if entry_uuid not in removal.touched:
            yield UnreferencedObject(
                f"{entry_uuid} would be left without any association; list it too", location=entry_uuid
            )
    for entry_uuid in sorted(removal.leaving_sets() & set(removal.touched)):
        if entry_uuid not in removal.collected:
            yield UnreferencedObject(
                f"{entry_uuid} would be left in no submission set; list it too", location=entry_uuid
            )


def errors_of(removal: Removal) -> list[XdsError]:
    """Every violation; what is not registered ends the search."""
    return list(unresolved(removal)) or [*references(removal), *unreferenced(removal)]

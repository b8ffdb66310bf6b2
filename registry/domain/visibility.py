"""What of a query's result a caller may see (ITI TF-2 3.18.4.1.3; consent).

Consent decides on documents. A submission set or folder is seen when one of its documents is, and an empty
one when the patient's policies permit a document without any attribute; an association is seen when both its
ends are. An old version of a document is seen when its latest is too. What is refused is left out without a
trace.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from registry.domain.submission import Class
from shared.consent.decision import Resource


@dataclass(frozen=True, slots=True)
class Found:
    """One object of a result: what consent and the rules of answers ask for, and the fragment when it was
    read. An association is kept with the patient of its submission set.
    """

    entry_uuid: str
    object_class: str
    patient_id: str
    confidentiality: str | None
    class_code: str | None
    type_code: str | None
    source_object: str | None
    target_object: str | None
    metadata_level: int = 1
    fragment: bytes = b""

    @property
    def may_be_old(self) -> bool:
        """Whether it may be a document of which there is a newer version."""
        return self.metadata_level > 1 and self.object_class == Class.DOCUMENT_ENTRY

    @property
    def is_association(self) -> bool:
        """Whether it is an association, which is about no patient of its own."""
        return self.object_class == Class.ASSOCIATION


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a query chose, before consent.

    An object that is chosen only because of others, for example a folder because a document is in it, tells
    of them: it is seen only with one of the ids in `because`. `witnesses` are such others that are not chosen
    themselves.
    """

    result: Sequence[Found]
    because: Mapping[str, Collection[str]] = field(default_factory=dict)
    witnesses: Sequence[Found] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the visibility of a result depends on beside the result itself.

    `objects` holds the ends of its associations and the members of its sets and folders, over all levels, and
    the result itself; `members` the ids of the members of each set and folder among them; `latest` the latest
    version of each document that is an older one, which is among the objects too.
    """

    objects: Mapping[str, Found]
    members: Mapping[str, Collection[str]]
    latest: Mapping[str, str] = field(default_factory=dict)


def resource_of(found: Found) -> Resource:
    """What consent decides on: a document, or a set or folder as a document without attributes."""
    return Resource(
        patient_id=found.patient_id,
        confidentiality=frozenset((found.confidentiality or "").split("\n")) - {""},
        class_code=found.class_code or "",
        type_code=found.type_code or "",
    )


def decided_on(surroundings: Surroundings) -> list[Found]:
    """The objects for which a decision is needed: documents, and containers without members."""
    return [
        found
        for found in surroundings.objects.values()
        if not found.is_association
        and (found.object_class == Class.DOCUMENT_ENTRY or not surroundings.members.get(found.entry_uuid))
    ]


def visible(chosen: Chosen, surroundings: Surroundings, permitted: Collection[str]) -> list[Found]:
    """What of `chosen` may be seen, in order; `permitted` are the ids that consent permits."""
    known: dict[str, bool] = {}
    permitted_ids = set(permitted)

    def seen(entry_uuid: str | None, path: tuple[str, ...] = ()) -> bool:
        if entry_uuid is None or entry_uuid in path:
            return False
        if entry_uuid not in known:
            known[entry_uuid] = looked_at(entry_uuid, (*path, entry_uuid))
        return known[entry_uuid]

    def looked_at(entry_uuid: str, path: tuple[str, ...]) -> bool:
        found = surroundings.objects.get(entry_uuid)
        if found is None:
            return False
        if found.is_association:
            return seen(found.source_object, path) and seen(found.target_object, path)
        if members := surroundings.members.get(entry_uuid):
            return any(seen(member, path) for member in members)
        # An update may have made a document more confidential, or another patient's.
        return {entry_uuid, surroundings.latest.get(entry_uuid, entry_uuid)} <= permitted_ids

    def told(entry_uuid: str) -> bool:
        because = chosen.because.get(entry_uuid)
        return because is None or any(map(seen, because))

    return [item for item in chosen.result if seen(item.entry_uuid) and told(item.entry_uuid)]

"""What of a query's result a caller may see (ITI TF-2 3.18.4.1.3; consent).

Consent decides on documents. A submission set or folder is seen when one of its members is, and an empty one
when the patient's policies permit a document without any attribute. Of whom no document of their own can be
seen, and who permit no such document either, nothing is seen: their sets and folders tell of them even where
they hold what is another patient's. An association is seen when both its ends are; an old version of a
document when its latest is too. What is refused is left out without a trace.

All this is told by what is in the registry: nothing that a query asks for or leaves aside makes more visible.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from registry.domain.submission import ObjectClass
from shared.consent.decision import Resource


@dataclass(frozen=True, slots=True)
class Candidate:
    """One object that a query looks at, as consent and the rules of answers need it. An association is kept
    with the patient of its submission set."""

    entry_uuid: str
    object_class: str
    patient_id: str
    confidentiality: str | None
    class_code: str | None
    type_code: str | None
    source_object: str | None
    target_object: str | None
    metadata_level: int = 1

    @property
    def may_be_old(self) -> bool:
        """Whether it may be a document of which there is a newer version."""
        return self.metadata_level > 1 and self.object_class == ObjectClass.DOCUMENT_ENTRY

    @property
    def is_association(self) -> bool:
        """Whether it is an association, which is about no patient of its own."""
        return self.object_class == ObjectClass.ASSOCIATION


@dataclass(frozen=True, slots=True)
class Choice:
    """What a query chooses, before consent.

    An object that is chosen only because of others, for example a folder because a document is in it, tells
    of them: it is seen only with one of the ids in `because`. `witnesses` are such others that are not chosen
    themselves.
    """

    result: Sequence[Candidate]
    because: Mapping[str, Collection[str]] = field(default_factory=dict)
    witnesses: Sequence[Candidate] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the visibility of a result depends on beside the result itself.

    `objects` holds the ends of its associations and the members of its sets and folders, over all levels, and
    the result itself; `members` the ids of the members of each set and folder among them: those of Approved
    associations, or, where there is none, of any; `latest` the latest version of each document that is an
    older one, which is among the objects too.
    """

    objects: Mapping[str, Candidate]
    members: Mapping[str, Collection[str]]
    latest: Mapping[str, str] = field(default_factory=dict)


def resource_of(candidate: Candidate) -> Resource:
    """What consent decides on: a document, or a set or folder as a document without attributes."""
    if candidate.object_class != ObjectClass.DOCUMENT_ENTRY:
        return resource(candidate.patient_id, candidate.confidentiality)
    return resource(
        candidate.patient_id,
        candidate.confidentiality,
        candidate.class_code,
        candidate.type_code,
        candidate.entry_uuid,
    )


def resource(
    patient_id: str,
    codes: str | None,
    class_code: str | None = None,
    type_code: str | None = None,
    entry_uuid: str = "",
) -> Resource:
    """A document with these confidentiality codes, joined by line feeds, and these of class and type; what
    policies about single documents read is found by its id."""
    return Resource(
        patient_id=patient_id,
        confidentiality=frozenset((codes or "").split("\n")) - {""},
        class_code=class_code or "",
        type_code=type_code or "",
        entry_uuid=entry_uuid,
    )


def decided_on(surroundings: Surroundings) -> list[Candidate]:
    """The objects for which a decision is needed: documents, sets and folders."""
    return [each for each in surroundings.objects.values() if not each.is_association]


def visible_of(choice: Choice, surroundings: Surroundings, permitted: Collection[str]) -> list[Candidate]:
    """What of `choice` may be seen, in order; `permitted` are the ids that consent permits."""
    seen = _seen(surroundings, set(permitted))

    def told(entry_uuid: str) -> bool:
        because = choice.because.get(entry_uuid)
        return because is None or not seen.isdisjoint(because)

    return [item for item in choice.result if item.entry_uuid in seen and told(item.entry_uuid)]


def _seen(around: Surroundings, permitted: set[str]) -> set[str]:
    """The ids of what may be seen: the fewest with which the rules hold, so that nothing is seen because of
    itself.
    """
    seen: set[str] = set()
    waiting: list[Candidate] = []
    for item in around.objects.values():
        if item.object_class != ObjectClass.DOCUMENT_ENTRY:
            waiting.append(item)
        # An update may have made a document more confidential, or another patient's.
        elif {item.entry_uuid, around.latest.get(item.entry_uuid, item.entry_uuid)} <= permitted:
            seen.add(item.entry_uuid)
    while fresh := {item.entry_uuid for item in waiting if _is_seen(item, around, permitted, seen)}:
        seen |= fresh
        waiting = [item for item in waiting if item.entry_uuid not in fresh]
    return seen


def _is_seen(item: Candidate, around: Surroundings, permitted: set[str], seen: set[str]) -> bool:
    if item.is_association:
        return item.source_object in seen and item.target_object in seen
    members = around.members.get(item.entry_uuid)
    if not members:
        return item.entry_uuid in permitted
    seen_members = [around.objects[each] for each in members if each in seen]
    if item.entry_uuid in permitted:
        return bool(seen_members)
    return any(each.patient_id == item.patient_id for each in seen_members if not each.is_association)

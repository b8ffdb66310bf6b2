"""All objects of a message together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from conformance import schemes
from conformance.findings import Finding
from conformance.readers.xml import Element, place
from conformance.requirements import finding
from conformance.rules.metadata.ebrim import Use, identifier, kind_of, slot
from conformance.rules.metadata.registry_object import registry_object


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rules over all objects need of one."""

    kind: str
    id: str
    place: str
    patient_id: str = ""
    unique_id: str = ""
    type: str = ""
    source: str = ""
    target: str = ""
    lid: str = ""
    state: str = ""
    on_demand: bool = False


def summary(element: Element, kind: str) -> Summary:
    """What the rules over all objects need."""
    return Summary(
        kind=kind,
        id=element.get("id") or "",
        place=place(element),
        patient_id=identifier(element, kind, "patientId") if kind else "",
        unique_id=identifier(element, kind, "uniqueId") if kind else "",
        type=element.get("associationType") or "",
        source=element.get("sourceObject") or "",
        target=element.get("targetObject") or "",
        lid=element.get("lid") or "",
        state=slot(element, "SubmissionSetStatus"),
        on_demand=element.get("objectType") == schemes.ON_DEMAND,
    )


@dataclass(slots=True)
class Submission:
    """The objects of a message as they pass; `labels` are Classifications that stand beside packages."""

    use: Use
    summaries: list[Summary] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    def add(self, element: Element) -> Iterator[Finding]:
        """Judge one object, and note what the rules over all need."""
        kind = kind_of(element, self.labels)
        yield from registry_object(element, kind, self.use)
        self.summaries.append(summary(element, kind))

    def together(self) -> Iterator[Finding]:
        """What holds for all objects together, once every one was added."""
        yield from self._ids()
        if self.use.is_submission:
            yield from self._members()
            yield from self._patients()
            yield from self._ends()

    def _ids(self) -> Iterator[Finding]:
        for id, times in Counter(one.id for one in self.summaries if one.id).items():
            if times > 1:
                yield finding("XDS-META-004", self._place(id), f"{times} objects of one id", id)
        unique_ids = Counter(one.unique_id for one in self.summaries if one.unique_id)
        if self.use.is_submission:
            for unique_id, times in unique_ids.items():
                if times > 1:
                    wrong = f"{times} objects of one uniqueId"
                    yield finding("XDS-META-114", "RegistryObjectList", wrong, unique_id)

    def _members(self) -> Iterator[Finding]:
        sets = [one for one in self.summaries if one.kind == "SubmissionSet"]
        if len(sets) != 1:
            yield finding("XDS-META-087", "RegistryObjectList", f"{len(sets)} SubmissionSets")
            return
        (submission_set,) = sets
        by_id = {one.id: one for one in self.summaries}
        members = {
            one.target: one
            for one in self.summaries
            if one.type == schemes.HAS_MEMBER and one.source == submission_set.id
        }
        for one in self.summaries:
            if one.kind == "DocumentEntry" and one.id not in members:
                yield finding("XDS-META-110", one.place, "no HasMember from the SubmissionSet", one.id)
            elif one.kind == "Folder" and one.id not in members:
                yield finding("XDS-META-111", one.place, "no HasMember from the SubmissionSet", one.id)
            elif one.type == schemes.HAS_MEMBER and one.source != submission_set.id and one.id not in members:
                yield finding("XDS-META-112", one.place, "no HasMember from the SubmissionSet", one.id)
        for target, one in members.items():
            yield from self._member(one, by_id.get(target))

    def _member(self, one: Summary, target: Summary | None) -> Iterator[Finding]:
        if one.state == "Original" and target is None:
            yield finding("XDS-META-108", one.place, "Original, though its target is not here", one.target)
        if not one.state and (target is None or target.kind == "DocumentEntry"):
            yield finding("XDS-META-102", one.place, "SubmissionSetStatus is absent")
        if one.state and target is not None and target.kind != "DocumentEntry":
            yield finding("XDS-META-103", one.place, f"on the HasMember of a {target.kind}", one.state)

    def _patients(self) -> Iterator[Finding]:
        patients = {one.patient_id for one in self.summaries if one.patient_id}
        if len(patients) > 1:
            wrong = f"{len(patients)} patients in one submission"
            yield finding("XDS-META-113", "RegistryObjectList", wrong, " ".join(sorted(patients)))

    def _ends(self) -> Iterator[Finding]:
        ids = {one.id for one in self.summaries}
        for one in self.summaries:
            if one.kind != "Association":
                continue
            for name, end in (("@sourceObject", one.source), ("@targetObject", one.target)):
                if end and end not in ids and not end.startswith("urn:uuid:"):
                    at = f"{one.place}/{name}"
                    yield finding("XDS-META-117", at, "a symbolic id that no object has", end)
            if one.type in schemes.RELATIONSHIPS and one.source not in ids and self.use is not Use.UPDATE:
                yield finding("XDS-META-115", one.place, "the source is not in the submission", one.source)

    def _place(self, id: str) -> str:
        return next((one.place for one in self.summaries if one.id == id), "RegistryObjectList")

"""Document sharing metadata as ebRIM (ITI TF-3 4.2): each object by itself, and all of a message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from conformance import identifiers, schemes
from conformance.findings import Finding
from conformance.identifiers import HASH, LANGUAGE, MEDIA_TYPE, OID, UUID, is_oid_urn
from conformance.readers.xml import Element, local, place, text
from conformance.requirements import finding

RIM: Final = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"
OBJECTS: Final = tuple(f"{RIM}{name}" for name in ("ExtrinsicObject", "RegistryPackage", "Association"))
_ORDER: Final = (
    "Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier", "ExternalLink",
    "ContentVersionInfo",
)  # fmt: skip
_LONGEST_VALUE: Final = 256


class Use(StrEnum):
    """Where metadata stand, since what is required depends on it."""

    PROVIDE = "ITI-41"
    REGISTER = "ITI-42"
    ON_DEMAND = "ITI-61"
    UPDATE = "ITI-57"
    ANSWER = "answer"

    @property
    def is_submission(self) -> bool:
        """Whether somebody submits them, and no registry answers with them."""
        return self is not Use.ANSWER


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


# --- reading -----------------------------------------------------------------------------------------


def slots(element: Element) -> dict[str, list[str]]:
    """The values of each Slot of an object; those of one name added up."""
    values: dict[str, list[str]] = {}
    for slot in element.iterfind(f"{RIM}Slot"):
        listed = [text(value) for value in slot.iterfind(f"{RIM}ValueList/{RIM}Value")]
        values.setdefault(slot.get("name") or "", []).extend(listed)
    return values


def slot(element: Element, name: str) -> str:
    """The first value of a Slot, or empty."""
    for one in element.iterfind(f"{RIM}Slot"):
        if one.get("name") == name:
            for value in one.iterfind(f"{RIM}ValueList/{RIM}Value"):
                if content := text(value):
                    return content
    return ""


def slot_place(element: Element, name: str) -> str:
    """Where a Slot stands, or where it is due."""
    for one in element.iterfind(f"{RIM}Slot"):
        if one.get("name") == name:
            return place(one)
    return place(element, f"Slot[@name={name!r}]")


def classifications(element: Element, scheme: str) -> list[Element]:
    """The Classifications of one scheme."""
    return [
        one for one in element.iterfind(f"{RIM}Classification") if one.get("classificationScheme") == scheme
    ]


def identifier(element: Element, kind: str, attribute: str) -> str:
    """The value of an ExternalIdentifier, or empty."""
    for one in element.iterfind(f"{RIM}ExternalIdentifier"):
        if schemes.IDENTIFIERS[kind].get(one.get("identificationScheme") or "") == attribute:
            return one.get("value") or ""
    return ""


def name_of(element: Element) -> str:
    """The display name of a Classification, or the title of an object."""
    only = element.find(f"{RIM}Name/{RIM}LocalizedString")
    return "" if only is None else only.get("value") or ""


def kind_of(element: Element, labels: dict[str, str] | None = None) -> str:
    """What an object of ebRIM is; empty for a package without label. `labels` are those beside it."""
    match local(element):
        case "ExtrinsicObject":
            return "DocumentEntry"
        case "Association":
            return "Association"
    nodes = {one.get("classificationNode") for one in element.iterfind(f"{RIM}Classification")}
    if labels and (label := labels.get(element.get("id") or "")):
        nodes.add(label)
    if schemes.IS_SUBMISSION_SET in nodes:
        return "SubmissionSet"
    return "Folder" if schemes.IS_FOLDER in nodes else ""


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


# --- one object --------------------------------------------------------------------------------------


def registry_object(element: Element, kind: str, use: Use) -> Iterator[Finding]:
    """Everything that holds for one object of metadata."""
    yield from _frame(element, use)
    yield from _slots(element, kind)
    if not kind:
        yield finding("XDS-META-080", place(element), "a package that is neither", element.get("id") or "")
        return
    for one in element.iterfind(f"{RIM}Classification"):
        yield from _classification(one, element, kind, use)
    yield from _identifiers(element, kind, use)
    yield from _RULES[kind](element, use)


def _frame(element: Element, use: Use) -> Iterator[Finding]:
    id = element.get("id")
    if not id:
        yield finding("XDS-META-002", place(element, "@id"), "the id is absent")
    elif id.lower().startswith("urn:uuid:"):
        if not UUID.match(id):
            yield finding("XDS-META-003", place(element, "@id"), "no lower-case UUID", id)
    elif use is Use.ANSWER:
        yield finding("XDS-META-003", place(element, "@id"), "a symbolic id in an answer", id)
    order = [_ORDER.index(local(one)) for one in element if local(one) in _ORDER]
    if order != sorted(order):
        names = " ".join(dict.fromkeys(_ORDER[at] for at in order))
        yield finding("XDS-META-005", place(element), "another order of children", names)
    home = element.get("home")
    if home and not is_oid_urn(home):
        yield finding("XDS-META-063", place(element, "@home"), "no urn:oid:", home)
    lid = element.get("lid")
    if lid and not UUID.match(lid):
        yield finding("XDS-META-065", place(element, "@lid"), "no UUID", lid)
    if lid and lid != id and use.is_submission and use is not Use.UPDATE:
        yield finding("XDS-META-107", place(element, "@lid"), f"another lid than id in {use}", lid)
    version = element.find(f"{RIM}VersionInfo")
    if version is not None and not (version.get("versionName") or "").isdigit():
        yield finding("XDS-META-066", place(version), "no number", version.get("versionName") or "")
    if use is Use.ANSWER:
        status = element.get("status")
        if status not in (schemes.APPROVED, schemes.DEPRECATED):
            yield finding("XDS-META-062", place(element, "@status"), "absent or another value", status or "")


def _slots(element: Element, kind: str) -> Iterator[Finding]:
    counted: Counter[str] = Counter()
    defined = schemes.SLOTS.get(kind, {})
    for one in element.iterfind(f"{RIM}Slot"):
        name = one.get("name") or ""
        counted[name] += 1
        if not name:
            yield finding("XDS-META-007", place(one, "@name"), "a slot without name")
        values = [text(value) for value in one.iterfind(f"{RIM}ValueList/{RIM}Value")]
        if not any(values):
            yield finding("XDS-META-007", place(one), "a slot without value")
        for value in values:
            if len(value) > _LONGEST_VALUE:
                yield finding("XDS-META-008", place(one), f"{len(value)} characters", value)
        most = defined.get(name, None)
        if most is not None and len(values) > most:
            yield finding("XDS-META-067", place(one), f"{len(values)} values", " ".join(values))
        if name and kind and name not in defined:
            yield from _extra(name, one)
    for name, times in counted.items():
        if times > 1:
            yield finding("XDS-META-006", slot_place(element, name), f"{times} slots of one name", name)


def _extra(name: str, one: Element) -> Iterator[Finding]:
    if not name.startswith("urn:"):
        yield finding("XDS-META-009", place(one), "no URN", name)
    elif name.startswith("urn:ihe:") and name not in schemes.IHE_SLOTS:
        yield finding("XDS-META-009", place(one), "a name of IHE that is not defined", name)


def _classification(one: Element, owner: Element, kind: str, use: Use) -> Iterator[Finding]:
    scheme, node = one.get("classificationScheme"), one.get("classificationNode")
    if bool(scheme) == bool(node):
        both = "both" if scheme else "neither"
        yield finding("XDS-META-010", place(one), f"{both} of scheme and node", scheme or "")
    if one.get("classifiedObject") != owner.get("id"):
        value = one.get("classifiedObject") or ""
        yield finding("XDS-META-011", place(one, "@classifiedObject"), "not the id of its object", value)
    if not one.get("id"):
        yield finding("XDS-META-016", place(one, "@id"), "the id is absent")
    if use is Use.ANSWER and not one.get("objectType"):
        yield finding("XDS-META-021", place(one, "@objectType"), "the objectType is absent")
    if node:
        if node in schemes.LIMITED_METADATA:
            yield finding("XDS-META-060", place(one), "the flag of limited metadata", node)
        return
    if not scheme:
        return
    attribute = schemes.CODES[kind].get(scheme)
    if attribute is None:
        yield finding("XDS-META-015", place(one), f"no scheme of {kind}", scheme)
        return
    if one.get("nodeRepresentation") is None:
        yield finding("XDS-META-012", place(one, "@nodeRepresentation"), "absent", attribute)
    if attribute == "author":
        yield from _author(one)
    else:
        yield from _code(one, attribute)


def _code(one: Element, attribute: str) -> Iterator[Finding]:
    if one.get("nodeRepresentation") == "":
        yield finding("XDS-META-012", place(one, "@nodeRepresentation"), "empty", attribute)
    coding_schemes = slots(one).get("codingScheme", [])
    if len([value for value in coding_schemes if value]) != 1:
        wrong = f"{len(coding_schemes)} coding schemes of {attribute}"
        yield finding("XDS-META-013", slot_place(one, "codingScheme"), wrong, " ".join(coding_schemes))
    if not name_of(one):
        yield finding("XDS-META-014", place(one, "Name"), f"{attribute} without display name")


_AUTHOR_SLOTS: Final[dict[str, tuple[str, Callable[[str], str] | None]]] = {
    "authorPerson": ("XDS-META-057", identifiers.wrong_xcn),
    "authorInstitution": ("XDS-META-058", identifiers.wrong_xon),
    "authorTelecommunication": ("XDS-META-059", identifiers.wrong_xtn),
    "authorRole": ("", None),
    "authorSpecialty": ("", None),
}


def _author(one: Element) -> Iterator[Finding]:
    values = slots(one)
    if not any(
        any(values.get(name, ())) for name in ("authorPerson", "authorInstitution", "authorTelecommunication")
    ):
        yield finding("XDS-META-056", place(one), "neither person nor institution nor telecommunication")
    for name, (id, wrong_of) in _AUTHOR_SLOTS.items():
        for value in values.get(name, ()):
            if wrong_of is not None and value and (wrong := wrong_of(value)):
                yield finding(id, slot_place(one, name), wrong, value)
    if len(values.get("authorPerson", ())) > 1:
        yield finding("XDS-META-057", slot_place(one, "authorPerson"), "more than one person in one author")


def _identifiers(element: Element, kind: str, use: Use) -> Iterator[Finding]:
    counted: Counter[str] = Counter()
    known_schemes = schemes.IDENTIFIERS[kind]
    for one in element.iterfind(f"{RIM}ExternalIdentifier"):
        scheme, value = one.get("identificationScheme") or "", one.get("value")
        attribute = known_schemes.get(scheme)
        counted[scheme] += 1
        if attribute is None:
            yield finding("XDS-META-018", place(one), f"no scheme of {kind}", scheme)
            continue
        if one.get("registryObject") != element.get("id"):
            wrong, stated = "not the id of its object", one.get("registryObject") or ""
            yield finding("XDS-META-017", place(one, "@registryObject"), wrong, stated)
        if not one.get("id"):
            yield finding("XDS-META-016", place(one, "@id"), "the id is absent")
        if name_of(one) != f"XDS{kind}.{attribute}":
            right = f"XDS{kind}.{attribute}"
            yield finding("XDS-META-019", place(one, "Name"), "another name", name_of(one), right=right)
        if use is Use.ANSWER and not one.get("objectType"):
            yield finding("XDS-META-021", place(one, "@objectType"), "the objectType is absent")
        if not value:
            yield finding("XDS-META-022", place(one, "@value"), f"{attribute} without value")
    for scheme, times in counted.items():
        if times > 1 and scheme in known_schemes:
            yield finding("XDS-META-020", place(element), f"{known_schemes[scheme]} {times} times")


# --- DocumentEntry -----------------------------------------------------------------------------------

_ONE_CODE: Final = {
    "classCode": "XDS-META-032",
    "formatCode": "XDS-META-034",
    "healthcareFacilityTypeCode": "XDS-META-035",
    "practiceSettingCode": "XDS-META-036",
    "typeCode": "XDS-META-037",
}


def _document_entry(element: Element, use: Use) -> Iterator[Finding]:
    on_demand = element.get("objectType") == schemes.ON_DEMAND
    if element.get("objectType") not in (schemes.STABLE, schemes.ON_DEMAND):
        value = element.get("objectType") or ""
        yield finding("XDS-META-030", place(element, "@objectType"), "neither Stable nor On-Demand", value)
    elif (use is Use.ON_DEMAND) != on_demand and use in (Use.ON_DEMAND, Use.PROVIDE):
        yield finding("XDS-META-030", place(element, "@objectType"), f"not what {use} takes")
    if not MEDIA_TYPE.match(element.get("mimeType") or ""):
        value = element.get("mimeType") or ""
        yield finding("XDS-META-031", place(element, "@mimeType"), "absent, or no media type", value)
    yield from _codes(element)
    yield from _entry_ids(element)
    yield from _entry_slots(element, use, on_demand=on_demand)
    if len(name_of(element)) > 128:
        yield finding("XDS-META-054", place(element, "Name"), f"{len(name_of(element))} characters")


def _codes(element: Element) -> Iterator[Finding]:
    by_attribute = {attribute: scheme for scheme, attribute in schemes.CODES["DocumentEntry"].items()}
    for attribute, id in _ONE_CODE.items():
        times = len(classifications(element, by_attribute[attribute]))
        if times != 1:
            yield finding(id, place(element, attribute), f"{times} times {attribute}")
    if not classifications(element, by_attribute["confidentialityCode"]):
        yield finding("XDS-META-033", place(element, "confidentialityCode"), "no confidentialityCode")


def _entry_ids(element: Element) -> Iterator[Finding]:
    patient = identifier(element, "DocumentEntry", "patientId")
    if not patient:
        yield finding("XDS-META-038", place(element, "patientId"), "the patientId is absent")
    elif wrong := identifiers.wrong_cx(patient):
        yield finding("XDS-META-038", place(element, "patientId"), wrong, patient)
    if not identifier(element, "DocumentEntry", "uniqueId"):
        yield finding("XDS-META-039", place(element, "uniqueId"), "the uniqueId is absent")


def _entry_slots(element: Element, use: Use, *, on_demand: bool) -> Iterator[Finding]:
    values = slots(element)
    stable_only = ("creationTime", "XDS-META-040"), ("hash", "XDS-META-041"), ("size", "XDS-META-042")
    for name, id in stable_only:
        is_there = any(values.get(name, ()))
        if on_demand and is_there:
            yield finding("XDS-META-061", slot_place(element, name), f"{name} of an On-Demand entry")
        elif not on_demand and not is_there and (use is not Use.PROVIDE or name == "creationTime"):
            yield finding(id, slot_place(element, name), f"{name} is absent")
    required = [("languageCode", "XDS-META-043"), ("sourcePatientId", "XDS-META-044")]
    if use is not Use.PROVIDE:
        required.append(("repositoryUniqueId", "XDS-META-046"))
    for name, id in required:
        if not any(values.get(name, ())):
            yield finding(id, slot_place(element, name), f"{name} is absent")
    for name, (id, wrong_of) in _FORMS.items():
        for value in values.get(name, ()):
            if value and (wrong := wrong_of(value)):
                yield finding(id, slot_place(element, name), wrong, value)
    start, stop = slot(element, "serviceStartTime"), slot(element, "serviceStopTime")
    digits = min(len(start), len(stop))
    if digits and start[:digits] > stop[:digits]:
        wrong = "serviceStartTime is after serviceStopTime"
        yield finding("XDS-META-047", slot_place(element, "serviceStartTime"), wrong, f"{start} > {stop}")
    yield from _patient_info(element, values.get("sourcePatientInfo", []))


def _wrong_pattern(pattern: object, wrong: str) -> Callable[[str], str]:
    match = pattern.match  # type: ignore[attr-defined]
    return lambda value: "" if match(value) else wrong


_FORMS: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "creationTime": ("XDS-META-048", identifiers.wrong_dtm),
    "serviceStartTime": ("XDS-META-048", identifiers.wrong_dtm),
    "serviceStopTime": ("XDS-META-048", identifiers.wrong_dtm),
    "hash": ("XDS-META-049", _wrong_pattern(HASH, "not 40 hexadecimal digits")),
    "size": ("XDS-META-050", lambda value: "" if value.isascii() and value.isdigit() else "no whole number"),
    "languageCode": ("XDS-META-051", _wrong_pattern(LANGUAGE, "no language tag")),
    "legalAuthenticator": ("XDS-META-052", identifiers.wrong_xcn),
    "sourcePatientId": ("XDS-META-044", identifiers.wrong_cx),
    "repositoryUniqueId": ("XDS-META-046", _wrong_pattern(OID, "no OID")),
    schemes.REFERENCE_IDS: ("XDS-META-053", identifiers.wrong_cxi),
    "documentAvailability": (
        "XDS-META-064",
        lambda value: (
            ""
            if value.startswith("urn:ihe:iti:2010:DocumentAvailability:")
            and value.rpartition(":")[2] in ("Online", "Offline")
            else "neither Online nor Offline"
        ),
    ),
}


def _patient_info(element: Element, values: list[str]) -> Iterator[Finding]:
    at = slot_place(element, "sourcePatientInfo")
    counted: Counter[str] = Counter()
    for value in values:
        label, separator, _ = value.partition("|")
        number = label.removeprefix("PID-")
        counted[label] += 1
        if not separator or not label.startswith("PID-") or not number.isdigit():
            yield finding("XDS-META-045", at, "not PID-n|value", value)
        elif number in ("2", "4", "12", "19"):
            yield finding("XDS-META-045", at, f"{label}, which should not be there", value)
    for label in ("PID-7", "PID-8"):
        if counted[label] > 1:
            yield finding("XDS-META-045", at, f"{label} {counted[label]} times")


# --- SubmissionSet, Folder, Association --------------------------------------------------------------


def _submission_set(element: Element, use: Use) -> Iterator[Finding]:
    kind = "SubmissionSet"
    content_type = next(
        scheme for scheme, attribute in schemes.CODES[kind].items() if attribute == "contentTypeCode"
    )
    if len(classifications(element, content_type)) != 1:
        wrong = f"{len(classifications(element, content_type))} times contentTypeCode"
        yield finding("XDS-META-081", place(element, "contentTypeCode"), wrong)
    yield from _patient_id(element, kind, "XDS-META-082")
    yield from _oid(element, kind, "sourceId", "XDS-META-083")
    yield from _oid(element, kind, "uniqueId", "XDS-META-085")
    submitted = slot(element, "submissionTime")
    if not submitted:
        yield finding("XDS-META-084", slot_place(element, "submissionTime"), "submissionTime is absent")
    elif wrong := identifiers.wrong_dtm(submitted):
        yield finding("XDS-META-048", slot_place(element, "submissionTime"), wrong, submitted)
    for value in slots(element).get("intendedRecipient", ()):
        yield from _recipient(element, value)
    if use is Use.ANSWER and element.get("status") == schemes.DEPRECATED:
        yield finding("XDS-META-088", place(element, "@status"), "a SubmissionSet that is Deprecated")


def _recipient(element: Element, value: str) -> Iterator[Finding]:
    organization, person, telecommunication, *more = [*value.split("|"), "", ""]
    wrong = "more than three parts" if len(more) > 2 else ""
    wrong = wrong or (identifiers.wrong_xon(organization) if organization else "")
    wrong = wrong or (identifiers.wrong_xcn(person) if person else "")
    wrong = wrong or (identifiers.wrong_xtn(telecommunication) if telecommunication else "")
    if wrong:
        yield finding("XDS-META-086", slot_place(element, "intendedRecipient"), wrong, value)


def _folder(element: Element, use: Use) -> Iterator[Finding]:
    (codes,) = schemes.CODES["Folder"]
    if not classifications(element, codes):
        yield finding("XDS-META-090", place(element, "codeList"), "no code")
    yield from _patient_id(element, "Folder", "XDS-META-091")
    if not name_of(element):
        yield finding("XDS-META-092", place(element, "Name"), "no title")
    yield from _oid(element, "Folder", "uniqueId", "XDS-META-093")
    updated = slot(element, "lastUpdateTime")
    if use is Use.ANSWER and not updated:
        yield finding("XDS-META-094", slot_place(element, "lastUpdateTime"), "lastUpdateTime is absent")
    if updated and (wrong := identifiers.wrong_dtm(updated)):
        yield finding("XDS-META-048", slot_place(element, "lastUpdateTime"), wrong, updated)


def _patient_id(element: Element, kind: str, id: str) -> Iterator[Finding]:
    value = identifier(element, kind, "patientId")
    wrong = identifiers.wrong_cx(value) if value else "the patientId is absent"
    if wrong:
        yield finding(id, place(element, "patientId"), wrong, value)


def _oid(element: Element, kind: str, attribute: str, id: str) -> Iterator[Finding]:
    value = identifier(element, kind, attribute)
    if not OID.match(value):
        yield finding(id, place(element, attribute), "no OID" if value else "absent", value)


def _association(element: Element, use: Use) -> Iterator[Finding]:
    association_type = element.get("associationType") or ""
    if association_type not in schemes.ASSOCIATION_TYPES:
        yield finding("XDS-META-100", place(element, "@associationType"), "not defined", association_type)
    for name in ("sourceObject", "targetObject"):
        value = element.get(name) or ""
        if not value:
            yield finding("XDS-META-101", place(element, f"@{name}"), "absent")
        elif use is Use.ANSWER and not UUID.match(value):
            yield finding("XDS-META-106", place(element, f"@{name}"), "no UUID", value)
    values = slots(element)
    state = slot(element, "SubmissionSetStatus")
    if state and state not in ("Original", "Reference"):
        at = slot_place(element, "SubmissionSetStatus")
        yield finding("XDS-META-103", at, "neither Original nor Reference", state)
    if state and association_type != schemes.HAS_MEMBER:
        at = slot_place(element, "SubmissionSetStatus")
        yield finding("XDS-META-103", at, "on something else than a HasMember", state)
    if association_type == schemes.HAS_MEMBER and classifications(element, schemes.ASSOCIATION_DOCUMENTATION):
        yield finding("XDS-META-104", place(element), "documentation of a HasMember")
    if use is not Use.UPDATE:
        for name in ("PreviousVersion", "AssociationPropagation", "OriginalStatus", "NewStatus"):
            if name in values and use.is_submission:
                yield finding("XDS-META-107", slot_place(element, name), f"{name} in {use}")
        if association_type in schemes.UPDATES and use.is_submission:
            yield finding("XDS-META-107", place(element, "@associationType"), f"an update in {use}")


_RULES: Final[dict[str, Callable[[Element, Use], Iterator[Finding]]]] = {
    "DocumentEntry": _document_entry,
    "SubmissionSet": _submission_set,
    "Folder": _folder,
    "Association": _association,
}


# --- all of a message --------------------------------------------------------------------------------


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

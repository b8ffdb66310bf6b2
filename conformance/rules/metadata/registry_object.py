"""What holds for every object of metadata, and by its kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from conformance import schemes
from conformance.findings import Finding
from conformance.identifiers import UUID, is_oid_urn
from conformance.readers.xml import Element, local, place, text
from conformance.requirements import finding
from conformance.rules.metadata.association import association
from conformance.rules.metadata.classification import classification
from conformance.rules.metadata.document_entry import document_entry
from conformance.rules.metadata.ebrim import RIM, Use, name_of, slot_place
from conformance.rules.metadata.registry_package import folder, submission_set

_ORDER: Final = (
    "Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier", "ExternalLink",
    "ContentVersionInfo",
)  # fmt: skip
_LONGEST_VALUE: Final = 256
_RULES: Final[dict[str, Callable[[Element, Use], Iterator[Finding]]]] = {
    "DocumentEntry": document_entry,
    "SubmissionSet": submission_set,
    "Folder": folder,
    "Association": association,
}


def registry_object(element: Element, kind: str, use: Use) -> Iterator[Finding]:
    """Everything that holds for one object of metadata."""
    yield from _frame(element, use)
    yield from _slots(element, kind)
    if not kind:
        yield finding("XDS-META-080", place(element), "a package that is neither", element.get("id") or "")
        return
    for one in element.iterfind(f"{RIM}Classification"):
        yield from classification(one, element, kind, use)
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

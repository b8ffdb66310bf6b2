"""Classifications: codes and authors (ITI TF-3 4.2.3.1.2, 4.2.3.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from conformance import identifiers, schemes
from conformance.findings import Finding
from conformance.readers.xml import Element, place
from conformance.requirements import finding
from conformance.rules.metadata.ebrim import Use, name_of, slot_place, slots


def classification(one: Element, owner: Element, kind: str, use: Use) -> Iterator[Finding]:
    """One Classification of its `owner`, which is an object of `kind`."""
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

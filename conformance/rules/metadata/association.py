"""Association (ITI TF-3 4.2.2)."""

from __future__ import annotations

from collections.abc import Iterator

from conformance import schemes
from conformance.findings import Finding
from conformance.identifiers import UUID
from conformance.readers.xml import Element, place
from conformance.requirements import finding
from conformance.rules.metadata.ebrim import Use, classifications, slot, slot_place, slots


def association(element: Element, use: Use) -> Iterator[Finding]:
    """An Association of any type."""
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

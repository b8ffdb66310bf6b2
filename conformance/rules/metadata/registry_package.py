"""SubmissionSet and Folder (ITI TF-3 4.2.3.3, 4.2.3.4)."""

from __future__ import annotations

from collections.abc import Iterator

from conformance import identifiers, schemes
from conformance.findings import Finding
from conformance.identifiers import OID
from conformance.readers.xml import Element, place
from conformance.requirements import finding
from conformance.rules.metadata.ebrim import (
    Use,
    classifications,
    identifier,
    name_of,
    slot,
    slot_place,
    slots,
)


def submission_set(element: Element, use: Use) -> Iterator[Finding]:
    """A RegistryPackage that is a SubmissionSet."""
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


def folder(element: Element, use: Use) -> Iterator[Finding]:
    """A RegistryPackage that is a Folder."""
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

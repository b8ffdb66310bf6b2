"""Patient identity feeds of HL7 v3 and their acknowledgements (ITI TF-2 3.44)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance.findings import Finding
from conformance.identifiers import OID, UUID
from conformance.readers.xml import Element, local, place, text
from conformance.requirements import finding
from conformance.transactions import HL7

_INTERACTIONS: Final = "2.16.840.1.113883.1.6"
_MERGE: Final = "PRPA_IN201304UV02"


def interaction(element: Element) -> Iterator[Finding]:
    """A feed, or its acknowledgement."""
    if element.get("ITSVersion") != "XML_1.0":
        value = element.get("ITSVersion") or ""
        yield finding("HL7V3-001", place(element, "@ITSVersion"), "absent, or another", value)
    id = element.find(f"{HL7}id")
    root = "" if id is None else id.get("root") or ""
    if not OID.match(root) and not UUID.match(f"urn:uuid:{root.lower()}"):
        yield finding("HL7V3-002", place(element, "id"), "absent, or no OID and no UUID as root", root)
    created = element.find(f"{HL7}creationTime")
    if created is None or not (created.get("value") or "")[:14].isdigit():
        yield finding("HL7V3-003", place(element, "creationTime"), "absent, or no time")
    interaction_id = element.find(f"{HL7}interactionId")
    if interaction_id is None or (interaction_id.get("root"), interaction_id.get("extension")) != (
        _INTERACTIONS,
        local(element),
    ):
        value = (
            f"{interaction_id.get('root')} {interaction_id.get('extension')}"
            if interaction_id is not None
            else ""
        )
        yield finding("HL7V3-004", place(element, "interactionId"), "not that of the element", value)
    for name in ("receiver", "sender"):
        if element.find(f"{HL7}{name}/{HL7}device/{HL7}id") is None:
            yield finding("HL7V3-005", place(element, name), "no device with an id")
    if local(element).startswith("MCCI"):
        yield from _acknowledgement(element)
    else:
        yield from _patient(element)


def _acknowledgement(element: Element) -> Iterator[Finding]:
    only = element.find(f"{HL7}acknowledgement")
    code = "" if only is None else _code(only)
    if code not in ("AA", "AE", "AR", "CA", "CE", "CR"):
        yield finding("HL7V3-008", place(element, "acknowledgement/typeCode"), "absent, or another", code)
    if only is None or only.find(f"{HL7}targetMessage/{HL7}id") is None:
        yield finding("HL7V3-009", place(element, "acknowledgement/targetMessage/id"), "absent")


def _code(acknowledgement: Element) -> str:
    child = acknowledgement.find(f"{HL7}typeCode")
    return (child.get("code") or "") if child is not None else acknowledgement.get("typeCode") or ""


def _patient(element: Element) -> Iterator[Finding]:
    patient = element.find(f".//{HL7}subject1/{HL7}patient")
    ids = [] if patient is None else patient.findall(f"{HL7}id")
    if not ids:
        yield finding("HL7V3-006", place(element, "…/subject1/patient/id"), "absent")
    for id in ids:
        if not OID.match(id.get("root") or "") or not id.get("extension"):
            value = f"{id.get('root')} {id.get('extension')}"
            yield finding("HL7V3-006", place(id), "no OID as root, or no extension", value)
    priors = element.findall(f".//{HL7}replacementOf/{HL7}priorRegistration")
    if local(element) == _MERGE:
        prior_ids = [one.find(f".//{HL7}priorRegisteredRole/{HL7}id") for one in priors]
        if len(priors) != 1 or prior_ids[0] is None:
            yield finding(
                "HL7V3-007", place(element, "…/replacementOf"), f"{len(priors)} prior registrations"
            )
    elif priors:
        yield finding("HL7V3-007", place(priors[0]), "a replacement that is no merge", text(priors[0]))

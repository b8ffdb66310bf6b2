"""DocumentEntry (ITI TF-3 4.2.3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from conformance import identifiers, schemes
from conformance.findings import Finding
from conformance.identifiers import HASH, LANGUAGE, MEDIA_TYPE, OID
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

_ONE_CODE: Final = {
    "classCode": "XDS-META-032",
    "formatCode": "XDS-META-034",
    "healthcareFacilityTypeCode": "XDS-META-035",
    "practiceSettingCode": "XDS-META-036",
    "typeCode": "XDS-META-037",
}


def document_entry(element: Element, use: Use) -> Iterator[Finding]:
    """An ExtrinsicObject, Stable or On-Demand."""
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

"""Datatypes of FHIR R4 as a MADO Bundle has them, and what they are in DICOM (RAD MADO 1.0.0)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Final

from shared.ebrim.identifiers import is_oid
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.instance import Issuer

ROOT: Final = "https://profiles.ihe.net/RAD/MADO/"
PROFILE: Final = f"{ROOT}StructureDefinition/"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
V2: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
URI: Final = "urn:ietf:rfc:3986"
OID: Final = "urn:oid:"
#: For designators of DICOM that no URI is known for.
_OTHER_SCHEME: Final = "urn:x-dicom-coding-scheme:"
_SYSTEMS: Final = {
    "DCM": DCM,
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "RADLEX": "http://radlex.org",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "C4": "http://www.ama-assn.org/go/cpt",
}
_DESIGNATORS: Final = {system: designator for designator, system in _SYSTEMS.items()}
NAMESPACE: Final = uuid.UUID("8b7f2d7e-2c5a-5e0b-9a3c-6a0d3c1f7e59")

#: A resource of FHIR, or a part of one.
Resource = dict[str, Any]


def filled(resource: Resource) -> Resource:
    """Without what is empty, which FHIR does not write."""
    return {name: value for name, value in resource.items() if value not in ("", None, [], {})}


def extension(name: str, **value: Any) -> Resource:
    """An extension of the profile, with its value."""
    return {"url": f"{PROFILE}{name}", **value}


def extended(resource: Resource, name: str) -> list[Resource]:
    """The extensions of the profile that a resource has by a name."""
    return [one for one in resource.get("extension", ()) if one["url"] == f"{PROFILE}{name}"]


def concept(system: str, code: str, display: str) -> Resource:
    """A CodeableConcept of one code."""
    return {"coding": [filled({"system": system, "code": code, "display": display})]}


def coding(code: Code) -> Resource:
    """A code as FHIR has it: its scheme as a URI."""
    system = _SYSTEMS.get(code.scheme) or (
        f"{OID}{code.scheme}" if is_oid(code.scheme) else f"{_OTHER_SCHEME}{code.scheme}"
    )
    return filled({"system": system, "code": code.value, "display": code.display_name})


def code_of(coding: Resource) -> Code:
    """A code as DICOM has it; KeyError where it names no system or code."""
    system = coding["system"]
    scheme = _DESIGNATORS.get(system) or system.removeprefix(OID).removeprefix(_OTHER_SCHEME)
    return Code(coding["code"], scheme, coding.get("display", ""))


def identifier(value: str, issuer: Issuer) -> Resource:
    """A number with whose it is: an OID where that is known, and else an id of ours for what it is called."""
    if issuer.universal_id and issuer.universal_id_type in ("", "ISO"):
        system = f"{OID}{issuer.universal_id}"
    else:
        name = f"{issuer.local}&{issuer.universal_id}&{issuer.universal_id_type}"
        system = f"urn:uuid:{uuid.uuid5(NAMESPACE, name)}"
    assigner: Resource = {"display": issuer.local} if issuer.local else {}
    if issuer.universal_id and not system.startswith(OID):
        assigner["identifier"] = {"system": issuer.universal_id_type, "value": issuer.universal_id}
    return filled({"system": system, "value": value, "assigner": assigner})


def issuer_of(identifier: Resource) -> Issuer:
    """Whose an identifier is."""
    assigner, system = identifier.get("assigner", {}), identifier["system"]
    if system.startswith(OID):
        return Issuer(assigner.get("display", ""), system.removeprefix(OID), "ISO")
    universal = assigner.get("identifier", {})
    return Issuer(assigner.get("display", ""), universal.get("value", ""), universal.get("system", ""))


def accession(number: str, issuer: Issuer) -> Resource:
    """An accession number, typed as DICOM and HL7 v2 do."""
    kinds = [
        {"system": V2, "code": "ACSN"},
        {"system": DCM, "code": "121022", "display": "Accession Number"},
    ]
    return {"type": {"coding": kinds}, **identifier(number, issuer)}


def date_time(date: str, time: str, offset: timedelta) -> str:
    """A dateTime of FHIR: a time has seconds and a zone, and a day alone has none."""
    if not (day := legal.date(date)):
        return ""
    text = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    digits, _, fraction = legal.time(time).partition(".")
    if not digits:
        return text
    digits = digits.ljust(6, "0")
    minutes = int(offset.total_seconds()) // 60
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    seconds = f"{digits[:2]}:{digits[2:4]}:{digits[4:6]}"
    return f"{text}T{seconds}{f'.{fraction}' if fraction else ''}{zone}"


def of_moment(text: str) -> tuple[str, str, str]:
    """Date, time and zone as DICOM has them."""
    day, _, rest = text.partition("T")
    zone = rest[-6:].replace(":", "") if rest and not rest.endswith("Z") else "+0000" if rest else ""
    time = rest.removesuffix("Z")
    return day.replace("-", ""), (time[:-6] if not rest.endswith("Z") else time).replace(":", ""), zone

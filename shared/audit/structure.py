"""The structure of AuditEvent (FHIR R4 6.4.3) as a table, by which resources are found to be one.

Extensions, narrative and contained resources are taken as they are: nothing of them is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its kind, whether it must be there, and whether it may be there several times."""

    kind: str
    needed: bool = False
    several: bool = False
    members: Mapping[str, Element] = field(default_factory=dict)


def _one(kind: str) -> Element:
    return Element(kind, members=_TYPES.get(kind, {}))


def _needed(kind: str) -> Element:
    return Element(kind, needed=True, members=_TYPES.get(kind, {}))


def _many(kind: str) -> Element:
    return Element(kind, several=True, members=_TYPES.get(kind, {}))


_TYPES: dict[str, dict[str, Element]] = {}
_OPEN: Final = Element("any")
_OF_EVERY: Final = {"id": Element("string"), "extension": Element("any", several=True)}


def _type(kind: str, **members: Element) -> None:
    _TYPES[kind] = {**_OF_EVERY, **members}


_type(
    "Coding",
    system=_one("string"),
    version=_one("string"),
    code=_one("string"),
    display=_one("string"),
    userSelected=_one("boolean"),
)
_type(
    "Meta",
    versionId=_one("string"),
    lastUpdated=_one("string"),
    source=_one("string"),
    profile=_many("string"),
    security=_many("Coding"),
    tag=_many("Coding"),
)
_type("CodeableConcept", coding=_many("Coding"), text=_one("string"))
_type("Period", start=_one("string"), end=_one("string"))
_type(
    "Identifier",
    use=_one("string"),
    type=_one("CodeableConcept"),
    system=_one("string"),
    value=_one("string"),
    period=_one("Period"),
    assigner=_OPEN,
)
_type(
    "Reference",
    reference=_one("string"),
    type=_one("string"),
    identifier=_one("Identifier"),
    display=_one("string"),
)
_MODIFIED: Final = {"modifierExtension": Element("any", several=True)}
_type("network", **_MODIFIED, address=_one("string"), type=_one("string"))
_type(
    "agent",
    **_MODIFIED,
    type=_one("CodeableConcept"),
    role=_many("CodeableConcept"),
    who=_one("Reference"),
    altId=_one("string"),
    name=_one("string"),
    requestor=_needed("boolean"),
    location=_one("Reference"),
    policy=_many("string"),
    media=_one("Coding"),
    network=_one("network"),
    purposeOfUse=_many("CodeableConcept"),
)
_type("source", **_MODIFIED, site=_one("string"), observer=_needed("Reference"), type=_many("Coding"))
_type(
    "detail",
    **_MODIFIED,
    type=_needed("string"),
    valueString=_one("string"),
    valueBase64Binary=_one("string"),
)
_type(
    "entity",
    **_MODIFIED,
    what=_one("Reference"),
    type=_one("Coding"),
    role=_one("Coding"),
    lifecycle=_one("Coding"),
    securityLabel=_many("Coding"),
    name=_one("string"),
    description=_one("string"),
    query=_one("string"),
    detail=_many("detail"),
)
_type(
    "AuditEvent",
    **_MODIFIED,
    resourceType=_needed("string"),
    meta=_OPEN,
    implicitRules=_one("string"),
    language=_one("string"),
    text=_OPEN,
    contained=Element("any", several=True),
    type=_needed("Coding"),
    subtype=_many("Coding"),
    action=_one("string"),
    period=_one("Period"),
    recorded=_needed("string"),
    outcome=_one("string"),
    outcomeDesc=_one("string"),
    purposeOfEvent=_many("CodeableConcept"),
    agent=Element("agent", needed=True, several=True, members=_TYPES["agent"]),
    source=_needed("source"),
    entity=_many("entity"),
)
AUDIT_EVENT: Final = Element("AuditEvent", members=_TYPES["AuditEvent"])
META: Final = Element("Meta", members=_TYPES["Meta"])
_ACTION = re.compile("[CRUDE]")


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong where: `code` is an IssueType, `expression` FHIRPath; no content is shown."""

    code: str
    expression: str
    text: str


class NoResource(ValueError):
    """The octets are no JSON object, or nested without end; the text shows no content."""


def read_resource(octets: bytes) -> dict[str, Any]:
    """The resource that JSON octets hold, whichever it is.

    Raises
    ------
    NoResource
        There is none.
    """
    try:
        resource = json.loads(octets.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise NoResource("not JSON in UTF-8") from None
    if not isinstance(resource, dict):
        raise NoResource("not a JSON object")
    if _deeper(resource, MAX_DEPTH):
        raise NoResource(f"nested deeper than {MAX_DEPTH} levels")
    return resource


def _no_number(_: str) -> Any:
    raise ValueError


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(member, levels - 1) for member in members)


def flaws(resource: Mapping[str, Any]) -> list[Flaw]:
    """Why a resource is no AuditEvent; nothing, when it is one."""
    if resource.get("resourceType") != "AuditEvent":
        return [Flaw("structure", "AuditEvent", "the resource is no AuditEvent")]
    flaws_found = list(_flaws(resource, AUDIT_EVENT, "AuditEvent"))
    return flaws_found or list(_of_meaning(resource))


def _flaws(value: Any, element: Element, path: str) -> Iterator[Flaw]:
    if element.kind == "any":
        return
    if element.kind == "boolean":
        if not isinstance(value, bool):
            yield Flaw("value", path, "true or false is needed")
    elif element.kind == "string":
        if not isinstance(value, str) or not value.strip():
            yield Flaw("value", path, "a text that is not empty is needed")
    elif not isinstance(value, dict):
        yield Flaw("structure", path, "an object is needed")
    else:
        yield from _of_members(value, element, path)


def _of_members(value: Mapping[str, Any], element: Element, path: str) -> Iterator[Flaw]:
    for name, member in element.members.items():
        if member.needed and not value.get(name) and value.get(name) is not False:
            yield Flaw("required", f"{path}.{name}", "it is needed")
    for name, content in value.items():
        # What extends a primitive value stands beside it, under its name with a line before it.
        extends = name.startswith("_") and name[1:] in element.members
        kind = _OPEN if extends else element.members.get(name)
        if kind is None:
            yield Flaw("structure", path, "it has a member that there is not")
        elif not kind.several:
            yield from _flaws(content, kind, f"{path}.{name}")
        elif not isinstance(content, list) or not content:
            yield Flaw("structure", f"{path}.{name}", "a list that is not empty is needed")
        else:
            for number, one in enumerate(content):
                yield from _flaws(one, kind, f"{path}.{name}[{number}]")


def _of_meaning(resource: Mapping[str, Any]) -> Iterator[Flaw]:
    if "action" in resource and not _ACTION.fullmatch(resource["action"]):
        yield Flaw("code-invalid", "AuditEvent.action", "one of C, R, U, D, E is needed")
    if not resource["type"].get("code"):
        yield Flaw("required", "AuditEvent.type.code", "it is needed")
    for number, entity in enumerate(resource.get("entity", ())):
        where = f"AuditEvent.entity[{number}]"
        if "name" in entity and "query" in entity:
            yield Flaw("invariant", where, "an entity has a name or a query, not both (sev-1)")
        for place, detail in enumerate(entity.get("detail", ())):
            if ("valueString" in detail) == ("valueBase64Binary" in detail):
                yield Flaw("required", f"{where}.detail[{place}].value", "one value is needed")

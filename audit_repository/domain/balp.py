"""AuditEvents of transactions over plain HTTP in the patterns of BALP 1.1.4 (docs/decisions, 0070).

A record keeps its message; this is how it is shown. A search, a reading or a creation has the type `rest`
and its interaction, and beside the transaction what DICOM calls the event; what meets a profile claims it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.audit.resource import ENTITY_TYPE, INTERACTION, REST, Resource, system_of

PROFILES: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_DCM: Final = system_of("DCM")
_TRANSACTIONS: Final = system_of("IHE Transactions")
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_CLIENT_AND_SERVER: Final = ("110152", "110153")
#: Roles of what is read or created (value set RestObjectRoles).
_DATA: Final = frozenset({"3", "4", "20"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One pattern: its profile, the interaction of FHIR that it is, and what the user takes part as."""

    profile: str
    interaction: str
    action: str
    user: str = "IRCP"


_QUERY = Pattern(profile="Query", interaction="search", action="E")
_READ = Pattern(profile="Read", interaction="read", action="R")
_CREATE = Pattern(profile="Create", interaction="create", action="C", user="AUT")
#: The transactions over plain HTTP whose records come as messages.
PATTERNS: Final[Mapping[str, Pattern]] = {
    "RAD-55": _READ,
    "RAD-107": _READ,
    "RAD-108": _CREATE,
    "RAD-129": _QUERY,
}


def transactions_of(code: str) -> tuple[str, ...]:
    """Which transactions a code of these patterns means: their records are indexed by their own codes."""
    return tuple(number for number, one in PATTERNS.items() if code in ("rest", one.interaction))


def patterned(resource: dict[str, Any]) -> dict[str, Any]:
    """The AuditEvent of a message in the pattern of its transaction; of every other as it is."""
    pattern = next(filter(None, map(_pattern_of, resource.get("subtype", ()))), None)
    if pattern is None or resource.get("action") != pattern.action:
        return resource
    is_query = pattern is _QUERY
    shaped = {
        **resource,
        "type": {"system": REST, "code": "rest"},
        "subtype": [
            {"system": INTERACTION, "code": pattern.interaction},
            *resource["subtype"],
            resource["type"],
        ],
        "agent": [_agent(one, pattern) for one in resource["agent"]],
    }
    if "entity" in resource:
        shaped["entity"] = [_as_query(one) if is_query else one for one in resource["entity"]]
    if not _meets(shaped, is_query=is_query):
        return shaped
    of_patient = any(_type(one) == "1" for one in shaped["entity"])
    profile = f"{PROFILES}{'Patient' if of_patient else ''}{pattern.profile}"
    return {"resourceType": shaped.pop("resourceType"), "meta": {"profile": [profile]}, **shaped}


def _pattern_of(subtype: Resource) -> Pattern | None:
    return PATTERNS.get(subtype.get("code", "")) if subtype.get("system") == _TRANSACTIONS else None


def _agent(agent: dict[str, Any], pattern: Pattern) -> dict[str, Any]:
    """A person by the participation of the pattern, and the roles of that person beside it."""
    if not agent["requestor"] or "network" in agent or "display" not in agent["who"]:
        return agent
    roles = [*([agent["type"]] if "type" in agent else ()), *agent.get("role", ())]
    participation = {"coding": [{"system": _PARTICIPATION, "code": pattern.user}]}
    others = {name: value for name, value in agent.items() if name not in ("type", "role")}
    return {"type": participation, **({"role": roles} if roles else {}), **others}


def _as_query(entity: dict[str, Any]) -> dict[str, Any]:
    """What was asked by has no place of its own: its octets say all."""
    if "query" not in entity or _type(entity) != "2":
        return entity
    return {name: value for name, value in entity.items() if name not in ("what", "detail", "lifecycle")}


def _meets(event: Resource, *, is_query: bool) -> bool:
    """Whether all is there that the profile asks for, and once."""
    sides = [one for one in event["agent"] if _side(one)]
    objects = [one for one in event.get("entity", ()) if _type(one) == "2"]
    patients = [one for one in event.get("entity", ()) if _type(one) == "1"]
    return (
        event["outcome"] == "0"
        and sorted(map(_side, sides)) == [*_CLIENT_AND_SERVER]
        and all("network" in one for one in sides)
        and len(objects) == 1
        and (_asks(objects[0]) if is_query else _is_data(objects[0]))
        and (not patients or _is_one_patient(patients))
    )


def _asks(entity: Resource) -> bool:
    return _role(entity) == "24" and "query" in entity


def _is_data(entity: Resource) -> bool:
    return _role(entity) in _DATA and bool(entity.get("what"))


def _is_one_patient(patients: Sequence[Resource]) -> bool:
    return len(patients) == 1 and _role(patients[0]) == "1" and bool(patients[0].get("what"))


def _side(agent: Resource) -> str:
    codes: Iterator[Resource] = iter(agent.get("type", {}).get("coding", ()))
    return next(
        (one["code"] for one in codes if one.get("system") == _DCM and one["code"] in _CLIENT_AND_SERVER), ""
    )


def _type(entity: Resource) -> str:
    coding = entity.get("type", {})
    return str(coding.get("code", "")) if coding.get("system") == ENTITY_TYPE else ""


def _role(entity: Resource) -> str:
    return str(entity.get("role", {}).get("code", ""))

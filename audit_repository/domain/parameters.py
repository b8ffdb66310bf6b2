"""The search parameters of ITI-81, and whether an AuditEvent matches them (RESTful ATNA; FHIR R4 3.1.1).

The index of the trail narrows a search down; what is found is decided here, on the resource itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from shared.audit.resource import URI, Resource, coded, is_event_id

#: AuditEvents on one page, unless `_count` says another number.
PAGE: Final = 50
MOST_ON_A_PAGE: Final = 200


class WrongParameter(ValueError):
    """A search cannot be carried out as it is asked; `code` is an IssueType."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Kind(StrEnum):
    """How the values of a parameter are compared."""

    TOKEN = "token"  # noqa: S105
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Token:
    """`system|code` of a search: a `system` that is None is any, an empty one none; an empty code is any."""

    system: str | None
    code: str

    def matches(self, system: str, code: str) -> bool:
        """Whether a coded or identifying value is meant."""
        return self.system in (None, system) and self.code in ("", code)


Values = Callable[[Resource], Iterator[tuple[str, str]]]


def _codings(*concepts: Resource) -> Iterator[tuple[str, str]]:
    for concept in concepts:
        for coding in concept.get("coding", (concept,)):
            yield str(coding.get("system", "")), str(coding.get("code", ""))


def _identifiers(*references: Resource) -> Iterator[tuple[str, str]]:
    for reference in references:
        identifier = reference.get("identifier", {})
        system, value = str(identifier.get("system", "")), str(identifier.get("value", ""))
        if value:
            yield system, value
        if system == URI and value.startswith("urn:oid:"):
            yield "", value.removeprefix("urn:oid:")
        if "reference" in reference:
            yield "", str(reference["reference"])


def _agents(event: Resource) -> Sequence[Resource]:
    agents: Sequence[Resource] = event.get("agent", ())
    return agents


def _entities(event: Resource) -> Sequence[Resource]:
    entities: Sequence[Resource] = event.get("entity", ())
    return entities


def _users(event: Resource) -> Iterator[tuple[str, str]]:
    for agent in _agents(event):
        who = agent.get("who", {})
        yield from _identifiers(who)
        yield "", str(who.get("display", ""))


def _patients(event: Resource) -> Iterator[tuple[str, str]]:
    for entity in _entities(event):
        what = entity.get("what", {})
        if str(entity.get("role", {}).get("code", "")) == "1" or what.get("type") == "Patient":
            yield from _identifiers(what)
    yield from _identifiers(
        *(agent["who"] for agent in _agents(event) if agent.get("who", {}).get("type") == "Patient")
    )


def _texts(*texts: Any) -> Iterator[tuple[str, str]]:
    return (("", str(text)) for text in texts if text)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One search parameter: how it is compared, with which values, and by which terms of the index it is
    narrowed down."""

    kind: Kind
    values: Values
    terms: tuple[str, ...] = ()


_TOKEN, _STRING = Kind.TOKEN, Kind.STRING
PARAMETERS: Final[Mapping[str, Parameter]] = {
    "address": Parameter(
        _STRING,
        lambda event: _texts(*(agent.get("network", {}).get("address") for agent in _agents(event))),
        ("address",),
    ),
    "agent.identifier": Parameter(_TOKEN, _users, ("user",)),
    "patient.identifier": Parameter(_TOKEN, _patients, ("patient",)),
    "entity.identifier": Parameter(
        _TOKEN,
        lambda event: _identifiers(*(entity.get("what", {}) for entity in _entities(event))),
        ("object", "patient"),
    ),
    "entity-type": Parameter(
        _TOKEN, lambda event: _codings(*(entity.get("type", {}) for entity in _entities(event)))
    ),
    "entity-role": Parameter(
        _TOKEN, lambda event: _codings(*(entity.get("role", {}) for entity in _entities(event)))
    ),
    "entity-name": Parameter(
        _STRING, lambda event: _texts(*(entity.get("name") for entity in _entities(event)))
    ),
    "source.identifier": Parameter(
        _TOKEN, lambda event: _identifiers(event.get("source", {}).get("observer", {})), ("source",)
    ),
    "type": Parameter(_TOKEN, lambda event: _kinds(event), ("type",)),
    "subtype": Parameter(_TOKEN, lambda event: _codings(*event.get("subtype", ())), ("type",)),
    "action": Parameter(_TOKEN, lambda event: _texts(event.get("action"))),
    "outcome": Parameter(_TOKEN, lambda event: _texts(event.get("outcome", "0"))),
    "altid": Parameter(_TOKEN, lambda event: _texts(*(agent.get("altId") for agent in _agents(event)))),
    "agent-name": Parameter(_STRING, lambda event: _texts(*(agent.get("name") for agent in _agents(event)))),
    "agent-role": Parameter(
        _TOKEN,
        lambda event: _codings(*(role for agent in _agents(event) for role in _roles(agent))),
        ("role",),
    ),
    "policy": Parameter(
        _TOKEN, lambda event: _texts(*(one for agent in _agents(event) for one in agent.get("policy", ())))
    ),
    "site": Parameter(_TOKEN, lambda event: _texts(event.get("source", {}).get("site"))),
}
#: Names of older drafts, the modifier of R4, and the reference whose identifier is meant.
SYNONYMS: Final[Mapping[str, str]] = {
    "user": "agent.identifier",
    "agent": "agent.identifier",
    "agent:identifier": "agent.identifier",
    "patient": "patient.identifier",
    "patient:identifier": "patient.identifier",
    "identity": "entity.identifier",
    "entity": "entity.identifier",
    "entity:identifier": "entity.identifier",
    "object-type": "entity-type",
    "role": "entity-role",
    "source": "source.identifier",
    "source:identifier": "source.identifier",
}


def _kinds(event: Resource) -> Iterator[tuple[str, str]]:
    """Its type, and where BALP has `rest` for that, what DICOM calls it."""
    yield from _codings(event.get("type", {}))
    for subtype in event.get("subtype", ()):
        if is_event_id(coded(subtype)):
            yield from _codings(subtype)


def _roles(agent: Resource) -> Iterator[Resource]:
    if "type" in agent:
        yield agent["type"]
    yield from agent.get("role", ())


@dataclass(frozen=True, slots=True)
class Criterion:
    """One parameter, of which one of the `tokens` must match; for texts those are what they begin with."""

    name: str
    tokens: tuple[Token, ...]

    def matches(self, event: Resource) -> bool:
        """Whether an AuditEvent is meant."""
        parameter = PARAMETERS[self.name]
        if parameter.kind is Kind.STRING:
            begun = tuple(token.code.casefold() for token in self.tokens)
            return any(text.casefold().startswith(begun) for _, text in parameter.values(event))
        return any(token.matches(*value) for value in set(parameter.values(event)) for token in self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A search as ITI-81 asks it: `since` included, `until` not, both None where they are open."""

    criteria: tuple[Criterion, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = True
    count: int = PAGE
    cursor: str = ""
    understood: tuple[tuple[str, str], ...] = ()

    def matches(self, event: Resource) -> bool:
        """Whether an AuditEvent is among what is asked for; its time was compared before."""
        return all(criterion.matches(event) for criterion in self.criteria)

    def with_patients(self, patients: Iterable[Token]) -> Asked:
        """The same search, for records of one of these patients alone."""
        return replace(self, criteria=(*self.criteria, Criterion("patient.identifier", tuple(patients))))


def asked(parameters: Iterable[tuple[str, str]], *, strict: bool = False) -> Asked:
    """Read the parameters of a search.

    Parameters
    ----------
    strict
        Whether a parameter that is not known is refused, and not ignored (Prefer: handling=strict).

    Raises
    ------
    WrongParameter
        One cannot be read, or none says when.
    """
    reading = _Reading(strict)
    for name, value in parameters:
        reading.take(name, value)
    return reading.read()


class _Reading:
    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._criteria: list[Criterion] = []
        self._dated = False
        self._since: datetime | None = None
        self._until: datetime | None = None
        self._understood: list[tuple[str, str]] = []
        self._newest_first = True
        self._count = PAGE
        self._cursor = ""

    def take(self, name: str, value: str) -> None:
        parameter = SYNONYMS.get(name, name)
        if parameter in PARAMETERS:
            self._criteria.append(Criterion(parameter, tuple(_tokens(parameter, value))))
        elif not self._control(name, value):
            self._unknown(name)
            return
        if name != "_cursor":
            self._understood.append((parameter, value))

    def _control(self, name: str, value: str) -> bool:
        match name:
            case "date":
                self._date(value)
            case "_count":
                self._count = min(MOST_ON_A_PAGE, _count(value))
            case "_sort":
                if value not in ("date", "-date"):
                    raise WrongParameter("not-supported", "_sort takes date or -date")
                self._newest_first = value == "-date"
            case "_cursor":
                self._cursor = value
            case "_format" | "_pretty":
                pass
            case _:
                return False
        return True

    def _unknown(self, name: str) -> None:
        base = name.partition(":")[0]
        if base != name and (base in PARAMETERS or base in SYNONYMS or base == "date"):
            raise WrongParameter("not-supported", f"this modifier of {base} is not supported")
        if self._strict:
            raise WrongParameter("not-supported", "a parameter is not known; handling=strict refuses it")

    def _date(self, value: str) -> None:
        since, until = _bounds(value)
        self._dated = True
        if since is not None:
            self._since = max(since, self._since or since)
        if until is not None:
            self._until = min(until, self._until or until)

    def read(self) -> Asked:
        if not self._dated:
            raise WrongParameter("required", "date is needed: date=ge2030-05-01&date=le2030-05-31")
        return Asked(
            criteria=tuple(self._criteria),
            since=self._since,
            until=self._until,
            newest_first=self._newest_first,
            count=self._count,
            cursor=self._cursor,
            understood=tuple(self._understood),
        )


_ESCAPED = re.compile(r"\\([\\,|$])")


def _split(value: str, separator: str) -> list[str]:
    parts, current, escaped = [""], 0, False
    for character in value:
        if character == separator and not escaped:
            parts.append("")
            current += 1
        else:
            parts[current] += character
        escaped = character == "\\" and not escaped
    return parts


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _tokens(name: str, value: str) -> Iterator[Token]:
    for alternative in _split(value, ","):
        if PARAMETERS[name].kind is Kind.STRING:
            token = Token(None, _plain(alternative))
        else:
            system, *code = map(_plain, _split(alternative, "|"))
            token = Token(system, "|".join(code)) if code else Token(None, system)
        if not token.code and not token.system:
            raise WrongParameter("invalid", f"{name} has no value")
        yield _with_system_of_name(token)


def _with_system_of_name(token: Token) -> Token:
    """An OID that stands as a system by itself is one all the same."""
    if token.system and re.fullmatch(r"[0-2](?:\.\d+)+", token.system):
        return replace(token, system=f"urn:oid:{token.system}")
    return token


def _count(value: str) -> int:
    if not value.isascii() or not value.isdecimal() or not int(value[:9]) >= 1:
        raise WrongParameter("invalid", "_count takes a number of AuditEvents on a page")
    return int(value[:9])


_DATE = re.compile(
    r"(eq|ne|ge|gt|le|lt|sa|eb|ap)?(\d{4})(?:-(\d\d)(?:-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[ +-]\d\d:\d\d)?)?)?)?"
)
_SUPPORTED = frozenset({"", "eq", "ge", "gt", "le", "lt", "sa", "eb"})


def _bounds(value: str) -> tuple[datetime | None, datetime | None]:
    """From when on, and until when, a value of `date` is about; without a zone it is in UTC."""
    match = _DATE.fullmatch(value)
    if match is None:
        raise WrongParameter("invalid", "date is written as ge2030-05-04 or ge2030-05-04T09:15:00Z")
    prefix = match[1] or ""
    if prefix not in _SUPPORTED:
        raise WrongParameter("not-supported", "date takes the prefixes eq, ge, gt, le, lt, sa and eb")
    begins, ends = _period(match)
    match prefix:
        case "ge":
            return begins, None
        case "gt" | "sa":
            return ends, None
        case "le":
            return None, ends
        case "lt" | "eb":
            return None, begins
        case _:
            return begins, ends


def _period(match: re.Match[str]) -> tuple[datetime, datetime]:
    year, month, day, hour, minute, second, fraction, zone = match.groups()[1:]
    written = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    # A plus sign that was not encoded arrives as a blank.
    zone = (zone or "Z").replace(" ", "+")
    try:
        begins = datetime.fromisoformat(f"{written}.{(fraction or '0')[:6].ljust(6, '0')}{zone}").astimezone(
            UTC
        )
        if fraction:
            return begins, begins + timedelta(microseconds=10 ** max(0, 6 - len(fraction)))
        if hour:
            return begins, begins + timedelta(seconds=1 if second else 60)
        if day:
            return begins, begins + timedelta(days=1)
        if month:
            return begins, (begins + timedelta(days=32)).replace(day=1)
        return begins, begins.replace(year=begins.year + 1)
    except (ValueError, OverflowError):
        raise WrongParameter("invalid", "date is no moment in time") from None

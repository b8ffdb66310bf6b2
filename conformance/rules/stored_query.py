"""Requests of stored queries (ITI TF-2 3.18.4.1.2, 3.38, 3.51)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from conformance import identifiers, schemes
from conformance.findings import Finding
from conformance.readers.xml import Element, place, text
from conformance.requirements import finding
from conformance.rules.metadata.ebrim import RIM
from conformance.stored_queries import IDS, MULTI_PATIENT, Parameter, parameters
from conformance.transactions import QUERY, Transaction

_STRING: Final = re.compile(r"'((?:[^']|'')*)'")
_LIST: Final = re.compile(r"\(\s*'(?:[^']|'')*'\s*(?:,\s*'(?:[^']|'')*'\s*)*\)\Z")
_WHOLE_STRING: Final = re.compile(r"'(?:[^']|'')*'\Z")
_ABOUT_A_PATIENT: Final = frozenset(
    {"FindDocuments", "FindDocumentsByReferenceId", "FindSubmissionSets", "FindFolders", "GetAll"}
)


def request(element: Element, transaction: Transaction) -> Iterator[Finding]:
    """An AdhocQueryRequest."""
    option = element.find(f"{QUERY}ResponseOption")
    if option is None or option.get("returnType") not in ("LeafClass", "ObjectRef"):
        value = "" if option is None else option.get("returnType") or ""
        at = place(element, "ResponseOption/@returnType")
        yield finding("XDS-QUERY-001", at, "neither LeafClass nor ObjectRef", value)
    if option is not None and option.get("returnComposedObjects") not in ("true", "1"):
        yield finding("XDS-QUERY-002", place(option, "@returnComposedObjects"), "not true")
    for name in ("startIndex", "maxResults"):
        if element.get(name) is not None:
            yield finding("XDS-QUERY-019", place(element, f"@{name}"), "paging", element.get(name))
    query = element.find(f"{RIM}AdhocQuery")
    if query is None:
        yield finding("XDS-QUERY-003", place(element), "no AdhocQuery")
        return
    yield from _query(query, transaction)


def _query(query: Element, transaction: Transaction) -> Iterator[Finding]:
    name = IDS.get((query.get("id") or "").strip())
    if name is None:
        yield finding("XDS-QUERY-003", place(query, "@id"), "no query of the table", query.get("id") or "")
        return
    if (name in MULTI_PATIENT) != (transaction.number == "ITI-51"):
        yield finding("XDS-QUERY-015", place(query, "@id"), f"{name} in {transaction.number}")
    home = query.get("home")
    if home is not None and not identifiers.is_oid_urn(home):
        yield finding("XDS-QUERY-016", place(query, "@home"), "no urn:oid:", home)
    if home is None and transaction.number == "ITI-38" and name not in _ABOUT_A_PATIENT:
        yield finding("XDS-QUERY-016", place(query, "@home"), f"absent, though {name} names no patient")
    yield from _slots(query, name)


def _slots(query: Element, name: str) -> Iterator[Finding]:
    defined = parameters(name)
    counted: Counter[str] = Counter()
    for slot in query.iterfind(f"{RIM}Slot"):
        label = slot.get("name") or ""
        counted[label] += 1
        parameter = defined.get(label)
        if label == "$homeCommunityId":
            yield finding("XDS-QUERY-018", place(slot), "the home as a parameter")
        elif parameter is None:
            yield finding("XDS-QUERY-005", place(slot), f"no parameter of {name}", label)
        else:
            yield from _values(slot, parameter)
    for label, times in counted.items():
        if times > 1 and label in defined and not defined[label].both:
            yield finding("XDS-QUERY-013", place(query, f"Slot[@name={label!r}]"), f"{times} slots of it")
    yield from _needed(query, name, set(counted))


def _needed(query: Element, name: str, there: set[str]) -> Iterator[Finding]:
    of_need: dict[str, list[str]] = {}
    for parameter in parameters(name).values():
        of_need.setdefault(parameter.need, []).append(parameter.name)
    for label in of_need.get("R", ()):
        if label not in there:
            yield finding("XDS-QUERY-004", place(query), f"{name} without {label}")
    if group := of_need.get("G"):
        stated = [label for label in group if label in there]
        if len(stated) != 1:
            yield finding("XDS-QUERY-007", place(query), f"{len(stated)} of {', '.join(group)}")
    if (some := of_need.get("A")) and not there.intersection(some):
        yield finding("XDS-QUERY-017", place(query), f"none of {', '.join(some)}")


def _values(slot: Element, parameter: Parameter) -> Iterator[Finding]:
    values = [text(one) for one in slot.iterfind(f"{RIM}ValueList/{RIM}Value")]
    if not any(values):
        yield finding("XDS-QUERY-004", place(slot), f"{parameter.name} without value")
        return
    if not parameter.many and len(values) > 1:
        yield finding("XDS-QUERY-006", place(slot), f"{len(values)} values of {parameter.name}")
    for value in values:
        yield from _value(slot, parameter, value)


def _value(slot: Element, parameter: Parameter, value: str) -> Iterator[Finding]:
    if parameter.kind in ("time", "number"):
        bare = value.strip("'")
        wrong = identifiers.wrong_dtm(bare) if parameter.kind == "time" else ""
        if parameter.kind == "number" and not bare.isdigit():
            wrong = "no number"
        if wrong:
            yield finding("XDS-QUERY-010", place(slot), wrong, value)
        return
    pattern = _LIST if parameter.many else _WHOLE_STRING
    if not pattern.match(value):
        right = "('one','other')" if parameter.many else "'text'"
        yield finding("XDS-QUERY-008", place(slot), "another coding", value, right=right)
        return
    for one in _STRING.findall(value):
        each = one.replace("''", "'")
        id, wrong_of = _CHECKS.get(parameter.kind, ("", None))
        if wrong_of is not None and (wrong := wrong_of(each)):
            yield finding(id, place(slot), wrong, each)


def _wrong_code(value: str) -> str:
    parts = value.split("^")
    if len(parts) != 3 or not parts[0] or parts[1] or not parts[2]:
        return "not code^^scheme"
    return ""


def _wrong_status(value: str) -> str:
    return "" if value in (schemes.APPROVED, schemes.DEPRECATED) else "neither Approved nor Deprecated"


_CHECKS: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "code": ("XDS-QUERY-009", _wrong_code),
    "cx": ("XDS-QUERY-014", identifiers.wrong_cx),
    "status": ("XDS-QUERY-011", _wrong_status),
    "type": (
        "XDS-QUERY-012",
        lambda value: "" if value in (schemes.STABLE, schemes.ON_DEMAND) else "neither Stable nor On-Demand",
    ),
    "uuid": ("XDS-QUERY-020", lambda value: "" if identifiers.UUID.match(value) else "no UUID"),
    "association": (
        "XDS-QUERY-021",
        lambda value: "" if value in schemes.ASSOCIATION_TYPES else "no associationType",
    ),
}

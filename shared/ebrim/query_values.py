"""How values stand in the Slots of a stored query (ITI TF-2 3.18.4.1.2.3.5).

A string is quoted, with quotes inside doubled; a number or a time is bare; alternatives are a list in
parentheses, which may be spread over several Values of one Slot.

Tolerated when reading: a single value without parentheses where a list is expected, and a list where a single
value is; double quotes; a patient id without quotes; numbers and times in quotes; white space between tokens,
and around ids; UUIDs in upper case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from shared.ebrim.identifiers import WHITE_SPACE, is_cx, is_cxi, is_dtm, is_oid, nfc
from shared.ebrim.model import Code, Timestamp
from shared.errors import QueryError, StoredQueryParamNumber

#: Slots of one query, alternatives of one Slot and of all, and characters of one Value.
MAX_SLOTS = 200
MAX_ALTERNATIVES = 1_000
MAX_VALUES = 5_000
MAX_CHARACTERS = 65_536

MAX_VALUE = 256

Value = str | int | Timestamp | Code

_QUOTED = re.compile(r"""'([^']*(?:''[^']*)*)'|"([^"]*(?:""[^"]*)*)\"""")
_BARE = re.compile(r"""[^\s'"(),]+""")
_WHITESPACE = re.compile(r"\s*")
_TOKEN = re.compile(rf"(?:{_QUOTED.pattern}|{_BARE.pattern})")


class ValueKind(StrEnum):
    """What a parameter's values are, as the parameter table of the registry names it."""

    CX = "cx"
    CODE = "code"
    TIME = "time"
    LIKE = "like"
    STATUS = "status"
    TYPE = "type"
    UUID = "uuid"
    UNIQUE_ID = "uid"
    REFERENCE_ID = "cxi"
    OID = "oid"
    ASSOCIATION = "assoc"
    AVAILABILITY = "avail"
    NUMBER = "num"


_OF_THE_DOMAIN = frozenset({ValueKind.CODE, ValueKind.TYPE, ValueKind.STATUS, ValueKind.ASSOCIATION})


# --- limits ------------------------------------------------------------------------------------------


def check_numbers(slots: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Count the Slots of a query and what they hold, before anything of it is read.

    Raises
    ------
    StoredQueryParamNumber
        There is more of something than a query may have.
    """
    if len(slots) > MAX_SLOTS:
        raise _too_many(f"the query has more than {MAX_SLOTS} Slots")
    # Nearly every query is shorter than its values may be many.
    if sum([len(value) + 1 for _, values in slots for value in values]) <= MAX_ALTERNATIVES:
        return
    in_all = 0
    for name, values in slots:
        alternatives = _number_of(values)
        in_all += alternatives
        if alternatives > MAX_ALTERNATIVES:
            raise _too_many(f"{_shown(name)} has more than {MAX_ALTERNATIVES} values")
        if any(len(value) > MAX_CHARACTERS for value in values):
            raise _too_many(f"{_shown(name)} has a value of more than {MAX_CHARACTERS} characters")
    if in_all > MAX_VALUES:
        raise _too_many(f"the query has more than {MAX_VALUES} values in all")


def _number_of(values: Sequence[str]) -> int:
    """How many alternatives `values` hold; a comma may stand in a name, and most queries have few of them."""
    at_most = len(values) + sum(value.count(",") for value in values)
    if at_most <= MAX_ALTERNATIVES or len(values) > MAX_ALTERNATIVES:
        return at_most
    return sum(sum(1 for _ in _TOKEN.finditer(value)) for value in values)


def _too_many(what: str) -> StoredQueryParamNumber:
    return StoredQueryParamNumber(f"{what}; ask for less at once")


# --- reading -----------------------------------------------------------------------------------------


def parse_clause(values: Sequence[str], kind: ValueKind) -> tuple[str, ...]:
    """All alternatives of one Slot: its Values are one list, wherever it was split.

    Raises
    ------
    QueryError
        A value is malformed.
    """
    return tuple(value for text in values for value in parse_value(text, kind))


def parse_value(text: str, kind: ValueKind) -> tuple[str, ...]:
    """The alternatives of one Value in Unicode normal form C; codes are spelled `value^^scheme`.

    An empty list gives no values; whether that is an absence or a mistake depends on the parameter.

    Raises
    ------
    QueryError
        The value is malformed, or not of its kind.
    """
    if kind in _OF_THE_DOMAIN and len(text) <= MAX_VALUE:
        return _kept(text, kind)
    return _parsed(text, kind)


def _parsed(text: str, kind: ValueKind) -> tuple[str, ...]:
    # NFC leaves bare tokens and separators alone.
    return tuple(_checked(value, kind) for value in _tokens(nfc(text).strip(WHITE_SPACE), kind))


# Codes, types and statuses come again with every query; ids and names of people do not, and are not kept.
_kept = lru_cache(maxsize=1024)(_parsed)


def _tokens(text: str, kind: ValueKind) -> Iterator[str]:
    if not text.startswith("("):
        value, end = _token(text, 0, kind)
        if end != len(text):
            raise _malformed(text)
        yield value
        return
    at, last = _skip(text, 1), len(text) - 1
    if at == last and text[at] == ")":
        return
    while True:
        value, at = _token(text, at, kind)
        yield value
        at = _skip(text, at)
        if at == last and text[at] == ")":
            return
        if text[at : at + 1] != ",":
            raise _malformed(text)
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _WHITESPACE.match(text, at)
    return at if match is None else match.end()


def _token(text: str, at: int, kind: ValueKind) -> tuple[str, int]:
    if quoted := _QUOTED.match(text, at):
        single, double = quoted.groups()
        return (single.replace("''", "'") if double is None else double.replace('""', '"')), quoted.end()
    if kind in _MAY_BE_BARE and (bare := _BARE.match(text, at)):
        return bare[0], bare.end()
    raise _malformed(text)


_MAY_BE_BARE = frozenset({ValueKind.TIME, ValueKind.NUMBER, ValueKind.CX})


def _malformed(text: str) -> QueryError:
    return QueryError(
        f"the value {_shown(text)} is malformed;"
        " write 'text', ('a','b') or a bare number, with inner quotes doubled"
    )


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"


def _checked(value: str, kind: ValueKind) -> str:
    value = value if kind is ValueKind.LIKE else value.strip(WHITE_SPACE)
    if kind is ValueKind.UUID:
        # A sample of the framework has blanks after urn:uuid:; either case is the same UUID (RFC 4122, 3).
        value = "".join(value.split()).lower()
    check, form = _FORMS.get(kind, _ANY)
    if not check(value):
        raise QueryError(f"the value {_shown(value)} is not {form}")
    return value


def _is_code(value: str) -> bool:
    code, _, scheme = value.partition("^^")
    return bool(code and scheme) and "^" not in code and "^" not in scheme


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 18


_ANY: tuple[Callable[[str], object], str] = (bool, "a value; it is empty")

_FORMS: Mapping[ValueKind, tuple[Callable[[str], object], str]] = {
    ValueKind.CX: (is_cx, "a patient id of the form 'id^^^&OID&ISO'"),
    ValueKind.CODE: (_is_code, "a code of the form 'code^^scheme'"),
    ValueKind.TIME: (is_dtm, "a time of the form YYYY[MM[DD[hh[mm[ss]]]]]"),
    ValueKind.NUMBER: (_is_number, "a number"),
    ValueKind.REFERENCE_ID: (is_cxi, "a reference id of the form 'id^^^&OID&ISO^typeCode'"),
    ValueKind.OID: (is_oid, "an OID"),
}


# --- writing -----------------------------------------------------------------------------------------


def quote(text: str) -> str:
    """`text` in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def encode_value(value: Value | Sequence[Value]) -> tuple[str, ...]:
    """The Values of one Slot: one for a single value, as many as their length asks for a list.

    A Value holds at most 256 characters (schema); a list is split between its members only.
    """
    if isinstance(value, str | int | Timestamp | Code):
        return (_literal(value),)
    return tuple(f"({group})" for group in _grouped(map(_literal, value)))


def _literal(value: Value) -> str:
    return str(value) if isinstance(value, int | Timestamp) else quote(str(value))


def _grouped(literals: Iterable[str]) -> Iterator[str]:
    group = ""
    for literal in literals:
        if group and len(group) + len(literal) + len("(,)") > MAX_VALUE:
            yield group
            group = ""
        group = f"{group},{literal}" if group else literal
    if group:
        yield group

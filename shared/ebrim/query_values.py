"""How values stand in the Slots of a stored query (ITI TF-2 3.18.4.1.2.3.5).

A string is quoted, with quotes inside doubled; a number or a time is bare; alternatives are a list in
parentheses, which may be spread over several Values of one Slot.

Tolerated when reading: a single value without parentheses where a list is expected, and a list where a single
value is; double quotes; a patient id without quotes; numbers and times in quotes; white space between tokens,
and around ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from shared.ebrim.identifiers import WHITE_SPACE, is_cx, is_cxi, is_dtm, is_oid, nfc
from shared.ebrim.model import Code, Timestamp
from shared.errors import QueryError

MAX_VALUE = 256

Value = str | int | Timestamp | Code

_QUOTED = re.compile(r"""'([^']*(?:''[^']*)*)'|"([^"]*(?:""[^"]*)*)\"""")
_BARE = re.compile(r"""[^\s'"(),]+""")
_WHITESPACE = re.compile(r"\s*")


class Kind(StrEnum):
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


_OF_THE_DOMAIN = frozenset({Kind.CODE, Kind.TYPE, Kind.STATUS, Kind.ASSOCIATION})


# --- reading -----------------------------------------------------------------------------------------


def parse_clause(values: Sequence[str], kind: Kind) -> tuple[str, ...]:
    """All alternatives of one Slot: its Values are one list, wherever it was split.

    Raises
    ------
    QueryError
        A value is malformed.
    """
    return tuple(value for text in values for value in parse_value(text, kind))


def parse_value(text: str, kind: Kind) -> tuple[str, ...]:
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


def _parsed(text: str, kind: Kind) -> tuple[str, ...]:
    # NFC leaves bare tokens and separators alone.
    return tuple(_checked(value, kind) for value in _tokens(nfc(text).strip(WHITE_SPACE), kind))


# Codes, types and statuses come again with every query; ids and names of people do not, and are not kept.
_kept = lru_cache(maxsize=1024)(_parsed)


def _tokens(text: str, kind: Kind) -> Iterator[str]:
    if not text.startswith("("):
        value, end = _token(text, 0, kind)
        if end != len(text):
            raise _malformed(text)
        yield value
        return
    at = _skip(text, 1)
    if text[at:] == ")":
        return
    while True:
        value, at = _token(text, at, kind)
        yield value
        at = _skip(text, at)
        if text[at:] == ")":
            return
        if text[at : at + 1] != ",":
            raise _malformed(text)
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    found = _WHITESPACE.match(text, at)
    return at if found is None else found.end()


def _token(text: str, at: int, kind: Kind) -> tuple[str, int]:
    if quoted := _QUOTED.match(text, at):
        single, double = quoted.groups()
        return (single.replace("''", "'") if double is None else double.replace('""', '"')), quoted.end()
    if kind in _MAY_BE_BARE and (bare := _BARE.match(text, at)):
        return bare[0], bare.end()
    raise _malformed(text)


_MAY_BE_BARE = frozenset({Kind.TIME, Kind.NUMBER, Kind.CX})


def _malformed(text: str) -> QueryError:
    return QueryError(
        f"the value {_shown(text)} is malformed;"
        " write 'text', ('a','b') or a bare number, with inner quotes doubled"
    )


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"


def _checked(value: str, kind: Kind) -> str:
    value = value if kind is Kind.LIKE else value.strip(WHITE_SPACE)
    if kind is Kind.UUID:
        # A sample of the framework has blanks after urn:uuid:.
        value = "".join(value.split())
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

_FORMS: Mapping[Kind, tuple[Callable[[str], object], str]] = {
    Kind.CX: (is_cx, "a patient id of the form 'id^^^&OID&ISO'"),
    Kind.CODE: (_is_code, "a code of the form 'code^^scheme'"),
    Kind.TIME: (is_dtm, "a time of the form YYYY[MM[DD[hh[mm[ss]]]]]"),
    Kind.NUMBER: (_is_number, "a number"),
    Kind.REFERENCE_ID: (is_cxi, "a reference id of the form 'id^^^&OID&ISO^typeCode'"),
    Kind.OID: (is_oid, "an OID"),
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

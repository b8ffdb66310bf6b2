"""Matching of attributes by keys (PS3.4 C.2.2.2; PS3.18 8.3.4).

Dates, times and numbers are compared by what they mean, names of persons without regard to case, all else as
it is written. A key is met by any of several values, and by any group of a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Protocol

from shared.dicom.data_set import name
from shared.dicom.encodings import implicit_vr
from shared.dicom.json import Attributes, items, texts
from shared.dicom.uids import is_uid

MAX_UIDS: Final = 500
MAX_DEPTH: Final = 8

_DATE: Final = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})\Z", re.ASCII)
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?\Z", re.ASCII)
_MOMENT: Final = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?\Z",
    re.ASCII,
)
_WILD: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_EARLIEST, _LATEST = "", "\uffff"


class WrongKey(ValueError):
    """A key cannot be matched; the text names its attribute, says what is wrong and holds no value of it."""


class Rule(Protocol):
    """What one value must be."""

    def meets(self, value: str) -> bool:
        """Whether `value`, as DICOM spells it, is so."""
        ...


@dataclass(frozen=True, slots=True)
class UidRule:
    """One of these UIDs."""

    uids: frozenset[str]

    def meets(self, value: str) -> bool:
        """Whether `value` is one of them."""
        return value in self.uids


@dataclass(frozen=True, slots=True)
class TextRule:
    """A text, in which `*` is any text and `?` one character where the VR has wildcards."""

    text: str
    wildcards: bool

    def meets(self, value: str) -> bool:
        """Whether `value` is so."""
        return _resembles(value, self.text) if self.wildcards else value == self.text


@dataclass(frozen=True, slots=True)
class NameRule:
    """A name, in which `*` and `?` are wildcards; cases are alike."""

    text: str

    def meets(self, value: str) -> bool:
        """Whether `value`, or a group of it, is so."""
        pattern = plain_name(self.text)
        whole = plain_name(value)
        return any(_resembles(one, pattern) for one in (whole, *whole.split("=")))


@dataclass(frozen=True, slots=True)
class WordsRule:
    """Words that begin words of a name, in any order; neither case nor accents count (fuzzy matching)."""

    words: tuple[str, ...]

    def meets(self, value: str) -> bool:
        """Whether every word begins one of `value`."""
        of_value = words_of(value)
        return all(any(word.startswith(start) for word in of_value) for start in self.words)


@dataclass(frozen=True, slots=True)
class RangeRule:
    """From `first` to `last`, both of them included, in the form that sorts by meaning."""

    first: str
    last: str
    sortable: Callable[[str], str]

    def meets(self, value: str) -> bool:
        """Whether `value` lies within."""
        place = self.sortable(value)
        return bool(place) and self.first <= place <= self.last


@dataclass(frozen=True, slots=True)
class NumberRule:
    """A number."""

    number: Decimal

    def meets(self, value: str) -> bool:
        """Whether `value` is the number."""
        try:
            return Decimal(value.strip()) == self.number
        except InvalidOperation:
            return False


@dataclass(frozen=True, slots=True)
class AnyRule:
    """One of several rules."""

    rules: tuple[Rule, ...]

    def meets(self, value: str) -> bool:
        """Whether `value` meets one of them."""
        return any(rule.meets(value) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Match:
    """A key: the attribute at `path`, tags of sequences before the last one, must have a value that meets
    `rule`; with None it must have no value."""

    path: tuple[int, ...]
    rule: Rule | None

    def meets(self, attributes: Attributes) -> bool:
        """Whether `attributes` match this key alone."""
        return _meet(attributes, ((self.path, self.rule),))


def match(attributes: Attributes, keys: Iterable[Match]) -> bool:
    """Whether `attributes` match all `keys`; those of one sequence must be met by one of its items."""
    return _meet(attributes, tuple((key.path, key.rule) for key in keys))


_Keys = tuple[tuple[tuple[int, ...], Rule | None], ...]


def _meet(attributes: Attributes, keys: _Keys) -> bool:
    nested: dict[int, _Keys] = {}
    for path, rule in keys:
        if len(path) > 1:
            nested[path[0]] = (*nested.get(path[0], ()), (path[1:], rule))
        elif not _has(texts(attributes, path[0]), rule):
            return False
    return all(any(_meet(item, of) for item in items(attributes, tag)) for tag, of in nested.items())


def _has(values: Sequence[str], rule: Rule | None) -> bool:
    return not any(values) if rule is None else any(map(rule.meets, values))


# --- keys --------------------------------------------------------------------------------------------


def key_of(path: tuple[int, ...], text: str, *, fuzzy: bool = False, several: bool = False) -> Match | None:
    """The key that a query spells `text`; None for universal matching, which every value meets and none.

    Parameters
    ----------
    fuzzy
        Names of persons are compared by the beginnings of their words.
    several
        Commas part values of which one suffices; backslashes do so always, and commas between UIDs.

    Raises
    ------
    WrongKey
        The text is no value of the attribute's VR.
    """
    try:
        return _key_of(path, text.strip(" \0"), fuzzy=fuzzy, several=several)
    except WrongKey as error:
        raise WrongKey(f"{name(path[-1])}: {error}") from None


def _key_of(path: tuple[int, ...], stripped: str, *, fuzzy: bool, several: bool) -> Match | None:
    vr = implicit_vr(path[-1])
    if not stripped.strip("*") and (vr in _WILD or not stripped):
        return None
    if vr == "SQ":
        raise WrongKey("a sequence is matched by the attributes of its items")
    separators = r"[,\\]" if several or vr == "UI" else r"\\"
    parts = [part.strip(" \0") for part in re.split(separators, stripped)]
    values = list(dict.fromkeys(filter(None, parts)))
    if len(values) > MAX_UIDS:
        raise WrongKey(f"more than {MAX_UIDS} values")
    if vr == "UI":
        return Match(path, _uids(values))
    rules = tuple(_rule(vr, value, fuzzy) for value in values)
    return Match(path, rules[0] if len(rules) == 1 else AnyRule(rules))


def without_value(path: tuple[int, ...]) -> Match:
    """The key of an attribute that is absent or has no value (PS3.4 C.2.2.2.4)."""
    return Match(path, None)


def _uids(values: Sequence[str]) -> UidRule:
    if not values or not all(map(is_uid, values)):
        raise WrongKey("a UID is digits and dots; UIDs of a list are parted by commas")
    return UidRule(frozenset(values))


def _rule(vr: str, text: str, fuzzy: bool) -> Rule:
    if vr == "DA":
        return _range(text, sortable_date, sortable_date, "a date is YYYYMMDD, a range YYYYMMDD-YYYYMMDD")
    if vr == "TM":
        return _range(text, sortable_time, _last_time, "a time is HHMMSS, a range HHMMSS-HHMMSS")
    if vr == "DT":
        return _range(text, _sortable_moment, _last_moment, "a date and time is YYYYMMDDHHMMSS")
    if vr in _NUMBERS:
        try:
            return NumberRule(Decimal(text))
        except InvalidOperation:
            raise WrongKey("it is no number") from None
    if vr == "PN":
        words = words_of(text.replace("*", " ").replace("?", " ")) if fuzzy else ()
        return WordsRule(words) if words else NameRule(text)
    return TextRule(text, vr in _WILD and ("*" in text or "?" in text))


def _range(text: str, first: Callable[[str], str], last: Callable[[str], str], form: str) -> RangeRule:
    start, hyphen, end = _parted(text, first)
    rule = RangeRule(
        first(start) if start else _EARLIEST,
        last(end if hyphen else start) if (end or not hyphen) else _LATEST,
        first,
    )
    if (start and not rule.first) or not rule.last or text == "-":
        raise WrongKey(form)
    return rule


def _parted(text: str, sortable: Callable[[str], str]) -> tuple[str, str, str]:
    """Beginning, hyphen and end; the hyphen of a zone, or of a date of old, parts no range."""
    if sortable(text):
        return text, "", ""
    for at in (hyphen.start() for hyphen in re.finditer("-", text)):
        start, end = text[:at].strip(), text[at + 1 :].strip()
        if all(not one or sortable(one) for one in (start, end)):
            return start, "-", end
    return text, "", ""


# --- what values mean --------------------------------------------------------------------------------


def sortable_date(value: str) -> str:
    """YYYYMMDD, also of `2024.03.05` of old; empty when it is no date."""
    parts = _DATE.match(value.strip())
    return "".join(parts.groups()) if parts else ""


def sortable_time(value: str) -> str:
    """HHMMSS.FFFFFF; what is left out counts as zero; empty when it is no time."""
    return _time(value, "0")


def _last_time(value: str) -> str:
    return _time(value, "9")


def _time(value: str, rest: str) -> str:
    parts = _TIME.match(value.strip())
    if not parts:
        return ""
    hours, minutes, seconds, fraction = parts.groups()
    most = "59" if rest == "9" else "00"
    return f"{hours}{minutes or most}{seconds or most}.{(fraction or '').ljust(6, rest)}"


def _sortable_moment(value: str) -> str:
    return _moment(value, ("01", "01", "00", "00", "00"), "0")


def _last_moment(value: str) -> str:
    return _moment(value, ("12", "31", "23", "59", "59"), "9")


def _moment(value: str, rest: Sequence[str], digit: str) -> str:
    """Without its zone: it is that of the department on both sides."""
    parts = _MOMENT.match(value.strip())
    if not parts:
        return ""
    year, *fields, fraction, _zone = parts.groups()
    whole = "".join(part or default for part, default in zip(fields, rest, strict=True))
    return f"{year}{whole}.{(fraction or '').ljust(6, digit)}"


def folded(text: str) -> str:
    """`text` without cases and accents, for what is looked up before it is compared."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in decomposed if not unicodedata.combining(one)).casefold()


def plain_name(value: str) -> str:
    """A person's name as it is compared: cases alike, and without what is empty at its end."""
    return "=".join(map(_name, value.split("=")))


def words_of(value: str) -> tuple[str, ...]:
    """The words of a person's name, folded."""
    return tuple(dict.fromkeys(filter(None, re.split(r"[\s^=,\-']+", folded(value)))))


def _name(text: str) -> str:
    """One group of a name: without the components that are empty at its end."""
    parts = (part.strip() for part in text.casefold().rstrip("^ ").split("^"))
    return "^".join(parts)


def _resembles(value: str, pattern: str) -> bool:
    """Whether `value` is as `pattern` says; in time proportional to both, whatever a stranger asks for."""
    at = place = 0
    star, resumed = -1, 0
    while at < len(value):
        if place < len(pattern) and pattern[place] == "*":
            star, resumed = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", value[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resumed += 1
            at, place = resumed, star + 1
        else:
            return False
    return not pattern[place:].strip("*")

"""Values in the form that PS3.5 6.2 allows, whatever a source wrote: what is sent is legal.

An identifier is never cut: half a number is another one. A text is.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

SHORT: Final = 16
LONG: Final = 64
"""Most characters of SH, and of LO and of one group of a PN."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\\]+")
_DATE = re.compile(
    r"(\d{4})(?:(\d{2})(\d{2})|[-./](\d{1,2})[-./](\d{1,2}))(?!\d(?!\d))(?:[-T ].*|\d{2}[\d.+-]*)?\Z"
)
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d{1,6})?\d*)?)?(?:[-+].*)?\Z")
# As departments write it in English, German, French, Italian and Spanish.
_SEXES: Final = {
    "M": (
        "M",
        "MALE",
        "MAN",
        "MÄNNLICH",
        "MAENNLICH",
        "MASCULIN",
        "MASCHILE",
        "MASCULINO",
        "H",
        "HOMME",
        "1",
    ),
    "F": (
        "F",
        "FEMALE",
        "WOMAN",
        "W",
        "WEIBLICH",
        "FEMININ",
        "FÉMININ",
        "FEMMINILE",
        "FEMENINO",
        "FEMME",
        "2",
    ),
    "O": ("O", "OTHER", "D", "DIVERS", "X", "A"),
}
_SEX: Final = {word: sex for sex, words in _SEXES.items() for word in words}


def plain(value: str) -> str:
    """`value` in one line, without what no text of one value may hold."""
    return _CONTROL.sub(" ", value).strip()


def text(value: str, most: int = LONG) -> str:
    """A text of at most `most` characters."""
    return plain(value)[:most].rstrip()


def identifier(value: str, most: int) -> str:
    """An identifier; empty when it is longer than `most` characters."""
    text = plain(value)
    return text if len(text) <= most else ""


def person_name(value: str) -> str:
    """A PN: three groups of at most five components and 64 characters."""
    groups = (
        "^".join(part.strip() for part in group.split("^")[:5]) for group in plain(value).split("=")[:3]
    )
    return "=".join(group[:LONG].rstrip("^ ") for group in groups).rstrip("=")


def code_string(value: str) -> str:
    """A CS in upper case; empty when it is none (PS3.5 6.2: 16 of A-Z, 0-9, blank and underscore)."""
    text = plain(value).upper()
    return text if re.fullmatch(r"[A-Z0-9_ ]{1,16}", text) else ""


def sex(value: str) -> str:
    """Patient's Sex as M, F or O (PS3.3 C.7.1.1); empty when it says none of them."""
    return _SEX.get(plain(value).upper(), "")


def date(value: str) -> str:
    """`value` as YYYYMMDD; empty when it is no date of the calendar.

    Dots are from before DICOM; dashes, slashes, a time behind it and the end of a range are in the field.
    """
    if not (match := _DATE.match(value.strip())):
        return ""
    year, *rest = match.groups()
    month, day = (part.zfill(2) for part in rest if part is not None)
    try:
        datetime.strptime(year + month + day, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return ""
    return year + month + day


def time(value: str) -> str:
    """`value` as HH[MM[SS[.F]]]; empty when it is no time of day. Colons in it are from before DICOM."""
    if not (match := _TIME.match(value.strip())):
        return ""
    hour, minute, second, fraction = (part or "" for part in match.groups())
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        return ""
    return f"{hour}{minute}{second}{fraction}"

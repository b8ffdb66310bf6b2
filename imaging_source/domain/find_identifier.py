"""What C-FIND is asked for: a level, keys to be met, and attributes to be told (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from imaging_source.domain.retrieve_identifier import (
    LEVEL,
    UNIQUE_KEYS,
    IdentifierMismatch,
    Level,
    Root,
    level_of_identifier,
    levels_of,
)
from shared.dicom.encodings import implicit_vr
from shared.imaging.query.levels import QueryLevel, level_of
from shared.imaging.query.matching import Match, WrongKey, key_of
from shared.imaging.query.query import Query, is_matched

Elements = Mapping[int, "str | Sequence[Elements]"]
"""An identifier: values of an attribute as one text, or the items of a sequence."""

PATIENT_COUNTS: Final = {0x00201200: "studies", 0x00201202: "series", 0x00201204: "instances"}
"""What is counted of a patient, of whom there is no level of its own."""

_CHARACTER_SET: Final = 0x00080005
_RETRIEVE_AE_TITLE: Final = 0x00080054
_AVAILABILITY: Final = 0x00080056
_OF_THE_ANSWER: Final = frozenset({_CHARACTER_SET, LEVEL, _RETRIEVE_AE_TITLE, _AVAILABILITY})
_STUDY_COUNTS: Final = frozenset({0x00201206, 0x00201208})
_QUERY_LEVELS: Final = {
    Level.PATIENT: QueryLevel.STUDY,
    Level.STUDY: QueryLevel.STUDY,
    Level.SERIES: QueryLevel.SERIES,
    Level.IMAGE: QueryLevel.INSTANCE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FindKeys:
    """A query at a level: what is searched, the `tags` that a match tells, and whether some keys are not
    supported, which are neither matched nor told."""

    level: Level
    query: Query
    tags: frozenset[int]
    unsupported: bool
    character_sets: tuple[str, ...]

    def told(self, attributes: Mapping[str, Any], ae_title: str) -> dict[str, Any]:
        """What a match tells of its `attributes`: what was asked for, its unique keys, and where it is."""
        match = {key: element for key, element in attributes.items() if int(key, 16) in self.tags}
        match |= {f"{tag:08X}": {"vr": implicit_vr(tag)} for tag in self.tags if f"{tag:08X}" not in match}
        return {
            **match,
            f"{LEVEL:08X}": {"vr": "CS", "Value": [self.level.value]},
            f"{_RETRIEVE_AE_TITLE:08X}": {"vr": "AE", "Value": [ae_title]},
            f"{_AVAILABILITY:08X}": {"vr": "CS", "Value": ["ONLINE"]},
        }


def find_keys(root: Root, elements: Elements, *, relational: bool, fuzzy: bool) -> FindKeys:
    """What the identifier with these `elements` asks for.

    Parameters
    ----------
    relational
        Unique keys above the level may be absent, as was negotiated (C.4.1.2.2.2).
    fuzzy
        Names are matched by the beginnings of their words, as was negotiated.

    Raises
    ------
    IdentifierMismatch
        There is no such level, a unique key above it is absent or has several values, or a value cannot be.
    """
    level = level_of_identifier(root, [text] if isinstance(text := elements.get(LEVEL), str) and text else [])
    above = levels_of(root)[: levels_of(root).index(level)]
    if not relational:
        for one in above:
            _check_unique(elements.get(UNIQUE_KEYS[one], ""), UNIQUE_KEYS[one])
    searched = _QUERY_LEVELS[level]
    asked_tags = frozenset(elements) - _OF_THE_ANSWER
    tags = frozenset(tag for tag in asked_tags if _is_told(tag, level, searched))
    unique = frozenset(UNIQUE_KEYS[one] for one in (*above, level))
    return FindKeys(
        level=level,
        query=Query(
            level=searched,
            keys=tuple(_keys(elements, level, searched, fuzzy)),
            include=tags | unique,
            above=searched is not QueryLevel.STUDY and bool(_STUDY_COUNTS & tags),
        ),
        tags=tags | unique,
        unsupported=tags != asked_tags,
        character_sets=_character_sets(elements.get(_CHARACTER_SET, "")),
    )


def _is_told(tag: int, level: Level, searched: QueryLevel) -> bool:
    """Whether a query at this level knows the attribute: it is of the level, or of one above."""
    if tag in PATIENT_COUNTS:
        return level is Level.PATIENT
    if (tag >> 16) % 2:
        return False
    of = level_of(tag)
    if level is Level.PATIENT:
        return of is QueryLevel.STUDY and tag >> 16 == 0x0010
    return of is None or of <= searched


def _keys(elements: Elements, level: Level, searched: QueryLevel, fuzzy: bool) -> Iterator[Match]:
    for tag in sorted(set(elements) - _OF_THE_ANSWER):
        if _is_told(tag, level, searched) and is_matched((tag,), searched):
            yield from _keys_of(elements[tag], (tag,), fuzzy)


def _keys_of(value: str | Sequence[Elements], path: tuple[int, ...], fuzzy: bool) -> Iterator[Match]:
    if not isinstance(value, str):
        for item in value:
            for tag in sorted(item):
                yield from _keys_of(item[tag], (*path, tag), fuzzy)
        return
    try:
        key = key_of(path, value, fuzzy=fuzzy)
    except WrongKey as error:
        raise IdentifierMismatch(f"{_name(path[0])}: {error}") from None
    if key is not None:
        yield key


def _check_unique(value: str | Sequence[Elements], tag: int) -> None:
    if not isinstance(value, str) or not value.strip(" \0"):
        raise IdentifierMismatch(f"{_name(tag)} is absent or empty")
    if "\\" in value or any(sign in value for sign in "*?"):
        raise IdentifierMismatch(f"{_name(tag)} is no single value")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _character_sets(value: str | Sequence[Elements]) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split("\\")) if isinstance(value, str) and value else ()

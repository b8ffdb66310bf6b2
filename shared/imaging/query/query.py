"""One query, and what a match of it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.dicom.encodings import implicit_vr
from shared.imaging.header_tags import HEADER_TAGS
from shared.imaging.query.levels import RETURNED, WHEN_PRESENT, QueryLevel, level_of
from shared.imaging.query.matching import Match

#: What follows from all that a study holds, and is matched as what instances say.
GATHERED: Final = frozenset({0x00080061, 0x00080062})


def is_matched(path: tuple[int, ...], level: QueryLevel) -> bool:
    """Whether a query of `level` can be narrowed by the attribute at `path`; else such a key is left out."""
    of = level_of(path[0])
    return of is not None and of <= level and path[0] in HEADER_TAGS | GATHERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is searched at which `level`; all `keys` must be met.

    `include` are tags that a match tells beside those of its level; `whole` asks for all that there are of it
    and of the levels above, `above` for the attributes of those levels too. Keys and tags of levels below
    have no say: `is_matched` tells which keys may stand here.
    """

    level: QueryLevel
    keys: tuple[Match, ...] = ()
    include: frozenset[int] = frozenset()
    whole: bool = False
    above: bool = False

    @property
    def told(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """What a match tells of all its attributes, ascending by tag; made once for all matches."""
        levels = [level for level in QueryLevel if (self.above and level < self.level) or level is self.level]
        present = {f"{tag:08X}" for level in levels for tag in WHEN_PRESENT[level]}
        tags = {tag for level in levels for tag in RETURNED[level]} | self._included
        always = {f"{tag:08X}": {"vr": implicit_vr(tag)} for tag in tags}
        ordered = sorted(present | always.keys())

        def whole(attributes: Mapping[str, Any]) -> dict[str, Any]:
            return dict(sorted((always | dict(attributes)).items()))

        def of_levels(attributes: Mapping[str, Any]) -> dict[str, Any]:
            result = {}
            for key in ordered:
                element = attributes.get(key) or always.get(key)
                if element is not None and (key in always or "Value" in element):
                    result[key] = element
            return result

        return whole if self.whole else of_levels

    @property
    def _included(self) -> set[int]:
        return {tag for tag in self.include if (level_of(tag) or self.level) <= self.level}

    def needs(self, tags: frozenset[int]) -> bool:
        """Whether more is asked for than `tags`, and what is gathered."""
        return self.whole or not (tags | GATHERED).issuperset(self._included)

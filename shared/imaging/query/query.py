"""One query, and what a match of it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.dicom.scanner import implicit_vr
from shared.imaging.description import HEADER_TAGS
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

    def told(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """What a match tells of all its `attributes`, ascending by tag."""
        levels = [level for level in QueryLevel if (self.above and level < self.level) or level is self.level]
        always = {tag for level in levels for tag in RETURNED[level]} | self._included
        present = {tag for level in levels for tag in WHEN_PRESENT[level]}
        result = {
            key: element
            for key, element in attributes.items()
            if self.whole or int(key, 16) in always or (int(key, 16) in present and "Value" in element)
        }
        absent = (f"{tag:08X}" for tag in always)
        result |= {key: {"vr": implicit_vr(int(key, 16))} for key in absent if key not in result}
        return dict(sorted(result.items()))

    @property
    def _included(self) -> set[int]:
        return {tag for tag in self.include if (level_of(tag) or self.level) <= self.level}

    def needs(self, tags: frozenset[int]) -> bool:
        """Whether more is asked for than `tags`, and what is gathered."""
        return self.whole or not (tags | GATHERED).issuperset(self._included)

"""What of a query an archive is asked for: keys that every archive matches alike.

Whoever asks matches again, so that a key that is left out narrows nothing and hides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.imaging.query.matching import AnyRule, NameRule, RangeRule, Rule, TextRule, UidRule
from shared.imaging.query.query import Query


def keys_of(query: Query) -> dict[int, Sequence[str]]:
    """The values of each key, by tag; several are UIDs, of which one suffices."""
    keys = {key.path[0]: _values(key.rule) for key in query.keys if len(key.path) == 1 and key.rule}
    return {tag: values for tag, values in keys.items() if values}


def _values(rule: Rule) -> Sequence[str]:
    match rule:
        case UidRule(uids):
            return sorted(uids)
        case TextRule(text) | NameRule(text):
            return [text]
        case RangeRule(first, last) if first.isdigit() and last.isdigit():
            return [first if first == last else f"{first}-{last}"]
        case AnyRule(rules) if all(isinstance(one, UidRule) for one in rules):
            return [uid for one in rules for uid in _values(one)]
        case _:
            return []

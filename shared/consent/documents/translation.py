"""What a consent document or resource comes to: policies of one patient, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from shared.consent.policy import Policy, PolicyError, new_policy
from shared.xml import PRESCAN_BYTES, Element, XmlError, XmlGuard, parse

MOST_POLICIES: Final = 200
"""That one document may come to."""
TOO_MANY: Final = f"it comes to more than {MOST_POLICIES} policies; write it shorter"

Fields = Mapping[str, Any]
"""Fields of a policy, by the names of `shared.consent.policy.Policy`."""


class NotTranslatable(ValueError):
    """The document is not wholly understood; the text says what of it, where, and what would be."""


@dataclass(frozen=True, slots=True)
class Translation:
    """The patient whom a document names, as root and extension of the id; and what it says, as policies."""

    patient_root: str
    patient_extension: str
    policies: tuple[Fields, ...]

    def made(
        self, *, patient_id: str, source: str, author: str = "", description: str = ""
    ) -> tuple[Policy, ...]:
        """The policies of the patient, who is known by this CX.

        Raises
        ------
        NotTranslatable
            They cannot be kept as policies.
        """
        if len(self.policies) > MOST_POLICIES:
            raise NotTranslatable(TOO_MANY)
        try:
            return tuple(
                new_policy(
                    **{"description": description or source, **fields, "source": source, "author": author},
                    patient_id=patient_id,
                )
                for fields in self.policies
            )
        except PolicyError as error:
            raise NotTranslatable(str(error)) from None


def parsed(octets: bytes) -> Element:
    """The root of a consent document that is XML; raises `NotTranslatable`."""
    try:
        if len(octets) > PRESCAN_BYTES:
            guard = XmlGuard()
            guard.feed(octets)
            guard.close()
        return parse(octets)
    except XmlError as error:
        raise NotTranslatable(f"not readable as XML: {error}") from None


def combined(*parts: Sequence[Fields]) -> list[Fields]:
    """Each combination of one alternative of every part, all of whose conditions hold together; those whose
    times have nothing in common are left out.

    Raises
    ------
    NotTranslatable
        A combination asks twice for the same with different values, or there are too many.
    """
    number = 1
    for part in parts:
        number *= len(part)
    if number > MOST_POLICIES:
        raise NotTranslatable(TOO_MANY)
    return [each for each in map(_together, product(*parts)) if _is_ever_in_force(each)]


def _is_ever_in_force(fields: Fields) -> bool:
    begins, ends = fields.get("valid_from"), fields.get("valid_until")
    return begins is None or ends is None or begins < ends


def _together(parts: Iterable[Fields]) -> Fields:
    together: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            before: Any = together.get(name, value)
            if name == "valid_from":
                together[name] = max(before, value)
            elif name == "valid_until":
                together[name] = min(before, value)
            elif name == "actions":
                if not (both := [each for each in before if each in value]):
                    raise NotTranslatable("two levels name actions that have nothing in common")
                together[name] = both
            elif before != value:
                raise NotTranslatable(
                    f"{name}: asked for twice with different values, which no policy can hold"
                )
            else:
                together[name] = value
    return together


def merged(policies: Sequence[Fields], name: str) -> list[Fields]:
    """Those that differ in the list `name` alone as one with all its values."""
    of_rest: dict[str, dict[str, Any]] = {}
    for fields in policies:
        key = repr(sorted((other, value) for other, value in fields.items() if other != name)) + str(
            name in fields
        )
        if key in of_rest and name in fields:
            values = of_rest[key][name]
            of_rest[key][name] = [*values, *(value for value in fields[name] if value not in values)]
        else:
            of_rest.setdefault(key, dict(fields))
    return list(of_rest.values())

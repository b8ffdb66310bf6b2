"""Who could see what: policies as they are beside policies as they would be, before they are kept.

The persons that are tried are those whom the policies themselves tell apart, and somebody of whom they say
nothing; the documents are the patient's own, by the codes that decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, product
from typing import Any, Final

from shared.consent.decision import Action, Resource
from shared.consent.evaluation import decide_with
from shared.consent.policy import Policy
from shared.ebrim.model import Code
from shared.security.caller import Caller, Node, User
from shared.settings import Default

MOST_PERSONS: Final = 100
"""That a preview tells of."""
_NAMES: Final = ("users", "roles", "organizations", "home_communities", "purposes")


@dataclass(frozen=True, slots=True)
class Counted:
    """How many documents there are of which policies read the same."""

    resource: Resource
    number: int


@dataclass(frozen=True, slots=True)
class Preview:
    """One person, by what policies ask for, and how many documents are found and opened now and then."""

    person: Mapping[str, str]
    finds: tuple[int, int]
    opens: tuple[int, int]

    def told(self, number: int) -> dict[str, Any]:
        """As JSON; of `number` documents in all."""
        return {
            "person": dict(self.person),
            "documents": number,
            "find": {"now": self.finds[0], "then": self.finds[1]},
            "open": {"now": self.opens[0], "then": self.opens[1]},
        }


def previewed(
    now_kept: Sequence[Policy],
    then_kept: Sequence[Policy],
    documents: Sequence[Counted],
    *,
    default: Default,
    now: datetime,
    identities: Sequence[str] = (),
) -> list[Preview]:
    """What each of the persons would see before and after the change.

    Raises
    ------
    PolicyError
        Two of the policies have the same id.
    """

    def number(policies: Sequence[Policy], person: Mapping[str, str], action: Action) -> int:
        decisions = decide_with(
            policies,
            _caller(person),
            action,
            [each.resource for each in documents],
            default=default,
            now=now,
            identities=identities,
        )
        return sum(each.number for each, one in zip(documents, decisions, strict=True) if one.permitted)

    return [
        Preview(
            person,
            (number(now_kept, person, Action.QUERY), number(then_kept, person, Action.QUERY)),
            (number(now_kept, person, Action.RETRIEVE), number(then_kept, person, Action.RETRIEVE)),
        )
        for person in persons((*now_kept, *then_kept))
    ]


def persons(policies: Iterable[Policy]) -> list[Mapping[str, str]]:
    """Those whom `policies` tell apart, at most `MOST_PERSONS`: first somebody of whom none says anything."""
    every = ({}, *(person for policy in policies for person in islice(_persons(policy), MOST_PERSONS)))
    return list({repr(sorted(person.items())): person for person in every}.values())[:MOST_PERSONS]


def _persons(policy: Policy) -> Iterator[Mapping[str, str]]:
    names = [name for name in _NAMES if getattr(policy, name)]
    for values in product(*(getattr(policy, name) for name in names)):
        yield dict(zip(names, values, strict=True))


def _caller(person: Mapping[str, str]) -> Caller:
    name_id, _, issuer = person.get("users", "").rpartition("@")
    user = User(
        name_id=name_id,
        issuer=issuer,
        assertion_id="",
        roles=_codes(person.get("roles")),
        purposes=_codes(person.get("purposes")),
        organization_ids=tuple(filter(None, (person.get("organizations"),))),
        home_community_id=person.get("home_communities", ""),
    )
    return Caller(node=Node(address=""), endpoint="", user=user)


def _codes(spelled: str | None) -> tuple[Code, ...]:
    if not spelled:
        return ()
    value, _, scheme = spelled.partition("^^")
    return (Code(value, scheme),)

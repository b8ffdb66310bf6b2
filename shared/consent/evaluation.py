"""What a patient's policies mean together: the decision, its reason, and what is remembered of it.

Of the policies in force that concern the action:

1. One that denies and applies to caller and document: no. 2. Else one that permits and applies: yes. 3. Else,
when any of them permits somebody: no. Permissions are the closed list of who may; denials alone only exclude.
4. Else the domain's default.
5. A break in force that applies turns a no into a yes, but where a denial that is absolute applies, and where
nothing could be evaluated.

A permission to query or to retrieve closes the list for both: who may not find a document may not fetch it
either. What expired is as if it had never been. Of identities that were merged each is decided by itself, by
its own policies and the default, and every one of them must permit: one without a policy is as closed as the
default. A break is for the person, and so for all of them. A caller without a user has no role, organisation,
home community or purpose. An assertion that is bound to another patient is a no before all of these.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

import cedarpy

from shared.consent.binding import bound
from shared.consent.cedar import (
    Answer,
    Attributes,
    Subject,
    ask,
    condition_set,
    conditions,
    policy_set,
    subject_of,
)
from shared.consent.decision import Action, Decision, Resource
from shared.consent.policy import DISCLOSURES, Effect, Policy, PolicyError, read_policy
from shared.security.caller import Caller, User
from shared.settings import Default

UNREADABLE = Decision(False, "policies cannot be read")
FAILED = Decision(False, "policies cannot be evaluated")
CLOSED_LIST = Decision(False, "default: deny, no permit policy of the patient applies")

# More questions than these are asked in a thread (about 4 ms on the loop).
ASKED_ON_THE_LOOP = 50
REMEMBERED_SETS = 1_000
REMEMBERED_DECISIONS_OF_A_SET = 256

_person_of = lru_cache(maxsize=1_024)(subject_of)


@lru_cache(maxsize=1_024)
def _subject_of(user: User | None) -> Subject:
    """Whom policies decide alike that name no person."""
    return replace(subject_of(user), user="")


#: Policies, and the ids that merges made one.
_Key = tuple[tuple[Policy, ...] | tuple[str, ...], tuple[str, ...]]


def decide_with(
    policies: Sequence[Policy],
    caller: Caller,
    action: Action,
    resources: Iterable[Resource],
    *,
    default: Default,
    now: datetime,
    identities: Sequence[str] = (),
) -> tuple[Decision, ...]:
    """One decision for each resource, in order, by these policies of its patient; a pure function.

    `identities` are the ids of a patient that was merged, those without a policy among them.

    Raises
    ------
    PolicyError
        Two of the policies have the same id.
    """
    listed = tuple(resources)
    ready = _Ready(policies, identities, default, now)
    decisions = ready.decide(subject_of(caller.user), action, ready.attributes(listed))
    return bound(decisions, listed, caller, identities)


class PolicyDecisions:
    """Decides by policies that are at hand, and remembers by their content what was decided.

    Policies come as values or as their JSON texts, for example as the registry's statement reads them beside
    the entries; texts that were seen before are not read again. Nothing is remembered about a patient: other
    policies are another key.
    """

    def __init__(
        self, default: Default, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._default = default
        self._clock = clock
        self._sets: OrderedDict[_Key, _Ready] = OrderedDict()

    async def decide(
        self,
        policies: tuple[Policy, ...] | tuple[str, ...],
        caller: Caller,
        action: Action,
        resources: Sequence[Resource],
        *,
        identities: tuple[str, ...] = (),
    ) -> tuple[Decision, ...]:
        """One decision for each resource, in order; what cannot be read or evaluated is refused.

        `identities` are the ids of a patient that was merged, those without a policy among them.
        """
        try:
            ready = self._ready(policies, identities)
        except PolicyError:
            return (UNREADABLE,) * len(resources)
        codes = ready.attributes(resources)
        subject = (_person_of if ready.looks_at_persons else _subject_of)(caller.user)
        if ready.unseen(subject, action, codes) > ASKED_ON_THE_LOOP:
            decisions = await asyncio.to_thread(ready.decide, subject, action, codes)
        else:
            decisions = ready.decide(subject, action, codes)
        return bound(decisions, resources, caller, identities)

    def look_at_documents(
        self, policies: tuple[Policy, ...] | tuple[str, ...], identities: tuple[str, ...] = ()
    ) -> bool:
        """Whether two documents of the patient may be decided differently for one caller."""
        try:
            return self._ready(policies, identities).looks_at_documents
        except PolicyError:
            return False

    def look_at_particulars(
        self, policies: tuple[Policy, ...] | tuple[str, ...], identities: tuple[str, ...] = ()
    ) -> bool:
        """Whether some policy is of single documents, so that `Resource.authors` and `.ids` are needed."""
        try:
            return bool(policies) and self._ready(policies, identities).looks_at_particulars
        except PolicyError:
            return False

    def _ready(self, policies: tuple[Policy, ...] | tuple[str, ...], identities: tuple[str, ...]) -> _Ready:
        # One that was never merged shares what is remembered with all who have the same policies.
        now, key = self._clock(), (policies, identities if len(identities) > 1 else ())
        evaluation = self._sets.get(key)
        if evaluation is not None and evaluation.holds(now):
            self._sets.move_to_end(key)
            return evaluation
        read = [each if isinstance(each, Policy) else read_policy(each) for each in policies]
        ready = self._sets[key] = _Ready(read, identities, self._default, now)
        while len(self._sets) > REMEMBERED_SETS:
            self._sets.popitem(last=False)
        return ready


class _Ready:
    """A patient's policies in force at one moment, ready to be asked, with the answers given."""

    def __init__(
        self, policies: Sequence[Policy], identities: Sequence[str], default: Default, now: datetime
    ) -> None:
        all_in_force = [policy for policy in policies if policy.in_force(now)]
        in_force = [policy for policy in all_in_force if policy.effect is not Effect.BREAK]
        self._breaks = _Breaks(all_in_force) if len(all_in_force) > len(in_force) else None
        self.looks_at_persons = any(policy.users for policy in all_in_force)
        self._identities = [_Identity(each) for each in _by_identity(in_force)]
        self.looks_at_particulars = any(policy.is_of_single_documents for policy in in_force)
        self._looks_at_types = any(policy.document_types for policy in in_force)
        self._looks_at_more = self._looks_at_types or self.looks_at_particulars
        self.looks_at_documents = self._looks_at_more or any(policy.confidentiality for policy in in_force)
        self._one_has_none = not {policy.patient_id for policy in in_force}.issuperset(identities)
        self._default = Decision(default is Default.PERMIT, f"default: {default}")
        self._since = now
        self._until = _next_change(policies, now)
        self._known: dict[tuple[Subject, Action], dict[Attributes, Decision]] = {}

    def attributes(self, resources: Iterable[Resource]) -> list[Attributes]:
        """All of each resource on which its decision depends."""
        if not self._looks_at_more:
            return [Attributes(resource.confidentiality) for resource in resources]
        every = map(attributes_of, resources)
        if not self.looks_at_particulars:
            return [Attributes(each.confidentiality, each.types) for each in every]
        return list(every)

    def holds(self, now: datetime) -> bool:
        """Whether the same policies are in force at `now`."""
        return self._since <= now and (self._until is None or now < self._until)

    def unseen(self, subject: Subject, action: Action, codes: Iterable[Attributes]) -> int:
        """How many questions `decide` would ask."""
        if not self._identities and self._breaks is None:
            return 0
        known = self._known.get((subject, action), {})
        sets = len(self._identities) + (self._breaks is not None)
        return len({each for each in codes if each not in known}) * sets

    def decide(self, subject: Subject, action: Action, codes: Sequence[Attributes]) -> tuple[Decision, ...]:
        """One decision for each document, in order."""
        if not self._identities and self._breaks is None:
            return (self._default,) * len(codes)
        known = self._known.get((subject, action), {})
        undecided = [each for each in dict.fromkeys(codes) if each not in known]
        if undecided:
            known = {**known, **dict(zip(undecided, self._answers(subject, action, undecided), strict=True))}
            self._remember((subject, action), known)
        return tuple(known[each] for each in codes)

    def _remember(self, key: tuple[Subject, Action], known: dict[Attributes, Decision]) -> None:
        if sum(map(len, self._known.values())) + len(known) > REMEMBERED_DECISIONS_OF_A_SET:
            self._known = {}
        if len(known) <= REMEMBERED_DECISIONS_OF_A_SET:
            self._known[key] = known

    def _answers(self, subject: Subject, action: Action, codes: Sequence[Attributes]) -> list[Decision]:
        decided = [identity.decide(subject, action, codes) for identity in self._identities]
        decisions = [self._together([each[at] for each in decided]) for at in range(len(codes))]
        if self._breaks is None or all(decision.permitted for decision in decisions):
            return decisions
        overrides = self._breaks.decide(subject, action, codes)
        return [
            decision if decision.permitted or decision is FAILED else override or decision
            for decision, override in zip(decisions, overrides, strict=True)
        ]

    def _together(self, decisions: Sequence[Decision | None]) -> Decision:
        effective = [decision or self._default for decision in decisions]
        if self._one_has_none or not effective:
            effective.append(self._default)
        return next((decision for decision in effective if not decision.permitted), effective[0])


class _Identity:
    """The policies in force that were given for one patient id."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = {policy.policy_id: policy for policy in policies}
        self._set: cedarpy.PolicySet = policy_set(policies)
        self._closed = any(map(closes, policies))

    def decide(self, subject: Subject, action: Action, codes: Sequence[Attributes]) -> list[Decision | None]:
        """None where no policy says anything."""
        return [self._decision(answer) for answer in ask(self._set, subject, action, codes)]

    def _decision(self, answer: Answer) -> Decision | None:
        if answer.failed:
            return FAILED
        if answer.policy_ids:
            deciding = min((self._policies[each] for each in answer.policy_ids), key=_age)
            return Decision(answer.permitted, f"policy {deciding.policy_id}: {deciding}")
        return CLOSED_LIST if self._closed else None


class _Breaks:
    """The breaks in force, and the denials that none of them overrides; of all identities of a patient."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._breaks = {policy.policy_id: policy for policy in policies if policy.effect is Effect.BREAK}
        absolute = [policy for policy in policies if policy.absolute]
        # As one set, so that Cedar's own precedence of denials holds.
        self._set: cedarpy.PolicySet = policy_set([*self._breaks.values(), *absolute])

    def decide(self, subject: Subject, action: Action, codes: Sequence[Attributes]) -> list[Decision | None]:
        """A permission where a break applies and nothing forbids it; else None."""
        return [self._decision(answer) for answer in ask(self._set, subject, action, codes)]

    def _decision(self, answer: Answer) -> Decision | None:
        if answer.failed or not answer.permitted:
            return None
        deciding = min((self._breaks[each] for each in answer.policy_ids), key=_age)
        return Decision(True, f"break-glass {deciding.policy_id}: {deciding}")


def attributes_of(resource: Resource) -> Attributes:
    """What policies may read of a resource."""
    coded = (("class", resource.class_code), ("type", resource.type_code))
    types = frozenset(f"{kind}|{code}" for kind, code in coded if code)
    return Attributes(resource.confidentiality, types, resource.authors, resource.ids)


def closes(policy: Policy) -> bool:
    """Whether `policy` makes the permissions a closed list."""
    return policy.effect is Effect.PERMIT and not set(DISCLOSURES).isdisjoint(policy.actions)


def _age(policy: Policy) -> tuple[datetime, str]:
    return policy.created, policy.policy_id


def _by_identity(policies: Iterable[Policy]) -> Iterable[list[Policy]]:
    grouped: dict[str, list[Policy]] = {}
    for policy in policies:
        grouped.setdefault(policy.patient_id, []).append(policy)
    return grouped.values()


def _next_change(policies: Iterable[Policy], now: datetime) -> datetime | None:
    moments = (moment for policy in policies for moment in (policy.valid_from, policy.valid_until))
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


# --- reasons ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConsideredPolicy:
    """One policy in a decision; `unmet` are the conditions that kept it from applying, by field name."""

    policy: Policy
    unmet: tuple[str, ...]

    @property
    def applies(self) -> bool:
        """Whether it took part."""
        return not self.unmet


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with every policy of the patient that was looked at, oldest first."""

    decision: Decision
    considered: tuple[ConsideredPolicy, ...]


def explain(
    policies: Sequence[Policy],
    caller: Caller,
    action: Action,
    resource: Resource,
    *,
    default: Default,
    now: datetime,
    identities: Sequence[str] = (),
) -> Explanation:
    """The decision on one resource, and for each policy which of its conditions was not met."""
    (decision,) = decide_with(
        policies, caller, action, (resource,), default=default, now=now, identities=identities
    )
    subject = subject_of(caller.user)
    considered = tuple(
        ConsideredPolicy(policy, tuple(_unmet(policy, subject, action, attributes_of(resource), now)))
        for policy in sorted(policies, key=_age)
    )
    return Explanation(decision, considered)


def _unmet(
    policy: Policy, subject: Subject, action: Action, document: Attributes, now: datetime
) -> Iterable[str]:
    if policy.valid_from is not None and now < policy.valid_from:
        yield "valid_from"
    if policy.valid_until is not None and now >= policy.valid_until:
        yield "valid_until"
    if action not in policy.actions:
        yield "actions"
    permits = condition_set(policy)
    if len(permits):
        (answer,) = ask(permits, subject, action, [document])
        yield from (name for name in _names(policy) if name not in answer.policy_ids)


def _names(policy: Policy) -> Iterable[str]:
    return (name for name, _ in conditions(policy))

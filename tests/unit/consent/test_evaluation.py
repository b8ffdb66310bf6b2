"""Decisions of policies together, held against rules that know nothing of Cedar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.consent import cedar, evaluation
from shared.consent.cedar import Answer
from shared.consent.decision import Action, Decision, Resource
from shared.consent.evaluation import PolicyDecisions, decide_with, explain
from shared.consent.policy import (
    DISCLOSURES,
    Effect,
    Policy,
    PolicyError,
    decode_policy,
    encode_policy,
    new_break,
    new_policy,
)
from shared.ebrim.model import Code
from shared.security.caller import Caller, Node, User
from shared.settings import Default
from tests.support.consent import (
    HL7_CONFIDENTIALITY,
    NORMAL,
    NOW,
    OTHER_PATIENT,
    PATIENT,
    VERY_RESTRICTED,
    a_caller,
    a_document,
    deny,
    permit,
)


def decided(
    policies: Sequence[Policy],
    caller: Caller,
    resource: Resource | None = None,
    *,
    action: Action = Action.QUERY,
    default: Default = Default.DENY,
    now: datetime = NOW,
) -> Decision:
    (decision,) = decide_with(policies, caller, action, (resource or a_document(),), default=default, now=now)
    return decision


# --- the rules, told a second time --------------------------------------------------------------------


def naive(
    policies: Sequence[Policy],
    caller: Caller,
    action: Action,
    resource: Resource,
    default: Default,
    now,
    identities: Sequence[str] = (),
):
    """The rules of the module in plain loops, without memory, translation or Cedar."""
    breaks = [policy for policy in policies if policy.effect is Effect.BREAK and naive_in_force(policy, now)]
    absolute = [policy for policy in policies if policy.absolute and naive_in_force(policy, now)]
    if any(naive_applies(policy, caller, action, resource) for policy in breaks) and not any(
        naive_applies(policy, caller, action, resource) for policy in absolute
    ):
        return True
    policies = [policy for policy in policies if policy.effect is not Effect.BREAK]
    named = {policy.patient_id for policy in policies if naive_in_force(policy, now)} | set(identities)
    verdicts = []
    for identity in named:
        own = [policy for policy in policies if policy.patient_id == identity and naive_in_force(policy, now)]
        verdicts.append(naive_identity(own, caller, action, resource, default))
    return all(verdicts) if verdicts else default is Default.PERMIT


def naive_in_force(policy: Policy, now: datetime) -> bool:
    if policy.valid_from and now < policy.valid_from:
        return False
    return not (policy.valid_until and now >= policy.valid_until)


def naive_identity(policies, caller, action, resource, default) -> bool:
    applying = [policy for policy in policies if naive_applies(policy, caller, action, resource)]
    if any(policy.effect is Effect.DENY for policy in applying):
        return False
    if applying:
        return True
    for policy in policies:
        if policy.effect is Effect.PERMIT:
            return False
    return default is Default.PERMIT


def naive_applies(policy: Policy, caller: Caller, action: Action, resource: Resource) -> bool:
    user = caller.user
    if action not in policy.actions:
        return False
    if policy.roles and not (user and any(naive_match(role, policy.roles) for role in user.roles)):
        return False
    if policy.purposes and not (user and any(naive_match(each, policy.purposes) for each in user.purposes)):
        return False
    if policy.users and not (user and f"{user.name_id}@{user.issuer}" in policy.users):
        return False
    if policy.organizations:
        ours = [naive_bare(each) for each in policy.organizations]
        if not (user and any(naive_bare(each) in ours for each in user.organization_ids)):
            return False
    if policy.home_communities:
        ours = [naive_bare(each) for each in policy.home_communities]
        if not (user and naive_bare(user.home_community_id) in ours):
            return False
    if policy.document_types:
        types = [
            (kind, Code(*each.split("^^")))
            for kind, each in (("class", resource.class_code), ("type", resource.type_code))
            if each
        ]
        unknown = not types and action is Action.RETRIEVE and policy.effect is not Effect.PERMIT
        listed = [
            naive_match(each, [one.rpartition("|")[2]])
            for kind, each in types
            for one in policy.document_types
            if "|" not in one or one.startswith(kind)
        ]
        if not unknown and not any(listed):
            return False
    if policy.authors:
        authors = [
            (each.partition("|")[0], Code(*each.partition("|")[2].split("^^"))) for each in resource.authors
        ]
        unknown = not authors and action is Action.RETRIEVE and policy.effect is not Effect.PERMIT
        listed = [
            naive_match(each, [one.rpartition("|")[2]])
            for kind, each in authors
            for one in policy.authors
            if "|" not in one or one.startswith(kind)
        ]
        if not unknown and not any(listed):
            return False
    if policy.documents:
        unknown = not resource.ids and action is Action.RETRIEVE and policy.effect is not Effect.PERMIT
        ours = [naive_bare(each) for each in policy.documents]
        if not unknown and not any(naive_bare(each) in ours for each in resource.ids):
            return False
    if not policy.confidentiality:
        return True
    listed = [
        naive_match(Code(*each.split("^^")), policy.confidentiality) for each in resource.confidentiality
    ]
    if policy.effect is Effect.PERMIT:
        return bool(listed) and all(listed)
    return any(listed) or (not listed and action is Action.RETRIEVE)


def naive_match(code: Code, listed: Sequence[str]) -> bool:
    for spelled in listed:
        value, _, scheme = spelled.partition("^^")
        if value == code.value and (not scheme or naive_bare(scheme) == naive_bare(code.scheme)):
            return True
    return False


def naive_bare(identifier: str) -> str:
    return identifier.removeprefix("urn:oid:")


values = st.sampled_from(["A", "B", 'C"];{}', "D\\"])
schemes = st.sampled_from(["2.999.1", "2.999.2", "urn:oid:2.999.1", "local codes"])
full = st.tuples(values, schemes).map("^^".join)
spelled = st.one_of(values, full)
document_types = st.tuples(st.sampled_from(["", "class|", "type|"]), spelled).map("".join)
kinds = st.sampled_from(["person|", "institution|"])
written_by = st.tuples(kinds, full).map("".join)
authors = st.one_of(spelled, st.tuples(kinds, spelled).map("".join))
ids = st.sampled_from(["2.25.1", "urn:oid:2.25.1", "2.25.2", "1.2.3^x"])
organizations = st.sampled_from(["2.999.7", "urn:oid:2.999.7", "urn:oid:2.999.8", "https://north.example"])
moments = st.one_of(st.none(), st.sampled_from([NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)]))

homes = st.sampled_from(["urn:oid:2.999.72", "2.999.72", "urn:oid:2.999.73"])
persons = st.sampled_from(["u@i", "u@j", "v@i"])


def a_break(**changes):
    fields = {"patient_id": PATIENT, "user": "u-778@urn:idp", "reason": "unconscious"}
    return new_break(**{**fields, "until": NOW + timedelta(hours=1), **changes})


@st.composite
def some_policies(draw):
    made = []
    for _ in range(draw(st.integers(0, 5))):
        begins, ends = draw(moments), draw(moments)
        effect = draw(st.sampled_from(["permit", "deny", "break"]))
        patient_id = draw(st.sampled_from([PATIENT, PATIENT, PATIENT, OTHER_PATIENT]))
        if effect == "break":
            until, purposes = draw(moments) or NOW, draw(st.lists(spelled, max_size=1))
            user = draw(persons)
            made.append(a_break(patient_id=patient_id, user=user, until=until, purposes=purposes))
            continue
        made.append(
            new_policy(
                patient_id=patient_id,
                effect=effect,
                users=draw(st.lists(persons, max_size=1)),
                absolute=effect == "deny" and draw(st.booleans()),
                roles=draw(st.lists(spelled, max_size=2)),
                organizations=draw(st.lists(organizations, max_size=2)),
                purposes=draw(st.lists(spelled, max_size=1)),
                home_communities=draw(st.lists(homes, max_size=1)),
                document_types=draw(st.lists(document_types, max_size=1)),
                authors=draw(st.lists(authors, max_size=1)),
                documents=draw(st.lists(ids, max_size=1)),
                confidentiality=draw(st.one_of(st.lists(values, max_size=2), st.lists(full, max_size=2))),
                actions=draw(st.lists(st.sampled_from(DISCLOSURES), max_size=2)),
                valid_from=begins,
                valid_until=ends if begins is None or ends is None or begins < ends else None,
            )
        )
    return made


codes = st.builds(Code, values, schemes)
users = st.builds(
    User,
    name_id=st.sampled_from(["u", "v"]),
    issuer=st.just("i"),
    assertion_id=st.just("_1"),
    roles=st.lists(codes, max_size=2).map(tuple),
    purposes=st.lists(codes, max_size=1).map(tuple),
    organization_ids=st.lists(organizations, max_size=2).map(tuple),
    home_community_id=st.one_of(st.just(""), homes),
)
callers = st.builds(
    Caller, node=st.just(Node(address="192.0.2.7")), endpoint=st.just("x"), user=st.one_of(st.none(), users)
)
resources = st.builds(
    Resource,
    patient_id=st.just(PATIENT),
    confidentiality=st.frozensets(full, max_size=2),
    class_code=st.one_of(st.just(""), full),
    type_code=st.one_of(st.just(""), full),
    authors=st.frozensets(written_by, max_size=2),
    ids=st.frozensets(ids, max_size=2),
)


@given(
    some_policies(),
    callers,
    st.sampled_from(DISCLOSURES),
    st.lists(resources, max_size=4),
    st.sampled_from(Default),
)
@settings(max_examples=200, deadline=None)
def test_cedar_decides_as_the_plain_rules_do(policies, caller, action, listed, default):
    decisions = decide_with(policies, caller, action, listed, default=default, now=NOW)

    assert [decision.permitted for decision in decisions] == [
        naive(policies, caller, action, resource, default, NOW) for resource in listed
    ]


@given(some_policies(), callers, st.sampled_from(Action), resources)
@settings(max_examples=80, deadline=None)
def test_the_explanation_names_exactly_the_policies_that_apply(policies, caller, action, resource):
    explained = explain(policies, caller, action, resource, default=Default.DENY, now=NOW)

    assert {each.policy.policy_id for each in explained.considered if each.applies} == {
        policy.policy_id
        for policy in policies
        if naive_in_force(policy, NOW) and naive_applies(policy, caller, action, resource)
    }
    assert len(explained.considered) == len(policies)


# --- told one by one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("default", Default)
def test_without_a_policy_the_default_holds(default):
    assert decided([], a_caller("RAD"), default=default) == Decision(
        default is Default.PERMIT, f"default: {default}"
    )


def test_a_permitted_role_may_and_the_reason_is_the_policy():
    policy = permit(roles=["RAD"])

    assert decided([policy], a_caller("RAD")) == Decision(True, f"policy {policy.policy_id}: permit role RAD")


def test_a_denial_overrides_a_permission():
    refused = deny(roles=["RAD"], purposes=["HRESCH"])

    decision = decided([permit(roles=["RAD"]), refused], a_caller("RAD", purposes=("HRESCH",)))

    assert decision == Decision(False, f"policy {refused.policy_id}: deny role RAD, purpose HRESCH")


def test_permissions_are_a_closed_list_even_where_the_default_permits():
    decision = decided([permit(roles=["RAD"])], a_caller("NURSE"), default=Default.PERMIT)

    assert not decision.permitted
    assert decision.reason.startswith("default: deny")


def test_a_lone_denial_only_excludes():
    policies = [deny(roles=["NURSE"])]

    assert decided(policies, a_caller("RAD"), default=Default.PERMIT).permitted
    assert not decided(policies, a_caller("NURSE"), default=Default.PERMIT).permitted
    assert decided(policies, a_caller("RAD"), default=Default.DENY) == Decision(False, "default: deny")


def test_who_may_not_query_may_not_retrieve_either():
    policies = [permit(roles=["RAD"], actions=["query"])]

    assert decided(policies, a_caller("RAD"), default=Default.PERMIT).permitted
    for role in ("RAD", "NURSE"):
        retrieval = decided(policies, a_caller(role), action=Action.RETRIEVE, default=Default.PERMIT)
        assert not retrieval.permitted


def test_a_node_without_user_has_no_role():
    assert not decided([permit(roles=["RAD"])], a_caller(node_alone=True), default=Default.PERMIT).permitted
    assert decided([deny(roles=["RAD"])], a_caller(node_alone=True), default=Default.PERMIT).permitted
    assert not decided([deny()], a_caller(node_alone=True), default=Default.PERMIT).permitted


@pytest.mark.parametrize("actions", [["submit"], ["query", "submit"]])
def test_a_policy_about_what_nobody_asks_consent_for_is_refused(actions):
    with pytest.raises(PolicyError, match="query and retrieve alone"):
        permit(actions=actions)


def test_what_an_earlier_release_took_about_submissions_alone_neither_permits_nor_closes():
    old = decode_policy({**encode_policy(permit()), "actions": ["submit"]})

    assert decided([old], a_caller("RAD"), default=Default.PERMIT).reason == "default: permit"
    assert not decided([old], a_caller("RAD"), default=Default.DENY).permitted


BTG = "BTG^^2.16.840.1.113883.5.8"


def test_a_break_opens_what_a_denial_closes_for_its_user_its_purpose_and_its_time_alone():
    policies = [deny(), a_break(purposes=[BTG])]
    ours, other = a_caller("RAD", purposes=("BTG",)), a_caller("RAD", purposes=("TREAT",))
    stranger = replace(ours, user=replace(ours.user, name_id="u-779"))

    for default in Default:
        assert decided(policies, ours, default=default).reason.startswith("break-glass urn:uuid:")
        assert not decided(policies, other, default=default).permitted
        assert not decided(policies, stranger, default=default).permitted
        assert not decided(policies, a_caller(node_alone=True), default=default).permitted
        assert not decided(policies, ours, default=default, now=NOW + timedelta(hours=1)).permitted


@pytest.mark.parametrize("closed", [[], [permit(roles=["NURSE"])], [deny(confidentiality=["N"])]])
def test_a_break_opens_whatever_closed(closed):
    assert decided([*closed, a_break()], a_caller("RAD")).permitted


def test_an_absolute_denial_is_not_overridden_and_closes_no_more_than_it_says():
    policies = [deny(), deny(absolute=True, confidentiality=["V"]), a_break()]

    for action in DISCLOSURES:
        assert decided(policies, a_caller("RAD"), action=action).permitted
        assert not decided(policies, a_caller("RAD"), a_document("V^^x"), action=action).permitted
    assert decided([deny(absolute=True, users=["u-9@urn:idp"]), a_break()], a_caller("RAD")).permitted
    assert not decided([deny(absolute=True, users=["u-778@urn:idp"]), a_break()], a_caller("RAD")).permitted


def test_a_break_overrides_nothing_that_could_not_be_evaluated(monkeypatch):
    monkeypatch.setattr(evaluation, "ask", lambda *asked: [Answer(False, (), failed=True)])

    assert not decided([deny(), a_break()], a_caller("RAD")).permitted


def test_a_break_of_one_identity_is_for_the_person_that_merges_made_one():
    assert decided([deny(patient_id=OTHER_PATIENT), deny(), a_break()], a_caller("RAD")).permitted


async def test_what_is_remembered_of_one_person_is_not_told_another():
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    ours = a_caller("RAD")
    stranger = replace(ours, user=replace(ours.user, name_id="u-779"))

    for policies in ((a_break(),), (permit(users=["u-778@urn:idp"]),)):
        for caller, may in ((ours, True), (stranger, False), (ours, True)):
            (answer,) = await decisions.decide(policies, caller, Action.QUERY, [a_document()])
            assert answer.permitted is may


def test_what_names_nothing_new_is_written_as_earlier_releases_read_it():
    assert not {"users", "absolute"} & set(encode_policy(deny()))
    for policy in (deny(absolute=True), permit(users=["u@i"]), a_break()):
        assert decode_policy(encode_policy(policy)) == policy


@pytest.mark.parametrize(
    "fields",
    [
        {"effect": "break", "users": ["u@i"], "valid_until": NOW, "description": "x"},
        {"effect": "permit", "absolute": True},
        {"effect": "deny", "absolute": "yes"},
        {"effect": "deny", "users": "u@i"},
    ],
)
def test_what_cannot_be_written_is_refused(fields):
    with pytest.raises(PolicyError):
        new_policy(patient_id=PATIENT, **fields)


def test_a_break_has_a_reason():
    with pytest.raises(PolicyError, match="reason"):
        a_break(reason=" ")


def test_an_expired_policy_is_as_if_it_had_never_been():
    expired = permit(roles=["RAD"], valid_until=NOW)

    assert decided([expired], a_caller("NURSE"), default=Default.PERMIT).permitted
    assert decided([expired], a_caller("RAD"), default=Default.DENY).reason == "default: deny"


def test_the_most_restrictive_code_of_a_document_counts():
    secret = a_document(NORMAL, VERY_RESTRICTED)

    assert not decided([permit(confidentiality=["N"])], a_caller("RAD"), secret).permitted
    assert not decided([permit(), deny(confidentiality=["V"])], a_caller("RAD"), secret).permitted
    assert decided([permit(confidentiality=["N", "V"])], a_caller("RAD"), secret).permitted


def test_a_retrieval_of_something_without_codes_meets_a_denial_by_codes():
    nothing_known = Resource(patient_id=PATIENT)
    policies = [permit(), deny(confidentiality=["V"])]

    assert not decided(policies, a_caller("RAD"), nothing_known, action=Action.RETRIEVE).permitted
    assert decided(policies, a_caller("RAD"), nothing_known).permitted


def test_merged_identities_must_each_permit():
    ours, theirs = permit(roles=["RAD"]), permit(roles=["NURSE"], patient_id=OTHER_PATIENT)

    assert not decided([ours, theirs], a_caller("RAD")).permitted
    assert decided([ours, theirs], a_caller("RAD", "NURSE")).permitted


IDENTITIES = [PATIENT, OTHER_PATIENT, *(f"P{number}^^^&2.999.1&ISO" for number in range(4))]


@given(
    some_policies(),
    callers,
    st.sampled_from(DISCLOSURES),
    st.lists(resources, min_size=1, max_size=3),
    st.sampled_from(Default),
    st.sets(st.sampled_from(IDENTITIES), max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_whatever_was_merged_each_identity_decides_by_its_own_policies_and_the_default(
    policies, caller, action, listed, default, merged
):
    identities = tuple(sorted(merged))
    decisions = decide_with(policies, caller, action, listed, default=default, now=NOW, identities=identities)

    assert [each.permitted for each in decisions] == [
        naive(policies, caller, action, resource, default, NOW, identities) for resource in listed
    ]


async def test_policies_that_are_remembered_are_those_of_the_same_identities():
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)

    async def permitted(*identities: str) -> bool:
        (answer,) = await decisions.decide(
            (permitting,), a_caller(), Action.QUERY, [a_document()], identities=identities
        )
        return answer.permitted

    permitting = permit()
    assert await permitted()
    assert not await permitted(PATIENT, OTHER_PATIENT)
    assert await permitted(PATIENT)


@pytest.mark.parametrize("value", ["A^^2.999.1", "A^", "^A", "A^^"])
def test_a_role_whose_value_looks_like_value_and_scheme_is_nobody_elses_role(value):
    user = User(name_id="u", issuer="i", assertion_id="_1", roles=(Code(value, "2.999.66"),))
    caller = Caller(node=Node(address="192.0.2.7"), endpoint="x", user=user)

    assert not decided([permit(roles=["A^^2.999.1", "A"])], caller, default=Default.PERMIT).permitted


def test_a_confidentiality_code_with_more_carets_is_on_no_list():
    odd = a_document(f"N^^{HL7_CONFIDENTIALITY}^^x")

    assert not decided([permit(confidentiality=["N"])], a_caller("RAD"), odd).permitted


def test_a_policy_that_cannot_be_evaluated_refuses(monkeypatch):
    monkeypatch.setattr(
        evaluation, "ask", lambda *_: [Answer(permitted=True, policy_ids=("x",), failed=True)]
    )

    assert decided([permit()], a_caller("RAD")) == evaluation.FAILED


def test_cedar_itself_failing_on_a_denial_is_noticed():
    policies = cedar.policy_set([permit()]).with_added_str(
        'forbid(principal, action, resource) when { context.absent == "x" };'
    )

    (answer,) = cedar.ask(policies, cedar.Subject(), Action.QUERY, [cedar.Attributes()])

    assert answer.failed


def test_the_schema_refuses_an_attribute_that_is_not_listed(monkeypatch):
    monkeypatch.setattr(
        cedar, "conditions", lambda policy: iter([("x", cedar._any_of("departments", iter(["x"])))])
    )

    with pytest.raises(PolicyError, match="departments"):
        cedar.check([permit()])


def test_the_explanation_says_what_was_not_met():
    policy = permit(roles=["NURSE"], purposes=["TREAT"], confidentiality=["V"], valid_until=NOW)

    explained = explain(
        [policy],
        a_caller("RAD", purposes=("TREAT",)),
        Action.QUERY,
        a_document(),
        default=Default.DENY,
        now=NOW,
    )

    assert explained.considered[0].unmet == ("valid_until", "roles", "confidentiality")
    assert explained.decision == Decision(False, "default: deny")


def test_the_explanation_says_what_is_not_yet_in_force():
    policy = permit(valid_from=NOW + timedelta(days=1), actions=["query"])

    explained = explain(
        [policy], a_caller("RAD"), Action.RETRIEVE, a_document(), default=Default.DENY, now=NOW
    )

    assert explained.considered[0].unmet == ("valid_from", "actions")


# --- memory -------------------------------------------------------------------------------------------


class Asked:
    """Counts the questions that reach Cedar."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions = 0
        self._ask = cedar.ask
        monkeypatch.setattr(evaluation, "ask", self)

    def __call__(self, policies, subject, action, confidentiality):
        self.questions += len(confidentiality)
        return self._ask(policies, subject, action, confidentiality)


@pytest.fixture
def asked(monkeypatch):
    return Asked(monkeypatch)


def texts(*policies: Policy) -> tuple[str, ...]:
    import json

    return tuple(json.dumps(encode_policy(policy)) for policy in policies)


async def test_equal_questions_are_asked_once(asked):
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    policies = (permit(roles=["RAD"]),)
    documents = [a_document(), a_document(), a_document(VERY_RESTRICTED)]

    for _ in range(3):
        answers = await decisions.decide(policies, a_caller("RAD"), Action.QUERY, documents)

    assert [answer.permitted for answer in answers] == [True, True, True]
    assert asked.questions == 2


async def test_another_caller_action_or_policy_is_another_question(asked):
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    first = permit(roles=["RAD"])

    for policies in ((first,), (first, deny(roles=["RAD"]))):
        for caller in (a_caller("RAD"), a_caller("NURSE")):
            for action in (Action.QUERY, Action.RETRIEVE):
                await decisions.decide(policies, caller, action, [a_document()])

    assert asked.questions == 8


async def test_what_one_caller_was_answered_stays_when_another_asks(asked):
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    policies = (permit(roles=["RAD"]),)

    for role in ("RAD", "NURSE", "RAD", "NURSE"):
        await decisions.decide(policies, a_caller(role), Action.QUERY, [a_document()])

    assert asked.questions == 2


async def test_policies_as_texts_are_the_same_policies(asked):
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    stored = texts(permit(roles=["RAD"]), deny(roles=["NURSE"]))

    may = await decisions.decide(stored, a_caller("RAD"), Action.QUERY, [a_document()])
    may_not = await decisions.decide(stored, a_caller("RAD", "NURSE"), Action.QUERY, [a_document()])

    assert (may[0].permitted, may_not[0].permitted) == (True, False)


@pytest.mark.parametrize("spoilt", ["", "{}", '{"effect": "permit"}'])
async def test_a_text_that_is_no_policy_refuses_everything(spoilt):
    decisions = PolicyDecisions(Default.PERMIT, clock=lambda: NOW)

    answers = await decisions.decide(
        (*texts(permit()), spoilt), a_caller("RAD"), Action.QUERY, [a_document(), a_document()]
    )

    assert answers == (evaluation.UNREADABLE,) * 2


async def test_two_policies_of_one_id_refuse_everything():
    policy = permit()
    decisions = PolicyDecisions(Default.PERMIT, clock=lambda: NOW)

    answers = await decisions.decide((policy, policy), a_caller("RAD"), Action.QUERY, [a_document()])

    assert answers == (evaluation.UNREADABLE,)


async def test_what_was_remembered_ends_with_the_policy():
    now = NOW
    decisions = PolicyDecisions(Default.DENY, clock=lambda: now)
    policies = (permit(roles=["RAD"], valid_from=NOW, valid_until=NOW + timedelta(hours=1)),)
    permitted = []

    for minutes in (-1, 0, 59, 60, 30):
        now = NOW + timedelta(minutes=minutes)
        (answer,) = await decisions.decide(policies, a_caller("RAD"), Action.QUERY, [a_document()])
        permitted.append(answer.permitted)

    assert permitted == [False, True, True, False, True]


async def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(evaluation, "REMEMBERED_SETS", 3)
    monkeypatch.setattr(evaluation, "REMEMBERED_DECISIONS_OF_A_SET", 5)
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    policies = [(permit(),) for _ in range(8)]
    for each in policies:
        for number in range(12):
            await decisions.decide(each, a_caller(f"R{number}"), Action.QUERY, [a_document()])

    await decisions.decide(
        policies[-1], a_caller(), Action.QUERY, [a_document(f"c{number}^^2.999") for number in range(6)]
    )

    assert len(decisions._sets) == 3
    for ready in decisions._sets.values():
        assert sum(map(len, ready._known.values())) <= 5


async def test_many_new_questions_are_asked_in_a_thread(monkeypatch):
    import threading

    threads = set()
    real = cedar.ask

    def ask(*question):
        threads.add(threading.current_thread() is threading.main_thread())
        return real(*question)

    monkeypatch.setattr(evaluation, "ask", ask)
    decisions = PolicyDecisions(Default.DENY, clock=lambda: NOW)
    documents = [a_document(f"c{number}^^2.999") for number in range(51)]

    answers = await decisions.decide((permit(),), a_caller("RAD"), Action.QUERY, documents)

    assert threads == {False}
    assert all(answer.permitted for answer in answers)
    await decisions.decide((permit(),), a_caller("RAD"), Action.QUERY, documents[:50])
    assert threads == {False, True}


def test_no_resource_needs_no_decision():
    assert decide_with([permit()], a_caller("RAD"), Action.QUERY, (), default=Default.DENY, now=NOW) == ()


def test_decisions_do_not_depend_on_the_order_of_policies():
    policies = [permit(roles=["RAD"]), deny(purposes=["HRESCH"]), permit(), deny(roles=["X"])]
    caller = a_caller("RAD", purposes=("HRESCH",))

    assert decided(policies, caller) == decided(policies[::-1], caller)


def test_the_oldest_of_several_deciding_policies_is_the_reason():
    newer = deny(created=datetime(2030, 1, 2, tzinfo=UTC))
    older = deny(created=datetime(2030, 1, 1, tzinfo=UTC))

    assert older.policy_id in decided([newer, older], a_caller("RAD")).reason

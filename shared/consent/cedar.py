"""Policies in Cedar: their translation, and the questions that are asked of it.

Policies are handed over as JSON, so that no value is ever part of Cedar's syntax. `policy.cedarschema` lists
the attributes that they may read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import cedarpy

from shared.consent.decision import Action
from shared.consent.policy import Effect, Policy, PolicyError
from shared.ebrim.model import Code
from shared.security.caller import User

SCHEMA_TEXT = files("shared.consent").joinpath("policy.cedarschema").read_text("utf-8")
_SCHEMA = cedarpy.Schema.from_str(SCHEMA_TEXT)
_NO_ENTITIES = cedarpy.Entities.from_json_str("[]")
_CALLER = {"type": "Caller", "id": "caller"}
_RECORD = {"type": "Record", "id": "record"}
_EFFECTS = {Effect.PERMIT: "permit", Effect.BREAK: "permit", Effect.DENY: "forbid"}

# One call holds the interpreter for its whole batch; other threads get their turn between two calls.
_EVALUATIONS_PER_CALL = 200


@dataclass(frozen=True, slots=True)
class Subject:
    """The caller's attributes that policies may read; whoever has the same is decided alike.

    `user` is `user@issuer`, empty where no policy asks for it; `home_community` an OID without `urn:oid:`.
    """

    roles: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    user: str = ""
    home_community: str = ""


class Attributes(NamedTuple):
    """A document's attributes that policies may read: codes of confidentiality, and of class and type, which
    are spelled `class|value^^scheme` and `type|value^^scheme`; authors, spelled alike, and ids."""

    confidentiality: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """Cedar's answer: the ids of the policies that decided, none when no policy applied."""

    permitted: bool
    policy_ids: tuple[str, ...]
    failed: bool = False


def subject_of(user: User | None) -> Subject:
    """The attributes of a user; a node that speaks for itself has none."""
    if user is None:
        return Subject()
    return Subject(
        roles=frozenset(spelling for role in user.roles for spelling in _spellings(role)),
        organizations=frozenset(map(organization, user.organization_ids)),
        purposes=frozenset(spelling for purpose in user.purposes for spelling in _spellings(purpose)),
        user=user.identity,
        home_community=organization(user.home_community_id),
    )


def organization(identifier: str) -> str:
    """An organisation id as it is compared: an OID with or without `urn:oid:` is the same."""
    return identifier.strip().removeprefix("urn:oid:")


def code(spelled: str) -> str:
    """A code as it is compared: its scheme with or without `urn:oid:` is the same."""
    value, separator, scheme = spelled.partition("^^")
    return f"{value}{separator}{scheme.removeprefix('urn:oid:')}"


def _author(spelled: str) -> str:
    kind, separator, identified = spelled.rpartition("|")
    return f"{kind}{separator}{code(organization(identified))}"


def _spellings(coded: Code) -> Iterator[str]:
    yield code(str(coded))
    # A value with a caret could be mistaken for a value with its scheme.
    if "^" not in coded.value:
        yield coded.value


# --- translation --------------------------------------------------------------------------------------


def policy_set(policies: Sequence[Policy]) -> cedarpy.PolicySet:
    """The policies, ready to be asked; their ids are Cedar's too.

    Raises
    ------
    PolicyError
        Two policies have the same id.
    """
    translated = {policy.policy_id: _policy(policy, list(conditions(policy))) for policy in policies}
    if len(translated) != len(policies):
        raise PolicyError("policy_id: two policies of a patient have the same")
    return _parsed(translated)


def condition_set(policy: Policy) -> cedarpy.PolicySet:
    """One permit for each condition of `policy`, by its name: the permits that apply are what holds."""
    return _parsed(
        {
            name: {**_policy(policy, [(name, expression)]), "effect": "permit", "action": {"op": "All"}}
            for name, expression in conditions(policy)
        }
    )


def check(policies: Sequence[Policy]) -> None:
    """Hold the translation against the schema.

    Raises
    ------
    PolicyError
        A policy reads what the schema does not list.
    """
    result = cedarpy.validate_policies(str(policy_set(policies)), _SCHEMA)
    if not result.validation_passed:
        raise PolicyError("; ".join(map(str, result.errors)))


def _parsed(translated: dict[str, dict[str, Any]]) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(
        json.dumps({"staticPolicies": translated, "templates": {}, "templateLinks": []})
    )


def _policy(policy: Policy, parts: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    return {
        "effect": _EFFECTS[policy.effect],
        "principal": {"op": "All"},
        "action": {"op": "in", "entities": [{"type": "Action", "id": each.value} for each in policy.actions]},
        "resource": {"op": "All"},
        "conditions": [{"kind": "when", "body": expression} for _, expression in parts],
    }


def conditions(policy: Policy) -> Iterator[tuple[str, dict[str, Any]]]:
    """The conditions of `policy` that are not empty, by field name, as Cedar expressions."""
    if policy.roles:
        yield "roles", _any_of("roles", map(code, policy.roles))
    if policy.organizations:
        yield "organizations", _any_of("organizations", map(organization, policy.organizations))
    if policy.purposes:
        yield "purposes", _any_of("purposes", map(code, policy.purposes))
    if policy.users:
        yield "users", {"contains": {"left": _set(iter(policy.users)), "right": _attribute("user")}}
    if policy.confidentiality:
        yield "confidentiality", _confidentiality(policy)
    if policy.home_communities:
        ours = _set(map(organization, policy.home_communities))
        yield "home_communities", {"contains": {"left": ours, "right": _attribute("home_community")}}
    if policy.document_types:
        yield "document_types", _of_document(policy, "types", map(code, policy.document_types))
    if policy.authors:
        yield "authors", _of_document(policy, "authors", map(_author, policy.authors))
    if policy.documents:
        yield "documents", _of_document(policy, "ids", map(organization, policy.documents))


def _of_document(policy: Policy, attribute: str, values: Iterator[str]) -> dict[str, Any]:
    listed = _any_of(attribute, values)
    if policy.effect is Effect.PERMIT:
        return listed
    return {"||": {"left": listed, "right": _retrieval_of_what_bears_none(attribute)}}


def _confidentiality(policy: Policy) -> dict[str, Any]:
    attribute = "confidentiality" if "^^" in policy.confidentiality[0] else "confidentiality_values"
    listed = _set(map(code, policy.confidentiality))
    bears_none = {"isEmpty": {"arg": _attribute(attribute)}}
    if policy.effect is Effect.PERMIT:
        all_listed = {"containsAll": {"left": listed, "right": _attribute(attribute)}}
        return {"&&": {"left": {"!": {"arg": bears_none}}, "right": all_listed}}
    bears_listed = {"containsAny": {"left": _attribute(attribute), "right": listed}}
    return {"||": {"left": bears_listed, "right": _retrieval_of_what_bears_none(attribute)}}


def _retrieval_of_what_bears_none(attribute: str) -> dict[str, Any]:
    retrieval = {
        "==": {
            "left": {"Var": "action"},
            "right": {"Value": {"__entity": {"type": "Action", "id": Action.RETRIEVE.value}}},
        }
    }
    return {"&&": {"left": retrieval, "right": {"isEmpty": {"arg": _attribute(attribute)}}}}


def _any_of(attribute: str, values: Iterator[str]) -> dict[str, Any]:
    return {"containsAny": {"left": _attribute(attribute), "right": _set(values)}}


def _attribute(name: str) -> dict[str, Any]:
    return {".": {"left": {"Var": "context"}, "attr": name}}


def _set(values: Iterator[str]) -> dict[str, Any]:
    return {"Set": [{"Value": value} for value in sorted(set(values))]}


# --- questions ----------------------------------------------------------------------------------------


def ask(
    policies: cedarpy.PolicySet, subject: Subject, action: Action, documents: Sequence[Attributes]
) -> list[Answer]:
    """One answer for each document, in order."""
    requests = [_request(subject, action, document) for document in documents]
    size = max(1, _EVALUATIONS_PER_CALL // max(1, len(policies)))
    return [
        _answer(result)
        for start in range(0, len(requests), size)
        for result in cedarpy.is_authorized_batch(requests[start : start + size], policies, _NO_ENTITIES)
    ]


def _request(subject: Subject, action: Action, document: Attributes) -> dict[str, Any]:
    codes = {code(spelled) for spelled in document.confidentiality}
    types = {spelling for spelled in document.types for spelling in _kinds(spelled)}
    authors = {spelling for spelled in document.authors for spelling in _kinds(spelled)}
    return {
        "principal": _CALLER,
        "action": {"type": "Action", "id": action.value},
        "resource": _RECORD,
        "context": {
            "roles": list(subject.roles),
            "organizations": list(subject.organizations),
            "purposes": list(subject.purposes),
            "user": subject.user,
            "confidentiality": list(codes),
            "confidentiality_values": list({_value(spelled) for spelled in codes}),
            "home_community": subject.home_community,
            "types": list(types),
            "authors": list(authors),
            "ids": list(map(organization, document.ids)),
        },
    }


def _kinds(spelled: str) -> Iterator[str]:
    """The forms in which a policy may name a class, type or author: with its kind and scheme or without."""
    kind, _, coded = spelled.partition("|")
    for form in (code(coded), _value(code(coded))):
        yield form
        yield f"{kind}|{form}"


def _value(spelled: str) -> str:
    value, _, scheme = spelled.partition("^^")
    # With a further caret it is no code that a policy can name: left whole, no list contains it.
    return spelled if "^" in value + scheme else value


def _answer(result: cedarpy.AuthzResult) -> Answer:
    diagnostics = result.diagnostics
    return Answer(
        permitted=result.decision is cedarpy.Decision.Allow,
        policy_ids=tuple(diagnostics.reasons),
        # A policy that fails to evaluate is skipped by Cedar; had it been a denial, skipping it would permit.
        failed=bool(diagnostics.errors) or result.decision is cedarpy.Decision.NoDecision,
    )

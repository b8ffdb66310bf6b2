"""A patient's consent policy as a value, and its JSON form on the wire and in the registry's table.

A policy permits or denies callers by person, role, organisation, home community and purpose of use, for
documents by confidentiality and type. A break is what a user declared who must see in an emergency what
policies deny. What a policy leaves empty does not matter to it: a deny policy that names nothing is an
opt-out. What several policies, or none, mean together stands in `shared.consent.evaluation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from shared.consent.decision import Action

#: Policies that are kept of one patient; more are refused when they are given.
MAX_POLICIES = 1_000
#: Breaks that may hold beside them: nobody in an emergency is refused because of the others.
MAX_BREAKS = 100
MAX_VALUES = 200
MAX_LENGTH = 256
MAX_TEXT = 2_000

DISCLOSURES = (Action.QUERY, Action.RETRIEVE)

_URN_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CX = re.compile(r"[^^&\s][^^&]*\^\^\^&[0-9.]+&ISO")
_CODE = re.compile(r"[^^\x00-\x1f]+(\^\^[^^\x00-\x1f]+)?")
_PLAIN = re.compile(r"[^\x00-\x1f]+")
_TEXT = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f]*")


class PolicyError(ValueError):
    """The policy cannot be used; the text names the field, what is wrong and what would be right."""


class Effect(StrEnum):
    """What a policy does where it applies."""

    PERMIT = "permit"
    DENY = "deny"
    BREAK = "break"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy of one patient; made by `new_policy` or `decode_policy`, which check it.

    Within a field the values are alternatives, and every field that is not empty must be met. `roles` and
    `purposes` are `value^^scheme`, or a bare value for any scheme; `organizations` are organisation ids,
    `users` are `user@issuer`, `home_communities` the homeCommunityIds of users. `confidentiality` is all
    `value^^scheme` or all bare: a permit applies to documents whose codes are all listed, a deny to documents
    that bear a listed one, and to retrievals of what bears none. `document_types` are spelled as roles are:
    the class or the type code of the document is listed, or, of `class|…` and `type|…`, that one; a deny by
    them is met by retrievals of what bears none, too. `authors` are spelled alike, of `person|…` and
    `institution|…` that one; `documents` are uniqueIds and Study Instance UIDs: a deny by them is met by
    retrievals of that of which they are not known. Without `actions` a policy is about queries and
    retrievals. `valid_from` and `valid_until` are aware and half-open; None is open. A deny that is
    `absolute` is never overridden. `source` is the consent document or resource that it was translated
    from, with which it stands and falls.

    A break gives its user, for a time, what denials that are not absolute keep back; `description` is the
    reason. It is made by `new_break`.
    """

    policy_id: str
    patient_id: str
    effect: Effect
    created: datetime
    roles: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    confidentiality: tuple[str, ...] = ()
    home_communities: tuple[str, ...] = ()
    document_types: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    source: str = ""
    absolute: bool = False
    actions: tuple[Action, ...] = DISCLOSURES
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    description: str = ""
    author: str = ""

    def in_force(self, now: datetime) -> bool:
        """Whether the policy holds at `now`."""
        begun = self.valid_from is None or self.valid_from <= now
        return begun and (self.valid_until is None or now < self.valid_until)

    @property
    def is_of_single_documents(self) -> bool:
        """Whether it asks for what of a document only its metadata say."""
        return bool(self.authors or self.documents)

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """What it names, by what it is."""
        return {
            "role": self.roles,
            "organization": self.organizations,
            "purpose": self.purposes,
            "user": self.users,
            "confidentiality": self.confidentiality,
            "home community": self.home_communities,
            "document type": self.document_types,
            "author": self.authors,
            "document": self.documents,
        }

    def __str__(self) -> str:
        """Effect and conditions in words: `deny role RAD-PHYS, purpose TREAT`."""
        conditions = ", ".join(
            f"{name} {' or '.join(values)}" for name, values in self.conditions.items() if values
        )
        always = " always" if self.absolute else ""
        return f"{self.effect}{always} {conditions or 'everyone'}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What consent asks of one entry of a document: whose it is, a CX, and its codes; the rest, as in
    `shared.consent.decision.Resource`, is empty where no policy asks for it."""

    patient_id: str
    confidentiality: frozenset[str]
    class_code: str = ""
    type_code: str = ""
    authors: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PatientPolicies:
    """All policies of a patient, and what they are asked about that changed since it was registered.

    `patient_id` is the survivor of merges, `identities` are all ids that merges made one, itself among them,
    and each policy names the one it was for; without a merge `identities` may be empty. `updated` has, by
    uniqueId, the documents whose metadata were updated (ITI-57, ITI-92): each entry that they have now, and
    that may be another patient's. Whoever keeps older ones must use these. Where a policy is of single
    documents, all documents are there.
    """

    patient_id: str
    policies: tuple[Policy, ...] = ()
    identities: tuple[str, ...] = ()
    updated: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)


def new_policy(*, patient_id: str, effect: Effect | str, **fields: Any) -> Policy:
    """A policy with a new id, made now; fields as in `Policy`, times aware or ISO 8601.

    Raises
    ------
    PolicyError
        A field is malformed, `actions` names what nobody asks consent for, or it would be a break.
    """
    policy = _made(patient_id=patient_id, effect=effect, **fields)
    if policy.effect is Effect.BREAK:
        raise PolicyError("effect: must be permit or deny; a break is declared by the user whom it is for")
    if not set(policy.actions) <= set(DISCLOSURES):
        raise PolicyError(
            f"actions: consent is asked for {' and '.join(DISCLOSURES)} alone; no service holds a submission "
            "against policies, so that one about it would do nothing"
        )
    return policy


def new_break(*, patient_id: str, user: str, reason: str, until: datetime, **fields: Any) -> Policy:
    """A break for `user` until that moment; `roles` and `purposes` are those that it holds with.

    Raises
    ------
    PolicyError
        A field is malformed, or there is no reason.
    """
    return _made(
        patient_id=patient_id,
        effect=Effect.BREAK,
        users=(user,),
        description=reason.strip(),
        valid_until=until,
        **fields,
    )


def _made(**fields: Any) -> Policy:
    return decode_policy({"policy_id": uuid4().urn, "created": datetime.now(UTC)} | fields)


# --- JSON ---------------------------------------------------------------------------------------------


def encode_policy(policy: Policy) -> dict[str, Any]:
    """The policy as a JSON object; absent times are null.

    What earlier releases do not know stands in it only where it says something: others they can still read.
    """
    users = {"users": list(policy.users)} if policy.users else {}
    absolute = {"absolute": True} if policy.absolute else {}
    newer: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name in ("home_communities", "document_types", "authors", "documents", "source")
        if (value := getattr(policy, name))
    }
    return {
        **users,
        **absolute,
        **newer,
        "policy_id": policy.policy_id,
        "patient_id": policy.patient_id,
        "effect": policy.effect.value,
        "roles": list(policy.roles),
        "organizations": list(policy.organizations),
        "purposes": list(policy.purposes),
        "confidentiality": list(policy.confidentiality),
        "actions": [action.value for action in policy.actions],
        "valid_from": _written(policy.valid_from),
        "valid_until": _written(policy.valid_until),
        "created": _written(policy.created),
        "description": policy.description,
        "author": policy.author,
    }


def encode_patient_policies(policies: PatientPolicies) -> bytes:
    """The body with which the registry answers for a patient's policies."""
    return json.dumps(
        {
            "patient_id": policies.patient_id,
            "identities": list(policies.identities),
            "policies": [encode_policy(policy) for policy in policies.policies],
            "updated": {
                unique_id: [
                    _encode_entry(entry, with_types=_asks_types(policies, entry)) for entry in entries
                ]
                for unique_id, entries in policies.updated.items()
            },
        }
    ).encode()


#: Members of an entry that are there where a policy is of single documents.
_LISTS = ("authors", "ids")


def _asks_types(policies: PatientPolicies, entry: Entry) -> bool:
    """Whether a policy may ask for the types of an entry; those of another patient are not known here."""
    return entry.patient_id != policies.patient_id or any(one.document_types for one in policies.policies)


def _encode_entry(entry: Entry, *, with_types: bool) -> dict[str, Any]:
    types = {"class_code": entry.class_code, "type_code": entry.type_code} if with_types else {}
    particulars = {name: sorted(value) for name in _LISTS if (value := getattr(entry, name))}
    codes = {"patient_id": entry.patient_id, "confidentiality": sorted(entry.confidentiality)}
    return {**codes, **types, **particulars}


def decode_patient_policies(octets: bytes) -> PatientPolicies:
    """Read that body.

    Raises
    ------
    PolicyError
        It is not that, or one policy cannot be read: the others alone might permit what that one denies.
    """
    content = _object(octets)
    listed, updated = content.get("policies"), content.get("updated")
    identities = content.get("identities")
    if (
        set(content) != {"patient_id", "identities", "policies", "updated"}
        or not isinstance(listed, list)
        or not isinstance(identities, list)
        or not isinstance(updated, dict)
    ):
        raise PolicyError(
            "patient_id, identities and policies (lists) and updated (an object) are needed, and nothing else"
        )
    if not all(isinstance(identity, str) for identity in identities):
        raise PolicyError("identities: must be a list of patient ids")
    if len(listed) > MAX_POLICIES + MAX_BREAKS:
        raise PolicyError(f"policies: at most {MAX_POLICIES} for one patient, and {MAX_BREAKS} breaks")
    patient_id = _matching(content, "patient_id", _CX, "a CX, for example 17^^^&1.2.3&ISO")
    return PatientPolicies(
        patient_id,
        tuple(map(decode_policy, listed)),
        tuple(identities),
        {unique_id: _entries(entries) for unique_id, entries in updated.items()},
    )


def _entries(listed: object) -> tuple[Entry, ...]:
    """The entries of a document, at least one."""
    if not isinstance(listed, list) or not listed:
        raise PolicyError("updated: each document needs a list of entries")
    return tuple(map(_entry, listed))


def _entry(content: object) -> Entry:
    types, needed = {"class_code", "type_code"}, {"patient_id", "confidentiality"}
    if not isinstance(content, dict) or set(content) - types - set(_LISTS) != needed:
        raise PolicyError("updated: an entry has patient_id, confidentiality, its types, and nothing else")
    if not all(isinstance(content.get(name, ""), str) for name in types):
        raise PolicyError("updated: class_code and type_code are codes")
    lists = {name: content.get(name, []) for name in ("confidentiality", *_LISTS)}
    for name, values in lists.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise PolicyError(f"updated: {name} is a list of texts")
    return Entry(
        _matching(content, "patient_id", _CX, "a CX, for example 17^^^&1.2.3&ISO"),
        class_code=content.get("class_code", ""),
        type_code=content.get("type_code", ""),
        **{name: frozenset(values) for name, values in lists.items()},
    )


def read_policy(octets: bytes | str) -> Policy:
    """Read one policy from its JSON text.

    Raises
    ------
    PolicyError
        The text is not a policy.
    """
    return decode_policy(_object(octets))


def decode_policy(content: Mapping[str, Any]) -> Policy:
    """Read one policy from a JSON object, strictly: a field that is not known might have been an exception.

    Raises
    ------
    PolicyError
        A field is absent, unknown or malformed.
    """
    if not isinstance(content, Mapping):
        raise PolicyError("a policy must be a JSON object")
    if set(content) - set(Policy.__dataclass_fields__):
        raise PolicyError(f"a field is not known; known are {', '.join(_FIELDS)}")
    policy = Policy(
        policy_id=_matching(content, "policy_id", _URN_UUID, "urn:uuid: and a UUID in lower case"),
        patient_id=_matching(content, "patient_id", _CX, "a CX, for example 17^^^&1.2.3&ISO"),
        effect=_effect(content.get("effect")),
        created=_moment(content, "created") or _absent("created"),
        roles=_codes(content, "roles"),
        organizations=_values(content, "organizations", _PLAIN, "an organisation id"),
        purposes=_codes(content, "purposes"),
        users=_values(content, "users", _PLAIN, "user@issuer"),
        absolute=_yes_or_no(content, "absolute"),
        confidentiality=_codes(content, "confidentiality"),
        home_communities=_values(content, "home_communities", _PLAIN, "a homeCommunityId"),
        document_types=_codes(content, "document_types"),
        authors=_codes(content, "authors"),
        documents=_values(content, "documents", _PLAIN, "a uniqueId or a Study Instance UID"),
        source=_source(content),
        actions=_actions(content),
        valid_from=_moment(content, "valid_from"),
        valid_until=_moment(content, "valid_until"),
        description=_text(content, "description"),
        author=_text(content, "author"),
    )
    _agree(policy)
    return policy


_FIELDS = tuple(Policy.__dataclass_fields__)


def _object(octets: bytes | str) -> Mapping[str, Any]:
    try:
        content = json.loads(octets)
    except (ValueError, RecursionError):
        raise PolicyError("not readable as JSON") from None
    if not isinstance(content, dict):
        raise PolicyError("a JSON object is needed")
    return content


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _absent(name: str) -> datetime:
    raise PolicyError(f"{name}: needed, a time with its zone")


def _matching(content: Mapping[str, Any], name: str, pattern: re.Pattern[str], right: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or len(value) > MAX_LENGTH or not pattern.fullmatch(value):
        raise PolicyError(f"{name}: must be {right}")
    return value


def _effect(value: object) -> Effect:
    try:
        return Effect(value)  # type: ignore[arg-type]  # whatever was sent
    except ValueError:
        raise PolicyError("effect: must be permit or deny") from None


def _moment(content: Mapping[str, Any], name: str) -> datetime | None:
    value = content.get(name)
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise PolicyError(f"{name}: must be a time with its zone, for example 2030-05-04T00:00:00Z")


def _values(content: Mapping[str, Any], name: str, pattern: re.Pattern[str], right: str) -> tuple[str, ...]:
    listed = content.get(name, ())
    if isinstance(listed, str) or not isinstance(listed, Sequence) or len(listed) > MAX_VALUES:
        raise PolicyError(f"{name}: must be a list of at most {MAX_VALUES}")
    for value in listed:
        if not isinstance(value, str) or len(value) > MAX_LENGTH or not pattern.fullmatch(value):
            raise PolicyError(f"{name}: each must be {right}, at most {MAX_LENGTH} characters")
    return tuple(sorted(set(listed)))


def _codes(content: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return _values(content, name, _CODE, "value^^scheme or a value for any scheme")


def _actions(content: Mapping[str, Any]) -> tuple[Action, ...]:
    listed = content.get("actions") or DISCLOSURES
    names = {action.value for action in Action}
    if isinstance(listed, str) or not isinstance(listed, Iterable) or not set(map(str, listed)) <= names:
        raise PolicyError(f"actions: each must be one of {', '.join(sorted(names))}")
    return tuple(sorted({Action(value) for value in listed}))


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT or not _TEXT.fullmatch(value):
        raise PolicyError(f"{name}: must be text of at most {MAX_TEXT} characters without control characters")
    return value


def _source(content: Mapping[str, Any]) -> str:
    value = content.get("source", "")
    if not isinstance(value, str) or len(value) > MAX_LENGTH or (value and not _PLAIN.fullmatch(value)):
        raise PolicyError("source: must be the id of a consent document or resource")
    return value


def _yes_or_no(content: Mapping[str, Any], name: str) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise PolicyError(f"{name}: must be true or false")
    return value


def _agree(policy: Policy) -> None:
    if policy.absolute and policy.effect is not Effect.DENY:
        raise PolicyError("absolute: only a deny can be kept from being overridden")
    if policy.effect is Effect.BREAK and not (policy.users and policy.valid_until and policy.description):
        raise PolicyError("a break needs users, valid_until, and its reason as description")
    begins, ends = policy.valid_from, policy.valid_until
    if begins is not None and ends is not None and begins >= ends:
        raise PolicyError("valid_until: must be after valid_from")
    if len({"^^" in code for code in policy.confidentiality}) > 1:
        raise PolicyError("confidentiality: name the scheme in all codes or in none")

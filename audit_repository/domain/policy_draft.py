"""A consent policy as somebody writes it into a form: each field is a text, and so is what is wrong with
it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.consent.policy import Effect, Policy, PolicyError, new_policy

#: Fields with one value in each line.
LISTS: Final = (
    *("users", "roles", "organizations", "home_communities", "purposes"),
    *("confidentiality", "document_types", "authors", "documents"),
)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2})")
_WRITTEN_SO: Final = "write a day, as 2030-05-04, or a moment in UTC, as 2030-05-04 12:00"


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """`content` is the policy as the registry takes it; `wrong` says by field why it is none."""

    content: Mapping[str, Any]
    wrong: Mapping[str, str]


def drafted(texts: Mapping[str, str], patient_id: str, *, now: datetime) -> PolicyDraft:
    """What `texts`, by field, come to for a patient, a CX. Every field that is wrong is told."""
    content: dict[str, Any] = {name: values for name in LISTS if (values := _lines(texts.get(name, "")))}
    content["effect"] = texts.get("effect", "")
    content |= {"absolute": True} if texts.get("absolute") else {}
    content |= {"description": text} if (text := texts.get("description", "").strip()) else {}
    content |= {"policy_id": text} if (text := texts.get("policy_id", "")) else {}
    wrong: dict[str, str] = {}
    if content["effect"] not in (Effect.PERMIT, Effect.DENY):
        wrong["effect"] = "choose whether it permits or denies"
    for name in ("valid_from", "valid_until"):
        try:
            moment = _moment(texts.get(name, "").strip(), is_end=name == "valid_until")
        except ValueError:
            wrong[name] = _WRITTEN_SO
            continue
        content |= {name: moment.isoformat()} if moment else {}
        if moment and name == "valid_until" and moment <= now:
            wrong[name] = "this is past; leave it empty for a policy without an end"
    for name in content.keys() - wrong.keys() - {"effect"}:
        wrong |= _wrong(patient_id, effect=Effect.DENY, **{name: content[name]})
    return PolicyDraft(content, wrong or _wrong(patient_id, **content))


def texts_of(policy: Policy) -> dict[str, str]:
    """A policy as the texts of a form, of which `drafted` makes it again; moments to the minute."""
    return {
        **{name: "\n".join(getattr(policy, name)) for name in LISTS},
        "effect": policy.effect.value,
        "absolute": "yes" if policy.absolute else "",
        "valid_from": _written(policy.valid_from),
        "valid_until": _written(policy.valid_until),
        "description": policy.description,
        "policy_id": policy.policy_id,
    }


def _written(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def policy_of(draft: PolicyDraft, patient_id: str) -> Policy:
    """The policy that a draft with nothing wrong would be."""
    return new_policy(patient_id=patient_id, **draft.content)


def field_of(refusal: str) -> tuple[str, str]:
    """The field that a refusal begins with, and what is wrong with it; empty where it is of none."""
    name, colon, why = refusal.partition(": ")
    is_a_field = colon and name in Policy.__dataclass_fields__
    return (name, why) if is_a_field else ("", refusal)


def _wrong(patient_id: str, **fields: Any) -> dict[str, str]:
    try:
        new_policy(patient_id=patient_id, **fields)
    except PolicyError as error:
        name, why = field_of(str(error))
        return {name or "effect": why}
    return {}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _moment(text: str, *, is_end: bool) -> datetime | None:
    """A day counts whole: as an end it is over when the day is."""
    if not text:
        return None
    if _DAY.fullmatch(text):
        day = datetime.fromisoformat(text).replace(tzinfo=UTC)
        return day + timedelta(days=1) if is_end else day
    if match := _MOMENT.fullmatch(text):
        return datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC)
    raise ValueError(text)

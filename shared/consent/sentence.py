"""Policies in plain sentences, for whoever may know what decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.consent.decision import Action
from shared.consent.policy import Effect, Policy

_ACTIONS = {Action.QUERY: "find", Action.RETRIEVE: "open", Action.SUBMIT: "submit"}


def sentence(policy: Policy) -> str:
    """What a policy says, as one sentence: who may, or may not, do what with which documents, and when."""
    who = _who(policy)
    modal = "may not" if policy.effect is Effect.DENY else "may"
    actions = " or ".join(_ACTIONS[action] for action in policy.actions)
    which = _which(policy)
    when = "".join(
        f" {word} {_written(moment)}"
        for word, moment in (("from", policy.valid_from), ("until", policy.valid_until))
        if moment is not None
    )
    always = ", and no emergency overrides that" if policy.absolute else ""
    broken = " although policies deny it, in an emergency" if policy.effect is Effect.BREAK else ""
    return f"{who} {modal} {actions} {which}{broken}{when}{always}."


def _who(policy: Policy) -> str:
    parts = [
        f"{words} {_listed(values)}"
        for words, values in (
            ("is", policy.users),
            ("has the role", policy.roles),
            ("is of the organization", policy.organizations),
            ("is of the community", policy.home_communities),
            ("asks for the purpose", policy.purposes),
        )
        if values
    ]
    return f"Who {' and '.join(parts)}" if parts else "Everybody"


def _which(policy: Policy) -> str:
    parts = [
        f"{words} {_listed(values)}"
        for words, values in (
            ("of confidentiality", policy.confidentiality),
            ("of the type", policy.document_types),
            ("written by", policy.authors),
            ("that are, or are of the study,", policy.documents),
        )
        if values
    ]
    return f"documents {' and '.join(parts)}" if parts else "the patient's documents"


def _listed(values: Sequence[str]) -> str:
    return " or ".join(values)


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"

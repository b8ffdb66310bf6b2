"""What privacy officers ask of the trail, in their words, and by which terms of the index it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.audit.events import (
    AUDIT_LOG_USED,
    LOGIN,
    NODE_AUTHENTICATION,
    REFUSED,
    SECURITY_CONFIGURATION,
)

Term = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question; `terms` are kinds of terms with the values of which one must be there, all of them."""

    text: str
    terms: tuple[Term, ...] = ()
    unread: bool = False


_REFUSED: Term = (("outcome",), (REFUSED,))
QUESTIONS: Final[Mapping[str, Question]] = {
    "refused": Question(text="Who was refused, and by which policy?", terms=(_REFUSED,)),
    "logins": Question(text="Which sign-ins failed?", terms=(_REFUSED, (("type",), (LOGIN.code,)))),
    "strangers": Question(
        text="Which unknown systems tried to connect?", terms=((("type",), (NODE_AUTHENTICATION.code,)),)
    ),
    "emergency": Question(
        text="Who looked in an emergency?",
        terms=((("purpose", "type"), ("BTG", "ETREAT", "EMERGENCY", "EMER", "110127", "110138")),),
    ),
    "removed": Question(
        text="What was removed, and by whom?", terms=((("type",), ("ITI-62", "ITI-86", "110105")),)
    ),
    "policies": Question(
        text="Who changed a patient's consent, or a legal hold?",
        terms=((("type",), (SECURITY_CONFIGURATION.code,)),),
    ),
    "readers": Question(text="Who looked into this trail?", terms=((("type",), (AUDIT_LOG_USED.code,)),)),
    "unread": Question(text="Which records could not be read?", unread=True),
    "all": Question(text="What happened at all?"),
}

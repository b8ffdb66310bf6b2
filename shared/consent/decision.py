"""May this caller do this with that: the question, and the answer with its reason.

Policies belong to a patient; the answer when there is none is the domain's default. A service asks by patient
and by the attributes of what is touched, and never sees how policies are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shared.security.caller import Caller


class Action(StrEnum):
    """What a caller wants to do with patient data.

    Nobody asks consent for SUBMIT: it is read in policies of earlier releases, and refused in new ones.
    """

    QUERY = "query"
    RETRIEVE = "retrieve"
    SUBMIT = "submit"


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` names the deciding policy, or the default; for the trail and `xdsi consent why`, never for the
    caller."""

    permitted: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What is touched: the attributes that policies may read, and whose they are.

    `patient_id` is the CX as registered, merges resolved. Codes are spelled `value^^scheme`. By
    `document_unique_id` whoever keeps a copy of the other attributes finds what became of them; it is empty
    where they are the current ones. By `entry_uuid` the registry finds `authors` and `ids`, which only
    policies of single documents read: as `shared.consent.particulars` has them, empty where not known.
    """

    patient_id: str
    document_unique_id: str = ""
    confidentiality: frozenset[str] = frozenset()
    class_code: str = ""
    type_code: str = ""
    entry_uuid: str = ""
    authors: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


class Consent(Protocol):
    """The decisions of one request."""

    async def decide(
        self, caller: Caller, action: Action, resources: tuple[Resource, ...]
    ) -> tuple[Decision, ...]:
        """One decision for each resource, in order. What cannot be decided is refused (fail closed)."""
        ...

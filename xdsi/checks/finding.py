"""What was found by looking at one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters: with an error something does not work, or is open that should not be."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    `id` names the check and stays the same over releases; `subject` is the setting or the thing; `remedy` is
    empty when all is well; `service` is empty when it is of all.
    """

    id: str
    severity: Severity
    subject: str
    found: str
    remedy: str = ""
    service: str = ""


def well(check: str, subject: str, found: str, service: str = "") -> Finding:
    """Nothing is wrong."""
    return Finding(id=check, severity=Severity.OK, subject=subject, found=found, service=service)


def wrong(check: str, subject: str, found: str, remedy: str, service: str = "") -> Finding:
    """Something does not work, or must not be so."""
    return Finding(
        id=check, severity=Severity.ERROR, subject=subject, found=found, remedy=remedy, service=service
    )


def doubtful(check: str, subject: str, found: str, remedy: str, service: str = "") -> Finding:
    """Something works and will not, or may not be meant."""
    return Finding(
        id=check, severity=Severity.WARNING, subject=subject, found=found, remedy=remedy, service=service
    )


def of_problem(check: str, problem: str, service: str = "") -> Finding:
    """An error from a sentence `SETTING: what is wrong; what would be right`."""
    subject, _, rest = problem.partition(": ")
    state, _, remedy = rest.rpartition("; ")
    if not state:
        state, remedy = rest, f"correct {subject}; docs/settings.md tells what it takes"
    return wrong(check, subject, state, remedy, service)

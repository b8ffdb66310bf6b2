"""What is found: frozen values that a program can compare, and whose ids never change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

#: Characters of a value that a finding shows; the place says where the rest is.
MOST_SHOWN: Final = 120
#: Findings of one requirement that a report lists; the last of them says how many more there are.
MOST_OF_A_REQUIREMENT: Final = 20


class Severity(StrEnum):
    """How much it weighs: an error breaks the standard, a warning a recommendation or an expectation."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a standard demands.

    `id` is permanent, such as `XDS-META-017`; `clause` cites the standard; `text` is a sentence that says
    what is right.
    """

    id: str
    severity: Severity
    clause: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where a requirement is not met.

    `id` and `clause` are those of the requirement. `place` is a line, an XPath, a tag path or a FHIR path;
    `wrong` says what is wrong there, `right` what would be right; `value` is what stands there, shortened.
    """

    id: str
    severity: Severity
    clause: str
    place: str
    wrong: str
    right: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, what it was taken for, and everything that was found, in the order of reading.

    `kind` is a name of `recognition.Kind`; `title` says it for people, with what is particular, such as the
    transaction.
    """

    source: str
    kind: str
    title: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether there is no error; warnings and notes are no failure."""
        return not self.count(Severity.ERROR)

    def count(self, severity: Severity) -> int:
        """How many findings weigh so much."""
        return sum(finding.severity is severity for finding in self.findings)

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Self:
        """The report that `as_json` wrote."""
        findings = tuple(
            Finding(**{**one, "severity": Severity(one["severity"])}) for one in written["findings"]
        )
        return cls(written["source"], written["kind"], written["title"], findings)

    def as_json(self) -> Mapping[str, object]:
        """The report for programs."""
        return {
            "source": self.source,
            "kind": self.kind,
            "title": self.title,
            "passed": self.passed,
            "findings": [
                {name: str(getattr(finding, name)) for name in Finding.__slots__} for finding in self.findings
            ],
        }


def shortened(value: object) -> str:
    """A value as a finding shows it: one line, at most `MOST_SHOWN` characters."""
    text = str(value)
    if len(text) > MOST_SHOWN:
        text = f"{text[: MOST_SHOWN - 1]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def bounded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, of each requirement the first `MOST_OF_A_REQUIREMENT`: a study of 50,000 instances that
    all lack the same is one mistake. The last of them says how many more there are."""
    listed: list[Finding] = []
    times: dict[str, int] = {}
    last: dict[str, int] = {}
    for finding in findings:
        times[finding.id] = times.get(finding.id, 0) + 1
        if times[finding.id] <= MOST_OF_A_REQUIREMENT:
            last[finding.id] = len(listed)
            listed.append(finding)
    for id, at in last.items():
        if (more := times[id] - MOST_OF_A_REQUIREMENT) > 0:
            one = listed[at]
            listed[at] = Finding(
                one.id,
                one.severity,
                one.clause,
                one.place,
                f"{one.wrong} (and in {more} more places)",
                one.right,
                one.value,
            )
    return tuple(listed)

"""A run as JSON, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conformance.plans.probe import Verdict
from conformance.plans.run import Run

FORMAT = "xdsi-conformance-run/1"


def as_json(run: Run) -> dict[str, Any]:
    """The run for programs; ids of probes are permanent."""
    return {
        "format": FORMAT,
        "began": run.began.isoformat(),
        "seconds": round(run.seconds, 3),
        "target": dict(run.target.endpoints),
        "passed": run.passed,
        "verdicts": [verdict_as_json(verdict) for verdict in run.verdicts],
    }


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """What became of one probe, for programs."""
    probe = verdict.probe
    return {
        "id": probe.id,
        "actor": probe.actor,
        "option": probe.option,
        "clause": probe.clause,
        "purpose": probe.purpose,
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "seconds": round(verdict.seconds, 4),
        "exchanges": [
            {"title": one.title, "request": one.request, "answer": one.answer} for one in verdict.exchanges
        ],
        "findings": [
            {name: str(getattr(one, name)) for name in ("id", "clause", "place", "wrong", "right", "value")}
            for one in verdict.findings
        ],
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """One probe that ended otherwise than before; an outcome is empty where it was not asked."""

    id: str
    before: str
    after: str
    reason: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What ended otherwise in the run `after`; both as `as_json` gives them."""
    earlier = {one["id"]: one for one in before["verdicts"]}
    later = {one["id"]: one for one in after["verdicts"]}
    return tuple(
        Difference(
            id,
            earlier.get(id, {}).get("outcome", ""),
            later.get(id, {}).get("outcome", ""),
            later.get(id, {}).get("reason", ""),
        )
        for id in dict.fromkeys((*earlier, *later))
        if earlier.get(id, {}).get("outcome") != later.get(id, {}).get("outcome")
    )

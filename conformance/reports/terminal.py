"""A run, for people at a terminal: what failed with its reason, and how many did not."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.plans.probe import Outcome, Verdict
from conformance.plans.run import Run


def line(verdict: Verdict) -> str:
    """One verdict in one line."""
    reason = f": {verdict.reason}" if verdict.reason else ""
    return f"{verdict.outcome:<11}  {verdict.probe.id:<13}  {verdict.probe.purpose}{reason}"


def lines(run: Run) -> Iterator[str]:
    """What did not pass, by actor, and the counts."""
    actors = dict.fromkeys(verdict.probe.actor for verdict in run.verdicts)
    for verdict in run.verdicts:
        if verdict.outcome in (Outcome.FAILED, Outcome.UNDECIDED):
            yield f"{verdict.outcome.upper()}  {verdict.probe.id}  {verdict.probe.purpose}"
            yield f"    {verdict.reason}  [{verdict.probe.clause}]"
            for exchange in verdict.exchanges[-1:]:
                yield f"    {run.folder / exchange.request} and {run.folder / exchange.answer}"
    for actor in actors:
        of_actor = [verdict.outcome for verdict in run.verdicts if verdict.probe.actor == actor]
        counts = ", ".join(f"{of_actor.count(one)} {one}" for one in Outcome if of_actor.count(one))
        yield f"{actor:<16}{counts}"
    yield f"{len(run.verdicts)} probes in {run.seconds:.1f} s: {'passed' if run.passed else 'FAILED'}"

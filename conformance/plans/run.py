"""A run: probes asked of one target, one after the other, and what became of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from lxml.etree import LxmlError
from pydicom.errors import InvalidDicomError

from conformance.findings import Finding, Severity
from conformance.plans.probe import Exchanged, NotOffered, Outcome, Probe, Unmet, Verdict
from conformance.plans.stand import Stand, Target, Unreached
from conformance.validation import judge
from shared.attempts import attempted

# What reading raises where something else stands than what the requirement asks for.
_UNREADABLE = (LookupError, ValueError, AttributeError, EOFError, InvalidDicomError, LxmlError)


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the probes of a run, in their order."""

    began: datetime
    seconds: float
    target: Target
    folder: Path
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether none failed, and every one that was offered could be asked."""
        return not self.count(Outcome.FAILED) and not self.count(Outcome.UNDECIDED)

    def count(self, outcome: Outcome) -> int:
        """How many ended so."""
        return sum(verdict.outcome is outcome for verdict in self.verdicts)


def run(
    probes: Iterable[Probe],
    target: Target,
    folder: Path,
    *,
    before: Iterable[Probe] = (),
    strict: bool = False,
    report: Callable[[Verdict], None] = lambda verdict: None,
) -> Run:
    """Ask every probe; `report` learns each verdict as it is known. Exchanges are kept below `folder`.

    Unless those of `before` pass no other is asked. Where it is `strict` a probe fails, too, when the validators
    find an error in an answer that came to it, whatever it asks for.
    """
    began, clock = datetime.now(UTC), time.perf_counter()
    stand = Stand(target, folder)
    verdicts: list[Verdict] = []
    probes = tuple(probes)

    def ask(each: Iterable[Probe]) -> None:
        for probe in each:
            verdict = judged(probe, stand, strict=strict)
            verdicts.append(verdict)
            report(verdict)

    try:
        _begin(probes, stand)
        ask(before)
        if all(verdict.outcome is Outcome.PASSED for verdict in verdicts):
            ask(probes)
    finally:
        stand.close()
    return Run(began, time.perf_counter() - clock, target, folder, tuple(verdicts))


def _begin(probes: Iterable[Probe], stand: Stand) -> None:
    """Start what will be needed. A system that reports to us may have waited for that; why something does not
    start, those find out that need it."""
    for begin in dict.fromkeys(one.begin for one in probes if not _missing(one, stand)):
        if begin is not None:
            attempted(partial(begin, stand))


def _missing(probe: Probe, stand: Stand) -> list[str]:
    return [name for name in probe.needs if not stand.target.endpoints.get(name)]


def judged(probe: Probe, stand: Stand, *, strict: bool = False) -> Verdict:
    """Ask one probe. A mistake of the probe's own decides nothing about the system."""
    clock = time.perf_counter()
    with stand.of_probe(probe.id):
        outcome, reason = _asked(probe, stand)
        seconds, exchanges = time.perf_counter() - clock, tuple(stand.exchanges)
    findings = tuple(_errors(stand.folder, exchanges))
    if strict and findings and outcome is Outcome.PASSED:
        outcome = Outcome.FAILED
        reason = "; ".join(dict.fromkeys(f"{one.id}: {one.wrong} ({one.place})" for one in findings))
    return Verdict(probe, outcome, reason, seconds, exchanges, findings)


def _errors(folder: Path, exchanges: Iterable[Exchanged]) -> Iterator[Finding]:
    """What the validators find wrong with answers over HTTP, whatever the probe looked at. A request says what its
    answer is one of; what is wrong with the request was meant."""
    for exchange in exchanges:
        request, answer = ((folder / name).read_bytes() for name in (exchange.request, exchange.answer))
        if answer.startswith(b"HTTP/"):
            meant = Counter(judge(request, exchange.request).findings)
            for one in judge(request + b"\n" + answer, exchange.answer).findings:
                if meant[one]:
                    meant[one] -= 1
                elif one.severity is Severity.ERROR:
                    yield one


def _asked(probe: Probe, stand: Stand) -> tuple[Outcome, str]:
    if probe.option and probe.option in stand.target.without:
        return Outcome.NOT_OFFERED, f"the option {probe.option} is not claimed"
    if missing := _missing(probe, stand):
        return Outcome.NOT_OFFERED, f"no address of {', '.join(missing)} was given"
    mistake = attempted(lambda: probe.ask(stand))
    match mistake:
        case Unmet():
            return Outcome.FAILED, str(mistake)
        case NotOffered():
            return Outcome.NOT_OFFERED, str(mistake)
        case Unreached():
            return Outcome.UNDECIDED, str(mistake)
        case _ if isinstance(mistake, _UNREADABLE):
            return Outcome.FAILED, f"the answer is not what can be read: {mistake!r}"
        case Exception():
            return Outcome.UNDECIDED, f"the probe failed: {type(mistake).__name__}: {mistake}"
    return Outcome.PASSED, ""


def chosen(probes: Iterable[Probe], names: Sequence[str], packs: Collection[str] = ()) -> Iterator[Probe]:
    """The probes of the actors, or with the ids or beginnings of ids, that `names` name; all without.

    Those of national packs come only with their pack in `packs`.
    """
    for probe in probes:
        if probe.pack and probe.pack not in packs:
            continue
        if not names or any(probe.actor == name or probe.id.startswith(name) for name in names):
            yield probe

"""A run as one HTML file: verdicts by actor, and of each what was sent, what came, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from conformance.findings import Finding
from conformance.plans.probe import Exchanged, Outcome, Verdict
from conformance.plans.run import Run
from conformance.reports.data import Difference
from conformance.reports.document import document, table
from conformance.reports.findings import listed

#: Bytes of one message that the page shows; the file beside it has the rest. Of what passed fewer are shown.
MOST_SHOWN: Final = 8 * 1024
_MOST_OF_PASSED: Final = 2 * 1024
_FAILURES: Final = (Outcome.FAILED, Outcome.UNDECIDED)
_LONGEST: Final = 70


def page(run: Run, changes: Sequence[Difference] = ()) -> str:
    """The file; `changes` are what ended otherwise than in an earlier run."""
    outcome = "passed" if run.passed else "failed"
    return document(f"Conformance run: {outcome}", _body(run, outcome, changes))


def _body(run: Run, outcome: str, changes: Sequence[Difference]) -> Iterator[str]:
    yield (
        f'<h1>Conformance run: <span class="{outcome}">{outcome}</span></h1>'
        f'<p class="quiet">{run.began:%Y-%m-%d %H:%M:%S} UTC, {run.seconds:.1f} s, {len(run.verdicts)} probes'
        f"{_counts(run.verdicts)}.</p>"
    )
    yield "<h2>System</h2>" + table(
        ("Actor", "Address"),
        (
            f'<tr><th scope="row">{escape(actor)}</th><td>{escape(url)}</td></tr>'
            for actor, url in run.target.endpoints.items()
        ),
    )
    if changes:
        yield "<h2>Since the earlier run</h2>" + table(("Id", "Before", "Now"), map(_change, changes))
    for actor in dict.fromkeys(verdict.probe.actor for verdict in run.verdicts):
        verdicts = [verdict for verdict in run.verdicts if verdict.probe.actor == actor]
        # What failed comes first: it is what the page is read for.
        verdicts.sort(key=lambda verdict: verdict.outcome not in _FAILURES)
        yield f'<h2>{escape(actor)}</h2><p class="quiet">{len(verdicts)} probes{_counts(verdicts)}</p>'
        yield table(
            ("Id", "Requirement", "Verdict"), ("".join(_row(verdict, run.folder)) for verdict in verdicts)
        )


def _counts(verdicts: Sequence[Verdict]) -> str:
    outcomes = [verdict.outcome for verdict in verdicts]
    return "".join(f", {outcomes.count(one)} {one}" for one in Outcome if one in outcomes)


def _change(change: Difference) -> str:
    id, reason = escape(change.id), f"<br>{escape(change.reason)}" if change.reason else ""
    return (
        f'<tr><th scope="row"><a href="#{id}">{id}</a></th>'
        f"<td>{escape(change.before or 'not asked')}</td>"
        f"<td>{escape(change.after or 'not asked')}{reason}</td></tr>"
    )


def _row(verdict: Verdict, folder: Path) -> Iterator[str]:
    probe = verdict.probe
    id, kind = escape(probe.id), verdict.outcome.replace(" ", "-")
    option = f", option {escape(probe.option)}" if probe.option else ""
    yield f'<tr id="{id}"><th scope="row"><a href="#{id}">{id}</a></th>'
    yield f"<td>{escape(probe.purpose)}<br><small>{escape(probe.clause)}{option}</small>"
    if verdict.exchanges:
        failed = verdict.outcome in _FAILURES
        yield f"<details><summary>What was sent and what came ({len(verdict.exchanges)})</summary>"
        yield _diagram(verdict.exchanges)
        for exchange in verdict.exchanges:
            yield f"<h3>{escape(exchange.title)}</h3>"
            for name in (exchange.request, exchange.answer):
                yield f"<pre>{_shown(folder / name, MOST_SHOWN if failed else _MOST_OF_PASSED)}</pre>"
        yield "</details>"
    if verdict.findings:
        yield _found(verdict.findings)
    yield f'</td><td><span class="{kind}">{verdict.outcome}</span>'
    yield f"<br>{escape(verdict.reason)}" if verdict.reason else ""
    yield "</td></tr>"


def _found(findings: Sequence[Finding]) -> str:
    """What the validators find in what came."""
    return (
        f"<details><summary>What validators find in what came ({len(findings)})</summary>"
        f"{listed(findings)}</details>"
    )


def _diagram(exchanges: Sequence[Exchanged]) -> str:
    """The exchanges as arrows between us and the system."""
    height = 50 + 44 * len(exchanges)
    arrows = "".join(
        f'<path class="arrow" d="M120 {y}H552"/><path class="tip" d="M552 {y - 4}l8 4-8 4z"/>'
        f'<text x="130" y="{y - 5}" font-size="12">{escape(exchange.title[:_LONGEST])}</text>'
        f'<path class="arrow" d="M560 {y + 18}H128" stroke-dasharray="4"/>'
        f'<path class="tip" d="M128 {y + 14}l-8 4 8 4z"/>'
        for y, exchange in ((60 + 44 * place, exchange) for place, exchange in enumerate(exchanges))
    )
    return (
        f'<svg viewBox="0 0 680 {height + 20}" role="img" aria-label="{len(exchanges)} exchanges">'
        '<text x="80" y="20" font-size="13">probe</text><text x="540" y="20" font-size="13">system</text>'
        f'<path class="lane" d="M120 28V{height + 10}M560 28V{height + 10}"/>{arrows}</svg>'
    )


def _shown(path: Path, most: int) -> str:
    with path.open("rb") as file:
        octets = file.read(most)
    more = path.stat().st_size - len(octets)
    rest = f"\n… {more} more bytes in {path.name}" if more else ""
    readable = "".join(
        one if one.isprintable() or one in "\n\t" else "·"
        for one in octets.decode("utf-8", "replace").replace("\r\n", "\n")
    )
    return escape(readable + rest) or "nothing"

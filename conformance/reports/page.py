"""A run as one HTML file that needs nothing else: verdicts by actor, and of each what was sent and came."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from conformance.plans.probe import Exchanged, Outcome, Verdict
from conformance.plans.run import Run

#: Bytes of one message that the page shows; the file beside it has the rest.
MOST_SHOWN = 8 * 1024

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
body{color:#1a1a1a;background:#fff}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}
pre{background:#f4f4f4;padding:.6rem;overflow:auto;max-height:24rem;white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer}.passed{color:#0b5d1e}.failed,.undecided{color:#9c1111;font-weight:600}
.not-offered{color:#555}svg{max-width:100%}
"""


def page(run: Run) -> str:
    """The file."""
    return "".join(_page(run))


def _page(run: Run) -> Iterator[str]:
    outcome = "passed" if run.passed else "failed"
    yield (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Conformance run: {outcome}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>Conformance run: <span class="{outcome}">{outcome}</span></h1>'
        f"<p>{run.began:%Y-%m-%d %H:%M:%S} UTC, {run.seconds:.1f} s, {len(run.verdicts)} probes.</p>"
    )
    yield "<h2>System</h2><table><thead><tr><th>Actor</th><th>Address</th></tr></thead><tbody>"
    for actor, url in run.target.endpoints.items():
        yield f"<tr><td>{escape(actor)}</td><td>{escape(url)}</td></tr>"
    yield "</tbody></table>"
    for actor in dict.fromkeys(verdict.probe.actor for verdict in run.verdicts):
        verdicts = [verdict for verdict in run.verdicts if verdict.probe.actor == actor]
        counts = ", ".join(
            f"{sum(one.outcome is outcome for one in verdicts)} {outcome}"
            for outcome in Outcome
            if any(one.outcome is outcome for one in verdicts)
        )
        yield f"<h2>{escape(actor)}</h2><p>{counts}</p><table><thead><tr><th>Id</th><th>Requirement</th>"
        yield "<th>Verdict</th></tr></thead><tbody>"
        for verdict in verdicts:
            yield from _row(verdict, run.folder)
        yield "</tbody></table>"
    yield "</main></body></html>"


def _row(verdict: Verdict, folder: Path) -> Iterator[str]:
    probe = verdict.probe
    kind = verdict.outcome.replace(" ", "-")
    yield f'<tr id="{escape(probe.id)}"><td>{escape(probe.id)}</td><td>{escape(probe.purpose)}'
    option = f", option {escape(probe.option)}" if probe.option else ""
    yield f"<br><small>{escape(probe.clause)}{option}</small>"
    if verdict.exchanges and verdict.outcome in (Outcome.FAILED, Outcome.UNDECIDED):
        yield "<details><summary>What was sent and what came</summary>"
        yield _diagram(verdict.exchanges)
        for exchange in verdict.exchanges:
            yield f"<h3>{escape(exchange.title)}</h3>"
            for name in (exchange.request, exchange.answer):
                yield f"<pre>{_shown(folder / name)}</pre>"
        yield "</details>"
    yield f'</td><td class="{kind}">{verdict.outcome}'
    yield f"<br>{escape(verdict.reason)}" if verdict.reason else ""
    yield "</td></tr>"


def _diagram(exchanges: tuple[Exchanged, ...]) -> str:
    """The exchanges as arrows between us and the system."""
    height = 50 + 44 * len(exchanges)
    arrows = "".join(
        f'<path d="M120 {y}H560" marker-end="url(#a)" stroke="#333"/>'
        f'<text x="130" y="{y - 5}" font-size="12">{escape(exchange.title[:70])}</text>'
        f'<path d="M560 {y + 18}H120" marker-end="url(#a)" stroke="#333" stroke-dasharray="4"/>'
        for y, exchange in ((60 + 44 * place, exchange) for place, exchange in enumerate(exchanges))
    )
    return (
        f'<svg viewBox="0 0 680 {height + 20}" role="img" aria-label="{len(exchanges)} exchanges">'
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#333"/></marker></defs>'
        '<text x="80" y="20" font-size="13">probe</text><text x="540" y="20" font-size="13">system</text>'
        f'<path d="M120 28V{height}M560 28V{height}" stroke="#999"/>{arrows}</svg>'
    )


def _shown(path: Path) -> str:
    octets = path.read_bytes()
    rest = f"\n… {len(octets) - MOST_SHOWN} more bytes in {path.name}" if len(octets) > MOST_SHOWN else ""
    readable = "".join(
        one if one.isprintable() or one in "\n\t" else "·"
        for one in octets[:MOST_SHOWN].decode("utf-8", "replace").replace("\r\n", "\n")
    )
    return escape(readable + rest)

"""Reports of the validators as one HTML file: of each file what it is, and what is wrong with it where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from conformance.findings import Finding, Report, Severity
from conformance.reports.document import document, table


def findings_page(reports: Sequence[Report]) -> str:
    """The file."""
    outcome = "passed" if all(report.passed for report in reports) else "failed"
    return document(f"Validation: {outcome}", _body(reports, outcome))


def _body(reports: Sequence[Report], outcome: str) -> Iterator[str]:
    yield f'<h1>Validation: <span class="{outcome}">{outcome}</span></h1>'
    for number, report in enumerate(reports, 1):
        counts = [(report.count(severity), severity) for severity in Severity]
        totals = ", ".join(
            f"{count} {severity}{'' if count == 1 else 's'}" for count, severity in counts if count
        )
        verdict = "passed" if report.passed else "failed"
        yield f'<h2 id="file-{number}">{escape(report.source)}: <span class="{verdict}">{verdict}</span></h2>'
        yield f'<p class="quiet">{escape(report.title)}{f", {totals}" if totals else ""}</p>'
        yield listed(report.findings) if report.findings else "<p>Nothing was found that is wrong.</p>"


def listed(findings: Sequence[Finding]) -> str:
    """The findings as a table."""
    return table(("Id", "What is wrong", "What would be right"), map(_row, findings))


def _row(finding: Finding) -> str:
    value = f": <code>{escape(finding.value)}</code>" if finding.value else ""
    weight = "error" if finding.severity is Severity.ERROR else "quiet"
    return (
        f'<tr><th scope="row">{escape(finding.id)}<br><span class="{weight}">{finding.severity}</span></th>'
        f"<td>{escape(finding.wrong)}{value}<br><small><code>{escape(finding.place)}</code></small></td>"
        f"<td>{escape(finding.right)}<br><small>{escape(finding.clause)}</small></td></tr>"
    )

"""`xdsi validate`: what kind of thing a file is, and what is wrong with it."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from cryptography.x509 import Certificate

from conformance.findings import Finding, Report, Severity
from conformance.reports.findings import findings_page
from conformance.trust import NoCertificates, certificates_of, trusting
from conformance.validation import validate, validate_endpoint, validate_together
from xdsi.failures import WrongUsage
from xdsi.options import AsJson

_WIDEST = 100
_INDENT = 10


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Files, each is told what it is; or endpoints, tls://host:port.", metavar="FILE…"
        ),
    ],
    as_json: AsJson = False,
    trust: Annotated[
        list[Path],
        typer.Option(help="Certificates, PEM, of who signs, or of their authorities; may be repeated."),
    ] = [],
    html_file: Annotated[Path | None, typer.Option("--html", help="Write one HTML file, too.")] = None,
) -> None:
    """Judge files by their standards: manifests, messages, metadata, audit records, assertions and more.

    Manifests, their metadata and their instances are judged against each other when they are given together.
    Each finding names its requirement, the clause, the place, what is wrong and what would be right. Ends
    with status 1 when there is an error; warnings and notes alone end with 0.

    Example: [bold]xdsi validate manifest.dcm --json[/bold]
    """
    with trusting([one for path in trust for one in _certificates(path)]):
        reports = list(_reports(files))
    if html_file:
        html_file.write_text(findings_page(reports), "utf-8")
    if as_json:
        typer.echo(json.dumps([report.as_json() for report in reports], indent=2, ensure_ascii=False))
    else:
        width = min(shutil.get_terminal_size().columns, _WIDEST) if sys.stdout.isatty() else _WIDEST
        typer.echo("\n".join(line for report in reports for line in lines(report, width=width)))
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def _reports(files: list[str]) -> Iterator[Report]:
    for file in files:
        try:
            yield validate_endpoint(file) if "://" in file else validate(Path(file))
        except OSError as error:
            raise WrongUsage(f"{file}: {error.strerror}; name a file that can be read") from None
        except ValueError as error:
            raise WrongUsage(f"{file}: {error}; name a file, or an endpoint so") from None
    named_files = [Path(file) for file in files if "://" not in file]
    if len(named_files) > 1 and (together := validate_together(named_files)) is not None:
        yield together


def _certificates(path: Path) -> tuple[Certificate, ...]:
    try:
        return certificates_of(path.read_bytes())
    except (OSError, NoCertificates):
        raise WrongUsage(f"--trust {path}: no certificates can be read there; name a file of PEM") from None


def lines(report: Report, *, width: int = 80) -> Iterator[str]:
    """The report for people: a line of what it is about, which stays one for whoever searches in it, and the
    others at most `width` wide but for what has no blank to break at."""
    yield f"{report.source}: {report.title}"
    for finding in report.findings:
        yield from _of_finding(finding, width)
    counts = ((severity, report.count(severity)) for severity in Severity)
    totals = [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts if count]
    yield f"  {'passed' if report.passed else 'FAILED'}{': ' + ', '.join(totals) if totals else ''}"


def _of_finding(finding: Finding, width: int) -> Iterator[str]:
    mark = finding.severity.upper() if finding.severity is Severity.ERROR else finding.severity
    yield from _wrapped(f"{mark:<8}{finding.id}  {finding.place}", width, 2, _INDENT + 2)
    value = f": {finding.value}" if finding.value else ""
    yield from _wrapped(f"{finding.wrong}{value}", width, _INDENT, _INDENT + 2)
    yield from _wrapped(f"→ {finding.right}  [{finding.clause}]", width, _INDENT, _INDENT + 2)


def _wrapped(text: str, width: int, first: int, others: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * others,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Judges a file: what it is, and what is wrong with it. No input makes it raise."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from conformance.findings import Finding, Report, bounded
from conformance.judgement import Judgement
from conformance.readers.source import Source
from conformance.recognition import HEAD, Kind, recognise
from conformance.requirements import finding
from shared.attempts import attempted

#: The module that judges each kind: it loads when something of its kind is there.
JUDGES: Final = {
    Kind.DICOM: "manifest",
    Kind.METADATA: "message",
    Kind.MESSAGE: "message",
    Kind.CAPTURE: "capture",
    Kind.AUDIT: "audit",
    Kind.ASSERTION: "assertion",
    Kind.JWT: "json_web_token",
    Kind.ADT: "adt",
    Kind.FHIR: "fhir",
    Kind.DICOM_JSON: "dicomweb",
    Kind.CONSENT_DOCUMENT: "consent_document",
    Kind.POLICY: "consent_document",
}


def validate(path: Path) -> Report:
    """Judge a file.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        return judge(Source(file), str(path))


def validate_together(paths: Sequence[Path]) -> Report | None:
    """Judge files against each other: manifests, their metadata, the instances that they reference.

    None when nothing of them belongs together.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    from conformance.rules.collation import NamedFile, collated

    with ExitStack() as opened:
        files = [NamedFile(str(path), Source(opened.enter_context(path.open("rb")))) for path in paths]
        outcome = attempted(lambda: _of_several(collated(files)))
    name = f"{len(paths)} files together"
    if isinstance(outcome, Exception):
        mistake = finding("FILE-002", "files", f"the judge failed ({type(outcome).__name__})")
        return Report(name, Kind.TOGETHER, name, (mistake,))
    return None if outcome is None else Report(name, Kind.TOGETHER, "manifests, metadata, archive", outcome)


def _of_several(collation: tuple[bool, Iterator[Finding]]) -> tuple[Finding, ...] | None:
    belong_together, findings = collation
    return bounded(findings) if belong_together else None


def validate_endpoint(url: str) -> Report:
    """Judge what listens at `tls://host:port`.

    Raises
    ------
    ValueError
        The URL is not of this form.
    """
    from conformance.rules import tls

    at = tls.Endpoint.of(url)
    if at is None:
        raise ValueError("not of the form tls://host:port")
    findings = attempted(lambda: bounded(tls.endpoint(at)))
    if isinstance(findings, Exception):
        findings = (finding("FILE-002", url, f"the judge failed ({type(findings).__name__})"),)
    return Report(url, Kind.TLS, "TLS endpoint", findings)


def judge(source: Source | bytes, name: str) -> Report:
    """Judge some bytes; `name` says to people where they are from."""
    if isinstance(source, bytes):
        source = Source.of(source)
    kind = recognise(source.read(0, HEAD))
    if kind not in JUDGES:
        wrong = "none of the kinds that are judged" if len(source) else "nothing"
        return Report(name, Kind.UNKNOWN, "unknown", (finding("FILE-001", "file", wrong),))
    judged: Callable[[Source], Judgement] = importlib.import_module(
        f"conformance.rules.{JUDGES[kind]}"
    ).judged
    outcome = attempted(lambda: _drawn(judged(source)))
    if isinstance(outcome, OSError):
        raise outcome
    if isinstance(outcome, Exception):
        mistake = finding("FILE-002", "file", f"the judge failed ({type(outcome).__name__})")
        return Report(name, kind, kind, (mistake,))
    title, findings = outcome
    return Report(name, kind, title, findings)


def _drawn(judgement: Judgement) -> tuple[str, tuple[Finding, ...]]:
    findings = bounded(judgement.findings)
    return judgement.title, findings

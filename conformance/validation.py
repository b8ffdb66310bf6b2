"""Judges a file: what it is, and what is wrong with it. No input makes it raise."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from conformance.findings import Finding, Report, bounded
from conformance.judgement import Judgement
from conformance.readers.source import Source
from conformance.recognition import HEAD, Kind, recognise
from conformance.requirements import finding
from shared.attempts import attempted_without_panic

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

#: What each validator judges, for people who choose one.
VALIDATORS: Final[Mapping[Kind, str]] = {
    Kind.DICOM: "DICOM file: manifest (KOS) of XDS-I.b or MADO, or instance",
    Kind.METADATA: "XDS metadata as ebRIM",
    Kind.MESSAGE: "SOAP message of a transaction of XDS, XCA, XDS-I or PIX",
    Kind.CAPTURE: "HTTP request, answer or both: SOAP with MTOM, DICOMweb",
    Kind.AUDIT: "Audit message (ATNA), alone or in syslog",
    Kind.ASSERTION: "SAML assertion about a user (XUA)",
    Kind.JWT: "JSON Web Token (IUA)",
    Kind.ADT: "HL7 v2 message: a patient identity feed (ITI-8), an order, a report",
    Kind.FHIR: "FHIR resource or Bundle: MADO, AuditEvent",
    Kind.DICOM_JSON: "DICOM JSON of QIDO-RS, STOW-RS or WADO-RS metadata",
    Kind.CONSENT_DOCUMENT: "Consent document (BPPC, APPC) as CDA",
    Kind.POLICY: "Consent policy as XACML (APPC)",
}


def validate(path: Path, *, name: str = "", kind: Kind | None = None) -> Report:
    """Judge a file; `name` and `kind` as `judge` takes them, and the path where there is no name.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        return judge(Source(file), name or str(path), kind)


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
        outcome = attempted_without_panic(lambda: _of_several(collated(files)))
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
    findings = attempted_without_panic(lambda: bounded(tls.endpoint(at)))
    if isinstance(findings, Exception):
        findings = (finding("FILE-002", url, f"the judge failed ({type(findings).__name__})"),)
    return Report(url, Kind.TLS, "TLS endpoint", findings)


def judge(source: Source | bytes, name: str, kind: Kind | None = None) -> Report:
    """Judge some bytes; `name` says to people where they are from.

    They are judged as what they are recognised for, or as `kind`, one of `JUDGES`, where it is said.
    """
    if isinstance(source, bytes):
        source = Source.of(source)
    kind = kind or recognise(source.read(0, HEAD))
    if kind not in JUDGES:
        wrong = "none of the kinds that are judged" if len(source) else "nothing"
        return Report(name, Kind.UNKNOWN, "unknown", (finding("FILE-001", "file", wrong),))
    judged: Callable[[Source], Judgement] = importlib.import_module(
        f"conformance.rules.{JUDGES[kind]}"
    ).judged
    outcome = attempted_without_panic(lambda: _drawn(judged(source)))
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

"""FHIR resources: what is judged of them by their profiles."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.findings import Finding
from conformance.judgement import Judgement
from conformance.readers.json import NotJson, read_json
from conformance.readers.source import Source
from conformance.requirements import finding
from conformance.rules import mado_fhir


def judged(source: Source) -> Judgement:
    """A resource by its type."""
    judgement = Judgement("FHIR resource")
    judgement.findings = _resource(source, judgement)
    return judgement


def _resource(source: Source, judgement: Judgement) -> Iterator[Finding]:
    try:
        root = read_json(source, "")
    except NotJson as error:
        at, _, wrong = str(error).partition(": ")
        yield finding("FHIR-001", at, wrong)
        return
    name = root.text("resourceType")
    root = type(root)(root.value, name)
    judgement.title = f"FHIR {name}"
    if name == "Bundle" and root.text("type") in ("document", ""):
        judgement.title = "MADO manifest (FHIR)"
        yield from mado_fhir.bundle(root)
    elif name == "DocumentReference":
        judgement.title = "MADO DocumentReference"
        yield from mado_fhir.document_reference(root)
    else:
        yield finding("FHIR-002", name or "resource", "no resource that is judged", name)

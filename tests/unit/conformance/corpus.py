"""All examples of the corpus."""

from __future__ import annotations

from conformance.corpus import (
    assertions,
    audit,
    broken_captures,
    consent_documents,
    department,
    dicomweb,
    feeds,
    mado,
    mado_fhir,
    manifests,
    metadata,
    wado_uri,
    web_commitment,
)
from conformance.corpus.example import Example

CORPUS: list[Example] = [
    example
    for module in (
        manifests,
        mado,
        mado_fhir,
        metadata,
        broken_captures,
        audit,
        assertions,
        feeds,
        department,
        dicomweb,
        consent_documents,
        wado_uri,
        web_commitment,
    )
    for example in module.examples()
]

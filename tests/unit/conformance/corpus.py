"""All examples of the corpus."""

from __future__ import annotations

from conformance.corpus import audit, mado, manifests, messages, metadata
from conformance.corpus.example import Example

CORPUS: list[Example] = [
    *audit.examples(),
    *manifests.examples(),
    *mado.examples(),
    *metadata.examples(),
    *messages.examples(),
]

"""All examples of the corpus."""

from __future__ import annotations

from conformance.corpus import mado, manifests, messages, metadata
from conformance.corpus.example import Example

CORPUS: list[Example] = [*manifests.examples(), *mado.examples(), *metadata.examples(), *messages.examples()]

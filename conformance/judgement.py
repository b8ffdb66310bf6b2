"""What a judge gives: findings while they are drawn, and a title that is certain when all were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from conformance.findings import Finding


@dataclass(slots=True)
class Judgement:
    """`findings` are read once; `title` says for people what it is, and may change until they were."""

    title: str
    findings: Iterator[Finding] = field(default_factory=lambda: iter(()))

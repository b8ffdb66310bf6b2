"""Judges a file: what it is, and what is wrong with it. No input makes it raise."""

from __future__ import annotations

import importlib
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from conformance.findings import Finding, Report, bounded
from conformance.readers.dicom import Buffer
from conformance.recognition import HEAD, Kind, recognise
from conformance.requirements import finding
from shared.attempts import attempted

Judgement = tuple[str, Iterator[Finding]]

#: The module that judges each kind: it loads when something of its kind is there.
JUDGES: Final = {
    Kind.DICOM: "manifest",
}


def validate(path: Path) -> Report:
    """Judge a file.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return judge(b"", str(path))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets, memoryview(octets) as view:
            return judge(view, str(path))


def judge(octets: Buffer, source: str) -> Report:
    """Judge some bytes; `source` says to people where they are from."""
    kind = recognise(bytes(octets[:HEAD]))
    if kind not in JUDGES:
        wrong = "nothing" if not len(octets) else "none of the kinds that are judged"
        return Report(source, Kind.UNKNOWN, "unknown", (finding("FILE-001", "file", wrong),))
    judge_of_kind: Callable[[Buffer], Judgement] = importlib.import_module(
        f"conformance.rules.{JUDGES[kind]}"
    ).judged
    judgement = attempted(lambda: _drawn(judge_of_kind(octets)))
    if isinstance(judgement, Exception):
        mistake = finding("FILE-002", "file", f"the judge failed ({type(judgement).__name__})")
        return Report(source, kind, kind, (mistake,))
    title, findings = judgement
    return Report(source, kind, title, findings)


def _drawn(judgement: Judgement) -> tuple[str, tuple[Finding, ...]]:
    title, findings = judgement
    return title, bounded(findings)

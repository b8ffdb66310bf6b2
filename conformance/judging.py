"""Judges a file in a process of its own: whatever a file does to its judge ends there.

As a program it judges one file and writes the report as JSON: `python -m conformance.judging PATH NAME KIND`,
with PEM of whom to trust at its standard input.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from conformance.findings import Report
from conformance.recognition import Kind
from conformance.requirements import finding
from conformance.trust import certificates_of, trusting
from conformance.validation import validate

_MEMORY: Final = 1024**3


async def report_of(
    path: Path, name: str, kind: Kind | None, *, trust: str, seconds: float
) -> Mapping[str, Any]:
    """The report on a file as JSON; `name` says to people where it is from, and without `kind` it is
    recognised; `trust` is PEM of who may sign, empty where nobody said it. A judge that fails, or takes more
    than `seconds`, is a finding."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "conformance.judging", path, name, kind or ""),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            written, _ = await process.communicate(trust.encode())
    except TimeoutError:
        return _failure(name, kind, f"the judge was stopped after {seconds:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return _failure(name, kind, "the judge ended before it was done")
    report: Mapping[str, Any] = json.loads(written)
    return report


def _failure(name: str, kind: Kind | None, wrong: str) -> Mapping[str, Any]:
    kind = kind or Kind.UNKNOWN
    return Report(name, kind, kind, (finding("FILE-002", "file", wrong),)).as_json()


def main(path: str, name: str, kind: str) -> None:
    """Judge one file, in bounded memory."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    pem = sys.stdin.buffer.read()
    with trusting(certificates_of(pem) if pem else ()):
        report = validate(Path(path), name=name, kind=Kind(kind) if kind else None)
    sys.stdout.write(json.dumps(report.as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])

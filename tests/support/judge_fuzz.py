"""Hostile bytes for the validators, without end: `python -m tests.support.judge_fuzz --inputs N --seed S`.

Each input is an example of the corpus to which something was done. One that crashes its judge, or for which
the judge fails, ends the process with another status and is written below `--keep`. With `--guided` atheris
chooses the inputs by the branches that they reach.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.fuzzing import instrumented, options

WORST_SECONDS = 5.0


OPTIONS = options(__doc__, 2_000)
with instrumented(OPTIONS.guided, "conformance"):
    from conformance.corpus import signatures
    from conformance.trust import trusting
    from conformance.validation import judge
    from tests.unit.conformance.corpus import CORPUS

EXAMPLES = [example.octets for example in (*CORPUS, *signatures.examples())]
#: What has a meaning to one reader or another.
TOKENS = (
    *(b"\x00", b"\xff" * 4, b"\xfe\xff\x00\xe0", b"\r\n\r\n", b"--", b"<", b"</", b"]]>", b"&#0;", b"&amp;"),
    *(b"<!DOCTYPE a>", b"<?xml version='1.1'?>", b'"', b"{", b"[", b"null", b"1e999", b"-1", b"\xed\xa0\x80"),
    *(
        b"urn:uuid:",
        b"^^^&",
        b"|",
        b"\x1c\r",
        b"\x0b",
        b"=",
        b"%00",
        b"Content-Length: 9",
        b"chunked",
        b"MSH|",
    ),
    *("\u0660".encode(), "\U0001d7d8".encode(), b"9" * 400, b"A" * 3_000, b"xmlns:a='x y'", b"a:b:c"),
)


class Judge:
    """Judges one input after the other, and keeps the account."""

    def __init__(self, keep: Path) -> None:
        self._keep = keep
        self.worst = 0.0
        self.kinds: Counter[str] = Counter()

    def judge(self, octets: bytes) -> None:
        """Judge `octets`; SystemExit when that was not borne."""
        began = time.process_time()
        try:
            report = judge(octets, "x")
        except BaseException:
            self._save(octets, "crash")
            raise
        seconds = time.process_time() - began
        self.worst = max(self.worst, seconds)
        self.kinds[report.kind] += 1
        if failed := [one.wrong for one in report.findings if one.id == "FILE-002"]:
            raise SystemExit(f"{failed[0]}: {self._save(octets, 'failed')}")
        if seconds > WORST_SECONDS:
            raise SystemExit(f"{seconds:.1f} s for {self._save(octets, 'slow')}")

    def _save(self, octets: bytes, kind: str) -> Path:
        path = self._keep / f"judge-{kind}-{OPTIONS.seed}-{self.kinds.total()}"
        path.write_bytes(octets)
        return path


def mutated(luck: random.Random) -> bytes:
    """An example to which something was done, chosen by chance."""
    octets = bytearray(luck.choice(EXAMPLES))
    for _ in range(luck.choice((1, 1, 1, 2, 3, 8))):
        at = luck.randrange(len(octets) + 1)
        length = luck.choice((0, 1, 1, 2, 8, 64, 1_000))
        match luck.randrange(5):
            case 0:
                octets[at : at + length] = luck.choice(TOKENS)
            case 1:
                octets[at : at + length] = luck.randbytes(length)
            case 2:
                del octets[at : at + length]
            case 3:
                octets[at:at] = octets[at : at + length] * luck.choice((1, 2, 50))
            case _:
                other = luck.choice(EXAMPLES)
                start = luck.randrange(len(other))
                octets[at : at + length] = other[start : start + length]
    return bytes(octets)


def random_inputs(one: Judge) -> None:
    """Mutations chosen by chance."""
    luck = random.Random(OPTIONS.seed)
    for _ in range(OPTIONS.inputs):
        one.judge(mutated(luck))


def guided_inputs(one: Judge, folder: Path) -> None:
    """What atheris makes of the examples; it ends the process."""
    import atheris

    for number, octets in enumerate(EXAMPLES):
        (folder / str(number)).write_bytes(octets)

    def read(octets: bytes) -> None:
        one.judge(octets)
        if one.kinds.total() >= OPTIONS.inputs:
            finish(one)

    arguments = [f"-seed={OPTIONS.seed}", "-rss_limit_mb=2048", "-max_len=20000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *arguments, str(folder)], read)
    atheris.Fuzz()


def finish(one: Judge) -> None:
    """Print the account and end the process, whatever library is running it."""
    account = {"inputs": one.kinds.total(), "kinds": one.kinds, "worst_seconds": round(one.worst, 3)}
    sys.stdout.write(json.dumps(account) + "\n")
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Judge all inputs."""
    one = Judge(OPTIONS.keep)
    with trusting(signatures.trust()), tempfile.TemporaryDirectory() as folder:
        if OPTIONS.guided:
            guided_inputs(one, Path(folder))
        random_inputs(one)
        finish(one)


if __name__ == "__main__":
    main()

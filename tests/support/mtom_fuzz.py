"""Hostile bytes for the MTOM reader, without end: `python -m tests.support.mtom_fuzz --inputs N --seed S`.

Prints one JSON object when all inputs were read or refused. An input that crashes, hangs for over a second or
leaves a file behind ends the process with another status and is written below `--keep`. With `--guided`
atheris chooses the inputs by the branches that they reach.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.fuzzing import instrumented, options

PROGRESS = 10_000
WORST_SECONDS = 1.0


OPTIONS = options(__doc__, 20_000)
with instrumented(OPTIONS.guided, "shared.soap", "shared.xml", "shared.faults"):
    from shared.faults import SoapFault
    from shared.http.media_type import decode_media_type
    from shared.http.raw_asgi import BodyTooLarge
    from shared.soap.envelope import check_addressing, read_envelope
    from shared.soap.package import Package, read_package
    from shared.xml import XmlError, parse
    from tests.support.hostile_mtom import LIMITS, MESSAGES, mutated
    from tests.support.soap_exchange import MTOM


def rss_mb() -> float:
    """Resident memory now, in MB, without what is free and the allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096 / 1e6


class Reader:
    """Reads one input after the other, and keeps the account."""

    def __init__(self, folder: Path, keep: Path) -> None:
        self._folder = folder
        self._keep = keep
        self._loop = asyncio.new_event_loop()
        self._settled = 0.0
        self.worst = 0.0
        self.outcomes: Counter[str] = Counter()

    def read(self, message: bytes, cut: int) -> None:
        """Read `message` as it arrives in chunks of `cut` bytes; SystemExit when it was not borne."""
        # CPU time: on a busy machine others take the rest; what waits for ever meets the test's own limit.
        began = time.process_time()
        try:
            outcome = self._loop.run_until_complete(self._outcome(message, cut))
        except BaseException:
            self._save(message, "crash")
            raise
        seconds = time.process_time() - began
        self.worst = max(self.worst, seconds)
        self.outcomes[outcome] += 1
        if seconds > WORST_SECONDS:
            raise SystemExit(f"{seconds:.1f} s for {self._save(message, 'hang')}")
        if any(self._folder.iterdir()):
            raise SystemExit(f"a file was left behind by {self._save(message, 'left')}")
        if self.outcomes.total() == PROGRESS:
            self._settled = rss_mb()

    def account(self) -> dict[str, object]:
        """What became of the inputs; growth is counted from the first `PROGRESS` inputs on."""
        growth = rss_mb() - self._settled if self._settled else 0.0
        return {
            "inputs": self.outcomes.total(),
            "outcomes": dict(self.outcomes),
            "worst_seconds": round(self.worst, 3),
            "growth_mb": round(growth, 1),
        }

    async def _outcome(self, message: bytes, cut: int) -> str:
        package = Package()
        try:
            await read_package(
                package, chunked(message, cut), decode_media_type(MTOM), folder=self._folder, limits=LIMITS
            )
            check_addressing(read_envelope(parse(package.xml)))
        except (SoapFault, XmlError, BodyTooLarge) as error:
            return type(error).__name__
        finally:
            package.discard()
        return "read"

    def _save(self, message: bytes, kind: str) -> Path:
        path = self._keep / f"mtom-{kind}-{OPTIONS.seed}-{self.outcomes.total()}"
        path.write_bytes(message)
        return path


async def chunked(message: bytes, cut: int) -> AsyncIterator[bytes]:
    """`message` in chunks of at least `cut` bytes, at most 500 of them."""
    step = max(cut, len(message) // 500, 1)
    for at in range(0, len(message), step):
        yield message[at : at + step]


def random_inputs(reader: Reader) -> None:
    """Mutations of valid messages, chosen by chance."""
    luck = random.Random(OPTIONS.seed)
    for _ in range(OPTIONS.inputs):
        reader.read(mutated(luck), luck.choice([7, 100, 5_000, 10**7]))


def guided_inputs(reader: Reader, folder: Path) -> None:
    """What atheris makes of valid messages; it ends the process."""
    import atheris

    for number, message in enumerate(MESSAGES):
        (folder / str(number)).write_bytes(message)

    def one(data: bytes) -> None:
        reader.read(data[1:], (7, 100, 5_000, 10**7)[data[0] % 4] if data else 7)
        if reader.outcomes.total() == OPTIONS.inputs:
            finish(reader)

    said: list[str] = [f"-seed={OPTIONS.seed}", "-rss_limit_mb=1024", "-max_len=20000", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *said, str(folder)], one)
    atheris.Fuzz()


def finish(reader: Reader) -> None:
    """Print the account and end the process, whatever library is running it."""
    sys.stdout.write(json.dumps(reader.account()) + "\n")
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    """Read all inputs."""
    with tempfile.TemporaryDirectory() as spool, tempfile.TemporaryDirectory() as corpus:
        reader = Reader(Path(spool), OPTIONS.keep)
        if OPTIONS.guided:
            guided_inputs(reader, Path(corpus))
        random_inputs(reader)
        finish(reader)


if __name__ == "__main__":
    main()

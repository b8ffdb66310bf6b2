"""An S3-compatible store on loopback, once by a good line and once by one where requests fail or are slow;
run as a program, it is both until its input ends."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from shared.settings import S3Settings
from tests.support.faulty_s3 import Fault, faulty
from tests.support.object_stores import moto

#: Of the requests: refused with 503 and not carried out, and slow by 200 ms.
SHARES = {Fault.REFUSED: 0.05, Fault.SLOW: 0.05}
SLOW_SECONDS = 0.2


@contextmanager
def object_stores() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The settings of a repository for the store by the good line and by the faulty one.

    Both lines are the same program, so that what it costs is on both sides.
    """
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        good, bad = json.loads(process.stdout.readline())
        yield good, bad
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def _told(bucket: str, prefix: str, line: S3Settings) -> dict[str, str]:
    return {
        "XDSI_STORAGE_URL": f"s3://{bucket}/{prefix}",
        "XDSI_S3__ENDPOINT": str(line.endpoint),
        "XDSI_S3__ACCESS_KEY": str(line.access_key),
        "XDSI_S3__SECRET_KEY": str(line.secret_key),
        "XDSI_S3__ALLOW_HTTP": "true",
    }


async def _serve(out: IO[str]) -> None:
    # moto's server tells of every request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with moto() as server:
        target, bucket = server.settings, server.bucket
        slow = (SLOW_SECONDS, SLOW_SECONDS)
        async with (
            faulty(target, shares={}) as good,
            faulty(target, shares=SHARES, codes=(503,), slow_seconds=slow) as bad,
        ):
            lines = [_told(bucket, "good", good.settings), _told(bucket, "bad", bad.settings)]
            out.write(json.dumps(lines) + "\n")
            out.flush()
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.stdout))

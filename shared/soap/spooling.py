"""Documents on their way in: hashed and written to a temporary file while they arrive, never held."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from shared.http.raw_asgi import BodyTooLarge
from shared.soap.mtom import Received

MAX_DOCUMENT_BYTES = 1024**3
_BATCH_BYTES = 512 * 1024
_INLINE_BYTES = 64 * 1024
_PREFIX, _SUFFIX = "soap-", ".part"


class Sink:
    """One temporary file below `folder`, with the hashes of what was written; for use in one thread at a
    time.

    `finish` makes the `Received`; whoever ends differently calls `discard`. Beyond `max_bytes` a write raises
    `BodyTooLarge`.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> None:
        self._descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder)
        self.path = Path(name)
        self.size = 0
        self._max_bytes = max_bytes
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def write(self, octets: bytes) -> None:
        """Append `octets`."""
        self.size += len(octets)
        if self.size > self._max_bytes:
            raise BodyTooLarge(self._max_bytes)
        self._sha1.update(octets)
        self._sha256.update(octets)
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> Received:
        """Close the file and tell what it holds."""
        self._close()
        return Received(self.path, self.size, self._sha1.hexdigest(), self._sha256.hexdigest())

    def discard(self) -> None:
        """Close and remove the file."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class AttachmentSpool:
    """A `Sink` behind a thread: while one batch is hashed and written, the next one gathers."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> None:
        self._sink = Sink(folder, max_bytes=max_bytes)
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._job: asyncio.Future[None] | None = None

    async def write(self, octets: bytes) -> None:
        """Take `octets`; waits for the thread when a batch is full, so that memory stays bounded."""
        self._gathered.append(octets)
        self._gathered_bytes += len(octets)
        if self._gathered_bytes >= _BATCH_BYTES:
            await self._hand_over()

    async def finish(self) -> Received:
        """What arrived, when all of it is in the file."""
        if self._job is None and self._gathered_bytes <= _INLINE_BYTES:
            # A small document costs less than the hand-over to a thread.
            self._write(self._gathered)
        else:
            await self._hand_over()
            await self._settle()
        return self._sink.finish()

    async def discard(self) -> None:
        """Give up: no thread is left writing, no file remains."""
        with suppress(OSError, BodyTooLarge):
            await self._settle()
        self._sink.discard()

    async def _hand_over(self) -> None:
        await self._settle()
        batch, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._job = asyncio.get_running_loop().run_in_executor(None, self._write, batch)

    async def _settle(self) -> None:
        if self._job is not None:
            # Shielded: a request that is cancelled must not leave the thread with a closed descriptor.
            await asyncio.shield(self._job)

    def _write(self, batch: list[bytes]) -> None:
        self._sink.write(b"".join(batch))


def forget(received: Received) -> None:
    """Remove the temporary file of `received`, unless it was moved away."""
    received.path.unlink(missing_ok=True)


def sweep(folder: Path, *, older_than_seconds: float, now: float) -> int:
    """Remove what requests of a process that died left behind; returns how many files."""
    removed = 0
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > older_than_seconds:
                path.unlink()
                removed += 1
    return removed

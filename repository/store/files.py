"""Blobs as files: below `blobs/sha256`, synced with their folders before they are acknowledged.

When a sync fails, what the disk holds is unknown: the store then refuses to write until a self-test succeeds
(`probe`, `heal`). An encoded blob has the suffix `.x`.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from repository.store.blobs import CHUNK_BYTES, Blobs, Copy, Referenced
from repository.store.encoding import Encoding
from shared.errors import OutOfResources
from shared.http.raw_asgi import FileRange, Stream
from shared.soap.mtom import Content, Received
from shared.store.folders import FoldersOfStore, make_folder, sync
from shared.store.space import space_of

ENCODED = ".x"
TRUSTED_SECONDS = 3600.0
"""For so long a large file that was compared with its digest, and was not touched since, is sent without."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAX_TRUSTED = 10_000

_Identity = tuple[str, int, int, int, int]


class FileBlobs(Blobs):
    """The files below `folder`/blobs; uploads are spooled on the same file system."""

    def __init__(self, folder: Path, encoding: Encoding | None = None) -> None:
        super().__init__(folder / "incoming", encoding)
        self._root = folder / "blobs" / "sha256"
        make_folder(self._root)
        self._folders = FoldersOfStore(self._root)
        self._trusted = True
        self._verified: dict[_Identity, float] = {}

    def path(self, sha256: str, *, encoded: bool = False) -> Path:
        """Where the blob of this digest stands."""
        return self._root / sha256[:2] / sha256[2:4] / (sha256 + ENCODED * encoded)

    # --- writing -----------------------------------------------------------------------------------------

    async def keep(self, received: Received, *, mime_type: str = "") -> None:
        """Put the spooled file in its place, or an encoded copy of it, durably."""
        if not self._trusted:
            raise OutOfResources(
                "the document store is read-only after a failed write; it heals by itself or by an operator"
            )
        try:
            await asyncio.to_thread(self.write, received, mime_type)
        except OSError as error:
            if error.errno not in _FULL:
                self._trusted = False
            raise OutOfResources(
                f"the document cannot be stored: {os.strerror(error.errno or errno.EIO)}"
            ) from None

    def write(self, received: Received, mime_type: str = "") -> None:
        """`keep` in the calling thread; raises `OSError` as the disk says it."""
        _check_space(self._root)
        encoded = self.incoming / f"encoded-{uuid4()}"
        try:
            is_encoded = self._encoding.encode(
                received.path, encoded, sha256=received.sha256, mime_type=mime_type
            )
            source = encoded if is_encoded else received.path
            target = self.path(received.sha256, encoded=is_encoded)
            self._folders.make(target.parent)
            sync(source)
            with _locked(target.parent, fcntl.LOCK_SH):
                _place(source, target)
            sync(target.parent)
            if not is_encoded:
                # It was hashed when it was written.
                self._remember(_identity(target))
        finally:
            encoded.unlink(missing_ok=True)

    async def probe(self) -> None:
        """Write, sync, read back and remove a small file; success makes the store trust its disk again."""
        await asyncio.to_thread(self._probe)
        self._trusted = True

    def _probe(self) -> None:
        path = self.incoming / f"probe-{os.getpid()}"
        path.write_bytes(b"probe")
        sync(path)
        if path.read_bytes() != b"probe":
            raise OSError(errno.EIO, "read back other bytes")
        path.unlink()

    async def heal(self) -> None:
        """Test the disk when it is not trusted."""
        if not self._trusted:
            await self.probe()

    # --- reading -----------------------------------------------------------------------------------------

    def _copies(self, sha256: str) -> list[Copy]:
        copies = []
        for encoded in (True, False):
            path = self.path(sha256, encoded=encoded)
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            copies.append(Copy(size=size, encoded=encoded, read=partial(_chunks, path), path=path))
        return copies

    def _large(self, copy: Copy, path: Path, sha256: str, size: int) -> Content:
        """The file; the end is held back until it is verified, unless that was done lately."""
        if self._is_verified(path):
            return FileRange(path, 0, size)
        first = size - CHUNK_BYTES
        return (
            FileRange(path, 0, first),
            Stream(CHUNK_BYTES, partial(self._verified_end, copy, path, sha256, size)),
        )

    def _verified_end(self, copy: Copy, path: Path, sha256: str, size: int) -> Generator[bytes, None, None]:
        before = _identity(path)
        ending = b""
        for chunk in self._sent(copy, sha256, size):
            ending = (ending + chunk)[-CHUNK_BYTES:]
        self._remember(before)
        yield ending

    def _is_verified(self, path: Path) -> bool:
        return time.monotonic() - self._verified.get(_identity(path), -TRUSTED_SECONDS) < TRUSTED_SECONDS

    def _remember(self, identity: _Identity) -> None:
        while len(self._verified) >= _MAX_TRUSTED:
            self._verified.pop(next(iter(self._verified)), None)
        self._verified[identity] = time.monotonic()

    # --- sweeping ----------------------------------------------------------------------------------------

    async def sweep(self, referenced: Referenced, *, grace_seconds: float) -> int:
        """Remove unused files; one that is wanted again meanwhile is touched, and stays."""
        before = time.time() - grace_seconds
        await asyncio.to_thread(remove_older, self.incoming, before)
        removed = 0
        for folder in await asyncio.to_thread(lambda: sorted(self._root.glob("*/*"))):
            old = await asyncio.to_thread(_older, folder, before)
            referenced_digests = await referenced(sorted({_digest(path) for path in old})) if old else set()
            unused = [path for path in old if _digest(path) not in referenced_digests]
            removed += await asyncio.to_thread(_remove_unless_used, folder, unused, before)
        return removed


def _digest(path: Path) -> str:
    return path.name.removesuffix(ENCODED)


def _identity(path: Path) -> _Identity:
    status = path.stat()
    return (path.name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _chunks(path: Path) -> Generator[bytes, None, None]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _check_space(folder: Path) -> None:
    if space_of(folder).is_short:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _place(source: Path, target: Path) -> None:
    """Put `source` in its place, whatever stands there: the bytes at hand are known to be whole, those that
    stand there may be damaged. By its new time a sweep that already listed the old file as unused sees that
    it is wanted again."""
    os.utime(source)
    source.rename(target)


def _remove_unless_used(folder: Path, unused: list[Path], before: float) -> int:
    removed = 0
    with _locked(folder, fcntl.LOCK_EX):
        for path in unused:
            if path.stat().st_mtime < before:
                path.unlink()
                removed += 1
    return removed


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _older(folder: Path, before: float) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.stat().st_mtime < before]


def remove_older(folder: Path, before: float) -> None:
    """Remove the files of `folder` that were last written before `before`, seconds since 1970; blocks."""
    for path in _older(folder, before):
        path.unlink(missing_ok=True)

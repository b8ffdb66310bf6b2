"""Content-addressed files: a document's bytes, named by their SHA-256 and never changed.

A blob is complete, synced and in its place before anything refers to it. When a sync fails, what the disk
holds is unknown: the store then refuses to write until a self-test succeeds (`probe`).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from shared.errors import OutOfResources
from shared.http.raw_asgi import FileRange
from shared.soap.mtom import Received

VERIFY_WHOLE_BYTES = 4 * 1024 * 1024
_CHUNK = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DamagedBlob(Exception):
    """The file is absent, or its bytes are not those that were acknowledged; the text names the digest
    alone."""


class Blobs:
    """The files below `folder`/blobs; `incoming` is where uploads are spooled, on the same file system."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "blobs" / "sha256"
        self.incoming = folder / "incoming"
        self._trusted = True
        for place in (self._root, self.incoming):
            place.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where the blob of this digest stands."""
        return self._root / sha256[:2] / sha256[2:4] / sha256

    async def keep(self, received: Received) -> None:
        """Put the spooled file in its place, durably.

        Raises
        ------
        OutOfResources
            The disk is full, or the store does not trust its disk.
        """
        if not self._trusted:
            raise OutOfResources(
                "the document store is read-only after a failed write; it heals by itself or by an operator"
            )
        try:
            await asyncio.to_thread(self._keep, received)
        except OSError as error:
            if error.errno not in _FULL:
                self._trusted = False
            raise OutOfResources(
                f"the document cannot be stored: {os.strerror(error.errno or errno.EIO)}"
            ) from None

    def _keep(self, received: Received) -> None:
        target = self.path(received.sha256)
        _make_folder(target.parent, below=self._root)
        _sync(received.path)
        with _locked(target.parent, fcntl.LOCK_SH):
            _place(received, target)
        _sync(target.parent)

    async def spool(self, octets: bytes) -> Received:
        """A small document that came without a file, as a spooled file; the sweep removes it."""
        path = self.incoming / f"inline-{uuid4()}"
        await asyncio.to_thread(path.write_bytes, octets)
        return Received(
            path,
            len(octets),
            hashlib.sha1(octets, usedforsecurity=False).hexdigest(),
            hashlib.sha256(octets).hexdigest(),
        )

    async def content(self, sha256: str, size: int) -> FileRange:
        """The blob as a range to send; what is small is compared with its digest first.

        Raises
        ------
        DamagedBlob
            The file is absent, of another size, or (up to `VERIFY_WHOLE_BYTES`) of another digest.
        """
        path = self.path(sha256)
        whole = await asyncio.to_thread(_is_whole, path, sha256, size)
        if not whole:
            raise DamagedBlob(sha256)
        return FileRange(path, 0, size)

    async def probe(self) -> None:
        """Write, sync, read back and remove a small file; success makes the store trust its disk again.

        Raises
        ------
        OSError
            The disk does not do what is asked.
        """
        await asyncio.to_thread(self._probe)
        self._trusted = True

    def _probe(self) -> None:
        path = self.incoming / f"probe-{os.getpid()}"
        path.write_bytes(b"probe")
        _sync(path)
        if path.read_bytes() != b"probe":
            raise OSError(errno.EIO, "read back other bytes")
        path.unlink()

    async def sweep(
        self, referenced: Callable[[list[str]], Awaitable[set[str]]], *, grace_seconds: float
    ) -> int:
        """Remove blobs that nothing refers to and leftovers of uploads, both older than `grace_seconds`."""
        before = time.time() - grace_seconds
        await asyncio.to_thread(_remove_older, self.incoming, before)
        removed = 0
        for folder in await asyncio.to_thread(lambda: sorted(self._root.glob("*/*"))):
            old = await asyncio.to_thread(_older, folder, before)
            kept = await referenced([path.name for path in old]) if old else set()
            unused = [path for path in old if path.name not in kept]
            removed += await asyncio.to_thread(_remove_unless_used, folder, unused, before)
        return removed


def _place(received: Received, target: Path) -> None:
    try:
        os.link(received.path, target)
    except FileExistsError:
        if target.stat().st_size == received.size:
            # A sweep that already listed this blob as unused must see that it is wanted again.
            os.utime(target)
        else:
            # A damaged copy: the bytes at hand are whole, so they take its place.
            received.path.rename(target)


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


def _make_folder(folder: Path, *, below: Path) -> None:
    missing = [place for place in (folder.parent, folder) if not place.is_dir()]
    for place in missing:
        place.mkdir(exist_ok=True)
        _sync(place.parent)
    if missing:
        _sync(below)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_whole(path: Path, sha256: str, size: int) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        return size > VERIFY_WHOLE_BYTES or _sha256(path) == sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _older(folder: Path, before: float) -> list[Path]:
    return [path for path in _files(folder) if path.stat().st_mtime < before]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _remove_older(folder: Path, before: float) -> None:
    for path in _older(folder, before):
        path.unlink(missing_ok=True)

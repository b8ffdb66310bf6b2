"""Documents' bytes, addressed by their SHA-256 and never changed; on files or on objects.

A blob is complete and durable before anything refers to it, and what leaves is compared with its digest: a
damaged blob is never served in full, and never without being told of (`on_damage`). What a store adds at rest
(`encoding`) is undone on the way out, so that the bytes returned are the bytes received.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

from repository.store.encoding import Encoding, EncodingError
from shared.http.checked import DamagedBlob, StoreUnavailable, checked
from shared.http.raw_asgi import FileRange, Stream
from shared.soap.mtom import Content, Received
from shared.store.folders import make_folder

VERIFY_WHOLE_BYTES = 4 * 1024 * 1024
"""Up to this size a blob is compared with its digest before its first byte is sent, beyond it before its
last."""

CHUNK_BYTES = 1024 * 1024

Referenced = Callable[[list[str]], Awaitable[set[str]]]
"""Those of some digests that something refers to."""

Pace = Callable[[int], None]
"""Told of so many bytes that were read; may sleep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy of a blob: its size at rest, whether it is encoded, and how it is read, in a thread.

    `path` is set when the copy is a file.
    """

    size: int
    encoded: bool
    read: Callable[[], Generator[bytes, None, None]]
    path: Path | None = None


class Blobs(ABC):
    """A store of blobs; `incoming` is a local folder where uploads are spooled.

    `on_damage(sha256)` is called, in any thread, when damage shows only while a blob is being sent.
    """

    def __init__(self, incoming: Path, encoding: Encoding | None = None) -> None:
        self.incoming = incoming
        self.on_damage: Callable[[str], None] = lambda sha256: None
        self._encoding = encoding or Encoding()
        make_folder(incoming)

    # --- what a store does in its own way ----------------------------------------------------------------

    @abstractmethod
    async def keep(self, received: Received, *, mime_type: str = "") -> None:
        """Put the spooled file in its place, durably.

        Raises
        ------
        OutOfResources
            The store takes nothing: it is full, away, or does not trust its disk.
        """

    @abstractmethod
    async def probe(self) -> None:
        """Write, read back and remove something small, for readiness.

        Raises
        ------
        OSError
            The store does not do what is asked.
        """

    @abstractmethod
    async def heal(self) -> None:
        """Try to leave a state in which the store refuses to write; raises `OSError` when it stays."""

    @abstractmethod
    async def sweep(self, referenced: Referenced, *, grace_seconds: float) -> int:
        """Remove blobs that nothing refers to and leftovers of uploads, both older than `grace_seconds`;
        count the blobs.

        Raises
        ------
        StoreUnavailable
            The store cannot be asked; what was removed until then was not wanted.
        """

    @abstractmethod
    def _copies(self, sha256: str) -> list[Copy]:
        """The copies of a blob, best first; blocks.

        Raises
        ------
        StoreUnavailable
            The store cannot be asked.
        """

    # --- what all stores do alike ------------------------------------------------------------------------

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

    async def adopt(self, received: Received) -> Received:
        """A spooled file of another store, in the spool of this one, where `keep` can move it from."""
        path = self.incoming / f"adopted-{uuid4()}"
        await asyncio.to_thread(shutil.move, received.path, path)
        return replace(received, path=path)

    async def content(self, sha256: str, size: int, *, hold_bytes: int = 0) -> Content:
        """The document, to be sent: a range of a file where possible.

        Parameters
        ----------
        hold_bytes
            What is not such a range and not larger than this may come as bytes.

        Raises
        ------
        DamagedBlob
            No copy is whole, as far as that is looked at before sending: up to `VERIFY_WHOLE_BYTES` every
            byte, beyond that the size.
        StoreUnavailable
            The store cannot be asked.
        """
        return await asyncio.to_thread(self._content, sha256, size, hold_bytes)

    def _content(self, sha256: str, size: int, hold_bytes: int) -> Content:
        for copy in self._copies(sha256):
            try:
                return self._content_of(copy, sha256, size, hold_bytes)
            except (DamagedBlob, OSError):
                continue
        raise DamagedBlob(sha256)

    def _content_of(self, copy: Copy, sha256: str, size: int, hold_bytes: int) -> Content:
        if not copy.encoded and copy.size != size:
            raise DamagedBlob(sha256)
        path = None if copy.encoded else copy.path
        if size > VERIFY_WHOLE_BYTES:
            return self._large(copy, path, sha256, size) if path else self._stream(copy, sha256, size)
        if path is None and size <= hold_bytes:
            return b"".join(self._checked(copy, sha256, size))
        for _ in self._checked(copy, sha256, size):
            pass
        return FileRange(path, 0, size) if path else self._stream(copy, sha256, size)

    def _large(self, copy: Copy, path: Path, sha256: str, size: int) -> Content:
        """A file that is not looked at before it is sent; only a store of files has such."""
        raise TypeError(f"{type(self).__name__} has no files")

    def _stream(self, copy: Copy, sha256: str, size: int) -> Content:
        return (Stream(size, partial(self._sent, copy, sha256, size)),)

    def _sent(self, copy: Copy, sha256: str, size: int) -> Generator[bytes, None, None]:
        """The document while it is being sent; damage that shows now is told of."""
        try:
            yield from self._checked(copy, sha256, size)
        except DamagedBlob:
            self.on_damage(sha256)
            raise
        except OSError as error:
            raise StoreUnavailable(sha256) from error

    def _checked(self, copy: Copy, sha256: str, size: int | None) -> Generator[bytes, None, None]:
        chunks = copy.read()
        try:
            decoded = self._encoding.decode(chunks, sha256=sha256) if copy.encoded else chunks
            yield from checked(decoded, sha256, size)
        except EncodingError as error:
            raise DamagedBlob(sha256) from error
        finally:
            chunks.close()

    async def is_intact(self, sha256: str, size: int, *, pace: Pace | None = None) -> bool:
        """Whether every copy of the blob is whole, and there is one; reads all of it.

        Raises
        ------
        StoreUnavailable
            The store cannot be asked.
        """
        return await asyncio.to_thread(self._is_intact, sha256, size, pace)

    def _is_intact(self, sha256: str, size: int, pace: Pace | None) -> bool:
        copies = self._copies(sha256)
        try:
            for copy in copies:
                for chunk in self._checked(copy, sha256, size):
                    if pace:
                        pace(len(chunk))
        except (DamagedBlob, OSError):
            return False
        return bool(copies)

    def read(self, sha256: str, size: int) -> Generator[bytes, None, None]:
        """The document in chunks, the last one only when all of them are what was acknowledged; blocks.

        Raises
        ------
        DamagedBlob
            No copy is whole.
        StoreUnavailable
            The store cannot be asked.
        """
        for copy in self._copies(sha256):
            if self._is_whole(copy, sha256, size):
                yield from self._checked(copy, sha256, size)
                return
        raise DamagedBlob(sha256)

    def _is_whole(self, copy: Copy, sha256: str, size: int | None) -> bool:
        try:
            for _ in self._checked(copy, sha256, size):
                pass
        except (DamagedBlob, OSError):
            return False
        return True

    async def fetch(self, sha256: str, size: int) -> Received:
        """The document as a spooled file, for `keep` of another store; the caller or the sweep removes it.

        Raises
        ------
        DamagedBlob, StoreUnavailable
            As `read`.
        """
        return await asyncio.to_thread(self._fetch, sha256, size)

    def _fetch(self, sha256: str, size: int) -> Received:
        path = self.incoming / f"fetched-{uuid4()}"
        sha1 = hashlib.sha1(usedforsecurity=False)
        try:
            with path.open("wb") as file:
                for chunk in self.read(sha256, size):
                    sha1.update(chunk)
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(path, size, sha1.hexdigest(), sha256)

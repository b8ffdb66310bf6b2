"""Instances that were fetched, kept for a while: sealed, and bounded in size and in age.

Nothing outlives the process: keys are in memory, and the folder is emptied at start.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from consumer.store.sealed import SealedFile, Sealing
from shared.dicom.part10 import scan, uid_of
from shared.imaging.description import Claim, describe
from shared.imaging.instance import Instance
from shared.imaging.pixels import PixelData

_READ_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class CachedInstance:
    """One instance: its file, behind it its metadata as DICOM JSON (empty when they are too long to be kept),
    where its pixels are. `users` are answers that are being sent."""

    instance: Instance
    content: SealedFile
    metadata: SealedFile
    pixels: PixelData | None
    used: float
    users: int = 0
    is_gone: bool = False

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.content.size + self.metadata.size


class ImageCache:
    """Keeps instances in `folder`, of `max_bytes` at most, each for `max_seconds` after its last use."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        max_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._clock = clock
        self._cached: dict[CachedInstance, None] = {}
        self.size = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()

    def __len__(self) -> int:
        return len(self._cached)

    @property
    def max_bytes(self) -> int:
        """The most that it takes."""
        return self._max_bytes

    def described(self, path: Path) -> CachedInstance:
        """A received file, sealed; it is kept by `keep`. Blocks.

        Raises
        ------
        DicomError, OSError
            It cannot be read, or not written.
        """
        part10 = scan(path)
        claim = Claim(
            sop_class_uid=uid_of(part10.data_set, 0x00080016),
            sop_instance_uid=uid_of(part10.data_set, 0x00080018),
            study_instance_uid=uid_of(part10.data_set, 0x0020000D),
        )
        target = self._folder / str(uuid4())
        try:
            with closing(Sealing(target)) as sealing:
                content = sealing.add(_chunks(path))
                described = describe(
                    part10,
                    claim,
                    file="",
                    size=content.size,
                    sha256=content.sha256,
                    received_at=datetime.now(UTC),
                )
                metadata = sealing.add((described.metadata,))
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return CachedInstance(
            instance=described.instance,
            content=content,
            metadata=metadata,
            pixels=described.pixels,
            used=self._clock(),
        )

    def keep(self, cached: CachedInstance) -> None:
        """Keep it, in the place of what was not used for longest.

        Raises
        ------
        OSError
            All that is there is in use; `cached` is gone.
        """
        if self.size + cached.size > self._max_bytes:
            self._make_room(cached.size)
        self._cached[cached] = None
        self.size += cached.size
        if self.size > self._max_bytes:
            self.forget(cached)
            raise OSError(errno.ENOSPC, "the cache of images is full of what is in use")

    def _make_room(self, size: int) -> None:
        for one in [one for one in self._cached if not one.users]:
            if self.size + size <= self._max_bytes:
                return
            self.forget(one)

    def use(self, cached: CachedInstance) -> bool:
        """Hold on to it until `release`; False when it is there no more."""
        if cached.is_gone:
            return False
        cached.users += 1
        cached.used = self._clock()
        # The longest unused one stands first.
        self._cached[cached] = self._cached.pop(cached)
        return True

    def release(self, cached: CachedInstance) -> None:
        """Let go of it."""
        cached.users -= 1
        cached.used = self._clock()

    def forget(self, cached: CachedInstance) -> None:
        """Remove it; an answer that is about to send it is broken off."""
        if cached.is_gone:
            return
        cached.is_gone = True
        if cached in self._cached:
            del self._cached[cached]
            self.size -= cached.size
        cached.content.path.unlink(missing_ok=True)

    async def forget_old(self) -> None:
        """Remove what was not used for too long."""
        now = self._clock()
        for one in list(self._cached):
            if not one.users and now - one.used >= self._max_seconds:
                self.forget(one)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            yield chunk

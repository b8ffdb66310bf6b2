"""Copies of what archives keep, in a bounded folder, and a store of contents that gives from them too.

A copy may be removed whenever nobody uses it: it is retrieved again. It is never the proof that something is
kept here, so that what a modality sends comes to be kept although a copy is at hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imaging_source.store.files import FOLDERS, ContentFiles
from imaging_source.store.incoming import SpooledFile
from shared.http.pieces import Piece
from shared.imaging.cache import KEPT_SECONDS
from shared.imaging.instance import Instance

#: Below the folder of the service.
COPIES_FOLDER = "copies-of-archives"


@dataclass(slots=True)
class _Use:
    size: int
    at: float


class ArchiveCopies(ContentFiles):
    """At most `max_bytes` of copies; one stays for a quarter of an hour after its last use."""

    def __init__(self, folder: Path, *, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(folder)
        self._max_bytes = max_bytes
        self._clock = clock
        for left in self.abandoned():
            left.remove()
        # What another process has put there was not used by this one yet.
        self._uses = {
            path.stem: _Use(path.stat().st_size, float("-inf"))
            for name in FOLDERS
            for path in (self.folder / name).glob("*.dcm")
        }
        self.bytes = sum(use.size for use in self._uses.values())

    def use(self, sha256: str) -> bool:
        """Whether there is a copy; it is in use from now on."""
        if (use := self._uses.get(sha256)) is None:
            return False
        use.at = self._clock()
        return True

    def admits(self, size: int) -> bool:
        """Make room for a copy, and say whether there is."""
        idle_since = self._clock() - KEPT_SECONDS
        idle = sorted((use.at, sha256) for sha256, use in self._uses.items() if use.at <= idle_since)
        while self.bytes + size > self._max_bytes and idle:
            self._drop(idle.pop(0)[1])
        return self.bytes + size <= self._max_bytes

    async def keep(self, *spooled: SpooledFile) -> None:
        """As `ContentFiles`; in use from now on."""
        await super().keep(*spooled)
        for one in spooled:
            if not self.use(one.sha256):
                self._uses[one.sha256] = _Use(one.size, self._clock())
                self.bytes += one.size

    async def forget(self, sha256: str) -> None:
        """Remove a copy."""
        self._drop(sha256)

    def _drop(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)
        if (use := self._uses.pop(sha256, None)) is not None:
            self.bytes -= use.size

    async def absent(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those of `instances` that have no whole copy; a damaged copy goes, and the others are in use."""
        without = [one for one in instances if not self.use(one.sha256)]
        present = [self.named(one) for one in instances if one.sha256 in self._uses]
        uids = set()
        for one in await self.damaged(present):
            self._drop(one.sha256)
            uids.add(one.sop_instance_uid)
        return without + [one for one in instances if one.sop_instance_uid in uids]

    def named(self, of: Instance) -> Instance:
        """`of`, whose file is its copy."""
        return of._replace(file=self.name(of.sha256))


class FrontFiles(ContentFiles):
    """Files of instances below one folder, and `copies` of what archives keep."""

    def __init__(self, folder: Path, copies: ArchiveCopies, *, keep_preamble: bool = False) -> None:
        super().__init__(folder, keep_preamble=keep_preamble)
        self.copies = copies

    def close(self) -> None:
        """Let go of both."""
        super().close()
        self.copies.close()

    async def forget(self, sha256: str) -> None:
        """Remove both."""
        await super().forget(sha256)
        await self.copies.forget(sha256)

    async def damaged(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those that are whole neither here nor as a copy."""
        if not (doubtful := await super().damaged(instances)):
            return []
        absent = {one.sop_instance_uid for one in await self.copies.absent(doubtful)}
        return [one for one in doubtful if one.sop_instance_uid in absent]

    def content(self, of: Instance) -> Piece:
        """Of the file, or of its copy."""
        return super().content(of if of.path.exists() else self.copies.named(of))

    async def local(self, of: Instance) -> Path:
        """The file, or its copy."""
        return of.path if of.path.exists() else self.copies.path(of.sha256)

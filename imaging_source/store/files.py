"""Files of instances: linked to a name made of their hash when they are synced aside."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from imaging_source.store.contents import Contents, Pace, at_once
from imaging_source.store.incoming import SpooledFile, digest_of, spooled
from shared.http.checked import checked
from shared.http.pieces import FileRange, Piece
from shared.imaging.instance import Instance
from shared.store.folders import FoldersOfStore, sync

_CHUNK: Final = 1024**2
_READ_AT_ONCE: Final = 4
_LOOKED_AT_AT_ONCE: Final = 4
FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
# What is known of so many files that were read; about 300 bytes each.
_MAX_PROOFS: Final = 100_000


# Inode, size, and when the content and the inode were last changed.
_Identity = tuple[int, int, int, int]


class ContentFiles(Contents):
    """The files of all instances below one folder, which is made when absent.

    `keep_preamble` tells to keep what may be the header of another format.
    """

    def __init__(self, folder: Path, *, keep_preamble: bool = False) -> None:
        self.folder = folder.resolve()
        super().__init__(self.folder / "incoming", keep_preamble=keep_preamble)
        self._noting = threading.Lock()
        self._proofs: dict[str, tuple[_Identity, bool]] = {}
        self._folders = FoldersOfStore(self.folder)

    def path(self, sha256: str) -> Path:
        """Where a file with this hash is, or would be."""
        return Path(self.name(sha256))

    def name(self, sha256: str) -> str:
        """`path` as text."""
        return f"{self.folder}/{sha256[:2]}/{sha256}.dcm"

    # --- keeping -------------------------------------------------------------------------------------

    async def keep(self, *spooled: SpooledFile) -> None:
        """`place`, aside from the event loop."""
        await asyncio.to_thread(self.place, *spooled)

    def place(self, *spooled: SpooledFile) -> None:
        """Give synced files their final names, durably; what has one already may be damaged, and goes."""
        with self.guarded():
            folders = {self._linked(one).parent for one in spooled}
            for folder in folders:
                sync(folder)

    def _linked(self, spooled: SpooledFile) -> Path:
        final = self.path(spooled.sha256)
        self._folders.make(final.parent)
        try:
            final.hardlink_to(spooled.path)
        except FileExistsError:
            self._replace(final, spooled)
        return final

    def _replace(self, final: Path, spooled: SpooledFile) -> None:
        aside = self.aside()
        aside.hardlink_to(spooled.path)
        aside.rename(final)
        # Of two names for one file the rename leaves both (POSIX).
        aside.unlink(missing_ok=True)

    async def take_away(self, spooled: SpooledFile) -> None:
        """Remove the file."""
        await self.forget(spooled.sha256)

    async def forget(self, sha256: str) -> None:
        """Remove the file."""
        self.path(sha256).unlink(missing_ok=True)

    def release(self, spooled: SpooledFile) -> None:
        """Remove the name aside. A file that was placed counts as proved: it was hashed as it was written."""
        try:
            before = spooled.path.stat()
            spooled.path.unlink()
            after = self.path(spooled.sha256).stat()
        except FileNotFoundError:
            return
        if _written(before) == _written(after):
            self._note(spooled.sha256, _identity(after), whole=True)

    def doubt(self, spooled: SpooledFile) -> None:
        """Keep the name aside; once for each content."""
        spooled.path.replace(self.incoming / spooled.sha256)

    # --- reading -------------------------------------------------------------------------------------

    async def damaged(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those whose files are not whole; each is read that was not since it was touched."""

        # To hand over a few costs far more than to look at them.
        look = self._unproved
        few = len(instances) <= _LOOKED_AT_AT_ONCE
        doubtful = look(instances) if few else await asyncio.to_thread(look, instances)
        if not doubtful:
            return []
        at_a_time = asyncio.Semaphore(_READ_AT_ONCE)

        async def is_whole(instance: Instance) -> bool:
            async with at_a_time:
                return await asyncio.to_thread(self.is_whole, instance.sha256, instance.size)

        proofs = await asyncio.gather(*map(is_whole, doubtful))
        return [instance for instance, whole in zip(doubtful, proofs, strict=True) if not whole]

    def _unproved(self, instances: Sequence[Instance]) -> list[Instance]:
        # As `is_whole` looks, without a call, a Path or a name of each.
        stat, proof_of, doubtful = os.stat, self._proofs.get, []
        for one in instances:
            try:
                status = stat(one.file)
            except OSError:
                doubtful.append(one)
                continue
            identity = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if status.st_size != one.size or proof_of(one.sha256) != (identity, True):
                doubtful.append(one)
        return doubtful

    def content(self, of: Instance) -> Piece:
        """All of the file."""
        return FileRange(of.file, 0, of.size)

    async def local(self, of: Instance) -> Path:
        """The file itself."""
        return of.path

    def read(self, sha256: str, size: int) -> Iterator[bytes | memoryview]:
        """The file in pieces."""
        return checked(pieces(self.path(sha256)), sha256, size)

    # --- proof ---------------------------------------------------------------------------------------

    async def whole(self, sha256: str, size: int) -> bool:
        """`is_whole`, aside from the event loop."""
        return await asyncio.to_thread(self.is_whole, sha256, size)

    async def proved(self, sha256: str, size: int, pace: Pace = at_once) -> bool:
        """`prove`, aside from the event loop."""
        return await asyncio.to_thread(self.prove, sha256, size, pace=pace)

    def prove(self, sha256: str, size: int, *, pace: Callable[[int], None] = at_once) -> bool:
        """Whether the file is there with the bytes that were acknowledged; reads all of it.

        `pace` is called with the number of bytes of each piece.
        """
        try:
            with self.path(sha256).open("rb") as file:
                status = os.fstat(file.fileno())
                whole = status.st_size == size and digest_of(file, pace) == sha256
        except OSError:
            return False
        self._note(sha256, _identity(status), whole=whole)
        return whole

    def is_whole(self, sha256: str, size: int) -> bool:
        """As `prove`, which reads a file only when it was not read since it was last touched."""
        try:
            status = self.path(sha256).stat()
        except OSError:
            return False
        identity, whole = self._proofs.get(sha256, (None, False))
        return whole if identity == _identity(status) else self.prove(sha256, size)

    def distrust(self, sha256: str) -> None:
        """Let whoever proved the file before prove it again, in other processes too."""
        with suppress(OSError):
            os.utime(self.path(sha256))

    def _note(self, sha256: str, identity: _Identity, *, whole: bool) -> None:
        with self._noting:
            while len(self._proofs) >= _MAX_PROOFS:
                self._proofs.pop(next(iter(self._proofs)))
            self._proofs[sha256] = (identity, whole)

    # --- files without a row -------------------------------------------------------------------------

    async def folders(self) -> list[str]:
        """Those of the 256 that are there."""

        def there() -> list[str]:
            return [name for name in FOLDERS if (self.folder / name).is_dir()]

        return await asyncio.to_thread(there)

    async def digests(self, folder: str, *, before: float) -> list[str]:
        """The digests of the files in one of the folders."""
        return await asyncio.to_thread(self._digests, folder, before)

    def _digests(self, folder: str, before: float) -> list[str]:
        try:
            with os.scandir(self.folder / folder) as entries:
                return sorted(
                    entry.name.removesuffix(".dcm")
                    for entry in entries
                    if entry.name.endswith(".dcm") and entry.stat().st_mtime < before
                )
        except FileNotFoundError:
            return []

    async def take_back(self, sha256: str) -> SpooledFile:
        """A file without a row as if it had just arrived; raises `OSError`."""
        aside = self.aside()
        aside.hardlink_to(self.path(sha256))
        return await asyncio.to_thread(spooled, aside)

    async def tidy(self, folder: str, *, before: float) -> None:
        """No file is kept twice."""


def pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces; blocks."""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _written(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _identity(status: os.stat_result) -> _Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

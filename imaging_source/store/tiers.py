"""Contents in two tiers: files at hand, and a colder store to which they are moved when they have aged.

Both hold the same bytes under the same digest, so that a copy in both is no second truth: what is at hand is
given, and what is not is asked of the cold store. A file at hand goes when its copy has been proved, and not
before readers that found it have ended.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from imaging_source.store.contents import FOLDER, Contents, Pace, at_once
from imaging_source.store.files import ContentFiles, pieces
from imaging_source.store.incoming import SpooledFile
from shared.http.pieces import Piece
from shared.imaging.instance import Instance
from shared.settings import SettingsError
from shared.settings.storage import storage_folder
from shared.store.folders import sync

_MARK: Final = "cold-storage"
_DAY_SECONDS: Final = 24 * 3600.0


def cools_before(days: float) -> float:
    """When a file must have come, in seconds since 1970, to be moved now, if that is done after `days`."""
    return time.time() - days * _DAY_SECONDS


def mark(folder: Path, url: str) -> None:
    """Note beside the files, and in a cold folder, that they belong together, before anything is moved."""
    cold = storage_folder(url)
    for place in (None if cold is None else cold / FOLDER, folder):
        if place is not None and not (place / _MARK).exists():
            place.mkdir(parents=True, exist_ok=True)
            with (place / _MARK).open("w", encoding="utf-8") as file:
                file.write(url)
                file.flush()
                os.fsync(file.fileno())
            sync(place)


def check_mark(folder: Path, url: str | None) -> None:
    """Raise `SettingsError` when instances were moved to another cold storage than `url`, or its folder is
    not what it was, as when a disk is not mounted: whoever looks for them there would find none; blocks."""
    try:
        there = (folder / _MARK).read_text("utf-8")
    except FileNotFoundError:
        return
    if there != url:
        raise SettingsError(
            (
                f"XDSI_COLD_STORAGE_URL: instances of {folder} are in {there}, and this is "
                f"{url or 'not set'}; set it to that, or remove {folder / _MARK} when they were brought "
                "elsewhere",
            )
        )
    cold = storage_folder(url)
    if cold is not None and not (cold / FOLDER / _MARK).exists():
        raise SettingsError(
            (
                f"XDSI_COLD_STORAGE_URL: {cold / FOLDER} lacks the file {_MARK}: it is another disk, or not "
                "mounted; mount it",
            )
        )


class TieredFiles(ContentFiles):
    """Files of instances below one folder, and in `cold` those that were moved there."""

    def __init__(self, folder: Path, cold: Contents, *, keep_preamble: bool = False) -> None:
        super().__init__(folder, keep_preamble=keep_preamble)
        self.cold = cold
        cold.on_damage = lambda sha256: self.on_damage(sha256)

    def close(self) -> None:
        """Let go of both."""
        super().close()
        self.cold.close()

    async def ready(self) -> None:
        """Ask both: whoever cannot reach what is cold does not give what was acknowledged."""
        await super().ready()
        await self.cold.ready()

    # --- moving ------------------------------------------------------------------------------------------

    async def at_hand(self, folder: str, *, before: float) -> list[str]:
        """As `digests`, of what is in the first tier."""
        return await super().digests(folder, before=before)

    async def copy_to_cold(self, sha256: str, size: int) -> None:
        """Let the cold store have these contents, proved; they stay at hand.

        Raises
        ------
        OSError, DamagedBlob, StoreUnavailable, Refused
            They cannot be read, are damaged, or cannot be kept there.
        """
        if await self.cold.whole(sha256, size):
            return
        spooled = await asyncio.to_thread(self._aside, sha256, size)
        await self.cold.keep(spooled)
        self.cold.release(spooled)

    def _aside(self, sha256: str, size: int) -> SpooledFile:
        return self.cold.copy(super().read(sha256, size), max_bytes=size)

    async def let_go(self, sha256: str, size: int, *, before: float) -> bool:
        """Remove the file at hand, if it is from before `before`, in seconds since 1970, and the cold store
        proves to have it whole; whether that was done."""
        if not await self.cold.whole(sha256, size) or not self._is_older(sha256, before):
            return False
        await super().forget(sha256)
        return True

    def _is_older(self, sha256: str, before: float) -> bool:
        # It may have been brought back while the cold one was read.
        try:
            return self.path(sha256).stat().st_mtime < before
        except FileNotFoundError:
            return False

    async def bring_back(self, sha256: str, size: int) -> bool:
        """Let these contents be at hand as if they had just come; the cold copy stays. Whether they were not
        there before.

        Raises
        ------
        OSError, DamagedBlob, StoreUnavailable, Refused
            They cannot be read, are damaged, or cannot be kept.
        """
        if await super().whole(sha256, size):
            os.utime(self.path(sha256))
            return False
        spooled = await asyncio.to_thread(self._from_cold, sha256, size)
        await super().keep(spooled)
        self.release(spooled)
        return True

    def _from_cold(self, sha256: str, size: int) -> SpooledFile:
        return self.copy(self.cold.read(sha256, size), max_bytes=size)

    # --- keeping -----------------------------------------------------------------------------------------

    async def forget(self, sha256: str) -> None:
        """Remove both."""
        await super().forget(sha256)
        await self.cold.forget(sha256)

    # --- reading -----------------------------------------------------------------------------------------

    async def damaged(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those that neither tier has whole; a damaged file goes when the cold store has it whole."""
        if not (doubtful := await super().damaged(instances)):
            return []
        lost = {one.sha256 for one in await self.cold.damaged([self._in_cold(one) for one in doubtful])}
        for one in doubtful:
            if one.sha256 not in lost:
                await super().forget(one.sha256)
        return [one for one in doubtful if one.sha256 in lost]

    def content(self, of: Instance) -> Piece:
        """Of the tier that has it."""
        return super().content(of) if self._is_at_hand(of) else self.cold.content(self._in_cold(of))

    async def local(self, of: Instance) -> Path:
        """The file at hand, or what the cold store fetches."""
        return await (super().local(of) if self._is_at_hand(of) else self.cold.local(self._in_cold(of)))

    def read(self, sha256: str, size: int) -> Iterator[bytes | memoryview]:
        """From the tier that has it."""
        if self.path(sha256).exists():
            return super().read(sha256, size)
        return self.cold.read(sha256, size)

    def _is_at_hand(self, of: Instance) -> bool:
        return of.path.exists()

    def _in_cold(self, of: Instance) -> Instance:
        return of._replace(file=self.cold.name(of.sha256))

    # --- proof -------------------------------------------------------------------------------------------

    async def whole(self, sha256: str, size: int) -> bool:
        """Whether one of them has it."""
        if await super().whole(sha256, size):
            return True
        return await self.cold.whole(sha256, size)

    async def proved(self, sha256: str, size: int, pace: Pace = at_once) -> bool:
        """Prove every copy there is; one that is whole is enough, and a damaged one at hand goes then."""
        at_hand = self.path(sha256).exists()
        if at_hand and await super().proved(sha256, size, pace):
            return True
        whole = await self.cold.proved(sha256, size, pace)
        if at_hand and whole:
            await super().forget(sha256)
        return whole

    def distrust(self, sha256: str) -> None:
        """In both."""
        super().distrust(sha256)
        self.cold.distrust(sha256)

    # --- contents without a row --------------------------------------------------------------------------

    async def folders(self) -> list[str]:
        """Those of both."""
        return sorted({*await super().folders(), *await self.cold.folders()})

    async def digests(self, folder: str, *, before: float) -> list[str]:
        """Those of both; what is cold has its time to settle there, too."""
        settled = before - self.cold.settled_seconds
        at_hand = await self.at_hand(folder, before=before)
        return sorted({*at_hand, *await self.cold.digests(folder, before=settled)})

    async def take_back(self, sha256: str) -> SpooledFile:
        """From the tier that has it; what is cold comes back to hand."""
        if self.path(sha256).exists():
            return await super().take_back(sha256)
        aside = await self.cold.take_back(sha256)
        try:
            return await asyncio.to_thread(self._back, aside)
        finally:
            aside.path.unlink(missing_ok=True)

    def _back(self, aside: SpooledFile) -> SpooledFile:
        # A link would not do: the two may be on different disks.
        return self.copy(pieces(aside.path), max_bytes=aside.size)

    async def tidy(self, folder: str, *, before: float) -> None:
        """In the cold store; at hand no file is kept twice."""
        await self.cold.tidy(folder, before=before)

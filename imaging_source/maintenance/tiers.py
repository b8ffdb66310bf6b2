"""What lies in which tier, and back to hand, beside the running service."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from imaging_source.store.files import FOLDERS
from imaging_source.store.kept_files import have_row, of_study, walk
from imaging_source.store.tiers import TieredFiles
from shared.http.checked import DamagedBlob
from shared.store.engine import Reader


class Tier(StrEnum):
    """Where contents lie that have a row."""

    AT_HAND = "at hand"
    BOTH = "in both"
    COLD = "cold"
    NOWHERE = "nowhere"


@dataclass(slots=True)
class Holding:
    """How many contents, and their bytes."""

    contents: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one."""
        self.contents += 1
        self.bytes += size


@dataclass(slots=True)
class Survey:
    """What lies where, and what of it a turn of cooling would move now."""

    tiers: dict[Tier, Holding] = field(default_factory=lambda: {tier: Holding() for tier in Tier})
    due: Holding = field(default_factory=Holding)


@dataclass(slots=True)
class Return:
    """What came back; what was at hand before, and counts as new again; digests of what no tier has whole."""

    back: Holding = field(default_factory=Holding)
    at_hand: Holding = field(default_factory=Holding)
    damaged: list[str] = field(default_factory=list)


async def survey(index: Reader, files: TieredFiles, *, before: float) -> Survey:
    """Look by names and rows alone, reading no contents; what came before `before`, in seconds since 1970, is
    due to be moved.

    Raises
    ------
    OSError, StoreUnavailable
        One of the tiers cannot be listed.
    """
    overview = Survey()
    cold_folders = set(await files.cold.folders())
    for folder in FOLDERS:
        at_hand = set(await files.at_hand(folder, before=math.inf))
        old = set(await files.at_hand(folder, before=before))
        cold = set(await files.cold.digests(folder, before=math.inf) if folder in cold_folders else ())
        async for sha256, size in _kept(index, folder):
            # What has come since the folder was listed is at hand.
            near = sha256 in at_hand or (sha256 not in cold and files.path(sha256).exists())
            overview.tiers[_tier(near=near, far=sha256 in cold)].add(size)
            if sha256 in old:
                overview.due.add(size)
    return overview


def _tier(*, near: bool, far: bool) -> Tier:
    if near:
        return Tier.BOTH if far else Tier.AT_HAND
    return Tier.COLD if far else Tier.NOWHERE


async def _kept(index: Reader, folder: str) -> AsyncIterator[tuple[str, int]]:
    """Each contents once, though several instances may be equal."""
    last = ""
    async for sha256, size, _ in walk(index, folder, f"{folder}g"):
        if sha256 != last:
            yield sha256, size
        last = sha256


async def in_study(index: Reader, study_instance_uid: str) -> AsyncIterator[tuple[str, int]]:
    """Digest and size of all contents of a study; none when it is unknown."""
    for sha256, size in await of_study(index, study_instance_uid):
        yield sha256, size


async def not_at_hand(index: Reader, files: TieredFiles) -> AsyncIterator[tuple[str, int]]:
    """Digest and size of all contents that are not at hand."""
    for folder in FOLDERS:
        async for sha256, size in _kept(index, folder):
            if not files.path(sha256).exists():
                yield sha256, size


async def warm(
    index: Reader,
    files: TieredFiles,
    contents: AsyncIterator[tuple[str, int]],
    advance: Callable[[int], None] = lambda count: None,
) -> Return:
    """Bring `contents` back to hand, one after the other; `advance` is told of the bytes of each.

    Raises
    ------
    OSError, StoreUnavailable, Refused
        The cold store cannot be read, or no room is left; what has come back stays.
    """
    result = Return()
    async for sha256, size in contents:
        try:
            came_back = await files.bring_back(sha256, size)
        except (DamagedBlob, FileNotFoundError):
            result.damaged.append(sha256)
        else:
            (result.back if came_back else result.at_hand).add(size)
            # Erased meanwhile: what came back after that would be an instance that nobody knows of.
            if not await have_row(index, sha256):
                await files.forget(sha256)
        advance(size)
    return result

"""Objects copied into a folder, and from there into another store: what a backup has beside the rows.

Objects are never changed, so what is there already is not copied again, and a copy that was broken off goes
on where it was. A file lies below the folder as its object below the prefix, and gets its name when its bytes
are those of the digest.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from shared.store.objects import ObjectCopy, ObjectLost, Objects, in_thread

_AT_A_TIME: Final = 8
_PART: Final = ".part"

IsWhole = Callable[[Path, str, str], bool]
"""Whether a file holds the bytes of a digest, as the object of a name keeps them; blocks."""


@dataclass(slots=True)
class Mirrored:
    """What was done: objects and bytes that were copied, objects that were there, digests of those that are
    damaged and were left out."""

    copied: int = 0
    bytes: int = 0
    present: int = 0
    damaged: list[str] = field(default_factory=list)


async def save(objects: Objects, folder: Path, is_whole: IsWhole) -> Mirrored:
    """Copy what a store has into `folder`.

    Raises
    ------
    ObjectsUnavailable
        The store cannot be asked; what was copied stays.
    OSError
        The folder does not take it.
    """
    report = Mirrored()

    async def save_one(sha256: str, copy: ObjectCopy) -> None:
        final = folder / copy.key
        if await asyncio.to_thread(_is_there, final, copy.size):
            report.present += 1
        elif await in_thread(_fetch, objects, copy, sha256, final, is_whole):
            report.copied += 1
            report.bytes += copy.size
        elif copy.key in {each.key for each in await in_thread(objects.copies, sha256)}:
            # What is not there any more was swept meanwhile, because nothing referred to it.
            report.damaged.append(sha256)

    for name in await in_thread(objects.folders):
        groups = await in_thread(lambda name=name: list(objects.groups(name)))
        await _several(save_one(sha256, copy) for sha256, copies in groups for copy in copies)
    return report


async def load(folder: Path, objects: Objects, is_whole: IsWhole) -> Mirrored:
    """Copy what `save` put into `folder` to a store, each object under the name that it had; raises as
    `save`."""
    report = Mirrored()

    async def load_one(sha256: str, path: Path) -> None:
        if await asyncio.to_thread(is_whole, path, sha256, path.name):
            report.bytes += (await objects.put(sha256, path.name, path)).size
            report.copied += 1
        else:
            report.damaged.append(sha256)

    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        groups = await in_thread(lambda name=below.name: list(objects.groups(name)))
        keys = {copy.key for _, copies in groups for copy in copies}
        paths = [path for path in sorted(below.glob("*/*")) if path.suffix != _PART]
        absent = [path for path in paths if objects.key(path.parent.name, path.name) not in keys]
        report.present += len(paths) - len(absent)
        await _several(load_one(path.parent.name, path) for path in absent)
    return report


async def _several(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All of them, a few at a time; the first that fails ends the others."""
    at_a_time = asyncio.Semaphore(_AT_A_TIME)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with at_a_time:
            await work

    await asyncio.gather(*map(one, works))


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _fetch(objects: Objects, copy: ObjectCopy, sha256: str, final: Path, is_whole: IsWhole) -> bool:
    """Whether the object came whole; blocks."""
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.with_name(f"{uuid4().hex}{_PART}")
    reading = objects.reading(copy)
    try:
        with part.open("wb") as file:
            for octets in reading:
                file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if not is_whole(part, sha256, final.name):
            return False
        part.rename(final)
    except ObjectLost:
        return False
    finally:
        reading.close()
        part.unlink(missing_ok=True)
    return True

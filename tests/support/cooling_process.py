"""An imaging source that moves everything to its cold storage and back, until it is killed:
`python -m tests.support.cooling_process FOLDER COLD_URL`; it prints a line when it begins."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from imaging_source.background import cooling
from imaging_source.maintenance.tiers import in_study, warm
from imaging_source.store.tiers import TieredFiles
from tests.support.databases import DatabasePlace
from tests.support.imaging_source import Source, open_source

STUDY = "2.25.11"
OLD_SECONDS = 400 * 24 * 3600.0


def place_of(folder: Path) -> DatabasePlace:
    """Where its rows are."""
    return DatabasePlace(url=None, folder=folder / "database", name="imaging_source")


def age(files: TieredFiles) -> None:
    """Let everything at hand have come long ago."""
    then = time.time() - OLD_SECONDS
    for path in files.folder.glob("??/*.dcm"):
        os.utime(path, (then, then))


async def cooled(source: Source) -> None:
    """Move everything to the cold storage; a first turn copies, and the second lets go."""
    for _ in range(2):
        await source.service.cooling.turn()


async def main(folder: Path, cold: str) -> None:
    """Move, for ever."""
    cooling.PARTING_SECONDS = 0.0  # type: ignore[misc]  # nobody reads
    source = await open_source(place_of(folder), folder / "data", cold_storage_url=cold)
    files, database = source.parts.instances.files, source.parts.database
    assert isinstance(files, TieredFiles)
    print("moving", flush=True)
    while True:
        age(files)
        await cooled(source)
        await warm(database, files, in_study(database, STUDY))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))

"""What is asked of an archive, whatever it speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from imaging_source.domain.listing import ListedInstance
from imaging_source.domain.transfer import Sender
from imaging_source.store.incoming import Incoming, SpooledFile
from shared.dicom.json import Attributes
from shared.imaging.query.query import Query

Room = Callable[[], Incoming]
"""A file for one instance that comes; raises `Refused`."""


class ReceivedFile(Protocol):
    """One instance that came, in a file aside; it is finished or discarded by whoever takes it."""

    def finish(self) -> SpooledFile:
        """Sync and close the file; raises `Refused` when it could not be kept. Blocks."""
        ...

    def discard(self) -> None:
        """Remove it; harmless after `finish`."""
        ...


Take = Callable[[ReceivedFile], Awaitable[None]]
"""Takes what came; the next one is waited for afterwards."""


class ArchiveAway(Exception):
    """An archive does not answer, or not as the standard has it; the text names it and no patient."""


class Archive(Protocol):
    """One archive under its `name` in the settings. Nothing that it says is believed unproved."""

    name: str

    def sender(self) -> Sender:
        """Who sends what is retrieved, for the trail."""
        ...

    async def find_studies(self, query: Query, *, limit: int) -> Sequence[Attributes]:
        """Studies that may match a query of their level, as DICOM JSON; raises `ArchiveAway`."""
        ...

    async def list_study(self, study_instance_uid: str) -> Sequence[ListedInstance]:
        """The instances of a study; empty when it has none. Raises `ArchiveAway`."""
        ...

    async def retrieve(self, instances: Sequence[ListedInstance], room: Room, take: Take) -> None:
        """Hand over Part 10 files as they come, of which those of `instances` are wanted, all of one study;
        others may come too, and some may not.

        Raises
        ------
        ArchiveAway
            It does not answer, breaks off, or is too slow; what came before counts.
        Refused
            There is no room for the next one.
        """
        ...

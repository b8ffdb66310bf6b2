"""Contents of instances by their SHA-256: where they arrive, and where they are kept, in files or objects.

Contents are never changed. Acknowledged is what is durable in its place and has a committed row (limits,
decisions 1 and 9); what leaves is what was acknowledged.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from imaging_source.store.incoming import IncomingFolder, SpooledFile
from shared.http.pieces import Piece
from shared.imaging.instance import Instance

#: Below a storage that a repository may share.
FOLDER: Final = "instances"

Pace = Callable[[int], None]
"""Told of so many bytes that were read; may sleep."""


def at_once(count: int) -> None:
    """A `Pace` without limit."""


class Contents(IncomingFolder, ABC):
    """Where contents are kept; one for each process, of which several may share what is kept.

    `settled_seconds` is the age from which on contents without a row are nobody's: no upload takes so long.
    """

    settled_seconds: float = 0.0

    #: Called with the digest of contents, in any thread, when they show to be damaged while they are sent.
    on_damage: Callable[[str], None] = staticmethod(lambda sha256: None)

    async def ready(self) -> None:
        """Raise `StoreUnusable` when the next instance could not be kept."""
        await asyncio.to_thread(self.check)

    # --- keeping -----------------------------------------------------------------------------------------

    @abstractmethod
    def name(self, sha256: str) -> str:
        """Where these contents are, or would be, in words of the store."""

    @abstractmethod
    async def keep(self, *spooled: SpooledFile) -> None:
        """Put synced files in their places, durably; raises `Refused`, out of resources, for all of them."""

    @abstractmethod
    async def take_away(self, spooled: SpooledFile) -> None:
        """Undo `keep`: no row refers to these contents."""

    @abstractmethod
    def release(self, spooled: SpooledFile) -> None:
        """Remove the name aside."""

    @abstractmethod
    def doubt(self, spooled: SpooledFile) -> None:
        """Keep the name aside of contents of which nobody knows whether they have a row."""

    @abstractmethod
    async def forget(self, sha256: str) -> None:
        """Remove contents that no row refers to any more."""

    # --- reading -----------------------------------------------------------------------------------------

    @abstractmethod
    async def damaged(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those of `instances` whose contents are lost, or not what was acknowledged, as far as is looked at
        before they are sent; raises `StoreUnavailable`."""

    @abstractmethod
    def content(self, of: Instance) -> Piece:
        """The whole Part 10 file, to be sent."""

    @abstractmethod
    async def local(self, of: Instance) -> Path:
        """The whole Part 10 file on this disk, for a quarter of an hour at least; raises `OSError`."""

    @abstractmethod
    def read(self, sha256: str, size: int) -> Iterator[bytes | memoryview]:
        """The contents in pieces; blocks.

        Raises
        ------
        OSError, DamagedBlob, StoreUnavailable
            They cannot be read, or are not what was acknowledged: that shows at the latest at their end.
        """

    # --- proof -------------------------------------------------------------------------------------------

    @abstractmethod
    async def whole(self, sha256: str, size: int) -> bool:
        """Whether the bytes that were acknowledged are there; they are read unless that was done since they
        were last touched. Raises `StoreUnavailable`."""

    @abstractmethod
    async def proved(self, sha256: str, size: int, pace: Pace = at_once) -> bool:
        """As `whole`; reads all of them in any case."""

    @abstractmethod
    def distrust(self, sha256: str) -> None:
        """Let whoever proved them before prove them again, in other processes too."""

    # --- contents without a row --------------------------------------------------------------------------

    @abstractmethod
    async def folders(self) -> list[str]:
        """First two digits of digests: of all that may be there; raises as `digests`."""

    @abstractmethod
    async def digests(self, folder: str, *, before: float) -> list[str]:
        """The digests that begin with these two digits, in order, of contents that were written before
        `before`, in seconds since 1970; raises `OSError`, `StoreUnavailable`."""

    @abstractmethod
    async def take_back(self, sha256: str) -> SpooledFile:
        """Contents without a row as if they had just arrived; raises as `read`, and `Refused`."""

    @abstractmethod
    async def tidy(self, folder: str, *, before: float) -> None:
        """Remove what is kept twice."""

"""Instances of one STOW-RS request in portions: those of one are written, synced and committed together.

Of small instances most of the time would go into turns of threads, and a commit for each. Memory does not
grow with them: what has come is written when it is a MiB, whatever instances it is of.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from imaging_source.domain.intake import Refused
from imaging_source.domain.stow import Outcome
from imaging_source.store.incoming import Incoming
from imaging_source.store.transfers import Transfer
from imaging_source.unit import Unit
from shared.imaging.description import Claim

_UNWRITTEN_BYTES: Final = 1024**2
_INSTANCES: Final = 32
_BYTES: Final = 8 * 1024**2
_STORED_AT_ONCE: Final = 2


class Portions:
    """What comes by one request, as `transfer`; each instance shall be what `claim` says."""

    def __init__(self, unit: Unit, transfer: Transfer, claim: Claim) -> None:
        self._unit = unit
        self._transfer = transfer
        self._claim = claim
        self._arriving = _Arriving(unit)
        self._tasks: list[asyncio.Task[list[Outcome]]] = []

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        """Take an instance as it comes."""
        await self._arriving.take(chunks)
        await self._go_on()

    async def add(self, instance: Incoming | Refused) -> None:
        """Take one that has come, or why it is not taken."""
        self._arriving.add(instance)
        await self._go_on()

    async def stored(self) -> list[Outcome]:
        """What became of all that came to its end; when this returns what is kept is durable."""
        await self._store()
        return [outcome for outcomes in await asyncio.gather(*self._tasks) for outcome in outcomes]

    async def _go_on(self) -> None:
        if self._arriving.is_full:
            await self._store()

    async def _store(self) -> None:
        arriving, self._arriving = self._arriving, _Arriving(self._unit)
        if instances := await arriving.written():
            store = self._unit.parts.instances.store_portion
            self._tasks.append(asyncio.create_task(store(instances, self._transfer, self._claim)))
        if len(self._tasks) >= _STORED_AT_ONCE:
            await asyncio.wait(self._tasks[-_STORED_AT_ONCE : 1 - _STORED_AT_ONCE])


class _Arriving:
    """A portion while it comes."""

    def __init__(self, unit: Unit) -> None:
        self._instances: list[Incoming | Refused] = []
        self._files = unit.parts.instances.files
        self._max_bytes = unit.parts.settings.max_instance_bytes
        self._size = 0
        self._unwritten: list[tuple[int, bytes]] = []
        self._unwritten_bytes = 0
        self._is_broken = False

    @property
    def is_full(self) -> bool:
        return len(self._instances) >= _INSTANCES or self._size >= _BYTES or self._files.is_crowded

    def add(self, instance: Incoming | Refused) -> None:
        self._instances.append(instance)
        self._size += instance.size if isinstance(instance, Incoming) else 0

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        """Take an instance as it comes, as far as it is taken."""
        try:
            self._instances.append(self._files.new(max_bytes=self._max_bytes))
        except Refused as refused:
            self._instances.append(refused)
            return
        at = len(self._instances) - 1
        self._is_broken = True
        async for chunk in chunks:
            self._unwritten.append((at, chunk))
            self._size += len(chunk)
            self._unwritten_bytes += len(chunk)
            if self._unwritten_bytes >= _UNWRITTEN_BYTES:
                await self._write()
                if isinstance(self._instances[at], Refused):
                    break
        self._is_broken = False

    async def written(self) -> list[Incoming | Refused]:
        """What has come, written; nothing of an instance that broke off."""
        if self._is_broken:
            broken = self._instances.pop()
            self._unwritten = [piece for piece in self._unwritten if piece[0] < len(self._instances)]
            if isinstance(broken, Incoming):
                broken.discard()
        await self._write()
        return self._instances

    async def _write(self) -> None:
        pieces, self._unwritten, self._unwritten_bytes = self._unwritten, [], 0
        if pieces:
            await asyncio.to_thread(self._append, pieces)

    def _append(self, pieces: list[tuple[int, bytes]]) -> None:
        for at, of_one in groupby(pieces, key=itemgetter(0)):
            incoming = self._instances[at]
            if isinstance(incoming, Refused):
                continue
            try:
                incoming.write(b"".join([octets for _, octets in of_one]))
            except Refused as refused:
                incoming.discard()
                self._instances[at] = refused

"""Records that were set aside are sent again, when an operator says that the receiver takes them now.

Syslog has no word of acceptance (RFC 5425): a group of records counts as taken when the connection outlasts
it; upon an end each half is tried by itself, and of one record alone the end is a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from shared.audit.connection import Connection, ConnectionEnded

#: A receiver ends a connection well within this time upon a record that it refuses (docs/decisions/0010).
REST_SECONDS = 4.0
_GROUP = 100

Connect = Callable[[], AbstractAsyncContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class Resent:
    """The files of records that were taken, which are gone, and of those that were refused again."""

    taken: list[Path] = field(default_factory=list)
    refused: list[Path] = field(default_factory=list)


async def resend(files: Sequence[Path], connect: Connect, *, rest_seconds: float) -> Resent:
    """Send the record of each file again, in their order, and remove those that were taken.

    Raises
    ------
    OSError, TimeoutError
        The receiver cannot be reached; what it had not taken before stays.
    """
    resent = Resent()
    for at in range(0, len(files), _GROUP):
        await _sent(files[at : at + _GROUP], connect, rest_seconds, resent)
    return resent


async def _sent(files: Sequence[Path], connect: Connect, rest_seconds: float, resent: Resent) -> None:
    records = [await asyncio.to_thread(file.read_bytes) for file in files]
    if await _are_taken(records, connect, rest_seconds):
        for file in files:
            await asyncio.to_thread(file.unlink, missing_ok=True)
        resent.taken.extend(files)
    elif len(files) == 1:
        resent.refused.extend(files)
    else:
        half = len(files) // 2
        await _sent(files[:half], connect, rest_seconds, resent)
        await _sent(files[half:], connect, rest_seconds, resent)


async def _are_taken(records: Sequence[bytes], connect: Connect, rest_seconds: float) -> bool:
    async with connect() as connection:
        try:
            await connection.send(records)
            await connection.quiet(rest_seconds)
        except ConnectionEnded:
            return False
        return not connection.in_flight

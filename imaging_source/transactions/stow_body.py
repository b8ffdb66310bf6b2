"""The body of a STOW-RS request: its parts go to files as they arrive; memory does not grow with them.

Tolerated: one Part 10 file as the whole body, and parts that do not name their type.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from imaging_source.domain.intake import PROCESSING_FAILURE, Refused
from imaging_source.domain.stow import Outcome, Results
from imaging_source.store.incoming import Incoming
from imaging_source.store.transfers import Transfer
from imaging_source.unit import Unit
from shared.dicom.multipart import APPLICATION_DICOM
from shared.faults import SenderFault
from shared.http.media_type import MediaType
from shared.http.multipart import Parts
from shared.http.problem import BadRequest, HttpProblem, TooLarge
from shared.http.raw_asgi import ClientGone
from shared.imaging.description import Claim

_BATCH_BYTES: Final = 1024**2
_STORING_AT_ONCE: Final = 4
# Orthanc writes 73 characters where RFC 2046 allows 70 (tests/peers/test_orthanc_store.py).
_LONGEST_BOUNDARY: Final = 128


async def receive(
    unit: Unit, media_type: MediaType, body: AsyncGenerator[bytes], transfer: Transfer, claim: Claim
) -> Results:
    """Store the parts of `body` as they come; while one is being stored the next ones arrive."""
    tasks: list[asyncio.Task[Outcome]] = []
    problem: HttpProblem | None = None
    try:
        async with aclosing(_incoming(unit, media_type, body)) as parts:
            async for part in parts:
                tasks.append(asyncio.create_task(_store(unit, part, transfer, claim)))
                if len(tasks) >= _STORING_AT_ONCE:
                    await asyncio.wait(tasks[-_STORING_AT_ONCE : 1 - _STORING_AT_ONCE])
    except HttpProblem as found:
        problem = found
    except SenderFault as fault:
        problem = BadRequest(fault.reason)
    except ClientGone:
        problem = BadRequest("the connection ended before the message did")
    finally:
        outcomes = await asyncio.gather(*tasks)
    return Results(tuple(outcomes), problem)


async def _incoming(
    unit: Unit, media_type: MediaType, body: AsyncGenerator[bytes]
) -> AsyncGenerator[Incoming | Refused]:
    """The parts, each in a file aside, or why it is not."""
    most = unit.parts.settings.max_instances_per_request
    async with aclosing(body) as chunks:
        if media_type.name == APPLICATION_DICOM:
            yield await _spooled(unit, chunks)
            return
        count = 0
        boundary = media_type.parameter("boundary")
        async for part in Parts(chunks, boundary, max_parts=most + 1, max_boundary=_LONGEST_BOUNDARY):
            count += 1
            if count > most:
                reason = f"more than {most} instances in one request; send the rest in another"
                raise TooLarge(reason)
            part_type = part.headers.get("content-type", APPLICATION_DICOM)
            if part_type.partition(";")[0].strip().lower() == APPLICATION_DICOM:
                yield await _spooled(unit, part.chunks())
            else:
                yield Refused(PROCESSING_FAILURE, f"the Content-Type of a part is not {APPLICATION_DICOM}")


async def _spooled(unit: Unit, chunks: AsyncIterator[bytes]) -> Incoming | Refused:
    try:
        incoming = unit.parts.instances.files.new(max_bytes=unit.parts.settings.max_instance_bytes)
    except Refused as refused:
        return refused
    try:
        await _write(incoming, chunks)
    except Refused as refused:
        incoming.discard()
        return refused
    except BaseException:
        incoming.discard()
        raise
    return incoming


async def _write(incoming: Incoming, chunks: AsyncIterator[bytes]) -> None:
    gathered: list[bytes] = []
    waiting = 0
    async for chunk in chunks:
        gathered.append(chunk)
        waiting += len(chunk)
        if waiting >= _BATCH_BYTES:
            await asyncio.to_thread(incoming.write, b"".join(gathered))
            gathered, waiting = [], 0
    await asyncio.to_thread(incoming.write, b"".join(gathered))


async def _store(unit: Unit, part: Incoming | Refused, transfer: Transfer, claim: Claim) -> Outcome:
    if isinstance(part, Refused):
        await unit.parts.instances.refuse(part, transfer)
        return part
    try:
        spooled = await asyncio.to_thread(part.finish)
        return await unit.parts.instances.store_part10(spooled, transfer, claim)
    except Refused as refused:
        part.discard()
        return refused

"""The body of a STOW-RS request: its parts go to files as they arrive; memory does not grow with them.

Parts are Part 10 files, or metadata and the bulk data that they name.

Tolerated: one Part 10 file as the whole body, and parts that do not name their type.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from typing import Final

from imaging_source.domain.intake import PROCESSING_FAILURE, Refused
from imaging_source.domain.stow import Results
from imaging_source.domain.stow_metadata import BulkPart, BulkParts, decode_json, write_part10
from imaging_source.store.incoming import Incoming
from imaging_source.store.transfers import Transfer
from imaging_source.transactions.stow_portions import Portions
from imaging_source.unit import Unit
from shared.dicom import json as dicom_json
from shared.dicom import native_xml
from shared.dicom.json import Attributes
from shared.dicom.multipart import APPLICATION_DICOM
from shared.dicom.part10 import CANNOT_UNDERSTAND
from shared.faults import SenderFault
from shared.http.media_type import MediaType
from shared.http.multipart import Parts
from shared.http.problem import BadRequest, HttpProblem, TooLarge
from shared.http.raw_asgi import ClientGone
from shared.imaging.description import Claim
from shared.xml import XmlError

#: Media types of metadata, whose parts bring bulk data along.
METADATA: Final = frozenset({dicom_json.MEDIA_TYPE, native_xml.MEDIA_TYPE})
# Of one instance: its metadata, and values in parts of their own.
_MOST_PARTS: Final = 16

_BATCH_BYTES: Final = 1024**2
# Orthanc writes 73 characters where RFC 2046 allows 70 (tests/peers/test_orthanc_store.py).
_LONGEST_BOUNDARY: Final = 128


async def receive(
    unit: Unit, media_type: MediaType, body: AsyncGenerator[bytes], transfer: Transfer, claim: Claim
) -> Results:
    """Store the parts of `body` as they come; while a portion is being stored the next one arrives."""
    portions = Portions(unit, transfer, claim)
    problem: HttpProblem | None = None
    try:
        async with aclosing(body) as chunks:
            await _receive(unit, media_type, chunks, portions)
    except HttpProblem as found:
        problem = found
    except SenderFault as fault:
        problem = BadRequest(fault.reason)
    except ClientGone:
        problem = BadRequest("the connection ended before the message did")
    finally:
        outcomes = await portions.stored()
    return Results(tuple(outcomes), problem)


async def _receive(
    unit: Unit, media_type: MediaType, chunks: AsyncGenerator[bytes], portions: Portions
) -> None:
    most = unit.parts.settings.max_instances_per_request
    if media_type.name == APPLICATION_DICOM:
        await portions.take(chunks)
        return
    if media_type.parameter("type").partition(";")[0].strip().lower() in METADATA:
        async with aclosing(_made(unit, media_type, chunks)) as instances:
            async for instance in instances:
                await portions.add(instance)
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
            await portions.take(part.chunks())
        else:
            reason = f"the Content-Type of a part is not {APPLICATION_DICOM}"
            await portions.add(Refused(PROCESSING_FAILURE, reason))


async def _made(
    unit: Unit, media_type: MediaType, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[Incoming | Refused]:
    """Instances of metadata and bulk data, when all has come: metadata may name what comes behind them."""
    settings = unit.parts.settings
    room = settings.max_header_bytes
    instances: list[Attributes | Refused] = []
    bulk: dict[str, list[BulkPart]] = {}
    with ExitStack() as spooled:
        async for part in Parts(
            chunks,
            media_type.parameter("boundary"),
            max_parts=_MOST_PARTS * settings.max_instances_per_request,
            max_boundary=_LONGEST_BOUNDARY,
        ):
            name = part.content_type.partition(";")[0].strip().lower()
            if name in METADATA:
                octets = await _bounded(part.chunks(), room)
                room -= len(octets)
                instances += await asyncio.to_thread(_data_sets, name, octets)
                if len(instances) > settings.max_instances_per_request:
                    raise TooLarge(
                        f"more than {settings.max_instances_per_request} instances in one request;"
                        " send the rest in another"
                    )
                continue
            value = unit.parts.instances.files.raw(max_bytes=settings.max_instance_bytes)
            spooled.callback(value.discard)
            await _write(value, part.chunks())
            await asyncio.to_thread(value.finish)
            location = part.headers.get("content-location", "").strip()
            bulk.setdefault(location, []).append(BulkPart(part.content_type, value.path))
        for attributes in instances:
            yield attributes if isinstance(attributes, Refused) else await _file(unit, attributes, bulk)


def _data_sets(media_type: str, octets: bytes) -> list[Attributes | Refused]:
    try:
        if media_type == native_xml.MEDIA_TYPE:
            return [native_xml.decode(octets)]
        return list(decode_json(octets))
    except Refused as refused:
        return [refused]
    except (XmlError, native_xml.NotNative) as error:
        return [Refused(CANNOT_UNDERSTAND, str(error))]


async def _bounded(chunks: AsyncIterator[bytes], most: int) -> bytes:
    octets = bytearray()
    async for chunk in chunks:
        octets += chunk
        if len(octets) > most:
            raise TooLarge("the metadata are too long; send fewer instances in one request")
    return bytes(octets)


async def _file(unit: Unit, attributes: Attributes, bulk: BulkParts) -> Incoming | Refused:
    settings = unit.parts.settings
    try:
        incoming = unit.parts.instances.files.new(max_bytes=settings.max_instance_bytes)
    except Refused as refused:
        return refused
    try:
        await asyncio.to_thread(write_part10, incoming, attributes, bulk, most=settings.max_header_bytes)
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

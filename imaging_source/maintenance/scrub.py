"""The scrub: every byte of every instance is read and compared with its digest."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import func, select

from imaging_source.store.contents import Contents
from imaging_source.store.integrity import damage_event
from imaging_source.store.kept_files import walk
from imaging_source.store.tables import instance
from shared.audit.recorder import AuditRecorder
from shared.http.checked import StoreUnavailable
from shared.store.engine import Reader
from shared.store.scrub import Finding, RateLimit, legs

_BYTES = select(func.sum(instance.c.size))


async def count_bytes(index: Reader) -> int:
    """The bytes of all files of instances."""
    [(size,)] = await index.fetch(_BYTES)
    return int(size or 0)


async def scrub(
    index: Reader, files: Contents, recorder: AuditRecorder, *, first: str = "", bytes_per_second: float = 0
) -> AsyncIterator[tuple[str, int, Finding]]:
    """Yield digest, size and finding of the file of every instance, one after the other, from the digest
    `first` on and around; damage is told of in the trail, and a service that runs beside looks at the file
    anew before it gives it away."""
    limit = RateLimit(bytes_per_second)
    for after, last in legs(first):
        async for sha256, size, sop_instance_uid in walk(index, after, last):
            finding = await _finding(files, sha256, size, limit)
            if finding is Finding.DAMAGED:
                files.distrust(sha256)
                await recorder.record((damage_event(sop_instance_uid),))
            yield sha256, size, finding


async def _finding(files: Contents, sha256: str, size: int, limit: RateLimit) -> Finding:
    try:
        return Finding.WHOLE if await files.proved(sha256, size, limit) else Finding.DAMAGED
    except StoreUnavailable:
        return Finding.UNKNOWN

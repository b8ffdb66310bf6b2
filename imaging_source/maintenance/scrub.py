"""The scrub: every byte of every instance is read and compared with its digest."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import bindparam, func, select

from imaging_source.store.contents import Contents
from imaging_source.store.integrity import damage_event
from imaging_source.store.tables import instance
from shared.audit.recorder import AuditRecorder
from shared.http.checked import StoreUnavailable
from shared.store.engine import Reader
from shared.store.scrub import Finding, RateLimit, legs

_FILES = (
    select(instance.c.sha256, instance.c.size, instance.c.sop_instance_uid)
    .where(instance.c.sha256 > bindparam("after"), instance.c.sha256 <= bindparam("last"))
    .order_by(instance.c.sha256)
    .limit(1000)
)
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
        while rows := await index.fetch(_FILES, after=after, last=last):
            for sha256, size, sop_instance_uid in rows:
                finding = await _finding(files, sha256, size, limit)
                if finding is Finding.DAMAGED:
                    files.distrust(sha256)
                    await recorder.record((damage_event(sop_instance_uid),))
                yield sha256, size, finding
            after = rows[-1][0]


async def _finding(files: Contents, sha256: str, size: int, limit: RateLimit) -> Finding:
    try:
        return Finding.WHOLE if await files.proved(sha256, size, limit) else Finding.DAMAGED
    except StoreUnavailable:
        return Finding.UNKNOWN

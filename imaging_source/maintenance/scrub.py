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
from shared.store.scrub import Finding, RateLimit

_FILES = (
    select(instance.c.sha256, instance.c.size, instance.c.sop_instance_uid)
    .where(instance.c.sha256 > bindparam("after"))
    .order_by(instance.c.sha256)
    .limit(1000)
)
_BYTES = select(func.sum(instance.c.size))


async def count_bytes(index: Reader) -> int:
    """The bytes of all files of instances."""
    [(size,)] = await index.fetch(_BYTES)
    return int(size or 0)


async def scrub(
    index: Reader, files: Contents, recorder: AuditRecorder, *, bytes_per_second: float = 0
) -> AsyncIterator[tuple[str, int, Finding]]:
    """Yield digest, size and finding of the file of every instance, one after the other; damage is told of in
    the trail, and a service that runs beside looks at the file anew before it gives it away."""
    limit, after = RateLimit(bytes_per_second), ""
    while rows := await index.fetch(_FILES, after=after):
        for sha256, size, sop_instance_uid in rows:
            try:
                whole = await files.proved(sha256, size, limit)
            except StoreUnavailable:
                yield sha256, size, Finding.UNKNOWN
                continue
            if whole:
                yield sha256, size, Finding.WHOLE
                continue
            files.distrust(sha256)
            await recorder.record((damage_event(sop_instance_uid),))
            yield sha256, size, Finding.DAMAGED
        after = rows[-1][0]
